"""`params.yaml`, typed and checked: every choice of a run.

The defaults of the method's steps live in `lnm.settings`, those of the checkpoint, the harness and the study here, and
nowhere else. A key that is unknown, misspelt or of the wrong type is an error of one line that names it.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from lnm.errors import UserError, shortened
from lnm.files import given_path
from lnm.project import LARGEST, NAME, NAME_SAYS, read_yaml, root
from lnm.settings import (
    HALF,
    HELDOUT,
    SUBJECT,
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
    Seed,
    Text,
    one_line,
)

TAKEN = ("paper", "human_study", "audit", "ablations")  # what results/ holds beside the videos
TRUTHS = ("true", "false", "null", "yes", "no", "on", "off", "none")  # what one YAML or another reads as no text


def _size(value: Any) -> Any:
    """One line for what pydantic would say twice, of either form that a size may have."""
    sides = value if isinstance(value, list) and len(value) == 2 else [value]
    if not all(type(side) is int for side in sides):
        raise ValueError(f"should be the side of a square or [width, height], in pixels; got {value!r}")
    if any(side % 8 for side in sides):
        raise ValueError(f"should be a multiple of 8; got {value}")
    if min(sides) < 32:
        raise ValueError(f"should be 32 or more; got {value}")
    if max(sides) > LARGEST:
        raise ValueError(f"should be {LARGEST} or less; got {value}")
    return value


def _crop(value: Any) -> Any:
    """One line for what pydantic would say twice, of any form that a crop may have."""
    named = isinstance(value, list) and value[:1] == [SUBJECT]
    numbers = value[1:] if named else value
    if value != SUBJECT and not (isinstance(numbers, list) and len(numbers) == (2 if named else 4)
                                 and all(type(number) is int for number in numbers)):
        raise ValueError(f"should be [x, y, width, height], {SUBJECT} or [{SUBJECT}, width, height], in pixels of the "
                         f"source; got {_shown(value)}")
    return value


Crop = Annotated[str | list[int | str], BeforeValidator(_crop)]


class Piece(Section):
    """One of several clips; each has its own cut."""

    path: Text  # a video file, a folder of images, or footage:NAME
    crop: Crop | None = None  # x, y, width, height; subject, or subject, width, height; null: centre
    start: NonNegative = 0.0  # seconds
    end: Rate | None = None  # seconds; null: to the end

    @model_validator(mode="after")
    def _sense(self) -> Piece:
        check_cut(self.crop, self.start, self.end)
        return self


def check_cut(crop: str | list[int | str] | None, start: float, end: float | None) -> None:
    """Raise ValueError for a crop or a stretch of time that no clip can have."""
    numbers = [part for part in crop if isinstance(part, int)] if isinstance(crop, list) else []
    if numbers and (min(numbers[:-2], default=0) < 0 or min(numbers[-2:]) < 1):
        raise ValueError("crop is [x, y, width, height] in pixels of the source, x and y from 0, sizes from 1")
    if end is not None and end <= start:
        raise ValueError("end must come after start (seconds)")


def _pieces(value: Any) -> Any:
    """One line for what pydantic would say twice, of either form that a path may have."""
    if isinstance(value, str) and value:
        return value
    if value == []:
        raise ValueError("an empty list; name a clip")
    if not isinstance(value, list):
        raise ValueError(f"should be a clip, or a list of clips; got {_shown(value)}")
    found = []
    for number, one in enumerate(value, 1):
        if not isinstance(one, str | dict):
            raise ValueError(f"clip {number}: should be a path, or a section with path, crop, start, end; got "
                             f"{_shown(one)}")
        try:
            found.append(Piece.model_validate({"path": one} if isinstance(one, str) else one))
        except ValidationError as error:
            said = one_line(error).removeprefix("the settings: value error, ")
            raise ValueError(f"clip {number}: {said}") from None
    return found


def _stills(value: Any) -> Any:
    """One line for what pydantic would say twice; of one still a list says no more than the still."""
    given = value if isinstance(value, list) else [] if value is None else [value]
    if value == []:
        raise ValueError("an empty list; name an image, or take the key out")
    for one in given:
        if not isinstance(one, str) or not one:
            raise ValueError(f"should be an image, {HELDOUT}, or a list of those; got {_shown(one)}")
        if given.count(one) > 1:
            raise ValueError(f"{shortened(one)} stands twice; take one out")
    return given[0] if len(given) == 1 else value


Size = Annotated[int | list[int], BeforeValidator(_size)]
Device = Literal["auto", "cpu", "cuda", "mps"]
Memory = Literal["auto", "low"]


class Base(Section):
    """Whose space is animated: a Stable Diffusion inpainting checkpoint, and the CLIP that picks a prompt."""

    name: Text = "checkpoints/lnm-mini"  # a folder in diffusers' layout, or a hub name
    revision: Text | None = None  # pins a hub name
    clip: Text | None = "checkpoints/lnm-mini-clip"  # an open_clip folder, "ViT-L-14/openai", or null for none
    widen: Flag = False  # take a text-to-image checkpoint: weights for mask and still are added, which train
    lora: Text | None = None  # a LoRA of the checkpoint, a .safetensors file, fused into its weights
    lora_scale: Annotated[float, Field(strict=True)] = 1.0
    any_base: Flag = False  # take a finetune.init that was trained on another base of the same shape, with a warning


class Rivals(Section):
    """Other methods' temporal parts, trained by our loop on the same clip (`lnm.rivals`)."""

    methods: list[Literal["animatediff", "tune_a_video", "dreamix"]] = ["animatediff", "tune_a_video", "dreamix"]
    videos: Literal["first", "all"] | list[Text] = []  # names of videos; []: none
    steps: Positive | None = None  # null: as many as "ours, from the identity"; else as many as the fine-tune
    films: Positive | None = None  # a method; film k starts from the noise of our film k; null: as many as of ours


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
    """The clip, or the clips, to learn from, and the still, or the stills, to animate."""

    path: Annotated[Text | list[Piece], BeforeValidator(_pieces)]  # a clip as Piece.path says, or a list of clips
    fps: Annotated[Rate, Field(lt=1000)]  # the clip is resampled to this; the film plays at it
    prompts: Annotated[list[Text], Field(min_length=1)]  # the one nearest to the clip by CLIP is used
    still: Annotated[Text | list[Text] | None, BeforeValidator(_stills)] = None  # images or heldout; null: heldout
    crop: Crop | None = None  # as Piece.crop says
    start: NonNegative = 0.0  # seconds
    end: Rate | None = None  # seconds; null: to the end
    steps: Positive | Literal["auto"] | None = None  # of fine-tuning on this clip; null: finetune.steps

    @field_validator("prompts")
    @classmethod
    def _said(cls, prompts: list[str]) -> list[str]:
        for prompt in prompts:
            if not prompt.strip():
                raise ValueError("a prompt is blank; say in words what is seen, or take it out")
        return prompts

    @model_validator(mode="after")
    def _sense(self) -> Video:
        check_cut(self.crop, self.start, self.end)
        given = [key for key in ("crop", "start", "end") if key in self.model_fields_set]
        if isinstance(self.path, list) and given:
            raise ValueError(f"{given[0]} belongs to one clip; write it beside the path of each clip of the list")
        return self

    @property
    def pieces(self) -> list[Piece]:
        """The clips in order."""
        if isinstance(self.path, list):
            return self.path
        return [Piece(path=self.path, crop=self.crop, start=self.start, end=self.end)]


