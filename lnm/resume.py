"""Checkpoints of a fine-tune between runs: written whole, resumed exactly, one trainer at a time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import safe_open
from safetensors.torch import save_file

from lnm.errors import UserError


class ResumeStore:
    """Checkpoints of one run, in a folder named by all that decides its result; one trainer at a time.

    Raises UserError if another process holds the lock.
    """

    def __init__(self, folder: Path, identity: dict, patience: float = 20.0):
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = folder / key
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(folder / "lock")
        try:
            self.lock.acquire(timeout=patience)
        except Timeout:
            raise UserError(f"{folder}: another fine-tune of this video is running; wait for it or stop it") from None
        for old in folder.iterdir():  # what other settings left behind will not be resumed
            if old.is_dir() and old != self.folder:
                shutil.rmtree(old)
        self.path, self.log = self.folder / "checkpoint.safetensors", self.folder / "log.csv"

    def save(self, step: int, modules: dict[str, dict], optimizer) -> None:
        """Write weights, optimiser and step, whole or not at all."""
        tensors = {f"{name}/{k}": v.detach().cpu().contiguous() for name, ps in modules.items() for k, v in ps.items()}
        for i, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{i}/{k}": v.detach().cpu().contiguous() for k, v in slots.items()}
        part = self.path.with_suffix(".part")
        save_file(tensors, part, metadata={"step": str(step)})
        with part.open("rb") as f:
            os.fsync(f.fileno())
        os.replace(part, self.path)

    def resume(self, modules: dict[str, dict], optimizer) -> int:
        """Restore the last checkpoint and cut the log back to it; the number of steps done, 0 if none."""
        if not self.path.exists():
            self.log.write_text("step,loss,lr,grad_norm\n")
            return 0
        with safe_open(self.path, "pt") as f:
            step = int(f.metadata()["step"])
            tensors = {k: f.get_tensor(k) for k in f.keys()}
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
        rows = self.log.read_text().splitlines()
        self.log.write_text("\n".join([rows[0]] + [r for r in rows[1:] if int(r.split(",")[0]) < step]) + "\n")
        return step

    def write(self, step: int, loss: float, rate: float, norm: float) -> None:
        """A step's line in the log."""
        with self.log.open("a") as f:
            f.write(f"{step},{loss:.6f},{rate:.3e},{norm:.4f}\n")

    def losses(self) -> list[float]:
        """The loss of every step so far."""
        return [float(row.split(",")[1]) for row in self.log.read_text().splitlines()[1:]]

    def close(self, finished: bool) -> None:
        if finished:
            shutil.rmtree(self.folder)
        self.lock.release()
