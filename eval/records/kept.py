"""Inception features of a reference, kept in a file: it is scored against again without its frames and their cost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lnm.errors import UserError

SUFFIX = ".safetensors"
KIND = "latentmovies reference 1"


def is_kept(source) -> bool:
    """Whether a reference is such a file, by its name."""
    return isinstance(source, (str, Path)) and Path(source).suffix == SUFFIX


def keep(path: str | Path, features: np.ndarray, sha256: str, size: tuple[int, int]) -> None:
    """Write features (N, d) of the network whose weights' hash is `sha256`, of frames of `size` (height, width)."""
    from safetensors.numpy import save_file

    about = {"kind": KIND, "weights": sha256, "size": json.dumps(list(size))}
    save_file({"features": np.asarray(features, np.float32)}, path, metadata=about)


def load(path: str | Path, sha256: str | None, size: tuple[int, int] | None) -> np.ndarray:
    """The features (N, d). Raises UserError where the file is none of these, or of another network or size than
    `sha256` and `size` say; None leaves either unchecked."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise UserError(f"--reference {path}: no such file")
    try:
        with safe_open(path, "np") as opened:
            about = opened.metadata() or {}
            if about.get("kind") != KIND:
                raise UserError(f"--reference {path}: no reference that --cache-reference wrote; write it again")
            features = opened.get_tensor("features")
    except (OSError, SafetensorError):
        raise UserError(f"--reference {path}: not a safetensors file: write it with --cache-reference") from None
    if sha256 and about["weights"] != sha256:
        raise UserError(f"--reference {path}: of other Inception weights ({about['weights'][:12]}) than those here "
                        f"({sha256[:12]}): write it again")
    if size and list(size) != json.loads(about["size"]):
        height, width = json.loads(about["size"])
        raise UserError(f"--reference {path}: of frames of {width} x {height}, these are {size[1]} x {size[0]}: FID of "
                        "two sizes does not compare")
    return features
