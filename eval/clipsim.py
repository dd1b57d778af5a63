"""CLIPSIM, CLIPScore, RM and image-to-image: views of one primitive, the cosine between two CLIP embeddings.

Cosines of different CLIP models do not compare, so a value is always named by its model.
"""

from __future__ import annotations

import numpy as np

CLIPSCORE_WEIGHT = 2.5  # Hessel et al., "CLIPScore" (2021), section 3
CLIPSCORE_PREFIX = "A photo depicts "  # ibid.: put before the caption


def cosines(text: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Cosine of one text embedding (d,) and each image embedding (F, d) -> (F,) in [-1, 1]; any scale of either."""
    text, images = np.asarray(text, np.float64), np.asarray(images, np.float64)
    return images @ text / (np.linalg.norm(images, axis=-1) * np.linalg.norm(text))


def clipsim(text: np.ndarray, images: np.ndarray) -> float:
    """Mean cosine over the frames of a film: Wu et al., "GODIVA" (2021), equations 14 and 15."""
    return float(cosines(text, images).mean())


def clipscores(text: np.ndarray, images: np.ndarray) -> np.ndarray:
    """CLIPScore of each frame, 2.5 max(cosine, 0) -> (F,). `text` embeds CLIPSCORE_PREFIX + prompt."""
    return CLIPSCORE_WEIGHT * np.maximum(cosines(text, images), 0)


def clipscore(text: np.ndarray, images: np.ndarray) -> float:
    """Mean of `clipscores` over the frames."""
    return float(clipscores(text, images).mean())


def image_cosines(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean cosine of each frame (F, d) with a set of images (N, d) -> (F,) in [-1, 1]; any scale of either."""
    return np.mean([cosines(other, images) for other in others], axis=0)
