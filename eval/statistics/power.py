"""How many observers a share needs before a test can see it."""

from __future__ import annotations

import numpy as np

from lnm.errors import UserError


def power(n, true_share: float, level: float = 0.05) -> np.ndarray:
    """Probability that the exact two-sided binomial test of n votes against 1/2 gives p < level, computed exactly."""
    from scipy.stats import binom

    n = np.asarray(n)
    critical = binom.ppf(level / 2, n, 0.5) - 1  # the most wins in the lower tail that are still significant
    return binom.cdf(critical, n, true_share) + binom.sf(n - critical - 1, n, true_share)


def observers_needed(true_share: float, wanted: float, level: float = 0.05, most: int = 3000) -> dict:
    """How many observers of one vote each give p < level with probability `wanted`: the smallest number that does,
    and the number from which on every larger one does too (power rises in a saw-tooth)."""
    enough = power(np.arange(1, most + 1), true_share, level) >= wanted
    if not enough[-1]:
        raise UserError(f"a share of {true_share:g} needs more than {most} observers")
    return {"share": true_share, "power": wanted, "smallest": int(enough.argmax()) + 1,
            "always_from": int(np.flatnonzero(~enough)[-1]) + 2}
