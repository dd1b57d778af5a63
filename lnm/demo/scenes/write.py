"""The built-in clips in data/, and sheets of stills, written to disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lnm import video
from lnm.demo.scenes.clips import CLIP_CRF, CLIP_FPS, CLIP_FRAMES, CLIP_SIZE, CLIPS, render_clip
from lnm.demo.scenes.renderer import render
from lnm.demo.scenes.scene import KINDS, draw


def write_stills(sheet: Path, count: int, seed: int) -> None:
    """A contact sheet of `count` stills, every kind in turn, seeds from `seed`, shuffled."""
    drawn = [draw(KINDS[i % len(KINDS)], seed + i) for i in range(count)]
    drawn = [drawn[i] for i in np.random.default_rng(seed).permutation(len(drawn))]
    stills = np.stack([render(scene, [0.0])[0] for scene in drawn])
    rows = [(" | ".join(scene.kind for scene in drawn[i:i + 8]), stills[i:i + 8]) for i in range(0, len(drawn), 8)]
    video.contact_sheet(rows, path=sheet)


def write_clips(out: Path, sheet: Path, frames: int = CLIP_FRAMES, size: int = CLIP_SIZE,
                say: Callable[[str], None] = print) -> None:
    """The built-in clips as `out`/NAME.mp4, scenes.json that describes them, and a contact sheet. say: takes a line a
    clip, before it is rendered."""
    rows, described = [], {}
    for name, clip in CLIPS.items():
        say(f"{name}: rendering {frames} frames")
        film = render_clip(name, frames, size)
        file = video.write_mp4(out / f"{name}.mp4", film, CLIP_FPS, crf=CLIP_CRF)
        scene = draw(clip["kind"], clip["seed"])
        rows += [(f"{name}: {scene.caption}", film), (f"{name}: eight consecutive frames", film[:8])]
        described[name] = {"file": file.name, "fps": CLIP_FPS, "frames": frames, "size": size,
                           "speed": clip["speed"], "prompts": clip["prompts"], **scene.describe()}
    (out / "scenes.json").write_text(json.dumps(described, indent=2) + "\n")
    video.contact_sheet(rows, path=sheet)
