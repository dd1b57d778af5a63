"""`lnm params`: params.yaml, checked, and what each stage is told by it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from lnm.cli.style import App, Quiet
from lnm.errors import UserError
from lnm.project import STAGES
from lnm.workflow import resolve as resolving
from lnm.workflow.choices import Choices
from lnm.workflow.params import Params, load, own_steps

app = App("params.yaml: check it, show what is resolved from it, list its videos.")
Video = Annotated[str, typer.Argument(metavar="VIDEO", help="A name under `videos` in params.yaml.")]


@app.callback()
def _source() -> None:
    os.environ.pop("LNM_RESOLVED", None)  # here params.yaml is what is read, whoever calls


@app.add("lnm params show ocean finetune")
def show(video: Video,
         stage: Annotated[str | None, typer.Argument(metavar="STAGE", help=f"{', '.join(STAGES)}. "
                                                                                              "(default: all)")] = None,
         as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
         quiet: Quiet = False) -> None:
    """Show all that a video's stages are told, defaults filled in, files with their hashes."""
    if stage is not None and stage not in STAGES:
        raise UserError(f"STAGE: {stage} is none; there is {', '.join(STAGES)}")
    found = {name: _record(resolving.settings(name, video)) for name in ([stage] if stage else STAGES)}
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for name, record in found.items():
        print(f"{name}:")
        for key, value in record.items():
            print(f"  {key:22} {json.dumps(value, ensure_ascii=False)}")
    _say_notes(load(), quiet=quiet)


def _say_notes(params: Params, video: str | None = None, quiet: bool = False) -> None:
    for note in () if quiet else own_steps(params, video):
        print(f"note: {note}")


def _record(choices) -> dict:
    return choices.record() if isinstance(choices, Choices) else choices


@app.add("lnm params check params.paper.yaml")
def check(file: Annotated[Path | None, typer.Argument(metavar="FILE",
                                                      help="(default: the project's params.yaml)")] = None,
          quiet: Quiet = False) -> None:
    """Check a params file: unknown keys, wrong types, values out of range, each in one line."""
    params = load(file)
    print(f"{file or 'params.yaml'}: fine; {len(params.videos)} videos: {', '.join(params.videos)}")
    _say_notes(params, quiet=quiet)


@app.add("lnm params videos")
def videos(quiet: Quiet = False) -> None:
    """List the videos of params.yaml, a name a line."""
    print("\n".join(load().videos))


@app.add("lnm params resolve ocean")
def resolve(video: Annotated[str | None, typer.Argument(metavar="VIDEO",
                                                        help="A name under `videos` in params.yaml.")] = None,
            study: Annotated[bool, typer.Option("--study", help="The human study's choices instead, and a hash "
                                                               "of the ablations.")] = False,
            quiet: Quiet = False) -> None:
    """Write build/resolve/VIDEO/*.json, what the stages of a video depend on; the pipeline calls it."""
    if study:
        resolving.resolve_study()
    elif video is None:
        raise UserError("VIDEO: missing; give a name under `videos` in params.yaml, or --study")
    else:
        resolving.resolve(video)
        _say_notes(load(), video, quiet)


@app.add("lnm params seal ocean")
def seal(video: Video, quiet: Quiet = False) -> None:
    """Write build/evaluated/VIDEO.json, hashes of all that was made for a video; the pipeline calls it."""
    resolving.seal(video)
