"""params.yaml resolved: what each stage of each video is told, defaults filled in, files known by their content.

Stages never read `params.yaml`: they read `build/resolve/<video>/<stage>.json`, which holds just what that stage uses
(with the content hashes of the files it uses), so that a change reruns only what it touches.
"""

from __future__ import annotations

import difflib
import json
import math
import os
from pathlib import Path
from typing import Any

from lnm.demo import footage
from lnm.errors import UserError, shortened
from lnm.files import BUILT_IN, builtin, given_path, sha256, write_json
from lnm.project import STAGES, root
from lnm.settings import HELDOUT, Prepare, frames_needed
from lnm.workflow.choices import Choices, FinetuneChoices, PrepareChoices, RivalsChoices, SampleChoices
from lnm.workflow.params import Params, Video, load

LATER = ("camera", "segment", "stills", "match_colours")  # of prepare; told only where they differ from their defaults
SYSTEM = {Path(folder) for folder in ("/proc", "/sys", "/dev", "/etc", "/usr")}  # nobody's clips lie there
TYPED: dict[str, type[Choices]] = {"prepare": PrepareChoices, "finetune": FinetuneChoices, "sample": SampleChoices,
                                   "rivals": RivalsChoices}


# --- what a stage reads -------------------------------------------------------------------------------------------


