"""Stills in, in whatever form they come: a path, a PIL image, an array or a tensor; one or a list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from lnm.video import centre_box, flatten, read_image


def to_pixels(image: Any, height: int | None = None, width: int | None = None) -> torch.Tensor:
    """Stills -> pixels (B, 3, H, W) in [-1, 1], cut around the centre and resized where height and width are given.

    image: a path, a PIL image of any mode, a uint8 array (H, W), (H, W, 3) or (H, W, 4), a batch (B, H, W, 3), a float
    array (H, W, 3) or (B, H, W, 3) in [0, 1], a tensor (3, H, W) or (B, 3, H, W), uint8 or in [0, 1]; or a list of
    those, of one size after resizing. Transparency is laid on white, as `lnm.video.read_image` does. Raises ValueError,
    one line, for other shapes, types and ranges (a tensor in [-1, 1] is one), UserError for a file that is no image.
    """
    if isinstance(image, list | tuple):
        if not image:
            raise ValueError("image: the list is empty; give a still, or one a prompt")
        parts = [to_pixels(one, height, width) for one in image]
        if len({p.shape[1:] for p in parts}) > 1:
            sizes = ", ".join(f"{p.shape[-1]} x {p.shape[-2]}" for p in parts)
            raise ValueError(f"image: stills of different sizes ({sizes}); give height and width")
        return torch.cat(parts)
    if isinstance(image, str | Path):
        image = Image.fromarray(read_image(image))
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and (image.ndim == 2 or image.ndim == 3 and
                                                                      image.shape[-1] == 4):
        image = Image.fromarray(image)  # grey, or with transparency
    if isinstance(image, Image.Image):
        image = np.array(flatten(image))
    if isinstance(image, np.ndarray):
        if image.ndim not in (3, 4) or image.shape[-1] != 3:
            raise ValueError(f"image: an array of shape {image.shape}; give (height, width, 3) or a batch of those")
        image = torch.from_numpy(np.ascontiguousarray(image)).movedim(-1, -3)
    if not isinstance(image, torch.Tensor):
        raise ValueError(f"image: {type(image).__name__}; give a path, a PIL image, an array or a tensor")
    if image.ndim == 3:
        image = image[None]
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"image: a tensor of shape {tuple(image.shape)}; give (3, height, width) or a batch of those")
    return _resize(_unit(image), height, width) * 2 - 1


def _unit(pixels: torch.Tensor) -> torch.Tensor:
    """uint8, or floats that must lie in [0, 1] -> float32 in [0, 1]."""
    if pixels.dtype == torch.uint8:
        return pixels.float() / 255
    pixels = pixels.float()
    low, high = pixels.min().item(), pixels.max().item()
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ValueError(f"image: values from {low:g} to {high:g}; give uint8, or floats from 0 to 1")
    return pixels.clamp(0, 1)


def _resize(pixels: torch.Tensor, height: int | None, width: int | None) -> torch.Tensor:
    """(B, 3, H, W) in [0, 1], cut around the centre to the shape asked for, then resized (bicubic, averaging over the
    area where it gets smaller)."""
    if height is None and width is None or pixels.shape[-2:] == (height, width):
        return pixels
    height, width = height or pixels.shape[-2], width or pixels.shape[-1]
    left, top, right, bottom = centre_box((pixels.shape[-1], pixels.shape[-2]), (width, height))
    pixels = pixels[..., top:bottom, left:right]
    return F.interpolate(pixels, (height, width), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
