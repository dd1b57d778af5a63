"""Shares and their intervals against statsmodels."""

import numpy as np
import pytest

from eval.statistics import proportions
from eval.statistics.proportions import share


@pytest.mark.parametrize(("wins", "n"), [(0, 1), (1, 1), (0, 12), (12, 12), (5, 9), (79, 100), (60, 76), (1, 1000)])
def test_intervals_and_test_equal_statsmodels(wins, n):
    from statsmodels.stats.proportion import binom_test, proportion_confint

    entry = share(wins, n)
    assert entry["wilson"] == pytest.approx(proportion_confint(wins, n, method="wilson"), abs=1e-12)
    assert entry["clopper_pearson"] == pytest.approx(proportion_confint(wins, n, method="beta"), abs=1e-9)
    assert entry["p_value"] == pytest.approx(binom_test(wins, n, 0.5), rel=1e-9)


def test_the_cluster_bootstrap_counts_observers_not_votes():
    wins = np.array([1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1])
    one = proportions.cluster_bootstrap(wins, np.ones(12, int), 2000, 0)
    ten = proportions.cluster_bootstrap(10 * wins, np.full(12, 10), 2000, 0)  # each says the same ten times
    low, high = share(10 * wins.sum(), 120)["wilson"]
    assert one == ten and ten["low"] < low < high < ten["high"]
    same = proportions.cluster_bootstrap(np.array([3, 3, 3]), np.array([4, 4, 4]), 100, 0)
    assert same["low"] == same["high"] == 0.75
    assert proportions.cluster_bootstrap(np.array([3]), np.array([4]), 100, 0) == {"refused": "one cluster only",
                                                                                   "clusters": 1}
