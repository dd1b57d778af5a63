"""The prepare stage: a clip becomes VAE latents, cached once, with a still and the prompt that fits it best."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from lnm import camera, likeness, preflight, subject, video
from lnm.checkpoint import open_checkpoint
from lnm.devices import pick_device
from lnm.errors import UserError
from lnm.files import made, write_json
from lnm.latents import decode, encode, spare
from lnm.prompts import choose_prompt
from lnm.settings import Finetune, frames_needed
from lnm.tensors import write


def prepare(path: str | Path, out: Path, *, fps: float, prompts: list[str], checkpoint: str,
            size: int | Sequence[int] = 128, crop: str | Sequence[int | str] | None = None, start: float = 0.0,
            end: float | None = None, max_frames: int | None = None, holdout: float = 0.25,
            still: str | Path | Sequence[str | Path | None] | None = None, stills: int = 1,
            clips: Sequence[Mapping[str, Any]] = (), revision: str | None = None, widen: bool = False,
            clip: str | None = None,
            device: str = "auto", memory: str = "auto", name: str = "clip", about: dict | None = None,
            moving: str = "warn", segment: int | None = None, match_colours: bool = False) -> dict:
    """Writes into `out` the frames trained on and held out, the held-out ones and a still of its own through the VAE,
    the still, clip.mp4, latents.safetensors, prompts.json, preflight.json and, last, clip.json.

    path, fps, crop, start, end, max_frames: as `lnm.video.read` takes them; or crop is one that `lnm.subject.find`
    takes, and then crop.mp4 is written, the window drawn on the whole picture, and clip.json says where it is. size:
    of the film in pixels, the side of a square or (width, height), multiples of 8. holdout: share of the clip, its
    last part, that is never trained on; 0 trains on all of it. still: an image, cut to the film's shape; None takes
    the first held-out frame; or a list of those, from which films begin in turn. stills: how many held-out frames,
    where `still` is None: the first of each of so many equal parts. clips: further ones to learn from, {"path",
    "crop", "start", "end", "source", "credit"} each, cut and held out by themselves, in clips/2, clips/3 ...; stills,
    and what films are compared with, are of the first. clip: what chooses the prompt, see
    `lnm.prompts.choose_prompt`. widen: see `lnm.open_checkpoint`. memory: "low" encodes one frame at a time. name: of
    the clip, in bars and messages. about: names as the user wrote them (source, credit, checkpoint, clip), for the
    records. moving, segment: what becomes of a clip whose camera moves, see `_steady`; None: as many frames as the
    default fine-tune needs. match_colours: of the images in `still`, see `lnm.likeness`.
    Returns clip.json's content and the chosen prompt. Raises UserError for a clip that is unreadable or too short.
    """
    out, about = Path(out), about or {}
    if any(side < 32 or side % 8 for side in video.sides(size)):
        raise UserError(f"size: {size} pixels; each side must be a multiple of 8, 32 or more")
    read: dict[str, Any] = {"fps": fps, "size": size, "max_frames": max_frames, "holdout": holdout, "moving": moving,
                            "segment": segment or frames_needed(Finetune(), holdout)}
    first = {"path": path, "crop": crop, "start": start, "end": end, "source": about.get("source", str(path)),
             "credit": about.get("credit")}
    parts = [_part(clip, f"videos.{name}" + (f": clip {number}" if clips else ""), **read)
             for number, clip in enumerate([first, *clips], 1)]
    train, heldout = parts[0].train, parts[0].heldout
    pictures = _stills(still, stills, heldout, size, train if match_colours else None, name)

    device = pick_device(device)
    vae = open_checkpoint(checkpoint, revision, device, widen=widen).vae
    if memory == "low":
        spare(vae)
    latents = {"train": encode(vae, train, desc=f"encoding {name}"),  # each still alone: as in a run without the others
               "still": torch.cat([encode(vae, picture[None]) for picture, _ in pictures])}
    made(out)
    if len(heldout):
        latents["heldout"] = encode(vae, heldout)
        video.write_frames(out / "heldout", heldout)
        video.write_frames(out / "heldout_vae", decode(vae, latents["heldout"], desc=f"decoding {name}, held out"))
    _write_stills(out, pictures, lambda k: decode(vae, latents["still"][k:k + 1]))
    _write_others(out / "clips", parts[1:])
    for number, part in enumerate(parts[1:], 2):
        latents[f"train_{number}"] = encode(vae, part.train, desc=f"encoding {name}, clip {number}")
    write(out / "latents.safetensors", latents)
    video.write_frames(out / "train", train)
    video.write_mp4(out / "clip.mp4", parts[0].film.frames, parts[0].film.fps)
    _write_crop(out, parts[0])
    chosen = choose_prompt(prompts, np.concatenate([part.train for part in parts]), clip, device)
    write_json(out / "prompts.json", chosen | {"clip": about.get("clip", clip)})
    write_json(out / "preflight.json", _look(parts, [picture for picture, _ in pictures]))
    own, *others = [part.facts() for part in parts]
    facts = {"video": name, "fps": parts[0].film.fps, "size": size if isinstance(size, int) else list(size),
             **own, "checkpoint": about.get("checkpoint", checkpoint), **parts[0].done(),
             **({"stills": [word for _, word in pictures]} if len(pictures) > 1 else {}),
             **({"clips": [of | part.done() for of, part in zip(others, parts[1:])]} if others else {})}
    write_json(out / "clip.json", facts)
    return facts | {"prompt": chosen["prompt"]}


def offers(path: str | Path, *, fps: float, size: int | Sequence[int], holdout: float, segment: int | None = None,
           crop: str | Sequence[int | str] | None = None, start: float = 0.0, end: float | None = None,
           max_frames: int | None = None, clips: Sequence[Mapping[str, Any]] = (), **_: Any) -> list[dict]:
    """What `lnm.camera.findings` says of each clip as it is on disk: of its camera, and what would help. It takes what
    `prepare` takes; nothing is done about the camera here, whatever is asked for. Those of further clips stand behind,
    by "clip 2: path" and so on."""
    found, needed = [], segment or frames_needed(Finetune(), holdout)
    for number, clip in enumerate([{"path": path, "crop": crop, "start": start, "end": end}, *clips], 1):
        span = (clip.get("start", 0.0), clip.get("end"), max_frames)
        film = _reader(clip, fps, size, span)[1](size)
        found += [one | {"name": f"clip {number}: {one['name']}" if number > 1 else one["name"]}
                  for one in camera.findings(film.frames, film.fps, needed)]
    return found


def _reader(clip: Mapping[str, Any], fps: float, size: int | Sequence[int], span: tuple[float, float | None, int | None]
            ) -> tuple[subject.Window | None, Callable[[int | Sequence[int]], video.Clip]]:
    """Where the subject of a clip was looked for, and what reads the clip at some size, cut as it is asked for."""
    path, crop = clip["path"], clip.get("crop")
    window = subject.find(path, fps, size, crop, *span)
    return window, lambda pixels: (subject.read(path, fps, pixels, window, *span) if window else
                                   video.read(path, fps, pixels, crop, *span))


@dataclass
class _Part:
    """One clip, read and cut."""

    clip: Mapping[str, Any]
    film: video.Clip
    steadied: dict | None  # what was done about its camera
    held: int  # frames, the last ones
    window: subject.Window | None  # what was cut from it, where its subject was looked for
    drawn: np.ndarray | None  # and that window on the whole picture, (F, H, W, 3)

    @property
    def train(self) -> np.ndarray:
        return self.film.frames[:len(self.film) - self.held]

    @property
    def heldout(self) -> np.ndarray:
        return self.film.frames[len(self.film) - self.held:]

    def done(self) -> dict:
        """What was done to it, for the records."""
        return ({"camera": self.steadied} if self.steadied else {}) | (
            {"crop": self.window.record()} if self.window else {})

    def facts(self) -> dict:
        """For the records."""
        return {"frames_train": len(self.train), "frames_heldout": self.held,
                "source": self.clip.get("source", str(self.clip["path"])), "credit": self.clip.get("credit"),
                "source_fps": self.film.source_fps, "source_size": list(self.film.source_size)}


def _part(clip: Mapping[str, Any], name: str, *, fps: float, size: int | Sequence[int], max_frames: int | None,
          holdout: float, moving: str, segment: int) -> _Part:
    """A clip as `prepare` is told of it, read, and its last part held out. name: for the messages."""
    path, span = clip["path"], (clip.get("start", 0.0), clip.get("end"), max_frames)
    try:
        window, read = _reader(clip, fps, size, span)
        if window and window.found == "travels" and moving == "stabilise":
            raise UserError("crop: subject follows what travels, and prepare.camera: stabilise would undo that; give "
                            "start and end in which it stays, a crop of your own, or prepare.camera: warn")
        film, steadied = _steady(read, size, moving, segment)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    held = max(2, math.ceil(len(film) * holdout)) if holdout else 0
    if len(film) - held < 5:
        raise UserError(f"{name}: {clip['path']} gives {len(film)} frames at {fps:g} fps, at least {5 + held} are "
                        "needed; give a longer clip or a higher fps")
    if window is None:
        return _Part(clip, film, steadied, held, None, None)
    run = (steadied or {}).get("frames", (0, None))
    return _Part(clip, film, steadied, held, window.part(*run), subject.drawn(path, fps, window, *span)[slice(*run)])


def _look(parts: list[_Part], stills: list[np.ndarray]) -> dict:
    """The preflight's findings; those of further clips behind, by "clip 2: length" and so on."""
    def look(part: _Part, *stills: np.ndarray) -> dict:
        found = preflight.check(part.train, part.film.fps, *stills)
        return preflight.joined(found, [part.window.finding()] if part.window else [])

    report = look(parts[0], *stills)
    for number, part in enumerate(parts[1:], 2):
        other = look(part)
        report["ok"] = report["ok"] and other["ok"]
        report["findings"] += [found | {"name": f"clip {number}: {found['name']}"} for found in other["findings"]]
    return report


