"""Small films while a fine-tune runs, for a person to look at. They decide nothing: an edit of this or of the sampling
behind it reruns no fine-tune (`lnm.workflow.code.LOOKED_AT`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lnm.detail import with_detail
from lnm.model import InflatedModel
from lnm.pipeline import LateNtMoviesPipeline
from lnm.stages.sample import carried_frames, latents_of
from lnm.video import read_frames, read_image, write_gif


def previewer(model: InflatedModel, still: torch.Tensor, prompt: str, fps: float, num_frames: int, seed: int,
              folder: Path, carried: Path | None = None) -> Callable[[int], None]:
    """A function of the step that writes `folder`/step_<step>.gif, a film by the layers as they are just then.

    still: latents (1, C, h, w), scaled. carried: of layers that are told of the carried still the prepare stage's
    folder, from whose still, carried along, films then begin.
    """
    def preview(step: int) -> None:
        pipe = LateNtMoviesPipeline.from_pipe(model)  # now: training has set the noise schedule
        pipe.set_progress_bar_config(disable=True)
        pictures, told = None, dict[str, Any]()
        if carried is not None:
            pictures = carried_frames(read_image(carried / "still.png"), read_frames(carried / "train"), num_frames)
            told = {"video_latents": latents_of(pipe, pictures), "condition": "video"}
        film = pipe(image_latents=still, prompt=prompt, num_frames=num_frames, fps=fps, output_type="uint8", **told,
                    generator=torch.Generator("cpu").manual_seed(seed)).frames[0]
        write_gif(folder / f"step_{step:05d}.gif", film if pictures is None else with_detail(pipe.vae, film, pictures),
                  fps)

    return preview
