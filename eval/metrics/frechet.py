"""Fréchet and kernel distances from features, and what few frames do to them.

FID: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (2017). KID: Bińkowski et al., "Demystifying MMD
GANs" (2018). A FID of a handful of frames is mostly a statement about the handful: `rank_floor` and real frames
beside real frames say how much of a value is there before any two distributions differ, and stand beside every FID this
harness prints. KID's estimate is unbiased for independent frames; those of one film are not, and consecutive ones score
far above 0 where nothing differs, so it has the same floor.

FVD is FID's formula on I3D features of short clips (Unterthiner et al., "Towards Accurate Generative Models of Video",
2018). I3D sees no clip of fewer than 10 frames, so a shorter film has no FVD: repeating frames to get there measures
the repetition. A film here is one long sample of its video and not a set of clips, so what is compared is every window
of 10 consecutive frames of it with every such window of the real clip. The windows overlap: a value only compares with
others of the same numbers of frames.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from eval.features.cache import Features
from eval.features.i3d import I3D, I3D_FILE, windows
from eval.features.inception import INCEPTION_FILE, Inception
from eval.metrics import copying
from eval.registry import WINDOW
from eval.statistics import blocks
from eval.statistics.intervals import Measured, Row, measured
from lnm.errors import UserError


def fid_from_features(a: np.ndarray, b: np.ndarray) -> float:
    """FID between feature sets a (n1, d) and b (n2, d), n1, n2 >= 2; exact, in float64.

    |mean_a - mean_b|^2 + Tr S_a + Tr S_b - 2 Tr sqrt(S_a S_b), where the last trace is the nuclear norm of
    A B^T / sqrt((n1 - 1)(n2 - 1)) for the centred A and B: a small (n1, n2) matrix instead of the root of a
    (d, d) one, and no eps, no complex numbers.
    """
    if len(a) < 2 or len(b) < 2:
        raise UserError(f"FID needs 2 frames on both sides, got {len(a)} and {len(b)}: sample more frames")
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    centred_a, centred_b = a - a.mean(0), b - b.mean(0)
    between = np.square(a.mean(0) - b.mean(0)).sum()
    within = np.square(centred_a).sum() / (len(a) - 1) + np.square(centred_b).sum() / (len(b) - 1)
    gram = _rows(centred_a) @ _rows(centred_b).T  # (min(n1, d), min(n2, d))
    cross = np.linalg.svd(gram, compute_uv=False).sum() / np.sqrt((len(a) - 1.0) * (len(b) - 1.0))
    return float(between + within - 2 * cross)


def _rows(centred: np.ndarray) -> np.ndarray:
    """At most d rows with the same X^T X, hence the same covariance: R of the QR where there are more rows than d."""
    return np.linalg.qr(centred, mode="r") if len(centred) > centred.shape[1] else centred


def rank_floor(reference: np.ndarray, n: int) -> float:
    """The least FID that any n vectors can have to `reference` (m, d): they span n - 1 dimensions, so the reference
    covariance's eigenvalues past the first n - 1 remain whatever the n frames show."""
    reference = np.asarray(reference, np.float64)
    singular = np.linalg.svd(reference - reference.mean(0), compute_uv=False)
    return float(np.square(singular[n - 1:]).sum() / (len(reference) - 1))


def kid_from_features(a: np.ndarray, b: np.ndarray) -> float:
    """Squared MMD under the kernel (x.y / d + 1)^3 between a (n1, d) and b (n2, d): the unbiased estimate over all
    pairs (no subsets, hence no seed). It may be negative. For independent samples its expectation does not depend on n,
    unlike FID's; for consecutive frames it does, and is above 0 between equal distributions."""
    if len(a) < 2 or len(b) < 2:
        raise UserError(f"KID needs 2 frames on both sides, got {len(a)} and {len(b)}: sample more frames")
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)

    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    def without_itself(x):
        k = kernel(x, x)
        return (k.sum() - np.trace(k)) / (len(x) * (len(x) - 1))

    return float(without_itself(a) + without_itself(b) - 2 * kernel(a, b).mean())


