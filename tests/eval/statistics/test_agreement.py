"""Krippendorff's alpha against worked examples."""

import krippendorff
import numpy as np
import pytest

from eval.statistics import agreement


def test_alpha_equals_the_worked_examples_of_krippendorffs_documentation():
    counts = np.array([[1, 0, 0, 0], [0, 0, 0, 0], [0, 2, 0, 0], [2, 0, 0, 0], [0, 0, 2, 0], [0, 0, 2, 1], [0, 0, 0, 3],
                       [1, 0, 1, 0], [0, 2, 0, 0], [2, 0, 0, 0], [2, 0, 0, 0], [0, 0, 2, 0], [0, 0, 2, 0], [0, 0, 0, 0],
                       [0, 0, 1, 1]])
    assert round(agreement.agreement(counts)["alpha"], 6) == 0.691358
    coders = np.array([[1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0], [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
                       [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0], [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0]])  # 0: no rating
    counts = np.stack([(coders == value).sum(axis=0) for value in range(1, 6)], axis=1)
    assert round(agreement.agreement(counts)["alpha"], 3) == 0.743


@pytest.mark.parametrize("seed", range(20))
def test_alpha_equals_the_krippendorff_package_s_on_random_answers(seed):
    """That package is GPL-3.0-or-later and serves here alone: nothing that is installed to be used needs it."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, (rng.integers(2, 9), rng.integers(2, 5)))
    counts[0, :2] = 2, 1
    assert agreement.agreement(counts)["alpha"] == pytest.approx(
        krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"), abs=1e-12)


@pytest.mark.parametrize(("counts", "reason"), [
    ([[3, 1, 0]], "one scene"), ([[1, 0, 0], [0, 1, 0]], "two observers"),
    ([[3, 0, 0], [2, 0, 0]], "every vote is the same"),
    ([[3, 0, 0], [2, 0, 0], [0, 1, 0]], "every vote is the same"),
])
def test_alpha_is_refused_where_it_does_not_exist(counts, reason):
    assert reason in agreement.agreement(counts)["refused"]
