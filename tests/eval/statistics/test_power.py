"""Power against the sum over every outcome."""

import numpy as np
import pytest

from eval.statistics import power
from lnm.errors import UserError


@pytest.mark.parametrize("true_share", [0.6, 0.79])
def test_power_is_the_sum_over_every_outcome_that_the_test_calls_significant(true_share):
    from scipy.stats import binom, binomtest

    for n in (1, 5, 6, 17, 30, 41):
        significant = [k for k in range(n + 1) if binomtest(k, n, 0.5).pvalue < 0.05]
        assert power.power(n, true_share) == pytest.approx(binom.pmf(significant, n, true_share).sum(), abs=1e-12)


def test_the_number_of_observers_is_the_smallest_and_the_last_to_fall_short_is_under_it():
    for wanted in (0.8, 0.9):
        needed = power.observers_needed(0.79, wanted)
        smallest, always = needed["smallest"], needed["always_from"]
        values = power.power(np.arange(1, 500), 0.79)
        assert (values[:smallest - 1] < wanted).all() and values[smallest - 1] >= wanted
        assert values[always - 2] < wanted and (values[always - 1:] >= wanted).all()
    with pytest.raises(UserError, match="more than 3000"):
        power.observers_needed(0.501, 0.8)
