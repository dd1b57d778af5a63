"""`lnm`: all commands put together."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer

import lnm
from lnm.cli import ablations, checkpoints, demo, doctor, fan_out, films, motion, notebooks, params, repro, rivals
from lnm.cli.style import App, run
from lnm.workflow import guard

# The harness and its commands, as pyproject.toml registers them under "lnm.commands". The method does not import its
# harness: whatever is installed beside it may join. These names serve a checkout that is on the path, not installed.
JOINED = {"score": "eval.cli:score", "study": "eval.cli:study", "claims": "eval.cli:claims"}

_built: list[typer.Typer] = []


def build() -> typer.Typer:
    """The app with every command; made once."""
    if not _built:
        app = App("LateNtMovies: a still becomes a short film, in the manner of a clip.", completion=True)
        app.callback()(_version)
        for part in (films.app, rivals.app, demo.app, doctor.app, repro.app, fan_out.app, ablations.app):
            app.registered_commands += part.registered_commands
        for name, group in {"checkpoint": checkpoints.app, "motion": motion.app, "params": params.app,
                            "notebook": notebooks.app, **_joined()}.items():
            if group.registered_callback is None and len(group.registered_commands) == 1:
                app.registered_commands += group.registered_commands
            else:
                app.add_typer(group, name=name)
        _built.append(app)
    return _built[0]


def _joined() -> dict[str, Any]:
    """{name: app} of the commands that others bring."""
    found = {point.name: point.value for point in entry_points(group="lnm.commands")}
    apps = {}
    for name, where in {**JOINED, **found}.items():
        module, _, attribute = where.partition(":")
        try:
            apps[name] = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name != module.split(".")[0]:  # it is there and lacks something
                raise
    return apps


def _version(version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version.",
                                                   callback=lambda asked: _say_version() if asked else None)] = False):
    pass


def _say_version() -> None:
    print(f"lnm {lnm.__version__}")
    raise typer.Exit


def main(argv: list[str] | None = None) -> int:
    """The console script: a command line in, an exit status out."""
    guard.follow_dvc()
    return run(lambda: typer.main.get_command(build()), sys.argv[1:] if argv is None else list(argv))
