"""The choices of a run: `params.yaml`, typed, validated and resolved for one stage of one video.

This is the only place where defaults live. A key that is unknown, misspelt or of the wrong type is an error of one
line that names it. Stages never read `params.yaml`: they read `build/resolve/<video>/<stage>.json`, which holds just
what that stage uses (with the content hashes of the files it uses), so that a change reruns only what it touches.

    python -m lnm.params videos           the names of the videos, one a line; also checks the file
    python -m lnm.params resolve VIDEO    writes build/resolve/VIDEO/{prepare,finetune,sample,evaluate}.json
    python -m lnm.params resolve-study    writes build/resolve/human_study.json
    python -m lnm.params seal VIDEO       writes build/evaluated/VIDEO.json: hashes of all that was made for it
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

STAGES = ("prepare", "finetune", "sample", "evaluate")
NAME = re.compile(r"[A-Za-z0-9_-]+")


class UserError(Exception):
    """Input that only the user can put right: one line that names the input and the fix."""


# strict: YAML already has types, so '8' for 8 or true for 1 is a mistake worth a word
Int = Annotated[int, Field(strict=True)]
Positive = Annotated[int, Field(strict=True, ge=1)]
Fraction = Annotated[float, Field(strict=True, ge=0, lt=1)]
Rate = Annotated[float, Field(strict=True, gt=0)]
NonNegative = Annotated[float, Field(strict=True, ge=0)]
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(strict=True, min_length=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Prior(Section):
    name: Text = "prior/lnm-mini"  # a folder in diffusers' layout, or a hub name
    revision: Text | None = None  # pins a hub name
    clip: Text | None = "prior/lnm-mini-clip"  # an open_clip folder, "ViT-L-14/openai", or null for none


class Prepare(Section):
    holdout: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.25  # the clip's last part, never trained on
    max_frames: Positive | None = None  # of the clip as resampled to fps, held-out ones included


class Finetune(Section):
    steps: Positive = 420
    frames: Positive = 5  # consecutive latents a training sample (the paper's 5)
    strides: Annotated[list[Positive], Field(min_length=1)] = [1, 2]  # drawn at random; what teaches fps
    batch_size: Positive = 1
    optimizer: Literal["lion", "adamw"] = "lion"
    learning_rate: Rate = 2e-4
    weight_decay: NonNegative = 0.01
    warmup_steps: Annotated[int, Field(strict=True, ge=0)] = 30
    lr_schedule: Literal["cosine", "constant"] = "cosine"
    max_grad_norm: Rate = 1.0
    prompt_dropout: Fraction = 0.1  # without it guidance has nothing to guide away from
    ema: Fraction | None = None  # decay
    beta_schedule: Literal["prior", "linear", "scaled_linear", "cosine"] = "prior"
    mask_value: Literal[0, 1] = 0  # 0: nothing masked, sharper on lnm-mini; the paper masks the whole canvas: 1
    still_noise: NonNegative = 0.0  # standard deviation of noise on the still's latents in training
    conv_placement: Literal["3x3", "all_but_projections", "all"] = "all"
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    gradient_checkpointing: Flag = False
    preview_every: Annotated[int, Field(strict=True, ge=0)] = 420  # 0: no previews
    checkpoint_every: Positive = 100
    init: Text | None = None  # a temporal.safetensors to start from; null: the identity

    @field_validator("mixed_precision", mode="before")
    @classmethod
    def _yaml_no(cls, value: Any) -> Any:
        return "no" if value is False else value  # a bare `no` is false in YAML 1.1


class Sample(Section):
    num_frames: Positive = 16
    num_inference_steps: Positive = 15
    guidance_scale: Annotated[float, Field(strict=True, ge=1)] = 1.0  # 1: none
    negative_prompt: Annotated[str, Field(strict=True)] = ""
    scheduler: Literal["ddim", "euler", "euler_a", "dpm++", "pndm", "unipc"] = "dpm++"
    first_frame: Literal["free", "clamp"] = "free"
    seeds: Positive = 2  # films a method; film k uses seed + k


class Evaluate(Section):
    seed: Int = 0  # of the bootstrap and the noise control alone: a new film seed reaches a metric only by its frames
    fid: Flag = True
    bootstrap: Positive = 1000  # resamples behind each interval
    noise_control: Literal["matched"] | NonNegative = "matched"  # of static + noise: as much motion as real, or a sigma
    images: Text | None = None  # a folder of natural images for image-to-image; null: the held-out frames


class HumanStudy(Section):
    methods: Annotated[list[Text], Field(min_length=2)] | None = None  # null: all that have films; also: heldout
    films: Positive = 1  # a method and video
    catch: Annotated[int, Field(strict=True, ge=0)] = 2  # trials that show a film beside its broken version
    ties: Flag = False  # allow "no difference"
    max_failed: Annotated[int, Field(strict=True, ge=0)] = 0  # catch trials an observer may fail
    seed: Annotated[int, Field(strict=True, ge=0)] = 0  # of the catch trials and the bootstrap
    bootstrap: Positive = 2000  # resamples behind each interval


class Video(Section):
    path: Text  # a video file, a folder of images, or footage:NAME
    fps: Rate  # the clip is resampled to this; the film plays at it
    prompts: Annotated[list[Text], Field(min_length=1)]  # the one nearest to the clip by CLIP is used
    still: Text | None = None  # null: the first held-out frame
    crop: Annotated[list[Int], Field(min_length=4, max_length=4)] | None = None  # x, y, w, h; null: centre
    start: NonNegative = 0.0  # seconds
    end: Rate | None = None  # seconds; null: to the end
    steps: Positive | None = None  # of fine-tuning on this clip; null: finetune.steps

    @model_validator(mode="after")
    def _sense(self) -> Video:
        if self.crop and (min(self.crop[:2]) < 0 or min(self.crop[2:]) < 1):
            raise ValueError("crop is [x, y, width, height] in pixels of the source, x and y from 0, sizes from 1")
        if self.end is not None and self.end <= self.start:
            raise ValueError("end must come after start (seconds)")
        return self


class Params(Section):
    seed: Annotated[int, Field(strict=True, ge=0)] = 0
    size: Annotated[int, Field(strict=True, ge=32, multiple_of=8)] = 128  # height and width of the film, pixels
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    prior: Prior = Prior()
    prepare: Prepare = Prepare()
    finetune: Finetune = Finetune()
    sample: Sample = Sample()
    evaluate: Evaluate = Evaluate()
    human_study: HumanStudy = HumanStudy()
    videos: Annotated[dict[str, Video], Field(min_length=1)]

    @field_validator("videos", mode="before")
    @classmethod
    def _names(cls, videos: Any) -> Any:
        for name in videos if isinstance(videos, dict) else ():
            if not NAME.fullmatch(str(name)):
                raise ValueError(f"the name {str(name)!r} may hold only letters, digits, _ and -; rename it")
            if not isinstance(name, str):
                raise ValueError(f"the name {name} is read as a number; quote it or rename it")
            if name in ("paper", "human_study"):
                raise ValueError(f"the name {name!r} is taken (results/{name}); rename it")
        return videos


def root() -> Path:
    """The project's root: the nearest folder, from the working one upwards, that holds params.yaml."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").is_file():
            return folder
    raise UserError(f"params.yaml: not in {here} or above it; run this inside the project")


