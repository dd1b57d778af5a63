"""A look at a clip before hours are spent on it: is it long enough, does it move, does the camera, are there cuts.

Each finding is a sentence a person can act on. None of them stops a run: the thresholds were set on the footage of
`lnm.demo.footage` and `lnm.demo.scenes`, where static cameras stay below 3.1 % of the width a second and pans
begin at 30, and any of them can be wrong on a picture unlike those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lnm.settings import Finetune

SHORTEST = 24  # frames: three quarters of it still hold windows of 5 frames at stride 2 that differ
CAMERA = 5.0  # % of the picture's width a second, below which a camera counts as still
MOTION = 0.002  # mean change of brightness over 0.4 s, of 1; still pictures with camera noise stay below
CUT_RATIO, CUT_CHANGE = 3.0, 0.02  # a cut changes the picture so many times as much as its neighbours, and so much
STILL = 12.5  # mean CIE76 colour difference over a 4 x 4 grid: clip and still of one scene below, of two above; parts
# the 18 own pairs of the clips of data/ and footage/ (at most 12.10) from the 144 foreign ones (13.05 or more), by
# `python -m benchmarks.stills`; what else is said of a still parted them less well, alone or beside the colours
FLAT = 0.05  # L* a pixel: a picture whose brightness is less steep has no edges
BOUNDARY = 5.0  # L* by which brightness steps at a horizon; on clouds, foliage and rain it stays below 4.5
TILT = 0.1  # share of the height within which two horizons count as one
EDGES = 1.5  # times as strong, or as weak, from which on a film is said to change more, or less, than the clip


def check(frames: np.ndarray, fps: float, still: np.ndarray | None = None, *more: np.ndarray) -> dict:
    """Look at a clip, and at the still, or the stills, it is to animate.

    frames: uint8 (F, H, W, 3); fps: of these frames; still: uint8 (H, W, 3) or None; more: further ones.
    Returns {"ok": all fine, "frames", "fps", "seconds", "findings": [{"name", "ok", "value", "say"}]}; the names are
    length, motion, cuts, camera and, with a still, still, then still 2 ... A value is None where it could not be
    measured.
    """
    frames = np.asarray(frames)
    cut = cuts(frames)
    findings = [_length(frames, fps), _motion(frames, fps), _cuts(cut, fps), _camera(frames, fps, cut)]
    given = [] if still is None else [still, *more]
    findings += [_still(frames, one, f"still {k + 1}" if k else "still") for k, one in enumerate(given)]
    return {"ok": all(f["ok"] for f in findings), "frames": len(frames), "fps": float(fps),
            "seconds": round(len(frames) / fps, 3), "findings": findings}


def joined(report: dict, more: list[dict]) -> dict:
    """A report with further findings behind its own."""
    findings = [*report["findings"], *more]
    return report | {"ok": all(found["ok"] for found in findings), "findings": findings}


def as_text(report: dict) -> str:
    """The report as text, one line a finding."""
    return "\n".join(f"{'ok     ' if f['ok'] else 'WARNING'} {f['name']}: {f['say']}" for f in report["findings"])


def _finding(name: str, ok: Any, value: Any, message: str) -> dict:
    return {"name": name, "ok": bool(ok), "value": value, "say": message}


def _length(frames: np.ndarray, fps: float) -> dict:
    count = len(frames)
    what = f"{count} frames, {count / fps:.1f} s at {fps:g} fps"
    if count < SHORTEST:
        return _finding("length", False, count, f"{what}, which is short: give at least {SHORTEST} frames, better 60.")
    return _finding("length", True, count, f"{what[0].upper() + what[1:]}.")


def _small(frames: np.ndarray, side: int) -> np.ndarray:
    """Area-averaged to side x side: float32 (F, side, side, 3) in [0, 1]."""
    import cv2

    small = [cv2.resize(f, (side, side), interpolation=cv2.INTER_AREA) for f in frames]
    return np.stack(small).astype(np.float32) / 255


def _motion(frames: np.ndarray, fps: float) -> dict:
    gap = min(max(1, round(0.4 * fps)), len(frames) - 1)
    if gap < 1:
        return _finding("motion", False, None, "One frame shows no motion: give a clip.")
    small = _small(frames, 32)
    value = round(float(np.abs(small[gap:] - small[:-gap]).mean()), 5)
    if value < MOTION:
        return _finding("motion", False, value, "Next to nothing moves in this clip: there is no motion to learn.")
    return _finding("motion", True, value, f"Something moves: brightness changes by {100 * value:.1f} % in 0.4 s.")


def cuts(frames: np.ndarray) -> list[int]:
    """Indices of the frames that begin a new shot; frames: uint8 (F, H, W, 3)."""
    if len(frames) < 4:
        return []
    change = np.abs(np.diff(_small(frames, 16), axis=0)).mean((1, 2, 3))
    around = np.array([np.median(np.r_[change[max(0, i - 4):i], change[i + 1:i + 5]]) for i in range(len(change))])
    return [int(i) + 1 for i in np.flatnonzero((change > CUT_CHANGE) & (change > CUT_RATIO * around))]


def _cuts(cut: list[int], fps: float) -> dict:
    if cut:
        where = ", ".join(f"{i / fps:.1f} s" for i in cut[:5]) + (" ..." if len(cut) > 5 else "")
        return _finding("cuts", False, cut,
                        f"The picture jumps at {where}: give start and end so that one shot is left.")
    return _finding("cuts", True, [], "No cuts.")


def camera_speed(frames: np.ndarray, fps: float, cut: Sequence[int] = ()) -> float | None:
    """How fast the whole picture moves at worst, in % of its width a second; None without texture to follow.

    Corners are followed over 0.4 s (Lucas & Kanade 1981; Shi & Tomasi 1994; those that do not find their way back
    are dropped). Were the camera still, some of them would stay: the measure is the tenth percentile of their speeds.
    Clouds and waves fill a picture, but near the horizon they hardly move; in a pan nothing stays.
    """
    import cv2

    width = 128
    height = max(1, round(frames.shape[1] * width / frames.shape[2]))  # of a strip too
    gap = max(1, round(0.4 * fps))
    grey = [cv2.cvtColor(cv2.resize(f, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
            for f in frames]
    speeds = []
    for i in range(0, len(grey) - gap, gap):
        if any(i < c <= i + gap for c in cut):
            continue
        points = cv2.goodFeaturesToTrack(grey[i], 200, 0.02, 4)
        if points is None:
            continue
        there, found, _ = cv2.calcOpticalFlowPyrLK(grey[i], grey[i + gap], points, None, winSize=(11, 11), maxLevel=3)
        back, refound, _ = cv2.calcOpticalFlowPyrLK(grey[i + gap], grey[i], there, None, winSize=(11, 11), maxLevel=3)
        good = (found[:, 0] == 1) & (refound[:, 0] == 1) & (np.abs(back - points)[:, 0].max(1) < 0.5)
        if good.sum() >= 12:
            moved = np.linalg.norm((there - points)[good, 0], axis=1)
            speeds.append(np.percentile(moved, 10) / width * 100 * fps / gap)
    return round(float(max(speeds)), 2) if speeds else None


def _camera(frames: np.ndarray, fps: float, cut: list[int]) -> dict:
    value = camera_speed(frames, fps, cut)
    if value is None:
        return _finding("camera", True, None, "Too little texture to tell whether the camera stands still.")
    if value > CAMERA:
        return _finding("camera", False, value,
                        f"The camera seems to move (the whole picture by up to {value:.0f} % of its width a second): "
                        f"the film would learn to pan; use a tripod shot.")
    return _finding("camera", True, value, f"The camera stands still (at most {value:.1f} % of the width a second).")


def spread(frames: np.ndarray, count: int) -> np.ndarray:
    """So many frames of a clip, evenly spread, or all of fewer."""
    return frames[np.linspace(0, len(frames) - 1, min(len(frames), count)).round().astype(int)]


def still_distance(frames: np.ndarray, still: np.ndarray) -> float:
    """How far a still is from the nearest of 32 frames of a clip: the mean CIE76 difference of colour over a 4 x 4
    grid, so of what colours lie where. frames: uint8 (F, H, W, 3); still: uint8 (h, w, 3) of that shape, any size."""
    import cv2

    def layout(picture: np.ndarray) -> np.ndarray:  # (4, 4, 3) CIE L*a*b*
        return cv2.resize(_lab(picture), (4, 4), interpolation=cv2.INTER_AREA)

    target = layout(still)
    return round(float(min(np.linalg.norm(layout(f) - target, axis=-1).mean() for f in spread(frames, 32))), 2)


def _lab(picture: np.ndarray) -> np.ndarray:
    """float32 (64, 64, 3) CIE L*a*b*."""
    import cv2

    small = cv2.resize(np.asarray(picture), (64, 64), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def lightness(picture: np.ndarray) -> np.ndarray:
    """float32 (64, 64), CIE L*, of a picture uint8 (H, W, 3)."""
    return _lab(picture)[..., 0]


def gradients(light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of float32 (H, W), the slope of every pixel, in L* a pixel, and its direction in [0, pi): 0 across, pi / 2
    down."""
    import cv2

    x, y = (cv2.Sobel(light, cv2.CV_32F, *way, scale=1 / 8) for way in ((1, 0), (0, 1)))
    return np.hypot(x, y), np.mod(np.arctan2(y, x), np.pi)


