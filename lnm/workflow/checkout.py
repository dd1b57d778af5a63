"""Checkouts of the project: folders in which the stages of one video run apart from all others, on DVC's one cache.

What DVC must find unchanged while a stage runs (code, notebooks, dvc.yaml, params.yaml) is copied, so that an edit in
the project does not reach a run that has begun. What is only read (clips, checkpoints, footage, weights, inputs) is
linked. Results, resume store, lock file and DVC's own locks are each checkout's own; the cache is the project's, so
that what one checkout has computed DVC restores in any other, and in the project itself.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lnm.errors import UserError
from lnm.files import write_json
from lnm.workflow.commit import UNKNOWN
from lnm.workflow.params import Params, load

CODE = ("lnm", "eval", "notebooks")
OWN = {"build", "results", "store"}  # of each checkout


@dataclass(frozen=True)
class Cell:
    """One setting of a grid: what is set in params.yaml, as `dvc exp run -S` takes it; nothing: the project's own."""

    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of its folder: readable, and of its own by a hash."""
        text = ",".join(self.overrides)
        short = re.sub(r"[^\w.=,-]+", "_", text).strip("_")[:60]
        return f"{short}-{hashlib.sha256(text.encode()).hexdigest()[:8]}" if text else "params"

    @property
    def settings(self) -> dict[str, str]:
        """{key: value}, as they were written."""
        pairs = (text.partition("=") for text in self.overrides)
        return {key.lstrip("+"): value for key, _, value in pairs}

    def write(self, source: Path, target: Path) -> None:
        """params.yaml with what is set. Raises UserError naming the key."""
        from dvc.exceptions import DvcException
        from dvc.utils.hydra import apply_overrides

        shutil.copyfile(source, target)
        if self.overrides:
            try:
                apply_overrides(target, list(self.overrides))
            except DvcException as error:
                why = " ".join(str(error.__cause__ or error).split("\n")[0].split())
                raise UserError(f"--set {' '.join(self.overrides)}: {why}; a key that params.yaml leaves out is added "
                                "by +KEY=VALUE") from None


def grid(root: Path, given: Sequence[str]) -> dict[Cell, Params]:
    """The cells of KEY=VALUE,VALUE ..., every value with every other, each checked. Without any: params.yaml as it is.

    Raises UserError for a text that is none, and for a key or a value that params.yaml does not take.
    """
    if not given:
        return {Cell(): load(root / "params.yaml")}
    from dvc.utils.hydra import get_hydra_sweeps

    for text in given:
        if "=" not in text:
            raise UserError(f"--set {text}: give KEY=VALUE,VALUE, such as finetune.learning_rate=1e-4,2e-4")
    try:
        sweeps = get_hydra_sweeps({"params.yaml": list(given)})
    except Exception as error:  # of the parser behind DVC, whose errors it passes on
        raise UserError(f"--set {' '.join(given)}: {' '.join(str(error).split())}; "
                        "give KEY=VALUE,VALUE as `dvc exp run -S` takes it") from None
    cells: dict[Cell, Params] = {}
    with tempfile.TemporaryDirectory() as folder:
        for sweep in sweeps:
            cell, path = Cell(tuple(sweep["params.yaml"])), Path(folder) / "params.yaml"
            cell.write(root / "params.yaml", path)
            try:
                cells[cell] = load(path)
            except UserError as error:
                raise UserError(f"--set {' '.join(cell.overrides)}: {error}") from None
    return cells


def make(root: Path, folder: Path, cell: Cell, video: str, cache: Path) -> Path:
    """A checkout of `root` for one video in `folder`, or the one that is there brought up to date: what it has computed
    stays. Its params.yaml has this video alone: DVC looks at the stages of all that are there, each time.

    cache: the project's cache folder of DVC. The project's build/code must be up to date. Returns `folder`.
    """
    (folder / "build").mkdir(parents=True, exist_ok=True)
    for entry in root.iterdir():
        there = folder / entry.name
        if entry.name in OWN or (entry.name.startswith(".") and entry.name != ".dvcignore"):
            continue
        if entry.name in CODE:
            _copy(entry, there)
        elif entry.is_dir():
            if not there.is_symlink():
                there.symlink_to(entry.resolve())
        elif entry.name == "params.yaml":
            cell.write(entry, there)
            _only(there, video)
        elif entry.name != "dvc.lock":  # a checkout's own says what it has computed
            shutil.copyfile(entry, there)
    _copy(root / "build" / "code", folder / "build" / "code")
    _configure(folder, cache)
    return folder


def _only(path: Path, video: str) -> None:
    """A params.yaml without the other videos."""
    from ruamel.yaml import YAML

    yaml = YAML(pure=True)
    data = yaml.load(path.read_text(encoding="utf-8"))
    data["videos"] = {video: data["videos"][video]}
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(data, file)


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))


def _configure(folder: Path, cache: Path) -> None:
    """DVC's settings of a checkout: no Git, the project's cache, results linked into it where the file system can."""
    from dvc.config import Config

    (folder / ".dvc").mkdir(exist_ok=True)
    (folder / ".dvc" / "config").touch()
    with Config(dvc_dir=str(folder / ".dvc")).edit("repo") as config:
        config["core"] = {"no_scm": True, "analytics": False, "check_update": False}
        config["cache"] = {"dir": str(cache), "type": "reflink,hardlink,copy"}


def cache_of(root: Path) -> Path:
    """The folder of a project's DVC cache."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        return Path(repo.cache.local.path).parents[1]  # .../files/md5


def take_notes(checkout: Path, root: Path, commit: str) -> None:
    """The notes of which commit the stages of a checkout were run at, for the project that restores their results.
    commit: what the checkout was made of, " and changes" included, which it has no Git of its own to see."""
    notes, own = checkout / "build" / "commits", (UNKNOWN, commit.removesuffix(" and changes"))
    for path in sorted(notes.rglob("*.json")):
        note = json.loads(path.read_text(encoding="utf-8"))
        if not path.name.endswith(".choices.json") and note["commit"] in own:
            note["commit"] = commit
        write_json(root / "build" / "commits" / path.relative_to(notes), note)
