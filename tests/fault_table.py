"""SIGKILL for every stage of the pipeline at moments drawn by a seed, over who is killed: the measured table.

    make faults                 python tests/fault_table.py --kills 4 --seed 0

Each stage is killed --kills times (tests/faults.py), every second time with the shell that SHELL names between dvc and
the stage's command and else with /bin/sh. A line a kill is printed and kept in build/faults.json: interrupted, the same
command goes on with the next one, and more --kills add to those that are there, as long as the code is what it was. At
the end all of it is written to benchmarks/results/faults.json, and its table to docs/troubleshooting.md. Exits with 1
where a kill was not survived. Some 40 minutes; not a part of CI, which makes a few of these kills
(tests/lnm/workflow/test_killed.py).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from faults import PLAIN, REPOSITORY, STAGES, VICTIMS, Faults, Row, finish, start, write_project

from lnm.files import write_json

SHELLS = {"sh": "", "bash": "/bin/bash"}  # SHELL unset: /bin/sh, which may stay between dvc and the command
STARTED, RESULTS = REPOSITORY / "build" / "faults.json", REPOSITORY / "benchmarks" / "results" / "faults.json"
PAGE = REPOSITORY / "docs" / "troubleshooting.md"
BEGIN, END = "<!-- benchmarks/results/faults.json -->\n", "<!-- end of benchmarks/results/faults.json -->\n"
LONG = ("finetune", "sample", "rivals", "evaluate")  # that keep in store/ what an interruption is not to lose
NAMES = {"dvc": "dvc", "runner": "the stage's command", "kernel": "its kernel", "group": "the group of dvc"}


def identity(seed: int) -> dict:
    """All that decides what is drawn and what happens: the seed and the code."""
    digest = hashlib.sha256()
    files = [path for room in ("lnm", "eval", "notebooks") for path in (REPOSITORY / room).rglob("*")
             if path.suffix in (".py", ".ipynb", ".html", ".css", ".js", ".json")]
    own = [REPOSITORY / name for name in ("dvc.yaml", "tests/faults.py", "tests/injected/sitecustomize.py")]
    for path in sorted(files) + own:
        digest.update(f"{path.relative_to(REPOSITORY).as_posix()}\n".encode() + path.read_bytes())
    return {"seed": seed, "code": digest.hexdigest()}


def drawn(stage: str, k: int, seed: int, events: dict[str, list[str]]) -> tuple[str, str, int, str]:
    """Kill k of a stage: who, at a moment in whose journal, its event from 1, by which shell. Victims take turns; the
    moment is one of whoever runs at that time, and the runner is not killed where it has not begun."""
    rng = random.Random(f"{seed} {stage} {k}")
    victims = [victim for victim in VICTIMS if stage not in PLAIN or victim != "kernel"]
    victim = victims[(k + STAGES.index(stage)) % len(victims)]
    who = rng.choice([one for one in VICTIMS[victim] if events[one]])
    return victim, who, rng.randint(1, len(events[who])), list(SHELLS)[(k + k // len(victims)) % len(SHELLS)]


def machine() -> dict[str, str]:
    """The machine by its parts: nobody is told apart by it."""
    return {"system": platform.system(), "cpu": platform.machine(), "cores": str(os.cpu_count()),
            "python": platform.python_version(), "dvc": subprocess.run(
                [sys.executable, "-m", "dvc", "--version"], capture_output=True, text=True, check=True).stdout.strip()}


def table(rows: list[dict]) -> str:
    """Markdown: a line a stage, what was injected and what survived."""
    out = ["| stage | SIGKILL of " + ", ".join(NAMES.values()) + " | the same bytes | what the same command does |",
           "| --- | --- | --- | --- |"]
    for stage in dict.fromkeys(row["stage"] for row in rows):
        own = [row for row in rows if row["stage"] == stage]
        counts = ", ".join(str(sum(row["victim"] == victim for row in own)) for victim in NAMES)
        survived = sum(not row["failed"] for row in own)
        out.append(f"| `{stage.partition('@')[0]}` | {counts} | {survived} of {len(own)} | {went_on(own)} |")
    survived = sum(not row["failed"] for row in rows)
    return "\n".join([*out, f"| all | {len(rows)} | {survived} of {len(rows)} | |"]) + "\n"


def went_on(rows: list[dict]) -> str:
    """What the second run of a stage did of it all, over its kills."""
    rerun = [row for row in rows if not row["failed"] and not row["cached"]]
    parts = []
    for what in dict.fromkeys(what for row in rerun for what in row["work"]):
        whole, kept, after = (sum(row["work"][what][k] for row in rerun) for k in range(3))
        some = sum(row["work"][what][1] > 0 for row in rerun)
        parts.append(f"goes on: of {whole} {what} {kept} were kept, after {some} of {len(rerun)} kills, and the other "
                     f"{after} were done")
    said = "; ".join(parts) or "begins anew: it takes seconds"
    cached = sum(row["cached"] for row in rows)
    return said + (f"; {cached} had ended before the kill, and DVC found what they gave" if cached else "")


def line(row: dict) -> str:
    work = "; ".join(f"{kept} of {whole} {what} kept, {after} done after it" for what, (whole, kept, after) in
                     row["work"].items()) or ("from DVC's cache" if row["cached"] else "from the beginning")
    place = f"{row['event']} of {row['events']} of {row['who']}: {row['at']}"
    return (f"{row['stage']:15} {row['victim']:7} {row['shell']:5} "
            + (f"FAILED {row['failed']} ({place})" if row["failed"] else f"survived; {work} ({place})"))


def publish() -> None:
    """The table of the committed numbers into the page, where it has its place."""
    text = PAGE.read_text(encoding="utf-8")
    before, after = text[:text.index(BEGIN) + len(BEGIN)], text[text.index(END):]
    PAGE.write_text(before + table(json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]) + after, encoding="utf-8")


def project_of(folder: Path, weights: bool) -> Faults:
    """The project in a folder, each of its stages run once and left alone."""
    project = write_project(folder)
    if weights:
        shutil.copytree(REPOSITORY / "weights", project / "weights", dirs_exist_ok=True)
    faults = Faults(project)
    for stage in STAGES:
        faults.leave_alone(stage)
        counts = ", ".join(f"{len(found)} of {who}" for who, found in faults.whole[stage].items())
        print(f"{stage} left alone: {counts}", file=sys.stderr, flush=True)
    return faults


def main(kills: int, seed: int, stages: list[str], weights: bool) -> int:
    found = {"identity": identity(seed) | {"weights": weights}, "machine": machine(), "rows": []}
    for path in (STARTED, RESULTS):
        there = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if there.get("identity") == found["identity"] and len(there["rows"]) > len(found["rows"]):
            found = there
    found["rows"] = [row for row in found["rows"] if not row["failed"]]
    done = {(row["stage"], row["k"]) for row in found["rows"]}
    todo = [(stage, k) for k in range(kills) for stage in stages if (stage, k) not in done]
    print(f"{len(done)} kills are there, {len(todo)} to come", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        faults = project_of(Path(folder) / "project", weights) if todo else None
        for number, (stage, k) in enumerate(todo, 1):
            victim, who, event, shell = drawn(stage, k, seed, faults.whole[stage])
            try:
                row = faults.kill(stage, victim, event, who, SHELLS[shell])
            except (AssertionError, StopIteration, subprocess.TimeoutExpired) as error:
                said = " ".join(str(error).split()).replace(folder, "")[-400:] or type(error).__name__
                row = Row(stage, victim, who, event, len(faults.whole[stage][who]), failed=said)
                finish(start(faults.project, stage))  # for the stages behind it
            found["rows"].append({"k": k} | asdict(row) | {"shell": shell})
            write_json(STARTED, found)
            print(f"{number} of {len(todo)}: {line(found['rows'][-1])}", flush=True)
    order = {stage: number for number, stage in enumerate(STAGES)}
    found["rows"].sort(key=lambda row: (order[row["stage"]], row["k"]))
    write_json(RESULTS, found)
    publish()
    print(table(found["rows"]))
    return sum(bool(row["failed"]) for row in found["rows"])


if __name__ == "__main__":
    given = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given.add_argument("--kills", type=int, default=4, help="of each stage")
    given.add_argument("--seed", type=int, default=0)
    given.add_argument("--stages", nargs="*", choices=STAGES, default=list(STAGES), metavar="STAGE")
    given.add_argument("--no-weights", action="store_true", help="evaluate without the networks in weights/")
    asked = given.parse_args()
    there = (REPOSITORY / "weights" / "inception-2015-12-05.pt").is_file() and not asked.no_weights
    sys.exit(bool(main(asked.kills, asked.seed, asked.stages, there)))