def orientations(light: np.ndarray) -> np.ndarray | None:
    """Which edges lie where: float32 (96,) of length 1, the slopes in 6 directions over a grid of 4 x 4 (histograms of
    oriented gradients, Dalal & Triggs 2005). None for a picture without edges."""
    import cv2

    slope, direction = gradients(cv2.GaussianBlur(light, (0, 0), 1.5))
    if slope.mean() < FLAT:
        return None
    place = direction / np.pi * 6
    near = [np.abs((place - k + 3) % 6 - 3) for k in range(6)]  # a direction counts for the two beside it
    bins = np.stack([slope * np.clip(1 - far, 0, 1) for far in near], -1).astype(np.float32)
    flat = cv2.resize(bins, (4, 4), interpolation=cv2.INTER_AREA).ravel()
    return flat / np.linalg.norm(flat)


def horizon(light: np.ndarray) -> float | None:
    """The row of the strongest horizontal boundary, as a share of the height from the top. None without one.

    light: float32 (64, 64), L*. At a row three quarters of the picture's width step the same way, from the mean of
    the four rows above to that of the four below, by an amount or more; where that amount is greatest, at least
    BOUNDARY and twice the median row's, lies the boundary. Four rows at either edge have none.
    """
    import cv2

    band, rows = 4, len(light)
    strips = cv2.resize(light, (16, rows), interpolation=cv2.INTER_AREA)
    below = np.cumsum(np.vstack([np.zeros((1, 16)), strips]), axis=0)
    at = np.arange(band, rows - band + 1)
    step = (below[at + band] - 2 * below[at] + below[at - band]) / band  # (57, 16)
    step.sort(axis=1)
    least = np.maximum(step[:, 4], -step[:, 11])  # 12 of the 16 strips step so far, or further
    return float(at[least.argmax()] / rows) if least.max() >= max(BOUNDARY, 2 * np.median(least)) else None


