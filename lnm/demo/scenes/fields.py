"""Fractal fields, look-up in periodic tiles, and a soft step."""

from __future__ import annotations

import numpy as np


def spectral_noise(rng: np.random.Generator, n: int, slope: float) -> np.ndarray:
    """Periodic Gaussian field (n, n) whose power falls as k**-slope; mean 0, deviation 1."""
    k = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None]) * n
    k[0, 0] = np.inf
    spectrum = (rng.standard_normal(k.shape) + 1j * rng.standard_normal(k.shape)) * k ** (-slope / 2)
    noise = np.fft.irfft2(spectrum, (n, n)).astype(np.float32)
    return (noise - noise.mean()) / noise.std()


def sample(tile: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear look-up in a periodic tile (n, n[, c]); x, y in tiles (1.0 is one period)."""
    n = tile.shape[0]
    x, y = x * n, y * n
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = (x - x0).astype(np.float32), (y - y0).astype(np.float32)
    x0, y0 = x0.astype(np.int64) % n, y0.astype(np.int64) % n
    x1, y1 = (x0 + 1) % n, (y0 + 1) % n
    if tile.ndim == 3:
        fx, fy = fx[..., None], fy[..., None]
    top = tile[y0, x0] * (1 - fx) + tile[y0, x1] * fx
    bottom = tile[y1, x0] * (1 - fx) + tile[y1, x1] * fx
    return top * (1 - fy) + bottom * fy


def smoothstep(low, high, x):
    """0 below `low`, 1 above `high`, a cubic without corners between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
