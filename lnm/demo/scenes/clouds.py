"""A time-lapse of clouds above still, dark hills."""

from __future__ import annotations

import numpy as np

from lnm.demo.scenes.camera import hills, scene_rays
from lnm.demo.scenes.physics import TIME_LAPSE
from lnm.demo.scenes.scene import Scene
from lnm.demo.scenes.sky import Sky


class Clouds:
    """`Clouds(scene, size)(t)`: linear light (2 size, 2 size, 3) at `t` (s of film)."""

    def __init__(self, scene: Scene, size: int):
        self.sky = Sky(scene, scene.numbers["cloud_scale"], scene.numbers["cloud_height"])
        self.d, self.ground = scene_rays(scene, size), hills(scene, size)

    def __call__(self, t: float) -> np.ndarray:
        light = self.sky(self.d, t * TIME_LAPSE)
        ground = self.sky.colours["horizon"] * 0.06 + 0.008
        return light * (1 - self.ground) + ground * self.ground
