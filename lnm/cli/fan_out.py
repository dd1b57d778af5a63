"""`lnm fan-out`: every video's stages on several workers, of one machine or of a cluster."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from lnm.cli.repro import everything
from lnm.cli.style import App, Quiet, if_interrupted
from lnm.project import root
from lnm.workflow import fan_out as workers
from lnm.workflow import machine
from lnm.workflow.checkout import grid
from lnm.workflow.commit import head
from lnm.workflow.record import kept
from lnm.workflow.reproduce import Pipeline

app = App()


@app.add("lnm fan-out --set finetune.learning_rate=1e-4,2e-4", name="fan-out")
def fan_out(
    address: Annotated[str, typer.Option(metavar="WHERE", help="local: workers on this machine; auto: the cluster that "
                                         "`ray start` made of it; HOST:PORT: a cluster's head.")] = "local",
    setting: Annotated[list[str] | None, typer.Option("--set", "-S", metavar="KEY=VALUE,VALUE", help="Try values of "
                                                      "params.yaml; several make a grid. (default: as it is)")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, envvar="JOBS", help="Workers, where WHERE is local. (default: as "
                                             "cores and memory bear; 1 on a GPU)")] = None,
    cpus: Annotated[float | None, typer.Option(min=0, help="CPU cores that a video takes of a cluster. (default: the "
                                               "threads of its notebooks)")] = None,
    gpus: Annotated[float | None, typer.Option(min=0, help="GPUs that a video takes; 0.5: two share one. (default: 1 "
                                               "where there are any)")] = None,
    folder: Annotated[Path | None, typer.Option(metavar="FOLDER", help="For the workers' checkouts, under a path that "
                                                "every machine has. (default: build/fan-out)")] = None,
    quiet: Quiet = False,
) -> None:
    """Run every video's stages wherever there is room, by Ray; then finish here what all videos share.

    A worker runs `dvc repro` in a checkout of its own, on this project's DVC cache, and is retried where it was if it
    dies; this project then restores what they computed. With --set nothing is changed here: a table has the measures
    of every setting and video. Interrupted, the same command goes on from the last checkpoints. It needs the extra
    `cluster`.
    """
    here = root()
    if_interrupted("stopped; the same command goes on from the last checkpoints")
    cells = grid(here, setting or [])
    with kept(here):
        folder = (folder or here / "build" / "fan-out").resolve()
        at = head(here)
        chains = _run(here, cells, folder, (address, jobs, cpus, gpus, quiet))
        failed = [chain for chain in chains if not chain.fine]
        if setting:
            frame = workers.table(chains, folder / "table.csv")
            print(f"\n{frame.drop(columns='results').to_string(index=False)}\n\ntable: {folder / 'table.csv'}")
        elif not failed:
            workers.bring_home(here, chains, at)
            everything(here, jobs or (None if address == "local" else 1), quiet)  # it may have no GPU itself
            for chain in chains:
                shutil.rmtree(chain.folder)  # all that is in it is in the cache
    if failed:
        print(f"error: {len(failed)} of {len(chains)} failed; mend that and run the same command: what is done is not "
              "done again", file=sys.stderr)
        raise typer.Exit(1)


def _run(here: Path, cells: dict, folder: Path, how: tuple) -> list:
    """What all videos wait for, on this machine; then their chains, each told when it ends."""
    address, jobs, cpus, gpus, quiet = how
    params = next(iter(cells.values()))
    local = address == "local"
    count = jobs or (machine.jobs(params.device) if local else 1)
    shared = Pipeline(here, 1, quiet)
    with shared.ended():
        if not shared.dvc("shared.log", "code", "footage"):
            raise typer.Exit(1)
    chains = workers.plan(here, cells, folder)
    with workers.cluster(address, count, here, quiet):
        cpus = cpus if cpus is not None else 1 if local else machine.threads()
        gpus = 0 if gpus is None and params.device == "cpu" else gpus
        for chain in workers.fan_out(chains, cpus, gpus, quiet):
            if not quiet or not chain.fine:
                print(chain.line(), file=sys.stdout if chain.fine else sys.stderr, flush=True)
    return chains
