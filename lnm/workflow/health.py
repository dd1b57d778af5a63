"""What `lnm doctor` looks at: each check gives lines of ok, warn or FAIL, the latter two with a fix."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lnm.demo import footage, networks
from lnm.errors import UserError
from lnm.files import BUILT_IN, as_carried, builtin, sha256, writable_folder
from lnm.workflow.code import read
from lnm.workflow.machine import cores, jobs
from lnm.workflow.params import load
from lnm.workflow.record import torn

PYTHONS = ((3, 11), (3, 13))  # first and last that are tested
DISK = (2, 10)  # GB free: below the first nothing can run, below the second the first set-up (about 6 GB) cannot
MEMORY = (2, 4)  # GiB in all: one notebook, three side by side
OK, WARN, FAIL = "ok", "warn", "FAIL"


@dataclass(frozen=True)
class Line:
    """One line of a check: what was looked at, how it is, what was found and, where it is amiss, the fix."""

    what: str
    status: str
    says: str
    fix: str = ""


def examine(root: Path | None) -> Iterator[Line]:
    """Every check that can be made: of the machine and the installation, and of a project where `root` is one."""
    checks: list[Callable[[], Iterator[Line]]] = [python, machine, gpu]
    if root is None:
        checks += [installed, built_in, no_project]
    else:
        checks += [lambda check=check: check(root)  # type: ignore[misc]
                   for check in (pins, params, dvc, weights, clips, notebooks, git, disk, results)]
    for check in checks:
        yield from check()


def python() -> Iterator[Line]:
    """Its version."""
    found = sys.version_info[:2]
    low, high = (".".join(map(str, one)) for one in PYTHONS)
    fine = PYTHONS[0] <= found <= PYTHONS[1]
    yield Line("Python", OK if fine else FAIL, f"{platform.python_version()} in {sys.prefix}",
               "" if fine else f"use Python {low} to {high}: remove .venv, then `make setup`")


def machine() -> Iterator[Line]:
    """Memory and cores."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    status = FAIL if memory < MEMORY[0] else WARN if memory < MEMORY[1] else OK
    yield Line("memory", status, f"{memory:.1f} GiB, {cores()} cores",
               "" if status == OK else f"{MEMORY[1]} GiB are wanted; `make repro JOBS=1` runs one video at a time")


