"""Shares and their intervals against statsmodels."""

import pytest

from eval.statistics.proportions import share


@pytest.mark.parametrize(("wins", "n"), [(0, 1), (1, 1), (0, 12), (12, 12), (5, 9), (79, 100), (60, 76), (1, 1000)])
def test_intervals_and_test_equal_statsmodels(wins, n):
    from statsmodels.stats.proportion import binom_test, proportion_confint

    entry = share(wins, n)
    assert entry["wilson"] == pytest.approx(proportion_confint(wins, n, method="wilson"), abs=1e-12)
    assert entry["clopper_pearson"] == pytest.approx(proportion_confint(wins, n, method="beta"), abs=1e-9)
    assert entry["p_value"] == pytest.approx(binom_test(wins, n, 0.5), rel=1e-9)