def write_json(path: Path, data: Any) -> None:
    """Writes JSON whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, path)


def load(path: Path | str | None = None) -> Params:
    """Reads and checks a params file (default: the root's params.yaml). Raises UserError naming file and key."""
    from ruamel.yaml import YAML  # YAML 1.2 as DVC reads it: 1e-4 is a number, no is a word
    from ruamel.yaml.error import YAMLError

    path = Path(path) if path else root() / "params.yaml"
    try:
        data = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except (YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "a key stands twice, or it is not YAML"
        raise UserError(f"{path.name}:{line} {' '.join(str(problem).split())}; correct the YAML there") from error
    try:
        return Params.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{path.name}: {_one_line(error)}") from None


def _one_line(error: ValidationError) -> str:
    """The first of pydantic's errors (misspelt keys first: they explain a missing one) as `key: what; fix`."""
    errors = error.errors(include_url=False)
    first = min(errors, key=lambda e: e["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    got = json.dumps(first["input"], ensure_ascii=False, default=str)
    got = got if len(got) <= 60 else got[:57] + "..."
    if first["type"] == "extra_forbidden":
        known = _keys(first["loc"][:-1])
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        text = f"unknown key; did you mean {close[0]}?" if close else f"unknown key; known here: {', '.join(known)}"
    elif first["type"] == "missing":
        text = "missing; add it"
    elif first["type"] == "value_error":
        text = first["msg"].removeprefix("Value error, ")
    elif first["type"] in ("model_type", "dict_type"):
        text = f"should be a section of keys and values; got {got}"
    else:
        text = f"{first['msg'].lower().removeprefix('input ')}; got {got}"
    more = f" ({len(errors) - 1} more after it)" if len(errors) > 1 else ""
    return f"{key}: {text}{more}"


def _keys(loc: tuple) -> list[str]:
    """The keys that are known at a place of the file, for the did-you-mean."""
    if not loc:
        return list(Params.model_fields)
    if loc[0] == "videos":
        return list(Video.model_fields)
    return list(type(getattr(Params.model_construct(videos={}), loc[0])).model_fields)


def sha256(path: Path) -> str:
    """Content hash of a file, or of a folder's files by their relative names (hidden ones left out)."""
    if path.is_dir():
        whole = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            name = file.relative_to(path)
            if not any(part.startswith(".") for part in name.parts):
                whole.update(f"{name.as_posix()} {sha256(file)}\n".encode())
        return whole.hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def settings(stage: str, video: str) -> dict[str, Any]:
    """What one stage of one video needs, defaults filled in: a flat dict, ready for json.

    Every stage has video, size, device and its own section's keys; prepare, finetune and sample have prior and
    revision, prepare and evaluate have clip; `*_sha256` are the hashes of the files behind them. prepare adds the
    video's keys, with `path` and `still` relative to the root (or absolute), `source` as the user wrote it and
    `credit`; sample adds what it shares with finetune under `finetune`; evaluate adds `baselines` {path: hash}.
    `seed` is the run's in finetune and sample, and evaluate's own in evaluate; prepare has none.

    Under the pipeline (LNM_RESOLVED=1) it reads build/resolve/<video>/<stage>.json; else params.yaml, afresh.
    """
    if os.environ.get("LNM_RESOLVED") == "1":
        path = root() / "build" / "resolve" / video / f"{stage}.json"
        if not path.is_file():
            raise UserError(f"{video}: {path.relative_to(root())} is missing; run `dvc repro resolve@{video}`")
        return json.loads(path.read_text(encoding="utf-8"))
    params = load()
    if video not in params.videos:
        names = list(params.videos)
        close = difflib.get_close_matches(video, names, n=1)
        raise UserError(f"params.yaml: videos.{video}: no such video; "
                        + (f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"))
    return resolve_stage(params, stage, video)


def resolve_stage(params: Params, stage: str, video: str) -> dict[str, Any]:
    """The same for params that are already loaded (or made by a program)."""
    here = root()
    out: dict[str, Any] = {
        "video": video,
        "size": params.size,
        "device": params.device,
        **getattr(params, stage).model_dump(),
    }
    if stage in ("prepare", "evaluate"):  # the two that look at a clip with CLIP
        out |= {"clip": params.prior.clip, "clip_sha256": _model_hash("prior.clip", params.prior.clip)}
    if stage != "evaluate":  # evaluate sees the prior only through the frames
        out |= {"prior": params.prior.name, "revision": params.prior.revision,
                "prior_sha256": _model_hash("prior.name", params.prior.name)}
    if stage == "prepare":
        entry = params.videos[video]
        out |= entry.model_dump(exclude={"steps"}) | {"source": entry.path, "credit": None}
        path = _source(video, entry)
        out |= {"path": _portable(path), "path_sha256": sha256(path)}
        if entry.path.startswith("footage:"):
            from lnm import footage

            out["credit"] = footage.credit(entry.path.removeprefix("footage:"))
        if entry.still:
            still = _existing(f"videos.{video}.still", entry.still)
            out |= {"still": _portable(still), "still_sha256": sha256(still)}
    if stage == "finetune":
        out |= {"seed": params.seed, "steps": params.videos[video].steps or params.finetune.steps}
        init = _existing("finetune.init", params.finetune.init) if params.finetune.init else None
        out["init_sha256"] = sha256(init) if init else None
    if stage == "sample":
        out["seed"] = params.seed
        out["finetune"] = params.finetune.model_dump(include={"mask_value", "beta_schedule"})
    if stage == "evaluate":  # other methods' frames: inputs/baselines/<method>/<video>, a folder or a video file
        found = sorted(p for p in (here / "inputs" / "baselines").glob("[!.]*/*") if p.name.split(".")[0] == video)
        out["baselines"] = {path.relative_to(here).as_posix(): sha256(path) for path in found}
        if params.evaluate.images:
            images = _existing("evaluate.images", params.evaluate.images)
            out |= {"images": _portable(images), "images_sha256": sha256(images)}
    return out


def study() -> dict[str, Any]:
    """What the human study needs: `videos` (their names), its section's keys, and {path: hash} of `responses`, the CSV
    files of inputs/human_study, and of `baselines`, other methods' films. Read as settings() is."""
    here = root()
    if os.environ.get("LNM_RESOLVED") == "1":
        path = here / "build" / "resolve" / "human_study.json"
        if not path.is_file():
            raise UserError(f"{path.relative_to(here)} is missing; run `dvc repro resolve_study`")
        return json.loads(path.read_text(encoding="utf-8"))
    params = load()
    files = {
        "responses": (p for p in here.glob("inputs/human_study/[!.]*") if p.suffix.lower() == ".csv"),
        "baselines": (p for p in here.glob("inputs/baselines/[!.]*/*") if p.name.split(".")[0] in params.videos),
    }
    hashes = {name: {p.relative_to(here).as_posix(): sha256(p) for p in sorted(found)} for name, found in files.items()}
    return {"videos": list(params.videos), **params.human_study.model_dump(), **hashes}


def _existing(key: str, value: str) -> Path:
    path = root() / Path(value).expanduser()
    if not path.exists():
        raise UserError(f"params.yaml: {key}: {value} does not exist; paths are taken from the project's root")
    return path


def _source(video: str, entry: Video) -> Path:
    key = f"videos.{video}.path"
    if not entry.path.startswith("footage:"):
        return _existing(key, entry.path)
    from lnm import footage

    name = entry.path.removeprefix("footage:")
    if name not in footage.CATALOGUE:
        raise UserError(f"params.yaml: {key}: no footage is named {name}; there is {', '.join(footage.CATALOGUE)}")
    path = root() / footage.path(name)
    if not path.exists():
        raise UserError(f"params.yaml: {key}: {entry.path} is not fetched yet; run `dvc repro footage`")
    return path


def _portable(path: Path) -> str:
    """Relative to the root where it lies inside: the same json on every machine."""
    return path.relative_to(root()).as_posix() if path.is_relative_to(root()) else str(path)


def _model_hash(key: str, name: str | None) -> str | None:
    """The content hash of a model in a local folder; None for a hub name (its revision pins it)."""
    if name is None:
        return None
    path = root() / Path(name).expanduser()
    if path.exists():
        return sha256(path)
    if name.startswith(("prior/", "inputs/", ".", "/", "~")):
        raise UserError(f"params.yaml: {key}: {name} does not exist; `dvc pull prior` brings the default's")
    return None


def resolve(video: str) -> list[Path]:
    """Writes the four json files of a video (only those that differ) and returns the paths written."""
    paths = {stage: root() / "build" / "resolve" / video / f"{stage}.json" for stage in STAGES}
    return [path for stage, path in paths.items() if _renew(path, settings(stage, video))]


def _renew(path: Path, data: dict[str, Any]) -> bool:
    """Writes a json file if it differs; returns whether it did."""
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


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lnm.params", description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("videos", help="check params.yaml and print the videos' names")
    command = commands.add_parser("resolve", help="write build/resolve/VIDEO/*.json")
    command.add_argument("video")
    commands.add_parser("resolve-study", help="write build/resolve/human_study.json")
    command = commands.add_parser("seal", help="write build/evaluated/VIDEO.json")
    command.add_argument("video")
    args = parser.parse_args(argv)
    os.environ.pop("LNM_RESOLVED", None)  # here params.yaml is the source
    try:
        if args.command == "videos":
            print("\n".join(load().videos))
        elif args.command == "resolve":
            resolve(args.video)
        elif args.command == "resolve-study":
            _renew(root() / "build" / "resolve" / "human_study.json", study())
        else:
            seal(args.video)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
