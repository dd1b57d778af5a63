"""`params.yaml`, typed and checked: every choice of a run.

The defaults of the method's steps live in `lnm.settings`, those of the checkpoint, the harness and the study here, and
nowhere else. A key that is unknown, misspelt or of the wrong type is an error of one line that names it.
"""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from lnm.errors import UserError
from lnm.settings import (
    Count,
    Finetune,
    Flag,
    Fraction,
    Int,
    NonNegative,
    Positive,
    Prepare,
    Rate,
    Sample,
    Section,
    Text,
)

STAGES = ("prepare", "finetune", "sample", "evaluate")
NAME = re.compile(r"[A-Za-z0-9_-]+")


def _size(value: Any) -> Any:
    """One line for what pydantic would say twice, of either form that a size may have."""
    sides = value if isinstance(value, list) and len(value) == 2 else [value]
    if not all(type(side) is int for side in sides):
        raise ValueError(f"should be the side of a square or [width, height], in pixels; got {value!r}")
    if any(side % 8 for side in sides):
        raise ValueError(f"should be a multiple of 8; got {value}")
    if min(sides) < 32:
        raise ValueError(f"should be 32 or more; got {value}")
    return value


Size = Annotated[int | list[int], BeforeValidator(_size)]
Device = Literal["auto", "cpu", "cuda", "mps"]


class Base(Section):
    """Whose space is animated: a Stable Diffusion inpainting checkpoint, and the CLIP that picks a prompt."""

    name: Text = "checkpoints/lnm-mini"  # a folder in diffusers' layout, or a hub name
    revision: Text | None = None  # pins a hub name
    clip: Text | None = "checkpoints/lnm-mini-clip"  # an open_clip folder, "ViT-L-14/openai", or null for none


class Evaluate(Section):
    """How films are measured."""

    seed: Int = 0  # of the noise control and the shuffling alone: a new film seed reaches a metric only by its frames
    fid: Flag = True
    noise_control: Literal["matched"] | NonNegative = "matched"  # of static + noise: as much motion as real, or a sigma
    images: Text | None = None  # a folder of natural images for image-to-image; null: the held-out frames


class HumanStudy(Section):
    """How people are asked, and how their votes are counted."""

    methods: Annotated[list[Text], Field(min_length=2)] | None = None  # null: all that have films; also: heldout
    films: Positive = 1  # a method and video
    catch: Count = 6  # trials that show a film beside its broken version: by luck one observer in 64 passes all
    ties: Flag = False  # allow "no difference"
    max_failed: Count = 0  # catch trials an observer may fail
    min_rt_ms: Count = 500  # an observer whose median answer came sooner did not look; 0: not judged
    one_side_p: Fraction = 0.001  # nor one whose sides a coin would give this rarely; 0: not judged
    careless: Literal["leave_out", "flag"] = "leave_out"  # what becomes of the votes of who did not look
    seed: Count = 0  # of the catch trials and the bootstrap
    bootstrap: Positive = 2000  # resamples behind each interval


class Video(Section):
    """One clip to learn from and the still to animate."""

    path: Text  # a video file, a folder of images, or footage:NAME
    fps: Rate  # the clip is resampled to this; the film plays at it
    prompts: Annotated[list[Text], Field(min_length=1)]  # the one nearest to the clip by CLIP is used
    still: Text | None = None  # null: the first held-out frame
    crop: Annotated[list[Int], Field(min_length=4, max_length=4)] | None = None  # x, y, w, h; null: centre
    start: NonNegative = 0.0  # seconds
    end: Rate | None = None  # seconds; null: to the end
    steps: Positive | Literal["auto"] | None = None  # of fine-tuning on this clip; null: finetune.steps

    @model_validator(mode="after")
    def _sense(self) -> Video:
        if self.crop and (min(self.crop[:2]) < 0 or min(self.crop[2:]) < 1):
            raise ValueError("crop is [x, y, width, height] in pixels of the source, x and y from 0, sizes from 1")
        if self.end is not None and self.end <= self.start:
            raise ValueError("end must come after start (seconds)")
        return self


class Params(Section):
    """The whole file."""

    seed: Count = 0
    size: Size = 128  # of the film, pixels: the side of a square, or [width, height]
    device: Device = "auto"
    checkpoint: Base = Base()
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


def own_steps(params: Params, video: str | None = None) -> list[str]:
    """A sentence for each video (or the one named) that is trained for steps of its own: what finetune.steps does not
    reach, neither in params.yaml nor by `dvc exp run -S finetune.steps=...`."""
    own = {name: entry.steps for name, entry in params.videos.items() if entry.steps and video in (None, name)}
    return [f"{name} trains {steps} steps, its own; finetune.steps ({params.finetune.steps}) does not reach it, "
            f"videos.{name}.steps does" for name, steps in own.items() if steps != params.finetune.steps]


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
