"""Inception features of a reference, kept in a file: it is scored against again without its frames and their cost."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from lnm.errors import UserError
from lnm.files import regular_file, whole

SUFFIX = ".safetensors"
KIND = "latentmovies reference 2"  # 2: with the libraries that the features come of


def is_kept(source) -> bool:
    """Whether a reference is such a file, by its name."""
    return isinstance(source, (str, Path)) and Path(source).suffix == SUFFIX


def keep(path: str | Path, features: np.ndarray, sha256: str, version: str, size: tuple[int, int]) -> None:
    """Write features (N, d) of the network whose weights' hash is `sha256`, of frames of `size` (height, width).
    version: the libraries and the preprocessing that made them, as extractors name theirs."""
    from safetensors.numpy import save_file

    features = np.asarray(features, np.float32)
    about = {"kind": KIND, "weights": sha256, "version": version, "size": list(size), "sum": _sum(features)}
    with whole(path) as part:  # one key: safetensors writes several in an order of its own
        save_file({"features": features}, part, metadata={"lnm": json.dumps(about, sort_keys=True)})


def _sum(features: np.ndarray) -> str:
    return hashlib.sha256(f"{features.dtype} {features.shape} ".encode() + features.tobytes()).hexdigest()


def load(path: str | Path, sha256: str | None = None, version: str | None = None,
         size: tuple[int, int] | None = None) -> np.ndarray:
    """The features (N, d). Raises UserError where the file is none of these, or of another network, other libraries or
    another size than `sha256`, `version` and `size` say; None leaves any of them unchecked."""
    from safetensors import SafetensorError, safe_open

    path = regular_file(path, "--reference")
    try:
        with safe_open(path, "np") as opened:
            about = json.loads((opened.metadata() or {}).get("lnm", "{}"))
            if about.get("kind") != KIND:
                raise UserError(f"--reference {path}: not written by this version: write it with --cache-reference")
            features = opened.get_tensor("features")
            wide, weights, made_by, said = (about[key] for key in ("size", "weights", "version", "sum"))
    except (OSError, SafetensorError, ValueError, KeyError, AttributeError, TypeError):
        raise UserError(f"--reference {path}: not a safetensors file: write it with --cache-reference") from None
    if features.ndim != 2 or not np.isfinite(features).all() or said != _sum(features):
        raise UserError(f"--reference {path}: its features are damaged: write it with --cache-reference")
    if sha256 and weights != sha256:
        raise UserError(f"--reference {path}: of other Inception weights ({weights[:12]}) than those here "
                        f"({sha256[:12]}): write it again")
    if version and made_by != version:
        raise UserError(f"--reference {path}: features by {made_by}, here they are by {version}, which makes others: "
                        "write it again with --cache-reference")
    if size and list(size) != wide:
        height, width = wide
        raise UserError(f"--reference {path}: of frames of {width} x {height}, these are {size[1]} x {size[0]}: FID of "
                        "two sizes does not compare")
    return features
