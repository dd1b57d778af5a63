"""Memorisation: how far each frame is from the nearest training frame.

A film that copies its training clip is nearer to it than real frames that training never saw: read a value against the
held-out frames' own, not against zero.
"""

from __future__ import annotations

import numpy as np

BLOCK = 64  # training frames compared at once: bounds the memory


def nearest_rmse(frames: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Root mean square difference of each frame to the nearest training frame -> (F,) in [0, 1]. Both are uint8
    (., H, W, 3) of one size; exact, so a copy is at 0."""
    a = frames.reshape(len(frames), -1).astype(np.float64)  # whole numbers: sums of their products are exact
    nearest = np.full(len(a), np.inf)
    for start in range(0, len(train), BLOCK):
        b = train[start:start + BLOCK].reshape(-1, a.shape[1]).astype(np.float64)
        squared = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T  # (F, block)
        nearest = np.minimum(nearest, squared.min(1))
    return np.sqrt(nearest / a.shape[1]) / 255


def nearest_feature(features: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Cosine distance, 0 to 2, of each feature vector (F, d) to the nearest of the training frames' (N, d) -> (F,)."""
    a, b = (np.asarray(x, np.float64) / np.linalg.norm(x, axis=1, keepdims=True) for x in (features, train))
    return 1 - (a @ b.T).max(1)
