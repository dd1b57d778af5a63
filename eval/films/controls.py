"""Films that nobody would call good, and films that are real: what a metric says of them says what it is worth.

A method is frames: each control is uint8 (F, H, W, 3), as any other film.
"""

from __future__ import annotations

import numpy as np

from eval.metrics.motion import motion_energy


def static(still: np.ndarray, num_frames: int) -> np.ndarray:
    """The still (H, W, 3), repeated: perfect fidelity, no motion."""
    return np.repeat(still[None], num_frames, axis=0)


def static_noise(still: np.ndarray, num_frames: int, sigma: float, seed: int) -> np.ndarray:
    """The still with fresh Gaussian noise of standard deviation `sigma` (in [0, 1]) on every frame, clipped."""
    noise = np.random.default_rng(seed).standard_normal((num_frames, *still.shape), dtype=np.float32)
    return np.clip(np.rint(still + 255 * sigma * noise), 0, 255).astype(np.uint8)


def matched_sigma(still: np.ndarray, num_frames: int, energy: float, seed: int) -> float:
    """The sigma at which `static_noise` has motion energy `energy`, by bisection; clipping at black and white means
    it is not simply sqrt(pi) / 2 times it. At most 1: no noise moves more than that."""
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        if motion_energy(static_noise(still, num_frames, middle, seed)) < energy:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def shuffled(frames: np.ndarray, seed: int) -> np.ndarray:
    """The frames in a random order: the same pictures, hence the same FID, and no time."""
    return frames[np.random.default_rng(seed).permutation(len(frames))]
