"""The camera's path through a clip, its cuts, the steadiest part, and a clip made still.

Corners (Shi & Tomasi 1994) are followed from frame to frame by pyramids (Lucas & Kanade 1981; Bouguet 2000); a turn, a
zoom and a shift that most of them share is found by RANSAC (Fischler & Bolles 1981). Four numbers a step, and not a
homography's eight: a far scene needs no more, and moving water bends the other four.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lnm import preflight
from lnm.errors import UserError

WIDTH = 256  # pixels; wider frames are made so wide before corners are followed
REACH = 0.5  # pixels at that width that a corner may lie beside the common movement
MARGIN = 7  # pixels at that width about a corner that are compared
LEAST_POINTS = 12  # fewer say nothing
STAYING = 0.1  # share of the corners that stay where the rest moves, from which on the rest is water or clouds
FEW, JUMP, JUMP_RATIO = 0.25, 0.3, 2.0  # a cut: few corners agree, and colours jump so far, so many times the usual
STEADY = 1.0  # % of the width within which a picture that wanders counts as still
AGREE = 0.5  # share of the corners below which the path may be that of things in the picture
REMAINS = 0.5  # share of the picture, by area, that must be left of a stabilised clip


@dataclass(frozen=True)
class CameraPath:
    """How the whole picture moves.

    steps: float64 (F - 1, 2, 3), each takes a pixel (x, y) of a frame to where it lies in the next; the identity at a
    cut and where nothing can be followed. inliers: float64 (F - 1,), the share in [0, 1] of a frame's corners that
    agree with it; for a camera that stands while most of the picture moves, of those that stay. size: (width, height)
    of the frames in pixels. cuts: indices of the frames that begin a new shot.
    """

    steps: np.ndarray
    inliers: np.ndarray
    size: tuple[int, int]
    cuts: list[int]

    @cached_property
    def whole(self) -> np.ndarray:
        """float64 (F, 3, 3): takes a pixel of the shot's first frame to where it lies in each frame."""
        out = [np.eye(3)]
        for i, step in enumerate(self.steps):
            out.append(np.eye(3) if i + 1 in self.cuts else np.vstack([step, [0, 0, 1]]) @ out[-1])
        return np.stack(out)

    @cached_property
    def shift(self) -> np.ndarray:
        """float64 (F, 2): pixels by which the picture's centre lies beside where it began; the camera went the other
        way."""
        centre = np.array([(self.size[0] - 1) / 2, (self.size[1] - 1) / 2, 1])
        return (self.whole @ centre - centre)[:, :2]

    @cached_property
    def rotation(self) -> np.ndarray:
        """float64 (F,): degrees, clockwise as one looks at the picture."""
        return np.degrees(np.arctan2(self.whole[:, 1, 0], self.whole[:, 0, 0]))

    @cached_property
    def zoom(self) -> np.ndarray:
        """float64 (F,): how many times as large the picture is as in the shot's first frame."""
        return np.sqrt(np.linalg.det(self.whole[:, :2, :2]))

    @property
    def shots(self) -> list[tuple[int, int]]:
        """(first, one past the last) frame of each shot."""
        edges = [0, *self.cuts, len(self.steps) + 1]
        return list(zip(edges[:-1], edges[1:], strict=True))

    def part(self, start: int, end: int) -> CameraPath:
        """The path of frames start to end - 1 alone."""
        cuts = [cut - start for cut in self.cuts if start < cut < end]
        return CameraPath(self.steps[start:end - 1], self.inliers[start:end - 1], self.size, cuts)

    def wander(self, start: int, end: int) -> float:
        """How far a corner of the picture gets in frames start to end - 1 of one shot, in % of the picture's width."""
        w, h = self.size[0] - 1, self.size[1] - 1
        corners = np.array([[0, 0, 1], [w, 0, 1], [0, h, 1], [w, h, 1]]).T
        at = (self.whole[start:end] @ np.linalg.inv(self.whole[start]) @ corners)[:, :2]
        return float(np.linalg.norm(np.ptp(at, axis=0), axis=0).max()) / self.size[0] * 100


# ---------------------------------------------------------------- the path


def path(frames: np.ndarray) -> CameraPath:
    """The path of the camera of uint8 frames (F, H, W, 3)."""
    import cv2

    frames = np.asarray(frames)
    height, width = frames.shape[1:3]
    wide = min(width, WIDTH)
    high = max(1, round(height * wide / width))
    grey = [cv2.cvtColor(cv2.resize(f, (wide, high), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY) for f in frames]
    found = [_step(a, b) for a, b in zip(grey[:-1], grey[1:], strict=True)]
    inliers = np.array([share for _, share in found])
    cuts = sorted({*preflight.cuts(frames), *_cuts(frames, inliers)})
    x, y = wide / width, high / height
    small = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])  # pixel centres, as OpenCV resizes
    steps = np.stack([np.linalg.inv(small) @ np.vstack([step, [0, 0, 1]]) @ small for step, _ in found])[:, :2] \
        if found else np.zeros((0, 2, 3))
    steps[[cut - 1 for cut in cuts]] = np.eye(3)[:2]
    return CameraPath(steps, inliers, (width, height), cuts)


