"""Small films while a fine-tune runs, for a person to look at. They decide nothing: an edit of this or of the sampling
behind it reruns no fine-tune (`lnm.workflow.code.LOOKED_AT`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from lnm.model import InflatedModel
from lnm.pipeline import LateNtMoviesPipeline, to_uint8
from lnm.video import write_gif


def previewer(model: InflatedModel, still: torch.Tensor, prompt: str, fps: float, num_frames: int, seed: int,
              folder: Path) -> Callable[[int], None]:
    """A function of the step that writes `folder`/step_<step>.gif, a film by the layers as they are just then.

    still: latents (1, C, h, w), scaled.
    """
    def preview(step: int) -> None:
        pipe = LateNtMoviesPipeline.from_pipe(model)  # now: training has set the noise schedule
        pipe.set_progress_bar_config(disable=True)
        film = pipe(image_latents=still, prompt=prompt, num_frames=num_frames, fps=fps,
                    generator=torch.Generator("cpu").manual_seed(seed)).frames[0]
        write_gif(folder / f"step_{step:05d}.gif", to_uint8(film), fps)

    return preview
