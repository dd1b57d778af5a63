"""Sliders in the sampling notebook: one film at a time, for a person. In a run of the pipeline there are none, and no
stage depends on them (`lnm.workflow.code.LOOKED_AT`)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np

from lnm.checkpoint import open_checkpoint
from lnm.detail import with_detail
from lnm.devices import pick_device, sampling_dtypes
from lnm.errors import UserError
from lnm.files import still_files
from lnm.hub import locate_decoder
from lnm.latents import load_latents
from lnm.lora import fuse_lora
from lnm.pipeline import LateNtMoviesPipeline
from lnm.player import player
from lnm.schedulers import make_scheduler
from lnm.settings import Sample, validated
from lnm.stages.sample import film_of, film_seed, latents_of, pictures_of
from lnm.temporal_file import read_temporal


class Studio:
    """What samples films of one prepared clip's stills by `ours`: opened at the first film, kept for the next."""

    def __init__(self, prepared: Path, temporal: Path, *, settings: Sample, checkpoint: str,
                 revision: str | None = None, widen: bool = False, lora: str | None = None, lora_scale: float = 1.0,
                 seed: int = 0, device: str = "auto", **others: Any):
        """The arguments are those of `lnm.stages.sample.sample_films`; `others` of them say nothing here."""
        self.prepared, self.temporal, self.settings, self.seed = Path(prepared), temporal, settings, seed
        self.checkpoint, self.revision, self.widen, self.device = checkpoint, revision, widen, device
        self.lora, self.lora_scale = lora, lora_scale
        self.fps = float(json.loads((self.prepared / "clip.json").read_text())["fps"])
        self.pipe: LateNtMoviesPipeline | None = None

    @property
    def stills(self) -> int:
        """How many there are to begin from."""
        return len(still_files(self.prepared))

    def film(self, num_frames: int, fps: float, seed: int, guidance_scale: float, still: int = 0) -> np.ndarray:
        """A film uint8 (F, H, W, 3), from the still of that number: with the run's own choices and still 0 the first
        film of `ours`.

        Raises UserError for a choice that is out of range and for files that do not open.
        """
        settings = validated(Sample, self.settings.model_dump() | {"num_frames": num_frames,
                                                                   "guidance_scale": guidance_scale})
        pipe = self.pipe = self.pipe or self._open()
        pipe.scheduler = make_scheduler(pipe.scheduler, kind=settings.scheduler)
        prompt = json.loads((self.prepared / "prompts.json").read_text())["prompt"]
        latents = load_latents(self.prepared)["still"].split(1)[still]  # (1, C, h, w)
        pictures = pictures_of(self.prepared, settings, still)
        film = film_of(pipe, latents, prompt, fps, settings, film_seed(seed, 0),
                       begun=None if pictures is None else latents_of(pipe, pictures))
        return film if pictures is None or not settings.restores else with_detail(pipe.vae, film, pictures)

    def _open(self) -> LateNtMoviesPipeline:
        device = pick_device(self.device)
        base = open_checkpoint(self.checkpoint, self.revision, device, widen=self.widen,
                               **sampling_dtypes(self.settings.dtype, device))
        if self.lora:
            fuse_lora(base, self.lora, self.lora_scale)
        pipe = LateNtMoviesPipeline.from_checkpoint(base, read_temporal(self.temporal), in_place=True)
        if decoder := self.settings.decoder():
            pipe.load_temporal_decoder(locate_decoder(decoder))
        return pipe


def controls(prepared: Path, temporal: Path, **arguments: Any) -> ipywidgets.VBox | None:
    """Sliders for frames, fps, seed and guidance, the still where there are several, and a button that samples one film
    and plays it below.

    Arguments as of `lnm.stages.sample.sample_films`, without `out`. None in a run of the pipeline (LNM_RESOLVED=1),
    where nobody could press the button: nothing is opened and the cell shows nothing.
    """
    if os.environ.get("LNM_RESOLVED") == "1":
        return None
    studio = Studio(prepared, temporal, **arguments)
    own = studio.settings
    wide: dict[str, Any] = {"style": {"description_width": "80px"}, "layout": ipywidgets.Layout(width="420px")}
    frames = ipywidgets.IntSlider(own.num_frames, 2, max(48, own.num_frames), description="frames", **wide)
    fps = ipywidgets.FloatSlider(studio.fps, min=1, max=max(30, studio.fps), step=0.5, description="fps", **wide)
    seed = ipywidgets.IntSlider(studio.seed, min(0, studio.seed), max(99, studio.seed), description="seed", **wide)
    guidance = ipywidgets.FloatSlider(own.guidance_scale, min=1, max=max(15, own.guidance_scale), step=0.5,
                                      description="guidance", **wide)
    still = ipywidgets.Dropdown(options=[(f"still {k + 1}", k) for k in range(studio.stills)],
                                description="begins from", **wide)
    choices = [frames, fps, seed, guidance, *([still] if studio.stills > 1 else [])]
    button = ipywidgets.Button(description="sample a film", button_style="primary")
    said, shown = ipywidgets.Label(), ipywidgets.Output()

    def press(_: ipywidgets.Button) -> None:
        button.disabled, said.value = True, "sampling; some seconds, with more frames more ..."
        try:
            film = studio.film(frames.value, fps.value, seed.value, guidance.value, still.value)
            label = f"seed {seed.value}, guidance {guidance.value:g}" + (
                f", still {still.value + 1}" if studio.stills > 1 else "")
            # as data, not printed: what is drawn is what this press gave, in any kernel
            shown.outputs = ({"output_type": "display_data", "metadata": {},
                              "data": {"text/html": player({label: film}, fps.value, width=256).data}},)
            said.value = f"{len(film)} frames at {fps.value:g} fps"
        except UserError as error:
            said.value = f"error: {error}"
        finally:
            button.disabled = False

    button.on_click(press)
    return ipywidgets.VBox([*choices, ipywidgets.HBox([button, said]), shown])
