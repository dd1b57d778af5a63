"""Shares of votes, with intervals over votes and over whole clusters of them."""

from __future__ import annotations

import numpy as np


def share(wins: int, n: int) -> dict:
    """wins / n with Wilson (1927) and Clopper-Pearson (1934) 95% intervals, and the exact two-sided binomial test
    against 1/2."""
    from scipy.stats import binomtest

    test = binomtest(int(wins), int(n), 0.5)
    intervals = {name: list(map(float, test.proportion_ci(0.95, method)))
                 for name, method in (("wilson", "wilson"), ("clopper_pearson", "exact"))}
    return {"wins": int(wins), "n": int(n), "share": wins / n, **intervals, "p_value": float(test.pvalue)}


def cluster_bootstrap(wins: np.ndarray, n: np.ndarray, resamples: int, seed: int) -> dict:
    """95% percentile interval of sum(wins) / sum(n) when whole clusters (observers, videos) are drawn anew.

    wins, n: (clusters,), n >= 1. Of few clusters it is no wider than their values; of one there is none.
    """
    if len(n) < 2:
        return {"refused": "one cluster only", "clusters": len(n)}
    rng = np.random.default_rng(seed)
    shares = np.empty(resamples)
    for r in range(resamples):
        drawn = rng.integers(0, len(n), len(n))
        shares[r] = wins[drawn].sum() / n[drawn].sum()
    low, high = np.quantile(shares, (0.025, 0.975))
    return {"low": float(low), "high": float(high), "clusters": len(n)}
