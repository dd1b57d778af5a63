"""A scene: the numbers that are drawn from its seed, and what they say in words."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lnm.demo.scenes.captions import caption

KINDS = ("ocean", "clouds", "sunset", "pond", "dusk", "rapids")


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
    n |= {"ocean": _ocean, "clouds": _clouds, "sunset": _sunset, "pond": _pond, "dusk": _dusk,
          "rapids": _rapids}[kind](rng)
    return Scene(kind, seed, n, caption(kind, n, rng))


def paraphrases(scene: Scene) -> set[str]:
    """What else the scene's caption could have been: the wordings that are true of its numbers."""
    return {caption(scene.kind, scene.numbers, np.random.default_rng(k)) for k in range(200)}


def _ocean(rng: np.random.Generator) -> dict:
    u = rng.uniform
    return {
        "wind": float(u(3.5, 13)),  # m/s, sets the length and height of the waves
        "wind_azimuth": float(u(-180, 180)),
        "camera_height": float(np.exp(u(np.log(2.0), np.log(14)))),  # m
        "horizon": float(u(0.22, 0.5)),  # share of the picture above the horizon
        "fov": float(u(42, 68)),
        "water": [float(u(0.00, 0.03)), float(u(0.05, 0.14)), float(u(0.09, 0.20))],
    }


def _clouds(rng: np.random.Generator) -> dict:
    u = rng.uniform
    return {
        "cover": float(u(0.3, 0.8)),
        "wind": float(u(6, 16)),  # m/s at the height of the clouds
        "wind_azimuth": float(u(-180, 180)),
        "cloud_height": float(u(700, 1500)),  # m
        "cloud_scale": float(u(800, 2600)),  # m, size of the largest clouds
        "horizon": float(u(0.72, 1.02)),
        "fov": float(u(55, 80)),
        "hills": float(u(0.0, 0.10)),
    }


def _sunset(rng: np.random.Generator) -> dict:
    u = rng.uniform
    return {
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


def _pond(rng: np.random.Generator) -> dict:
    u = rng.uniform
    return {
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


def _dusk(rng: np.random.Generator) -> dict:
    u = rng.uniform
    return {
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


def _rapids(rng: np.random.Generator) -> dict:
    u = rng.uniform
    depth, stone = float(u(0.03, 0.13)), float(u(0.03, 0.13))
    return {
        "sun_elevation": float(u(10, 60)),
        "cover": float(u(0.2, 0.95)),
        "wind": 3.0,
        "wind_azimuth": float(u(-180, 180)),  # where the water runs to
        "speed": float(np.exp(u(np.log(0.8), np.log(3.2)))),  # m/s
        "camera_height": float(np.exp(u(np.log(1.6), np.log(5)))),
        "horizon": float(u(-1.1, -0.12)),  # above the picture: it shows water alone
        "fov": float(u(26, 52)),
        "rocks": float(u(0.9, 2.6)),  # how high the bed must stand to show, in its deviations
        "foam_from": float(u(-0.2, 1.0)),  # how high it must stand to break the water
        "rough": float(u(0.5, 1.3)),
        "spray": int(rng.integers(0, 14)),
        "body": [depth * float(u(0.4, 1.0)), depth, depth * float(u(0.5, 1.1))],
        "stone": [stone * float(u(0.95, 1.3)), stone, stone * float(u(0.75, 1.0))],
    }