def _write_others(folder: Path, parts: list[_Part]) -> None:
    """Further clips as people look at them: the whole, what is trained on, what is held out. Those of an earlier run
    are removed."""
    shutil.rmtree(folder, ignore_errors=True)
    for number, part in enumerate(parts, 2):
        video.write_frames(folder / str(number) / "train", part.train)
        if part.held:
            video.write_frames(folder / str(number) / "heldout", part.heldout)
        video.write_mp4(folder / str(number) / "clip.mp4", part.film.frames, part.film.fps)
        _write_crop(folder / str(number), part)


def _write_crop(folder: Path, part: _Part) -> None:
    """The window that follows a subject, on the whole picture; that of an earlier run is removed."""
    (folder / "crop.mp4").unlink(missing_ok=True)
    if part.drawn is not None:
        video.write_mp4(folder / "crop.mp4", part.drawn, part.film.fps)


def _steady(read: Callable[[int | Sequence[int]], video.Clip], size: int | Sequence[int], moving: str,
            count: int) -> tuple[video.Clip, dict | None]:
    """The clip at `size`, and what was done about its camera, for the records (None: nothing).

    read: gives the clip at a size. moving: "warn" takes it as it is; "stabilise" lays every frame upon the first and
    cuts off what not all show, from frames of twice the size, and leaves a clip as it is that is still already;
    "segment" takes the steadiest part of at least `count` frames; "refuse" raises UserError for a clip with cuts or a
    moving camera, as the other two do where they cannot help.
    """
    film = read(size)
    if moving == "warn":
        return film, None
    if moving == "refuse":
        wrong = [found["say"] for found in preflight.check(film.frames, film.fps)["findings"]
                 if found["name"] in ("cuts", "camera") and not found["ok"]]
        if wrong:
            raise UserError(f"{wrong[0].rstrip('.')}; or set prepare.camera to stabilise, segment or warn")
        return film, None
    way = camera.path(film.frames)
    if moving == "segment":
        run = camera.segment(way, count)
        if run is None:
            longest = max(end - start for start, end in way.shots)
            raise UserError(f"no shot has the {count} frames that prepare.camera: segment needs, the longest has "
                            f"{longest}; give a longer clip, a higher fps or a smaller prepare.segment")
        return replace(film, frames=film.frames[slice(*run)]), {
            "done": "segment", "frames": list(run), "wander_percent": round(way.wander(*run), 2)}
    if not way.cuts and way.wander(0, len(film)) <= camera.STEADY:
        return film, {"done": "nothing: the camera stands still"}
    wide, high = video.sides(size)
    large = read((2 * wide, 2 * high)).frames
    frames, share = camera.stabilise(large, camera.path(large), (wide, high))
    small = [np.asarray(Image.fromarray(frame).resize((wide, high), Image.Resampling.LANCZOS)) for frame in frames]
    return replace(film, frames=np.stack(small)), {"done": "stabilise", "remains": round(share, 3)}


