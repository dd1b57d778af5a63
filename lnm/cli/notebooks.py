"""`lnm notebook`: the pipeline's notebooks, run, opened, and their code."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from lnm.cli.style import App, Quiet, if_interrupted, interrupted
from lnm.errors import UserError
from lnm.files import write_json
from lnm.project import root
from lnm.workflow import code as codes
from lnm.workflow import machine, runner

app = App("The notebooks: run one, open them in JupyterLab, see what code is behind them.")
NEWS = "@jupyterlab/apputils-extension:announcements"  # asks whether news are wanted, and looks for updates
FIRST = "notebooks/1_prepare.ipynb"  # opened in a browser, and by the printed address where there is none
# what widgets show is saved with a notebook: opened again, it would have errors in the place of its bars and sliders
SETTINGS = {"@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": True}}


@app.add("lnm notebook run notebooks/1_prepare.ipynb --out results/ocean/notebooks/1_prepare.ipynb -p video=ocean")
def run(
    notebook: Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="A file of notebooks/.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the executed copy goes.")],
    parameter: Annotated[list[str] | None, typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="In the place "
                                                        "of the tagged cell's; may be repeated.")] = None,
    quiet: Quiet = False,
) -> None:
    """Run a notebook as a stage of the pipeline, and write its clean copy.

    The copy holds no times, paths or bars: the same run gives the same bytes. With --quiet, warnings and errors alone
    are shown while it runs.
    """
    given = dict(_pair(text) for text in parameter or ())
    runner.parameters(notebook, given)  # what is wrong with them, before anything is said or started
    title = " · ".join([notebook.stem, *given.values()])
    if not quiet:
        print(f"-- {title}", flush=True)
    if_interrupted("stopped; the same command goes on from the last checkpoint")
    started = time.monotonic()
    try:
        runner.run(notebook.resolve(), out.resolve(), given, quiet)
    except KeyboardInterrupt:
        interrupted()  # what nbclient does at exit would wait for a kernel that is busy
    except runner.NotebookError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if not quiet:
        print(f"-- {title}: done in {time.monotonic() - started:.0f} s", flush=True)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--parameter {text}: give NAME=VALUE, such as video=ocean")
    return name, value


@app.add("lnm notebook code notebooks/2_finetune.ipynb")
def code(notebook: Annotated[Path | None, typer.Argument(metavar="NOTEBOOK", help="(default: build/code/*.py is "
                                                         "written for all, which stages depend on)")] = None,
         quiet: Quiet = False) -> None:
    """Print a notebook's code cells and a hash of every module of ours behind them."""
    if notebook:
        print(codes.code(notebook), end="")
    else:
        codes.write_code(root())


@app.add("lnm notebook lab")
def lab(arguments: Annotated[list[str] | None, typer.Argument(metavar="ARGUMENT...",
                                                          help="More for `jupyter lab`, after --.")] = None,
        quiet: Quiet = False) -> None:
    """Open the notebooks in JupyterLab, in this environment, with the whole project in reach; Ctrl-C ends it."""
    here = root()
    settings = here / "build" / "jupyter"
    write_json(settings / "labconfig" / "page_config.json", {"disabledExtensions": {NEWS: True}})
    write_json(settings / "labconfig" / "default_setting_overrides.json", SETTINGS)
    places = os.pathsep.join([str(settings), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])])
    environment = {"OMP_NUM_THREADS": str(machine.threads()), **os.environ, **runner.INTERACTIVE,
                   "JUPYTER_CONFIG_PATH": places}
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={here}",
               *(["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
               *(["--ServerApp.log_level=ERROR"] if quiet else []),
               f"--LabApp.default_url=/lab/tree/{FIRST}", *(arguments or ())]
    if_interrupted("JupyterLab has ended")
    raise typer.Exit(subprocess.run(command, env=environment, cwd=here).returncode)
