"""Files of weights before they are opened: whether they can be had, are whole, and fit into memory."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

import psutil
import torch

from lnm.errors import UserError

BOUNDARY = 64  # bytes; where torch puts what it makes itself
LFS = b"version "  # how a file begins that stands for one in Git LFS; no head is that long


def head(path: Path, label: str | None = None) -> dict[str, dict[str, Any]]:
    """What a safetensors file holds, by its first bytes alone: {name: {"dtype", "shape", "data_offsets"}}.

    The format: 8 bytes with the length of a JSON head, the head, the numbers. label: what the file is called in
    messages. Raises UserError for a file that is cut off or none.
    """
    label, size = label or str(path), path.stat().st_size
    with path.open("rb") as stream:
        first = stream.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        text = stream.read(length) if length <= size else b""
    if first == LFS:
        raise UserError(f"{label} cannot be opened: it stands for a file in Git LFS; `git lfs pull` brings that")
    try:
        tensors = {k: v for k, v in json.loads(text).items() if k != "__metadata__"}
        whole = 8 + length + max((v["data_offsets"][1] for v in tensors.values()), default=0)
    except (ValueError, AttributeError, KeyError, TypeError):
        raise UserError(f"{label} cannot be opened: it is no safetensors file, or its head is cut off; fetch it "
                        "again") from None
    if size < whole:
        raise UserError(f"{label} cannot be opened: it is cut off, {amount(size)} of {amount(whole)}; fetch it again")
    return tensors


def count(tensors: Iterable[dict[str, Any]]) -> int:
    """How many numbers some tensors of a `head` hold."""
    return sum(prod(tensor["shape"]) for tensor in tensors)


def amount(size: int) -> str:
    """Bytes as a person reads them."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size:,} bytes"


def aligned(module: torch.nn.Module) -> torch.nn.Module:
    """The module, its weights in the CPU's memory moved to whole multiples of `BOUNDARY`.

    Those of a file that is mapped into memory begin wherever its head ends, and the last bit of a matrix product hangs
    on that on some CPUs: the same weights, copied or saved anew, would give other films.
    """
    for weights in (*module.parameters(), *module.buffers()):
        if weights.device.type == "cpu" and weights.data_ptr() % BOUNDARY:
            weights.data = weights.data.clone()
    return module


def free_memory(device: str = "cpu") -> int:
    """Bytes that a device has left; of the CPU with what the swap has left."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available + psutil.swap_memory().free


def check_memory(name: str, numbers: int, dtype: torch.dtype, device: str) -> None:
    """Raise UserError where weights of so many numbers would not fit: they come by way of the CPU's memory."""
    needed = numbers * dtype.itemsize
    for place in dict.fromkeys(("cpu", device)):
        free = free_memory(place)
        if needed > free:
            raise UserError(f"checkpoint.name: {name}: its weights take {amount(needed)} in "
                            f"{str(dtype).removeprefix('torch.')}, and {amount(free)} of memory are free on {place}; "
                            "end what else runs there, or open a smaller checkpoint or half precision (torch_dtype)")


def hub_refusal(error: Exception, name: str, revision: str | None) -> str | None:
    """What the model hub answered to a request that it did not meet, and what helps; None where it gave no answer."""
    from huggingface_hub.errors import (  # here: a local folder needs none of it
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, RevisionNotFoundError):
        return (f"{name} has no revision {revision} on the model hub; give a commit or a branch that its page lists, "
                "or none")
    if isinstance(error, GatedRepoError):
        return (f"{name}: the model hub gives it to those alone who have accepted its licence; accept it on its page, "
                "then `hf auth login`")
    if isinstance(error, RepositoryNotFoundError):
        return f"{name}: the model hub has no such model, or it is private; correct the name, or `hf auth login`"
    return None
