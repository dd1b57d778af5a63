"""The true motion of a scene, to compare an optical flow with."""

from __future__ import annotations

import numpy as np

from lnm.demo.scenes.camera import direction, rays
from lnm.demo.scenes.physics import GRAVITY, STAR_LAPSE, SUN_LAPSE, TIME_LAPSE, TURN
from lnm.demo.scenes.rapids import rapids_flow, rocks
from lnm.demo.scenes.scene import Scene


def true_motion(scene: Scene, size: int = 128) -> np.ndarray:
    """How things move in the picture at t = 0: (size, size, 2), pixels to the right and down in a second of film.

    Clouds are carried by the wind, stars turn about the pole, the sea's longest waves run at the speed that deep-water
    dispersion gives them, sqrt(g / k), white water is carried by its river. NaN where nothing of the kind is seen
    (ground, or water whose rings run apart).
    """
    n = scene.numbers
    half = np.tan(np.deg2rad(n["fov"]) / 2)
    d = rays(size, n["fov"], n.get("horizon", 0.5)).astype(np.float64)
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
    if scene.kind == "rapids":
        reach = n["camera_height"] / np.maximum(-d[..., 2], 0.03)
        flow = rapids_flow(scene, d[..., 0] * reach, d[..., 1] * reach)
        carried = sea & (rocks(scene, d[..., 0] * reach, d[..., 1] * reach) < 0.05)
        velocity[carried, :2] = (flow * (-d[..., 2] / d[..., 1] / n["camera_height"])[..., None])[carried]
        velocity[carried, 2] = 0
    if scene.kind == "dusk":
        pole = direction(n["pole_azimuth"], n["pole_elevation"])
        velocity[sky] = (np.deg2rad(TURN * STAR_LAPSE) * np.cross(pole, d) / d[..., 1:2])[sky]
    across, up = d[..., 0] / d[..., 1], d[..., 2] / d[..., 1]
    right = velocity[..., 0] - across * velocity[..., 1]
    down = -(velocity[..., 2] - up * velocity[..., 1])
    return np.stack([right, down], -1) / (2 * half) * size
