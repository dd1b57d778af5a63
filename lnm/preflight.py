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
# the 18 own pairs of the clips of data/ and footage/ (at most 12.1) from the 144 foreign ones (13.0 or more), by
# `python -m benchmarks.stills`; means and deviations alone, or directions of edges, did not part them


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
    height = round(frames.shape[1] * width / frames.shape[2])
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


def still_distance(frames: np.ndarray, still: np.ndarray) -> float:
    """How far a still is from the nearest of 32 frames of a clip: the mean CIE76 difference of colour over a 4 x 4
    grid, so of what colours lie where. frames: uint8 (F, H, W, 3); still: uint8 (h, w, 3) of that shape, any size."""
    import cv2

    def layout(picture: np.ndarray) -> np.ndarray:  # (4, 4, 3) CIE L*a*b*
        small = cv2.resize(np.asarray(picture), (64, 64), interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        return cv2.resize(lab, (4, 4), interpolation=cv2.INTER_AREA)

    chosen = frames[np.linspace(0, len(frames) - 1, min(len(frames), 32)).round().astype(int)]
    target = layout(still)
    return round(float(min(np.linalg.norm(layout(f) - target, axis=-1).mean() for f in chosen)), 2)


def _still(frames: np.ndarray, still: np.ndarray, name: str) -> dict:
    value = still_distance(frames, still)
    if value > STILL:
        return _finding(name, False, value,
                        f"The still does not look like the clip (colour difference {value:.0f}, usual is below "
                        f"{STILL:g}): its motion may not fit; give a still of a like scene.")
    return _finding(name, True, value, f"The still looks like the clip (colour difference {value:.1f}).")


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