class Params(Section):
    """The whole file."""

    seed: Seed = 0
    size: Size = 128  # of the film, pixels: the side of a square, or [width, height]
    device: Device = "auto"
    memory: Memory = "auto"  # low: slower and less
    checkpoint: Base = Base()
    prepare: Prepare = Prepare()
    finetune: Finetune = Finetune()
    sample: Sample = Sample()
    rivals: Rivals = Rivals()
    evaluate: Evaluate = Evaluate()
    human_study: HumanStudy = HumanStudy()
    videos: Annotated[dict[str, Video], Field(min_length=1)]

    @field_validator("videos", mode="before")
    @classmethod
    def _names(cls, videos: Any) -> Any:
        for name in videos if isinstance(videos, dict) else ():
            if name is None or isinstance(name, bool) or str(name).lower() in TRUTHS:
                raise ValueError(f"the name {str(name).lower()} is read as a truth value or as nothing; rename it")
            if not NAME.fullmatch(str(name)):
                raise ValueError(f"the name {shortened(name, 60)!r} {NAME_SAYS}; rename it")
            if not isinstance(name, str):
                raise ValueError(f"the name {name} is read as a number; quote it or rename it")
            if name.lower() in TAKEN:
                raise ValueError(f"the name {name!r} is taken (results/{name.lower()}); rename it")
        return videos

    @model_validator(mode="after")
    def _named(self) -> Params:
        for name in self.rivals.videos if isinstance(self.rivals.videos, list) else ():
            if name not in self.videos:
                raise ValueError(f"rivals.videos: there is no video {name}; there is {', '.join(self.videos)}")
        if self.sample.begin == "noise" and self.finetune.carried > HALF:
            raise ValueError(f"finetune.carried: {self.finetune.carried:g} leaves layers that cannot begin from noise, "
                             "as sample.begin says; set it to 0")
        return self

    @property
    def rivalled(self) -> list[str]:
        """The videos on which other methods are trained as well."""
        names = list(self.videos)
        return {"first": names[:1], "all": names}[self.rivals.videos] if isinstance(self.rivals.videos, str) else (
            self.rivals.videos)


def load(path: Path | str | None = None) -> Params:
    """Reads and checks a params file (default: the root's params.yaml). Raises UserError naming file and key."""
    path = given_path(path) if path else root() / "params.yaml"
    data = read_yaml(path)
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
    got = _shown(first["input"])
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
    return f"{shortened(key)}: {text}{more}"


def _shown(value: Any) -> str:
    """A value as it stands in the file, shortened: of a list or a section no more than the beginning is looked at, as
    aliases make one of gigabytes out of a few lines."""
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        inside = ["a list" if isinstance(part, list) else _shown(part) for part in value[:4]]
        return shortened(f"[{', '.join(inside)}{', ...' if len(value) > 4 else ''}]", 60)
    return shortened(json.dumps(value if not isinstance(value, str) else value[:200], ensure_ascii=False, default=str),
                     60)


def _keys(loc: tuple) -> list[str]:
    """The keys that are known at a place of the file, for the did-you-mean."""
    if not loc:
        return list(Params.model_fields)
    if loc[0] == "videos":
        return list(Video.model_fields)
    return list(type(getattr(Params.model_construct(videos={}), loc[0])).model_fields)
