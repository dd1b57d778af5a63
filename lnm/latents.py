"""Pixels to latents and back, by a checkpoint's VAE. Section 4: frames are compressed before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from lnm.tensors import read

Clips = torch.Tensor | list[torch.Tensor]  # latents (N, C, h, w) of a clip, or of several
Pictures = np.ndarray | list[np.ndarray]  # what they are of, uint8 (N, H, W, 3)


def to_tensor(frames: np.ndarray) -> torch.Tensor:
    """uint8 (N, H, W, 3) -> float (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1


def encode_pixels(vae: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Pixels (N, 3, H, W) in [-1, 1] -> latents (N, C, h, w), not scaled: the posterior's mean where there is one."""
    encoded = vae.encode(pixels)
    return encoded.latent_dist.mode() if "latent_dist" in encoded else encoded.latent


def spare(vae: Any) -> None:
    """`memory: low` for an autoencoder: one frame at a time, and a large one in tiles, as diffusers has it."""
    vae.enable_slicing()
    vae.enable_tiling()


def at_once(vae: Any, chunk_size: int) -> int:
    """How many frames of a chunk an autoencoder takes at once: one, where its slicing is on."""
    return 1 if getattr(vae, "use_slicing", False) else chunk_size


@torch.no_grad()
def encode(vae: Any, frames: np.ndarray, chunk_size: int = 8, desc: str | None = None) -> torch.Tensor:
    """uint8 (N, H, W, 3) -> latents (N, C, h, w) float32 on the CPU, times the scaling factor."""
    chunk_size = at_once(vae, chunk_size)
    chunks = range(0, len(frames), chunk_size)
    parts = [encode_pixels(vae, to_tensor(frames[i:i + chunk_size]).to(vae.device, vae.dtype)).float().cpu()
             for i in tqdm(chunks, desc=desc, disable=desc is None)]
    return (torch.cat(parts) * vae.config.scaling_factor).contiguous()


@torch.no_grad()
def decode(vae: Any, latents: torch.Tensor, chunk_size: int = 8, desc: str | None = None) -> np.ndarray:
    """Latents (N, C, h, w), scaled -> uint8 (N, H, W, 3)."""
    chunks = (latents / vae.config.scaling_factor).split(at_once(vae, chunk_size))
    parts = [to_bytes(vae.decode(part.to(vae.device, vae.dtype)).sample)
             for part in tqdm(chunks, desc=desc, disable=desc is None)]
    return np.concatenate(parts)


def to_bytes(pixels: torch.Tensor) -> np.ndarray:
    """(N, 3, H, W) in [-1, 1], cut to it -> uint8 (N, H, W, 3) on the CPU: a quarter of what float pixels would take
    until the last chunk is there."""
    return ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def training_clips(cached: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The latents to train on of what `load_latents` gives, (N, C, h, w) a clip: no sample reaches over two."""
    clips = [cached["train"]]
    while (name := f"train_{len(clips) + 1}") in cached:
        clips.append(cached[name])
    return clips


def load_latents(folder: Path) -> dict[str, torch.Tensor]:
    """What the prepare stage cached in its folder, float32 and scaled: train (N, C, h, w), still (S, C, h, w), a row a
    still, where frames are held out heldout (M, C, h, w), and of further clips train_2, train_3 ... Raises UserError if
    it has not run, or if the file is damaged."""
    return read(Path(folder) / "latents.safetensors", "prepare the clip first, or again")[0]
