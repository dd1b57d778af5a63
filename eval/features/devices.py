"""Where a network runs, what it is given, and which version of a library it comes from."""

from __future__ import annotations

import numpy as np

from lnm.errors import UserError


def pick_device(device: str) -> str:
    """A name for torch: "auto" is cuda where there is one, else cpu. UserError for a device that is not there."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available() or device == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device {device}: this machine has none that torch can use; set auto or cpu")
    return device


def version(module: str) -> str:
    """The version that an importable module gives itself."""
    return __import__(module).__version__


def made_by(*modules: str, preprocessing: object = "") -> str:
    """What features depend on beside weights and frames: versions of libraries, and how frames are prepared."""
    return "; ".join([*(f"{module} {version(module)}" for module in modules), str(preprocessing)])


def tensor(image: np.ndarray):
    """uint8 (H, W, 3) -> torch float32 (1, 3, H, W) in [0, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None])).float() / 255
