"""What several commands take, and where their defaults come from: params.yaml inside a project, else the library."""

from __future__ import annotations

import difflib
import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from lnm.cli.style import say
from lnm.demo import footage
from lnm.errors import UserError, shortened
from lnm.files import builtin, cache_folder, given_path, writable
from lnm.project import LARGEST, parse_yaml, root
from lnm.settings import HALF, SUBJECT, Finetune, Prepare, Sample, Section, finetune_of, sample_of
from lnm.workflow.params import Base as Checkpoint
from lnm.workflow.params import load

if TYPE_CHECKING:
    import numpy as np

AnySection = TypeVar("AnySection", bound=Section)

Still = Annotated[Path, typer.Argument(metavar="STILL", help="The picture to animate, of any size: its centre.")]
Clip = Annotated[str, typer.Argument(metavar="CLIP", help="A video file, a folder of images, or footage:NAME.")]
Prompt = Annotated[str, typer.Option(help="What is seen, in words.")]


def _out(name: str) -> Any:
    return typer.Option(metavar="FILE", help="FILE.mp4 or FILE.gif; one that is there is replaced, and that is said. "
                                             f"(default: {name}.mp4, here; where that is there, {name}_2.mp4, and so "
                                             "on: no film is overwritten)")


OutLike = Annotated[str | None, _out("STILL_like_CLIP")]
OutBy = Annotated[str | None, _out("STILL_by_TEMPORAL")]
Frames = Annotated[int | None, typer.Option(min=1, help="Of the film. (default: params.yaml's, or 16)")]
LastStill = Annotated[Path | None, typer.Option(metavar="FILE", help="A picture that the film ends on.")]
Like = Annotated[Path | None, typer.Option(metavar="CLIP", help="Begin from the still carried along by this clip's "
                                                               "optical flow: the clip that was learned from.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Of fine-tuning; the paper: 1800 to 3600. (default: "
                                                       "params.yaml's; for lnm-mini found on the clip, else 420)")]
InferenceSteps = Annotated[int | None, typer.Option(min=1, help="Of sampling. (default: params.yaml's, or 15)")]
Start = Annotated[float, typer.Option(min=0, help="Second of the clip to begin at.")]
End = Annotated[float | None, typer.Option(min=0, help="Second of the clip to end at. (default: its last)")]
Fps = Annotated[float | None, typer.Option(help="Frames a second, of the film and of the clip as it is learned from. "
                                                "(default: 8, or the clip's own if that is less)")]
Size = Annotated[str | None, typer.Option(
    metavar="PIXELS",
    help="Of the film: 128, or 192x128 for width x height. (default: params.yaml's; 128 for lnm-mini, else 512)")]
Crop = Annotated[str | None, typer.Option(metavar="X,Y,WIDTH,HEIGHT",
                                          help="What to cut from the clip, in its pixels; subject, or "
                                               "subject,WIDTH,HEIGHT: a window that holds its subject. (default: the "
                                               "centre)")]
Camera = Annotated[str | None, typer.Option(metavar="HOW", help="What becomes of a clip whose camera moves: warn, "
                                                                "stabilise, segment or refuse. (default: params.yaml's "
                                                                "prepare.camera, or warn)")]
MatchColours = Annotated[bool | None, typer.Option("--match-colours/--no-match-colours", help=(
    "Give the still the clip's mean and deviation of colours. (default: params.yaml's prepare.match_colours, or no)"))]
Seed = Annotated[int | None, typer.Option(min=0, max=2**63 - 1,
                                             help="Of all that is drawn. (default: params.yaml's, or 0)")]
Base = Annotated[str | None, typer.Option(
    "--checkpoint", metavar="NAME",
    help="The frozen inpainting model: a folder, a hub name, or lnm-mini. (default: params.yaml's, or lnm-mini)")]
Revision = Annotated[str | None, typer.Option(help="Pins a hub name.")]
Widen = Annotated[bool, typer.Option("--widen", help="Take a text-to-image checkpoint: weights for mask and still are "
                                                     "added, and train. (default: params.yaml's)")]
Lora = Annotated[str | None, typer.Option(metavar="FILE", help="A LoRA of the checkpoint, fused into its weights. "
                                                               "(default: params.yaml's, or none)")]
LoraScale = Annotated[float | None, typer.Option(help="How much of it. (default: params.yaml's, or 1)")]
AnyBase = Annotated[bool, typer.Option("--any-base", help="Take temporal layers that were trained on another "
                                                          "checkpoint of the same shape, with a warning.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps. (default: params.yaml's, "
                                                                     "or auto)")]
Memory = Annotated[str | None, typer.Option(metavar="WORD", help="auto, or low: slower, and takes less. (default: "
                                                                 "params.yaml's, or auto)")]
