"""params.yaml resolved: what each stage of each video is told, defaults filled in, files known by their content.

Stages never read `params.yaml`: they read `build/resolve/<video>/<stage>.json`, which holds just what that stage uses
(with the content hashes of the files it uses), so that a change reruns only what it touches.
"""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any

from lnm.demo import footage
from lnm.errors import UserError
from lnm.files import BUILT_IN, builtin, sha256, write_json
from lnm.workflow.choices import Choices, FinetuneChoices, PrepareChoices, SampleChoices
from lnm.workflow.params import STAGES, Params, Video, load, root

TYPED: dict[str, type[Choices]] = {"prepare": PrepareChoices, "finetune": FinetuneChoices, "sample": SampleChoices}


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
    own = {"prepare": _prepare, "finetune": _finetune, "sample": _sample, "evaluate": _evaluate}[stage]
    data = {"video": video, "size": params.size, "device": params.device, **getattr(params, stage).model_dump(),
            **own(params, video)}
    return TYPED[stage].model_validate(data) if stage in TYPED else data


def _prepare(params: Params, video: str) -> dict[str, Any]:
    entry = params.videos[video]
    path = _source(video, entry)
    out = {**_clip(params), **_checkpoint(params), **entry.model_dump(exclude={"steps"}), "source": entry.path,
           "credit": _credit(entry), "path": _portable(path), "path_sha256": sha256(path)}
    if entry.still:
        still = _existing(f"videos.{video}.still", entry.still)
        out |= {"still": _portable(still), "still_sha256": sha256(still)}
    return out


def _finetune(params: Params, video: str) -> dict[str, Any]:
    return {**_checkpoint(params), "seed": params.seed, "steps": params.videos[video].steps or params.finetune.steps,
            "init_sha256": _weights_hash("finetune.init", params.finetune.init)}


def _sample(params: Params, video: str) -> dict[str, Any]:
    return {**_checkpoint(params), "seed": params.seed,
            "decoder_sha256": _weights_hash("sample.temporal_decoder", params.sample.temporal_decoder)}


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
    return {"checkpoint": params.checkpoint.name, "revision": params.checkpoint.revision,
            "checkpoint_sha256": _model_hash("checkpoint.name", params.checkpoint.name)}


def _weights_hash(key: str, name: str | None) -> str | None:
    """The content hash of a file of weights, or of a built-in's folder; None where none is named."""
    if name is None:
        return None
    path = builtin(name)
    if path is None and name in BUILT_IN:
        raise UserError(f"params.yaml: {key}: {name} is not here; `dvc pull {name}` brings it, null does without")
    return sha256(path or _existing(key, name))


def _existing(key: str, value: str) -> Path:
    path = root() / Path(value).expanduser()
    if not path.exists():
        raise UserError(f"params.yaml: {key}: {value} does not exist; paths are taken from the project's root")
    return path


def _source(video: str, entry: Video) -> Path:
    key = f"videos.{video}.path"
    if not entry.path.startswith("footage:"):
        return _existing(key, entry.path)
    name = entry.path.removeprefix("footage:")
    if name not in footage.CATALOGUE:
        raise UserError(f"params.yaml: {key}: no footage is named {name}; there is {', '.join(footage.CATALOGUE)}")
    path = footage.path(name, root() / "footage")
    if not path.exists():
        raise UserError(f"params.yaml: {key}: {entry.path} is not fetched yet; run `dvc repro footage`")
    return path


def _credit(entry: Video) -> str | None:
    return footage.credit(entry.path.removeprefix("footage:")) if entry.path.startswith("footage:") else None


def _portable(path: Path) -> str:
    """Relative to the root where it lies inside: the same json on every machine."""
    return path.relative_to(root()).as_posix() if path.is_relative_to(root()) else str(path)


def _model_hash(key: str, name: str | None) -> str | None:
    """The content hash of a model in a local folder; None for a hub name (its revision pins it)."""
    if name is None:
        return None
    path = builtin(name) or root() / Path(name).expanduser()
    if path.exists():
        return sha256(path)
    if name.startswith(("checkpoints/", "inputs/", ".", "/", "~")):
        raise UserError(f"params.yaml: {key}: {name} does not exist; `dvc pull lnm-mini` brings the default's")
    return None


# --- what is written ----------------------------------------------------------------------------------------------


def resolve(video: str) -> list[Path]:
    """Writes the four json files of a video (only those that differ) and returns the paths written."""
    paths = {stage: root() / "build" / "resolve" / video / f"{stage}.json" for stage in STAGES}
    return [path for stage, path in paths.items() if _renew(path, settings(stage, video))]


def resolve_study() -> bool:
    """Writes build/resolve/human_study.json if it differs; returns whether it did."""
    return _renew(root() / "build" / "resolve" / "human_study.json", study())


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
    path.parent.mkdir(parents=True, exist_ok=True)
    hashes = {stage: sha256(here / "results" / video / stage) for stage in STAGES}
    path.write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")
    return path
