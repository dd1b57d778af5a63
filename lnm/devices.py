"""Where to compute."""

from __future__ import annotations

from typing import Any

from lnm.errors import UserError


def pick_device(device: str = "auto") -> str:
    """"auto" -> cuda, mps or cpu. Raises UserError for a device that is not there."""
    import torch  # here: commands that only ask for a device's name answer at once

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(d for d, ok in there.items() if ok)
    if not there.get(device, False):
        raise UserError(f"device: {device} is not available here; set device: auto")
    return device


def half_precision(device: Any) -> str:
    """"bf16" where the device computes in it, else "no": a processor that only imitates it is slower than in float32.

    device: a torch.device or its name.
    """
    import torch

    kind = torch.device(device).type
    if kind == "cpu":
        return "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "no"
    return "bf16" if kind == "cuda" and torch.cuda.is_bf16_supported() else "no"
