"""The settings of the method's steps, typed and checked: preparing a clip, training on it or on many, sampling.

Every default of the method lives here. A value that is unknown, misspelt or out of range raises pydantic's
ValidationError where a section is made by hand, and a UserError of one line where a function is given it.
"""

from __future__ import annotations

import difflib
import math
import reprlib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lnm.errors import UserError, shortened
from lnm.files import builtin

# strict: YAML already has types, so '8' for 8 or true for 1 is a mistake worth a word
Int = Annotated[int, Field(strict=True)]
Positive = Annotated[int, Field(strict=True, ge=1)]
Count = Annotated[int, Field(strict=True, ge=0)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]  # what every generator takes
Fraction = Annotated[float, Field(strict=True, ge=0, lt=1)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Rate = Annotated[float, Field(strict=True, gt=0)]
NonNegative = Annotated[float, Field(strict=True, ge=0)]
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(strict=True, min_length=1)]

HELDOUT = "heldout"  # in the place of a still: the first held-out frame
SUBJECT = "subject"  # in the place of a crop's x and y, or of all of it: where the subject is
HALF = 0.5  # of a fine-tune's steps are told of the carried still, where its films may begin from it or from noise
LEAST_TRAINED = 24  # frames, below which a clip is said to be short (lnm.preflight.SHORTEST)


class Section(BaseModel):
    """A group of settings; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


AnySection = TypeVar("AnySection", bound=Section)


class Prepare(Section):
    """How a clip is cut into what is trained on and what is held out."""

    holdout: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.25  # the clip's last part, never trained on
    max_frames: Positive | None = None  # of the clip as resampled to fps, held-out ones included
    camera: Literal["warn", "stabilise", "segment", "refuse"] = "warn"  # what becomes of a clip whose camera moves
    segment: Positive | None = None  # frames, at least, of segment; null: what the fine-tune and holdout need
    stills: Positive = 1  # held-out frames, far apart, that films begin from where a video names no still
    match_colours: Flag = False  # a still of its own takes the clip's mean and deviation of colours


class Finetune(Section):
    """How the temporal layers are trained. Section 4."""

    steps: Positive | Literal["auto"] = 420  # auto: as many as the clip's own validation part says, most_steps at most
    most_steps: Positive = 600  # of auto; where the cosine ends
    validation: Fraction = 0.2  # the last part of the training frames, kept apart by auto
    validate_every: Positive = 30  # steps between two looks at it
    patience: Positive = 4  # looks without a new best before auto stops
    frames: Positive = 5  # consecutive latents a training sample (the paper's 5)
    strides: Annotated[list[Positive], Field(min_length=1)] = [1, 2]  # drawn at random; what teaches fps
    batch_size: Positive = 1
    optimizer: Literal["lion", "adamw"] = "lion"
    learning_rate: Rate = 2e-4
    weight_decay: NonNegative = 0.01
    warmup_steps: Count = 30
    lr_schedule: Literal["cosine", "constant"] = "cosine"
    max_grad_norm: Rate = 1.0
    prompt_dropout: Fraction = 0.1  # without it guidance has nothing to guide away from
    ema: Fraction | None = None  # decay
    beta_schedule: Literal["checkpoint", "linear", "scaled_linear", "cosine"] = "checkpoint"
    mask_value: Literal[0, 1] = 1  # the whole canvas is masked, as in the paper; 0: nothing is
    still_noise: NonNegative = 0.0  # standard deviation of noise on the still's latents in training
    carried: Share = 0.0  # of the steps, in which each frame is told of the first one carried along by optical flow
    conv_placement: Literal["3x3", "all_but_projections", "all"] = "all"
    mixed_precision: Literal["no", "bf16", "fp16", "auto"] = "no"  # auto: bf16 where the machine computes in it
    gradient_checkpointing: Flag = False
    preview_every: Count = 420  # 0: no previews
    checkpoint_every: Positive = 100
    init: Text | None = None  # a temporal.safetensors to start from, or lnm-mini-motion; null: the identity
    identity_steps: Count = 0  # of a second fine-tune, from the identity, to see what init gives; 0: none
    # of one more fine-tune, told of the still alone, for the films begun from noise that stand beside ours; 0: these
    # are by the same layers
    noise_steps: Count = 0
    seeds: Positive = 1  # fine-tunes of a clip in the pipeline, a seed each; films are shared out among them in turn

    @field_validator("mixed_precision", mode="before")
    @classmethod
    def _yaml_no(cls, value: Any) -> Any:
        return "no" if value is False else value  # a bare `no` is false in YAML 1.1

    @property
    def ceiling(self) -> int:
        """Steps at most."""
        return self.most_steps if self.steps == "auto" else self.steps


def frames_needed(settings: Finetune, holdout: float) -> int:
    """Frames that a clip must have, so that LEAST_TRAINED are left beside `holdout` of it (a share, at least 2 frames),
    and a sample of the largest stride beside the validation part of steps: auto too."""
    span, short = (stride * (settings.frames - 1) + 1 for stride in (max(settings.strides), min(settings.strides)))
    count = 1
    while True:
        train = count - (max(2, math.ceil(count * holdout)) if holdout else 0)
        held = max(round(settings.validation * train), short) if settings.steps == "auto" else 0
        if train >= LEAST_TRAINED and train - held >= span:
            return count
        count += 1


def finetune_of(checkpoint: str, known: bool = True) -> Finetune:
    """What a fine-tune of `checkpoint` takes where nothing is given: for `lnm-mini` there are layers of many clips.
    known: its films begin as `sample_of` has them; else half of the steps are for films that begin from noise."""
    if Path(checkpoint).name == "lnm-mini" and builtin("lnm-mini-motion"):
        return Finetune(init="lnm-mini-motion", steps="auto", most_steps=80, validate_every=40, patience=3,
                        carried=1.0 if known else HALF, mixed_precision="auto")
    return Finetune()


class Motion(Finetune):
    """How temporal layers are trained on many clips before the one: `Finetune`'s choices, defaults of their own."""

    steps: Positive = 6000  # all of them: what is kept is the last moving average
    frames: Positive = 8
    most_frames: Positive | None = None  # drawn each step from `frames` up to this; null: always `frames`
    optimizer: Literal["lion", "adamw"] = "adamw"
    learning_rate: Rate = 1e-3
    warmup_steps: Count = 100
    lr_floor: Fraction = 0.02  # where the cosine ends, a share of the rate
    ema: Fraction | None = 0.998
    preview_every: Literal[0] = 0  # no previews
    checkpoint_every: Positive = 500
    fps: Rate | None = 8.0  # clips are resampled to it; null, or a clip with fewer frames a second: its own
    max_frames: Positive | None = None  # of a clip
    crops: Positive = 1  # pieces of each clip that are encoded: the centre, then others drawn by its content
    mirror: Flag = False  # each piece once more as its mirror image
    holdout: Fraction = 0.1  # share of the clips that is never trained on; a folder validation/ goes before it
    validate_every: Positive = 500
    validation_clips: Positive = 8  # of the held-out ones, at most

    @model_validator(mode="after")
    def _sense(self) -> Motion:
        if self.most_frames is not None and self.most_frames < self.frames:
            raise ValueError(f"most_frames {self.most_frames} is less than frames {self.frames}")
        return self


