"""How a film moves, in the terms of public benchmarks, each named by the network or flow that stands in for theirs.

VBench (Huang et al., "VBench: Comprehensive Benchmark Suite for Video Generative Models", 2024): dynamic degree (its
RAFT flow replaced by DIS), motion smoothness (its AMT replaced by RIFE), subject and background consistency (its DINO
and CLIP features replaced by those at hand), and VBench-I2V's two dimensions of films from a still (in Huang et al.,
"VBench++", 2024: DINO's and DreamSim's features replaced by the same). FVMD (Liu et al., "Fréchet Video Motion
Distance", 2024): velocities and accelerations of tracked points beside the real clip's. Frames are uint8 (F, H, W, 3).

A frozen film scores best on smoothness and both consistencies: read them beside a measure of motion.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np

from eval.features.flow import dis
from eval.features.once import once
from lnm.errors import UserError

VBENCH_FPS = 8  # to which VBench thins a film before it asks whether it moves
SPEED_AT_256 = 6.0  # pixels a step at a shorter side of 256: VBench's threshold
FASTEST = 0.05  # the share of pixels that are looked at
GRID = 24  # tracks start on a grid of so many points a side
DIRECTIONS = 8  # of a histogram; the first is centred on motion to the right
BINS = 20  # of lengths
LONG = 98  # the percentile of all lengths at which the last bin ends; what is longer counts in it
STILL_WEIGHTS = 0.4, 0.3, 0.3  # VBench-I2V's: of the likest frame, of the mean and of the least step
VECTORS = ("velocity", "acceleration")  # in the order of `tracks`
ANGLES = np.arange(8) * np.pi / 8  # along which two clouds of vectors are compared


def fastest(flows: np.ndarray) -> np.ndarray:
    """Mean flow length of the fastest 5% of pixels of each pair, (N, H, W, 2) -> (N,) in pixels a step."""
    lengths = np.linalg.norm(flows, axis=-1).reshape(len(flows), -1)
    count = int(lengths.shape[1] * FASTEST)
    return np.sort(lengths, axis=1)[:, -count:].mean(axis=1, dtype=np.float64)


def dynamic_margin(frames: np.ndarray, fps: float | None = None) -> float:
    """By how much a film passes VBench's test of dynamic degree, by DIS flow: 1 and more is "dynamic".

    VBench calls a film of n frames dynamic where `fastest` is above 6 x shorter side / 256 pixels in at least
    round(4 n / 16) pairs of consecutive frames; so this is the round(4 n / 16)-th largest of them over that threshold.
    fps: the film's, thinned to about 8 as VBench does; None takes every frame. Raises UserError below 3 frames.
    """
    frames = frames[::max(1, round(fps / VBENCH_FPS))] if fps else frames
    if len(frames) < 3:  # round(4 n / 16) is 0: VBench calls any such film dynamic
        raise UserError(f"dynamic degree needs 3 frames at {VBENCH_FPS} fps, got {len(frames)}: sample more frames")
    threshold = SPEED_AT_256 * min(frames.shape[1:3]) / 256
    speeds = np.sort(fastest(dis(frames)))[::-1]
    return float(speeds[round(4 * len(frames) / 16) - 1] / threshold)


def dynamic_degree(frames: np.ndarray, fps: float | None = None) -> float:
    """VBench's dynamic degree of one film by DIS flow: 1 where `dynamic_margin` is above 1, else 0. VBench's score of a
    method is the mean over its films."""
    return float(dynamic_margin(frames, fps) > 1)


@once(64)
def tracks(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Velocities and accelerations of points tracked by DIS flow: vectors (N, 2) in pixels a step and a step squared.

    FVMD follows 400 points by a network through 16 frames. Here a track is three frames long and starts anew on a grid
    in every frame, so that nothing drifts: its velocity is the flow at the point, its acceleration the flow where that
    leads minus the flow it came by. Points that leave the picture are dropped. Raises UserError below 3 frames.
    """
    import cv2

    if len(frames) < 3:
        raise UserError(f"velocity and acceleration need 3 frames, got {len(frames)}: sample more frames")
    flows = dis(frames)
    height, width = frames.shape[1:3]
    rows, columns = (np.linspace(0, side - 1, GRID).astype(np.float32) for side in (height, width))
    start = np.stack(np.meshgrid(columns, rows), -1)  # (GRID, GRID, 2): x, y
    velocities, accelerations = [], []
    for now, after in zip(flows[:-1], flows[1:]):
        velocity = cv2.remap(now, start, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        there = start + velocity
        inside = ((there >= 0) & (there <= [width - 1, height - 1])).all(-1)
        next_velocity = cv2.remap(after, there, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        velocities.append(velocity[inside])
        accelerations.append((next_velocity - velocity)[inside])
    found = np.concatenate(velocities), np.concatenate(accelerations)
    if not len(found[0]):
        raise UserError("every tracked point leaves the picture within a step: no velocity to compare")
    return found


def shares(films: dict[str, list[np.ndarray]]) -> dict[str, dict]:
    """How many tracked points move how far and where to, for a figure: {"velocity" or "acceleration": {"edges":
    BINS + 1 lengths, "films": {name: {"length": BINS shares, "direction": DIRECTIONS shares}}}}, of a name the mean
    over its films.

    films: of each name frames uint8 (F, H, W, 3), at one frame rate and size; those that have no `tracks` are left out.
    """
    found: dict[str, list] = {}
    for name, some in films.items():
        pairs = []
        for frames in some:
            with suppress(UserError):
                pairs.append(tracks(frames))
        if pairs:
            found[name] = pairs
    return {what: _shares({name: [pair[k] for pair in pairs] for name, pairs in found.items()})
            for k, what in enumerate(VECTORS)}


def _shares(clouds: dict[str, list[np.ndarray]]) -> dict:
    """`shares` of one kind of vectors, (N, 2) of each film of each name."""
    lengths = [np.linalg.norm(cloud, axis=1) for some in clouds.values() for cloud in some]
    longest = np.percentile(np.concatenate(lengths), LONG) if lengths else 0
    edges = np.linspace(0, longest or 1, BINS + 1)  # 1: nothing moves
    films = {}
    for name, some in clouds.items():
        share = np.mean([histogram(cloud, edges) for cloud in some], axis=0)  # (DIRECTIONS, BINS)
        films[name] = {"length": share.sum(0).tolist(), "direction": share.sum(1).tolist()}
    return {"edges": edges.tolist(), "films": films}


def histogram(vectors: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of vectors (N, 2) by direction and length -> (DIRECTIONS, len(edges) - 1).

    edges: of the lengths, ascending; what is longer than the last counts in the last bin.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    angles = np.arctan2(vectors[:, 1], vectors[:, 0])
    towards = np.rint(angles * DIRECTIONS / (2 * np.pi)).astype(int) % DIRECTIONS
    how_far = np.clip(np.searchsorted(edges, lengths, "right") - 1, 0, len(edges) - 2)
    counts = np.zeros((DIRECTIONS, len(edges) - 1))
    np.add.at(counts, (towards, how_far), 1)
    return counts / len(vectors)


def vector_gap(a: np.ndarray, b: np.ndarray) -> float:
    """Distance of two clouds of vectors (N, 2) and (M, 2), in their unit: the sliced earth mover's distance (Bonneel et
    al., "Sliced and Radon Wasserstein Barycenters of Measures", 2015), the mean over `ANGLES` of how far the vectors'
    components along an angle must move. It needs no bins; what `histogram` draws is behind it."""
    from scipy.stats import wasserstein_distance

    along = np.stack([np.cos(ANGLES), np.sin(ANGLES)])  # (2, angles)
    return float(np.mean([wasserstein_distance(x, y) for x, y in zip((a @ along).T, (b @ along).T)]))


def consistencies(features: np.ndarray) -> np.ndarray:
    """VBench's consistency of features (F, d): for each frame after the first, the mean of its cosine, none below 0,
    with the frame before and with the first -> (F - 1,) in [0, 1]. Of DINO's features VBench calls it subject
    consistency, of CLIP's background consistency."""
    if len(features) < 2:
        raise UserError(f"consistency needs 2 frames, got {len(features)}: sample more frames")
    unit = np.asarray(features, np.float64) / np.linalg.norm(features, axis=1, keepdims=True)
    before = np.maximum((unit[1:] * unit[:-1]).sum(1), 0)
    return (before + np.maximum(unit[1:] @ unit[0], 0)) / 2


def from_still(features: np.ndarray, still: np.ndarray) -> float:
    """VBench-I2V's likeness of a film's features (F, d) to those of the still (d,) that it should start from: 0.4 x the
    largest cosine of a frame with the still + 0.3 x the mean and 0.3 x the least cosine of a frame with the one before,
    none below 0 -> [0, 1]. Of DINO's features VBench-I2V calls it subject, of DreamSim's background. Raises UserError
    below 2 frames."""
    if len(features) < 2:
        raise UserError(f"likeness to the still needs 2 frames, got {len(features)}: sample more frames")
    unit = np.asarray(features, np.float64) / np.linalg.norm(features, axis=1, keepdims=True)
    to_still = np.maximum(unit @ (np.asarray(still, np.float64) / np.linalg.norm(still)), 0)
    before = np.maximum((unit[1:] * unit[:-1]).sum(1), 0)
    best, mean, least = STILL_WEIGHTS
    return float(best * to_still.max() + mean * before.mean() + least * before.min())


def smoothnesses(frames: np.ndarray, middle: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """VBench's motion smoothness: every second frame is left out, made anew from its neighbours, and compared: 1 minus
    the mean absolute difference, in [0, 1], of each frame left out.

    middle: of frames a and b (N, H, W, 3), the frames between. Raises UserError below 3 frames.
    """
    if len(frames) < 3:
        raise UserError(f"motion smoothness needs 3 frames, got {len(frames)}: sample more frames")
    kept = frames[::2]
    left_out = frames[1::2][:len(kept) - 1]
    made = middle(kept[:-1], kept[1:])
    return 1 - np.abs(made.astype(np.float32) - left_out).mean(axis=(1, 2, 3), dtype=np.float64) / 255
