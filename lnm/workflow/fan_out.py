"""Videos, seeds and settings wherever there is room: Ray gives the work out, DVC's cache carries the results.

A task is one video's chain of stages under one setting: `dvc repro` in a checkout of its own, which
lnm/workflow/checkout.py makes. There is no engine here beside those two. Ray retries a task whose worker has died, in
the same checkout: DVC skips the stages that are done, and a fine-tune goes on from its store. All checkouts share the
project's cache, so what a worker computed is restored by `dvc repro` in the project, from DVC's run cache.

Every machine of a cluster must see the project under the same path, by a file system that they share, and run the same
Python environment.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from lnm.errors import UserError
from lnm.files import for_spreadsheet
from lnm.workflow import checkout, machine
from lnm.workflow.checkout import Cell
from lnm.workflow.guard import FOLLOWED
from lnm.workflow.params import Params
from lnm.workflow.progress import duration
from lnm.workflow.reproduce import Pipeline

RETRIES = 5  # of a chain whose worker died


@dataclass
class Chain:
    """One video under one setting: where it runs, and how that went."""

    cell: Cell
    video: str
    folder: Path
    fine: bool = False
    why: str = ""
    seconds: float = 0.0
    attempts: int = 0
    host: str = ""

    def line(self) -> str:
        """What is said of it when it has ended."""
        name = " ".join([self.video, *self.cell.overrides])
        if not self.fine:
            return f"{name}: FAILED; {self.why}"
        again = f", {self.attempts} attempts" if self.attempts > 1 else ""
        return f"{name}: done on {self.host} in {duration(self.seconds)}{again}"


# --- what a worker does -------------------------------------------------------------------------------------------


def work(folder: str, video: str, environment: dict[str, str], quiet: bool) -> dict[str, Any]:
    """Every stage of one video in its checkout. Runs in a process of Ray's; what it gives are fields of `Chain`.

    A stage that fails is an answer, and no error that Ray would retry.
    """
    here = Path(folder)
    os.environ.update(environment | {"PYTHONPATH": folder, FOLLOWED: str(os.getpid())})
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with FileLock(here / "build" / "chain.lock"):  # an attempt that was given up may not have ended
        attempts = _attempt(here)
        pipeline = Pipeline(here, jobs=1, quiet=quiet)
        pipeline.progress.closing.expected = {}  # what all videos share is not run here
        fine = pipeline.video(video)
        log = pipeline.logs / f"{video}.log"
        why = "" if fine else f"{log} ends: {' / '.join(log.read_text(errors='replace').splitlines()[-3:])}"
        seconds = pipeline.progress.elapsed()
    return {"fine": fine, "why": why, "seconds": seconds, "attempts": attempts, "host": socket.gethostname()}


def _attempt(here: Path) -> int:
    """Notes who works in a checkout; the number of those who did. Locks that name processes of another machine, or that
    a killed process has left empty, are put away: DVC could not tell that they are stale."""
    path, host = here / "build" / "attempts", socket.gethostname()
    before = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    locks = here / ".dvc" / "tmp" / "rwlock"
    if locks.is_file() and (not locks.stat().st_size or (before and before[-1].split()[0] != host)):
        locks.unlink()
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{host} {os.getpid()}\n")
    return len(before) + 1


# --- what the head does -------------------------------------------------------------------------------------------


@contextmanager
def cluster(address: str, jobs: int, root: Path, quiet: bool) -> Iterator[None]:
    """Ray, connected: "local" starts one on this machine with room for `jobs` chains and ends it again; "auto" or
    HOST:PORT is one that `ray start` began. Raises UserError where there is none."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # lines of several workers are alike, and each is meant
    os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    try:
        import ray
    except ModuleNotFoundError:
        raise UserError("fan-out: Ray is not installed; `pip install ray` brings it (the extra cluster)") from None
    own = {"num_cpus": jobs, "include_dashboard": False, "object_store_memory": 100 << 20} if address == "local" else {}
    workers = {"env_vars": {"PYTHONPATH": str(root)}}  # what a task is, they import from the project
    for last in (False, False, True):
        try:
            ray.init(address, logging_level="ERROR", log_to_driver=not quiet, runtime_env=workers, **own)
            break
        except Exception as error:  # Ray raises no narrower one
            ray.shutdown()
            why = " ".join(str(error).split())
            if last or "timed out during startup" not in why:  # a busy machine takes longer than Ray's 30 s to start it
                raise UserError(
                    f"fan-out: Ray does not start on this machine ({why[:200]}); it waits half a minute, three times "
                    "over: where much else runs, run the same command again when there is less" if address == "local"
                    else f"--address {address}: no Ray answers there ({why[:200]}); `ray start --head` begins one, and "
                    "--address local needs none") from None
    try:
        yield
    finally:
        ray.shutdown()


def plan(root: Path, cells: dict[Cell, Params], folder: Path) -> list[Chain]:
    """The chains of all videos of all cells, each with its checkout in `folder`, made or brought up to date."""
    cache = checkout.cache_of(root)
    chains = [Chain(cell, video, folder / cell.name / video) for cell, params in cells.items()
              for video in params.videos]
    for chain in chains:
        (chain.folder / "build" / "attempts").unlink(missing_ok=True)  # of an earlier call
        checkout.make(root, chain.folder, chain.cell, chain.video, cache)
    return chains


def fan_out(chains: list[Chain], cpus: float, gpus: float | None, quiet: bool) -> Iterator[Chain]:
    """Runs chains wherever Ray has room, and gives each as it ends. Within `cluster`.

    cpus, gpus: what a chain takes of a machine; gpus None: one where the cluster has any.
    """
    import ray
    from ray.exceptions import RayError

    gpus = float(ray.cluster_resources().get("GPU", 0) > 0) if gpus is None else gpus
    # a fixed number of threads, which the last digits of a sum depend on; Ray would set its own
    environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(machine.threads()))}
    task = ray.remote(max_retries=RETRIES, num_cpus=cpus, num_gpus=gpus)(work)
    waiting = {task.options(name=f"{chain.video} {chain.cell.name}").remote(
        str(chain.folder), chain.video, environment, quiet): chain for chain in chains}
    while waiting:
        ended, _ = ray.wait(list(waiting), num_returns=1)
        chain = waiting.pop(ended[0])
        try:
            vars(chain).update(ray.get(ended[0]))
        except RayError as error:
            chain.why = f"Ray gave it up: {' '.join(str(error).split())[:300]}"
        yield chain


def bring_home(root: Path, chains: list[Chain], head: str) -> None:
    """The commits that restored results were made at, into the project: `head` is that of the checkouts."""
    for chain in chains:
        checkout.take_notes(chain.folder, root, head)


def table(chains: list[Chain], path: Path) -> Any:
    """What the chains of a grid measured, a row each, written to `path` as CSV: settings, video, the numbers of
    evaluate's summary, and the folder in which films and all else lie. Returns the pandas frame."""
    import pandas as pd  # here: only a grid has a table

    rows = []
    for chain in chains:
        summary = chain.folder / "results" / chain.video / "evaluate" / "summary.json"
        found = json.loads(summary.read_text(encoding="utf-8")) if chain.fine else {}
        rows.append({**chain.cell.settings, "video": chain.video, **found, "seconds": round(chain.seconds),
                     "results": str(summary.parents[1])})
    frame = pd.DataFrame(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    safe = frame.map(lambda cell: for_spreadsheet(cell) if isinstance(cell, str) else cell)
    safe.rename(columns=for_spreadsheet).to_csv(path, index=False)
    return frame

