"""`lnm fan-out` by the real notebooks, killed twice, beside `lnm repro`: does it go on, are the bytes the same?

    python -m benchmarks.fan_out --json benchmarks/results/fan_out.json
    python -m benchmarks.fan_out --table FILE      # the docs' lines of such a file

Two of the default's videos, with few steps and films (FEW), in two fresh clones of this commit, each with a DVC cache
that is empty. One runs `lnm repro`. In the other `lnm fan-out --jobs 2` works on both videos; the worker of one is
killed (SIGKILL) once its fine-tune has kept a checkpoint, and the run must go on by itself; later the command itself is
killed, once a film of the same video is kept, and started again. Then the files of every stage that dvc.lock names are
compared. Needs Ray (the extra cluster) and `make data`. Some ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.options import ended, parsed
from lnm.errors import UserError
from lnm.files import sha256, write_json

REPOSITORY = Path(__file__).resolve().parent.parent
PLACE = REPOSITORY / "build" / "fan-out-tried"
DATA = ("data", "footage", "weights", "checkpoints")  # what `make data` fetches
# of params.yaml, the rest as it is; the checkpoints are near enough that a kill leaves steps before it and behind it
FEW: dict[str, dict[str, Any]] = {
    "finetune": {"steps": 24, "warmup_steps": 6, "preview_every": 12, "checkpoint_every": 8, "identity_steps": 6,
                 "noise_steps": 6, "seeds": 1},
    "sample": {"num_frames": 8, "num_inference_steps": 4, "seeds": 2, "others": 1},
    "rivals": {"videos": []},
    "human_study": {"bootstrap": 50},
}
# not a video's, and the same in every clone: fetched, frozen, or tests of the method, which are not run here
ASIDE = ("footage", "lnm-mini", "lnm-mini-motion", "lnm-mini-decoder", "conformance")
WHOSE = {"videos": "the videos' stages", "shared": "the stages that they share"}
FAN_OUT = ("fan-out", "--jobs", "2")


# ---------------------------------------------------------------- a clone


def clone(folder: Path, commit: str, videos: list[str]) -> Path:
    """A commit in a folder of its own, with what is fetched and params.yaml of these videos and FEW."""
    from ruamel.yaml import YAML

    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", REPOSITORY, folder], check=True)
    subprocess.run(["git", "checkout", "--quiet", commit], cwd=folder, check=True)
    for name in DATA:
        if not (REPOSITORY / name).is_dir():
            raise UserError(f"{name}: not there; `make data` fetches it")
        shutil.copytree(REPOSITORY / name, folder / name, dirs_exist_ok=True)
    yaml = YAML(pure=True)
    for name, change in (("params.yaml", lambda told: few(told, videos)), ("dvc.yaml", put_aside)):
        told = yaml.load((folder / name).read_text(encoding="utf-8"))
        change(told)
        with (folder / name).open("w", encoding="utf-8") as file:
            yaml.dump(told, file)
    write_json(folder / "build" / "conformance.json", {"code": "", "checks": {}})  # the audit says: not checked
    return folder


def few(told: dict[str, Any], videos: list[str]) -> None:
    """Makes what params.yaml holds a small run of these videos. Raises UserError for one that it has not."""
    for name in videos:
        if name not in told["videos"]:
            raise UserError(f"{name}: no video of params.yaml; there are {', '.join(told['videos'])}")
    for section, changes in FEW.items():
        told[section].update(changes)
    told["videos"] = {name: told["videos"][name] for name in videos}


def put_aside(told: dict[str, Any]) -> None:
    """Of what dvc.yaml holds: the tests of the method are not run."""
    told["stages"]["conformance"]["frozen"] = True


def start(project: Path, *words: str) -> subprocess.Popen:
    """A command of `lnm` in a clone, by the clone's own code; what it says is added to build/said."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "LNM_", "RAY_"))}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(project),
                    "JUPYTER_PREFER_ENV_PATH": "1", "JOBS": "2"}
    with (project / "build" / "said").open("a") as said:
        return subprocess.Popen([sys.executable, "-m", "lnm", *words], cwd=project, env=environment, stdout=said,
                                stderr=subprocess.STDOUT)


# ---------------------------------------------------------------- two kills


def step_of(checkpoint: Path) -> int:
    """The step that a fine-tune's checkpoint holds; 0 where there is none."""
    from safetensors import safe_open

    try:
        with safe_open(checkpoint, "np") as file:
            return int(file.metadata()["step"])
    except FileNotFoundError:
        return 0