def fvd_from_features(a: np.ndarray, b: np.ndarray) -> float:
    """FVD between the features of two sets of clips, (n1, 400) and (n2, 400)."""
    if len(a) < 2 or len(b) < 2:
        raise UserError(f"FVD needs 2 windows of {WINDOW} frames on both sides, got {len(a)} and {len(b)}: sample more "
                        "frames")
    return fid_from_features(a, b)


NAMES = ("fid_train", "fid_heldout", "kid_heldout", "nearest_inception")
OWN = "these frames are part of the reference"


def too_short(n: int, length: int) -> str:
    """Why a film of n frames has no distance where the others' are of `length` frames."""
    return f"{n} frames, the others' are of {length}: distances of another number of frames do not compare"


class InceptionMetrics:
    """FID, KID and the nearest training frame of a film by Inception features; where there are no weights, or where
    `train` or `real` is a reason instead of frames, the metrics that need them are refused. The features themselves
    need neither: `backend` says whether there are any.

    length: the frames, from the first on, of which every film's distances are: they depend on the number. contiguous:
    whether `real` goes on where `train` ends, so that the two are one clip. besides: frames of other clips that were
    trained on as well, where the nearest is looked for too.
    """

    def __init__(self, wanted: bool, root: Path, device: str, train: np.ndarray | str, real: np.ndarray | str,
                 length: int, contiguous: bool = False, besides: np.ndarray | None = None):
        self.refused, self.train, self.real = "", train, real
        self.length, self.contiguous = length, contiguous
        try:
            if not wanted:
                raise UserError("evaluate.fid is false")
            model = Inception(root / "weights" / INCEPTION_FILE, device)
        except UserError as error:
            self.refused = str(error)
            self.backend = {"refused": self.refused}
            return
        self.features = Features(model, root / "store" / "features")
        self.train, self.real = (frames if isinstance(frames, str) else self.features(frames, label)
                                 for frames, label in ((train, "training frames"), (real, "held-out frames")))
        self.besides = None if besides is None else self.features(besides, "training frames of other clips")
        self.backend = {"name": model.name, "sha256": model.sha256, "aspect": "squashed to 299x299 on both sides",
                        "frames_a_film": length}

    def __call__(self, frames: np.ndarray, label: str = "frames", part_of: str = "") -> Row:
        """part_of: "train" or "real" where the frames are some of these."""
        missing = (self.train, self.real, self.real, self.train)  # what was not given is said before what is not there
        if self.refused or all(isinstance(side, str) for side in missing):
            return {name: side if isinstance(side, str) else self.refused for name, side in zip(NAMES, missing)}
        images = self.features(frames, label)
        row: Row = {}
        for name, metric, reference, side in (
            ("fid_train", fid_from_features, self.train, "train"),
            ("fid_heldout", fid_from_features, self.real, "real"),
            ("kid_heldout", kid_from_features, self.real, "real"),
        ):
            row[name] = self._distance(metric, images, reference, part_of == side)
        row["nearest_inception"] = self.train if isinstance(self.train, str) else Measured(copying.nearest_feature(
            images, self.train if self.besides is None else np.concatenate([self.train, self.besides])), "frame")
        return row

    def _distance(self, metric: Callable, images: np.ndarray, reference: np.ndarray | str, own: bool):
        if isinstance(reference, str) or own:
            return reference if isinstance(reference, str) else OWN
        if len(images) < self.length:
            return too_short(len(images), self.length)
        images = images[:self.length]
        value = measured(metric, images, reference)
        return value if isinstance(value, str) else Measured(images, "frame", lambda parts: metric(parts, reference))

    def floors(self) -> dict:
        """What FID and KID say of a film before two distributions differ, of as many frames as every film's: the rank
        floor, and consecutive real frames beside others of the clip (`blocks.window_floor`)."""
        if "refused" in self.backend:
            return self.backend
        references = {name: side for name, side in (("train", self.train), ("heldout", self.real))
                      if not isinstance(side, str)}
        if not references:
            return {"refused": self.real}
        floors = {}
        for name, reference in references.items():
            pool = np.concatenate(list(references.values())) if self.contiguous else reference
            floors[name] = self._beside(reference, pool)
        return floors

    def floors_of(self, frames: np.ndarray | str) -> dict:
        """The same beside one set of real frames (N, H, W, 3) that is in no clip with others, such as those through the
        autoencoder: windows of it beside the rest of it."""
        refused = frames if isinstance(frames, str) else self.backend.get("refused")
        if refused:
            return {"refused": refused}
        features = self.features(frames, "reference")
        return self._beside(features, features)

    def _beside(self, reference: np.ndarray, pool: np.ndarray) -> dict:
        """The floors of films beside a reference, from windows of the pool. "n_reference" is of the value; what a floor
        was taken against stands in the floor: the pool may have no room for a window and as many besides."""
        rank = rank_floor(reference, self.length) if len(reference) > 1 else None  # one frame is no distribution
        return {"n": self.length, "n_reference": len(reference), "rank_floor": rank,
                "real_vs_real": _floor(fid_from_features, pool, self.length, len(reference)),
                "kid": _floor(kid_from_features, pool, self.length, len(reference))}


