"""What a run says of itself: a line a stage and video, and an estimate of the time left."""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from lnm.files import write_json
from lnm.project import STAGES
from lnm.workflow.params import Params

# Seconds on two CPU cores with lnm-mini at 128 pixels, three videos side by side; finetune: a step. A guess until
# something is measured.
GUESS = {"prepare": 36.0, "finetune": 0.91, "sample": 78.0, "rivals": 3.0, "evaluate": 106.0}
RIVAL_STEP, RIVAL_FILM = 0.5, 9.0  # of a method
CLOSING = {"conformance": 30.0, "human_study": 7.0, "audit": 15.0, "paper": 40.0}
BAR = re.compile(r"(\d+)/(\d+) \[[\d:]+<((?:\d+:)?\d+:\d+)")


@dataclass
class Chain:
    """One video's stages, or the closing ones: which is running since when, what its bar says, what is done."""

    name: str
    expected: dict[str, float]
    stage: str | None = None
    since: float = 0.0
    bar: tuple[float, float, float] | None = None  # share done, seconds left as the bar says, when it said so
    done: set[str] = field(default_factory=set)

    def left(self, now: float, pace: float) -> float:
        """Seconds until the chain is through: the bar's own word for a fine-tune, expectations for the rest."""
        total = sum(pace * seconds for stage, seconds in self.expected.items()
                    if stage not in self.done and stage != self.stage)
        if self.stage == "finetune" and self.bar:
            return total + max(0.0, self.bar[1] - (now - self.bar[2]))
        if self.stage:
            return total + max(0.0, pace * self.expected.get(self.stage, 0.0) - (now - self.since))
        return total


class Progress:
    """Takes what the stages print and tells it, a line a stage, on `out`; on a terminal with a line that moves."""

    def __init__(self, params: Params, logs: Path, jobs: int, out=None, quiet: bool = False):
        self.out, self.quiet, self.jobs, self.logs = out or sys.stdout, quiet, jobs, logs
        self.began, self.lock = time.monotonic(), threading.Lock()
        self.record = logs / "seconds.json"
        self.known = json.loads(self.record.read_text()) if self.record.is_file() else {}
        self.sure = bool(self.known) or (params.size == 128 and "lnm-mini" in params.checkpoint.name)
        self.chains = {video: Chain(video, self._expected(params, video)) for video in params.videos}
        self.closing = Chain("", {stage: self.known.get(stage, guess) for stage, guess in CLOSING.items()})
        self.took, self.guessed = 0.0, 0.0
        self.width = max([len("all videos"), *map(len, params.videos)])

    def _expected(self, params: Params, video: str) -> dict[str, float]:
        settings = params.finetune
        steps = settings.model_copy(update={"steps": params.videos[video].steps or settings.steps}).ceiling
        steps *= settings.seeds
        steps += settings.identity_steps if settings.init else 0
        steps += settings.noise_steps if settings.carried and params.sample.begin == "flow" else 0
        guess = GUESS | {"finetune": GUESS["finetune"] * steps}
        if video in params.rivalled:
            trained = params.rivals.steps or (settings.init and settings.identity_steps) or settings.ceiling
            filmed = params.rivals.films or params.sample.seeds
            guess["rivals"] += len(params.rivals.methods) * (RIVAL_STEP * trained + RIVAL_FILM * filmed)
        return {stage: self.known.get(f"{stage}@{video}", guess[stage]) for stage in STAGES}

    def chain(self, stage: str) -> tuple[Chain, str] | None:
        """Whose stage a name of dvc.yaml is, and what it is called there; None for those that take no time."""
        name, _, video = stage.partition("@")
        if video in self.chains and name in STAGES:
            return self.chains[video], name
        return (self.closing, name) if name in CLOSING else None

    def begin(self, stage: str) -> None:
        """A stage runs from now on."""
        if found := self.chain(stage):
            found[0].stage, found[0].since, found[0].bar = found[1], time.monotonic(), None

    def seen(self, stage: str, line: str) -> None:
        """A line that a running stage printed: perhaps a bar."""
        if (found := self.chain(stage)) and (bars := BAR.findall(line)):
            done, total, left = bars[-1]
            seconds = sum(int(part) * 60**i for i, part in enumerate(reversed(left.split(":"))))
            found[0].bar = (int(done) / max(1, int(total)), float(seconds), time.monotonic())

    def end(self, stage: str, how: str = "") -> None:
        """A stage is through: run (""), or not run, in words."""
        if not (found := self.chain(stage)) or found[1] in found[0].done:
            return
        with self.lock:
            chain, name = found
            now = time.monotonic()
            chain.done.add(name)
            took = now - chain.since if not how and chain.stage else None
            chain.stage = chain.bar = None
            if took is not None:
                self.took, self.guessed = self.took + took, self.guessed + chain.expected.get(name, took)
                self.known[stage] = round(took, 1)
                write_json(self.record, self.known)
            line = f"{chain.name or 'all videos':{self.width}}  {name:11}  {how or duration(took):16}"
            self.say(line, "" if how else self.time_left())

    def fail(self, stage: str, log: Path, tail: list[str]) -> None:
        """A stage has failed: where, and how its log ends."""
        found = self.chain(stage)
        whose = f"{found[0].name or 'all videos':{self.width}}  {found[1]:11}" if found else stage
        with self.lock:
            if found:
                found[0].stage, found[0].expected = None, {}
            self.say("\n".join([f"{whose}  FAILED; {log} ends:", *(f"    {line}" for line in tail)]), force=True)

    def say(self, text: str, left: str = "", force: bool = False) -> None:
        """A line that stays."""
        if not self.quiet or force:
            self._clear()
            print(f"{text}  {left}".rstrip(), file=self.out, flush=True)

    def time_left(self) -> str:
        """"about 8 min left", or what can be said."""
        seconds = self.seconds_left()
        if seconds < 1:
            return ""
        return f"{'about' if self.sure else 'at least'} {duration(seconds, rough=True)} left"

    def seconds_left(self) -> float:
        """Of the videos, `jobs` of which run at a time, and of the closing stages after them."""
        now, pace = time.monotonic(), self.took / self.guessed if self.guessed else 1.0
        each = [chain.left(now, pace) for chain in self.chains.values()]
        return max(max(each, default=0.0), sum(each) / self.jobs) + self.closing.left(now, pace)

    def tick(self) -> None:
        """The line that moves: what runs now, time gone and left. Nothing where the output is no terminal."""
        if self.quiet or not self.out.isatty():
            return
        running = [f"{chain.name} {chain.stage}".strip() + (f" {chain.bar[0]:.0%}" if chain.bar else "")
                   for chain in (*self.chains.values(), self.closing) if chain.stage]
        text = f"{', '.join(running) or 'looking at what has changed'}; {duration(self.elapsed())} gone"
        if (running or self.took) and (left := self.time_left()):  # nothing may have to be run at all
            text += f", {left}"
        with self.lock:
            self.out.write("\r\x1b[K" + text[:shutil.get_terminal_size().columns - 1])
            self.out.flush()

    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began

    def _clear(self) -> None:
        if self.out.isatty():
            self.out.write("\r\x1b[K")


def duration(seconds: float | None, rough: bool = False) -> str:
    """"38 s", "6 min 25 s", "2 h 5 min"; rough: "40 s", "6 min"."""
    if seconds is None:
        return ""
    if rough:
        seconds = 10 * max(1, round(seconds / 10)) if seconds < 55 else 60 * max(1, round(seconds / 60))
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 // 60 else "")