def settings(stage: str, video: str) -> Any:
    """What one stage of one video needs: its typed choices, or for evaluate a flat dict.

    Under the pipeline (LNM_RESOLVED=1) it is read from build/resolve/<video>/<stage>.json; else from params.yaml,
    afresh. Raises UserError for a video that is not there or a file that does not exist.
    """
    if os.environ.get("LNM_RESOLVED") == "1":
        data = _resolved(Path(video) / f"{stage}.json", video, f"resolve@{video}")
        return TYPED[stage].model_validate(data) if stage in TYPED else data
    params = load()
    if video not in params.videos:
        names = list(params.videos)
        close = difflib.get_close_matches(video, names, n=1)
        raise UserError(f"params.yaml: videos.{video}: no such video; "
                        + (f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"))
    return resolve_stage(params, stage, video)


def study() -> dict[str, Any]:
    """What the human study needs: `videos` (their names), its section's keys, and {path: hash} of `responses`, the CSV
    files of inputs/human_study, and of `baselines`, other methods' films. Read as settings() is."""
    if os.environ.get("LNM_RESOLVED") == "1":
        return _resolved(Path("human_study.json"), None, "resolve_study")
    params, here = load(), root()
    files = {
        "responses": (p for p in here.glob("inputs/human_study/[!.]*") if p.suffix.lower() == ".csv"),
        "baselines": (p for p in here.glob("inputs/baselines/[!.]*/*") if p.name.split(".")[0] in params.videos),
    }
    hashes = {name: {p.relative_to(here).as_posix(): sha256(p) for p in sorted(found)} for name, found in files.items()}
    return {"videos": list(params.videos), **params.human_study.model_dump(), **hashes}


def _resolved(name: Path, video: str | None, stage: str) -> dict[str, Any]:
    """A json file of build/resolve; `stage` of dvc.yaml is what makes it."""
    here = root()
    path = here / "build" / "resolve" / name
    if not path.is_file():
        whose = f"{video}: " if video else ""
        raise UserError(f"{whose}{path.relative_to(here).as_posix()} is missing; run `dvc repro {stage}`")
    return json.loads(path.read_text(encoding="utf-8"))


# --- how it is made -----------------------------------------------------------------------------------------------


def resolve_stage(params: Params, stage: str, video: str) -> Any:
    """The same from params that are already loaded (or made by a program).

    `*_sha256` are the hashes of the files behind the choices. `path` and `still` of prepare are relative to the root
    (or absolute). `seed` is the run's in finetune and sample, and evaluate's own in evaluate; prepare has none.
    """
    own = {"prepare": _prepare, "finetune": _finetune, "sample": _sample, "rivals": _rivals,
           "evaluate": _evaluate}[stage]
    data = {"video": video, "size": params.size, "device": params.device, **_section(params, stage, video),
            **own(params, video)}
    return TYPED[stage].model_validate(data) if stage in TYPED else data


def _section(params: Params, stage: str, video: str) -> dict[str, Any]:
    """The section of params.yaml that is a stage's own."""
    if stage == "rivals":  # of a video with none it says nothing
        return {}
    section = getattr(params, stage)
    # what a run has always been told stays so
    unsaid = {key for key in LATER if stage == "prepare" and getattr(section, key) == Prepare.model_fields[key].default}
    unsaid |= {"stills"} if stage == "prepare" and params.videos[video].still else set()  # it says which itself
    return section.model_dump(exclude=unsaid)


def _prepare(params: Params, video: str) -> dict[str, Any]:
    entry = params.videos[video]
    first, *others = _pieces(video, entry)
    out = {**_clip(params), **_checkpoint(params), **entry.model_dump(exclude={"steps"}), **first,
           **({"clips": others} if others else {})}
    if params.prepare.camera == "segment":
        tuned = params.finetune.model_copy(update={"steps": entry.steps or params.finetune.steps})
        out["segment"] = params.prepare.segment or frames_needed(tuned, params.prepare.holdout)
    if isinstance(entry.still, list):
        out |= dict(zip(("still", "still_sha256"), map(list, zip(*(_still(video, name) for name in entry.still)))))
        for name, content in zip(entry.still, out["still_sha256"]):
            if out["still_sha256"].count(content) > 1:
                raise UserError(f"params.yaml: videos.{video}.still: {shortened(name)} is the same picture as another "
                                "of the list; take one out")
    elif entry.still:
        still, content = _still(video, entry.still)
        out |= {"still": None} if content is None else {"still": still, "still_sha256": content}
    return out


def _still(video: str, name: str) -> tuple[str, str | None]:
    """A still as its stage is told of it, and its content; HELDOUT has none but the clip's."""
    if name == HELDOUT:
        return name, None
    still = _existing(f"videos.{video}.still", name)
    if still.is_dir():
        raise UserError(f"params.yaml: videos.{video}.still: {shortened(name)} is a folder; give one image")
    return _portable(still), sha256(still)


def _finetune(params: Params, video: str) -> dict[str, Any]:
    any_base = {"any_base": True} if params.checkpoint.any_base and params.finetune.init else {}
    alone = {"noise_steps": 0} if params.sample.begin == "noise" else {}  # ours begin there themselves
    return {**_checkpoint(params), **_lora(params), **any_base, **alone, "seed": params.seed,
            "steps": params.videos[video].steps or params.finetune.steps,
            "init_sha256": _weights_hash("finetune.init", params.finetune.init)}


def _sample(params: Params, video: str) -> dict[str, Any]:
    return {**_checkpoint(params), **_lora(params), "seed": params.seed,
            "decoder_sha256": _weights_hash("sample.temporal_decoder", params.sample.temporal_decoder)}


def _rivals(params: Params, video: str) -> dict[str, Any]:
    """As "ours, from the identity" is trained and filmed, but for what `rivals` says; by the checkpoint's own decoder,
    as what stands beside ours is."""
    if video not in params.rivalled or not params.rivals.methods:
        return {"methods": []}
    identity = params.finetune.identity_steps if params.finetune.init else 0  # else ours itself begins there
    own = identity or params.videos[video].steps or params.finetune.steps
    tuned = {"steps": params.rivals.steps or own, "init": None, "identity_steps": 0, "noise_steps": 0, "seeds": 1,
             "preview_every": 0, "carried": 0.0}
    filmed = {"temporal_decoder": None, "begin": "noise", "seeds": params.rivals.films or params.sample.seeds,
              "others": None}
    return {**_checkpoint(params), **_lora(params), "seed": params.seed, "methods": params.rivals.methods,
            "finetune": params.finetune.model_dump() | tuned, "sample": params.sample.model_dump() | filmed}


def _evaluate(params: Params, video: str) -> dict[str, Any]:
    """It sees the checkpoint only through the frames. Other methods' frames: inputs/baselines/<method>/<video>, a
    folder or a video file."""
    here = root()
    found = sorted(p for p in (here / "inputs" / "baselines").glob("[!.]*/*") if p.name.split(".")[0] == video)
    out = {**_clip(params), "baselines": {path.relative_to(here).as_posix(): sha256(path) for path in found}}
    if params.evaluate.images:
        images = _existing("evaluate.images", params.evaluate.images)
        out |= {"images": _portable(images), "images_sha256": sha256(images)}
    return out


def _clip(params: Params) -> dict[str, Any]:
    return {"clip": params.checkpoint.clip, "clip_sha256": _model_hash("checkpoint.clip", params.checkpoint.clip)}


def _checkpoint(params: Params) -> dict[str, Any]:
    low = {} if params.memory == "auto" else {"memory": params.memory}  # what a run has always been told stays so
    return {"checkpoint": params.checkpoint.name, "revision": params.checkpoint.revision, **low,
            "checkpoint_sha256": _model_hash("checkpoint.name", params.checkpoint.name),
            **({"widen": True} if params.checkpoint.widen else {})}


def _lora(params: Params) -> dict[str, Any]:
    """Nothing where there is none: the record of a run without one is what it was before there were any."""
    if params.checkpoint.lora is None:
        return {}
    path = _existing("checkpoint.lora", params.checkpoint.lora)
    return {"lora": _portable(path), "lora_scale": params.checkpoint.lora_scale, "lora_sha256": sha256(path)}


def _weights_hash(key: str, name: str | None) -> str | None:
    """The content hash of a file of weights, or of a built-in's folder; None where none is named."""
    if name is None:
        return None
    path = builtin(name)
    if path is None and name in BUILT_IN:
        raise UserError(f"params.yaml: {key}: {name} is not here; `dvc pull {name}` brings it, null does without")
    return sha256(path or _existing(key, name))


def _existing(key: str, value: str) -> Path:
    """The path that a key names. A link is followed: what it leads to is what is hashed and used.

    Raises UserError for one that is not there, is no regular file, or is a folder of the system, whose every file would
    be read.
    """
    here = root()
    path = here / given_path(value, f"params.yaml: {key}")
    path = given_path(path, f"params.yaml: {key}")
    name = f"params.yaml: {key}: {shortened(value)}"
    if not path.exists():
        raise UserError(f"{name} does not exist; paths are taken from the project's root")
    if path.is_dir():
        found = path.resolve()
        systems = SYSTEM & {*found.parents, found} or found.parent == Path(found.anchor)
        if systems or here.resolve().is_relative_to(found):
            raise UserError(f"{name} is a folder of the system or holds the whole project; name the folder itself")
    elif not path.is_file():
        raise UserError(f"{name} is not a regular file; give a file or a folder")
    return path


def _pieces(video: str, entry: Video) -> list[dict[str, Any]]:
    """Each clip as its stage is told of it. Raises UserError where two are of one file and overlap in time: what is
    held out of the one would be trained on in the other."""
    found: list[dict[str, Any]] = []
    for number, piece in enumerate(entry.pieces, 1):
        key = f"videos.{video}.path" + (f", clip {number}" if len(entry.pieces) > 1 else "")
        path = _source(key, piece.path)
        one = piece.model_dump() | {"source": piece.path, "path": _portable(path), "path_sha256": sha256(path),
                                    "credit": _credit(piece.path)}
        for other in found:
            if other["path_sha256"] == one["path_sha256"] and _overlap(one, other):
                raise UserError(f"params.yaml: {key}: {shortened(piece.path)} overlaps another clip of the list in "
                                "time; what is held out of one would be trained on in the other: give start, end apart")
        found.append(one)
    return found


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    ends = [math.inf if clip["end"] is None else clip["end"] for clip in (one, other)]
    return one["start"] < ends[1] and other["start"] < ends[0]


def _source(key: str, given: str) -> Path:
    if not given.startswith("footage:"):
        path = _existing(key, given)
        from lnm.video import IMAGES  # it loads numpy and a decoder, which no help needs

        if path.is_dir() and not any(file.suffix.lower() in IMAGES for file in path.iterdir()):
            raise UserError(f"params.yaml: {key}: {shortened(given)} is a folder without images "
                            f"({', '.join(IMAGES)}); give a video file or a folder of images")
        return path
    name = given.removeprefix("footage:")
    if name not in footage.CATALOGUE:
        raise UserError(f"params.yaml: {key}: no footage is named {name}; there is {', '.join(footage.CATALOGUE)}")
    path = footage.path(name, root() / "footage")
    if not path.exists():
        raise UserError(f"params.yaml: {key}: {given} is not fetched yet; run `dvc repro footage`")
    return path


def _credit(given: str) -> str | None:
    return footage.credit(given.removeprefix("footage:")) if given.startswith("footage:") else None


def _portable(path: Path) -> str:
    """Relative to the root where it lies inside: the same json on every machine."""
    return path.relative_to(root()).as_posix() if path.is_relative_to(root()) else str(path)


def _model_hash(key: str, name: str | None) -> str | None:
    """The content hash of a model in a local folder; None for a hub name (its revision pins it)."""
    if name is None:
        return None
    path = builtin(name) or root() / given_path(name, f"params.yaml: {key}")
    if path.exists():
        return sha256(builtin(name) or _existing(key, name))
    if name.startswith(("checkpoints/", "inputs/", ".", "/", "~")):
        raise UserError(f"params.yaml: {key}: {name} does not exist; `dvc pull lnm-mini` brings the default's")
    return None


# --- what is written ----------------------------------------------------------------------------------------------


def resolve(video: str) -> list[Path]:
    """Writes the json files of a video (only those that differ) and returns the paths written."""
    paths = {stage: root() / "build" / "resolve" / video / f"{stage}.json" for stage in STAGES}
    return [path for stage, path in paths.items() if _renew(path, settings(stage, video))]


def resolve_study() -> bool:
    """Writes build/resolve/human_study.json, what the human study is told, and build/resolve/ablations.json, a hash of
    what `lnm ablations` measured (null before it has), if they differ; returns whether one did. DVC knows no dependency
    that may be missing: whoever reads results/ablations/ depends on the hash."""
    table, told = root() / "results" / "ablations" / "ablations.json", root() / "build" / "resolve"
    measured = {"sha256": sha256(table) if table.is_file() else None}
    return any([_renew(told / "human_study.json", study()), _renew(told / "ablations.json", measured)])


def _renew(path: Path, data: Choices | dict[str, Any]) -> bool:
    """Writes a json file if it differs; returns whether it did."""
    data = data.record() if isinstance(data, Choices) else data
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) == data:
        return False
    write_json(path, data)
    return True


def seal(video: str) -> Path:
    """Writes build/evaluated/<video>.json, a hash for each of the video's stages, and returns its path.

    The paper stage depends on the folder of these: DVC has no way to say "every video's results".
    """
    here = root()
    path = here / "build" / "evaluated" / f"{video}.json"
    write_json(path, {stage: sha256(here / "results" / video / stage) for stage in STAGES})
    return path
