"""Is a mean of paired differences other than 0? The exact sign-flip test, and Holm's correction where many are asked.

Under the hypothesis that two methods are alike, film a minus film b is as often x as -x. The test counts how many of
the 2^n ways of giving the n differences signs have a mean at least as far from 0 (Fisher 1935): its rate of false
positives is what it says at any n and for any distribution. It has a least p, 2 / 2^n: fewer than 6 pairs can never
reach 5%, and fewer still where many tests share the 5%.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEVEL = 0.05
EXACT = 14  # pairs up to which all 2^n signs are tried; past that a seeded sample of them


def sign_flip(differences: Sequence[float] | np.ndarray, seed: int = 0) -> float:
    """Two-sided p that paired differences (n,) have mean 0; 1 where all are 0 or there are none.

    Exact up to EXACT pairs; past that over 2^EXACT random signs of `seed`.
    """
    from scipy.stats import permutation_test

    differences = np.asarray(differences, np.float64)
    if len(differences) < 2 or not differences.any():
        return 1.0
    found = permutation_test((differences,), lambda x, axis: x.mean(axis=axis), permutation_type="samples",
                             vectorized=True, n_resamples=2 ** EXACT, rng=np.random.default_rng(seed))
    return min(1.0, float(found.pvalue))


def least_p(n: int) -> float:
    """The least p that the exact two-sided test of n pairs can give."""
    return min(1.0, 2.0 / 2 ** n)


def pairs_needed(tests: int = 1, level: float = LEVEL) -> int:
    """Pairs without which none of `tests` tests, corrected by Holm, can have p <= level."""
    n = 1
    while tests * least_p(n) > level:
        n += 1
    return n


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values adjusted for their number by Holm (1979), statsmodels' multipletests; None stays and does not count."""
    from statsmodels.stats.multitest import multipletests

    asked = [p for p in p_values if p is not None]
    adjusted = iter(multipletests(asked, method="holm")[1]) if asked else iter(())
    return [None if p is None else float(next(adjusted)) for p in p_values]
