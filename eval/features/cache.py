"""Features of sets of frames: batched, each distinct frame computed once, cached by content."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from lnm.files import whole

SUM = "lnm_sha256"  # of the features, beside them
BATCH = 16  # the same for every set: another batch size may change the last bits


class Features:
    """Features of sets of frames by one extractor, each distinct frame computed once.

    A set's features lie in `store`/<hash of weights, version and frames>.safetensors; the extractor's `version` names
    the libraries and the preprocessing that it computes with, since others make other features. Identical frames (a
    static film, a shuffled one) share theirs within a set and between sets.
    """

    def __init__(self, extractor, store: Path):
        self.extractor, self.store = extractor, store
        self.known: dict[str, np.ndarray] = {}

    def __call__(self, frames: np.ndarray, label: str = "frames") -> np.ndarray:
        """uint8 (N, H, W, 3) -> (N, d), in order; `label` names the set in the progress bar."""
        from tqdm.auto import tqdm

        shape = str(frames.shape[1:]).encode()
        keys = [hashlib.sha256(shape + np.ascontiguousarray(frame).tobytes()).hexdigest() for frame in frames]
        first = {key: index for index, key in reversed(list(enumerate(keys))) if key not in self.known}
        missing = sorted(first, key=first.get)
        if missing:
            made_of = [self.extractor.sha256, self.extractor.version, *missing]
            name = hashlib.sha256("\n".join(made_of).encode()).hexdigest()
            file = self.store / f"{name}.safetensors"
            values = _load(file, len(missing))
            if values is None:
                batches = [missing[i:i + BATCH] for i in range(0, len(missing), BATCH)]
                progress = tqdm(batches, desc=f"{type(self.extractor).__name__} {label}", unit="batch", leave=False,
                                disable=len(batches) == 1)
                values = np.concatenate([self.extractor(frames[[first[key] for key in batch]]) for batch in progress])
                _save(file, values)
            self.known.update(zip(missing, values))
        return np.stack([self.known[key] for key in keys])


def _save(file: Path, values: np.ndarray) -> None:
    """Features (N, d) and their checksum into a file, whole or not at all."""
    from safetensors.numpy import save_file

    with whole(file) as part:
        save_file({"features": values}, part, metadata={SUM: _sum(values)})


def _load(file: Path, count: int) -> np.ndarray | None:
    """Features (count, d) of a file; None where there is none, it is cut off, or its bytes are not those written: they
    are then computed again."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        return None
    try:
        with safe_open(file, "np") as opened:
            said, values = (opened.metadata() or {}).get(SUM), opened.get_tensor("features")
    except (OSError, SafetensorError):
        return None
    return values if len(values) == count and said == _sum(values) else None


def _sum(values: np.ndarray) -> str:
    about = f"{values.dtype} {values.shape} ".encode()
    return hashlib.sha256(about + np.ascontiguousarray(values).tobytes()).hexdigest()
