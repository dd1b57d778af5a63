"""How many catch trials a study needs: an observer who clicks at random must rarely pass them all."""

from __future__ import annotations

LUCK = 0.02  # the most that is allowed


def luck(trials: int, may_fail: int = 0) -> float:
    """Probability that an observer who chooses a film at random fails no more than `may_fail` of `trials` catch trials:
    a binomial of 1/2. Who sometimes presses "no difference" passes less often, so with ties it is an upper bound."""
    from scipy.stats import binom

    return float(binom.cdf(may_fail, trials, 0.5)) if trials else 1.0


def trials_needed(may_fail: int = 0, at_most: float = LUCK) -> int:
    """The least number of catch trials that a random clicker passes with probability `at_most` or less: 6 where none
    may be failed."""
    trials = may_fail + 1
    while luck(trials, may_fail) > at_most:
        trials += 1
    return trials
