"""What of the picture is kept: detail, the first frame, the colours. Frames are uint8 (F, H, W, 3)."""

from __future__ import annotations

import numpy as np

from lnm.params import UserError

DETAIL_SIGMA = 1.0  # pixels; half of the residual's gain is reached at a period of 5.3 pixels
EQUAL_DB = 100.0  # what PSNR says of equal images, since infinity is no JSON number


def detail(frames: np.ndarray) -> float:
    """High-frequency energy: mean square of what a Gaussian blur of `DETAIL_SIGMA` pixels takes away, in [0, 1].

    Detail kept is this over the VAE reconstruction's: 1 is as sharp as the autoencoder allows; noise counts as detail.
    """
    import cv2

    x = frames.astype(np.float32) / 255
    residuals = [np.square(f - cv2.GaussianBlur(f, (0, 0), DETAIL_SIGMA)).mean(dtype=np.float64) for f in x]
    return float(np.mean(residuals))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two uint8 arrays of one shape, in dB; `EQUAL_DB` where they are equal."""
    if a.shape != b.shape:
        raise UserError(f"PSNR needs images of one size, got {a.shape} and {b.shape}")
    error = np.square(a.astype(np.float64) - b.astype(np.float64)).mean()
    return float(10 * np.log10(255.0**2 / error)) if error else EQUAL_DB


def colour_drift(frames: np.ndarray) -> float:
    """Mean over later frames and channels of |mean colour - the first frame's mean colour|, in [0, 1]."""
    if len(frames) < 2:
        raise UserError(f"colour drift needs 2 frames, got {len(frames)}: sample more frames")
    colours = frames.mean(axis=(1, 2), dtype=np.float64) / 255  # (F, 3)
    return float(np.abs(colours[1:] - colours[0]).mean())
