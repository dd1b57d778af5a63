"""The sample stage: films by the fine-tuned model, by one tuned from the identity, and by the frozen checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from lnm import video
from lnm.checkpoint import open_checkpoint
from lnm.devices import pick_device
from lnm.files import sha256, write_json
from lnm.hub import locate_decoder
from lnm.latents import load_latents
from lnm.pipeline import LateNtMoviesPipeline, to_uint8
from lnm.schedulers import make_scheduler
from lnm.settings import Sample
from lnm.temporal_file import read_temporal

METHODS = ("ours", "identity", "frame_by_frame")


def film_seed(seed: int, k: int) -> int:
    """The seed of film k: drawn from (seed, k), so that no film of one seed is a film of another."""
    return int(np.random.default_rng([seed, k]).integers(2**62))


def sample_films(prepared: Path, temporal: Path, out: Path, *, settings: Sample, checkpoint: str,
                 revision: str | None = None, seed: int = 0, device: str = "auto", name: str = "clip",
                 about: dict | None = None, methods: tuple[str, ...] = METHODS) -> dict:
    """Films of a prepared clip's still: `ours`, `identity` (layers tuned from the identity alone, where the fine-tune
    left them beside `temporal`) and the frozen checkpoint frame by frame, `settings.seeds` of each.

    prepared: the prepare stage's folder. temporal: the fine-tune's temporal.safetensors, which says with which noise
    schedule and mask value films are made. Further fine-tunes, in `seeds` beside it, take turns with it: film k of
    `ours` is by fine-tune k modulo their number, those of `identity` are by one, and films.json says so under
    "clusters". Film k of all methods starts from the same noise. `ours` alone is decoded by
    `settings.temporal_decoder`; the others, the paper's own arm and the frozen checkpoint, by the checkpoint's own
    decoder. name: of the clip, in bars. about: names as the user wrote them (checkpoint, temporal_decoder), for the
    record. Writes <out>/<method>/seed_<k>/ (frames, film.mp4, film.gif), a
    contact sheet of each and, last, <out>/films.json, whose content is returned.
    Raises UserError for a checkpoint, temporal file or decoder that cannot be opened, or does not fit the others.
    """
    prepared, out = Path(prepared), Path(out)
    base = open_checkpoint(checkpoint, revision, pick_device(device))
    prompt = json.loads((prepared / "prompts.json").read_text())["prompt"]
    fps = json.loads((prepared / "clip.json").read_text())["fps"]
    still = load_latents(prepared)["still"]
    tuned = [temporal, *sorted((Path(temporal).parent / "seeds").glob("*/temporal.safetensors"))]
    file = read_temporal(temporal)
    decoder = locate_decoder(settings.temporal_decoder) if settings.temporal_decoder else None
    mask_value = file.notes.mask_value
    identity = Path(temporal).parent / "identity" / "temporal.safetensors"
    methods = tuple(method for method in METHODS if method in methods and (method != "identity" or identity.is_file()))
    for method in reversed(methods):  # ours last: it inflates the checkpoint's own U-Net
        if method == "frame_by_frame":
            pipe = LateNtMoviesPipeline.frame_by_frame(base, mask_value)
        else:
            pipe = LateNtMoviesPipeline.from_checkpoint(base, file if method == "ours" else read_temporal(identity),
                                                        in_place=method == "ours")
        if decoder and method == "ours":
            pipe.load_temporal_decoder(decoder)
        # the untouched checkpoint keeps the noise levels that it was trained with
        pipe.scheduler = make_scheduler(pipe.scheduler, kind=settings.scheduler)
        for k in range(settings.seeds):
            if method == "ours" and len(tuned) > 1:
                pipe.load_temporal(tuned[k % len(tuned)])
            which = f", film {k + 1} of {settings.seeds}" if settings.seeds > 1 else ""
            pipe.set_progress_bar_config(desc=f"sampling {name}{f', {method}' if len(methods) > 1 else ''}{which}")
            film = pipe(image_latents=still, prompt=prompt, negative_prompt=settings.negative_prompt,
                        num_frames=settings.num_frames, fps=fps, num_inference_steps=settings.num_inference_steps,
                        guidance_scale=settings.guidance_scale, first_frame=settings.first_frame,
                        generator=torch.Generator("cpu").manual_seed(film_seed(seed, k))).frames[0]
            write_film(out / method / f"seed_{k}", to_uint8(film), fps)
            video.contact_sheet([(f"{method}, film {k}", to_uint8(film))], path=out / f"{method}_seed_{k}.png")
    written = {"checkpoint": checkpoint, "temporal_decoder": settings.temporal_decoder} | (about or {})
    note = {"video": name, "prompt": prompt, "fps": fps,
            **settings.model_dump(include={"num_frames", "num_inference_steps", "guidance_scale", "first_frame"}),
            **written, "mask_value": mask_value, "seed": seed, "seeds": list(range(settings.seeds)),
            "clusters": {"ours": [f"fine-tune {k % len(tuned) + 1}" for k in range(settings.seeds)]} | (
                {"identity": ["fine-tune 1"] * settings.seeds} if "identity" in methods else {}),
            "methods": list(methods), "temporal_sha256": sha256(Path(temporal)),
            "decoder_sha256": sha256(decoder) if decoder else None,
            "decoded_in_time": [method for method in methods if decoder and method == "ours"]}
    write_json(out / "films.json", note)
    return note


def write_film(folder: Path, frames: np.ndarray, fps: float) -> None:
    """A film as frames, mp4 and GIF."""
    video.write_frames(folder, frames)
    video.write_mp4(folder / "film.mp4", frames, fps)
    video.write_gif(folder / "film.gif", frames, fps)
