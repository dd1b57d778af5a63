"""What several commands take, and where their defaults come from: params.yaml inside a project, else the library."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from lnm.demo import footage
from lnm.errors import UserError
from lnm.files import builtin, cache_folder
from lnm.settings import Finetune, Sample, Section, finetune_of, sample_of
from lnm.workflow.params import load, root

AnySection = TypeVar("AnySection", bound=Section)

Still = Annotated[Path, typer.Argument(metavar="STILL", help="The picture to animate, of any size: its centre.")]
Clip = Annotated[str, typer.Argument(metavar="CLIP", help="A video file, a folder of images, or footage:NAME.")]
Prompt = Annotated[str, typer.Option(help="What is seen, in words.")]
Out = Annotated[str | None, typer.Option(metavar="FILE", help="FILE.mp4 or FILE.gif. (default: STILL's name + "
                                                              "_film.mp4, here)")]
Frames = Annotated[int | None, typer.Option(min=1, help="Of the film. (default: params.yaml's, or 16)")]
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
                                          help="What to cut from the clip, in its pixels. (default: the centre)")]
Seed = Annotated[int | None, typer.Option(min=0, help="Of all that is drawn. (default: params.yaml's, or 0)")]
Base = Annotated[str | None, typer.Option(
    "--checkpoint", metavar="NAME",
    help="The frozen inpainting model: a folder, a hub name, or lnm-mini. (default: params.yaml's, or lnm-mini)")]
Revision = Annotated[str | None, typer.Option(help="Pins a hub name.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps. (default: params.yaml's, "
                                                                     "or auto)")]
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
    checkpoint: str = "lnm-mini"
    revision: str | None = None
    finetune: Finetune = field(default_factory=Finetune)
    sample: Sample = field(default_factory=Sample)


def defaults() -> Defaults:
    """Of the folder that the command is run in. Raises UserError for a params.yaml that is wrong."""
    try:
        home = root()
    except UserError:
        return Defaults()
    params = load()
    return Defaults(home, params.seed, params.size, params.device, local_model(params.checkpoint.name, home),
                    params.checkpoint.revision, params.finetune, _local_decoder(params.sample, home))


def _local_decoder(sample: Sample, home: Path) -> Sample:
    """A file in the project, named from its root, by its whole path."""
    name = sample.temporal_decoder
    return sample.model_copy(update={"temporal_decoder": local_model(name, home)}) if name else sample


def finetune_choices(here: Defaults, opened: Model) -> Finetune:
    """A fine-tune's choices: the project's for its own checkpoint, else what suits the one that was given."""
    own = here.root is not None and opened.checkpoint == here.checkpoint
    return here.finetune if own else finetune_of(opened.checkpoint)


def sample_choices(here: Defaults, opened: Model) -> Sample:
    """How films are sampled: as the project has it; by a decoder in time where it is that of the checkpoint given."""
    if here.root is not None and opened.checkpoint == here.checkpoint:
        return here.sample
    decoder = sample_of(opened.checkpoint).temporal_decoder
    return here.sample.model_copy(update={"temporal_decoder": decoder})


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

    def keywords(self, *names: str) -> dict[str, Any]:
        """Those of the fields that a function takes."""
        return {name: getattr(self, name) for name in names}


def model(here: Defaults, checkpoint: str | None, revision: str | None, device: str | None, size: str | None) -> Model:
    """The options of a command over the defaults of its folder."""
    name = checkpoint or here.checkpoint
    pinned = revision if revision or checkpoint else here.revision
    known = here.size if not checkpoint else None
    pixels = parse_size(size) or known or (128 if Path(name).name == "lnm-mini" else 512)
    return Model(name, pinned, device or here.device, pixels if isinstance(pixels, int) else (pixels[0], pixels[1]))


def parse_size(text: str | None) -> int | tuple[int, int] | None:
    """"128" or "192x128" (width x height). Raises UserError for anything else."""
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdigit() and int(side) >= 32 and int(side) % 8 == 0 for side in sides):
        raise UserError(f"--size {text}: give 128, or 192x128 for width x height; sides of 32 or more, multiples of 8")
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


def parse_crop(text: str | None) -> list[int] | None:
    """"X,Y,WIDTH,HEIGHT" in pixels of the clip. Raises UserError for anything else."""
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdigit() for part in parts) or "0" in (parts[2], parts[3]):
        raise UserError(f"--crop {text}: give X,Y,WIDTH,HEIGHT in pixels of the clip, such as 300,150,480,480")
    return [int(part) for part in parts]


def changed(section: AnySection, given: list[str] | None, **options: Any) -> AnySection:
    """A section of settings with what was given: KEY=VALUE of --set, and options that are not None.

    Raises UserError for a --set that is none, pydantic's ValidationError for a setting that is unknown or out of range.
    """
    from ruamel.yaml import YAML  # here: few commands have settings

    values = section.model_dump()
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {text}: give KEY=VALUE, such as learning_rate=1e-4")
        values[key.strip().removeprefix(f"{type(section).__name__.lower()}.")] = YAML(typ="safe", pure=True).load(value)
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
        path = Path(text).expanduser()
        if not path.exists():
            raise UserError(f"{option}: {text} does not exist")
        return path
    folder = home / "footage" if home else cache_folder() / "footage"
    name = text.removeprefix("footage:")
    path = footage.path(name, folder)
    return path if path.exists() else footage.fetch([name], folder)[0]


def film_path(out: str | None, still: Path) -> Path:
    """Where a film goes, looked at before anything is computed: --out, or the still's name + _film.mp4, here."""
    path = Path(out or f"{still.stem}_film.mp4").expanduser().absolute()
    if path.suffix not in (".mp4", ".gif"):
        raise UserError(f"--out {path}: the name must end in .mp4 or .gif")
    return writable(path, "--out")


def writable(path: Path, option: str) -> Path:
    """The path, whose folder must be there. Raises UserError where it is not."""
    path = path.expanduser().absolute()
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise UserError(f"{option} {path}: this is a folder; name a file")
    return path
