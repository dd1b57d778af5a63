"""Kills stages of the pipeline by SIGKILL at a given moment and runs the same command again: are the bytes the same,
and is nothing done again that was kept? tests/lnm/workflow/test_killed.py kills at chosen moments; `make faults`
(tests/fault_table.py) draws them by a seed.

The pipeline runs by DVC on a tiny checkpoint. A moment is a place in the order in which a notebook's kernel, a stage's
command or dvc writes, renames and removes files and runs cells (tests/injected/), so it does not depend on the
machine's speed. DVC's cache of runs is emptied and the stage is taken out of dvc.lock before: nothing but the stage
itself, or what dvc kept of it before it was killed, can give its results again.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY)]

import numpy as np  # noqa: E402 - the folder of this file and the project's come first
import psutil  # noqa: E402
from ruamel.yaml import YAML  # noqa: E402
from safetensors import safe_open  # noqa: E402
from tiny import SIZE, write_tiny_checkpoint  # noqa: E402

from lnm import video  # noqa: E402
from lnm.files import sha256  # noqa: E402
from lnm.workflow.record import unlock  # noqa: E402

PARAMS = f"""\
size: {SIZE}
device: cpu
checkpoint: {{name: checkpoints/lnm-mini, clip: null}}
finetune: {{steps: 40, frames: 3, preview_every: 20, checkpoint_every: 8, init: null, seeds: 2}}
sample: {{num_frames: 4, num_inference_steps: 3, seeds: 2, temporal_decoder: null, begin: flow}}
rivals: {{methods: [animatediff, dreamix], videos: all, films: 1, steps: 20}}
human_study: {{bootstrap: 50}}
videos:
  drift: {{path: inputs/drift, fps: 8, prompts: [waves]}}
"""
# In the order of the pipeline. Not killed: footage, which fetches (tests/lnm/demo/test_footage.py), conformance, which
# runs tests, and the frozen ones.
STAGES = ("code", "resolve@drift", "prepare@drift", "finetune@drift", "sample@drift", "rivals@drift", "evaluate@drift",
          "resolve_study", "human_study", "audit", "paper")
PLAIN = ("code", "resolve@drift", "resolve_study")  # a command without a notebook
# Who is killed, and in whose journal a moment of theirs is.
VICTIMS = {"kernel": ("kernel",), "runner": ("kernel", "command"), "dvc": ("kernel", "command", "dvc"),
           "group": ("kernel", "command", "dvc")}
KEPT = {"finetune": "finetune", "sample": "sample", "rivals": "rivals", "evaluate": "features"}  # of a stage, in store/
PATIENCE = 1800  # seconds that a stage may take


def write_project(folder: Path, params: str = PARAMS) -> Path:
    """The pipeline in a folder of its own, on a tiny checkpoint and a clip of noise that drifts."""
    for name in ("lnm", "eval", "notebooks"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "claims.yaml", "params.paper.yaml"):
        shutil.copy(REPOSITORY / name, folder)
    write_tiny_checkpoint(folder / "checkpoints" / "lnm-mini")
    for name in ("checkpoints/lnm-mini-clip", "checkpoints/lnm-mini-motion", "checkpoints/lnm-mini-decoder", "footage",
                 "weights", "data"):
        (folder / name).mkdir(parents=True)
        (folder / name / "empty").touch()
    picture = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    video.write_frames(folder / "inputs" / "drift", np.stack([np.roll(picture, i, 1) for i in range(24)]))
    (folder / "params.yaml").write_text(params)
    (folder / "build").mkdir()
    (folder / "build" / "conformance.json").write_text('{"code": "", "checks": {}}')  # the audit says: not checked
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=folder, check=True)
    return folder


def start(project: Path, *stages: str, journal: Path | None = None, who: str = "kernel", stop: int | str = "",
          shell: str | None = None) -> subprocess.Popen:
    """`dvc repro` of these stages alone, in a group of its own; with a journal of its processes, the one of `who` is
    stopped at an event (tests/injected/). shell: SHELL, by which dvc starts a stage's command; "": unset, as on many
    machines that test; None: as it is here."""
    environment = {k: v for k, v in os.environ.items() if k != "DVC_STAGE"}
    if shell is not None:
        environment.pop("SHELL", None)
        environment |= {"SHELL": shell} if shell else {}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1",
                    "PYTHONPATH": f"{REPOSITORY / 'tests' / 'injected'}:{project}"}
    if journal:
        for one in VICTIMS["dvc"]:
            of(journal, one).unlink(missing_ok=True)
        environment |= {"FAULTS_ROOT": str(project), "FAULTS_JOURNAL": str(journal), "FAULTS_STOP": str(stop),
                        "FAULTS_WHO": who}
    return subprocess.Popen([sys.executable, "-m", "dvc", "repro", "--single-item", *stages], cwd=project,
                            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True)


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    return output


def of(journal: Path, who: str) -> Path:
    """Where the journal of a kernel, a command or dvc lies."""
    return journal if who == "kernel" else journal.with_name(f"{journal.name}.{who}")


def lines(journal: Path) -> list[str]:
    return journal.read_text().splitlines() if journal.is_file() else []


def stopped(process: subprocess.Popen, journal: Path) -> list[psutil.Process]:
    """The processes below dvc, once whoever writes this journal stands at its moment."""
    deadline = time.monotonic() + PATIENCE
    while "stopped" not in lines(journal)[-1:]:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.05)
    return psutil.Process(process.pid).children(recursive=True)


def words(process: psutil.Process) -> list[str]:
    """Its command line; empty where it has ended, as what dvc starts on the side does."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def kill(process: subprocess.Popen, family: list[psutil.Process], victim: str) -> None:
    """SIGKILL to `victim`; all the others end by themselves, or this fails."""
    if victim == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif victim == "dvc":
        process.kill()
    elif victim == "kernel":
        next(one for one in family if "ipykernel_launcher" in words(one)).kill()
    else:  # not a shell before it, which has it all in one word
        next(one for one in family if any(Path(word).name == "lnm" for word in words(one)[1:3])).kill()
    alive = psutil.wait_procs([*family, process], timeout=60)[1]
    said = [words(one) for one in alive if one in family]
    for one in alive:
        one.kill()
    process.communicate(timeout=60)
    assert not alive, f"went on alone: {said}"
    assert process.returncode != 0


