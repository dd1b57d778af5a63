"""Many clips: found in a folder, captioned, encoded once and read from disk a few frames at a time."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm.auto import tqdm

from lnm import video
from lnm.errors import UserError, shortened
from lnm.files import given_path, regular_file, sha256, whole
from lnm.latents import encode
from lnm.settings import Motion
from lnm.tensors import SUM, checksum, read

VIDEOS = (".mp4", ".webm", ".mov", ".avi", ".mkv", ".m4v", ".gif")
VALIDATION = "validation"  # a folder among the clips that holds those never trained on
SMALLEST_CROP = 0.6  # of a drawn piece, as a share of the largest; less shows little of the scene


@dataclass
class Source:
    """A clip as it is found: its name (the path inside the folder), where it lies, a hash of its content."""

    name: str
    path: Path
    content: str


class Latents:
    """Encoded frames (N, C, h, w) in a file of their own, memory-mapped: a slice reads what it names and no more.

    read(count): the first `count` of them as they were before they were encoded, uint8 (count, H, W, 3).
    """

    def __init__(self, path: Path, read: Callable[[int], np.ndarray]):
        self.path, self.read = path, read
        with safe_open(path, "pt") as f:
            self.length = int(f.get_slice("latents").get_shape()[0])
            self.fps = float(f.metadata()["fps"])

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, rows: slice) -> torch.Tensor:
        with safe_open(self.path, "pt") as f:
            return f.get_slice("latents")[rows.start:rows.stop][::rows.step].float()

    def frames(self, rows: slice) -> np.ndarray:
        """The pictures behind a slice, uint8 (N, H, W, 3), read from the clip anew, up to the last of them."""
        return self.read(rows.stop)[rows]


@dataclass
class EncodedClip:
    """A clip to train on: the centre, other pieces and mirror images of it, all of `fps`; its caption."""

    name: str
    content: str
    caption: str
    fps: float
    pieces: list[Latents]


def find_clips(folder: Path | str) -> list[Source]:
    """Every video below a folder, and every folder of images below it, by name. Raises UserError if there is none."""
    folder = given_path(folder, "clips")
    if not folder.is_dir():
        raise UserError(f"clips: {folder} {'is a file; give the folder' if folder.exists() else 'does not exist'}")
    inside = [path for path in folder.rglob("*")
              if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    found = {path for path in inside if path.is_file() and path.suffix.lower() in VIDEOS}
    found |= {path.parent for path in inside if path.suffix.lower() in video.IMAGES and path.parent != folder}
    if not found:
        raise UserError(f"clips: {folder} holds no video ({', '.join(VIDEOS)}) and no folder of images")
    return [Source(path.relative_to(folder).as_posix(), path, sha256(path)) for path in sorted(found)]


def read_captions(path: Path | str | None, names: Sequence[str], prompt: str | None) -> list[str]:
    """The caption of each clip, from a .csv with the columns `clip` and `caption` or a .json {clip: caption}.

    A clip is called by its name, with or without its ending. prompt: of clips that the file leaves out, or, without a
    file, of all. Raises UserError for a file that cannot be read or names a clip that is not there, and for a clip
    without a caption.
    """
    given = _captions(given_path(path, "captions")) if path is not None else {}
    known = {key: name for name in names for key in (str(Path(name).with_suffix("").as_posix()), name)}
    for key, caption in given.items():
        if key not in known:
            raise UserError(f"captions: {path}: there is no clip {key!r} among the {len(names)} clips")
        if not isinstance(caption, str) or not caption.strip():
            raise UserError(f"captions: {path}: the caption of {key!r} is empty or no text")
    own = {known[key]: caption.strip() for key, caption in given.items()}
    for name in names:
        if name not in own and not (prompt or "").strip():
            raise UserError(f"captions: {name} has none; add it to the file, or give a prompt for clips without one")
    return [own.get(name) or str(prompt) for name in names]


def _captions(path: Path) -> dict[str, Any]:
    try:
        text = regular_file(path, "captions", "give a .csv or .json").read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            given = json.loads(text)
            if not isinstance(given, dict):
                raise UserError(f"captions: {path}: should be an object, clip: caption")
            return given
        if path.suffix != ".csv":
            raise UserError(f"captions: {path}: the name must end in .csv or .json")
        rows = csv.DictReader(text.splitlines())
        if not {"clip", "caption"} <= set(rows.fieldnames or ()):
            raise UserError(f"captions: {path}: its first line must name the columns clip and caption")
        return {row["clip"]: row["caption"] for row in rows}
    except (csv.Error, ValueError, RecursionError) as error:
        raise UserError(f"captions: {path}: cannot be read ({shortened(error)}); save it anew as UTF-8") from None


def held_out(sources: Sequence[Source], share: float) -> set[str]:
    """Contents of the clips that are never trained on: those in a folder VALIDATION, or, without one, `share` of all,
    at least one, whatever the files are called and whichever others there are. Copies of one clip fall on one side."""
    apart = {s.content for s in sources if s.name.split("/")[0] == VALIDATION}
    if apart:
        if apart >= {s.content for s in sources}:
            raise UserError(f"clips: all lie in {VALIDATION}/, and none is left to train on")
        return apart
    contents = sorted({s.content for s in sources}, key=lambda c: hashlib.sha256(f"held out {c}".encode()).digest())
    count = math.ceil(share * len(contents))
    if count >= len(contents):
        raise UserError(f"holdout {share:g}: of {len(contents)} clips none is left to train on; give more clips, or 0")
    return set(contents[:count])


def crop_of(source: Source, number: int, picture: tuple[int, int], size: int | Sequence[int]) -> list[int] | None:
    """Piece `number` of a clip: [x, y, width, height] in its pixels, of the film's shape; None for 0, the centre.

    picture: (width, height) of the source. Drawn by the clip's content and the number, so that a later run finds it
    encoded; not smaller than SMALLEST_CROP of the largest piece, nor than the film where the source is larger.
    """
    if number == 0:
        return None
    rng = np.random.default_rng([int(source.content[:16], 16), number])
    wide, high = video.sides(size)
    left, top, right, bottom = video.centre_box(picture, (wide, high))
    scale = rng.uniform(min(1.0, max(SMALLEST_CROP, wide / (right - left))), 1.0)
    w = max(1, round((right - left) * scale))
    h = min(bottom - top, max(1, round(w * high / wide)))
    return [int(rng.integers(0, picture[0] - w + 1)), int(rng.integers(0, picture[1] - h + 1)), w, h]


def encode_clips(vae: Any, identity: str, sources: Sequence[Source], captions: Sequence[str], cache: Path | str,
                 size: int | Sequence[int], settings: Motion, whole: set[str], bar: bool = True) -> list[EncodedClip]:
    """Every clip through the VAE, each piece a file in `cache` named by all that decides it: a later call, or one after
    an interruption, encodes what is not there yet.

    identity: of the VAE. whole: contents of the clips of which the centre alone is wanted (those held out).
    """
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    clips = []
    for source, caption in zip(tqdm(sources, desc="encoding the clips", disable=not bar), captions, strict=True):
        alone = source.content in whole
        pieces = [piece for number in range(1 if alone else settings.crops)
                  for piece in _piece(vae, identity, source, number, cache, size, settings, settings.mirror and
                                      not alone)]
        clips.append(EncodedClip(source.name, source.content, caption, pieces[0].fps, pieces))
    return clips


def _piece(vae: Any, identity: str, source: Source, number: int, cache: Path, size: int | Sequence[int],
           settings: Motion, mirror: bool) -> list[Latents]:
    """One piece of a clip, and its mirror image: mirrored as pixels, since latents are not symmetrical."""
    decides = [identity, source.content, number, list(video.sides(size)), settings.fps, settings.max_frames]
    paths = [cache / (hashlib.sha256(json.dumps([*decides, flip]).encode()).hexdigest()[:32] + ".safetensors")
             for flip in ([False, True] if mirror else [False])]
    film = None
    for path, flip in zip(paths, (False, True)):
        if not _whole(path):
            film = film or _read(source, number, size, settings)
            tensors = {"latents": encode(vae, _mirrored(film.frames, flip)).half()}
            with whole(path) as part:
                save_file(tensors, part, metadata={"fps": repr(film.fps), SUM: checksum(tensors)})
    def read_first(flip: bool, count: int) -> np.ndarray:
        again = _read(source, number, size, settings.model_copy(update={"max_frames": count}))
        return _mirrored(again.frames, flip)

    return [Latents(path, partial(read_first, flip)) for path, flip in zip(paths, (False, True))]


def _mirrored(frames: np.ndarray, flip: bool) -> np.ndarray:
    return np.ascontiguousarray(frames[:, :, ::-1]) if flip else frames


def _whole(path: Path) -> bool:
    """Whether a piece lies there as it was written: what is cut off or has other bytes is encoded again."""
    try:
        return path.is_file() and "fps" in read(path, "")[1]
    except UserError:
        return False


def _read(source: Source, number: int, size: int | Sequence[int], settings: Motion) -> video.Clip:
    if source.path.is_dir():
        if settings.fps is None:
            raise UserError(f"clips: {source.path} is a folder of images, which has no frame rate; give fps")
        fps, first = settings.fps, video.read(source.path, settings.fps, max_frames=1)
    else:
        first = video.read(source.path, max_frames=1)
        fps = min(settings.fps or first.source_fps, first.source_fps)
    crop = crop_of(source, number, first.source_size, size)
    return video.read(source.path, fps, size, crop, max_frames=settings.max_frames)
