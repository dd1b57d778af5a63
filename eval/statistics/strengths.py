"""Strengths of more than two methods from comparisons of two."""

from __future__ import annotations

import numpy as np


def bradley_terry(games: np.ndarray, resamples: int, seed: int) -> dict:
    """Bradley-Terry (1952) strengths, in log odds with mean 0, and 95% intervals that resample observers.

    games: (observers, M, M); [o, i, j] is how often o chose i over j, a tie half a time each. Where some methods never
    lose to the others no finite strengths exist, and there is a refusal.
    """
    import choix
    from scipy.sparse.csgraph import connected_components

    def fit(wins: np.ndarray) -> np.ndarray | None:
        whole = connected_components(wins > 0, directed=True, connection="strong")[0] == 1
        return choix.ilsr_pairwise_dense(wins, max_iter=1000) if whole else None

    strengths = fit(games.sum(axis=0))
    if strengths is None:
        return {"refused": "some methods never lose to the others: no finite strengths exist"}
    rng = np.random.default_rng(seed)
    flat, draws = games.reshape(len(games), -1), []
    for _ in range(resamples):
        drawn = np.bincount(rng.integers(0, len(games), len(games)), minlength=len(games))
        draws.append(fit((drawn @ flat).reshape(games.shape[1:])))
    fitted = [draw for draw in draws if draw is not None]
    low = high = [None] * len(strengths)
    if len(games) > 1 and len(fitted) >= 0.95 * resamples:
        low, high = np.quantile(fitted, (0.025, 0.975), axis=0).tolist()
    return {"strengths": strengths.tolist(), "low": low, "high": high, "observers": len(games),
            "resamples_without_a_fit": resamples - len(fitted)}