class Decoder(Section):
    """How a decoder in time is trained on many clips (`lnm.decoder_training`)."""

    steps: Positive = 1200
    frames: Annotated[int, Field(strict=True, ge=2)] = 8  # consecutive frames a step
    strides: Annotated[list[Positive], Field(min_length=1)] = [1, 2]  # drawn at random
    crop: Positive = 64  # pixels, the side of the square that a step sees
    noise: NonNegative = 0.1  # deviation on the scaled latents, times |N(0, 1)|: what a U-Net gets wrong
    gradient_weight: NonNegative = 0.5  # of differences in space
    time_weight: NonNegative = 1.0  # of differences in time
    learning_rate: Rate = 1e-4  # ten times as much makes the decoder worse than it was for thousands of steps
    warmup_steps: Count = 100
    lr_floor: Fraction = 0.02  # where the cosine ends, a share of the rate
    max_grad_norm: Rate = 1.0
    ema: Fraction = 0.99  # decay of the average that is kept
    checkpoint_every: Positive = 500
    validate_every: Positive = 500
    validation_clips: Positive = 8
    holdout: Fraction = 0.1  # share of the clips that is never trained on; a folder validation/ goes before it

    @property
    def lr_schedule(self) -> Literal["cosine"]:
        """The only one."""
        return "cosine"

    @property
    def ceiling(self) -> int:
        """Steps at most."""
        return self.steps


