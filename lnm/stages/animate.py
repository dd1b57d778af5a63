"""From a still and a clip to a film in one call: the stages in a row, with what was learned from a clip kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lnm import video
from lnm.checkpoint import WEIGHTS, locate
from lnm.errors import UserError
from lnm.files import cache_folder, given_path, sha256, whole
from lnm.hub import locate_decoder
from lnm.settings import Finetune, Prepare, Sample, finetune_of, sample_of, validated
from lnm.stages.finetune import finetune
from lnm.stages.prepare import prepare
from lnm.stages.sample import sample_films

FPS = 8.0  # of a film whose frame rate is not given: what a clip gives at most, so that its motion can be seen
ONE = {"preview_every": 0, "identity_steps": 0, "noise_steps": 0, "seeds": 1}  # fine-tune, and nothing beside it


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
            widen: bool = False, lora: str | None = None, lora_scale: float = 1.0, any_base: bool = False,
            device: str = "auto", memory: str = "auto", settings: Finetune | None = None, sample: Sample | None = None,
            store: str | Path | None = None, say: Callable[[str], None] = print,
            last_still: str | Path | None = None, crop: str | Sequence[int | str] | None = None,
            camera: str = "warn", segment: int | None = None, match_colours: bool = False) -> Animation:
    """Animate a still in the manner of a clip: prepare, fine-tune (or find what was learned before), sample.

    still: an image. like: the video to learn motion from, a file or a folder of images; all of it is learned from.
    out: FILE.mp4 or FILE.gif. fps: of the film, and of the clip as it is learned from; None: 8, or a video's own if
    that is less. size: of the film in pixels, the side of a square or (width, height). memory: "low" is slower and
    takes less. settings, sample: all choices of the two steps; steps and num_frames change one each. widen, lora,
    lora_scale, any_base: of the checkpoint, see `lnm.stages.finetune.finetune`. store: where what was learned is kept
    (None: a cache folder of the user), so that another still in the manner of the same clip takes seconds. say: takes
    what is to be told, a line each; what the preflight warns of comes before the training. last_still: an image that
    the film ends on. crop: of the clip, as `lnm.stages.prepare.prepare` takes it. camera, segment: what becomes of a
    clip whose camera moves, as `lnm.settings.Prepare` has them. match_colours: the still takes the clip's mean and
    deviation of colours, see `lnm.likeness`; last_still stays as it is. Raises UserError for what cannot be read or
    written.
    """
    still, like, out = given_path(still, "still"), given_path(like, "like"), _film_path(out)
    last = None if last_still is None else given_path(last_still, "last_still")
    _check(still, like, prompt, fps, lora, last)
    sample = _changed(sample or sample_of(checkpoint), seeds=1, num_frames=num_frames)
    settings = _told(_changed(settings or finetune_of(checkpoint), steps=steps, **ONE), sample, say)
    _check_last(last, sample.num_frames)
    decoder = sha256(locate_decoder(name)) if (name := sample.decoder()) else None
    if fps is None:
        fps = FPS if like.is_dir() else min(FPS, video.read(like, max_frames=1).source_fps)
        say(f"fps: {fps:g}, as none is given"
            + (" and a folder of images has none of its own" if like.is_dir() else ""))
    store = Path(store).expanduser() if store is not None else cache_folder() / "animate"
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"store: {store} cannot be written to ({error.strerror}); give another folder") from None
    model: dict[str, Any] = {"checkpoint": checkpoint, "revision": revision, "widen": widen, "device": device,
                             "memory": memory}
    adapted: dict[str, Any] = {"lora": lora, "lora_scale": lora_scale} if lora else {}
    clip: dict[str, Any] = {"path": str(like.absolute()), "fps": float(fps), "prompts": [prompt], "size": size,
                            "holdout": 0.0, **({} if crop is None else {"crop": crop}), **_moving(camera, segment)}
    motion = [clip, sha256(like), _weights(checkpoint, revision)]
    adapted_motion = [*motion, sha256(Path(lora).expanduser()), lora_scale] if lora else motion
    try:
        # nothing that is learned hangs on the still's colours
        prepared = store / _key([motion, sha256(still), *(["match_colours"] if match_colours else [])]) / "prepare"
        if not _found(prepared):
            prepare(**clip, out=prepared, still=still.absolute(), **model, match_colours=match_colours, name=like.stem)
            _note(prepared)
        findings = json.loads((prepared / "preflight.json").read_text())
        for finding in findings["findings"]:
            if not finding["ok"] or finding["name"] == "crop":
                say(finding["say"] if finding["ok"] else f"warning: {finding['say']}")
        learned = store / _key([adapted_motion, settings.model_dump(), seed]) / "finetune"
        temporal = learned / "temporal.safetensors"
        if not _found(learned):
            finetune(prepared, learned, learned.parent / "store", settings=settings, seed=seed, **model, **adapted,
                     any_base=any_base, name=like.stem)
            _note(learned)
        films = store / _key([sample.model_dump(), decoder, seed, prepared.parent.name, learned.parent.name,
                              *([] if last is None else [sha256(last)])]) / "sample"
        if not _found(films):
            sample_films(prepared, temporal, films, settings=sample, seed=seed, **model, **adapted, name=still.stem,
                         methods=("ours",), last_still=last)
            _note(films)
    except UserError as error:  # the stages name the video's key in params.yaml, which there is none of here
        raise UserError(str(error).removeprefix(f"videos.{like.stem}: ")) from None
    film = films / "ours" / "seed_0"
    if out is not None:
        with whole(out) as part:
            part.write_bytes((film / f"film{out.suffix}").read_bytes())
    return Animation(video.read_frames(film), float(fps), out, temporal, findings)


def _moving(camera: str, segment: int | None) -> dict[str, Any]:
    """What `prepare` is told of a clip whose camera moves. Raises UserError for what `lnm.settings.Prepare` refuses."""
    chosen = validated(Prepare, {"camera": camera, "segment": segment})
    told = {"moving": chosen.camera} | ({"segment": segment} if chosen.camera == "segment" and segment else {})
    return {} if chosen.camera == "warn" else told  # as before there was a choice, what was learned is found


def _weights(checkpoint: str, revision: str | None) -> list[str]:
    """The checkpoint by its content: what another one taught under the same name is not found again."""
    path = Path(checkpoint).expanduser()
    if path.is_file():
        return [sha256(path)]
    folder = locate(checkpoint, revision)
    return [sha256(file) for part in WEIGHTS for file in sorted((folder / part).glob("*.safetensors"))]


def _film_path(out: str | Path | None) -> Path | None:
    """Where the film goes, looked at before anything is computed."""
    if out is None:
        return None
    path = given_path(out, "out").absolute()
    if path.suffix not in (".mp4", ".gif"):
        raise UserError(f"out: {out}: the name must end in .mp4 or .gif")
    if not path.parent.is_dir():
        raise UserError(f"out: {out}: there is no folder {path.parent}; make it first")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(f"out: {out}: a film cannot be written there; give another name")
    return path


def _check(still: Path, like: Path, prompt: str, fps: float | None, lora: str | None, last: Path | None) -> None:
    """What can be known to be wrong before the stack is asked; files are only looked at, not opened."""
    for what, file in (("still", still), ("like", like), ("last_still", last)):
        if file is None:
            continue
        if not file.exists():
            raise UserError(f"{what}: {file} does not exist")
        if not file.is_file() and not file.is_dir():
            raise UserError(f"{what}: {file} is not a regular file; give an image or a video")
        if file.is_dir() and what != "like":
            raise UserError(f"{what}: {file} is a folder; give one image")
    if not isinstance(prompt, str) or not prompt.strip():
        raise UserError("prompt: empty; say in words what is seen")
    if lora is not None and not Path(lora).expanduser().exists():
        raise UserError(f"checkpoint.lora: {lora} does not exist")
    if fps is not None and (not isinstance(fps, int | float) or not 0 < fps < 1000):
        raise UserError(f"fps: {fps!r}: must be a number above 0 and below 1000")


def _check_last(last: Path | None, num_frames: int) -> None:
    """The still that a film ends on, looked at before the training: it is needed after it."""
    if last is None:
        return
    if num_frames == 1:
        raise UserError("num_frames: 1, and that is the still; give 2 or more for a film that ends on last_still")
    video.read_image(last)


def _changed(section: Any, **changes: Any) -> Any:
    """A section of settings with those of the changes that are not None."""
    return validated(type(section), {**section.model_dump(), **{k: v for k, v in changes.items() if v is not None}})


def _told(settings: Finetune, sample: Sample, say: Callable[[str], None]) -> Finetune:
    """The fine-tune's choices, told of the still alone where films begin from noise: other layers cannot."""
    if sample.begin == "flow" or not settings.carried:
        return settings
    say("carried: 0, for films begin from noise")
    return _changed(settings, carried=0.0)


def _found(folder: Path) -> bool:
    """Whether a stage's folder lies there as the stage left it. One that is incomplete or damaged is removed, and made
    anew."""
    note = folder.with_suffix(".sha256")
    if note.is_file() and folder.is_dir() and note.read_text() == sha256(folder):
        return True
    shutil.rmtree(folder, ignore_errors=True)
    return False


def _note(folder: Path) -> None:
    """Remember what a stage has left in its folder."""
    with whole(folder.with_suffix(".sha256")) as part:
        part.write_text(sha256(folder))


def _key(what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