def gpu() -> Iterator[Line]:
    """Whether torch sees one, and why not where there is one."""
    try:
        import torch  # here: it takes seconds
    except ImportError:
        yield Line("GPU", FAIL, "torch is not installed", "`make setup`")
        return
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        yield Line("GPU", OK, f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB")
        return
    if torch.backends.mps.is_available():
        yield Line("GPU", OK, "Apple's, by mps")
        return
    if shutil.which("nvidia-smi") and subprocess.run(["nvidia-smi", "-L"], capture_output=True).stdout.strip():
        yield Line("GPU", WARN, f"there is one, but torch {torch.__version__} does not see it",
                          "install the torch build that fits its driver (pytorch.org)")
        return
    yield Line("GPU", OK, f"none; on the CPU {jobs('cpu')} videos run side by side")


def pins(root: Path) -> Iterator[Line]:
    """What is installed against requirements.txt."""
    wrong = []
    wanted = re.findall(r"(?m)^([\w.-]+)==(\S+)", _text(root / "requirements.txt"))
    for name, pin in wanted:
        try:
            found = version(name).partition("+")[0]
        except PackageNotFoundError:
            found = "missing"
        if found != pin:
            wrong.append(f"{name} {found} (pinned {pin})")
    if not wanted:
        yield Line("packages", FAIL, "requirements.txt is missing or empty", "`git checkout requirements.txt`")
    elif wrong:
        yield Line("packages", FAIL, f"{len(wrong)} differ: {', '.join(wrong[:5])}{' ...' if wrong[5:] else ''}",
                   "`rm .venv/.stamp; make setup`")
    else:
        yield Line("packages", OK, f"all {len(wanted)} as pinned")


def installed() -> Iterator[Line]:
    """Outside a project: that the stack is there."""
    lacking = []
    for name in ("torch", "diffusers", "transformers", "safetensors", "accelerate", "av"):
        try:
            version(name)
        except PackageNotFoundError:
            lacking.append(name)
    yield Line("packages", FAIL if lacking else OK, f"missing: {', '.join(lacking)}" if lacking else "there",
               "`pip install latentmovies`" if lacking else "")


def built_in() -> Iterator[Line]:
    """Outside a project: the checkpoint that comes with the package, by its hashes."""
    for name in BUILT_IN:
        found = builtin(name)
        try:
            as_carried(found or Path(), "built-in")
        except UserError as error:
            yield Line(name, FAIL, *str(error).removeprefix("built-in: ").rsplit("; ", 1))
            continue
        yield Line(name, OK if found else FAIL, str(found or "not in this installation"),
                   "" if found else "install the wheel again, or name another by --checkpoint")


def no_project() -> Iterator[Line]:
    """Outside a project: that there is more to look at inside one."""
    yield Line("project", OK, "none here or above; inside one its settings, data and results are looked at too")


def params(root: Path) -> Iterator[Line]:
    """params.yaml."""
    try:
        found = load(root / "params.yaml")
    except UserError as error:
        yield Line("params.yaml", FAIL, str(error), "correct it there; `lnm params check`")
    else:
        yield Line("params.yaml", OK, f"{len(found.videos)} videos: {', '.join(found.videos)}")


def dvc(root: Path) -> Iterator[Line]:
    """DVC, its lock, and its remote."""
    try:
        found = version("dvc")
    except PackageNotFoundError:
        yield Line("DVC", FAIL, "not installed", "`make setup`")
        return
    lock = root / ".dvc" / "tmp" / "rwlock"
    if torn(lock):
        yield Line("DVC", FAIL, "its lock file is cut off: it was killed while it wrote it", f"`rm {lock}`")
    else:
        yield Line("DVC", OK, found)
    place = re.search(r"(?m)^\s*url\s*=\s*(\S+)", _text(root / ".dvc" / "config"))
    remote = (root / ".dvc" / place[1]).resolve() if place and "://" not in place[1] else None
    if place is None:
        yield Line("DVC remote", FAIL, "none is named in .dvc/config", "`git checkout .dvc/config`")
    elif remote is None:
        yield Line("DVC remote", OK, f"{place[1]} (not looked at)")
    else:
        count = sum(1 for file in remote.glob("files/md5/*/*") if file.is_file())
        yield Line("DVC remote", OK if count else FAIL, f"{count} files in {remote.name}/" if count else
                   f"{remote} is not there or empty", "" if count else "`git checkout dvcstore`")


def weights(root: Path) -> Iterator[Line]:
    """The built-in checkpoint and clips against the hashes that git holds."""
    for name, wanted in _recorded(root).items():
        folder = root / name
        if not folder.is_dir():
            yield Line(name, FAIL, "not there", "`make data`")
        elif dvc_hash(folder) != wanted:
            yield Line(name, FAIL, "its files are not those that git names", f"`rm -r {name}; make data`")
        else:
            yield Line(name, OK, f"as git has it (md5 {wanted[:12]})")


def _recorded(root: Path) -> dict[str, str]:
    """{folder: DVC's hash} of what is carried: data.dvc and the built-in weights' stages in dvc.lock."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    shared = yaml.load(_text(root / "data.dvc")) or {}
    stages = (yaml.load(_text(root / "dvc.lock")) or {}).get("stages") or {}
    built = [stages.get(name, {}) for name in ("lnm-mini", "lnm-mini-motion", "lnm-mini-decoder")]
    found: list[dict[str, Any]] = [*shared.get("outs", []), *(out for stage in built for out in stage.get("outs", []))]
    return {out["path"]: out["md5"] for out in found}


def dvc_hash(folder: Path) -> str:
    """A folder's hash as DVC reckons it: of the list of its files and their md5."""
    files = [{"md5": hashlib.md5(file.read_bytes()).hexdigest(), "relpath": file.relative_to(folder).as_posix()}
             for file in folder.rglob("*") if file.is_file()]
    text = json.dumps(sorted(files, key=lambda one: one["relpath"]), sort_keys=True)
    return hashlib.md5(text.encode()).hexdigest() + ".dir"


def clips(root: Path) -> Iterator[Line]:
    """Real footage and the weights that the harness measures with, by their hashes."""
    files = {root / "footage" / f"{name}.mp4": clip.sha256 for name, clip in footage.CATALOGUE.items()}
    files[root / "weights" / footage.INCEPTION_FILE] = footage.INCEPTION_SHA256
    files |= {root / "weights" / network.file: network.sha256 for network in networks.NETWORKS}
    lacking = [path.name for path in files if not path.is_file()]
    wrong = [path.name for path, wanted in files.items() if path.is_file() and sha256(path) != wanted]
    if wrong:
        yield Line("footage", FAIL, f"other files than they should be: {', '.join(wrong)}",
                   "delete them, then `make data`")
    elif lacking:
        yield Line("footage", WARN, f"not fetched yet: {', '.join(lacking)}", "`make data` (needs the network, once)")
    else:
        yield Line("footage", OK, f"{len(footage.CATALOGUE)} clips and {len(files) - len(footage.CATALOGUE)} networks' "
                   "weights, as their hashes say")


def notebooks(root: Path) -> Iterator[Line]:
    """One tagged cell of parameters each where a video is asked for, and no outputs in git."""
    files = sorted((root / "notebooks").glob("*.ipynb"))
    bad = {}
    for file in files:
        try:
            cells = read(file)["cells"]
        except UserError as error:
            bad[file.name] = str(error)
            continue
        tagged = sum("parameters" in cell["metadata"].get("tags", []) for cell in cells)
        if tagged != 1:
            bad[file.name] = f"{tagged} cells are tagged `parameters`, one should be"
        elif any(cell.get("outputs") for cell in cells):
            bad[file.name] = ""
    for name, fault in bad.items():
        yield Line("notebooks", FAIL if fault else WARN, f"{name}: {fault or 'holds outputs'}",
                   f"`git checkout notebooks/{name}`" if fault else "`make strip` before a commit")
    if not bad:
        yield Line("notebooks", OK if files else FAIL, f"{len(files)}, tagged and without outputs" if files else "none",
                   "" if files else "`git checkout notebooks`")


def git(root: Path) -> Iterator[Line]:
    """What is changed and not committed; DVC's experiments start from the last commit."""
    if not shutil.which("git"):
        yield Line("git", WARN, "not installed", "install git: `dvc exp` and `dvc metrics diff` need it")
        return
    run = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True)
    if run.returncode:
        yield Line("git", WARN, "this folder is no repository", "clone it: `dvc exp` and `dvc metrics diff` need it")
        return
    changed = [line[3:] for line in run.stdout.splitlines()]
    some = ", ".join(changed[:5]) + (" ..." if changed[5:] else "")
    yield Line("git", WARN if changed else OK, f"changed: {some}" if changed else "nothing is changed",
               "commit or undo it, so that a run can be told from its commit" if changed else "")