class Sample(Section):
    """How films are sampled. Section 5: 15 steps."""

    num_frames: Positive = 16
    window: Positive = 16  # frames that the U-Net sees at once; a longer film is made of several windows
    window_stride: Positive | None = None  # frames from one window to the next; null: see `lnm.windows.stride_of`
    long: Literal["windows", "continue", "whole"] = "windows"  # how windows become one film, or all frames at once
    noise: Literal["independent", "shared"] = "independent"  # of windows; shared: the first one's, in another order
    num_inference_steps: Positive = 15
    guidance_scale: Annotated[float, Field(strict=True, ge=1)] = 1.0  # 1: none
    negative_prompt: Annotated[str, Field(strict=True)] = ""
    scheduler: Literal["ddim", "euler", "euler_a", "dpm++", "pndm", "unipc"] = "dpm++"
    first_frame: Literal["free", "clamp"] = "free"
    begin: Literal["noise", "flow"] = "noise"  # flow: the still carried along by the clip's optical flow, noised
    strength: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.4  # of flow: share of the steps that is taken
    condition: Literal["still", "video"] = "still"  # of flow: what a frame is told of; video: what it is begun from
    restore_detail: Flag = True  # of flow: what the autoencoder takes from the carried still is given back (lnm.detail)
    seeds: Positive = 2  # films of ours; film k starts from noise drawn by (seed, k)
    others: Positive | None = None  # of each arm beside it, whose film k starts as our film k does; null: as many
    dtype: Literal["auto", "float32", "bf16", "fp16"] = "auto"  # of all weights; auto: half where the device has it
    # of films begun from noise: a decoder.safetensors, or lnm-mini-decoder; null: frames are decoded one by one
    temporal_decoder: Text | None = None

    @model_validator(mode="after")
    def _sense(self) -> Sample:
        check_window(self.window, self.window_stride, self.long)
        if self.begin == "flow":
            steps_of(self.num_inference_steps, self.strength)
        return self

    def films(self, method: str) -> int:
        """How many films of a method are made: "ours", or an arm beside it."""
        return self.seeds if method == "ours" else min(self.seeds, self.others or self.seeds)

    @property
    def steps_taken(self) -> int:
        """Sampling steps of a film of ours."""
        steps = self.num_inference_steps
        return steps_of(steps, self.strength) if self.begin == "flow" else steps

    def decoder(self, begun: bool | None = None) -> str | None:
        """The decoder in time of a film, None for none. begun: whether it is begun from another; None: as ours are.

        One that is begun from a film is steady without, and would lose motion and detail by it (docs/choices.md).
        """
        return None if (self.begin == "flow" if begun is None else begun) else self.temporal_decoder

    @property
    def restores(self) -> bool:
        """Whether films of ours are given back the carried still's own detail."""
        return self.begin == "flow" and self.restore_detail

    @property
    def at_once(self) -> int:
        """Frames that the U-Net sees at once."""
        return self.num_frames if self.long == "whole" else min(self.num_frames, self.window)

    def film(self, begun: bool = False) -> dict[str, Any]:
        """What `lnm.pipeline.LateNtMoviesPipeline` takes of it, by name. begun: the film is begun from another."""
        taken = self.model_dump(exclude={"scheduler", "seeds", "others", "dtype", "temporal_decoder", "begin",
                                         "restore_detail"})
        return taken if begun else taken | {"condition": "still"}


def check_window(window: Any, window_stride: Any, long: str) -> None:
    """Raise ValueError unless windows of `window` frames, `window_stride` apart (None: chosen for it), see every frame;
    and, where each is begun from the last frames of the one before, have one in common."""
    least = 2 if long == "continue" else 1
    if not isinstance(window, int) or window < least:
        raise ValueError(f"window {window}: must be a whole number from {least}")
    most = window - least + 1
    if window_stride is not None and (not isinstance(window_stride, int) or not 1 <= window_stride <= most):
        raise ValueError(f"window_stride {window_stride}: must be a whole number from 1 to {most}, where a window has "
                         f"{window} frames and long is {long!r}")


def steps_of(num_inference_steps: int, strength: float) -> int:
    """How many of the sampling steps are taken where a film is begun from another, noised: as in diffusers'
    image-to-image. Raises ValueError for none."""
    steps = min(int(num_inference_steps * strength + 1e-6), num_inference_steps)
    if steps < 1:
        raise ValueError(f"strength {strength:g}: of {num_inference_steps} steps none is left; give more of either")
    return steps


def sample_of(checkpoint: str) -> Sample:
    """How films of `checkpoint` are sampled where nothing is given: those of `lnm-mini` begin from the carried still,
    and for those that begin from noise there is a decoder in time."""
    if Path(checkpoint).name == "lnm-mini" and builtin("lnm-mini-decoder"):
        return Sample(temporal_decoder="lnm-mini-decoder", begin="flow", strength=0.4, condition="video")
    return Sample()


def validated(kind: type[AnySection], values: dict[str, Any]) -> AnySection:
    """A section of `values`. Raises UserError, one line, for one that is unknown, misspelt or out of range."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UserError(one_line(error)) from None


def one_line(error: ValidationError) -> str:
    """The first of pydantic's errors as `key: what is wrong; got ...`."""
    errors = error.errors(include_url=False)
    first = min(errors, key=lambda e: e["type"] != "extra_forbidden")  # a misspelt key explains a missing one
    key = ".".join(str(part) for part in first["loc"]) or "the settings"
    what = first["msg"].lower().removeprefix("input ")
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(key, _settings_of(error.title), n=1)
        what = f"unknown setting; did you mean {close[0]}?" if close else "unknown setting"
    more = f" ({len(errors) - 1} more after it)" if len(errors) > 1 else ""
    shown = reprlib.Repr()  # a list may hold gigabytes by its aliases: its beginning alone is looked at
    shown.maxstring = shown.maxother = 60
    return f"{shortened(key)}: {what}; got {shortened(shown.repr(first['input']), 60)}{more}"


def _settings_of(section: str, base: type[Section] = Section) -> list[str]:
    """The names of the settings of a section, by its class's name."""
    if base.__name__ == section:
        return list(base.model_fields)
    return [name for kind in base.__subclasses__() for name in _settings_of(section, kind)]
