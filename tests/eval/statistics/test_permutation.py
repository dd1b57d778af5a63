"""Review, statistics 3 and 4: tests that say what they say at the n there is, and once for all cells."""

from itertools import product

import numpy as np
import pytest

from eval.statistics.permutation import holm, least_p, pairs_needed, sign_flip


def by_hand(x):
    means = [abs(np.mean(np.multiply(x, signs))) for signs in product((1, -1), repeat=len(x))]
    return np.mean(np.array(means) >= abs(np.mean(x)) - 1e-12)


@pytest.mark.parametrize("x", [[1.0, 2.0, 0.5, 3.0, 0.1, 1.5], [1.0, -2.0, 0.5, 3.0, -0.1], [1.0, 1.0, -1.0],
                               [2.0, 3.0]])
def test_sign_flip_counts_all_ways_of_giving_signs(x):
    assert sign_flip(x) == pytest.approx(by_hand(x))


def test_differences_of_0_show_nothing():
    assert sign_flip([0.0] * 8) == 1 and sign_flip([3.0]) == 1 and sign_flip([]) == 1


def test_sign_flip_of_6_pairs_has_3_percent_false_positives_where_the_stars_had_15():
    rng = np.random.default_rng(0)
    found = np.mean([sign_flip(rng.normal(0, 1, 6)) <= 0.05 for _ in range(600)])
    assert found == pytest.approx(2 / 64, abs=0.02)


def test_2_films_can_never_be_told_apart():
    """The review: 'above all controls' came about half of the time under the null, from 2 films."""
    rng = np.random.default_rng(0)
    assert min(sign_flip(rng.normal(50, 1, 2)) for _ in range(50)) == 0.5 == least_p(2)


def test_24_cells_are_corrected_by_holm():
    rng = np.random.default_rng(1)
    once, corrected = 0, 0
    for _ in range(60):
        p = [sign_flip(rng.normal(0, 1, 10)) for _ in range(24)]
        once, corrected = once + (min(p) <= 0.05), corrected + (min(holm(p)) <= 0.05)
    assert once > 25 and corrected <= 7


def test_holm_leaves_out_what_was_not_asked():
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert holm([None]) == [None] and holm([]) == []


def test_how_many_pairs_a_family_of_tests_needs():
    assert pairs_needed() == 6 and pairs_needed(24) == 10
    assert 24 * least_p(9) > 0.05 >= 24 * least_p(10)
