"""Krippendorff's alpha against worked examples."""

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


@pytest.mark.parametrize(("counts", "reason"), [
    ([[3, 1, 0]], "one scene"), ([[1, 0, 0], [0, 1, 0]], "two observers"),
    ([[3, 0, 0], [2, 0, 0]], "every vote is the same"),
    ([[3, 0, 0], [2, 0, 0], [0, 1, 0]], "every vote is the same"),
])
def test_alpha_is_refused_where_it_does_not_exist(counts, reason):
    assert reason in agreement.agreement(counts)["refused"]
