"""A still's colours moved towards those of the clip that it is animated by."""

from __future__ import annotations

import numpy as np

LOOKED_AT = 16  # frames of a clip, evenly spread


def match_colours(still: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """The still with the mean and the standard deviation of the clip in each channel of CIE L*a*b*.

    Reinhard et al. 2001, "Color transfer between images", which does it in the space l-alpha-beta. still: uint8
    (h, w, 3); frames: uint8 (F, H, W, 3). Returns uint8 (h, w, 3); colours beyond sRGB are cut off.
    """
    import cv2

    def lab(picture: np.ndarray) -> np.ndarray:  # float32 (H, W, 3), L* in 0 to 100
        return cv2.cvtColor(np.asarray(picture).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)

    chosen = np.asarray(frames)[np.linspace(0, len(frames) - 1, min(len(frames), LOOKED_AT)).round().astype(int)]
    wanted = np.concatenate([lab(frame).reshape(-1, 3) for frame in chosen])
    own = lab(still)
    deviation = own.std((0, 1))
    # of a grey still, a* and b* vary by rounding alone: nothing there to stretch
    scale = np.where(deviation > 0.1, wanted.std(0) / np.maximum(deviation, 0.1), 1)
    moved = ((own - own.mean((0, 1))) * scale + wanted.mean(0)).astype(np.float32)
    return (np.clip(cv2.cvtColor(moved, cv2.COLOR_LAB2RGB), 0, 1) * 255).round().astype(np.uint8)
