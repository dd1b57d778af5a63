"""The built-in clips: which scenes they are, and at what pace they are filmed."""

from __future__ import annotations

from typing import Any

import numpy as np

from lnm.demo.scenes.renderer import render
from lnm.demo.scenes.scene import draw

# Chosen by eye among scenes whose seeds lie far beyond those that lnm-mini is trained on: it has seen neither.
# `speed`: seconds of the scene in one second of film. The clouds, a time-lapse already, pass at half its pace.
CLIPS: dict[str, dict[str, Any]] = {
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
