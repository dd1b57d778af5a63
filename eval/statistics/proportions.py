"""Shares of independent votes, one an observer: what a published percentage could say. Votes of a study of ours are not
independent: `crossed`."""

from __future__ import annotations


def share(wins: int, n: int) -> dict:
    """wins / n with Wilson (1927) and Clopper-Pearson (1934) 95% intervals, and the exact two-sided binomial test
    against 1/2."""
    from scipy.stats import binomtest

    test = binomtest(int(wins), int(n), 0.5)
    intervals = {name: list(map(float, test.proportion_ci(0.95, method)))
                 for name, method in (("wilson", "wilson"), ("clopper_pearson", "exact"))}
    return {"wins": int(wins), "n": int(n), "share": wins / n, **intervals, "p_value": float(test.pvalue)}