Set = Annotated[list[str] | None, typer.Option(
    "--set", "-S", metavar="KEY=VALUE",
    help="Any other setting of the step, as in params.yaml; may be repeated: --set learning_rate=1e-4")]


@dataclass
class Defaults:
    """What a command takes where nothing is given: of the project that it is run in, or the library's own."""

    root: Path | None = None
    seed: int = 0
    size: int | list[int] | None = None
    device: str = "auto"
    memory: str = "auto"
    checkpoint: str = "lnm-mini"
    revision: str | None = None
    base: Checkpoint = field(default_factory=Checkpoint)
    finetune: Finetune = field(default_factory=Finetune)
    sample: Sample = field(default_factory=Sample)
    prepare: Prepare = field(default_factory=Prepare)


def defaults() -> Defaults:
    """Of the folder that the command is run in. Raises UserError for a params.yaml that is wrong."""
    try:
        home = root()
    except UserError:
        return Defaults()
    params = load()
    return Defaults(home, params.seed, params.size, params.device, params.memory,
                    local_model(params.checkpoint.name, home), params.checkpoint.revision, params.checkpoint,
                    params.finetune, _local_decoder(params.sample, home), params.prepare)


def _local_decoder(sample: Sample, home: Path) -> Sample:
    """A file in the project, named from its root, by its whole path."""
    name = sample.temporal_decoder
    return sample.model_copy(update={"temporal_decoder": local_model(name, home)}) if name else sample


def memory_of(here: Defaults, given: str | None) -> str:
    """"auto" or "low". Raises UserError for anything else."""
    if given not in (None, "auto", "low"):
        raise UserError(f"--memory {given}: choose auto or low")
    return given or here.memory


def finetune_choices(here: Defaults, opened: Model, known: bool = True) -> Finetune:
    """A fine-tune's choices: the project's for its own checkpoint, else what suits the one that was given. known: as
    `finetune_of` takes it."""
    if here.root is None or opened.checkpoint != here.checkpoint:
        return finetune_of(opened.checkpoint, known)
    return here.finetune if known else here.finetune.model_copy(update={"carried": min(here.finetune.carried, HALF)})


def sample_choices(here: Defaults, opened: Model) -> Sample:
    """How films are sampled: as the project has it, by another decoder in time where it has another checkpoint; or,
    without a project, as suits the checkpoint."""
    suits = sample_of(opened.checkpoint)
    if here.root is None:
        return suits
    own = opened.checkpoint == here.checkpoint
    return here.sample if own else here.sample.model_copy(update={"temporal_decoder": suits.temporal_decoder})


def local_model(name: str, home: Path | None) -> str:
    """A model's name as it can be opened from anywhere: a built-in's own name, a project's folder by its whole path."""
    path = home / Path(name).expanduser() if home and not builtin(name) else None
    if path is None or not path.exists():
        return name
    return path.name if path.resolve() == builtin(path.name) else str(path)


def recorded_name(name: str, home: Path | None) -> str:
    """`local_model` undone: a folder of the project by its path in the project, as a temporal file records it."""
    path = Path(name)
    return path.relative_to(home).as_posix() if home and path.is_relative_to(home) else name


@dataclass
class Model:
    """Which checkpoint is opened, where, and how large its films are."""

    checkpoint: str
    revision: str | None
    device: str
    size: int | tuple[int, int]
    widen: bool = False
    lora: str | None = None
    lora_scale: float = 1.0
    any_base: bool = False

    def keywords(self, *names: str) -> dict[str, Any]:
        """Those of the fields that a function takes."""
        return {name: getattr(self, name) for name in names}


def model(here: Defaults, checkpoint: str | None, revision: str | None, device: str | None, size: str | None, *,
          widen: bool = False, lora: str | None = None, lora_scale: float | None = None,
          any_base: bool = False) -> Model:
    """The options of a command over the defaults of its folder; a project's LoRA is for its own checkpoint."""
    name = checkpoint or here.checkpoint
    pinned = revision if revision or checkpoint else here.revision
    known = here.size if not checkpoint else None
    pixels = parse_size(size) or known or (128 if Path(name).name == "lnm-mini" else 512)
    own = here.base if name == here.checkpoint else Checkpoint()
    if lora is None and own.lora is not None:
        lora, lora_scale = local_model(own.lora, here.root), own.lora_scale if lora_scale is None else lora_scale
    return Model(name, pinned, device or here.device, pixels if isinstance(pixels, int) else (pixels[0], pixels[1]),
                 widen or own.widen, lora, 1.0 if lora_scale is None else lora_scale, any_base or here.base.any_base)


def parse_size(text: str | None) -> int | tuple[int, int] | None:
    """"128" or "192x128" (width x height). Raises UserError for anything else."""
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(_whole_number(side) and 32 <= int(side) <= LARGEST and int(side) % 8 == 0
                                 for side in sides):
        raise UserError(f"--size {shortened(text)}: give 128, or 192x128 for width x height; sides from 32 to "
                        f"{LARGEST}, multiples of 8")
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


