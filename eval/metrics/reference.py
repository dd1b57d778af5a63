"""A film beside one set of real frames, by every metric that compares with real frames.

There are two such sets. The held-out frames are what a film should be like. The same frames through the autoencoder are
the ceiling of a latent method: no film of it has more detail, and what is left to them is the method's own.
"""

from __future__ import annotations

import numpy as np

from eval.metrics import clip as clips
from eval.metrics import coverage, dynamics
from eval.metrics.clip import ClipMetrics
from eval.metrics.film import alone, beside
from eval.metrics.frechet import (
    OWN,
    InceptionMetrics,
    VideoMetrics,
    fid_from_features,
    kid_from_features,
    too_short,
)
from eval.statistics.intervals import Measured, Row, measured, single

ADDED = ("velocity_gap", "acceleration_gap", "precision_inception", "recall_inception", "kid_subsets",
         "kid_subsets_deviation")


class Reference:
    """One set of real frames: `frames` uint8 (N, H, W, 3), of which `length` from `begin` on are compared step by step,
    or the reason why there are none. inception, clip: whose features are compared; features: the frames' Inception
    features where they are known though the frames are not."""

    def __init__(self, frames: np.ndarray | str, length: int, inception: InceptionMetrics, clip: ClipMetrics,
                 features: np.ndarray | str | None = None, begin: int = 0):
        self.frames, self.inception, self.clip, self.known = frames, inception, clip, features
        self.real = frames if isinstance(frames, str) else frames[begin:begin + length]
        self.vectors = self.real if isinstance(self.real, str) else measured(dynamics.tracks, self.real)

    def added(self, frames: np.ndarray, label: str = "frames", is_real: bool = False) -> Row:
        """Velocities and accelerations beside the reference's, precision, recall and KID by subsets, of a film uint8
        (F, H, W, 3). is_real: the frames are some of the reference's."""
        return self._gaps(frames) | self._coverage(frames, label, is_real)

    def _gaps(self, frames: np.ndarray) -> Row:
        own = measured(dynamics.tracks, frames)
        reason = next((vectors for vectors in (self.vectors, own) if isinstance(vectors, str)), None)
        if reason:
            return {"velocity_gap": reason, "acceleration_gap": reason}
        return {name: single(dynamics.vector_gap(a, b))
                for name, a, b in zip(("velocity_gap", "acceleration_gap"), own, self.vectors)}

    def _features(self, is_real: bool) -> np.ndarray | str:
        """The reference's Inception features, or why a film is not compared with them."""
        if isinstance(self.known, np.ndarray):
            return self.known
        if isinstance(self.frames, str) or is_real:
            return self.frames if isinstance(self.frames, str) else OWN
        return self.inception.backend.get("refused") or self.inception.features(self.frames, "reference")

    def _images(self, frames: np.ndarray, label: str) -> np.ndarray | str:
        """A film's Inception features, of as many frames as every film's, or why there are too few: what is compared
        depends on their number."""
        length = self.inception.length
        if len(frames) < length:
            return too_short(len(frames), length)
        return self.inception.features(frames, label)[:length]

    def _coverage(self, frames: np.ndarray, label: str, is_real: bool) -> Row:
        real, names = self._features(is_real), ADDED[2:]
        if isinstance(real, str):
            return dict.fromkeys(names, real)
        images, row = self._images(frames, label), {}
        for pair, function in ((names[:2], coverage.precision_recall), (names[2:], coverage.kid_subsets)):
            found = images if isinstance(images, str) else measured(function, images, real)
            row |= dict.fromkeys(pair, found) if isinstance(found, str) else {
                name: single(value) for name, value in zip(pair, found)}
        return row

    def all(self, frames: np.ndarray, own: Row, video: VideoMetrics, label: str = "frames",
            is_real: bool = False, some: bool = False) -> Row:
        """Every metric of TO_HELDOUT, of a film beside these frames instead of the held-out ones.

        own: what `eval.metrics.film.alone` says of the film; video: FVD to these frames. is_real: the film is these
        frames; some: it is made of some of them, in another order, so that its motion alone is compared. Raises
        nothing: a metric that cannot be measured is its reason.
        """
        if is_real:
            return dict.fromkeys((*ADDED, "motion_ratio", "flow_warp_gap", "flow_speed_ratio", "flow_direction_gap",
                                  "spectrum_gap", "detail_ratio", "image_image", "fid_heldout", "kid_heldout",
                                  "fvd_heldout"), OWN)
        row = beside(frames, own, self.real, {} if isinstance(self.real, str) else alone(self.real))
        row |= self.added(frames, label, some) | video(frames, label, some)
        real = self._features(some)
        images = real if isinstance(real, str) else self._images(frames, label)
        for name, metric in (("fid_heldout", fid_from_features), ("kid_heldout", kid_from_features)):
            row[name] = next((known for known in (real, images) if isinstance(known, str)), None) or single(measured(
                metric, images, real))
        refused = self.clip.backend.get("refused") or (self.real if isinstance(self.real, str) else OWN if some else "")
        row["image_image"] = refused or Measured(clips.image_cosines(
            self.clip.features(frames, label), self.clip.features(self.real, "reference")), "frame")
        return row
