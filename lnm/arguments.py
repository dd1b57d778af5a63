"""What a film may be asked for: one line that names the argument, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from lnm.settings import check_window, steps_of
from lnm.windows import LONG, NOISE


def check_film(*, image: Any, image_latents: torch.Tensor | None, height: int | None, width: int | None, step: int,
               channels: int, prompt: Any, prompt_embeds: torch.Tensor | None, negative_prompt: Any,
               negative_prompt_embeds: torch.Tensor | None, generator: Any, fps: Any, num_frames: Any,
               num_inference_steps: Any, num_videos_per_prompt: Any, guidance_rescale: float, mask_value: float,
               first_frame: str, output_type: str, stills: Any = None, last_image: Any = None, long: str = "windows",
               window: Any = 16, window_stride: Any = None, noise: str = "independent", video: Any = None,
               video_latents: torch.Tensor | None = None, strength: float = 1.0, condition: str = "still") -> int:
    """Look at the arguments of LateNtMoviesPipeline; the number of prompts.

    step: pixels a latent. channels: of the latents. Raises ValueError for what cannot be sampled.
    """
    if image is None and image_latents is None and not stills:
        raise ValueError("image: a still is needed (or image_latents, or stills)")
    if (prompt is None) == (prompt_embeds is None):
        raise ValueError("prompt: give it or prompt_embeds, one of the two")
    if prompt is not None and not isinstance(prompt, str | list):
        raise ValueError(f"prompt must be a str or a list of str, got {type(prompt).__name__}")
    for name, value in (("num_frames", num_frames), ("num_inference_steps", num_inference_steps),
                        ("num_videos_per_prompt", num_videos_per_prompt)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} {value}: must be a whole number from 1")
    check_choices("first_frame", [first_frame], ("free", "clamp"))
    check_choices("output_type", [output_type], ("np", "pt", "pil", "latent", "uint8"))
    check_choices("long", [long], LONG)
    check_choices("noise", [noise], NOISE)
    check_choices("condition", [condition], ("still", "video"))
    check_window(window, window_stride, long)
    if video is not None and video_latents is not None:
        raise ValueError("video: give it or video_latents, one of the two")
    if video is not None or video_latents is not None:
        if not 0 < strength <= 1:
            raise ValueError(f"strength {strength}: must lie in (0, 1]")
        steps_of(num_inference_steps, strength)
    elif condition == "video":
        raise ValueError("condition 'video': give video, or leave condition out")
    _check_stills(stills, last_image, image is not None or image_latents is not None, num_frames)
    for name, value in (("mask_value", mask_value), ("guidance_rescale", guidance_rescale)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} {value}: must lie in [0, 1]")
    prompts = len(prompt_embeds) if prompt_embeds is not None else 1 if isinstance(prompt, str) else len(prompt or ())
    if not prompts:
        raise ValueError("prompt: the list is empty; give a prompt a film")
    _check_counts(prompts, prompts * num_videos_per_prompt, negative_prompt, negative_prompt_embeds, prompt_embeds,
                  generator, fps)
    if height is not None or width is not None:
        check_size(height or step, width or step, step)
    if image_latents is not None:
        _check_latents(image_latents, channels, height, width, step)
    return prompts


def _check_stills(stills: Any, last_image: Any, first: bool, num_frames: int) -> None:
    """Stills by the number of their frame; no frame has two."""
    if not isinstance(stills, dict | None):
        raise ValueError(f"stills: {type(stills).__name__}; give {{frame: image}}")
    for frame in stills or {}:
        if not isinstance(frame, int) or not 0 <= frame < num_frames:
            raise ValueError(f"stills: frame {frame!r} is not in the film; its frames are 0 to {num_frames - 1}")
    if first and 0 in (stills or {}):
        raise ValueError("stills: frame 0 has the still that is given as image; leave one of the two out")
    if last_image is not None and (num_frames == 1 or num_frames - 1 in (stills or {})):
        raise ValueError(f"last_image: frame {num_frames - 1} has a still already; leave one of the two out")


def check_choices(name: str, values: Iterable[str], known: Sequence[str]) -> None:
    """Raise ValueError for the first of `values` that is not among the `known`."""
    for value in values:
        if value not in known:
            raise ValueError(f"{name} {value!r}: choose from {', '.join(known)}")


def check_size(height: int, width: int, step: int) -> None:
    """Raise ValueError, with the nearest sizes, unless both are multiples of `step` pixels."""
    if height % step or width % step or min(height, width) < step:
        near = [max(step, round(side / step) * step) for side in (height, width)]
        raise ValueError(f"height {height}, width {width}: both must be multiples of {step}; the nearest are "
                         f"height={near[0]}, width={near[1]}")


def _check_counts(prompts: int, films: int, negative_prompt: Any, negative_prompt_embeds: torch.Tensor | None,
                  prompt_embeds: torch.Tensor | None, generator: Any, fps: Any) -> None:
    """What must come once, once a prompt or once a film."""
    if isinstance(negative_prompt, list) and len(negative_prompt) != prompts:
        raise ValueError(f"negative_prompt: {len(negative_prompt)} for {prompts} prompts; give one, or one a prompt")
    if negative_prompt_embeds is not None and prompt_embeds is not None and (
            negative_prompt_embeds.shape != prompt_embeds.shape):
        raise ValueError(f"negative_prompt_embeds: shape {tuple(negative_prompt_embeds.shape)}, prompt_embeds has "
                         f"{tuple(prompt_embeds.shape)}")
    if isinstance(generator, list) and len(generator) != films:
        raise ValueError(f"generator: {len(generator)} for {films} films; give one, or one a film")
    rates = np.atleast_1d(torch.as_tensor(1.0 if fps is None else fps, dtype=torch.float64).cpu().numpy())
    if len(rates) not in (1, films):
        raise ValueError(f"fps: {len(rates)} for {films} films; give one, or one a film")
    if not (np.isfinite(rates) & (rates > 0)).all():
        raise ValueError(f"fps {fps}: must be a number above 0, frames a second")


def _check_latents(image_latents: torch.Tensor, channels: int, height: int | None, width: int | None,
                   step: int) -> None:
    """Latents of stills: their shape, and their size in pixels where one is asked for."""
    if image_latents.ndim != 4 or image_latents.shape[1] != channels:
        raise ValueError(f"image_latents: shape {tuple(image_latents.shape)}, wanted (1 or one a prompt, {channels}, "
                         "h, w)")
    size = [step * side for side in image_latents.shape[-2:]]
    if any(asked not in (None, side) for asked, side in zip((height, width), size, strict=True)):
        raise ValueError(f"height {height}, width {width}: image_latents are of {size[0]} x {size[1]} pixels (height x "
                         "width); leave height and width out")
