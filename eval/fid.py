"""Fréchet Inception distance and kernel Inception distance from features, and what few frames do to them.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (2017); Bińkowski et al., "Demystifying MMD GANs"
(2018). A FID of a handful of frames is mostly a statement about the handful: `rank_floor` and `real_vs_real` say how
much of a value is there before any two distributions differ, and stand beside every FID this harness prints.
"""

from __future__ import annotations

import numpy as np

from lnm.errors import UserError


def fid_from_features(a: np.ndarray, b: np.ndarray) -> float:
    """FID between feature sets a (n1, d) and b (n2, d), n1, n2 >= 2; exact, in float64.

    |mean_a - mean_b|^2 + Tr S_a + Tr S_b - 2 Tr sqrt(S_a S_b), where the last trace is the nuclear norm of
    A B^T / sqrt((n1 - 1)(n2 - 1)) for the centred A and B: a small (n1, n2) matrix instead of the root of a
    (d, d) one, and no eps, no complex numbers.
    """
    if len(a) < 2 or len(b) < 2:
        raise UserError(f"FID needs 2 frames on both sides, got {len(a)} and {len(b)}: sample more frames")
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    centred_a, centred_b = a - a.mean(0), b - b.mean(0)
    between = np.square(a.mean(0) - b.mean(0)).sum()
    within = np.square(centred_a).sum() / (len(a) - 1) + np.square(centred_b).sum() / (len(b) - 1)
    gram = _rows(centred_a) @ _rows(centred_b).T  # (min(n1, d), min(n2, d))
    cross = np.linalg.svd(gram, compute_uv=False).sum() / np.sqrt((len(a) - 1.0) * (len(b) - 1.0))
    return float(between + within - 2 * cross)


def _rows(centred: np.ndarray) -> np.ndarray:
    """At most d rows with the same X^T X, hence the same covariance: R of the QR where there are more rows than d."""
    return np.linalg.qr(centred, mode="r") if len(centred) > centred.shape[1] else centred


def rank_floor(reference: np.ndarray, n: int) -> float:
    """The least FID that any n vectors can have to `reference` (m, d): they span n - 1 dimensions, so the reference
    covariance's eigenvalues past the first n - 1 remain whatever the n frames show."""
    reference = np.asarray(reference, np.float64)
    singular = np.linalg.svd(reference - reference.mean(0), compute_uv=False)
    return float(np.square(singular[n - 1:]).sum() / (len(reference) - 1))


def real_vs_real(pool: np.ndarray, n: int, n_reference: int, splits: int = 10, seed: int = 0) -> dict:
    """FID between two disjoint random parts of real features `pool` (m, d): what n frames score when nothing differs.

    Mean over `splits` seeded draws of n against n_reference (fewer where the pool has not enough; both n are given).
    Returns {"value", "low", "high", "n", "n_reference", "splits"}: low and high are the least and the largest draw.
    Raises UserError where the pool has too few frames for two in each part.
    """
    n_reference = min(n_reference, len(pool) - n)
    if n < 2 or n_reference < 2:
        raise UserError(f"real-vs-real FID needs {n} + 2 real frames, the clip has {len(pool)}: use a longer clip")
    values = []
    for split in range(splits):
        order = np.random.default_rng([seed, split]).permutation(len(pool))
        values.append(fid_from_features(pool[order[:n]], pool[order[n:n + n_reference]]))
    return {"value": float(np.mean(values)), "low": min(values), "high": max(values),
            "n": n, "n_reference": n_reference, "splits": splits}


def kid_from_features(a: np.ndarray, b: np.ndarray) -> float:
    """Squared MMD under the kernel (x.y / d + 1)^3 between a (n1, d) and b (n2, d): the unbiased estimate over all
    pairs (no subsets, hence no seed). It may be negative; its expectation does not depend on n, unlike FID's."""
    if len(a) < 2 or len(b) < 2:
        raise UserError(f"KID needs 2 frames on both sides, got {len(a)} and {len(b)}: sample more frames")
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)

    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    def without_itself(x):
        k = kernel(x, x)
        return (k.sum() - np.trace(k)) / (len(x) * (len(x) - 1))

    return float(without_itself(a) + without_itself(b) - 2 * kernel(a, b).mean())
