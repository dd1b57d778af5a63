"""A crop that keeps what a clip is about: where its subject is in every frame, and a window that holds it.

A subject is what moves otherwise than the camera and the rest of the picture do, and what stands out in it. Motion is
DIS optical flow less the camera's own (`lnm.camera`); what stands out is spectral residual saliency (Hou & Zhang 2007,
"Saliency Detection: A Spectral Residual Approach"). A window that moves adds a pan to all that stands still, and layers
in time would learn it: so the window stands wherever one that stands holds the subject, and moves only where it must.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from lnm import camera, preflight, video
from lnm.errors import UserError
from lnm.flow import backward_flow
from lnm.settings import SUBJECT

WIDTH = 256  # pixels in which the subject is looked for
GRID = 64  # cells across in which its place is known
OWN = 0.15  # pixels a frame at WIDTH: flow that is no motion
CROWD = 2.0  # times the frame's median: what moves with the rest of the picture is no subject
TEXTURE = 3.0  # grey levels a pixel of slope, from which on flow is followed rather than guessed
BORDER = 6  # pixels at WIDTH in which it is not looked at
LEAST = 0.005  # mean of the mask of what moves, below which it counts for less than what stands out
SMOOTH = 0.5  # seconds, the deviation of the Gaussian along a path
GAIN = 1.1  # times what the centre part holds, a window must hold, or the centre part is taken
KEPT = 0.9  # of what the best window of each frame holds, a standing one must hold so much, or it moves


@dataclass(frozen=True)
class Window:
    """What is cut from a clip.

    boxes: float64 (1 or F, 4), left, top, width and height in pixels of the source: one that stands, or one a frame.
    found: "stays", "travels", "centre" where no other window holds GAIN times as much, None where it was not looked
    for. held, centre: the share in [0, 1] of what moves and stands out that is inside, and that would be inside the
    centre part of that size.
    speed: how fast a window that moves goes at most, in % of its width a second. source: (width, height) in pixels.
    """

    boxes: np.ndarray
    found: str | None
    held: float
    centre: float
    speed: float
    source: tuple[int, int]

    def part(self, start: int, end: int) -> Window:
        """That of frames start to end - 1 alone."""
        return self if len(self.boxes) == 1 else replace(self, boxes=self.boxes[start:end])

    def record(self) -> dict[str, Any]:
        """For clip.json: {"found", "held", "centre", "speed", "boxes"}."""
        boxes = self.boxes.round(2).tolist() if len(self.boxes) > 1 else self.boxes.round().astype(int).tolist()
        return {"found": self.found, "held": round(self.held, 3), "centre": round(self.centre, 3),
                "speed": round(self.speed, 2), "boxes": boxes}

    def finding(self) -> dict:
        """In the form of `lnm.preflight.check`; a window that moves as fast as a camera that is warned of is one."""
        x, y, w, h = self.boxes[0].round().astype(int).tolist()
        inside = f"{100 * self.held:.0f} % of what moves and stands out, the centre part {100 * self.centre:.0f} %"
        if self.found == "centre":
            said = (f"The centre part holds {100 * self.centre:.0f} % of what moves and stands out, no other window "
                    f"{GAIN:g} times that: the subject is in the centre, or everywhere, and the centre part is taken.")
        elif self.found == "stays":
            said = f"The subject stays: crop [{x}, {y}, {w}, {h}] holds {inside}."
        else:
            said = (f"The subject travels: a window of {w} x {h} that follows it holds {inside}. It goes by up to "
                    f"{self.speed:.0f} % of its width a second, which layers in time learn as a camera that pans; "
                    "give start and end, or a crop of your own, for one that stands.")
        return {"name": "crop", "ok": self.speed <= preflight.CAMERA, "value": round(self.held, 3), "say": said}


# ---------------------------------------------------------------- where the subject is


def saliency(grey: np.ndarray) -> np.ndarray:
    """What stands out of a picture, float32 (h, w) of sum 1: the spectral residual of uint8 (h, w)."""
    import cv2

    spectrum = np.fft.fft2(grey.astype(np.float64) / 255)
    amplitude = np.log(np.abs(spectrum) + 1e-8)
    residual = amplitude - cv2.blur(amplitude, (3, 3), borderType=cv2.BORDER_REFLECT)
    seen = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    return _shares(cv2.GaussianBlur(seen, (0, 0), 2.5))


def motion(frames: np.ndarray, way: camera.CameraPath) -> np.ndarray:
    """Pixels a frame by which each pixel moves otherwise than the camera, whose path is `way`: uint8 (F, H, W, 3) ->
    float32 (F, H, W)."""
    height, width = frames.shape[1:3]
    here = np.stack([*np.meshgrid(np.arange(width), np.arange(height)), np.ones((height, width))], axis=-1)
    own = np.zeros(frames.shape[:3], np.float32)
    for t, flow in enumerate(backward_flow(frames), 1):
        back = np.linalg.inv(np.vstack([way.steps[t - 1], [0, 0, 1]]))[:2]
        own[t] = np.linalg.norm(flow - (here @ back.T - here[..., :2]), axis=-1)
    for first, end in way.shots:  # which has no frame before it
        own[first] = own[first + 1] if end > first + 1 else 0
    return own


def moving(frame: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """What of a frame moves by itself, float32 (H, W) in [0, 1], of what `motion` has of it: not what is flat, where
    flow is a guess, and not the border, over which it came in. frame: uint8 (H, W, 3)."""
    import cv2

    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    slope = cv2.Sobel(grey, -1, 1, 0, scale=0.125) ** 2 + cv2.Sobel(grey, -1, 0, 1, scale=0.125) ** 2  # grey / pixel
    sure = cv2.GaussianBlur(slope, (0, 0), 2.0)
    beyond = np.maximum(speed - max(OWN, CROWD * float(np.median(speed))), 0)
    mask = beyond / (beyond + 1) * sure / (sure + TEXTURE ** 2)
    for side in (mask[:BORDER], mask[-BORDER:], mask[:, :BORDER], mask[:, -BORDER:]):
        side[:] = 0
    return mask


def weights(frames: np.ndarray, way: camera.CameraPath) -> np.ndarray:
    """Where the subject is: uint8 (F, H, W, 3) -> float32 (F, h, GRID), the sum of each frame 1. Half of it is what
    moves by itself, half what stands out; less of the former where next to nothing moves."""
    import cv2

    size = (GRID, max(1, round(frames.shape[1] * GRID / frames.shape[2])))
    found = []
    for frame, speed in zip(frames, motion(frames, way), strict=True):
        moves = cv2.resize(moving(frame, speed), size, interpolation=cv2.INTER_AREA)
        grey = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
        share = 0.5 * min(1.0, float(moves.mean()) / LEAST)
        found.append(share * _shares(moves) + (1 - share) * saliency(grey))
    return np.stack(found)


def _shares(field: np.ndarray) -> np.ndarray:
    """float32 of sum 1; of nothing, the same everywhere."""
    total = field.sum()
    return (field / total if total > 0 else np.full(field.shape, 1 / field.size)).astype(np.float32)


# ---------------------------------------------------------------- the window


def follow(frames: np.ndarray, fps: float, width: float, height: float) -> Window:
    """The window of width x height pixels that holds the subject of uint8 frames (F, H, W, 3) of `fps`; sides of 16
    pixels or more."""
    way = camera.path(frames)
    raw = weights(frames, way)
    field = np.concatenate([_smooth(raw[slice(*shot)], SMOOTH * fps) for shot in way.shots])
    shape, cell = np.array([width, height]), frames.shape[2] / GRID
    room = np.maximum(np.array(way.size) - shape, 0)
    middle, count = room[None] / 2, len(frames)
    standing = _places(field.mean(0, keepdims=True), cell, shape, room)
    each = _places(field, cell, shape, room)
    going = np.concatenate([_smooth(each[slice(*shot)], SMOOTH * fps, "odd") for shot in way.shots]).clip(0, room)
    at = {"centre": middle, "stays": standing, "travels": going}
    held = {name: float(_inside(field, cell, np.broadcast_to(place, (count, 2)), shape)[0].mean())
            for name, place in at.items()}
    found = "stays" if held["stays"] >= KEPT * held["travels"] else "travels"
    found = found if held[found] >= GAIN * held["centre"] else "centre"
    speeds = [np.linalg.norm(np.diff(at[found][slice(*shot)], axis=0), axis=1).max(initial=0) for shot in way.shots]
    boxes = np.concatenate([at[found], np.broadcast_to(shape, at[found].shape)], axis=1)
    return Window(boxes, found, held[found], held["centre"], float(max(speeds)) * fps / width * 100, way.size)


def _places(field: np.ndarray, cell: float, shape: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Left and top (F, 2) in pixels of the window that holds the most of each frame of a field (F, h, w) of cells, the
    middle of what it holds in its middle: from the best place the window is shifted to the mean of what is inside."""
    count, high, wide = field.shape
    w, h = np.clip((shape / cell).round().astype(int), 1, (wide, high))
    table = np.pad(field.cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0)))
    sums = table[:, h:, w:] - table[:, :-h, w:] - table[:, h:, :-w] + table[:, :-h, :-w]
    top, left = np.unravel_index(sums.reshape(count, -1).argmax(1), sums.shape[1:])
    at = (np.stack([left, top], axis=1) * cell).clip(0, room)
    for _ in range(5):
        at = (_inside(field, cell, at, shape)[1] - shape / 2).clip(0, room)
    return at


