"""The sky: its gradient, the sun with its glow, one layer of fractal clouds."""

from __future__ import annotations

import numpy as np

from lnm.demo.scenes.camera import direction
from lnm.demo.scenes.fields import sample, smoothstep, spectral_noise
from lnm.demo.scenes.scene import Scene


def _palette(elevation: float, haze: float) -> dict:
    """Linear-light colours of sun, zenith and horizon for a sun `elevation` in degrees."""
    day = float(smoothstep(2, 28, elevation))
    mix = lambda low, high: np.array(low) * (1 - day) + np.array(high) * day  # noqa: E731
    return {
        "zenith": mix([0.10, 0.13, 0.27], [0.10, 0.27, 0.62]),
        "horizon": mix([0.80, 0.36, 0.16], [0.55, 0.70, 0.88]) * (0.85 + 0.3 * haze),
        "sun": mix([1.0, 0.50, 0.20], [1.0, 0.95, 0.85]),
        "sun_power": 0.9 + 0.8 * day,
        "cloud_lit": mix([0.98, 0.50, 0.30], [0.95, 0.95, 0.95]),
        "cloud_dark": mix([0.20, 0.16, 0.24], [0.44, 0.48, 0.55]),
    }


class Sky:
    """Radiance of the sky in a direction: gradient, sun with its glow, one layer of fractal clouds."""

    def __init__(self, scene: Scene, cloud_scale: float, cloud_height: float, size: int = 256):
        n = scene.numbers
        rng = np.random.default_rng([55, scene.seed])
        self.n, self.colours = n, _palette(n["sun_elevation"], n["haze"])
        self.sun = direction(n["sun_azimuth"], n["sun_elevation"]).astype(np.float32)
        self.large = spectral_noise(rng, size, 3.1)
        self.small = spectral_noise(rng, size, 2.6)
        self.scale, self.height = cloud_scale, cloud_height
        wind = np.deg2rad(n["wind_azimuth"])
        self.drift = np.array([np.sin(wind), np.cos(wind)]) * n["wind"]  # m/s
        self.threshold = float(np.quantile(self.large, 1 - n["cover"]))

    def move_sun(self, elevation: float) -> None:
        """The sun at another elevation (degrees), and the colours that go with it; under the horizon it darkens."""
        self.sun = direction(self.n["sun_azimuth"], elevation).astype(np.float32)
        dim = float(0.08 + 0.92 * smoothstep(-7, 3, elevation))
        day = _palette(elevation, self.n["haze"])
        self.colours = {k: v * (dim if k != "sun_power" else 1.0) for k, v in day.items()}

    def density(self, x, y, t: float):
        """Optical depth of the cloud layer at ground coordinates (m) and time (s)."""
        x, y = x - self.drift[0] * t, y - self.drift[1] * t
        tile = self.scale * 4
        # detail drifts a little slower and across: clouds boil as they travel
        boil = sample(self.small, x / tile * 2.3 + 0.00011 * t, y / tile * 2.3 - 0.00009 * t)
        field = sample(self.large, x / tile + 0.012 * boil, y / tile + 0.012 * boil) + 0.22 * boil
        return np.clip(field - self.threshold, 0, None)

    def __call__(self, d: np.ndarray, t: float, sun_width: float | np.ndarray = 0.0) -> np.ndarray:
        """d: unit directions (..., 3), z up; sun_width widens the sun's lobe (sin of an angle)."""
        c = self.colours
        up = np.clip(d[..., 2], 0.0, 1.0)
        gradient = np.exp(-up * (5.5 - 3.0 * self.n["haze"]))[..., None]
        towards = np.clip(d @ self.sun, -1, 1)
        warm = np.clip(towards, 0, 1)[..., None] ** 3
        sky = c["zenith"] * (1 - gradient) + c["horizon"] * gradient * (0.72 + 0.45 * warm)
        glow = np.exp((towards - 1) * 60)[..., None] * 0.55 + np.exp((towards - 1) * 8)[..., None] * 0.20
        sky = sky + c["sun"] * glow
        if self.n["cover"] > 0.02:
            reach = self.height / np.maximum(d[..., 2], 0.03)
            x, y = d[..., 0] * reach, d[..., 1] * reach
            depth = self.density(x, y, t)
            shift = self.scale * 0.10
            ahead = self.density(x + self.sun[0] * shift, y + self.sun[1] * shift, t)
            alpha = 1 - np.exp(-3.2 * depth)
            light = np.exp(-1.9 * ahead - 0.5 * depth)
            light = (light * (0.75 + 0.5 * warm[..., 0]))[..., None]
            cloud = c["cloud_dark"] * (1 - light) + c["cloud_lit"] * light
            cloud = cloud + c["sun"] * (np.exp((towards - 1) * 18) * np.exp(-2.5 * depth))[..., None] * 0.5
            fade = (alpha * smoothstep(0.02, 0.16, d[..., 2]))[..., None]
            sky = sky * (1 - fade) + cloud * fade
            veil = 1 - 0.85 * fade[..., 0]
        else:
            veil = 1.0
        radius = 0.018 + np.asarray(sun_width)
        disc = np.exp(-((1 - towards) / (radius**2 / 2)) ** 1.0) * (0.018 / radius)
        return sky + c["sun"] * (disc * veil * 5 * c["sun_power"])[..., None]
