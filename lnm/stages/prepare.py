"""The prepare stage: a clip becomes VAE latents, cached once, with a still and the prompt that fits it best."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from lnm import preflight, video
from lnm.checkpoint import open_checkpoint
from lnm.devices import pick_device
from lnm.errors import UserError
from lnm.files import write_json
from lnm.latents import decode, encode
from lnm.prompts import choose_prompt


def prepare(path: str | Path, out: Path, *, fps: float, prompts: list[str], checkpoint: str,
            size: int | Sequence[int] = 128, crop: list[int] | None = None, start: float = 0.0,
            end: float | None = None, max_frames: int | None = None, holdout: float = 0.25,
            still: str | Path | None = None, revision: str | None = None, clip: str | None = None, device: str = "auto",
            name: str = "clip", about: dict | None = None) -> dict:
    """Writes into `out` the frames trained on and held out, the held-out ones and a still of its own through the VAE,
    the still, clip.mp4, latents.safetensors, prompts.json, preflight.json and, last, clip.json.

    path, fps, crop, start, end, max_frames: as `lnm.video.read` takes them. size: of the film in pixels, the side of a
    square or (width, height), multiples of 8. holdout: share of the clip, its last part, that is never trained on; 0
    trains on all of it. still: an image, cut to the film's shape; None takes the first held-out frame. clip: what
    chooses the prompt, see `lnm.prompts.choose_prompt`. name: of the clip, in bars and messages. about: names as the
    user wrote them (source, credit, checkpoint, clip), for the records.
    Returns clip.json's content and the chosen prompt. Raises UserError for a clip that is unreadable or too short.
    """
    out, about = Path(out), about or {}
    if any(side < 32 or side % 8 for side in video.sides(size)):
        raise UserError(f"size: {size} pixels; each side must be a multiple of 8, 32 or more")
    try:
        film = video.read(path, fps, size, crop, start, end, max_frames)
    except UserError as error:
        raise UserError(f"videos.{name}: {error}") from None
    held = max(2, math.ceil(len(film.frames) * holdout)) if holdout else 0
    train, heldout = film.frames[:len(film.frames) - held], film.frames[len(film.frames) - held:]
    if len(train) < 5:
        raise UserError(f"videos.{name}: {path} gives {len(film.frames)} frames at {fps:g} fps, "
                        f"at least {5 + held} are needed; give a longer clip or a higher fps")
    if still is None and not held:
        raise UserError(f"videos.{name}.still: with nothing held out a still is needed; give an image")
    picture = video.read_image(still, size) if still else heldout[0]

    device = pick_device(device)
    vae = open_checkpoint(checkpoint, revision, device).vae
    latents = {"train": encode(vae, train, desc=f"encoding {name}"), "still": encode(vae, picture[None])}
    out.mkdir(parents=True, exist_ok=True)
    if held:
        latents["heldout"] = encode(vae, heldout)
        video.write_frames(out / "heldout", heldout)
        video.write_frames(out / "heldout_vae", decode(vae, latents["heldout"], desc=f"decoding {name}, held out"))
    (out / "still_vae.png").unlink(missing_ok=True)  # of an earlier still
    if still:  # what the first frame of a film is held against; otherwise it is among the held-out ones
        _write_picture(out / "still_vae.png", decode(vae, latents["still"]))
    save_file(latents, out / "latents.safetensors")
    _write_pictures(out, film, train, picture)
    chosen = choose_prompt(prompts, train, clip, device)
    write_json(out / "prompts.json", chosen | {"clip": about.get("clip", clip)})
    write_json(out / "preflight.json", preflight.check(train, film.fps, picture))
    facts = {"video": name, "fps": film.fps, "size": size if isinstance(size, int) else list(size),
             "frames_train": len(train), "frames_heldout": len(heldout),
             "source": about.get("source", str(path)), "credit": about.get("credit"), "source_fps": film.source_fps,
             "source_size": list(film.source_size), "checkpoint": about.get("checkpoint", checkpoint)}
    write_json(out / "clip.json", facts)
    return facts | {"prompt": chosen["prompt"]}


def _write_pictures(out: Path, film: video.Clip, train: np.ndarray, still: np.ndarray) -> None:
    """What a person looks at: frames trained on, the still, the whole clip as mp4."""
    video.write_frames(out / "train", train)
    _write_picture(out / "still.png", still[None])
    video.write_mp4(out / "clip.mp4", film.frames, film.fps)


def _write_picture(path: Path, frames: np.ndarray) -> None:
    """One frame (1, H, W, 3) as one file."""
    folder = path.with_suffix("")
    video.write_frames(folder, frames)
    os.replace(folder / "00000.png", path)
    folder.rmdir()
