"""Rendered natural scenes with captions and a true continuation.

Five scenes, each a deterministic function of (seed, time): an open ocean by a directional wave
spectrum, a cloudscape time-lapse, the sun setting or rising over water, a pond in the rain, and stars
over hills at dusk. They are training stills for the built-in prior, and two are the built-in clips
(`data/`). Everything about a scene (camera, wind, sun, cover, colours) is drawn once from its seed;
the caption and the structured description are read off the same numbers, and `true_motion` says how
things move in the picture.

    python -m lnm.scenes                          remake data/ and draw a contact sheet of it
    python -m lnm.scenes --stills 40 --sheet FILE   a sheet of stills of all scenes, and nothing else

Sources: Phillips spectrum and its animation by deep-water dispersion, Tessendorf, "Simulating Ocean
Water" (2001); Schlick's approximation of Fresnel reflection (1994); fractal fields by spectral
synthesis, Peitgen & Saupe (1988); capillary-gravity waves of a drop, Lamb, "Hydrodynamics" (1932).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

GRAVITY = 9.81  # m/s^2
KINDS = ("ocean", "clouds", "sunset", "pond", "dusk")
SUPERSAMPLING = 2
# seconds of sky in one second of film; water keeps its own time
TIME_LAPSE, SUN_LAPSE, STAR_LAPSE = 40.0, 60.0, 200.0
TURN = 360 / 86164  # degrees a second that the sky turns
RAIN = 3.0  # seconds that the rings of a drop live


@dataclass(frozen=True)
class Scene:
    """One scene: `kind`, `seed`, the numbers drawn from it, and what they say in words."""

    kind: str
    seed: int
    numbers: dict = field(hash=False)
    caption: str = ""

    def describe(self) -> dict:
        """The structured description: everything that was drawn, in SI units and degrees."""
        return {"kind": self.kind, "seed": self.seed, "caption": self.caption, **self.numbers}


# ---------------------------------------------------------------- drawing a scene from its seed


def draw(kind: str, seed: int) -> Scene:
    """Draw a scene's numbers from `seed`. Raises ValueError for a kind that is not in KINDS."""
    if kind not in KINDS:
        raise ValueError(f"unknown scene {kind!r}: choose one of {', '.join(KINDS)}")
    rng = np.random.default_rng([KINDS.index(kind), seed])
    u = rng.uniform
    n = {
        "sun_elevation": float(rng.choice([u(1.5, 8), u(8, 25), u(25, 65)], p=[0.42, 0.2, 0.38])),
        "sun_azimuth": float(u(-28, 28)),  # degrees from the camera's heading
        "cover": float(u(0.0, 0.85)),  # share of sky under cloud
        "haze": float(u(0.15, 0.7)),
    }
    if kind == "ocean":
        n |= {
            "wind": float(u(3.5, 13)),  # m/s, sets the length and height of the waves
            "wind_azimuth": float(u(-180, 180)),
            "camera_height": float(np.exp(u(np.log(2.0), np.log(14)))),  # m
            "horizon": float(u(0.22, 0.5)),  # share of the picture above the horizon
            "fov": float(u(42, 68)),
            "water": [float(u(0.00, 0.03)), float(u(0.05, 0.14)), float(u(0.09, 0.20))],
        }
    elif kind == "sunset":
        n |= {
            "sun_elevation": float(u(-1.5, 9)),  # at t = 0; below 0 the sun is gone
            "sun_azimuth": float(u(-20, 20)),
            "rising": bool(rng.random() < 0.35),
            "cover": float(u(0.0, 0.6)),
            "wind": float(u(2.5, 5.5)),
            "wind_azimuth": float(u(-180, 180)),
            "camera_height": float(np.exp(u(np.log(2.0), np.log(8)))),
            "horizon": float(u(0.42, 0.66)),
            "fov": float(u(36, 55)),
            "water": [float(u(0.00, 0.02)), float(u(0.03, 0.08)), float(u(0.06, 0.14))],
        }
    elif kind == "pond":
        n |= {
            "sun_elevation": float(u(12, 60)),
            "cover": float(u(0.55, 0.95)),
            "rain": float(np.exp(u(np.log(4), np.log(40)))),  # drops a second and square metre / 4
            "wind": 2.0,
            "wind_azimuth": float(u(-180, 180)),
            "camera_height": float(u(0.7, 1.3)),
            "pitch": float(u(22, 42)),  # degrees below the horizontal
            "fov": float(u(40, 60)),
            "trees": float(u(14, 40)),  # degrees of sky that the trees on the other bank hide
            "body": [float(u(0.02, 0.07)), float(u(0.05, 0.11)), float(u(0.02, 0.07))],
        }
    elif kind == "dusk":
        n |= {
            "sun_elevation": float(u(-14, -4)),
            "sun_azimuth": float(u(-40, 40)),
            "stars": int(rng.integers(500, 1400)),  # over the whole sky's half
            "pole_azimuth": float(u(-60, 60)),
            "pole_elevation": float(u(25, 60)),
            "horizon": float(u(0.78, 1.0)),
            "fov": float(u(50, 75)),
            "hills": float(u(0.03, 0.16)),
            "wind": 0.0,
            "wind_azimuth": 0.0,
        }
    else:
        n |= {
            "cover": float(u(0.3, 0.8)),
            "wind": float(u(6, 16)),  # m/s at the height of the clouds
            "wind_azimuth": float(u(-180, 180)),
            "cloud_height": float(u(700, 1500)),  # m
            "cloud_scale": float(u(800, 2600)),  # m, size of the largest clouds
            "horizon": float(u(0.72, 1.02)),
            "fov": float(u(55, 80)),
            "hills": float(u(0.0, 0.10)),
        }
    return Scene(kind, seed, n, _caption(kind, n, rng))


