"""Which commit a stage was run at and what it was told, noted beside its results and outside what DVC hashes.

An executed notebook holds no commit: the same run gives the same bytes at any commit, so no stage reruns for one. The
note stands in build/commits/, under the notebook's own path, and names the notebook by hash: where DVC brings back an
older copy, or a person replaces it, the note is of another file and is not believed. Beside the note stands a copy of
the choices that the stage was run with: build/resolve has those of params.yaml as it is now.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from lnm.files import sha256, write_json

UNKNOWN = "unknown"
CODE = ("lnm", "eval", "notebooks")  # dvc.lock and params.yaml change during a run, and are hashed on their own


def head(root: Path) -> str:
    """The commit checked out at `root`, with " and changes" where the code is not as it has it; "unknown" without git,
    a repository or a commit."""
    try:
        answer = _git(root, "rev-parse", "HEAD")
        if answer.returncode != 0:
            return UNKNOWN
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *CODE)
    except OSError:
        return UNKNOWN
    return answer.stdout.strip() + (" and changes" if changed.stdout.strip() else "")


def resolved(root: Path, notebook: Path, video: str | None) -> dict[str, Any] | None:
    """What a stage's notebook is told: its json in build/resolve as it stands; None where it has none there."""
    stage = notebook.stem.lstrip("0123456789_")
    path = root / "build" / "resolve" / (video or "") / f"{stage}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def note(root: Path, executed: Path, commit: str, choices: dict[str, Any] | None = None) -> None:
    """Notes that `executed`, a notebook somewhere under `root`, was made at `commit`, told `choices`; elsewhere nothing
    is noted."""
    if executed.resolve().is_relative_to(root.resolve()):
        _told(root, executed).unlink(missing_ok=True)  # of the run before
        write_json(_place(root, executed), {"commit": commit, "sha256": sha256(executed)})
        if choices is not None:
            write_json(_told(root, executed), choices)


def noted(root: Path, executed: Path) -> str | None:
    """The commit that an executed notebook was made at; None where it was not noted, or of another copy."""
    try:
        found = json.loads(_place(root, executed).read_text(encoding="utf-8"))
        return found["commit"] if found["sha256"] == sha256(executed) else None
    except (OSError, ValueError, KeyError):
        return None


def told(root: Path, executed: Path) -> Path | None:
    """The copy of the choices that an executed notebook was made with; None where it was not noted, or of another
    copy of the notebook."""
    path = _told(root, executed)
    return path if noted(root, executed) is not None and path.is_file() else None


def _told(root: Path, executed: Path) -> Path:
    return _place(root, executed).with_suffix(".choices.json")


def _place(root: Path, executed: Path) -> Path:
    name = executed.resolve().relative_to(root.resolve())
    return root / "build" / "commits" / name.with_suffix(".json")


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
