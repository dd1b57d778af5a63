"""I3D's features of short clips, for FVD. It sees no clip of fewer than WINDOW frames."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from eval.features.devices import made_by
from eval.registry import NEEDS, WINDOW
from lnm.errors import UserError
from lnm.files import sha256

I3D_FILE = "i3d_torchscript.pt"


class I3D:
    """The Kinetics-400 network of FVD as one TorchScript file, in the form published with StyleGAN-V: it takes frames
    of 0 to 255, resizes them to 224x224 and scales them itself, and gives the 400 logits."""

    def __init__(self, path: Path, device: str = "cpu"):
        import torch

        if not path.is_file():
            raise UserError(NEEDS["I3D"])
        try:
            with warnings.catch_warnings():  # torch.jit is deprecated, and the published file is of its kind
                warnings.simplefilter("ignore")
                self.network = torch.jit.load(str(path), map_location=device).eval()
        except RuntimeError:
            raise UserError(f"{path}: not a TorchScript file: fetch it again") from None
        self.device, self.sha256, self.name = device, sha256(path), "I3D, Kinetics-400 logits"
        self.version = made_by("torch", preprocessing="resized and scaled by the file")

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        """uint8 (N, T, H, W, 3) -> float32 (N, 400)."""
        import torch

        videos = torch.from_numpy(np.ascontiguousarray(clips.transpose(0, 4, 1, 2, 3))).float().to(self.device)
        with torch.no_grad():
            return self.network(videos, rescale=True, resize=True, return_features=True).float().cpu().numpy()


def windows(frames: np.ndarray) -> np.ndarray:
    """uint8 (F, H, W, 3) -> every WINDOW consecutive frames, (F - WINDOW + 1, WINDOW, H, W, 3)."""
    if len(frames) < WINDOW:
        raise UserError(f"FVD needs {WINDOW} frames (what I3D takes), got {len(frames)}: sample more frames")
    return np.lib.stride_tricks.sliding_window_view(frames, WINDOW, axis=0).transpose(0, 4, 1, 2, 3)
