"""Strengths of several methods from votes on pairs of them, ties included: Davidson's model.

Davidson, "On extending the Bradley-Terry model to accommodate ties in paired comparison experiments" (1970): with
strength u of a method and a readiness nu to call a tie,

    P(i over j) = e^(u_i) / D,  P(tie) = nu e^((u_i + u_j) / 2) / D,  D = e^(u_i) + e^(u_j) + nu e^((u_i + u_j) / 2).

Without a tie nu is 0 and the model is Bradley and Terry's (1952).
"""

from __future__ import annotations

import numpy as np

from eval.statistics import crossed

STEPS = 60  # of Newton's method; about 6 are needed
NOT_FINITE = "some methods never lose to, nor tie with, the others: no finite strengths exist"


def strengths(wins: np.ndarray, ties: np.ndarray, resamples: int = 2000, seed: int = 0) -> dict:
    """Strengths in log odds of mean 0, with 95% intervals of a two-way bootstrap over observers and videos.

    wins: (observers, videos, M, M), [o, v, i, j] how often o chose i over j; ties: the same, symmetric, a tie of i and
    j once in [i, j] and once in [j, i]. Below `small.FEWEST` videos observers alone are drawn, below as many observers
    there is no interval. A resample in which a method wins (or loses) without end counts as infinitely high (or low)
    for it, and as both where its place is open: none is dropped, and an end that falls among them is None, unbounded.
    Returns {"strengths", "low", "high", "tie" (nu), "observers", "videos", "over", "resamples",
    "resamples_without_finite_strengths"}, or {"refused": reason}; low and high are None where over is.
    """
    observers, videos, methods = wins.shape[:3]
    total, level = wins.sum((0, 1)).astype(float), ties.sum((0, 1)).astype(float)
    if not total.any():
        return {"refused": "every vote is a tie"}
    if not bool(_reaches((total + level)[None]).all()):
        return {"refused": NOT_FINITE}
    best, nu = fit(total[None], level[None])
    over = crossed.units(observers, videos)
    entry = {"strengths": best[0].tolist(), "low": None, "high": None, "tie": float(nu[0]), "observers": observers,
             "videos": videos, "over": over, "resamples": resamples, "resamples_without_finite_strengths": 0}
    if over is None:
        return entry
    drawn = _drawn(np.stack([wins, ties], axis=2), crossed.weights(observers, videos, over, resamples, seed))
    lowest, highest = _extended(drawn[:, 0], drawn[:, 1])
    ends = crossed.tails(min(observers, videos) if over == crossed.BOTH else observers)
    low, high = (np.quantile(values, end, axis=0, method=method) for values, end, method in
                 ((lowest, ends[0], "lower"), (highest, ends[1], "higher")))
    return entry | {
        "low": [float(x) if np.isfinite(x) else None for x in low],
        "high": [float(x) if np.isfinite(x) else None for x in high],
        "resamples_without_finite_strengths": int((~np.isfinite(lowest) | ~np.isfinite(highest)).any(1).sum()),
    }


def _drawn(votes: np.ndarray, weights: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Votes (observers, videos, 2, M, M) summed with each resample's weights -> (resamples, 2, M, M)."""
    flat = votes.reshape(*votes.shape[:2], -1).astype(float)
    by_video = np.einsum("ro,ovk->rvk", weights[0].astype(float), flat, optimize=True)
    return np.einsum("rv,rvk->rk", weights[1].astype(float), by_video).reshape(-1, *votes.shape[2:])


def _extended(wins: np.ndarray, ties: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the highest value (resamples, M) that each resample (resamples, M, M) allows a strength."""
    reach = _reaches(wins + ties)
    finite = reach.all((1, 2)) & wins.any((1, 2))
    low, high = np.full(wins.shape[:2], -np.inf), np.full(wins.shape[:2], np.inf)
    above, below = reach.all(2), reach.all(1)  # reaches every method; is reached by every method
    low[above & ~below] = np.inf  # wins without end: its least value is infinite as well
    high[below & ~above] = -np.inf
    low[~wins.any((1, 2))], high[~wins.any((1, 2))] = -np.inf, np.inf  # ties alone say nothing
    if finite.any():
        low[finite] = high[finite] = fit(wins[finite], ties[finite])[0]
    return low, high


def _reaches(beats: np.ndarray) -> np.ndarray:
    """Whether a chain of wins and ties leads from method i to j: (resamples, M, M) -> bool, i from itself always.
    Finite strengths exist where it does from each to each (Ford 1957)."""
    reach = (beats > 0) | np.eye(beats.shape[-1], dtype=bool)
    for _ in range(max(1, int(np.ceil(np.log2(beats.shape[-1]))))):
        reach = np.matmul(reach.astype(np.uint8), reach.astype(np.uint8)) > 0
    return reach


def fit(wins: np.ndarray, ties: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maximum likelihood of many tables at once: wins and ties (R, M, M), as `strengths` takes them, each with finite
    strengths -> strengths (R, M) of mean 0 and nu (R,). By Newton's method: the log likelihood is concave."""
    count, methods = wins.shape[:2]
    tied = ties.any((1, 2))
    u, log_nu = np.zeros((count, methods)), np.zeros(count)
    games = wins + wins.transpose(0, 2, 1) + ties
    level = ties.sum((1, 2)) / 2
    for _ in range(STEPS):
        nu = np.where(tied, np.exp(log_nu), 0.0)[:, None, None]
        s = (u[:, :, None] - u[:, None, :]) / 2
        first, second = np.exp(s - np.abs(s)), np.exp(-s - np.abs(s))
        d = first + second + nu * np.exp(-np.abs(s))
        first, second = first / d, second / d
        tie = 1 - first - second
        slope = np.empty((count, methods + 1))
        slope[:, :-1] = ((wins - wins.transpose(0, 2, 1) - games * (first - second)) / 2).sum(2)
        slope[:, -1] = np.where(tied, level - (games * tie).sum((1, 2)) / 2, 0.0)
        curve = np.zeros((count, methods + 1, methods + 1))
        bend = games * (first + second - np.square(first - second)) / 4
        curve[:, :-1, :-1] = -bend + 1 / methods  # strengths have mean 0: the one direction without a curve
        curve[:, range(methods), range(methods)] += bend.sum(2)
        curve[:, :-1, -1] = curve[:, -1, :-1] = -(games * (first - second) * tie).sum(2) / 2
        curve[:, -1, -1] = (games * tie * (1 - tie)).sum((1, 2)) / 2
        curve[~tied, -1, :] = curve[~tied, :, -1] = 0.0
        curve[~tied, -1, -1] = 1.0
        step = np.linalg.solve(curve, slope[..., None])[..., 0]
        step *= np.minimum(1, 2 / np.maximum(np.abs(step).max(1, keepdims=True), 1e-300))
        u, log_nu = u + step[:, :-1], log_nu + step[:, -1]
        if np.abs(step).max() < 1e-10:
            break
    return u - u.mean(1, keepdims=True), np.where(tied, np.exp(log_nu), 0.0)
