"""Training of a decoder in time on many clips: their pixels, from latents with noise on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from lnm import video
from lnm.decoder import add_temporal_decoder, decoder_parameters
from lnm.latents import encode_pixels, to_tensor
from lnm.settings import Decoder


def decoder_loss(made: torch.Tensor, real: torch.Tensor, settings: Decoder) -> torch.Tensor:
    """L1 on pixels, on their differences in space, and on those in time, which is where boiling shows.

    made, real: (F, 3, H, W) in [-1, 1].
    """
    total = F.l1_loss(made, real)
    for dim in (-1, -2):
        total = total + settings.gradient_weight * F.l1_loss(made.diff(dim=dim), real.diff(dim=dim))
    return total + settings.time_weight * F.l1_loss(made.diff(dim=0), real.diff(dim=0))


def draw_frames(path: Path, settings: Decoder, step: int, size: int, rng: np.random.Generator,
                mirrored: bool) -> np.ndarray:
    """`settings.frames` frames of a clip at a drawn stride, cut to a drawn square of `settings.crop` pixels, whose corner
    lies on a multiple of `step` pixels: uint8 (F, crop, crop, 3)."""
    frames = video.read(path, size=size).frames
    strides = [s for s in settings.strides if 1 + (settings.frames - 1) * s <= len(frames)] or [1]
    stride = int(rng.choice(strides))
    start = int(rng.integers(max(1, len(frames) - (settings.frames - 1) * stride)))
    crop = min(settings.crop, size)
    y, x = (step * int(rng.integers((size - crop) // step + 1)) for _ in range(2))
    cut = frames[start::stride][:settings.frames, y:y + crop, x:x + crop]
    return np.ascontiguousarray(cut[:, :, ::-1] if mirrored else cut)


def make_decoder_batch(vae: Any, clips: Sequence[Path], settings: Decoder, size: int, seed: int,
                       step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy latents (F, C, h, w), not scaled, and the pixels (F, 3, H, W) that they should give; a function of (seed,
    step). The deviation of the noise is |N(0, 1)| times `settings.noise`, in units of the scaled latents."""
    rng = np.random.default_rng([seed, 11, step])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    ratio = getattr(vae, "spatial_compression_ratio", None) or 2 ** (len(vae.config.block_out_channels) - 1)
    frames = draw_frames(clips[int(rng.integers(len(clips)))], settings, ratio, size, rng, bool(rng.random() < 0.5))
    pixels = to_tensor(frames).to(vae.device)
    with torch.no_grad():
        latents = encode_pixels(vae, pixels.to(vae.dtype)).float()
    level = settings.noise * abs(float(torch.randn((), generator=generator))) / vae.config.scaling_factor
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    return latents + level * noise, pixels


def freeze_all_but_time(vae: Any) -> dict[str, torch.nn.Parameter]:
    """Add temporal layers to the decoder where there are none, and let these alone train: name -> parameter."""
    add_temporal_decoder(vae)
    vae.requires_grad_(False)
    trained = decoder_parameters(vae)
    for parameter in trained.values():
        parameter.requires_grad_(True)
    return trained


def decoder_step_loss(vae: Any, latents: torch.Tensor, pixels: torch.Tensor, settings: Decoder) -> torch.Tensor:
    """The loss of one batch of `make_decoder_batch`."""
    vae.decoder.frames.value = len(latents)
    return decoder_loss(vae.decode(latents.to(vae.dtype)).sample.float(), pixels, settings)