def _caption(kind: str, n: dict, rng: np.random.Generator) -> str:
    """A sentence that is true of the numbers; wording varies with the seed."""
    pick = lambda *options: options[rng.integers(len(options))]  # noqa: E731
    elevation = n["sun_elevation"]
    if kind == "sunset":
        event = "sunrise" if n["rising"] else "sunset"
        sun = (pick(f"the sun just below the horizon at {event}", f"an afterglow over the sea at {event}")
               if elevation < 0 else
               pick(f"{event} over the sea", f"the sun over the sea at {event}", f"a golden {event} over calm water"))
        clear = n["cover"] < 0.25
        return sun + (pick(" under a clear sky", "") if clear else pick(" with clouds", " under glowing clouds"))
    if kind == "pond":
        drops = (pick("a few raindrops on a pond", "rings of raindrops on a quiet pond") if n["rain"] < 9
                 else pick("rain on a pond", "raindrops making rings on a pond") if n["rain"] < 20
                 else pick("heavy rain on a pond", "a pond in heavy rain"))
        return drops + (pick(" in the shade of trees", " with trees reflected in the water") if n["trees"] > 24
                        else pick(" under a grey sky", " on a grey day"))
    if kind == "dusk":
        stars = (pick("the first stars over dark hills", "stars over dark hills") if elevation > -8
                 else pick("a starry sky over dark hills", "a sky full of stars over hills"))
        return f"{stars} {pick('at dusk', 'at nightfall') if elevation > -8 else pick('at night', 'at nightfall')}"
    when = (pick("at sunset", "at sunrise", "with the sun low on the horizon") if elevation < 8
            else pick("in the golden evening light", "in the late afternoon") if elevation < 25
            else pick("by day", "at noon", "on a bright day"))
    cover = n["cover"]
    if kind == "ocean":
        sea = (pick("a calm sea", "gentle ripples on the ocean", "calm ocean water") if n["wind"] < 6
               else pick("ocean waves", "waves on the open sea") if n["wind"] < 10
               else pick("rough ocean waves", "a rough sea with foam"))
        sky = (pick("under a clear sky", "under an open sky") if cover < 0.3
               else pick("under scattered clouds", "under a partly cloudy sky") if cover < 0.6
               else pick("under a cloudy sky", "under heavy clouds"))
        return f"{sea} {sky} {when}"
    amount = (pick("a few clouds drifting", "small clouds") if cover < 0.4
              else pick("clouds drifting", "scattered clouds") if cover < 0.58
              else pick("thick clouds", "a sky full of clouds"))
    ground = pick(" above dark hills", " over a hilly horizon") if n["hills"] > 0.03 and n["horizon"] < 0.97 else ""
    sky = (pick("in an orange sky", "in a glowing sky") if elevation < 8 else
           pick("in a pale sky", "in a warm sky") if elevation < 25 else pick("in a blue sky", "across the blue sky"))
    return f"{amount} {sky}{ground} {when}"


