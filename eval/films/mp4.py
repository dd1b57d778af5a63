"""Films as bytes of H.264."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np


def mp4(frames: np.ndarray, fps: float, crf: int = 16) -> bytes:
    """An mp4 file's bytes of a film uint8 (F, H, W, 3), as `lnm.video.write_mp4` writes it, which says what crf is."""
    from lnm.video import write_mp4

    with tempfile.TemporaryDirectory() as folder:
        return write_mp4(Path(folder) / "film.mp4", frames, fps, crf).read_bytes()
