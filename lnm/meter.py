"""How many bytes are held: by tensors that are made inside, by a device, by this process."""

from __future__ import annotations

import ctypes
import gc
import weakref
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Live(TorchDispatchMode):
    """Bytes of the tensors that were made inside and are alive: `now`, and the `most` there were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self.known:
                    self.known.add(key)
                    self.now += size
                    self.most = max(self.most, self.now)
                    weakref.finalize(storage, self._free, key, size)
        return out

    def _free(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


class Peak:
    """Bytes that a device, or on a CPU this process, held at most inside above what it held before: `bytes`; None where
    that is not to be known (Linux and CUDA tell)."""

    def __init__(self, device: torch.device):
        self.device = device
        self.bytes: int | None = 0
        self.before: int | None = None

    def __enter__(self) -> Peak:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device)
        elif self.device.type == "cpu":
            self.before = settle()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.before is None:
            self.bytes = None
        elif self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self.device) - self.before
        else:
            self.bytes = status("VmHWM") - self.before


def settle() -> int | None:
    """Give what is freed back to the system and forget the highest mark so far; bytes held. None without Linux."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        return status("VmRSS")
    except OSError:
        return None


def status(name: str) -> int:
    """Bytes of a line of this process's status under Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
