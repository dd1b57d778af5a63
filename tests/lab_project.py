"""A project whose notebooks take seconds: tiny weights, a clip that drifts, two stills, two arms."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from conftest import REPOSITORY
from PIL import Image
from tiny import SIZE, write_tiny_checkpoint

from lnm import video

PARAMS = f"""\
size: {SIZE}
device: cpu
checkpoint: {{name: checkpoints/tiny, clip: null}}
prepare: {{holdout: 0.1}}
finetune: {{steps: 4, frames: 3, strides: [1], warmup_steps: 2, preview_every: 2, init: null, seeds: 1}}
sample: {{num_frames: 4, num_inference_steps: 2, seeds: 2, temporal_decoder: null}}
rivals: {{methods: [animatediff], videos: first, films: 1}}
evaluate: {{fid: false}}
human_study: {{bootstrap: 50}}
videos:
  ocean: {{path: inputs/ocean.mp4, fps: 8, prompts: [ocean waves at sunset], still: [heldout, inputs/other.png]}}
"""
PLAN = "video: ocean\nsteps: 2\nseeds: [0, 1]\narms: [base, mask_0]\n"
COPIED = ("notebooks", "claims.yaml", "params.paper.yaml", "inputs/README.md")


def write_project(folder: Path) -> Path:
    """Everything that the notebooks read, and nothing that they make."""
    for name in COPIED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns(".*"))
        else:
            shutil.copy(source, folder / name)
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "ablations").mkdir()
    (folder / "ablations" / "params.yaml").write_text(PLAN)
    write_tiny_checkpoint(folder / "checkpoints" / "tiny")
    picture = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    video.write_mp4(folder / "inputs" / "ocean.mp4", np.stack([np.roll(picture, i, 1) for i in range(50)]), 8)
    Image.fromarray(np.ascontiguousarray(picture.transpose(1, 0, 2)[::-1])).save(folder / "inputs" / "other.png")
    return folder
