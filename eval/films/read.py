"""Films and images that somebody else made, read as frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lnm.errors import UserError, shortened
from lnm.files import given_path

VIDEO_SUFFIXES = {".mp4", ".webm", ".mov", ".avi", ".gif", ".mkv"}


def read_baseline(path: Path, fps: float, size: int | tuple[int, int] | None) -> list[np.ndarray]:
    """Films of another program: a video file, a folder of frames, a folder with one video file, or of seed_* folders
    of either. A video is resampled to `fps`, frames in a folder are taken as such; they are cut around the centre and
    resized to `size` pixels, the side of a square or (width, height). Returns a list of uint8 (F, height, width, 3)."""
    from lnm import video

    films = []
    for part in sorted(path.glob("seed_*")) or [path]:
        files = [file for file in part.glob("*") if file.suffix.lower() in VIDEO_SUFFIXES]
        if len(files) > 1:
            raise UserError(f"{part}: {len(files)} video files; put each into a folder seed_0, seed_1, ...")
        films.append(video.read(files[0] if files else part, fps=fps, size=size).frames)
    return films


def size_of(path: Path) -> str:
    """Width x height of another program's films as they lie there, before they are cut and resized: `640x480`, each
    size that occurs. path: as `read_baseline` takes it."""
    from lnm import video

    sizes = set()
    for part in sorted(path.glob("seed_*")) or [path]:
        film = next((file for file in sorted(part.glob("*")) if file.suffix.lower() in VIDEO_SUFFIXES), part)
        height, width = video.read(film, fps=1, max_frames=1).frames.shape[1:3]
        sizes.add(f"{width}x{height}")
    return ", ".join(sorted(sizes))


def read_images(folder: Path | None, size: int | tuple[int, int]) -> np.ndarray | None:
    """Every image in a folder, cut around its centre and resized to `size` pixels, the side of a square or (width,
    height): uint8 (N, height, width, 3); None for None."""
    from lnm import video

    files = image_files(folder)
    return np.stack([video.read_image(path, size) for path in files]) if files else None


def image_files(folder: Path | None) -> list[Path]:
    """The images of a folder, sorted; none for None. Raises UserError for a folder without any."""
    from lnm import video

    if not folder:
        return []
    if not given_path(folder).is_dir():
        raise UserError(f"{shortened(folder)}: {'a file' if folder.exists() else 'no such folder'}; give a folder of "
                        "images")
    files = sorted(path for path in given_path(folder).glob("*") if path.suffix.lower() in video.IMAGES)
    if not files:
        raise UserError(f"{folder}: no images ({', '.join(video.IMAGES)}) in this folder; put some into it")
    return files
