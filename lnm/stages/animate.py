"""From a still and a clip to a film in one call: the stages in a row, with what was learned from a clip kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lnm import video
from lnm.checkpoint import WEIGHTS, locate
from lnm.errors import UserError
from lnm.files import cache_folder, sha256
from lnm.hub import locate_decoder
from lnm.settings import Finetune, Sample, finetune_of, sample_of, validated
from lnm.stages.finetune import finetune
from lnm.stages.prepare import prepare
from lnm.stages.sample import sample_films

FPS = 8.0  # of a film whose frame rate is not given: what a clip gives at most, so that its motion can be seen


@dataclass
class Animation:
    """A film: frames uint8 (F, H, W, 3), frames a second, its file if one was asked for, the temporal file behind it,
    and what the preflight found."""

    frames: np.ndarray
    fps: float
    path: Path | None
    temporal: Path
    findings: dict


def animate(still: str | Path, *, like: str | Path, prompt: str, out: str | Path | None = None,
            fps: float | None = None, num_frames: int | None = None, steps: int | None = None,
            size: int | tuple[int, int] = 128, seed: int = 0, checkpoint: str = "lnm-mini", revision: str | None = None,
            device: str = "auto", settings: Finetune | None = None, sample: Sample | None = None,
            store: str | Path | None = None, say: Callable[[str], None] = print) -> Animation:
    """Animate a still in the manner of a clip: prepare, fine-tune (or find what was learned before), sample.

    still: an image. like: the video to learn motion from, a file or a folder of images; all of it is learned from.
    out: FILE.mp4 or FILE.gif. fps: of the film, and of the clip as it is learned from; None: 8, or a video's own if
    that is less. size: of the film in pixels, the side of a square or (width, height). settings, sample: all choices of
    the two steps; steps and num_frames change one each. store: where what was learned is kept (None: a cache folder of
    the user), so that another still in the manner of the same clip takes seconds. say: takes what is to be told, a line
    each; what the preflight warns of comes before the training. Raises UserError for what cannot be read or written.
    """
    still, like, out = Path(still).expanduser(), Path(like).expanduser(), _film_path(out)
    _check(still, like, prompt, fps)
    settings = _changed(settings or finetune_of(checkpoint), preview_every=0, identity_steps=0, seeds=1, steps=steps)
    sample = _changed(sample or sample_of(checkpoint), seeds=1, num_frames=num_frames)
    decoder = sha256(locate_decoder(sample.temporal_decoder)) if sample.temporal_decoder else None
    if fps is None:
        fps = FPS if like.is_dir() else min(FPS, video.read(like, max_frames=1).source_fps)
        say(f"fps: {fps:g}, as none is given"
            + (" and a folder of images has none of its own" if like.is_dir() else ""))
    store = Path(store).expanduser() if store is not None else cache_folder() / "animate"
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"store: {store} cannot be written to ({error.strerror}); give another folder") from None
    model: dict[str, Any] = {"checkpoint": checkpoint, "revision": revision, "device": device}
    clip: dict[str, Any] = {"path": str(like.absolute()), "fps": float(fps), "prompts": [prompt], "size": size,
                            "holdout": 0.0}
    motion = [clip, sha256(like), _weights(checkpoint, revision)]
    try:
        prepared = store / _key([motion, sha256(still)]) / "prepare"
        if not (prepared / "clip.json").exists():  # the last file that the stage writes
            prepare(**clip, out=prepared, still=still.absolute(), **model, name=like.stem)
        findings = json.loads((prepared / "preflight.json").read_text())
        for finding in findings["findings"]:
            if not finding["ok"]:
                say(f"warning: {finding['say']}")
        learned = store / _key([motion, settings.model_dump(), seed]) / "finetune"
        temporal = learned / "temporal.safetensors"
        if not temporal.exists():
            finetune(prepared, learned, learned.parent / "store", settings=settings, seed=seed, **model, name=like.stem)
        films = store / _key([sample.model_dump(), decoder, seed, prepared.parent.name, learned.parent.name]) / "sample"
        if not (films / "films.json").exists():
            sample_films(prepared, temporal, films, settings=sample, seed=seed, **model, name=still.stem,
                         methods=("ours",))
    except UserError as error:  # the stages name the video's key in params.yaml, which there is none of here
        raise UserError(str(error).removeprefix(f"videos.{like.stem}: ")) from None
    film = films / "ours" / "seed_0"
    if out is not None:
        part = out.with_name(out.name + ".part")
        part.write_bytes((film / f"film{out.suffix}").read_bytes())
        os.replace(part, out)
    return Animation(video.read_frames(film), float(fps), out, temporal, findings)


def _weights(checkpoint: str, revision: str | None) -> list[str]:
    """The checkpoint by its content: what another one taught under the same name is not found again."""
    folder = locate(checkpoint, revision)
    return [sha256(file) for part in WEIGHTS for file in sorted((folder / part).glob("*.safetensors"))]


def _film_path(out: str | Path | None) -> Path | None:
    """Where the film goes, looked at before anything is computed."""
    if out is None:
        return None
    path = Path(out).expanduser().absolute()
    if path.suffix not in (".mp4", ".gif"):
        raise UserError(f"out: {out}: the name must end in .mp4 or .gif")
    if not path.parent.is_dir():
        raise UserError(f"out: {out}: there is no folder {path.parent}; make it first")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"out: {out}: a film cannot be written there; give another name")
    return path


def _check(still: Path, like: Path, prompt: str, fps: float | None) -> None:
    """What can be known to be wrong before the stack is asked; files are only looked at, not opened."""
    for what, file in (("still", still), ("like", like)):
        if not file.exists():
            raise UserError(f"{what}: {file} does not exist")
        if not file.is_file() and not file.is_dir():
            raise UserError(f"{what}: {file} is not a regular file; give an image or a video")
    if still.is_dir():
        raise UserError(f"still: {still} is a folder; give one image")
    if not isinstance(prompt, str) or not prompt.strip():
        raise UserError("prompt: empty; say in words what is seen")
    if fps is not None and (not isinstance(fps, int | float) or not 0 < fps < 1000):
        raise UserError(f"fps: {fps!r}: must be a number above 0 and below 1000")


def _changed(section: Any, **changes: Any) -> Any:
    """A section of settings with those of the changes that are not None."""
    return validated(type(section), {**section.model_dump(), **{k: v for k, v in changes.items() if v is not None}})


def _key(what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
