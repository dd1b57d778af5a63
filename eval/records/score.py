"""Scores anybody's frames: every metric with its interval, controls beside it, refusals with their reasons.

    lnm score --frames DIR_OR_VIDEO --method NAME [--reference DIR_OR_VIDEO] [--prompt "..."] [--json FILE]

The metrics are those of the pipeline (eval/registry.py); `held-out` is what --reference gives. Nothing is known of the
method but its frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.features.devices import pick_device, version
from eval.features.lpips import Lpips
from eval.films import controls
from eval.films.read import read, read_images
from eval.metrics import motion
from eval.metrics.clip import ClipMetrics
from eval.metrics.film import alone, beside, nearest, start
from eval.metrics.flags import flags
from eval.metrics.frechet import InceptionMetrics, VideoMetrics
from eval.registry import IN_TIME, TO_HELDOUT, UNITS
from eval.statistics.intervals import Measured, Row, measured, rounded
from eval.statistics.small import LEVEL
from lnm.errors import UserError
from lnm.files import cache_folder
from lnm.workflow.params import load, root

NOTE = ("Intervals leave out stretches of time (jackknife), and are left out where the frames are too alike to carry "
        "one. They speak of this film alone: another film of the method, another still, another fine-tune differ by "
        "more, and of one film nothing says by how much.")
LABELS = {"static": "static", "static_noise": "static + noise", "shuffled": "shuffled",
          "reference": "reference"}


@dataclass
class Given:
    """What a request names, as frames uint8 (F, H, W, 3), or the reason why there is none."""

    frames: np.ndarray
    fps: float | None
    reference: np.ndarray | str
    reference_fps: float | None
    train: np.ndarray | str
    still: np.ndarray | str  # (H, W, 3)
    size: int | None  # the side of the squares that all were cut to; None: as the frames are

    @classmethod
    def read(cls, args) -> Given:
        """Raises UserError for what cannot be read, or a still of another size."""
        sources = {option: read(f"--{option}", getattr(args, option), args.fps, args.size)
                   for option in ("frames", "reference", "train")}
        size = args.size
        sizes = {source[0].shape[1:3] for source in sources.values() if source}
        if len(sizes) > 1:  # squares as large as the smallest allows, the same for all
            size = min(side for shape in sizes for side in shape)
            sources = {option: read(f"--{option}", getattr(args, option), args.fps, size) for option in sources}
        frames, fps = sources["frames"]
        no_reference, no_train = "no real frames to compare with (--reference)", "no training frames (--train)"
        reference, reference_fps = sources["reference"] or (no_reference, None)
        train, _ = sources["train"] or (no_train, None)
        still = "no still to compare with (--still, or --reference)" if isinstance(reference, str) else reference[0]
        if args.still:
            from lnm import video

            square = size or (frames.shape[1] if frames.shape[1] == frames.shape[2] else None)
            still = video.read_image(args.still, square)
            if still.shape != frames[0].shape:
                raise UserError(f"--still {args.still}: {still.shape[1]} x {still.shape[0]}, the frames are "
                                f"{frames.shape[2]} x {frames.shape[1]}: give --size")
        return cls(frames, fps, reference, reference_fps, train, still, size)

    @property
    def real(self) -> np.ndarray | str:
        """As much of the reference as the film has frames."""
        return self.reference if isinstance(self.reference, str) else self.reference[:len(self.frames)]

    @property
    def out_of_step(self) -> bool:
        """Whether film and reference are of different frame rates."""
        return bool(self.fps and self.reference_fps and abs(self.fps / self.reference_fps - 1) > 0.01)


class Scorer:
    """Every metric of a film beside what was given: the networks behind them are opened once."""

    def __init__(self, args, given: Given):
        home, clip = _home(), load().checkpoint.clip if args.clip is None else args.clip
        device = pick_device(args.device)
        self.given, self.real = given, given.real
        images = read_images(args.images and Path(args.images), given.size or min(given.frames.shape[1:3]))
        self.clip = ClipMetrics(
            None if clip == "none" else clip, home, device, args.prompt or "", args.other_prompt, images, self.real,
            "" if args.prompt else "no prompt was given (--prompt)")
        length = len(given.frames) if isinstance(self.real, str) else len(self.real)
        self.inception = InceptionMetrics(True, home, device, given.train, given.reference, length)
        self.video = VideoMetrics(home, device, given.reference, length)
        self.lpips = measured(Lpips, home / "weights")
        self.real_row = {} if isinstance(self.real, str) else alone(self.real)

    def __call__(self, film: np.ndarray, label: str, part_of: str = "") -> Row:
        """metric -> measured or reason. part_of: "real" where the frames are some of the reference's."""
        given, own = self.given, alone(film)
        row = own | beside(film, own, self.real, self.real_row) | nearest(film, given.train)
        row |= start(film[0], given.still, "the VAE is not known here", self.lpips)
        row["detail_kept"] = "the VAE is not known here"
        row |= self.clip(film, label, part_of == "real") | self.inception(film, label, part_of)
        row |= self.video(film, label, part_of == "real")
        if given.out_of_step and part_of != "real":
            reason = f"the frames play at {given.fps:g} fps, the reference at {given.reference_fps:g}: give --fps"
            row |= dict.fromkeys([metric for metric in TO_HELDOUT if metric.startswith(IN_TIME)], reason)
        return {metric: row[metric] for metric in UNITS}

    @property
    def backend(self) -> dict:
        """What stands behind the numbers, and what was done to the frames."""
        given, lpips = self.given, self.lpips
        return {
            "inception": self.inception.backend, "clip": self.clip.backend, "i3d": self.video.backend,
            "lpips": {"refused": lpips} if isinstance(lpips, str) else {"name": lpips.name, "sha256": lpips.sha256},
            "flow": f"OpenCV {version('cv2')} DIS, medium preset",
            "squares": f"centre squares of {given.size} pixels" if given.size else "frames as they are",
            "time": "frames are compared step by step" + (
                "" if given.fps and given.reference_fps else ", as if of one frame rate: a folder states none"),
        }


