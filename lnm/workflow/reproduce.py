"""The whole pipeline in one call: videos side by side, each by its own `dvc`, then what all of them share."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn, TextIO

from lnm.errors import UserError
from lnm.files import named
from lnm.project import STAGES
from lnm.workflow import machine
from lnm.workflow.guard import FOLLOWED
from lnm.workflow.params import load
from lnm.workflow.progress import Progress, duration
from lnm.workflow.record import unlock

RUNNING = re.compile(r"Running stage '([^']+)'")
SKIPPED = re.compile(r"Stage '([^']+)' (didn't change, skipping|is cached)")
WENT_ON = "WARNING: failed to run: "  # of a stage that failed, where DVC goes on with others (--keep-going)
NOISE = ("To track the changes", "To enable auto staging", "Use `dvc push`", "git add ", "dvc config ",
         "WARNING: stage:", "ERROR: failed to reproduce")
BEHIND = 5  # niceness of the videos that are done sooner
MOVES = (0.75, 1.33)  # times the motion of the real clip through the autoencoder that count as about as far


class Pipeline:
    """One run: its processes, logs and progress."""

    def __init__(self, root: Path, jobs: int | None = None, quiet: bool = False, stages: tuple[str, ...] = STAGES,
                 out: TextIO | None = None):
        self.root, self.params, self.stages = root, load(root / "params.yaml"), stages
        self.jobs = max(1, min(len(self.params.videos), jobs or machine.jobs(self.params.device)))
        self.logs = root / "build" / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.progress = Progress(self.params, self.logs, self.jobs, out, quiet)
        self.processes: set[subprocess.Popen] = set()
        self.stopping = False

    def dvc(self, log: str, *targets: str, behind: bool = False) -> bool:
        """`dvc repro` with its output in a log; whether it went well. What it says of its stages is shown. behind: it
        leaves the cores to those that do not stand behind, as long as there are any."""
        path = self.logs / log
        path.unlink(missing_ok=True)
        # a stage ends with this process, even where a SIGKILL leaves it no time to say so
        followed = {FOLLOWED: os.environ.get(FOLLOWED, str(os.getpid()))}
        environment = os.environ | followed | {"DVC_NO_ANALYTICS": "1", "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "lnm.workflow.dvc", "--wait-for-lock", "repro", *targets]
        process = subprocess.Popen(command, cwd=self.root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, errors="replace", env=environment,
                                   process_group=0)
        if behind:
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, process.pid, min(19, own + BEHIND))  # and of all that it starts
        self.processes.add(process)
        if self.stopping:  # since it was asked for: `ended` may not have seen it
            os.killpg(process.pid, signal.SIGKILL)
        current, lines, told = None, list[str](), False
        with named(path.relative_to(self.root)), path.open("w") as file:
            for line in process.stdout or ():
                file.write(line)
                file.flush()
                lines = [*lines[-40:], line.rstrip()]
                if found := RUNNING.search(line):
                    if current:
                        self.progress.end(current)
                    current = found[1]
                    self.progress.begin(current)
                elif found := SKIPPED.search(line):
                    if current:
                        self.progress.end(current)
                        current = None
                    self.progress.end(found[1], "up to date" if found[2].startswith("didn't") else "from DVC's cache")
                elif current and line.startswith(WENT_ON):
                    self._failed(current, path, lines)
                    current, told = None, True
                elif current:
                    self.progress.seen(current, line)
        fine = process.wait() == 0
        self.processes.discard(process)
        if current and (fine or told):
            self.progress.end(current)
        if not fine and not told:
            self._failed(current or targets[-1], path, lines)
        return fine

    def _failed(self, stage: str, log: Path, lines: list[str]) -> None:
        if not self.stopping:
            tail = [line for line in lines if line.strip() and not line.strip().startswith(NOISE)]
            self.progress.fail(stage, log.relative_to(self.root), tail[-12:])

    def video(self, name: str) -> bool:
        """Every stage of one video. --single-item: what all videos share is up to date, and looking at it again would
        lock out the others."""
        others = self.params.rivalled  # these take half as long again: begun together, they would be alone at the end
        return not self.stopping and self.dvc(f"{name}.log", "--single-item", *(
            f"{stage}@{name}" for stage in ("resolve", *self.stages)), behind=bool(others) and name not in others)

    def alone(self, stage: str) -> bool:
        """A stage that needs no other."""
        return not self.stopping and self.dvc(f"{stage}.log", "--single-item", stage)

    def run(self) -> bool:
        """Everything; whether all went well."""
        with self.ended():
            if not self.dvc("shared.log", "code", "footage"):
                return False
            pool = ThreadPoolExecutor(self.jobs)  # interrupted, `ended` first ends what its threads wait for
            running = [pool.submit(self.video, name) for name in self.params.videos]
            # it needs no video: one core has it while the other has the last of them
            running.append(pool.submit(self.alone, "conformance"))
            while wait(running, timeout=1).not_done:
                self.progress.tick()
            if not all(future.result() for future in running):
                return False
            with self.ticking():
                return self.dvc("closing.log")

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """The line that moves, while this thread waits for a process."""
        over = threading.Event()

        def tick() -> None:
            while not over.wait(1):
                self.progress.tick()

        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    @contextmanager
    def ended(self) -> Iterator[None]:
        """Ctrl-C, SIGTERM or a terminal that closes end every process that was started, with all that it started.
        What is ignored when the run begins stays so: under nohup it outlives its terminal."""
        def stop(*_: object) -> NoReturn:
            raise KeyboardInterrupt  # SIGINT itself is ignored where a script has put the run into the background

        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)
                  if signal.getsignal(number) is not signal.SIG_IGN}
        try:
            yield
        finally:
            self.stopping = True
            # a second Ctrl-C must not leave half of them; what starts meanwhile would inherit SIG_IGN
            before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: None)
            self._end(list(self.processes))
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self, processes: list[subprocess.Popen]) -> None:
        """SIGINT, on which `lnm.workflow.dvc` ends its group, then what cannot be overheard."""
        for number, patience in ((signal.SIGINT, 3), (signal.SIGTERM, 1), (signal.SIGKILL, 3)):
            for process in processes:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            end = time.monotonic() + patience
            while any(process.poll() is None for process in processes) and time.monotonic() < end:
                time.sleep(0.05)
            if all(process.poll() is not None for process in processes):
                break
        if processes:
            unlock(self.root)


def verdict(root: Path, videos: list[str]) -> str:
    """One sentence made of the run's numbers: how far the films move, what they keep, how near they are. Motion is
    held against the real clip through the autoencoder, the best that any film of the checkpoint could be: the clip
    itself moves by detail that no latent holds.

    Raises UserError where no video has been measured.
    """
    found = {}
    for name in videos:
        path = root / "results" / name / "evaluate" / "summary.json"
        found[name] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def span(key: str, digits: str = ".2f") -> str | None:
        values = [one[key] for one in found.values() if isinstance(one.get(key), (int, float))]
        if not values:
            return None
        low, high = format(min(values), digits), format(max(values), digits)
        return low if low == high else f"{low} to {high}"

    moves = "motion_ratio_vae"
    motion = [one[moves] for one in found.values() if isinstance(one.get(moves), (int, float))]
    if not motion:
        raise UserError("results/: no video has been measured; run `lnm repro`")
    far = sum(MOVES[0] <= value <= MOVES[1] for value in motion)
    says = [f"{far} of {len(motion)} videos' films move about as far as the real clip (they do {span(moves)} times, "
            f"both through the autoencoder; {MOVES[0]} to {MOVES[1]} counts)"]
    says += [f"have {span('detail_ratio')} times the clip's fine detail"] if span("detail_ratio") else []
    if span("frame0_db"):
        says += [f"begin at a PSNR of {span('frame0_db', '.0f')} dB to the still"]
    if span("fid_heldout", ".0f"):
        says += [f"score an FID of {span('fid_heldout', '.0f')} to the held-out frames"]
    return "Verdict: " + (", ".join(says[:-1]) + " and " + says[-1] if len(says) > 1 else says[0]) + "."


__all__ = ["Pipeline", "duration", "verdict"]
