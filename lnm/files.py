"""Files written whole or not at all, and their content hashes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

BUILT_IN = ("lnm-mini", "lnm-mini-clip", "lnm-mini-motion", "lnm-mini-decoder")


def write_json(path: Path, data: Any) -> None:
    """Write JSON whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, path)


def sha256(path: Path) -> str:
    """Content hash of a file, or of a folder's files by their relative names (hidden ones left out)."""
    if path.is_dir():
        whole = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            name = file.relative_to(path)
            if not any(part.startswith(".") for part in name.parts):
                whole.update(f"{name.as_posix()} {sha256(file)}\n".encode())
        return whole.hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cache_folder() -> Path:
    """Where what can be made or fetched again is kept between runs of a user: $XDG_CACHE_HOME/latentmovies, or
    ~/.cache/latentmovies."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "latentmovies"


def builtin(name: str) -> Path | None:
    """The folder of one of BUILT_IN: inside the installed package, or in the project it is run from."""
    if name not in BUILT_IN:
        return None
    here = Path(__file__).resolve().parent
    return next((f for f in (here / "demo" / "weights" / name, here.parent / "checkpoints" / name) if f.is_dir()), None)
