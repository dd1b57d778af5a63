"""White water: turbulence carried by a known flow over a bed of rocks, foam where the bed breaks it, spray.

Textures are carried along the flow by blending two copies that start anew in turn: Neyret, "Advected Textures" (2003).
"""

from __future__ import annotations

import numpy as np

from lnm.demo.scenes.camera import scene_rays
from lnm.demo.scenes.fields import sample, smoothstep, spectral_noise
from lnm.demo.scenes.physics import GRAVITY
from lnm.demo.scenes.scene import Scene
from lnm.demo.scenes.sky import Sky

BED, SWIRL = 11.0, 19.0  # metres: a period of the bed, of the eddies
LIFE = 0.9  # seconds that a carried texture lives
STREAK = 1.7  # how many times longer than wide foam is drawn by the stream
FLIGHT = 0.7  # seconds between the throws of a spray


def rapids_flow(scene: Scene, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Velocity (..., 2) of the water in m/s at points of the river (m): a stream, eddies, still where rocks stand."""
    n = scene.numbers
    rng = np.random.default_rng([93, scene.seed])
    stream = spectral_noise(rng, 128, 4.5)
    along, across = np.gradient(stream, axis=1), np.gradient(stream, axis=0)
    eddies = np.stack([across, -along], -1)  # the curl of a stream function: nothing gathers
    eddies /= eddies.std()
    azimuth = np.deg2rad(n["wind_azimuth"])
    ahead = np.array([np.sin(azimuth), np.cos(azimuth)])
    flow = n["speed"] * (ahead + 0.35 * sample(eddies, x / SWIRL, y / SWIRL))
    return flow * (1 - 0.9 * rocks(scene, x, y)[..., None])


def bed(scene: Scene, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How high the bed stands at points of the river: mean 0, deviation 1."""
    return sample(spectral_noise(np.random.default_rng([94, scene.seed]), 256, 3.4), x / BED, y / BED)


def rocks(scene: Scene, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where rocks stand out of the water: 0 to 1."""
    low = scene.numbers["rocks"]
    return smoothstep(low, low + 0.12, bed(scene, x, y))


class Rapids:
    """`Rapids(scene, size)(t)`: linear light (2 size, 2 size, 3) of white water at `t` (s)."""

    def __init__(self, scene: Scene, size: int):
        self.scene, n = scene, scene.numbers
        self.d = scene_rays(scene, size)
        reach = n["camera_height"] / np.maximum(-self.d[..., 2], 0.03)
        self.x, self.y = self.d[..., 0] * reach, self.d[..., 1] * reach
        self.pixel = reach * 2 * np.tan(np.deg2rad(n["fov"]) / 2) / size  # metres
        self.sky = Sky(scene, cloud_scale=2600, cloud_height=1100)
        self.flow = rapids_flow(scene, self.x, self.y)
        self.rock = rocks(scene, self.x, self.y)[..., None]
        rng = np.random.default_rng([95, scene.seed])
        self.tiles = [self._with_slopes(spectral_noise(rng, 256, slope)) for slope in (3.0, 2.4)]
        self.stone = spectral_noise(rng, 256, 2.6)
        # foam begins where water has just passed over what stands high, and trails behind
        ahead = self.flow / np.maximum(np.linalg.norm(self.flow, axis=-1, keepdims=True), 1e-3)
        trail = np.stack([bed(scene, self.x - s * ahead[..., 0], self.y - s * ahead[..., 1]) * np.exp(-s / 1.2)
                          for s in (0.15, 0.4, 0.8, 1.3, 2.0)]).max(0)
        self.broken = trail - n["foam_from"]
        self.standing = self._standing(scene, rng)
        self.spouts = self._spouts(rng)

    @staticmethod
    def _with_slopes(tile: np.ndarray) -> np.ndarray:
        across, along = np.gradient(tile, axis=1), np.gradient(tile, axis=0)
        return np.stack([across / across.std(), along / along.std(), tile], -1).astype(np.float32)

    def _standing(self, scene: Scene, rng: np.random.Generator) -> np.ndarray:
        """Slopes (..., 2) of the waves that stand behind the bed's humps."""
        tile = self._with_slopes(spectral_noise(rng, 256, 3.6))
        return sample(tile, self.x / BED, self.y / BED)[..., :2] * 0.16 * scene.numbers["rough"]

    def _spouts(self, rng: np.random.Generator) -> np.ndarray:
        """Where spray is thrown from, (N, 4): x, y and the flow there."""
        foaming = np.flatnonzero((self.broken > 0.4) & (self.rock[..., 0] < 0.1) & (self.y < 14))
        if not len(foaming):
            return np.zeros((0, 4))
        at = rng.choice(foaming, self.scene.numbers["spray"])
        return np.stack([self.x.ravel()[at], self.y.ravel()[at], *self.flow.reshape(-1, 2)[at].T], 1)

    def carried(self, tile: np.ndarray, period: float, t: float, life: float) -> np.ndarray:
        """A tile of `period` metres as the flow has carried it until `t` (s): two copies, each fading in and out."""
        total, power = np.zeros((*self.x.shape, 3), np.float32), 0.0
        azimuth = np.deg2rad(self.scene.numbers["wind_azimuth"])
        sin, cos = np.sin(azimuth) / period, np.cos(azimuth) / period
        for k in (0.0, 0.5):
            cycle, phase = divmod(t / life + k, 1.0)
            shift = np.random.default_rng([96, self.scene.seed, int(2 * k), int(cycle) + 1000]).random(2)
            weight = 1 - abs(2 * phase - 1)
            back = (phase - 0.5) * life
            x, y = self.x - back * self.flow[..., 0], self.y - back * self.flow[..., 1]
            # longer along the stream than across it
            total += np.float32(weight) * sample(tile, x * cos - y * sin + shift[0],
                                                        (x * sin + y * cos) / STREAK + shift[1])
            power += weight**2
        return total / np.float32(np.sqrt(power))

    def _spray(self, t: float) -> np.ndarray:
        """How much of each pixel drops hide: (2 size, 2 size, 1) in [0, 1]."""
        size = len(self.d)
        cover, n = np.zeros((size, size), np.float32), self.scene.numbers
        for k, (x, y, u, v) in enumerate(self.spouts):
            cycle, phase = divmod(t / FLIGHT + k * 0.618, 1.0)
            rng = np.random.default_rng([97, self.scene.seed, k, int(cycle) + 1000])
            age, count = phase * FLIGHT, 24
            throw = rng.standard_normal((count, 3)) * [0.35, 0.35, 0.5] + [0.6 * u, 0.6 * v, 1.6]
            at = np.array([x, y, 0]) + throw * age + rng.standard_normal((count, 3)) * [0.12, 0.12, 0.03]
            at[:, 2] -= GRAVITY / 2 * age**2
            half = np.tan(np.deg2rad(n["fov"]) / 2)
            ahead = np.maximum(at[:, 1], 0.2)
            column = (0.5 + at[:, 0] / ahead / 2 / half) * size
            row = (n["horizon"] - (at[:, 2] - n["camera_height"]) / ahead / 2 / half) * size
            seen = (at[:, 2] > 0) & (column >= 0) & (column < size - 1) & (row >= 0) & (row < size - 1)
            strength = np.minimum(1.0, 0.012 * size / 2 / half / ahead) * rng.uniform(0.3, 1, count) * (1 - phase)
            for dx, dy in ((0, 0), (0, 1), (1, 0), (1, 1)):
                np.maximum.at(cover, (row[seen].astype(int) + dy, column[seen].astype(int) + dx), strength[seen])
        return cover[..., None]

    def __call__(self, t: float) -> np.ndarray:
        n, sky = self.scene.numbers, self.sky
        large = self.carried(self.tiles[0], 4.2, t, LIFE)
        small = self.carried(self.tiles[1], 1.7, t, LIFE * 0.6)
        fine = np.clip(0.035 / self.pixel, 0, 1)[..., None]  # what a pixel cannot resolve
        slope = self.standing + n["rough"] * (0.10 * large[..., :2] + 0.13 * fine * small[..., :2])
        normal = np.concatenate([-slope, np.ones_like(slope[..., :1])], -1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        facing = np.clip(-(self.d * normal).sum(-1, keepdims=True), 0.02, 1)
        mirrored = self.d + 2 * facing * normal
        mirrored[..., 2] = np.abs(mirrored[..., 2]) + 0.02
        mirrored /= np.linalg.norm(mirrored, axis=-1, keepdims=True)
        day = 0.25 + 0.75 * sky.colours["zenith"].sum()
        lit = 0.5 + 0.5 * np.clip(normal @ sky.sun, 0, 1)[..., None] / max(float(sky.sun[2]), 0.25)
        fresnel = 0.02 + 0.98 * (1 - facing) ** 5
        water = fresnel * sky(mirrored, t, sun_width=0.35) + (1 - fresnel) * np.array(n["body"]) * day * lit
        froth = 1.5 * self.broken + 0.40 * large[..., 2] + 0.35 * fine[..., 0] * small[..., 2]
        foam = smoothstep(-0.1, 1.3, froth)[..., None]
        slant = np.append(sky.sun[:2], 0.4)
        relief = 0.16 * (large @ slant) + 0.10 * fine[..., 0] * (small @ slant)
        white = (sky.colours["cloud_lit"] * 0.7 + sky.colours["cloud_dark"] * 0.15) * np.clip(
            0.85 + relief - 0.12 * np.clip(0.7 - froth, 0, 1), 0.25, None)[..., None]
        light = water * (1 - foam) + np.clip(white, 0, None) * foam
        stone = np.array(n["stone"]) * day * (1.1 + 0.35 * sample(self.stone, self.x / 3, self.y / 3))[..., None]
        light = light * (1 - self.rock) + np.clip(stone, 0, None) * self.rock
        spray = self._spray(t)
        return light * (1 - spray) + sky.colours["cloud_lit"] * 0.85 * spray