def record(project: Path, stage: str) -> list | None:
    """What dvc.lock has of a stage's results: the hashes of the bytes that DVC found; None where it has not run."""
    path = project / "dvc.lock"
    found = YAML(typ="safe", pure=True).load(path.read_text()) if path.is_file() else {}
    return (found or {}).get("stages", {}).get(stage, {}).get("outs")


def forget(project: Path, stage: str) -> None:
    """Nothing of what a stage gave before can be found again: no entry, no cache of runs, none of its files in DVC's
    cache, no checkpoint."""
    path, yaml = project / "dvc.lock", YAML(typ="safe", pure=True)
    cache = project / ".dvc" / "cache"
    for out in record(project, stage) or []:
        listed = cache / "files" / "md5" / out["md5"][:2] / out["md5"][2:]
        if listed.name.endswith(".dir") and listed.is_file():
            for md5 in {file["md5"] for file in json.loads(listed.read_text())}:
                (cache / "files" / "md5" / md5[:2] / md5[2:]).unlink(missing_ok=True)
        listed.unlink(missing_ok=True)
    if path.is_file():
        found = yaml.load(path.read_text())
        found["stages"].pop(stage, None)
        with path.open("w") as file:
            yaml.dump(found, file)
    shutil.rmtree(cache / "runs", ignore_errors=True)
    if kept := KEPT.get(stage.partition("@")[0]):
        shutil.rmtree(project / "store" / kept, ignore_errors=True)