def _step(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, float]:
    """(2 x 3 matrix, share of inliers) from one grey frame to the next."""
    import cv2

    none = np.eye(3)[:2], 0.0
    # a window that reaches over the border sees its last pixels repeated: in a pan that reads as a slow zoom
    room = np.pad(np.full([max(side - 2 * MARGIN, 0) for side in a.shape], 255, np.uint8), MARGIN)
    if room.shape != a.shape:
        return none
    corners = cv2.goodFeaturesToTrack(a, 400, 0.01, 5, mask=room)
    if corners is None:
        return none
    window: dict[str, Any] = {"winSize": (2 * MARGIN + 1,) * 2, "maxLevel": 4}
    there, found, _ = cv2.calcOpticalFlowPyrLK(a, b, corners, None, **window)
    back, refound, _ = cv2.calcOpticalFlowPyrLK(b, a, there, None, **window)
    good = (found[:, 0] == 1) & (refound[:, 0] == 1) & (np.abs(back - corners)[:, 0].max(1) < REACH)
    good &= ((there[:, 0] >= MARGIN) & (there[:, 0] < np.array(a.shape[::-1]) - MARGIN)).all(1)
    if good.sum() < LEAST_POINTS:
        return none
    p, q = corners[good, 0].astype(float), there[good, 0].astype(float)
    model, inside = cv2.estimateAffinePartial2D(p, q, method=cv2.RANSAC, ransacReprojThreshold=REACH,
                                                maxIters=2000, confidence=0.999, refineIters=10)
    if model is None:
        return none
    moved, said = np.linalg.norm(q - p, axis=1), np.linalg.norm(p @ model[:, :2].T + model[:, 2] - p, axis=1)
    beside = np.linalg.norm(p @ model[:, :2].T + model[:, 2] - q, axis=1)
    # were the camera moving, nothing would stay; in a turn or a zoom the centre does, but there the model says so too
    stays = (moved < 0.3 * np.median(said)) & (moved < beside)
    if stays.sum() >= max(STAYING * len(p), LEAST_POINTS):
        return np.eye(3)[:2], float(stays.sum() / len(corners))
    return model, float(inside.sum() / len(corners))


def _cuts(frames: np.ndarray, inliers: np.ndarray) -> list[int]:
    """Frames at which few corners can be followed and the histogram of colours jumps (Bhattacharyya distance)."""
    import cv2

    def colours(frame: np.ndarray) -> np.ndarray:
        small = cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA)
        return cv2.calcHist([small], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3)

    seen = [colours(f) for f in frames]
    jump = np.array([cv2.compareHist(a, b, cv2.HISTCMP_BHATTACHARYYA) for a, b in zip(seen[:-1], seen[1:])])
    usual = [np.median(np.r_[jump[max(0, i - 4):i], jump[i + 1:i + 5], 0]) for i in range(len(jump))]
    return [int(i) + 1 for i in np.flatnonzero((inliers < FEW) & (jump > JUMP) & (jump > JUMP_RATIO * np.array(usual)))]


# ---------------------------------------------------------------- what helps


def segment(way: CameraPath, count: int) -> tuple[int, int] | None:
    """The steadiest run of at least `count` frames of one shot, (first, one past the last); None where no shot is so
    long. It is that of `count` frames that wanders least, and as many more at its ends as keep it within STEADY."""
    runs = [(i, i + count) for a, b in way.shots for i in range(a, b - count + 1)]
    if not runs:
        return None
    start, end = min(runs, key=lambda run: (round(way.wander(*run), 2), run))
    first, last = next(shot for shot in way.shots if shot[0] <= start < shot[1])
    while end < last and way.wander(start, end + 1) <= STEADY:
        end += 1
    while start > first and way.wander(start - 1, end) <= STEADY:
        start -= 1
    return start, end


