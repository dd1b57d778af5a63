"""FID of a few frames when nothing differs, from how widely the features of a clip's frames spread."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from eval.features.cache import Features
from eval.features.inception import INCEPTION_FILE, inception_version
from eval.metrics.frechet import fid_from_features
from lnm.errors import UserError
from lnm.files import sha256

# {clip: {"trace", "exponent", "frames", "sha256"}} by `fit_power_law` of the Inception features of each piece of real
# footage in lnm.demo.footage: how widely the frames of one shot spread. `python -m benchmarks.spectra` makes it.
FILE = Path(__file__).parent / "spectra.json"


def typical_spectra() -> dict[str, tuple[float, float]]:
    """{clip: (trace, exponent)} of the real footage."""
    held = json.loads(FILE.read_text(encoding="utf-8"))["clips"]
    return {name: (one["trace"], one["exponent"]) for name, one in held.items()}


def power_law(trace: float, exponent: float, dimension: int = 2048) -> np.ndarray:
    """Eigenvalues of a covariance that fall as k^-exponent and add up to `trace`: (dimension,)."""
    values = np.arange(1, dimension + 1) ** -exponent
    return trace * values / values.sum()


def typical_spectrum() -> tuple[float, float]:
    """(trace, exponent), the medians of the real footage's."""
    return tuple(float(value) for value in np.median(list(typical_spectra().values()), axis=0))


def fit_power_law(features: np.ndarray, leading: int = 40) -> tuple[float, float]:
    """(trace, exponent) of features (n, d): the sample covariance's trace, and a least-squares line through the
    logarithms of its leading eigenvalues."""
    values = np.square(np.linalg.svd(features - features.mean(0), compute_uv=False)) / (len(features) - 1)
    leading = min(leading, len(values) - 2)
    slope, _ = np.polyfit(np.log(np.arange(1, leading + 1)), np.log(values[:leading]), 1)
    return float(values.sum()), float(-slope)


def fid_floor(eigenvalues: np.ndarray, n: int, n_reference: int = 1060, draws: int = 3, seed: int = 0) -> dict:
    """FID between n and n_reference draws of one and the same Gaussian with these covariance eigenvalues (d,): what
    is printed when nothing differs. {"value": mean over draws, "low", "high": least and largest, "n"}."""
    scale, values = np.sqrt(eigenvalues), []
    for draw in range(draws):
        rng = np.random.default_rng([seed, n, draw])
        a, b = (rng.standard_normal((count, len(scale))) * scale for count in (n, n_reference))
        values.append(fid_from_features(a, b))
    return {"n": n, "value": float(np.mean(values)), "low": min(values), "high": max(values)}


def spectra(project: Path, results: Path, videos: list[str]) -> tuple[dict[str, tuple[float, float]], str]:
    """{clip: (trace, exponent)} of the run's clips whose features are there, else of the real footage, and whose they
    are in words."""
    found = {}
    for video in videos:
        try:
            found[video] = fit_power_law(cached_features(project, results, video))
        except UserError:
            continue
    return (found, "this run's clips") if found else (typical_spectra(), "seven pieces of real footage")


def cached_features(project: Path, results: Path, video: str) -> np.ndarray:
    """Inception features (N, 2048) of a prepared clip, trained-on frames first, as the evaluate stage left them in
    store/features. Raises UserError where there are none: computing them anew takes the network and a minute."""
    from lnm.video import read_frames

    class Cached:  # stands for the network: hash and version find the files; asked to compute, it declines
        def __init__(self):
            self.sha256, self.version = sha256(weights), inception_version()

        def __call__(self, frames):
            raise UserError(f"{video}: its Inception features are not computed yet: run `make repro`")

    weights = project / "weights" / INCEPTION_FILE
    folders = [results / video / "prepare" / part for part in ("train", "heldout")]
    for path in (weights, *folders):
        if not path.exists():
            raise UserError(f"{video}: {path.name} is not there yet: run `make repro`")
    features = Features(Cached(), project / "store" / "features")
    return np.concatenate([features(read_frames(folder)) for folder in folders])