def _whole_number(text: str) -> bool:
    """Of digits 0 to 9, at most nine of them: isdigit() alone takes those of other scripts, and of any length."""
    return text.isascii() and text.isdigit() and len(text) < 10


def parse_crop(text: str | None) -> str | list[int | str] | None:
    """"X,Y,WIDTH,HEIGHT" in pixels of the clip, "subject" or "subject,WIDTH,HEIGHT". Raises UserError for anything
    else."""
    if text is None or text == SUBJECT:
        return text
    parts = [part.strip() for part in text.split(",")]
    named = parts[0] == SUBJECT
    numbers = parts[1:] if named else parts
    if len(numbers) != (2 if named else 4) or not all(_whole_number(n) and (int(n) or k < len(numbers) - 2)
                                                      for k, n in enumerate(numbers)):
        raise UserError(f"--crop {shortened(text)}: give X,Y,WIDTH,HEIGHT in pixels of the clip, such as "
                        f"300,150,480,480, or {SUBJECT}, or {SUBJECT},WIDTH,HEIGHT")
    return [SUBJECT, *map(int, numbers)] if named else [int(n) for n in numbers]


def changed(section: AnySection, given: list[str] | None, **options: Any) -> AnySection:
    """A section of settings with what was given: KEY=VALUE of --set, and options that are not None.

    Raises UserError for a --set that is none, pydantic's ValidationError for a setting that is unknown or out of range.
    """
    values = section.model_dump()
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {shortened(text)}: give KEY=VALUE, such as learning_rate=1e-4")
        values[key.strip().removeprefix(f"{type(section).__name__.lower()}.")] = parse_yaml(
            value, f"--set {shortened(text)}")
    return type(section).model_validate({**values, **{k: v for k, v in options.items() if v is not None}})


def by_section(given: list[str] | None, *sections: Section) -> list[list[str]]:
    """The KEY=VALUE of --set that belong to each of several sections; one that is misspelt, to that of the nearest key.
    Those of no section are the first one's."""
    owner = {key: i for i, section in reversed(list(enumerate(sections))) for key in type(section).model_fields}
    parts: list[list[str]] = [[] for _ in sections]
    for text in given or ():
        key = text.partition("=")[0].strip()
        prefix = [i for i, section in enumerate(sections) if key.startswith(f"{type(section).__name__.lower()}.")]
        near = difflib.get_close_matches(key, owner, n=1)
        parts[prefix[0] if prefix else owner[near[0]] if near else 0].append(text)
    return parts


def clip_of(text: str, option: str, home: Path | None) -> Path:
    """A clip's path: a file, a folder of images, or footage:NAME, which is fetched where it is not there."""
    if not text.startswith("footage:"):
        path = given_path(text, option)
        if not path.exists():
            raise UserError(f"{option}: {shortened(text)} does not exist")
        return path
    folder = home / "footage" if home else cache_folder() / "footage"
    name = text.removeprefix("footage:")
    path = footage.path(name, folder)
    return path if path.exists() else footage.fetch([name], folder)[0]


def film_name(still: Path, how: str, taught: str) -> str:
    """What a film is called where --out does not say: "STILL_like_CLIP" or "STILL_by_TEMPORAL" (how: like or by)."""
    return f"{_stem(still)}_{how}_{_stem(taught.removeprefix('footage:'))}"


def _stem(path: Path | str) -> str:
    """The last part of a path without its ending, of a folder such as . too; no longer than a file's name may be."""
    return Path(os.path.abspath(path)).stem.replace("\0", "")[:60]


def film_path(out: str | None, name: str) -> Path:
    """Where a film goes, looked at before anything is computed: --out, or `name`.mp4, here, or with a number behind
    where that is there."""
    path = Path(out) if out else _unused(name)
    if path.suffix not in (".mp4", ".gif"):
        raise UserError(f"--out {shortened(path)}: the name must end in .mp4 or .gif")
    path = writable(path, "--out")
    if out and path.exists():
        say(f"--out {shortened(out)}: is there already; the film will replace it")
    return path


def _unused(name: str) -> Path:
    names = itertools.chain([name], (f"{name}_{k}" for k in itertools.count(2)))
    return next(path for path in (Path(f"{each}.mp4") for each in names) if not os.path.lexists(path))


def write_film(out: str | None, name: str, frames: np.ndarray, fps: float) -> Path:
    """A film uint8 (F, H, W, 3) into the file that `film_path` gave; where --out does not name it, into the next one
    that is not there, as another command may have taken that one meanwhile. Returns its path."""
    from lnm.video import write_gif, write_mp4

    path = writable(Path(out) if out else _unused(name), "--out")
    (write_gif if path.suffix == ".gif" else write_mp4)(path, frames, fps)
    return path