def _stills(still: Any, count: int, heldout: np.ndarray, size: int | Sequence[int], like: np.ndarray | None,
            name: str) -> list[tuple[np.ndarray, str]]:
    """What films begin from, (H, W, 3) each, and what it is in words: "photo.jpg", or "held out, frame 0".

    still, count: as `prepare` takes still and stills. like: frames whose colours an image takes.
    """
    given = list(still) if isinstance(still, list | tuple) else [still]
    if not given:
        raise UserError(f"videos.{name}.still: an empty list; give an image, or None")
    if None in given and not len(heldout):
        raise UserError(f"videos.{name}.still: with nothing held out a still is needed; give an image")
    if given == [None] and count > len(heldout):
        raise UserError(f"videos.{name}: prepare.stills: {count}, but {len(heldout)} frames are held out; give a "
                        "smaller number, a larger prepare.holdout or a longer clip")
    found = []
    for one in given:
        if one is None:
            places = [k * len(heldout) // count for k in range(count)] if len(given) == 1 else [0]
            found += [(heldout[place], f"held out, frame {place}") for place in places]
        else:
            picture = video.read_image(one, size)
            found.append((picture if like is None else likeness.match_colours(picture, like), Path(one).name))
    return found


def _write_stills(out: Path, pictures: list[tuple[np.ndarray, str]], through: Callable[[int], np.ndarray]) -> None:
    """The stills, and through the autoencoder those that are not the first held-out frame: what the first frame of a
    film is held against. through(k): still k (1, H, W, 3). Those of an earlier run are removed."""
    for old in out.glob("still*.png"):
        old.unlink()
    for k, (picture, word) in enumerate(pictures):
        path = out / ("still.png" if k == 0 else f"still_{k + 1}.png")
        _write_picture(path, picture[None])
        if word != "held out, frame 0":
            _write_picture(path.with_name(f"{path.stem}_vae.png"), through(k))


def _write_picture(path: Path, frames: np.ndarray) -> None:
    """One frame (1, H, W, 3) as one file."""
    folder = path.with_suffix("")
    video.write_frames(folder, frames)
    os.replace(folder / "00000.png", path)
    folder.rmdir()
