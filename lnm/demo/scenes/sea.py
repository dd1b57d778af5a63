"""The sea from a low camera, under a sky that drifts with the wind; and the sun setting or rising over it."""

from __future__ import annotations

from typing import Any

import numpy as np

from lnm.demo.scenes.camera import scene_rays
from lnm.demo.scenes.fields import sample, smoothstep
from lnm.demo.scenes.physics import GRAVITY, SUN_LAPSE, TURN
from lnm.demo.scenes.scene import Scene
from lnm.demo.scenes.sky import Sky
from lnm.demo.scenes.waves import WaveField


class Ocean:
    """`Ocean(scene, size)(t)`: linear light (2 size, 2 size, 3) of waves and sky at `t` (s)."""

    def __init__(self, scene: Scene, size: int):
        self.n = n = scene.numbers
        d = scene_rays(scene, size)
        self.sky = Sky(scene, cloud_scale=2600, cloud_height=1100)
        self.waves = WaveField(scene.seed, n["wind"], n["wind_azimuth"])
        self.above = d[..., 2] > 0
        self.d_sky, self.d_sea = d[self.above], d[~self.above]
        reach = n["camera_height"] / np.maximum(-self.d_sea[:, 2], 1e-4)
        self.distance = np.minimum(reach, 6000)
        self.x, self.y = self.d_sea[:, 0] * self.distance, self.d_sea[:, 1] * self.distance
        footprint = self.distance**2 / n["camera_height"] * 2 * np.tan(np.deg2rad(n["fov"]) / 2) / size
        cells = [length / WaveField.N for length in WaveField.TILES]
        # what a pixel cannot resolve is taken from the slope and given to the sun's lobe
        self.keep = [np.exp(-(footprint / (c * 14)) ** 0.8).astype(np.float32) for c in cells]

    def __call__(self, t: float) -> np.ndarray:
        return self.light(t, sky_time=t)

    def light(self, t: float, sky_time: float) -> np.ndarray:
        light = np.empty((*self.above.shape, 3), np.float32)
        light[self.above] = self.sky(self.d_sky, sky_time)
        light[~self.above] = self._haze(self._water(t, sky_time))
        return light

    def _surface(self, t: float) -> tuple[np.ndarray, np.ndarray]:
        """Slopes and height (N, 3) at the sea's pixels, and the slope's deviation that they do not resolve (N,)."""
        slope: Any = 0.0
        unresolved: Any = 0.0
        for tile, keep, length, deviation in zip(self.waves.slopes(t), self.keep, WaveField.TILES,
                                                 self.waves.slope_deviation, strict=True):
            part = sample(tile, self.x / length, self.y / length)
            slope = slope + part * keep[:, None]
            unresolved = unresolved + deviation * (1 - keep)
        return slope, unresolved

    def _water(self, t: float, sky_time: float) -> np.ndarray:
        """What waves mirror of the sky, what shines through them, and foam, before any haze: (N, 3)."""
        n, (slope, unresolved) = self.n, self._surface(t)
        normal = np.stack([-slope[:, 0], -slope[:, 1], np.ones_like(slope[:, 0])], -1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        facing = np.clip(-(self.d_sea * normal).sum(-1), 0.02, 1)
        reflected = self.d_sea + 2 * facing[:, None] * normal
        reflected[:, 2] = np.abs(reflected[:, 2]) + 0.01
        reflected /= np.linalg.norm(reflected, axis=-1, keepdims=True)
        fresnel = (0.02 + 0.98 * (1 - facing) ** 5)[:, None]
        mirrored = self.sky(reflected, sky_time, sun_width=0.05 + 0.7 * unresolved)
        body = np.array(n["water"]) * (0.15 + 0.7 * self.sky.colours["zenith"].sum())
        # light through the crests
        crest = np.clip(slope[:, 2] / (4 * 0.021 * n["wind"] ** 2 / GRAVITY + 0.05), -1, 1)[:, None]
        sea = fresnel * mirrored + (1 - fresnel) * body * (1 + 0.5 * crest)
        steep = np.hypot(slope[:, 0], slope[:, 1])
        foam = smoothstep(0.34, 0.62, steep + 0.25 * crest[:, 0]) * smoothstep(8, 12, n["wind"])
        return sea * (1 - 0.8 * foam[:, None]) + 0.8 * foam[:, None] * (self.sky.colours["cloud_lit"] * 0.85)

    def _haze(self, sea: np.ndarray) -> np.ndarray:
        """The far sea takes the colour of the horizon above it."""
        fog = (1 - np.exp(-self.distance / (1500 + 5000 * (1 - self.n["haze"]))))[:, None] * 0.85
        flat = self.d_sea * np.array([1, 1, 0], np.float32) + np.array([0, 0, 0.02], np.float32)
        horizon = self.sky.colours["horizon"] * (0.72 + 0.45 * np.clip(flat @ self.sky.sun, 0, 1)[:, None] ** 3)
        return sea * (1 - fog) + horizon * fog


class Sunset(Ocean):
    """An ocean whose sky passes SUN_LAPSE times as fast as its water."""

    def __call__(self, t: float) -> np.ndarray:
        rate = TURN * SUN_LAPSE * 0.75 * (1 if self.n["rising"] else -1)  # 0.75: the sun's path is slanted
        self.sky.move_sun(self.n["sun_elevation"] + rate * t)
        return self.light(t, sky_time=t * SUN_LAPSE)