def paraphrases(scene: Scene) -> set[str]:
    """What else the scene's caption could have been: the wordings that are true of its numbers."""
    return {_caption(scene.kind, scene.numbers, np.random.default_rng(k)) for k in range(200)}


# ---------------------------------------------------------------- fields


def _spectral_noise(rng, n: int, slope: float) -> np.ndarray:
    """Periodic Gaussian field (n, n) whose power falls as k**-slope; mean 0, deviation 1."""
    k = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None]) * n
    k[0, 0] = np.inf
    spectrum = (rng.standard_normal(k.shape) + 1j * rng.standard_normal(k.shape)) * k ** (-slope / 2)
    noise = np.fft.irfft2(spectrum, (n, n)).astype(np.float32)
    return (noise - noise.mean()) / noise.std()


def _sample(tile: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear look-up in a periodic tile (n, n[, c]); x, y in tiles (1.0 is one period)."""
    n = tile.shape[0]
    x, y = x * n, y * n
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = (x - x0).astype(np.float32), (y - y0).astype(np.float32)
    x0, y0 = x0.astype(np.int64) % n, y0.astype(np.int64) % n
    x1, y1 = (x0 + 1) % n, (y0 + 1) % n
    if tile.ndim == 3:
        fx, fy = fx[..., None], fy[..., None]
    top = tile[y0, x0] * (1 - fx) + tile[y0, x1] * fx
    bottom = tile[y1, x0] * (1 - fx) + tile[y1, x1] * fx
    return top * (1 - fy) + bottom * fy


def _smoothstep(low, high, x):
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


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


# ---------------------------------------------------------------- light


def _palette(elevation: float, haze: float) -> dict:
    """Linear-light colours of sun, zenith and horizon for a sun `elevation` in degrees."""
    day = float(_smoothstep(2, 28, elevation))
    mix = lambda low, high: np.array(low) * (1 - day) + np.array(high) * day  # noqa: E731
    return {
        "zenith": mix([0.10, 0.13, 0.27], [0.10, 0.27, 0.62]),
        "horizon": mix([0.80, 0.36, 0.16], [0.55, 0.70, 0.88]) * (0.85 + 0.3 * haze),
        "sun": mix([1.0, 0.50, 0.20], [1.0, 0.95, 0.85]),
        "sun_power": 0.9 + 0.8 * day,
        "cloud_lit": mix([0.98, 0.50, 0.30], [0.95, 0.95, 0.95]),
        "cloud_dark": mix([0.20, 0.16, 0.24], [0.44, 0.48, 0.55]),
    }


def _direction(azimuth: float, elevation: float) -> np.ndarray:
    """The unit vector (x right, y ahead, z up) that two angles in degrees name."""
    a, e = np.deg2rad(azimuth), np.deg2rad(elevation)
    return np.array([np.cos(e) * np.sin(a), np.cos(e) * np.cos(a), np.sin(e)])


class Sky:
    """Radiance of the sky in a direction: gradient, sun with its glow, one layer of fractal clouds."""

    def __init__(self, scene: Scene, cloud_scale: float, cloud_height: float, size: int = 256):
        n = scene.numbers
        rng = np.random.default_rng([55, scene.seed])
        self.n, self.colours = n, _palette(n["sun_elevation"], n["haze"])
        self.sun = _direction(n["sun_azimuth"], n["sun_elevation"]).astype(np.float32)
        self.large = _spectral_noise(rng, size, 3.1)
        self.small = _spectral_noise(rng, size, 2.6)
        self.scale, self.height = cloud_scale, cloud_height
        wind = np.deg2rad(n["wind_azimuth"])
        self.drift = np.array([np.sin(wind), np.cos(wind)]) * n["wind"]  # m/s
        self.threshold = float(np.quantile(self.large, 1 - n["cover"]))

    def move_sun(self, elevation: float) -> None:
        """The sun at another elevation (degrees), and the colours that go with it; under the horizon it darkens."""
        self.sun = _direction(self.n["sun_azimuth"], elevation).astype(np.float32)
        dim = float(0.08 + 0.92 * _smoothstep(-7, 3, elevation))
        day = _palette(elevation, self.n["haze"])
        self.colours = {k: v * (dim if k != "sun_power" else 1.0) for k, v in day.items()}

    def density(self, x, y, t: float):
        """Optical depth of the cloud layer at ground coordinates (m) and time (s)."""
        x, y = x - self.drift[0] * t, y - self.drift[1] * t
        tile = self.scale * 4
        # detail drifts a little slower and across: clouds boil as they travel
        boil = _sample(self.small, x / tile * 2.3 + 0.00011 * t, y / tile * 2.3 - 0.00009 * t)
        field = _sample(self.large, x / tile + 0.012 * boil, y / tile + 0.012 * boil) + 0.22 * boil
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
            fade = (alpha * _smoothstep(0.02, 0.16, d[..., 2]))[..., None]
            sky = sky * (1 - fade) + cloud * fade
            veil = 1 - 0.85 * fade[..., 0]
        else:
            veil = 1.0
        radius = 0.018 + np.asarray(sun_width)
        disc = np.exp(-((1 - towards) / (radius**2 / 2)) ** 1.0) * (0.018 / radius)
        return sky + c["sun"] * (disc * veil * 5 * c["sun_power"])[..., None]


def _rays(size: int, fov: float, horizon: float) -> np.ndarray:
    """Unit view directions (size, size, 3): x right, y ahead, z up; `horizon` is its row's share."""
    half = np.tan(np.deg2rad(fov) / 2)
    u = (np.arange(size, dtype=np.float32) + 0.5) / size
    x = (u - 0.5)[None, :] * 2 * half
    z = (horizon - u)[:, None] * 2 * half
    d = np.stack([np.broadcast_to(x, (size, size)), np.ones((size, size)), np.broadcast_to(z, (size, size))], -1)
    return (d / np.linalg.norm(d, axis=-1, keepdims=True)).astype(np.float32)


def _develop(linear: np.ndarray, size: int) -> np.ndarray:
    """Box-filter the supersampled light, tone-map, gamma: uint8 (size, size, 3)."""
    s = SUPERSAMPLING
    light = linear.reshape(size, s, size, s, 3).mean((1, 3))
    light = 1 - np.exp(-1.25 * np.clip(light, 0, None))
    return np.round(255 * np.clip(light, 0, 1) ** (1 / 2.2)).astype(np.uint8)


# ---------------------------------------------------------------- rendering


class Renderer:
    """Renders frames of one scene at any time: `Renderer(scene, size)(t) -> uint8 (size, size, 3)`."""

    def __init__(self, scene: Scene, size: int = 128):
        self.scene, self.size, n = scene, size, scene.numbers
        d = _rays(size * SUPERSAMPLING, n["fov"], n.get("horizon", 0.5))
        if scene.kind in ("pond", "dusk"):
            {"pond": self._prepare_pond, "dusk": self._prepare_dusk}[scene.kind](d)
        elif scene.kind in ("ocean", "sunset"):
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
        else:
            self.sky = Sky(scene, n["cloud_scale"], n["cloud_height"])
            self.d, self.ground = d, self._hills()

    def __call__(self, t: float) -> np.ndarray:
        paint = {"ocean": self._ocean, "clouds": lambda t: self._clouds(t * TIME_LAPSE), "sunset": self._sunset,
                 "pond": self._pond, "dusk": lambda t: self._dusk(t * STAR_LAPSE)}[self.scene.kind]
        return _develop(paint(t), self.size)

    def _hills(self) -> np.ndarray:
        """Where dark ground hides the sky: (size, size, 1) in [0, 1], supersampled."""
        n, rows = self.scene.numbers, self.size * SUPERSAMPLING
        rng = np.random.default_rng([33, self.scene.seed])
        ridge = sum(np.sin(np.linspace(0, 2 * np.pi * f, rows) + rng.uniform(0, 7)) / f**1.1
                    for f in (0.7, 1.3, 2.9, 6.1, 13.3, 27.1))
        rows = (np.arange(rows) + 0.5) / rows
        top = n["horizon"] - n["hills"] * (0.5 + 0.35 * ridge)
        return _smoothstep(0.0, 0.006, rows[:, None] - top[None, :])[..., None]

    def _sunset(self, t):
        """An ocean whose sky passes SUN_LAPSE times as fast as its water."""
        n = self.scene.numbers
        rate = TURN * SUN_LAPSE * 0.75 * (1 if n["rising"] else -1)  # 0.75: the sun's path is slanted
        self.sky.move_sun(n["sun_elevation"] + rate * t)
        return self._ocean(t, sky_time=t * SUN_LAPSE)

    def _prepare_pond(self, d):
        """The water's plane as the camera sees it, and where and when drops fall: every RAIN seconds anew."""
        n, seed = self.scene.numbers, self.scene.seed
        half, pitch = np.tan(np.deg2rad(n["fov"]) / 2), np.deg2rad(n["pitch"])
        u = (np.arange(len(d), dtype=np.float32) + 0.5) / len(d) * 2 - 1
        x, v = np.meshgrid(u * half, -u * half)
        ahead, up = np.cos(pitch) + v * np.sin(pitch), v * np.cos(pitch) - np.sin(pitch)
        up = np.minimum(up, -0.02)
        self.d = np.stack([x, ahead, up], -1)
        self.d /= np.linalg.norm(self.d, axis=-1, keepdims=True)
        reach = n["camera_height"] / -self.d[..., 2]
        self.x, self.y = self.d[..., 0] * reach, self.d[..., 1] * reach
        self.pixel = reach**2 / n["camera_height"] * 2 * half / self.size  # metres a pixel, the longer way
        self.box = (self.x.min() - 0.5, self.x.max() + 0.5, max(self.y.min() - 0.5, 0), min(self.y.max() + 0.5, 9.0))
        rng = np.random.default_rng([91, seed])
        self.leaves = [_spectral_noise(rng, 128, 2.2), _spectral_noise(rng, 128, 3.0)]
        self.breeze = WaveField(seed, 2.0, n["wind_azimuth"])

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

    def _pond(self, t):
        """Rings of capillary-gravity waves on a mirror that shows trees and a grey sky."""
        n = self.scene.numbers
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
        calm = self.breeze.slopes(t)[1]
        breeze = _sample(calm, self.x / 3.0, self.y / 3.0) * 0.10
        normal = np.stack([-slope_x - breeze[..., 0], -slope_y - breeze[..., 1], np.ones_like(slope_x)], -1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        facing = np.clip(-(self.d * normal).sum(-1), 0.02, 1)
        mirrored = self.d + 2 * facing[..., None] * normal
        mirrored /= np.linalg.norm(mirrored, axis=-1, keepdims=True)
        elevation = np.rad2deg(np.arcsin(np.clip(mirrored[..., 2], 0, 1)))
        azimuth = np.arctan2(mirrored[..., 0], mirrored[..., 1])
        crown = n["trees"] * (1 + 0.35 * _sample(self.leaves[1], azimuth / 3 + 0.5, np.full_like(azimuth, 0.3)))
        leaf = _sample(self.leaves[0], azimuth / 1.6 + 0.5, elevation / 90)
        tree = _smoothstep(-2.5, 2.5, crown + 2.5 * leaf - elevation)[..., None]
        grey = np.array([0.66, 0.70, 0.74]) * (0.30 + 0.019 * np.minimum(elevation[..., None], 70))
        grey = grey * (0.75 + 0.006 * n["sun_elevation"])
        green = np.array([0.030, 0.055, 0.022]) * (1.3 + 0.5 * leaf[..., None])
        above = grey * (1 - tree) + green * tree
        fresnel = (0.02 + 0.98 * (1 - facing) ** 5)[..., None]
        return (0.30 + 0.70 * fresnel) * above * 1.3 + (1 - fresnel) * np.array(n["body"]) * 0.6

    def _prepare_dusk(self, d):
        n = self.scene.numbers
        self.d, self.ground = d, self._hills()
        self.sun = _direction(n["sun_azimuth"], n["sun_elevation"]).astype(np.float32)
        rng = np.random.default_rng([44, self.scene.seed])
        stars = rng.standard_normal((2 * n["stars"], 3))
        self.stars = (stars / np.linalg.norm(stars, axis=1, keepdims=True)).astype(np.float32)
        self.magnitude = np.clip(rng.pareto(1.6, len(stars)) * 0.12 + 0.05, 0, 2.0)
        self.tint = 1 + rng.uniform(-0.18, 0.18, (len(stars), 1)) * np.array([1.0, 0.0, -1.0])
        self.pole = _direction(n["pole_azimuth"], n["pole_elevation"])

    def _dusk(self, t):
        """A sky after sunset; stars turn about the pole, fainter where the glow is."""
        n = self.scene.numbers
        up = np.clip(self.d[..., 2:], 0, 1)
        night = 1 - _smoothstep(-14, -3, n["sun_elevation"])
        zenith = np.array([0.020, 0.035, 0.10]) * (1.6 - 1.2 * night)
        glow = np.array([0.95, 0.38, 0.12]) * (1 - night) * 0.9 + np.array([0.16, 0.15, 0.30]) * 0.35
        towards = np.clip((self.d * self.sun).sum(-1, keepdims=True), 0, 1)
        light = zenith + glow * np.exp(-up * (9 - 3 * n["haze"])) * (0.45 + 0.7 * towards**2)
        light = light + np.array([0.30, 0.12, 0.25]) * np.exp(-((up - 0.18) / 0.13) ** 2) * (1 - night) * 0.45
        turn = np.deg2rad(TURN * t)
        k, v = self.pole, self.stars
        v = v * np.cos(turn) + np.cross(k, v) * np.sin(turn) + (v @ k)[:, None] * k * (1 - np.cos(turn))  # Rodrigues
        half, rows = np.tan(np.deg2rad(n["fov"]) / 2), len(self.d)
        seen = v[:, 1] > 0.05
        v, magnitude, tint = v[seen], self.magnitude[seen], self.tint[seen]
        px = (v[:, 0] / v[:, 1] / (2 * half) + 0.5) * rows - 0.5
        py = (n["horizon"] - v[:, 2] / v[:, 1] / (2 * half)) * rows - 0.5
        twinkle = 1 + 0.15 * np.sin(t / STAR_LAPSE * (5 + 7 * self.magnitude[seen]) + 40 * self.magnitude[seen])
        size = 0.6 * self.size / 128 * SUPERSAMPLING  # deviation in samples
        reach = int(np.ceil(3 * size))
        inside = (px > -reach) & (px < rows + reach) & (py > -reach) & (py < rows + reach) & (v[:, 2] > 0)
        sky = np.zeros_like(light)
        for x, y, bright, colour in zip(px[inside], py[inside], (magnitude * twinkle)[inside], tint[inside]):
            x0, y0 = int(np.floor(x)) - reach, int(np.floor(y)) - reach
            xs = np.arange(max(x0, 0), min(x0 + 2 * reach + 2, rows))
            ys = np.arange(max(y0, 0), min(y0 + 2 * reach + 2, rows))
            if len(xs) and len(ys):
                spot = np.exp(-((ys[:, None] - y) ** 2 + (xs[None] - x) ** 2) / (2 * size**2))
                sky[ys[0]:ys[-1] + 1, xs[0]:xs[-1] + 1] += spot[..., None] * bright * colour
        faint = np.exp(-light.mean(-1, keepdims=True) * 6) * (0.35 + 0.65 * night) * _smoothstep(0.0, 0.2, up)
        light = light + 1.5 * sky * faint
        return light * (1 - self.ground) + (0.10 * glow * 0.3 + 0.004) * self.ground

    def _clouds(self, t):
        light = self.sky(self.d, t)
        ground = self.sky.colours["horizon"] * 0.06 + 0.008
        return light * (1 - self.ground) + ground * self.ground

    def _ocean(self, t, sky_time: float | None = None):
        n, sky_time = self.scene.numbers, t if sky_time is None else sky_time
        light = np.empty((self.size * SUPERSAMPLING,) * 2 + (3,), np.float32)
        light[self.above] = self.sky(self.d_sky, sky_time)
        slope, unresolved = 0.0, 0.0
        for tile, keep, length, deviation in zip(self.waves.slopes(t), self.keep, WaveField.TILES,
                                                 self.waves.slope_deviation):
            part = _sample(tile, self.x / length, self.y / length)
            slope = slope + part * keep[:, None]
            unresolved = unresolved + deviation * (1 - keep)
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
        foam = _smoothstep(0.34, 0.62, steep + 0.25 * crest[:, 0]) * _smoothstep(8, 12, n["wind"])
        sea = sea * (1 - 0.8 * foam[:, None]) + 0.8 * foam[:, None] * (self.sky.colours["cloud_lit"] * 0.85)
        fog = (1 - np.exp(-self.distance / (1500 + 5000 * (1 - n["haze"]))))[:, None] * 0.85
        flat = self.d_sea * np.array([1, 1, 0], np.float32) + np.array([0, 0, 0.02], np.float32)
        horizon = self.sky.colours["horizon"] * (0.72 + 0.45 * np.clip(flat @ self.sky.sun, 0, 1)[:, None] ** 3)
        light[~self.above] = sea * (1 - fog) + horizon * fog
        return light


def render(scene: Scene, times, size: int = 128) -> np.ndarray:
    """Render `scene` at `times` (s): uint8 (F, size, size, 3), RGB."""
    renderer = Renderer(scene, size)
    return np.stack([renderer(float(t)) for t in times])


def true_motion(scene: Scene, size: int = 128) -> np.ndarray:
    """How things move in the picture at t = 0: (size, size, 2), pixels to the right and down in a second of film.

    Clouds are carried by the wind, stars turn about the pole, the sea's longest waves run at the speed that deep-water
    dispersion gives them, sqrt(g / k). NaN where nothing of the kind is seen (ground, or water whose rings run apart).
    """
    n = scene.numbers
    half = np.tan(np.deg2rad(n["fov"]) / 2)
    d = _rays(size, n["fov"], n.get("horizon", 0.5)).astype(np.float64)
    velocity = np.full((size, size, 3), np.nan)  # of the point a pixel shows; its depth ahead is the unit of length
    wind = np.deg2rad(n["wind_azimuth"])
    wind = np.array([np.sin(wind), np.cos(wind), 0])
    sky, sea = d[..., 2] > 0.02, d[..., 2] < -1e-3
    if scene.kind in ("clouds", "sunset", "ocean"):
        height = n.get("cloud_height", 1100)
        lapse = {"clouds": TIME_LAPSE, "sunset": SUN_LAPSE, "ocean": 1.0}[scene.kind]
        velocity[sky] = wind * n["wind"] * lapse * (d[..., 2] / d[..., 1] / height)[sky][:, None]
    if scene.kind in ("ocean", "sunset"):
        k = np.sqrt(2 / 3) * GRAVITY / n["wind"] ** 2  # where k times the Phillips spectrum is largest
        velocity[sea] = wind * np.sqrt(GRAVITY / k) * (-d[..., 2] / d[..., 1] / n["camera_height"])[sea][:, None]
    if scene.kind == "dusk":
        pole = _direction(n["pole_azimuth"], n["pole_elevation"])
        velocity[sky] = (np.deg2rad(TURN * STAR_LAPSE) * np.cross(pole, d) / d[..., 1:2])[sky]
    across, up = d[..., 0] / d[..., 1], d[..., 2] / d[..., 1]
    right = velocity[..., 0] - across * velocity[..., 1]
    down = -(velocity[..., 2] - up * velocity[..., 1])
    return np.stack([right, down], -1) / (2 * half) * size


# ---------------------------------------------------------------- the built-in clips

# Chosen by eye among scenes whose seeds lie far beyond those the built-in prior is trained on: it has seen neither.
# `speed`: seconds of the scene in one second of film. The clouds, a time-lapse already, pass at half its pace.
CLIPS = {
    "ocean": dict(kind="ocean", seed=100318, speed=1.0, prompts=[
        "ocean waves under an open sky at sunset", "gentle ripples on the ocean at sunset",
        "ocean waves with the sun low on the horizon", "ocean waves under a clear sky by day"]),
    "clouds": dict(kind="clouds", seed=100374, speed=0.5, prompts=[
        "clouds drifting in a blue sky on a bright day", "scattered clouds in a blue sky by day",
        "a sky full of clouds at noon", "clouds drifting in an orange sky at sunset"]),
}
CLIP_FPS, CLIP_FRAMES, CLIP_SIZE, CLIP_CRF = 8, 160, 128, 12


def render_clip(name: str, frames: int = CLIP_FRAMES, size: int = CLIP_SIZE) -> np.ndarray:
    """The first `frames` frames of a built-in clip: uint8 (frames, size, size, 3) at CLIP_FPS."""
    clip = CLIPS[name]
    return render(draw(clip["kind"], clip["seed"]), np.arange(frames) / CLIP_FPS * clip["speed"], size)


def main(argv=None) -> None:
    import argparse
    import json
    from pathlib import Path

    from lnm import video

    parser = argparse.ArgumentParser(prog="python -m lnm.scenes", description="Renders the built-in clips.")
    parser.add_argument("--out", type=Path, default=Path("data"), metavar="FOLDER", help="where to (default: data)")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="contact sheet (default: FOLDER/sheet.png)")
    parser.add_argument("--stills", type=int, metavar="N", help="only a sheet of N stills of every scene, shuffled")
    parser.add_argument("--seed", type=int, default=500_000, help="first seed of those stills (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.stills is not None:
        if args.stills < 1:
            parser.error(f"--stills {args.stills}: must be 1 or more")
        drawn = [draw(KINDS[i % len(KINDS)], args.seed + i) for i in range(args.stills)]
        drawn = [drawn[i] for i in np.random.default_rng(args.seed).permutation(len(drawn))]
        stills = np.stack([render(scene, [0.0])[0] for scene in drawn])
        rows = [(" | ".join(scene.kind for scene in drawn[i:i + 8]), stills[i:i + 8]) for i in range(0, len(drawn), 8)]
        sheet = video.contact_sheet(rows, path=args.sheet or Path("stills.png"))
        print(f"{args.sheet or 'stills.png'}: {args.stills} stills")
        return
    rows, described = [], {}
    for name, clip in CLIPS.items():
        print(f"{name}: rendering {CLIP_FRAMES} frames", flush=True)
        frames = render_clip(name)
        file = video.write_mp4(args.out / f"{name}.mp4", frames, CLIP_FPS, crf=CLIP_CRF)
        scene = draw(clip["kind"], clip["seed"])
        rows += [(f"{name}: {scene.caption}", frames), (f"{name}: eight consecutive frames", frames[:8])]
        described[name] = {"file": file.name, "fps": CLIP_FPS, "frames": CLIP_FRAMES, "size": CLIP_SIZE,
                           "speed": clip["speed"], "prompts": clip["prompts"], **scene.describe()}
    (args.out / "scenes.json").write_text(json.dumps(described, indent=2) + "\n")
    sheet = args.sheet or args.out / "sheet.png"
    video.contact_sheet(rows, path=sheet)
    print(f"{args.out}: {', '.join(CLIPS)}, scenes.json; look at {sheet}")


if __name__ == "__main__":
    main()