def _floor(metric: Callable, pool: np.ndarray, n: int, n_reference: int, gap: int = 0) -> dict:
    """`blocks.window_floor`, or {"refused": reason}."""
    found = measured(blocks.window_floor, metric, pool, n, n_reference, gap)
    return {"refused": found} if isinstance(found, str) else found


class VideoMetrics:
    """FVD of a film, or its refusal: too few frames first, then missing weights.

    real: held-out frames, or the reason why there are none; length: as of `InceptionMetrics`; train: the frames before
    `real` in the same clip, for the floor.
    """

    def __init__(self, root: Path, device: str, real: np.ndarray | str, length: int, train: np.ndarray | None = None):
        self.real, self.model = real, measured(I3D, root / "weights" / I3D_FILE, device)
        self.length, self.train = length, train
        if isinstance(self.model, str):
            self.backend = {"refused": self.model}
            return
        self.backend = {"name": self.model.name, "sha256": self.model.sha256, "frames_a_film": length}
        self.features = Features(self.model, root / "store" / "features")

    def __call__(self, frames: np.ndarray, label: str = "frames", is_real: bool = False) -> Row:
        return {"fvd_heldout": measured(self._fvd, frames, label, is_real)}

    def _fvd(self, frames: np.ndarray, label: str, is_real: bool) -> Measured:
        for reason in (self.real, self.model):
            clips = windows(frames[:self.length])
            if isinstance(reason, str):
                raise UserError(reason)
        if is_real:
            raise UserError(OWN)
        if len(frames) < self.length:
            raise UserError(too_short(len(frames), self.length))
        reference = self.features(windows(self.real), "real windows")
        images = self.features(clips, label)
        fvd_from_features(images, reference)
        return Measured(images, "window", lambda parts: fvd_from_features(parts, reference))

    def floor(self) -> dict:
        """What FVD says of consecutive real frames beside others, as many as every film's, or {"refused"}."""
        for reason in (self.real, self.model):
            if isinstance(reason, str):
                return {"refused": reason}
        pool = measured(windows, self.real if self.train is None else np.concatenate([self.train, self.real]))
        if isinstance(pool, str):
            return {"refused": pool}
        inside = WINDOW - 1  # windows that share a frame are not apart
        return _floor(fvd_from_features, self.features(pool, "real windows"), self.length - inside,
                      len(self.real) - inside, inside)
