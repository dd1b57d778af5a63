"""How much a film moves, and whether what moves is carried along or replaced.

Frames are uint8 (F, H, W, 3); every value is per frame step, so only films of one fps and one size compare.
A frozen film scores 0 on all of these: read them against the real clip's value, never alone.
"""

from __future__ import annotations

import numpy as np

from lnm.params import UserError


def _at_least(frames: np.ndarray, count: int, what: str) -> np.ndarray:
    if len(frames) < count:
        raise UserError(f"{what} needs {count} frames, got {len(frames)}: sample more frames")
    return frames.astype(np.float32) / 255


def motion_energy(frames: np.ndarray) -> float:
    """Mean absolute difference of consecutive frames over pixels and channels, in [0, 1] (1 = black to white)."""
    x = _at_least(frames, 2, "motion energy")
    return float(np.abs(x[1:] - x[:-1]).mean(dtype=np.float64))


def flicker(frames: np.ndarray) -> float:
    """Half the mean absolute second difference in time, |x[t+1] - 2 x[t] + x[t-1]| / 2, in [0, 1].

    Change that goes on in one direction scores 0; change that is taken back in the next frame scores as much as its
    motion energy.
    """
    x = _at_least(frames, 3, "flicker")
    return float(np.abs(x[2:] - 2 * x[1:-1] + x[:-2]).mean(dtype=np.float64) / 2)


def flow_warp(frames: np.ndarray) -> dict[str, float]:
    """Flow-warp error after Lai et al., "Learning Blind Video Temporal Consistency" (2018), by OpenCV's DIS flow.

    For each pair the next frame is warped back along the flow and compared with this one, as a mean absolute
    difference (the unit of `motion_energy`: their ratio is the share of change that no motion explains). Pixels
    whose forward and backward flow disagree (Sundaram et al. 2010: |f + b|^2 > 0.01 (|f|^2 + |b|^2) + 0.5) or that
    leave the picture are occluded and left out; a pair with no pixel left counts with all of them.

    Returns {"error": in [0, 1], "visible": share of pixels compared, "speed": mean flow length in pixels a step}.
    """
    import cv2

    x = _at_least(frames, 2, "flow-warp error")
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    height, width = grey[0].shape
    if min(height, width) < 16:
        raise UserError(f"flow-warp error needs frames of 16 pixels a side, got {width}x{height}")
    estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    errors, visible, speeds = [], [], []
    for t in range(len(frames) - 1):
        forward = estimator.calc(grey[t], grey[t + 1], None)  # (H, W, 2): where each pixel of t went
        backward = estimator.calc(grey[t + 1], grey[t], None)
        to_x, to_y = columns + forward[..., 0], rows + forward[..., 1]
        warped = cv2.remap(x[t + 1], to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        returned = cv2.remap(backward, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        gap = np.square(forward + returned).sum(-1)
        seen = gap <= 0.01 * (np.square(forward).sum(-1) + np.square(returned).sum(-1)) + 0.5
        seen &= (to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1)
        difference = np.abs(x[t] - warped).mean(-1)
        errors.append(difference[seen].mean(dtype=np.float64) if seen.any() else difference.mean(dtype=np.float64))
        visible.append(seen.mean())
        speeds.append(np.linalg.norm(forward, axis=-1).mean(dtype=np.float64))
    return {"error": float(np.mean(errors)), "visible": float(np.mean(visible)), "speed": float(np.mean(speeds))}