def kept(head: subprocess.Popen, store: Path, name: str) -> list[Path]:
    """Waits until a stage has kept something in its folder of a checkout's store: the files of this name, without the
    checkpoint of no step that a fine-tune begins with. Raises UserError where the command ends before."""
    while head.poll() is None:
        if found := [path for path in store.rglob(name) if path.name != "checkpoint.safetensors" or step_of(path)]:
            return found
        time.sleep(0.05)
    raise UserError(f"{store}: nothing was kept there before the command ended; build/said of the clone says why")


def kill(process: Any) -> dict[str, int]:
    """SIGKILL to a process alone (psutil's): how many there were below it, and how many of them half a minute later."""
    import psutil

    family = process.children(recursive=True)
    process.kill()
    alive = psutil.wait_procs(family, timeout=30)[1]
    return {"processes_below": len(family), "there_after_30_s": len(alive)}


def fewest_rows(head: subprocess.Popen, log: Path) -> int:
    """Watches a fine-tune's log until it goes with its store: the fewest steps that it held, which none took again."""
    fewest: float = math.inf
    while head.poll() is None and log.exists():
        with suppress(FileNotFoundError):
            fewest = min(fewest, len(log.read_text(encoding="utf-8").splitlines()) - 1)
        time.sleep(0.05)
    return int(fewest)


def made_again(head: subprocess.Popen, films: dict[Path, int]) -> int:
    """Watches films that were kept {file: its time of writing, ns} until they go with their store: how many of them
    were written anew."""
    again: set[Path] = set()
    while head.poll() is None and next(iter(films)).parent.exists():
        for path, written in films.items():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime_ns != written:
                    again.add(path)
        time.sleep(0.05)
    return len(again)


def killed(project: Path, video: str, others: list[str]) -> dict[str, Any]:
    """`lnm fan-out` in a clone, with two kills: of the process of Ray's that has `video`, once its fine-tune has kept
    a checkpoint; and of the command itself, once a sampling of the same video has kept a film, which is then
    started again. What was killed, what was left and what it took."""
    import psutil

    began, head = time.monotonic(), start(project, *FAN_OUT)
    folder = project / "build" / "fan-out" / "params"
    (checkpoint, *_), log = kept(head, folder / video / "store" / "finetune", "checkpoint.safetensors"), "log.csv"
    worker = psutil.Process(int((folder / video / "build" / "attempts").read_text().split()[-1]))
    row: dict[str, Any] = {"killed": "worker", "signal": "SIGKILL", "during": f"finetune@{video}",
                           "process": worker.cmdline()[0], "after_seconds": round(time.monotonic() - began)}
    row |= kill(worker) | {"of": FEW["finetune"]["steps"], "kept": step_of(checkpoint)}
    row["went_on_from"] = fewest_rows(head, checkpoint.with_name(log))
    rows = [row]

    kept(head, folder / video / "store" / "sample", "*.safetensors")
    begun = {name: len((folder / name / "build" / "attempts").read_text().splitlines()) for name in [video, *others]}
    row = {"killed": "head", "signal": "SIGKILL", "during": f"sample@{video}", "process": f"lnm {' '.join(FAN_OUT)}",
           "after_seconds": round(time.monotonic() - began)} | kill(psutil.Process(head.pid))
    head.wait()
    films = {path: path.stat().st_mtime_ns for path in (folder / video / "store" / "sample").rglob("*.safetensors")}
    head = start(project, *FAN_OUT)
    rows.append(row | {"kept": len(films), "made_again": made_again(head, films)})
    if head.wait():
        raise UserError(f"lnm fan-out failed; {project / 'build' / 'said'} says why")
    rows[1]["of"] = len(list((project / "results" / video / "sample").glob("*/seed_*")))
    return {"kills": rows, "begun": begun, "begun_after_the_second_kill": attempts(
        (project / "build" / "said").read_text(encoding="utf-8")), "seconds": round(time.monotonic() - began)}


def attempts(said: str) -> dict[str, int]:
    """How often each video's task was begun, of what `lnm fan-out` says when it ends."""
    found = re.findall(r"^(\S+): done on \S+ in [^,\n]+(?:, (\d+) attempts)?$", said, re.MULTILINE)
    return {video: int(count or 1) for video, count in found}


# ---------------------------------------------------------------- the bytes


