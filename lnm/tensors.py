"""Tensors on disk: safetensors files alone, written whole, known again by a checksum, refused where damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lnm.errors import UserError, shortened
from lnm.files import regular_file, whole

SUM = "lnm_sha256"  # the metadata's key
PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle", ".npy", ".npz")
HEADS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # of torch's archives and of bare pickles


def checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of tensors by their names, types, shapes and bytes, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)} ".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write(path: Path | str, tensors: dict[str, torch.Tensor]) -> None:
    """Write tensors whole or not at all, with their checksum. Raises UserError for a full disk and the like."""
    with whole(path) as part:
        save_file(tensors, part, metadata={SUM: checksum(tensors)})


def read(path: Path | str, fix: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors by name and the metadata of a safetensors file. Nothing is unpickled.

    fix: what to do about a file that cannot be used. Raises UserError for one that is not there, a pickle, cut off, or
    that has a checksum (in its metadata, or in the json under "lnm" there) and other bytes.
    """
    path = regular_file(path, fix=fix)
    refuse_pickle(path, fix)
    try:
        with safe_open(path, "pt") as f:
            about = f.metadata() or {}
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 - a safetensors file is no mapping
        inner = json.loads(about.get("lnm", "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({shortened(error)}); {fix}") from None
    said = about.get(SUM) or (inner.get(SUM) if isinstance(inner, dict) else None)
    if said is not None and said != checksum(tensors):
        raise UserError(f"{path}: damaged: its tensors are not those that were written (by their checksum); {fix}")
    return tensors, about


def refuse_pickle(path: Path, fix: str) -> None:
    """Raise UserError for a pickle, by its name or its first bytes: opening one can run code."""
    with path.open("rb") as stream:
        head = stream.read(4)
    if path.suffix in PICKLES or head.startswith(HEADS):
        raise UserError(f"{path}: is a pickle, which can run code when it is opened; {fix}")
