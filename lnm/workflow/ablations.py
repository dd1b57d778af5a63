"""The ablations in one call: arms side by side, each a stage of ablations/dvc.yaml, then their table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from lnm.ablations.plan import Plan
from lnm.devices import pick_device
from lnm.errors import UserError
from lnm.workflow import machine
from lnm.workflow.params import Params
from lnm.workflow.progress import Chain, Progress
from lnm.workflow.reproduce import Pipeline

HERE = "ablations/dvc.yaml"
ARM, STEP, TABLE = 30.0, 0.7, 60.0  # seconds of one CPU core, a guess: an arm without its steps, a step, the table


class ArmProgress(Progress):
    """A line an arm and seed."""

    def __init__(self, params: Params, logs: Path, jobs: int, out: TextIO | None, quiet: bool, plan: Plan,
                 targets: list[str]):
        super().__init__(params, logs, jobs, out, quiet)
        self.chains = {target: Chain(target.partition("@")[2], {"arm": self.known.get(target, ARM + STEP * plan.steps)})
                       for target in targets}
        self.closing = Chain("", {"table": self.known.get(f"{HERE}:table", TABLE)})
        self.width = max(len("all videos"), *(len(chain.name) for chain in self.chains.values()))

    def chain(self, stage: str) -> tuple[Chain, str] | None:
        if stage in self.chains:
            return self.chains[stage], "arm"
        return (self.closing, "table") if stage == f"{HERE}:table" else None


class Ablations(Pipeline):
    """One run of the plan. long: the arms for a GPU too."""

    def __init__(self, root: Path, plan: Plan, long: bool = False, jobs: int | None = None, quiet: bool = False,
                 out: TextIO | None = None):
        super().__init__(root, 1, quiet, out=out)
        if plan.video not in self.params.videos:
            raise UserError(f"ablations/params.yaml: video: {plan.video} is none of params.yaml; there is "
                            f"{', '.join(self.params.videos)}")
        self.plan = plan
        self.targets = [f"{HERE}:{'long' if arm in plan.long else 'arm'}@{arm}-{seed}"
                        for arm, seed in plan.runs(long)]
        accelerated = pick_device(self.params.device) != "cpu"
        self.jobs = max(1, min(len(self.targets), jobs or (1 if accelerated else min(machine.cores(), 4))))
        self.progress = ArmProgress(self.params, self.logs, self.jobs, out, quiet, plan, self.targets)

    def run(self) -> bool:
        """The clip, every arm and the table; whether all went well. Where an arm fails the others are trained all the
        same, and the table is of those."""
        with self.ended():
            if not self.dvc("ablations.log", "code", "footage", f"prepare@{self.plan.video}"):
                return False
            pool = ThreadPoolExecutor(self.jobs)
            # what all share is up to date, and looking at it again would lock out the others
            workers = [pool.submit(self.dvc, f"ablations-{i}.log", "--single-item", "--keep-going",
                                   *self.targets[i::self.jobs]) for i in range(self.jobs)]
            while wait(workers, timeout=1).not_done:
                self.progress.tick()
            fine = all(worker.result() for worker in workers)
            if self.stopping:
                return False
            with self.ticking():
                return self.dvc("ablations-table.log", "--single-item", f"{HERE}:table") and fine


@contextmanager
def own_record(root: Path) -> Iterator[None]:
    """For the time of a run: what DVC noted of this working copy's arms lies where DVC looks for it, and afterwards in
    build/, so that Git sees nothing (`lnm.workflow.record` says why). A run that was killed leaves it in its place,
    from where the next one takes it."""
    place, kept = root / "ablations" / "dvc.lock", root / "build" / "ablations.lock"
    if kept.is_file() and not place.exists():
        os.replace(kept, place)
    try:
        yield
    finally:
        if place.is_file():
            os.replace(place, kept)