def outs(project: Path) -> dict[str, list[str]]:
    """What the stages of a run gave, by the record that `lnm repro` keeps: {"videos": paths, "shared": paths}."""
    from ruamel.yaml import YAML

    found = YAML(typ="safe", pure=True).load((project / "build" / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    return {kind: sorted(out["path"] for name, stage in found.items() if name not in ASIDE
                         and ("@" in name) == (kind == "videos") for out in stage["outs"])
            for kind in ("videos", "shared")}


def hashes(project: Path, paths: list[str]) -> dict[str, str]:
    """The SHA-256 of every file of these paths, folders with all that is in them."""
    files = [file for path in paths for file in
             (sorted((project / path).rglob("*")) if (project / path).is_dir() else [project / path])]
    return {file.relative_to(project).as_posix(): sha256(file) for file in files if file.is_file()}


def compared(left: Path, right: Path) -> dict[str, Any]:
    """The files of two runs: how many there are in either, how many are equal, and the names of those that are not."""
    row: dict[str, Any] = {}
    mine, theirs = outs(left), outs(right)
    for kind in mine:
        own, other = hashes(left, mine[kind]), hashes(right, theirs[kind])
        differ = sorted(name for name in own.keys() | other.keys() if own.get(name) != other.get(name))
        row[kind] = {"files": len(own.keys() | other.keys()), "equal": len(own.keys() | other.keys()) - len(differ),
                     "differ": differ}
    return row


# ---------------------------------------------------------------- the whole


def measure(videos: list[str]) -> dict[str, Any]:
    """All of it. What a run that was interrupted has finished of the same code is not run again. Raises UserError where
    a command fails."""
    import ray

    from benchmarks.speed import machine

    def git(*words: str) -> str:
        return subprocess.check_output(["git", *words], cwd=REPOSITORY, text=True).strip()

    commit = git("rev-parse", "HEAD")
    about = {"commit": git("log", "-1", "--format=%H", "--", "lnm", "eval", "notebooks"), "videos": videos, "few": FEW,
             "aside": list(ASIDE), "machine": machine("cpu") | {"ray": ray.__version__}}
    parts = PLACE / "parts.json"
    done = json.loads(parts.read_text(encoding="utf-8")) if parts.is_file() else {}
    done = done if {key: done.get(key) for key in about} == about else about
    if "repro" not in done:
        plain, began = clone(PLACE / "repro", commit, videos), time.monotonic()
        if start(plain, "repro").wait():
            raise UserError(f"lnm repro failed; {plain / 'build' / 'said'} says why")
        write_json(parts, done := done | {"repro": {"seconds": round(time.monotonic() - began)}})
        print(f"lnm repro: {done['repro']['seconds']} s", file=sys.stderr, flush=True)
    if "fan_out" not in done:
        project = clone(PLACE / "fan-out", commit, videos)
        write_json(parts, done := done | {"fan_out": killed(project, videos[0], videos[1:])})
    return done | {"compared": compared(PLACE / "repro", PLACE / "fan-out")}


def markdown(record: dict[str, Any]) -> str:
    """docs/many-machines.md's lines of a record."""
    worker, head = record["fan_out"]["kills"]
    begun = ", ".join(f"{video} {count}" for video, count in record["fan_out"]["begun"].items())
    files = ", ".join(f"{row['equal']} of {row['files']} files of {WHOSE[kind]}"
                      for kind, row in record["compared"].items())

    def stayed(row: dict[str, Any]) -> str:
        return f"after half a minute {row['there_after_30_s'] or 'none'} of {row['processes_below']} processes below it"

    lines = [["SIGKILL of", "when", "what it left", "what the run did"], ["---"] * 4,
             ["a worker of Ray's", f"`{worker['during']}`, after {worker['after_seconds']} s",
              f"{worker['kept']} of {worker['of']} steps; {stayed(worker)}",
              f"went on by itself, from step {worker['went_on_from']}; tasks begun: {begun}"],
             ["`lnm fan-out` itself", f"`{head['during']}`, after {head['after_seconds']} s",
              f"{head['kept']} of {head['of']} films; {stayed(head)}",
              f"the same command went on; {head['made_again']} of the films kept were made again"]]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{table}\n\nThe same bytes as `lnm repro`: {files}."


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fan_out", description=__doc__.split("\n\n")[0])
    parser.add_argument("--videos", nargs=2, default=["ocean", "rapids"], metavar="VIDEO",
                        help="of params.yaml; the kills come where the first is")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the table of such a file, and end")
    args = parsed(parser, argv)
    return ended(args, markdown, lambda: measure(args.videos),
                 lambda record: any(row["differ"] for row in record["compared"].values()))


if __name__ == "__main__":
    sys.exit(main())
