"""Frames of a scene at any times."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from lnm.demo.scenes.camera import develop
from lnm.demo.scenes.clouds import Clouds
from lnm.demo.scenes.dusk import Dusk
from lnm.demo.scenes.pond import Pond
from lnm.demo.scenes.rapids import Rapids
from lnm.demo.scenes.scene import Scene
from lnm.demo.scenes.sea import Ocean, Sunset

PAINTERS: dict[str, Callable[[Scene, int], Any]] = {
    "ocean": Ocean, "clouds": Clouds, "sunset": Sunset, "pond": Pond, "dusk": Dusk,
    "rapids": Rapids}


class Renderer:
    """Renders frames of one scene at any time: `Renderer(scene, size)(t) -> uint8 (size, size, 3)`."""

    def __init__(self, scene: Scene, size: int = 128):
        self.size, self.painter = size, PAINTERS[scene.kind](scene, size)

    def __call__(self, t: float) -> np.ndarray:
        return develop(self.painter(t), self.size)


def render(scene: Scene, times: Iterable[float], size: int = 128) -> np.ndarray:
    """Render `scene` at `times` (s): uint8 (F, size, size, 3), RGB."""
    renderer = Renderer(scene, size)
    return np.stack([renderer(float(t)) for t in times])