def _common_horizon(frames: Sequence[np.ndarray]) -> float | None:
    """The median of the frames' horizons; None where less than half of the frames have one within TILT of it."""
    rows = [row for row in map(horizon, frames) if row is not None]
    middle = float(np.median(rows)) if rows else 0.0
    return middle if 2 * sum(abs(row - middle) <= TILT for row in rows) >= len(frames) else None


def alignment(frames: np.ndarray, still: np.ndarray) -> dict[str, Any]:
    """How a still lies beside a clip; frames: uint8 (F, H, W, 3), still: uint8 (h, w, 3) of that shape, any size.

    colour: `still_distance`, in CIE76, 0 or more. layout: 1 less the cosine between the still's `orientations` and
    those of the nearest of 8 frames, from 0 to 1: the same edges in the same places are 0, however strong. edges: how
    many times as steep the still's brightness is as those frames', on average. still_horizon, clip_horizon: where each
    has its `horizon`, share of the height from the top, of the clip the median of the frames; horizon: the difference
    of the two, from 0 to 1. None for what a plain picture, or one without a horizon, does not have.
    """
    light, those = lightness(still), [lightness(frame) for frame in spread(frames, 8)]
    mine, others = orientations(light), [found for found in map(orientations, those) if found is not None]
    steep, usual = (float(np.mean([gradients(one)[0].mean() for one in some])) for some in ([light], those))
    still_at, clip_at = horizon(light), _common_horizon(those)
    layout = None if mine is None or not others else max(0.0, 1 - max(float(mine @ other) for other in others))
    return {"colour": still_distance(frames, still), "layout": None if layout is None else round(layout, 3),
            "edges": round(steep / usual, 3) if min(steep, usual) >= FLAT else None,
            "horizon": None if still_at is None or clip_at is None else round(abs(still_at - clip_at), 3),
            "still_horizon": still_at, "clip_horizon": clip_at}


