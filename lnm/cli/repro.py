"""`lnm repro`: the whole pipeline, as `make repro` runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from lnm.cli.style import App, Quiet, if_interrupted
from lnm.project import root
from lnm.workflow.params import load, own_steps
from lnm.workflow.record import kept

app = App()


@app.add("lnm repro --jobs 1")
def repro(
    stages: Annotated[list[str] | None, typer.Argument(metavar="STAGE...", help="Of dvc.yaml, like footage or evaluate@"
                                                       "ocean. (default: all)")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, envvar="JOBS", help="Videos side by side. (default: as cores and "
                                                                        "memory bear; 1 on a GPU)")] = None,
    quiet: Quiet = False,
) -> None:
    """Run the pipeline: a line a stage and video with the time left, then Table 1, a verdict and the report's path.

    8 to 30 minutes for the default's four videos on two CPU cores; nothing to do, 20 seconds. Logs are in build/logs.
    Interrupted, the same command goes on from the last checkpoints. dvc.lock stays as Git has it.
    """
    here = root()
    if_interrupted("stopped; the same command goes on from the last checkpoints")
    with kept(here):
        if stages:
            command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *(["--quiet"] * quiet), *stages]
            run = subprocess.run(command, cwd=here, stdout=subprocess.DEVNULL if quiet else None)
            raise typer.Exit(1 if run.returncode else 0)
        everything(here, jobs, quiet)


def everything(here: Path, jobs: int | None, quiet: bool) -> None:
    """Every stage, and what came out; what has been computed before is not computed again."""
    from lnm.workflow.reproduce import Pipeline, duration, verdict

    params = load(here / "params.yaml")
    for note in () if quiet else own_steps(params):
        print(f"note: {note}")
    pipeline = Pipeline(here, jobs, quiet)
    if not pipeline.run():
        print("error: the pipeline stopped there; mend that and run the same command: what is done is not done again",
              file=sys.stderr)
        raise typer.Exit(1)
    table = here / "results" / "paper" / "table1.md"
    seconds = duration(pipeline.progress.elapsed())
    first = table.read_text(encoding="utf-8").strip().split("\n## ")[0].strip()  # what else is there, is in the report
    print(f"\n{first}\n\n{verdict(here, list(params.videos))}\n")
    print(f"done in {seconds}; report: {(here / 'results' / 'paper' / 'report.html').relative_to(here)}")
