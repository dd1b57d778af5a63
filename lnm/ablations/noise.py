"""Noise that is correlated over frames, in training and in the film alike (Ge et al. 2023, "Preserve Your Own
Correlation", section 4)."""

from __future__ import annotations

import torch

INDEPENDENT = "independent"
NOISES = (INDEPENDENT, "mixed", "progressive")
ALPHA = 1.0  # shared against own: of the mixed noise half of the variance is shared


def correlation(kind: str, frames: int, alpha: float = ALPHA) -> torch.Tensor:
    """Correlation of the noise of any two of `frames` frames, (F, F) float64 with ones on the diagonal.

    mixed: every frame has a shared part of variance alpha^2 / (1 + alpha^2) and one of its own, so that any two have
    that correlation. progressive: a frame's noise is alpha / sqrt(1 + alpha^2) times that of the frame before, and a
    part of its own, so that two have that factor to the power of their distance. independent: none.
    """
    shared, alone = alpha**2 / (1 + alpha**2), torch.eye(frames, dtype=torch.float64)
    if kind == "progressive":
        distance = (torch.arange(frames)[:, None] - torch.arange(frames)[None]).abs().double()
        return shared ** (distance / 2)
    return alone if kind == INDEPENDENT else shared + (1 - shared) * alone


def correlated(noise: torch.Tensor, kind: str, alpha: float = ALPHA) -> torch.Tensor:
    """Independent noise (B, C, F, h, w) of deviation 1 -> noise of that shape and deviation with `correlation` over F.

    By the Cholesky factor of the correlation, a function of the noise given: the first frame's stays what it is, and
    for progressive noise it is the recursion of eq. 6 itself. What is independent is given back untouched.
    """
    if kind == INDEPENDENT:
        return noise
    factor = torch.linalg.cholesky(correlation(kind, noise.shape[2], alpha)).to(noise)
    return torch.einsum("fg,bcghw->bcfhw", factor, noise)
