"""Films that an interrupted sampling leaves to the next one, which then gives the same bytes: each whole, in a folder
that is named by all that decides it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lnm
from lnm import tensors
from lnm.errors import UserError
from lnm.files import builtin, sha256


class KeptFilms:
    """Films of one run of the sample stage, kept until all of them are there.

    folder: of all runs of this video; films that other settings, files or code left there are deleted, and nothing
    else. None: nothing is kept. files: those that decide the films, None for what there is not; of a folder every file.
    decided: what else decides them, as json values.
    """

    def __init__(self, folder: Path | None, files: Iterable[Path | str | None] = (), *decided: Any):
        self.folder = None
        if folder is None:
            return
        hashes = [sha256(Path(file)) if file and Path(file).exists() else None for file in files]
        told = json.dumps([hashes, *decided, _code()], sort_keys=True)
        self.folder = folder / hashlib.sha256(told.encode()).hexdigest()[:16]
        for old in folder.iterdir() if folder.is_dir() else ():
            if old.is_dir() and old != self.folder and re.fullmatch(r"[0-9a-f]{16}", old.name):
                shutil.rmtree(old)

    def film(self, method: str, k: int) -> np.ndarray | None:
        """A film uint8 (F, H, W, 3) as an interrupted run left it; None where it left none, or its file is damaged."""
        if self.folder is not None and (path := self._file(method, k)).is_file():
            with suppress(UserError):
                return tensors.read(path, "it is made again")[0]["film"].numpy()
        return None

    def keep(self, method: str, k: int, film: np.ndarray) -> None:
        """Keeps a film, whole or not at all. Raises UserError for a full disk and the like."""
        if self.folder is not None:
            tensors.write(self._file(method, k), {"film": torch.from_numpy(np.ascontiguousarray(film))})

    def done(self) -> None:
        """All films are where they belong: nothing is kept any more."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, method: str, k: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{method}_{k}.safetensors"


def weights(checkpoint: str) -> Path | None:
    """The folder or file of a checkpoint; None for one of a model hub, which its revision pins."""
    path = builtin(checkpoint) or Path(checkpoint).expanduser()
    return path if path.exists() else None


def _code() -> str:
    """A hash of this package: a film of other code may be another."""
    folder, digest = Path(lnm.__file__).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n".encode())
    return digest.hexdigest()