def score(args) -> dict:
    """Everything about one film, in the form of metrics.json: each entry as of `entry_of`. args: as `lnm score`
    parses them."""
    given = Given.read(args)
    row_of = Scorer(args, given)
    frames, real, reference, train = given.frames, given.real, given.reference, given.train
    films = {args.method: (frames, "")} | _controls(frames, real, args.seed)
    methods = {}
    for name, (film, part_of) in films.items():
        row = row_of(film, name, part_of)
        methods[name] = {metric: entry_of(row[metric], UNITS[metric]) for metric in UNITS}
    methods = rounded(methods)
    names = [name for name in films if name in LABELS]
    return rounded({
        "method": args.method,
        "frames": {"path": args.frames, "n": len(frames), "fps": given.fps, "size": list(frames.shape[1:3])},
        "reference": None if isinstance(reference, str) else
        {"path": args.reference, "n": len(reference), "fps": given.reference_fps, "compared": len(real)},
        "train": None if isinstance(train, str) else {"path": args.train, "n": len(train)},
        "prompt": args.prompt,
        "interval": {"level": LEVEL, "method": "jackknife by time", "note": NOTE},
        "backend": row_of.backend,
        "labels": {args.method: args.method} | {name: LABELS[name] for name in names},
        "controls": names,
        "methods": methods,
        # a reference compared with itself says nothing, so only metrics that stand alone can be flagged
        "flags": flags(methods, names, "reference", {}) if "reference" in films else [],
        "floors": row_of.inception.floors(),
        "fvd_floor": row_of.video.floor(),
    })


def _home() -> Path:
    """Where weights and cached features are looked for: the project, or outside of one the user's cache."""
    try:
        return root()
    except UserError:
        return cache_folder()


def _controls(frames: np.ndarray, real: np.ndarray | str, seed: int) -> dict[str, tuple[np.ndarray, str]]:
    """name -> (frames, which real set they are part of). The noise moves as much as the real frames do, and these are
    what is shuffled; without them the film's own frames are."""
    moving = frames if isinstance(real, str) else real
    films = {"static": (controls.static(frames[0], len(frames)), "")}
    if len(moving) > 1:
        sigma = controls.matched_sigma(frames[0], max(len(frames), 2), motion.motion_energy(moving), seed)
        films["static_noise"] = controls.static_noise(frames[0], len(frames), sigma, seed), ""
    if isinstance(real, str):
        return films | {"shuffled": (controls.shuffled(frames, seed), "")}
    return films | {"shuffled": (controls.shuffled(real, seed), "real"), "reference": (real, "real")}


def entry_of(entry: Measured | str, unit: str) -> dict:
    """{"value", "low", "high", "n", "parts", "unit"} of one film, and "no_interval", the reason, where low and high are
    None; or {"refused": reason}."""
    if isinstance(entry, str):
        return {"refused": entry}
    found = entry.interval()
    low, high = (None, None) if isinstance(found, str) else found
    said = {"value": entry.value, "low": low, "high": high, "n": len(entry.parts), "parts": entry.unit, "unit": unit}
    return said | {"no_interval": found} if isinstance(found, str) else said
