"""The resume store: checkpoints of a fine-tune between runs, written whole, resumed exactly, one trainer at a time."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import safe_open
from safetensors.torch import save_file

from lnm.errors import UserError

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
        self.folder.mkdir(parents=True, exist_ok=True)
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
        part = self.path.with_suffix(".part")
        save_file(tensors, part, metadata={"step": str(step), "scaler": json.dumps(scaler)})
        with part.open("rb") as f:
            os.fsync(f.fileno())
        os.replace(part, self.path)

    def resume(self, modules: dict[str, dict], optimizer: Any) -> tuple[int, dict[str, Any] | None]:
        """Restore the last checkpoint and cut the log back to it: the number of steps done, and the loss scale.

        (0, None) where there is no checkpoint.
        """
        if not self.path.exists():
            if self.main:
                self.log.write_text(self.header)
            return 0, None
        with safe_open(self.path, "pt") as f:
            step, scaler = int(f.metadata()["step"]), json.loads(f.metadata()["scaler"])
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 - a safetensors file is no mapping
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
            rows = self.log.read_text().splitlines()[1:]  # one a step, from step 0
            self.log.write_text(self.header + "".join(f"{row}\n" for row in rows[:step]))
        return step, scaler

    def write(self, step: int, loss: float, rate: float, norm: float, *more: str) -> None:
        """A step's line in the log. more: of the fields after the first four."""
        if self.main:
            with self.log.open("a") as f:
                f.write(",".join([f"{step},{loss:.6f},{rate:.3e},{norm:.4f}", *more]) + "\n")

    def losses(self) -> list[float]:
        """The loss of every step that the log holds."""
        return [float(row.split(",")[1]) for row in self.log.read_text().splitlines()[1:]]

    def close(self, finished: bool) -> None:
        """Let go of the lock; a finished run leaves nothing to resume."""
        if self.main:
            if finished:
                shutil.rmtree(self.folder)
            self.lock.release()
