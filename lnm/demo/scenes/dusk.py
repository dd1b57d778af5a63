"""Stars over dark hills after sunset, turning about the pole."""

from __future__ import annotations

import numpy as np

from lnm.demo.scenes.camera import SUPERSAMPLING, direction, hills, scene_rays
from lnm.demo.scenes.fields import smoothstep
from lnm.demo.scenes.physics import STAR_LAPSE, TURN
from lnm.demo.scenes.scene import Scene


class Dusk:
    """`Dusk(scene, size)(t)`: linear light (2 size, 2 size, 3) at `t` (s of film)."""

    def __init__(self, scene: Scene, size: int):
        self.n, self.size, n = scene.numbers, size, scene.numbers
        self.d, self.ground = scene_rays(scene, size), hills(scene, size)
        self.sun = direction(n["sun_azimuth"], n["sun_elevation"]).astype(np.float32)
        rng = np.random.default_rng([44, scene.seed])
        stars = rng.standard_normal((2 * n["stars"], 3))
        self.stars = (stars / np.linalg.norm(stars, axis=1, keepdims=True)).astype(np.float32)
        self.magnitude = np.clip(rng.pareto(1.6, len(stars)) * 0.12 + 0.05, 0, 2.0)
        self.tint = 1 + rng.uniform(-0.18, 0.18, (len(stars), 1)) * np.array([1.0, 0.0, -1.0])
        self.pole = direction(n["pole_azimuth"], n["pole_elevation"])

    def __call__(self, t: float) -> np.ndarray:
        """A sky after sunset; its stars are fainter where the glow is."""
        n, t = self.n, t * STAR_LAPSE
        up = np.clip(self.d[..., 2:], 0, 1)
        night = 1 - smoothstep(-14, -3, n["sun_elevation"])
        zenith = np.array([0.020, 0.035, 0.10]) * (1.6 - 1.2 * night)
        glow = np.array([0.95, 0.38, 0.12]) * (1 - night) * 0.9 + np.array([0.16, 0.15, 0.30]) * 0.35
        towards = np.clip((self.d * self.sun).sum(-1, keepdims=True), 0, 1)
        light = zenith + glow * np.exp(-up * (9 - 3 * n["haze"])) * (0.45 + 0.7 * towards**2)
        light = light + np.array([0.30, 0.12, 0.25]) * np.exp(-((up - 0.18) / 0.13) ** 2) * (1 - night) * 0.45
        sky = self._starlight(t)
        faint = np.exp(-light.mean(-1, keepdims=True) * 6) * (0.35 + 0.65 * night) * smoothstep(0.0, 0.2, up)
        light = light + 1.5 * sky * faint
        return light * (1 - self.ground) + (0.10 * glow * 0.3 + 0.004) * self.ground

    def _starlight(self, t: float) -> np.ndarray:
        """Every star a Gaussian spot, (2 size, 2 size, 3); `t` in seconds of sky."""
        n, rows = self.n, len(self.d)
        turn = np.deg2rad(TURN * t)
        k, v = self.pole, self.stars
        v = v * np.cos(turn) + np.cross(k, v) * np.sin(turn) + (v @ k)[:, None] * k * (1 - np.cos(turn))  # Rodrigues
        half = np.tan(np.deg2rad(n["fov"]) / 2)
        seen = v[:, 1] > 0.05
        v, magnitude, tint = v[seen], self.magnitude[seen], self.tint[seen]
        px = (v[:, 0] / v[:, 1] / (2 * half) + 0.5) * rows - 0.5
        py = (n["horizon"] - v[:, 2] / v[:, 1] / (2 * half)) * rows - 0.5
        twinkle = 1 + 0.15 * np.sin(t / STAR_LAPSE * (5 + 7 * magnitude) + 40 * magnitude)
        size = 0.6 * self.size / 128 * SUPERSAMPLING  # deviation in samples
        reach = int(np.ceil(3 * size))
        inside = (px > -reach) & (px < rows + reach) & (py > -reach) & (py < rows + reach) & (v[:, 2] > 0)
        sky = np.zeros((rows, rows, 3))
        for x, y, bright, colour in zip(px[inside], py[inside], (magnitude * twinkle)[inside], tint[inside],
                                        strict=True):
            x0, y0 = int(np.floor(x)) - reach, int(np.floor(y)) - reach
            xs = np.arange(max(x0, 0), min(x0 + 2 * reach + 2, rows))
            ys = np.arange(max(y0, 0), min(y0 + 2 * reach + 2, rows))
            if len(xs) and len(ys):
                spot = np.exp(-((ys[:, None] - y) ** 2 + (xs[None] - x) ** 2) / (2 * size**2))
                sky[ys[0]:ys[-1] + 1, xs[0]:xs[-1] + 1] += spot[..., None] * bright * colour
        return sky
