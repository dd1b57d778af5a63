"""What a camera does: directions of pixels, hills before the sky, and light developed to RGB.

Directions are unit vectors: x right, y ahead, z up.
"""

from __future__ import annotations

import numpy as np

from lnm.demo.scenes.fields import smoothstep
from lnm.demo.scenes.scene import Scene

SUPERSAMPLING = 2


def direction(azimuth: float, elevation: float) -> np.ndarray:
    """The unit vector (3,) that two angles in degrees name; azimuth 0 is straight ahead."""
    a, e = np.deg2rad(azimuth), np.deg2rad(elevation)
    return np.array([np.cos(e) * np.sin(a), np.cos(e) * np.cos(a), np.sin(e)])


def rays(size: int, fov: float, horizon: float) -> np.ndarray:
    """View directions (size, size, 3), float32; `fov` in degrees, `horizon` is its row's share of the picture."""
    half = np.tan(np.deg2rad(fov) / 2)
    u = (np.arange(size, dtype=np.float32) + 0.5) / size
    x = (u - 0.5)[None, :] * 2 * half
    z = (horizon - u)[:, None] * 2 * half
    d = np.stack([np.broadcast_to(x, (size, size)), np.ones((size, size)), np.broadcast_to(z, (size, size))], -1)
    return (d / np.linalg.norm(d, axis=-1, keepdims=True)).astype(np.float32)


def scene_rays(scene: Scene, size: int) -> np.ndarray:
    """Directions of the supersampled picture of `scene`: (2 size, 2 size, 3)."""
    return rays(size * SUPERSAMPLING, scene.numbers["fov"], scene.numbers["horizon"])


def hills(scene: Scene, size: int) -> np.ndarray:
    """Where dark ground hides the sky: (2 size, 2 size, 1) in [0, 1]."""
    n, count = scene.numbers, size * SUPERSAMPLING
    rng = np.random.default_rng([33, scene.seed])
    ridge = sum(np.sin(np.linspace(0, 2 * np.pi * f, count) + rng.uniform(0, 7)) / f**1.1
                for f in (0.7, 1.3, 2.9, 6.1, 13.3, 27.1))
    rows = (np.arange(count) + 0.5) / count
    top = n["horizon"] - n["hills"] * (0.5 + 0.35 * ridge)
    return smoothstep(0.0, 0.006, rows[:, None] - top[None, :])[..., None]


def develop(linear: np.ndarray, size: int) -> np.ndarray:
    """Box-filter the supersampled light, tone-map, gamma: uint8 (size, size, 3)."""
    s = SUPERSAMPLING
    light = linear.reshape(size, s, size, s, 3).mean((1, 3))
    light = 1 - np.exp(-1.25 * np.clip(light, 0, None))
    return np.round(255 * np.clip(light, 0, 1) ** (1 / 2.2)).astype(np.uint8)