def held(project: Path, stage: str) -> dict[str, int]:
    """What store/ has of a stage that was killed."""
    store = project / "store"
    steps = 0
    for path in (store / KEPT[stage]).rglob("checkpoint.safetensors") if stage in ("finetune", "rivals") else ():
        with safe_open(path, "np") as file:
            steps += int(file.metadata()["step"])
    files = {name: len(list((store / name).rglob("*.safetensors"))) for name in ("sample", "features")}
    return {"finetune": {"steps": steps}, "rivals": {"steps": steps}, "sample": {"films": files["sample"]},
            "evaluate": {"sets of features": files["features"]}}.get(stage, {})


def made(journal: list[str]) -> dict[str, int]:
    """What of it a kernel did, by its journal."""
    return {"steps": sum(line.startswith("append ") and line.endswith("/log.csv") for line in journal),
            "films": sum(line.startswith("os.rename store/sample/") for line in journal),
            "sets of features": sum(line.startswith("os.rename store/features/") for line in journal)}


@dataclass
class Row:
    """One kill: of which stage and whom, by which shell dvc started the stage, at which event of how many in whose
    journal. work: {what: [of the whole stage, kept at the kill, done after it]}. cached: the stage's command had ended,
    and dvc found its results. failed: what was not as it was to be."""

    stage: str
    victim: str
    who: str
    event: int
    events: int
    shell: str | None = None
    at: str = ""
    work: dict[str, list[int]] = field(default_factory=dict)
    cached: bool = False
    failed: str = ""


class Faults:
    """A project, what each of its stages gives when it is left alone, and kills."""

    def __init__(self, project: Path):
        self.project, self.journal = project, project / "journal"
        self.outs: dict[str, list] = {}
        self.files: dict[str, dict[str, str]] = {}
        self.whole: dict[str, dict[str, list[str]]] = {}

    def leave_alone(self, stage: str) -> None:
        """One run of a stage from end to end: the results' hashes and the journals."""
        forget(self.project, stage)
        finish(start(self.project, stage, journal=self.journal))
        self.outs[stage], self.files[stage] = record(self.project, stage) or [], self.hashes(stage)
        self.whole[stage] = {who: lines(of(self.journal, who)) for who in VICTIMS["dvc"]}
        ran = self.whole[stage]["dvc"]  # up to where the stage counts as done
        self.whole[stage]["dvc"] = ran[:ran.index("write dvc.lock") + 1]

    def hashes(self, stage: str) -> dict[str, str]:
        """The hash of every file that a stage has given."""
        paths = [self.project / out["path"] for out in record(self.project, stage) or []]
        files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
        return {file.relative_to(self.project).as_posix(): sha256(file) for file in files if file.is_file()}

    def kill(self, stage: str, victim: str, event: int, who: str = "kernel", shell: str | None = None) -> Row:
        """Kills `victim` at an event of a stage, from 1, in the journal of `who`, and runs the same command again."""
        events, name = self.whole[stage], stage.partition("@")[0]
        row = Row(stage, victim, who, event, len(events[who]), shell, events[who][event - 1])
        forget(self.project, stage)
        process = start(self.project, stage, journal=self.journal, who=who, stop=event, shell=shell)
        kill(process, stopped(process, of(self.journal, who)), victim)
        assert record(self.project, stage) is None, "a stage that was killed counts as done"
        before = held(self.project, name)
        ended = who == "dvc" and lines(of(self.journal, "command")) == events["command"]
        unlock(self.project)
        said = finish(start(self.project, stage, journal=self.journal, shell=shell))
        row.cached = ended and f"Stage '{stage}' is cached" in said
        assert row.cached or f"Running stage '{stage}'" in said, f"DVC took it from a cache: {said}"
        whole, after = made(events["kernel"]), made(lines(self.journal))
        row.work = {} if row.cached else {what: [whole[what], kept, after[what]] for what, kept in before.items()}
        wrong = [f"{what}: {kept} were kept and {taken} done again, of {all_of_it}"
                 for what, (all_of_it, kept, taken) in row.work.items() if kept + taken != all_of_it]
        own, left = self.hashes(stage), self.files[stage]
        if record(self.project, stage) != self.outs[stage] or own != left:
            wrong.append(f"other: {sorted(file for file in own | left if own.get(file) != left.get(file))}")
        row.failed = "; ".join(wrong)
        return row
