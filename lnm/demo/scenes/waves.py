"""The sea's surface by a Phillips spectrum. Tessendorf, "Simulating Ocean Water" (2001)."""

from __future__ import annotations

import numpy as np

from lnm.demo.scenes.physics import GRAVITY


class WaveField:
    """Sea surface by a Phillips spectrum, two periodic tiles of 96 m and 11 m. Tessendorf 2001, eq. 40.

    `slopes(t)` gives per tile (n, n, 3): slope in x, slope in y (dimensionless), surface height (m).
    """

    TILES = (96.0, 11.0)  # metres
    N = 128

    def __init__(self, seed: int, wind: float, wind_azimuth: float):
        rng = np.random.default_rng([77, seed])
        azimuth = np.deg2rad(wind_azimuth)
        self.tiles = []
        k_split = np.pi * self.N / self.TILES[0]
        for length, k_low, k_high in ((self.TILES[0], 0.0, k_split), (self.TILES[1], k_split, np.inf)):
            freq = 2 * np.pi * np.fft.fftfreq(self.N, length / self.N)
            kx, ky = np.meshgrid(freq, freq)
            k = np.hypot(kx, ky)
            k_safe = np.where(k > 0, k, 1)
            along = (kx * np.sin(azimuth) + ky * np.cos(azimuth)) / k_safe
            longest = wind**2 / GRAVITY
            phillips = np.exp(-1 / (k_safe * longest) ** 2) / k_safe**4
            phillips *= np.exp(-((k_safe * 0.03) ** 2))
            phillips *= np.where(along > 0, 0.06 + along**2, 0.06 + 0.1 * along**2)
            phillips[(k == 0) | (k < k_low) | (k >= k_high)] = 0
            h0 = (rng.standard_normal(k.shape) + 1j * rng.standard_normal(k.shape)) * np.sqrt(phillips / 2) / length
            # one constant makes significant height 0.21 wind^2/g, that of a developed sea
            self.tiles.append((kx, ky, np.sqrt(GRAVITY * k), h0, length))
        height = np.fft.ifft2(self._spectrum(0, 0.0)).real * self.N**2
        target = 0.21 * wind**2 / GRAVITY / 4
        self.scale = target / max(height.std(), 1e-9)
        self.slope_deviation = [float(np.std(tile[..., :2])) for tile in self.slopes(0.0)]

    def _spectrum(self, tile: int, t: float) -> np.ndarray:
        kx, ky, omega, h0, _ = self.tiles[tile]
        mirrored = np.roll(h0[::-1, ::-1], (1, 1), (0, 1)).conj()
        return h0 * np.exp(-1j * omega * t) + mirrored * np.exp(1j * omega * t)

    def slopes(self, t: float) -> list[np.ndarray]:
        out = []
        for i, (kx, ky, _, _, _) in enumerate(self.tiles):
            spectrum = self._spectrum(i, t) * self.scale
            # two real fields in one complex transform
            both = np.fft.ifft2(1j * kx * spectrum + 1j * (1j * ky * spectrum)) * self.N**2
            height = np.fft.ifft2(spectrum).real * self.N**2
            out.append(np.stack([both.real, both.imag, height], -1).astype(np.float32))
        return out
