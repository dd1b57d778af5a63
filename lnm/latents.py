"""Pixels to latents and back, by a checkpoint's VAE. Section 4: frames are compressed before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from tqdm.auto import tqdm

from lnm.errors import UserError


def to_tensor(frames: np.ndarray) -> torch.Tensor:
    """uint8 (N, H, W, 3) -> float (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1


def encode_pixels(vae: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Pixels (N, 3, H, W) in [-1, 1] -> latents (N, C, h, w), not scaled: the posterior's mean where there is one."""
    encoded = vae.encode(pixels)
    return encoded.latent_dist.mode() if "latent_dist" in encoded else encoded.latent


@torch.no_grad()
def encode(vae: Any, frames: np.ndarray, chunk_size: int = 8, desc: str | None = None) -> torch.Tensor:
    """uint8 (N, H, W, 3) -> latents (N, C, h, w) float32 on the CPU, times the scaling factor."""
    chunks = range(0, len(frames), chunk_size)
    parts = [encode_pixels(vae, to_tensor(frames[i:i + chunk_size]).to(vae.device, vae.dtype)).float().cpu()
             for i in tqdm(chunks, desc=desc, disable=desc is None)]
    return (torch.cat(parts) * vae.config.scaling_factor).contiguous()


@torch.no_grad()
def decode(vae: Any, latents: torch.Tensor, chunk_size: int = 8, desc: str | None = None) -> np.ndarray:
    """Latents (N, C, h, w), scaled -> uint8 (N, H, W, 3)."""
    chunks = (latents / vae.config.scaling_factor).split(chunk_size)
    parts = [vae.decode(part.to(vae.device, vae.dtype)).sample.float().cpu()
             for part in tqdm(chunks, desc=desc, disable=desc is None)]
    return ((torch.cat(parts).clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def load_latents(folder: Path) -> dict[str, torch.Tensor]:
    """What the prepare stage cached in its folder, float32 and scaled: train (N, C, h, w), still (1, C, h, w) and,
    where frames are held out, heldout (M, C, h, w). Raises UserError if it has not run."""
    path = Path(folder) / "latents.safetensors"
    if not path.is_file():
        raise UserError(f"{path}: no such file; prepare the clip first")
    return load_file(path)
