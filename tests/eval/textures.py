"""Films whose motion is known."""

import numpy as np

SIZE = 64


def texture(seed=0, size=2 * SIZE):
    """A smooth random picture, uint8 (size, size, 3)."""
    import cv2

    noise = np.random.default_rng(seed).standard_normal((size, size, 3)).astype(np.float32)
    picture = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.uint8(np.clip(128 + 45 * picture / picture.std(), 0, 255))


def translated(step=2, count=6):
    """A window that moves `step` pixels a frame over one picture."""
    picture = texture()
    return np.stack([picture[16:16 + SIZE, step * t:step * t + SIZE] for t in range(count)])


def noise(count=6, seed=0):
    """A different picture every frame."""
    return np.stack([texture(seed + t, SIZE) for t in range(count)])
