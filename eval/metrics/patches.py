"""Copying in small pieces: where in the training clip each 3x3x3 patch of a film has its nearest neighbour.

SinFusion (Nikankin et al., "SinFusion: Training Diffusion Models on a Single Image or Video", 2023, section 7.2) takes
this field of offsets for what a film owes to its clip. Where a film is the clip shifted in time or space, the field is
constant and compresses to nothing, though no frame equals a training frame. NNFDIV is its compressed size over its raw
size by zlib: low means pieces copied in bulk. NNFDIST is the mean square difference of the patches to their neighbours:
low means that every piece is found in the clip. Both are read beside the held-out frames' own values.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from lnm.errors import UserError

SIDE = 3  # of a patch, in frames, rows and columns
SHORTER = 64  # pixels to which the shorter side is reduced before the search: its cost grows with the fourth power
STRIDE = 2  # between the film's patches, in rows and columns
JUMPS = (16, 8, 4, 2, 1, 1)  # of a round: how far away a neighbour is asked where its own neighbour lies
ROUNDS = 3


@dataclass
class Field:
    """The nearest-neighbour field of a film: offsets (F', H', W', 3) in frames, rows and columns to the clip's patch,
    and the mean square difference to it, (F', H', W') in [0, 1]."""

    offsets: np.ndarray
    distances: np.ndarray

    @property
    def diversity(self) -> float:
        """NNFDIV: the field's size compressed by zlib over its raw size, a byte a number as in the authors' code."""
        raw = np.ascontiguousarray(np.moveaxis(self.offsets, -1, 0)).astype(np.uint8)  # modulo 256
        return len(zlib.compress(raw.tobytes())) / raw.size

    @property
    def distance(self) -> float:
        """NNFDIST: the mean of `distances`."""
        return float(self.distances.mean(dtype=np.float64))


def reduced(frames: np.ndarray) -> np.ndarray:
    """uint8 (F, H, W, 3) with a shorter side of at most `SHORTER` pixels, averaged over areas."""
    import cv2

    height, width = frames.shape[1:3]
    scale = SHORTER / min(height, width)
    if scale >= 1:
        return frames
    size = round(width * scale), round(height * scale)
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


class Patches:
    """Every 3x3x3 patch of a training clip uint8 (N, H, W, 3), to be searched for those of films of its size."""

    def __init__(self, clip: np.ndarray):
        self.clip_shape = clip.shape[1:3]
        self.table, self.grid = _patches(reduced(clip), "the training clip")

    def field(self, film: np.ndarray, seed: int = 0) -> Field:
        """The nearest-neighbour field of a film uint8 (F, H, W, 3) of the clip's size, of every `STRIDE`-th patch in
        rows and columns.

        PatchMatch (Barnes et al. 2009) in three dimensions: start at the same place with random frames, then in each
        round ask neighbours further and further away where theirs lies, and look around at random at shrinking
        distances. Approximate: a distance is never below the true one. Raises UserError below 3 frames.
        """
        if film.shape[1:3] != self.clip_shape:
            raise UserError(f"patches are compared at one size, got {film.shape[1:3]} and {self.clip_shape}")
        table, grid = _patches(reduced(film), "the film")
        where = np.stack(np.meshgrid(*(np.arange(n) for n in grid), indexing="ij"), -1)[:, ::STRIDE, ::STRIDE]
        wanted = table[np.ravel_multi_index(where.reshape(-1, 3).T, grid)].astype(np.float32)
        search = _Search(self, wanted, where, np.random.default_rng(seed))
        for _ in range(ROUNDS):
            search.propagate()
            search.look_around()
        offsets = search.best - where
        return Field(offsets, search.cost.reshape(where.shape[:-1]) / (255.0**2 * table.shape[1]))


class _Search:
    """PatchMatch's state: for each of the film's patches the best place found, and the sum of squares there."""

    def __init__(self, clip: Patches, wanted: np.ndarray, where: np.ndarray, rng: np.random.Generator):
        self.clip, self.wanted, self.where, self.rng = clip, wanted, where, rng
        self.last = np.array(clip.grid) - 1
        self.best = np.minimum(where, self.last)
        self.cost = self._costs(self.best)
        random = self.best.copy()
        random[..., 0] = rng.integers(0, clip.grid[0], where.shape[:-1])
        self._take(random)

    def _costs(self, places: np.ndarray) -> np.ndarray:
        flat = np.ravel_multi_index(places.reshape(-1, 3).T, self.clip.grid)
        difference = self.clip.table.take(flat, 0) - self.wanted
        return np.einsum("np,np->n", difference, difference)  # at most 81 x 255^2 < 2^24: exact in float32

    def _take(self, places: np.ndarray) -> None:
        """Take each place that is better than the best so far."""
        places = np.clip(places, 0, self.last)
        costs = self._costs(places)
        better = (costs < self.cost).reshape(places.shape[:-1])
        self.best[better] = places[better]
        self.cost = np.minimum(self.cost, costs)

    def propagate(self) -> None:
        """A patch's neighbour lies at N: so its own may lie beside N."""
        for jump in JUMPS:
            for axis in range(3):
                for sign in (1, -1):
                    shift = sign * (jump if axis else min(jump, 2))  # films are short
                    offsets = np.roll(self.best - self.where, shift, axis)
                    self._take(self.where + offsets)

    def look_around(self) -> None:
        """At random around the best, in boxes that shrink by half."""
        radius = self.last.astype(float)
        while radius.max() >= 1:
            reach = np.maximum(radius, 1)
            self._take(self.best + np.rint(self.rng.uniform(-reach, reach, self.best.shape)).astype(int))
            radius /= 2


def _patches(frames: np.ndarray, what: str) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Every patch as a row of bytes, (N, 81), and how many there are in frames, rows and columns."""
    if min(frames.shape[:3]) < SIDE:
        raise UserError(f"patches of {SIDE}x{SIDE}x{SIDE} need {SIDE} frames of {SIDE} pixels a side: {what} has "
                        f"{len(frames)} of {frames.shape[2]}x{frames.shape[1]}")
    view = np.lib.stride_tricks.sliding_window_view(frames, (SIDE, SIDE, SIDE), axis=(0, 1, 2))
    return np.ascontiguousarray(view).reshape(-1, 3 * SIDE**3), view.shape[:3]
