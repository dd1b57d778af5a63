"""Where to compute."""

from __future__ import annotations

import platform
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


def sampling_dtype(choice: str, device: Any) -> Any:
    """The torch.dtype that films are sampled in, of "float32", "bf16", "fp16" or "auto".

    auto: half precision where the device computes in it (`half_precision`), else float32. device: a torch.device or its
    name. Raises UserError for fp16 on a CPU, which hardly computes in it.
    """
    import torch

    if choice == "auto":
        choice = half_precision(device)
    if choice == "fp16" and torch.device(device).type == "cpu":
        raise UserError("sample.dtype: fp16 needs a GPU; choose bf16, float32 or auto")
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(choice, torch.float32)


def sampling_dtypes(choice: str, device: Any) -> dict[str, Any]:
    """{"dtype", "vae_dtype"}: `sampling_dtype`, and the autoencoder's, as `lnm.open_checkpoint` takes them.

    On a CPU the autoencoder stays in float32. It takes a small part of a film's time, and pixels in bf16, 8 bits of
    fraction, show: the default's films lay 52 to 54 dB from those in float32, and lie 59 from them so.
    """
    import torch

    dtype = sampling_dtype(choice, device)
    return {"dtype": dtype, "vae_dtype": torch.float32 if torch.device(device).type == "cpu" else dtype}


def half_precision(device: Any) -> str:
    """"bf16" where the device computes in it, else "no": a processor that only imitates it is slower than in float32.

    device: a torch.device or its name.
    """
    import torch

    kind = torch.device(device).type
    if kind == "cpu":
        there = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # on AVX-512 without products in bf16 too
        own = platform.machine().lower() not in ("x86_64", "amd64") or torch.cpu._is_avx512_bf16_supported()
        return "bf16" if there and own else "no"
    return "bf16" if kind == "cuda" and torch.cuda.is_bf16_supported() else "no"
