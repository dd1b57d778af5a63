"""What of the picture is kept: detail, the first frame, the colours. Frames are uint8 (F, H, W, 3)."""

from __future__ import annotations

import numpy as np

from eval.features.devices import tensor
from eval.registry import DETAIL_SIGMA, EQUAL_DB
from lnm.errors import UserError


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
    return float(structural_similarity_index_measure(tensor(a), tensor(b), data_range=1.0))


def _alike(a: np.ndarray, b: np.ndarray, what: str) -> None:
    if a.shape != b.shape:
        raise UserError(f"{what} needs images of one size, got {a.shape} and {b.shape}")


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