def _measured(found: dict[str, Any]) -> str:
    """An alignment in words."""
    told = [f"colour difference {found['colour']:.{0 if found['colour'] > STILL else 1}f}, usual is below {STILL:g}"]
    if found["layout"] is not None:
        told.append(f"layout of edges {100 * found['layout']:.0f} % apart")
    if found["edges"] is not None:
        told.append(f"edges {found['edges']:.{1 if found['edges'] > 0.95 else 2}f} times as strong")
    mine, its = (found[f"{whose}_horizon"] for whose in ("still", "clip"))
    if mine is not None and its is not None:
        told.append(f"horizon {100 * mine:.0f} % from the top, the clip's {100 * its:.0f} %")
    elif mine is None and its is None:
        told.append("no horizon in either")
    else:
        told.append(f"a horizon in the {'clip' if mine is None else 'still'} alone")
    return "; ".join(told)


def _remedies(found: dict[str, Any]) -> list[str]:
    """What would bring the two nearer."""
    told = []
    if found["edges"] is not None and max(found["edges"], 1 / found["edges"]) > EDGES:
        told.append(f"its film is likely to change {'more' if found['edges'] > 1 else 'less'} than the clip does, and "
                    "match_colours brings that nearer")
    if found["colour"] > STILL and found["horizon"] is not None and found["horizon"] > TILT:
        told.append("cut it so that the two horizons lie alike")
    return told


def _still(frames: np.ndarray, still: np.ndarray, name: str) -> dict:
    found = alignment(frames, still)
    fits = found["colour"] <= STILL
    told = [] if fits else ["its motion may not fit; give a still of a like scene"]
    say = "; ".join(told + _remedies(found))
    head = "The still looks like the clip" if fits else "The still does not look like the clip"
    text = f"{head} ({_measured(found)}){': ' if say else ''}{say}."
    return _finding(name, fits, found["colour"], text) | {"alignment": found}


def forecast(settings: Finetune, n_frames: int, latent_shape: tuple[int, int, int], device: str) -> dict:
    """What a fine-tune will hold and do, counted and not measured.

    n_frames: of the training part; latent_shape: (C, h, w); device: as torch names it. Returns {"latents_mb",
    "frame_passes", "passes_per_frame", "device", "say"}; a frame pass is one frame forward and backward through the
    U-Net, so the time is their number times what one takes on the device at hand.
    """
    megabytes = n_frames * int(np.prod(latent_shape)) * 4 / 1e6
    passes = settings.ceiling * settings.batch_size * settings.frames
    per_frame = passes / max(n_frames, 1)
    most = "at most " if settings.steps == "auto" else ""
    text = (f"{n_frames} frames of latents take {megabytes:.1f} MB; {most}{settings.ceiling} steps of "
            f"{settings.batch_size} x {settings.frames} frames are {passes} frame passes, each frame about "
            f"{per_frame:.0f} times, on {device}.")
    return {"latents_mb": round(megabytes, 3), "frame_passes": passes, "passes_per_frame": round(per_frame, 2),
            "device": device, "say": text}
