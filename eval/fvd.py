"""Fréchet video distance: FID's formula on I3D features of short clips (Unterthiner et al., "Towards Accurate
Generative Models of Video", 2018).

I3D sees no clip of fewer than 10 frames, so a shorter film has no FVD: repeating frames to get there measures the
repetition. A film here is one long sample of its video and not a set of clips, so what is compared is every window of
10 consecutive frames of it with every such window of the real clip. The windows overlap: a value only compares with
others of the same numbers of frames.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from eval.fid import fid_from_features
from lnm.errors import UserError
from lnm.files import sha256

WINDOW = 10
I3D_FILE = "i3d_torchscript.pt"


class I3D:
    """The Kinetics-400 network of FVD as one TorchScript file, in the form published with StyleGAN-V: it takes frames
    of 0 to 255, resizes them to 224x224 and scales them itself, and gives the 400 logits."""

    def __init__(self, path: Path, device: str = "cpu"):
        import torch

        if not path.is_file():
            raise UserError(f"no I3D weights under weights/, so no FVD: put {I3D_FILE} there")
        try:
            with warnings.catch_warnings():  # torch.jit is deprecated, and the published file is of its kind
                warnings.simplefilter("ignore")
                self.network = torch.jit.load(str(path), map_location=device).eval()
        except RuntimeError:
            raise UserError(f"{path}: not a TorchScript file: fetch it again") from None
        self.device, self.sha256, self.name = device, sha256(path), "I3D, Kinetics-400 logits"

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


def fvd_from_features(a: np.ndarray, b: np.ndarray) -> float:
    """FVD between the features of two sets of clips, (n1, 400) and (n2, 400)."""
    if len(a) < 2 or len(b) < 2:
        raise UserError(f"FVD needs 2 windows of {WINDOW} frames on both sides, got {len(a)} and {len(b)}: sample more "
                        "frames")
    return fid_from_features(a, b)
