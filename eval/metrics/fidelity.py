"""What of the picture is kept: detail, the first frame, the colours. Frames are uint8 (F, H, W, 3)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eval.registry import DETAIL_SIGMA, EQUAL_DB
from lnm.errors import UserError
from lnm.files import sha256

ALEXNET_FILE = "alexnet-owt-7be5be79.pth"


def details(frames: np.ndarray) -> np.ndarray:
    """Mean square of what a Gaussian blur of `DETAIL_SIGMA` pixels takes away from each frame -> (F,) in [0, 1]."""
    import cv2

    x = frames.astype(np.float32) / 255
    return np.array([np.square(f - cv2.GaussianBlur(f, (0, 0), DETAIL_SIGMA)).mean(dtype=np.float64) for f in x])


def detail(frames: np.ndarray) -> float:
    """High-frequency energy: the mean of `details`, in [0, 1].

    Detail kept is this over the VAE reconstruction's: 1 is as sharp as the autoencoder allows; noise counts as detail.
    """
    return float(details(frames).mean())


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two uint8 arrays of one shape, in dB; `EQUAL_DB` where they are equal."""
    _alike(a, b, "PSNR")
    error = np.square(a.astype(np.float64) - b.astype(np.float64)).mean()
    return float(10 * np.log10(255.0**2 / error)) if error else EQUAL_DB


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of two uint8 images (H, W, 3) by torchmetrics (Wang et al. 2004: a Gaussian window of 11
    pixels, each channel by itself), -1 to 1; 1 where they are equal."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    _alike(a, b, "SSIM")
    if min(a.shape[:2]) < 11:
        raise UserError(f"SSIM needs images of 11 pixels a side, got {a.shape[1]}x{a.shape[0]}")
    return float(structural_similarity_index_measure(_tensor(a), _tensor(b), data_range=1.0))


class Lpips:
    """LPIPS (Zhang et al., "The Unreasonable Effectiveness of Deep Features", 2018) with AlexNet, by torchmetrics.

    The linear heads come with torchmetrics; the AlexNet is torchvision's, from `weights`/ or from the cache of
    torch.hub. Nothing is downloaded: where the file is not, UserError.
    """

    def __init__(self, weights: Path):
        import torch

        places = [weights / ALEXNET_FILE, Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET_FILE]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise UserError(f"no AlexNet weights, so no LPIPS: put torchvision's {ALEXNET_FILE} into weights/")
        from torchmetrics.functional.image.lpips import _LPIPS

        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.network = _LPIPS(net="alex", pnet_rand=True)  # its heads; the random AlexNet is replaced here
            own = {f"net.{name}": state["features." + name.split(".", 1)[1]]
                   for name in self.network.net.state_dict()}  # slice2.3.weight is features.3.weight
            self.network.load_state_dict(own, strict=False)
        except Exception as error:  # unpickling lets through whatever the file provokes
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError(f"{path}: not torchvision's AlexNet ({reason[0][:120]}): fetch it again") from None
        self.sha256 = sha256(path)
        self.name = "LPIPS, AlexNet"

    def __call__(self, a: np.ndarray, b: np.ndarray) -> float:
        """Distance of two uint8 images (H, W, 3): 0 where they are equal."""
        import torch

        _alike(a, b, "LPIPS")
        if min(a.shape[:2]) < 32:
            raise UserError(f"LPIPS needs images of 32 pixels a side, got {a.shape[1]}x{a.shape[0]}")
        with torch.no_grad():
            return float(self.network(_tensor(a), _tensor(b), normalize=True))


def _alike(a: np.ndarray, b: np.ndarray, what: str) -> None:
    if a.shape != b.shape:
        raise UserError(f"{what} needs images of one size, got {a.shape} and {b.shape}")


def _tensor(image: np.ndarray):
    """uint8 (H, W, 3) -> float32 (1, 3, H, W) in [0, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None])).float() / 255


def colour_drifts(frames: np.ndarray) -> np.ndarray:
    """|mean colour - the first frame's mean colour| of each later frame, mean over channels -> (F - 1,) in [0, 1]."""
    if len(frames) < 2:
        raise UserError(f"colour drift needs 2 frames, got {len(frames)}: sample more frames")
    colours = frames.mean(axis=(1, 2), dtype=np.float64) / 255  # (F, 3)
    return np.abs(colours[1:] - colours[0]).mean(axis=1)


def colour_drift(frames: np.ndarray) -> float:
    """Mean of `colour_drifts`, in [0, 1]."""
    return float(colour_drifts(frames).mean())


def colour_slope(frames: np.ndarray) -> float:
    """Colour drift a frame: the slope of the least-squares line through each channel's mean colour over time, mean of
    its absolute value over channels, in [0, 1]. Change that comes and goes cancels; a steady fade does not."""
    if len(frames) < 2:
        raise UserError(f"colour drift a frame needs 2 frames, got {len(frames)}: sample more frames")
    colours = frames.mean(axis=(1, 2), dtype=np.float64) / 255
    slopes = np.polyfit(np.arange(len(frames)), colours, 1)[0]
    return float(np.abs(slopes.round(12)).mean())  # the fit's own error: a frozen film has no slope
