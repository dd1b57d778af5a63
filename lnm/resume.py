"""The resume store: checkpoints of a fine-tune between runs, written whole, resumed exactly, one trainer at a time."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors.torch import save_file

from lnm.errors import UserError
from lnm.files import made, named, whole
from lnm.tensors import SUM, checksum, read

FIELDS = ("step", "loss", "lr", "grad_norm")  # of the log
LOG_HEADER = ",".join(FIELDS) + "\n"


class ResumeStore:
    """Checkpoints of one run, in a folder named by all that decides its result.

    folder: of all runs of this video; checkpoints that other settings left there are deleted, and nothing else.
    identity: all that decides the result, as json values. main: whether this process writes; of several that train
    together one does, and it alone holds the lock. fields: of the log, FIELDS and whatever a run writes after them.
    Raises UserError if another run holds it for longer than `patience` seconds.
    """

    def __init__(self, folder: Path, identity: dict, patience: float = 20.0, main: bool = True,
                 fields: tuple[str, ...] = FIELDS):
        self.header = ",".join(fields) + "\n"
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        self.folder, self.main = folder / key, main
        made(self.folder)
        self.path, self.log = self.folder / "checkpoint.safetensors", self.folder / "log.csv"
        if not main:
            return
        self.lock = FileLock(folder / "lock")
        try:
            self.lock.acquire(timeout=patience)
        except Timeout:
            raise UserError(f"{folder}: another training uses this folder; wait for it or stop it") from None
        for old in folder.iterdir():  # what other settings left behind will not be resumed; all else is the user's
            if old.is_dir() and old != self.folder and re.fullmatch(r"[0-9a-f]{16}", old.name):
                shutil.rmtree(old)

    def save(self, step: int, modules: dict[str, dict], optimizer: Any, scaler: dict[str, Any] | None = None) -> None:
        """Write weights, optimiser, loss scale and step, whole or not at all."""
        if not self.main:
            return
        tensors = {f"{name}/{k}": v.detach().cpu().contiguous() for name, ps in modules.items() for k, v in ps.items()}
        for i, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{i}/{k}": v.detach().cpu().contiguous() for k, v in slots.items()}
        about = {"step": str(step), "scaler": json.dumps(scaler)}
        tensors["about"] = _bytes(about)  # among the tensors, whose checksum it has then part in
        about[SUM] = checksum(tensors)
        with whole(self.path) as part:
            save_file(tensors, part, metadata=about)
            with part.open("rb") as f:
                os.fsync(f.fileno())

    def resume(self, modules: dict[str, dict], optimizer: Any) -> tuple[int, dict[str, Any] | None]:
        """Restore the last checkpoint and cut the log back to it: the number of steps done, and the loss scale.

        (0, None) where there is no checkpoint. Raises UserError for one that is damaged: it is never gone on from.
        """
        if not self.path.exists():
            if self.main:
                self._put_log([])
            return 0, None
        anew = f"delete {self.folder}, and the same command starts from the beginning"
        tensors, about = read(self.path, anew)
        said = {key: about.get(key) for key in ("step", "scaler")}
        if not torch.equal(tensors.pop("about", torch.empty(0)), _bytes(said)):
            raise UserError(f"{self.path}: damaged: the step that it names is not that of its weights; {anew}")
        step, scaler = int(about["step"]), json.loads(about["scaler"])
        with torch.no_grad():
            for name, ps in modules.items():
                for k, p in ps.items():
                    p.copy_(tensors[f"{name}/{k}"])
        state = optimizer.state_dict()
        for k, v in tensors.items():
            if k.startswith("optimizer/"):
                _, i, slot = k.split("/")
                state["state"].setdefault(int(i), {})[slot] = v
        optimizer.load_state_dict(state)
        if self.main:
            self._put_log(self._rows(step, anew))
        return step, scaler

    def _rows(self, steps: int, anew: str) -> list[str]:
        """The log's first lines, one a step, from step 0. Raises UserError where some are missing or damaged."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.is_file() else ""
        rows = text.splitlines()[1:][:steps]
        if len(rows) < steps:
            raise UserError(f"{self.log}: lacks steps that the checkpoint beside it holds; {anew}")
        for step, row in enumerate(rows):
            if not (row.startswith(f"{step},") and _numbers(row, self.header.count(",") + 1)):
                raise UserError(f"{self.log}: damaged: line {step + 2} is no step's; {anew}")
        return rows

    def _put_log(self, rows: list[str]) -> None:
        with whole(self.log) as part:
            part.write_text(self.header + "".join(f"{row}\n" for row in rows))

    def write(self, step: int, loss: float, rate: float, norm: float, *more: str) -> None:
        """A step's line in the log. more: of the fields after the first four."""
        if self.main:
            with named(self.log), self.log.open("a") as f:
                f.write(",".join([f"{step},{loss:.6f},{rate:.3e},{norm:.4f}", *more]) + "\n")

    def losses(self) -> list[float]:
        """The loss of every step that the log holds."""
        return [float(row.split(",")[1]) for row in self.log.read_text().splitlines()[1:]]

    def close(self, finished: bool) -> None:
        """Let go of the lock; a finished run leaves nothing to resume."""
        if self.main:
            if finished:
                self.path.unlink(missing_ok=True)  # first: what a kill leaves of the rest is not gone on from
                shutil.rmtree(self.folder)
            self.lock.release()


def _bytes(about: dict[str, Any]) -> torch.Tensor:
    """What a checkpoint says of itself, uint8 (n,)."""
    return torch.tensor(list(json.dumps(about, sort_keys=True).encode()), dtype=torch.uint8)


def _numbers(row: str, count: int) -> bool:
    """Whether a line of the log has so many fields, FIELDS first, all of them numbers; further ones may be empty."""
    fields = row.split(",")
    try:
        list(map(float, [*fields[:len(FIELDS)], *filter(None, fields[len(FIELDS):])]))
    except ValueError:
        return False
    return len(fields) == count


@contextmanager
def together() -> Iterator[list[ResumeStore]]:
    """The stores of trainings that follow one another, to be put into the list: what they hold goes once all is done,
    so that an interruption of the last takes none of the first again."""
    stores: list[ResumeStore] = []
    finished = False
    try:
        yield stores
        finished = True
    finally:
        for store in stores:
            store.close(finished)
