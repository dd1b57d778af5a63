"""A pond in the rain: rings of capillary-gravity waves on a mirror. Lamb, "Hydrodynamics" (1932)."""

from __future__ import annotations

import numpy as np

from lnm.demo.scenes.camera import SUPERSAMPLING
from lnm.demo.scenes.fields import sample, smoothstep, spectral_noise
from lnm.demo.scenes.scene import Scene
from lnm.demo.scenes.waves import WaveField

RAIN = 3.0  # seconds that the rings of a drop live


class Pond:
    """`Pond(scene, size)(t)`: linear light (2 size, 2 size, 3) of water that shows trees and a grey sky, at `t` (s)."""

    def __init__(self, scene: Scene, size: int):
        """The water's plane as the camera sees it, and where and when drops fall: every RAIN seconds anew."""
        self.scene, n = scene, scene.numbers
        rows = size * SUPERSAMPLING
        half, pitch = np.tan(np.deg2rad(n["fov"]) / 2), np.deg2rad(n["pitch"])
        u = (np.arange(rows, dtype=np.float32) + 0.5) / rows * 2 - 1
        x, v = np.meshgrid(u * half, -u * half)
        ahead, up = np.cos(pitch) + v * np.sin(pitch), v * np.cos(pitch) - np.sin(pitch)
        up = np.minimum(up, -0.02)
        self.d = np.stack([x, ahead, up], -1)
        self.d /= np.linalg.norm(self.d, axis=-1, keepdims=True)
        reach = n["camera_height"] / -self.d[..., 2]
        self.x, self.y = self.d[..., 0] * reach, self.d[..., 1] * reach
        self.pixel = reach**2 / n["camera_height"] * 2 * half / size  # metres a pixel, the longer way
        self.box = (self.x.min() - 0.5, self.x.max() + 0.5, max(self.y.min() - 0.5, 0), min(self.y.max() + 0.5, 9.0))
        rng = np.random.default_rng([91, scene.seed])
        self.leaves = [spectral_noise(rng, 128, 2.2), spectral_noise(rng, 128, 3.0)]
        self.breeze = WaveField(scene.seed, 2.0, n["wind_azimuth"])

    def drops(self, t: float) -> np.ndarray:
        """The drops whose rings are to be seen at `t` (s): (N, 4) of x (m), y (m), age (s), strength."""
        x0, x1, y0, y1 = self.box
        area, found = (x1 - x0) * (y1 - y0), []
        for period in (int(t // RAIN) - 1, int(t // RAIN)):
            rng = np.random.default_rng([92, self.scene.seed, period + 1000])
            fallen = rng.random((rng.poisson(self.scene.numbers["rain"] / 4 * area * RAIN), 4))
            age = t - (period + fallen[:, 2]) * RAIN
            keep = (age > 0) & (age < RAIN)
            found.append(np.stack([x0 + fallen[:, 0] * (x1 - x0), y0 + fallen[:, 1] * (y1 - y0), age,
                                   0.5 + fallen[:, 3]], 1)[keep])
        return np.concatenate(found)

    def rings(self, t: float) -> tuple[np.ndarray, np.ndarray]:
        """Slopes in x and in y of the rings of all drops at `t` (s), each (2 size, 2 size)."""
        slope_x, slope_y = np.zeros_like(self.x), np.zeros_like(self.x)
        for x, y, age, strength in self.drops(t):
            reach = 0.30 * age + 0.25  # a packet of some 4 cm runs at 0.23 to 0.3 m/s
            inside = (np.abs(self.x - x) < reach) & (np.abs(self.y - y) < reach)
            rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
            if not len(rows):
                continue
            part = np.s_[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
            dx, dy = self.x[part] - x, self.y[part] - y
            r = np.sqrt(dx * dx + dy * dy) + 1e-4
            phase = r - 0.26 * age
            width = 0.03 + 0.03 * age
            height = strength * 0.9 * np.exp(-0.8 * age) / (1 + 3 * r) * np.exp(-((phase / width) ** 2))
            height *= np.exp(-((self.pixel[part] / 0.03) ** 2))  # what a pixel cannot resolve
            ring = height * np.sin(2 * np.pi * phase / 0.055)
            slope_x[part] += ring * dx / r
            slope_y[part] += ring * dy / r
        return slope_x, slope_y

    def bank(self, d: np.ndarray) -> np.ndarray:
        """Linear light (..., 3) of the other bank's trees and the grey sky above, in unit directions d (..., 3)."""
        n = self.scene.numbers
        elevation = np.rad2deg(np.arcsin(np.clip(d[..., 2], 0, 1)))
        azimuth = np.arctan2(d[..., 0], d[..., 1])
        crown = n["trees"] * (1 + 0.35 * sample(self.leaves[1], azimuth / 3 + 0.5, np.full_like(azimuth, 0.3)))
        leaf = sample(self.leaves[0], azimuth / 1.6 + 0.5, elevation / 90)
        tree = smoothstep(-2.5, 2.5, crown + 2.5 * leaf - elevation)[..., None]
        grey = np.array([0.66, 0.70, 0.74]) * (0.30 + 0.019 * np.minimum(elevation[..., None], 70))
        grey = grey * (0.75 + 0.006 * n["sun_elevation"])
        green = np.array([0.030, 0.055, 0.022]) * (1.3 + 0.5 * leaf[..., None])
        return grey * (1 - tree) + green * tree

    def __call__(self, t: float) -> np.ndarray:
        slope_x, slope_y = self.rings(t)
        calm = self.breeze.slopes(t)[1]
        breeze = sample(calm, self.x / 3.0, self.y / 3.0) * 0.10
        normal = np.stack([-slope_x - breeze[..., 0], -slope_y - breeze[..., 1], np.ones_like(slope_x)], -1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        facing = np.clip(-(self.d * normal).sum(-1), 0.02, 1)
        mirrored = self.d + 2 * facing[..., None] * normal
        mirrored /= np.linalg.norm(mirrored, axis=-1, keepdims=True)
        above = self.bank(mirrored)
        fresnel = (0.02 + 0.98 * (1 - facing) ** 5)[..., None]
        return (0.30 + 0.70 * fresnel) * above * 1.3 + (1 - fresnel) * np.array(self.scene.numbers["body"]) * 0.6
