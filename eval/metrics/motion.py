"""How much a film moves, where to, at which tempo, and whether what moves is carried along or replaced.

Frames are uint8 (F, H, W, 3); every value is per frame step, so only films of one fps and one size compare.
A frozen film scores 0 on motion, flicker and flow: read them against the real clip's value, never alone.
Functions in the plural give a value a step; the singular is their mean over the film.
"""

from __future__ import annotations

import numpy as np

from eval.features.flow import dis, dis_pairs
from lnm.errors import UserError

SECTORS = 16  # bins of flow direction; the first is centred on motion to the right, the fifth on motion downwards
ROUNDING = 1 / 255**2 / 12  # power of 8-bit rounding: the floor of every spectrum, so a frozen film has a distance


def _at_least(frames: np.ndarray, count: int, what: str) -> np.ndarray:
    if len(frames) < count:
        raise UserError(f"{what} needs {count} frames, got {len(frames)}: sample more frames")
    return frames.astype(np.float32) / 255


def energies(frames: np.ndarray) -> np.ndarray:
    """Mean absolute difference of consecutive frames over pixels and channels -> (F - 1,) in [0, 1]."""
    x = _at_least(frames, 2, "motion energy")
    return np.abs(x[1:] - x[:-1]).mean(axis=(1, 2, 3), dtype=np.float64)


def motion_energy(frames: np.ndarray) -> float:
    """Mean over the film of `energies`, in [0, 1] (1 = black to white)."""
    return float(energies(frames).mean())


def flickers(frames: np.ndarray) -> np.ndarray:
    """Half the mean absolute second difference in time, |x[t+1] - 2 x[t] + x[t-1]| / 2 -> (F - 2,) in [0, 1].

    Change that goes on in one direction scores 0; change that is taken back in the next frame scores as much as its
    motion energy.
    """
    x = _at_least(frames, 3, "flicker")
    return np.abs(x[2:] - 2 * x[1:-1] + x[:-2]).mean(axis=(1, 2, 3), dtype=np.float64) / 2


def flicker(frames: np.ndarray) -> float:
    """Mean over the film of `flickers`, in [0, 1]."""
    return float(flickers(frames).mean())


def flow_warps(frames: np.ndarray) -> dict[str, np.ndarray]:
    """Flow-warp error after Lai et al., "Learning Blind Video Temporal Consistency" (2018), by OpenCV's DIS flow.

    For each pair the next frame is warped back along the flow and compared with this one, as a mean absolute
    difference (the unit of `motion_energy`: their ratio is the share of change that no motion explains). Pixels
    whose forward and backward flow disagree (Sundaram et al. 2010: |f + b|^2 > 0.01 (|f|^2 + |b|^2) + 0.5) or that
    leave the picture are occluded and left out; a pair with no pixel left counts with all of them.

    Returns (F - 1,) each: "error" in [0, 1], "visible" the share of pixels compared, "speed" the mean flow length in
    pixels a step; and "directions" (F - 1, SECTORS), the speed shared out by where it points.
    """
    import cv2

    x = _at_least(frames, 2, "flow-warp error")
    height, width = frames.shape[1:3]
    if min(height, width) < 16:
        raise UserError(f"flow-warp error needs frames of 16 pixels a side, got {width}x{height}")
    there, back = dis(frames), dis_pairs(frames[1:], frames[:-1])
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    errors, visible, speeds, directions = [], [], [], []
    for t, (forward, backward) in enumerate(zip(there, back)):  # (H, W, 2): where each pixel of t went, came from
        to_x, to_y = columns + forward[..., 0], rows + forward[..., 1]
        warped = cv2.remap(x[t + 1], to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        returned = cv2.remap(backward, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        gap = np.square(forward + returned).sum(-1)
        seen = gap <= 0.01 * (np.square(forward).sum(-1) + np.square(returned).sum(-1)) + 0.5
        seen &= (to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1)
        difference = np.abs(x[t] - warped).mean(-1)
        errors.append(difference[seen].mean(dtype=np.float64) if seen.any() else difference.mean(dtype=np.float64))
        visible.append(seen.mean())
        length = np.linalg.norm(forward, axis=-1).ravel()
        speeds.append(length.mean(dtype=np.float64))
        angle = np.arctan2(forward[..., 1], forward[..., 0]).ravel()
        bins = np.rint(angle * SECTORS / (2 * np.pi)).astype(int) % SECTORS
        directions.append(np.bincount(bins, length, SECTORS) / length.size)
    return {"error": np.array(errors), "visible": np.array(visible), "speed": np.array(speeds),
            "directions": np.array(directions)}


def flow_warp(frames: np.ndarray) -> dict[str, float]:
    """Mean over the film of `flow_warps`' "error", "visible" and "speed"."""
    steps = flow_warps(frames)
    return {name: float(steps[name].mean()) for name in ("error", "visible", "speed")}


def direction_gap(a: np.ndarray, b: np.ndarray) -> float:
    """Degrees, 0 to 180, by which flow directions a (SECTORS,) must turn on average to become b, whatever the
    speeds: the earth mover's distance on the circle (Rabin et al., "Transportation Distances on the Circle", 2011)."""
    tiny = 1e-12  # a histogram without motion points everywhere alike
    excess = np.cumsum((a + tiny) / (a + tiny).sum() - (b + tiny) / (b + tiny).sum())
    return float(np.abs(excess - np.median(excess)).sum() * 360 / SECTORS)


def spectra(frames: np.ndarray, tiles: int = 4) -> np.ndarray:
    """Temporal power spectrum of each pixel and channel, averaged over each of `tiles` x `tiles` parts of the picture.

    Returns (tiles^2, F // 2): the power |X|^2 / F at 1, 2, ... cycles a film, above the floor `ROUNDING`. No window:
    both films of a comparison are cut to one length, so they leak alike. Two-sided: a one-sided spectrum would count
    every frequency twice but that of alternation.
    """
    from scipy.signal import periodogram  # takes a while to load

    x = _at_least(frames, 4, "a temporal spectrum")
    parts = [part for band in np.array_split(x, tiles, axis=1) for part in np.array_split(band, tiles, axis=2)]
    spectra = [periodogram(part, detrend=False, return_onesided=False, axis=0)[1] for part in parts]  # (F, h, w, 3)
    return np.stack([power[1:len(x) // 2 + 1].mean(axis=(1, 2, 3)) for power in spectra]) + ROUNDING


def spectrum_gap(a: np.ndarray, b: np.ndarray) -> float:
    """Log-spectral distance in dB between two power spectra (K,): the root mean square of 10 log10(a / b)."""
    return float(np.sqrt(np.square(10 * np.log10(a / b)).mean()))


def busiest_row(frames: np.ndarray) -> int:
    """The row of a film (F, H, W, 3) that changes most from frame to frame, no nearer to an edge than a tenth; of one
    frame the middle one."""
    if len(frames) < 2:
        return frames.shape[1] // 2
    change = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean((0, 2, 3))
    edge = len(change) // 10
    return edge + int(change[edge:len(change) - edge].argmax())