def disk(root: Path) -> Iterator[Line]:
    """Room for what a run writes."""
    free = shutil.disk_usage(root).free / 1e9
    status = FAIL if free < DISK[0] else WARN if free < DISK[1] else OK
    yield Line("disk", status, f"{free:.0f} GB free",
               "" if status == OK else f"{DISK[1]} GB are wanted; `make clean` and `dvc gc --workspace` free some")


def results(root: Path) -> Iterator[Line]:
    """What runs write: that they can, and that the temporal layers they left are whole."""
    from lnm.temporal_file import read_temporal  # here: it takes seconds

    try:
        for name in ("results", "store", "build"):
            writable_folder(root / name, "the folder")
    except UserError as error:
        yield Line("results", FAIL, str(error), "let it be written to (permissions, mount), or clone to elsewhere")
        return
    files, wrong = sorted((root / "results").glob("*/finetune/**/temporal.safetensors")), []
    for file in files:
        try:
            read_temporal(file)
        except UserError:
            wrong.append(file.relative_to(root).as_posix())
    yield Line("results", FAIL if wrong else OK, f"damaged or of another version: {', '.join(wrong)}" if wrong else
               f"can be written; {len(files)} files of temporal layers, whole" if files else "can be written; none yet",
               f"`rm {' '.join(wrong)}; make repro`" if wrong else "")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