def remains(way: CameraPath, shape: tuple[int, int] | None = None) -> tuple[tuple[int, int, int, int], float]:
    """What all frames of a stabilised clip show: the largest box (left, top, right, bottom) in pixels of the first
    frame with the proportions of shape (width, height; None: the frames'), and its share of the largest one that a
    frame has, by area; a clip with cuts has none, share 0."""
    import cv2

    width, height = way.size
    across, down = shape or way.size
    largest = min(width / across, height / down)
    if way.cuts:
        return (0, 0, 0, 0), 0.0
    seen = np.ones((height, width), np.uint8)
    inner = np.pad(np.ones((max(height - 2, 0), max(width - 2, 0)), np.uint8), 1)[:height, :width]
    for matrix in way.whole:
        if not np.allclose(matrix, np.eye(3)):  # a pixel off the border: interpolation reaches so far
            seen &= cv2.warpAffine(inner, matrix[:2], (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    table = np.pad(seen.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))

    def place(scale: float) -> tuple[int, int, int, int] | None:
        w, h = int(across * scale + 1e-6), int(down * scale + 1e-6)
        if w < 1 or h < 1:
            return None
        full = table[h:, w:] - table[:-h, w:] - table[h:, :-w] + table[:-h, :-w] == w * h
        ys, xs = np.nonzero(full)
        if not len(ys):
            return None
        best = np.argmin((xs - (width - w) / 2) ** 2 + (ys - (height - h) / 2) ** 2)  # nearest to the middle
        return int(xs[best]), int(ys[best]), int(xs[best]) + w, int(ys[best]) + h

    low, high, box = 0.0, largest, place(largest)
    for _ in range(0 if box else 24):
        middle = (low + high) / 2
        if here := place(middle):
            low, box = middle, here
        else:
            high = middle
    if box is None:
        return (0, 0, 0, 0), 0.0
    return box, (box[2] - box[0]) * (box[3] - box[1]) / (across * largest * down * largest)


def stabilise(frames: np.ndarray, way: CameraPath, shape: tuple[int, int] | None = None) -> tuple[np.ndarray, float]:
    """Every frame laid upon the first, cut to what all of them show.

    frames: uint8 (F, H, W, 3), of which `way` is the path; shape: (width, height) whose proportions the result has.
    Returns uint8 (F, h, w, 3) and the share of the picture that remains. Raises UserError for a clip with cuts, and
    where less than REMAINS of the picture would remain.
    """
    import cv2

    if way.cuts:
        raise UserError(f"the clip has cuts (at frame {', '.join(map(str, way.cuts[:5]))}) and cannot be stabilised; "
                        "give start and end so that one shot is left")
    (left, top, right, bottom), share = remains(way, shape)
    if share < REMAINS:
        raise UserError(f"stabilised, {100 * share:.0f} % of the picture would remain, and {100 * REMAINS:.0f} % are "
                        "needed; set prepare.camera: segment, or give start and end")
    laid = [cv2.warpAffine(f, m[:2], way.size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)[top:bottom, left:right]
            for f, m in zip(np.asarray(frames), way.whole, strict=True)]
    return np.stack(laid), share


# ---------------------------------------------------------------- what is said


def findings(frames: np.ndarray, fps: float, count: int) -> list[dict]:
    """The path and what it offers, a line each, in the form of `lnm.preflight.check`; neither is a warning.

    frames: uint8 (F, H, W, 3); fps: of them; count: frames that a run needs at least.
    """
    way = path(frames)
    wander = max(way.wander(*shot) for shot in way.shots)
    where = f" in {len(way.shots)} shots (cuts at frame {', '.join(map(str, way.cuts[:5]))})" if way.cuts else ""
    share = float(np.median(way.inliers)) if len(way.inliers) else 1.0
    agree = f"{100 * share:.0f} % of the corners agree" if len(way.inliers) else "one frame"
    if share < AGREE:
        agree += ", few: this may be what moves in the picture, and not the camera"
    said = (f"The picture wanders by up to {wander:.1f} % of its width, turns by {np.abs(way.rotation).max():.1f} "
            f"degrees and zooms by {100 * np.abs(way.zoom - 1).max():.1f} %{where}; {agree}.")
    return [{"name": "path", "ok": True, "value": round(wander, 2), "say": said},
            {"name": "offer", "ok": True, "value": None, "say": _offer(way, fps, count)}]


def _offer(way: CameraPath, fps: float, count: int) -> str:
    """What would mend it, by the words that `prepare.camera` and `lnm animate --camera` take."""
    if not way.cuts and way.wander(0, len(way.steps) + 1) <= STEADY:
        return "Nothing needs to be mended."
    share = remains(way)[1]
    how = "prepare.camera (lnm animate --camera): "
    first = (f"{how}stabilise would keep {100 * share:.0f} % of the picture"
             if share >= REMAINS else "The whole clip cannot be stabilised"
             + (" over a cut" if way.cuts else f" ({100 * share:.0f} % of the picture would remain)"))
    run = segment(way, count)
    if run is None:
        return f"{first}; no shot has the {count} frames that segment needs."
    if run == (0, len(way.steps) + 1):
        return f"{first}; a run needs all of its frames, and no steadier part can be taken: give a longer clip."
    kept = remains(way.part(*run))[1]
    return (f"{first}; {how if share < REMAINS else ''}segment would take {run[0] / fps:.1f} to {run[1] / fps:.1f} s "
            f"({run[1] - run[0]} frames), which wander by {way.wander(*run):.1f} %, "
            + (f"or by these as start and end stabilise would keep {100 * kept:.0f} %." if kept >= REMAINS
               else f"and of which stabilise would keep {100 * kept:.0f} %, too little."))
