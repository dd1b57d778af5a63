"""CLIPSIM and CLIPScore: two names for one primitive, the cosine between a prompt's and a frame's CLIP embedding.

Cosines of different CLIP models do not compare, so a value is always named by its model.
"""

from __future__ import annotations

import numpy as np

CLIPSCORE_WEIGHT = 2.5  # Hessel et al., "CLIPScore" (2021), section 3


def cosines(text: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Cosine of one text embedding (d,) and each image embedding (F, d) -> (F,) in [-1, 1]; any scale of either."""
    text, images = np.asarray(text, np.float64), np.asarray(images, np.float64)
    return images @ text / (np.linalg.norm(images, axis=-1) * np.linalg.norm(text))


def clipsim(text: np.ndarray, images: np.ndarray) -> float:
    """Mean cosine over the frames of a film: Wu et al., "GODIVA" (2021), equations 14 and 15."""
    return float(cosines(text, images).mean())


def clipscore(text: np.ndarray, images: np.ndarray) -> float:
    """CLIPScore view: mean over frames of 2.5 max(cosine, 0). The embeddings are CLIPSIM's: no prompt prefix."""
    return float(CLIPSCORE_WEIGHT * np.maximum(cosines(text, images), 0).mean())
