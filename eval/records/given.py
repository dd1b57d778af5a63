"""What a request to score names, as frames of one size: films of methods, and what they are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.films.read import VIDEO_SUFFIXES
from eval.registry import NEEDS
from lnm.errors import UserError, shortened
from lnm.project import NAME, NAME_SAYS

SMALLEST = 16  # pixels a side: optical flow's least; smaller films have hardly a measure


@dataclass
class Film:
    """Frames uint8 (F, H, W, 3), where they come from, and their rate, None where nothing says it."""

    path: str
    frames: np.ndarray
    fps: float | None


def sources_of(given) -> list:
    """The films that one name stands for: a video file, a folder of images, or frames are one film; a list is several;
    so is a folder without images, of which every video file and every folder of images is one."""
    from lnm import video

    if isinstance(given, (list, tuple)):
        return [source for one in given for source in sources_of(one)]
    if isinstance(given, np.ndarray) or not Path(given).is_dir():
        return [given]
    inside = sorted(Path(given).iterdir(), key=video.natural)
    if any(path.suffix.lower() in video.IMAGES for path in inside):
        return [given]
    films = [path for path in inside if path.suffix.lower() in VIDEO_SUFFIXES or (
        path.is_dir() and any(file.suffix.lower() in video.IMAGES for file in path.iterdir()))]
    return films or [given]  # an empty folder: its reader says what it lacks


def methods_in(folder: str | Path) -> dict[str, list]:
    """method -> films, of a folder in which every file and folder is a method by its name. Raises UserError for a
    folder without any."""
    from lnm import video

    if not Path(folder).is_dir():
        raise UserError(f"--methods {folder}: no such folder")
    inside = sorted((path for path in Path(folder).iterdir() if not path.name.startswith(".")), key=video.natural)
    found = {path.stem if path.is_file() else path.name: sources_of(path) for path in inside
             if path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES}
    if not found:
        raise UserError(f"--methods {folder}: neither a folder nor a video file in it; put each method's films into a "
                        "folder of its name")
    return found


def named(frames, method: str, taken: Sequence[str]) -> dict[str, list]:
    """method -> sources of a request: a mapping as it is, anything else under `method`. Raises UserError for a name
    that is none, or is a control's (`taken`)."""
    methods = {name: sources_of(films) for name, films in frames.items()} if isinstance(frames, Mapping) else {
        method: sources_of(frames)}
    if not methods:
        raise UserError("no films were given: name a method's")
    for name, films in methods.items():
        if not NAME.fullmatch(name):
            raise UserError(f"--method {shortened(name)!r}: a name {NAME_SAYS}; choose another")
        if name in taken:
            raise UserError(f"--method {name}: a control is called so; choose another name")
        if not films:
            raise UserError(f"--method {name}: no films")
    return methods


def read(option: str, source, fps: float | None, size: int | None) -> Film:
    """One film, cut around its centre to squares of `size` pixels if given. A UserError names the option."""
    from PIL import Image

    from lnm import video

    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 4 or source.shape[-1] != 3 or not source.size:
            raise UserError(f"{option}: frames must be uint8 (F, H, W, 3), got {source.dtype} {source.shape}")
        frames = source
        if size:
            box = video.crop_box((source.shape[2], source.shape[1]), size, None, Path(option))
            frames = np.stack([np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.LANCZOS, box))
                               for frame in source])
        return Film("frames", frames, fps)
    folder = Path(source).is_dir()
    try:
        clip = video.read(source, fps=fps or (1 if folder else None), size=size)
    except UserError as error:
        raise UserError(f"{option} {error}") from None
    return Film(str(source), clip.frames, fps if folder else clip.fps)


@dataclass
class Given:
    """Everything that a request names, read; a str in the place of frames is the reason why there are none."""

    films: dict[str, list[Film]]
    reference: Film | str
    train: Film | str
    vae: Film | str  # the reference through an autoencoder
    still: np.ndarray | str  # (H, W, 3)
    size: int | None  # the side of the squares that all were cut to; None: as the frames are
    fps: float | None = None  # that videos were resampled to, or frames taken to be at
    own_still: bool = False  # whether the still was named, and is not the reference's first frame for want of one

    @classmethod
    def read(cls, methods: dict[str, list], reference, train, vae, still, size: int | None,
             fps: float | None) -> Given:
        """Raises UserError for what cannot be read, a still of another size, or a VAE's frames that are not as many."""
        wanted = [(f"{name}", source) for name, films in methods.items() for source in films]
        others = {"--reference": (reference, NEEDS["reference"]), "--train": (train, NEEDS["train"]),
                  "--vae-reference": (vae, NEEDS["VAE"])}

        def everything(side):
            own = [read("--frames", source, fps, side) for _, source in wanted]
            return own, {name: reason if source is None else source if isinstance(source, Missing) else read(
                name, source, fps, side) for name, (source, reason) in others.items()}

        own, rest = everything(size)
        for option, source in [("--frames", film) for film in own] + list(rest.items()):
            if isinstance(source, Film) and min(source.frames.shape[1:3]) < SMALLEST:
                height, width = source.frames.shape[1:3]
                raise UserError(f"{option} {shortened(source.path)}: {width} x {height} pixels; no measure sees "
                                f"anything below {SMALLEST} a side, give larger frames")
        sizes = {film.frames.shape[1:3] for film in (*own, *rest.values()) if isinstance(film, Film)}
        if len(sizes) > 1:  # squares as large as the smallest allows, the same for all
            size = min(side for shape in sizes for side in shape)
            own, rest = everything(size)
        films: dict[str, list[Film]] = {}
        for (name, _), film in zip(wanted, own, strict=True):
            films.setdefault(name, []).append(film)
        real, frames = rest["--reference"], own[0].frames
        given = cls(films, real, rest["--train"], rest["--vae-reference"], _still(still, real, frames, size), size,
                    fps, still is not None)
        if isinstance(given.vae, Film) and isinstance(real, Film) and len(given.vae.frames) != len(real.frames):
            raise UserError(f"--vae-reference {given.vae.path}: {len(given.vae.frames)} frames, the reference has "
                            f"{len(real.frames)}: give the same frames, encoded and decoded")
        return given

    @property
    def first(self) -> Film:
        return next(iter(self.films.values()))[0]

    def out_of_step(self, film: Film) -> bool:
        """Whether a film and the reference are of different frame rates."""
        theirs = self.reference.fps if isinstance(self.reference, Film) else None
        return bool(film.fps and theirs and abs(film.fps / theirs - 1) > 0.01)


class Missing(str):
    """Why there are no frames of something that was given: a reason, and no path."""


def _still(still, real: Film | str, frames: np.ndarray, size: int | None) -> np.ndarray | str:
    """The still that films start from, or the reference's first frame, or why there is neither."""
    from lnm import video

    if still is None:
        return real.frames[0] if isinstance(real, Film) else NEEDS["still"]
    square = size or (frames.shape[1] if frames.shape[1] == frames.shape[2] else None)
    image = still if isinstance(still, np.ndarray) else video.read_image(still, square)
    if image.shape != frames[0].shape:
        raise UserError(f"--still {'' if isinstance(still, np.ndarray) else still}: {image.shape[1]} x "
                        f"{image.shape[0]}, the frames are {frames.shape[2]} x {frames.shape[1]}: give --size")
    return image