def _inside(field: np.ndarray, cell: float, at: np.ndarray, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of windows at (F, 2) over a field (F, h, w): the share inside (F,), and its mean place (F, 2) in pixels."""
    covers, places = [], []
    for axis, count in enumerate(field.shape[:0:-1]):  # x, y
        edges = np.arange(count + 1) * cell
        low, high = at[:, axis, None], at[:, axis, None] + shape[axis]
        covers.append(np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None) / cell)
        places.append((edges[1:] + edges[:-1]) / 2)
    seen = field * covers[1][:, :, None] * covers[0][:, None, :]
    share = seen.sum((1, 2))
    mean = np.stack([(seen.sum(1) * places[0]).sum(1), (seen.sum(2) * places[1]).sum(1)], axis=1)
    return share, mean / np.maximum(share, 1e-12)[:, None]


def _smooth(values: np.ndarray, sigma: float, kind: Any = "even") -> np.ndarray:
    """A Gaussian of `sigma` frames along the first axis; its ends are mirrored, for "odd" upside down too, so that what
    moves evenly goes on."""
    reach = max(1, int(np.ceil(3 * sigma)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(values, [(reach, reach)] + [(0, 0)] * (values.ndim - 1), "reflect", reflect_type=kind)
    parts = (share * padded[k:k + len(values)] for k, share in enumerate(kernel / kernel.sum()))
    return np.asarray(sum(parts), values.dtype)


# ---------------------------------------------------------------- in and out


def asked(crop: Any) -> bool:
    """Whether a crop is SUBJECT, or [SUBJECT, width, height]."""
    return crop == SUBJECT or (not isinstance(crop, str) and crop is not None and len(crop) == 3 and crop[0] == SUBJECT)


def find(path: Path | str, fps: float, size: int | Sequence[int], crop: Any, start: float = 0.0,
         end: float | None = None, max_frames: int | None = None) -> Window | None:
    """The window of a clip, for a crop that is SUBJECT, as large as the source allows, or [SUBJECT, width, height] in
    its pixels; None for any other crop. The others as `lnm.video.read` takes them, and UserError as it raises it."""
    if not asked(crop):
        if isinstance(crop, str):
            raise UserError(f"crop: {crop}: give x, y, width, height, or {SUBJECT}, or {SUBJECT}, width, height")
        return None
    source = video.read(path, fps, None, None, start, end, 1).source_size
    fitting = [0, 0, *crop[1:]] if crop != SUBJECT else None
    left, top, right, bottom = video.crop_box(source, size, fitting, Path(path))
    frames, (x, y, scale) = whole(path, fps, source, start, end, max_frames)
    seen = follow(frames, fps, (right - left) / scale, (bottom - top) / scale)
    boxes = seen.boxes * scale + [x, y, 0, 0]
    boxes[:, 2:] = right - left, bottom - top
    boxes[:, :2] = boxes[:, :2].clip(0, np.array(source) - boxes[:, 2:])
    if len(boxes) == 1:
        boxes = boxes.round()
    return replace(seen, boxes=boxes, source=source)


def given(source: tuple[int, int], size: int | Sequence[int], crop: Any, path: Path) -> Window:
    """The window of a crop that is no SUBJECT; nothing was looked for."""
    left, top, right, bottom = video.crop_box(source, size, crop, path)
    return Window(np.array([[left, top, right - left, bottom - top]], float), None, 1.0, 1.0, 0.0, source)


def whole(path: Path | str, fps: float, source: tuple[int, int], start: float = 0.0, end: float | None = None,
          max_frames: int | None = None) -> tuple[np.ndarray, tuple[int, int, float]]:
    """All of a clip's picture, at most WIDTH wide, and (left, top) of what it shows of `source`, (width, height), with
    the pixels of the source that one of its own takes."""
    wide = min(WIDTH, source[0]) // 2 * 2
    shape = (wide, max(16, round(source[1] * wide / source[0] / 2) * 2))
    left, top, right, _ = video.centre_box(source, shape)
    return video.read(path, fps, shape, None, start, end, max_frames).frames, (left, top, (right - left) / wide)


def read(path: Path | str, fps: float, size: int | Sequence[int], window: Window, start: float = 0.0,
         end: float | None = None, max_frames: int | None = None) -> video.Clip:
    """The clip as its window shows it, as `lnm.video.read` gives it. A window that stands is a crop like any other; of
    one that moves, all that it passes over is read at twice the size, so that it may lie between pixels."""
    span = start, end, max_frames
    if len(window.boxes) == 1:
        return video.read(path, fps, size, window.boxes[0].astype(int).tolist(), *span)
    wide, high = video.sides(size)
    lows = np.floor(window.boxes[:, :2].min(0)).astype(int)
    highs = np.minimum(np.ceil((window.boxes[:, :2] + window.boxes[:, 2:]).max(0)).astype(int), window.source)
    scale = min(2 * wide / window.boxes[0, 2], 1.0)
    shape = np.maximum(((highs - lows) * scale).round().astype(int), 1)
    left, top, right, bottom = video.centre_box(tuple(highs - lows), tuple(shape))
    passed = [int(v) for v in (lows[0] + left, lows[1] + top, right - left, bottom - top)]
    clip = video.read(path, fps, shape.tolist(), passed, *span)
    ratio = shape / np.array(passed[2:])
    frames = []
    for frame, box in zip(clip.frames, window.boxes, strict=True):
        corner, sides = (box[:2] - passed[:2]) * ratio, np.minimum(box[2:] * ratio, shape)
        corner = corner.clip(0, shape - sides)
        picture = Image.fromarray(frame).resize((wide, high), Image.Resampling.LANCZOS,
                                                box=(*corner.tolist(), *(corner + sides).tolist()))
        frames.append(np.asarray(picture))
    return replace(clip, frames=np.stack(frames))


def drawn(path: Path | str, fps: float, window: Window, start: float = 0.0, end: float | None = None,
          max_frames: int | None = None) -> np.ndarray:
    """The whole picture with the window on it, what is cut off dimmed: uint8 (F, H, W, 3), both sides even."""
    frames, (left, top, scale) = whole(path, fps, window.source, start, end, max_frames)
    marked = []
    for frame, box in zip(frames, np.broadcast_to(window.boxes, (len(frames), 4)), strict=True):
        x, y, w, h = (box - [left, top, 0, 0]) / scale
        corners = np.array([x, y, x + w, y + h]).round().astype(int).clip(0, [*frame.shape[1::-1]] * 2).tolist()
        picture = Image.fromarray((frame * 0.45).astype(np.uint8))
        picture.paste(Image.fromarray(frame).crop(corners), corners[:2])
        edge = [*corners[:2], corners[2] - 1, corners[3] - 1]
        ImageDraw.Draw(picture).rectangle(edge, outline=(255, 208, 0), width=2)
        marked.append(np.asarray(picture))
    return np.stack(marked)
