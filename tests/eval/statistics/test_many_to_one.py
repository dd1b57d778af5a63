"""Several groups against one: the level is kept over all of them, groups of one are no groups."""

import numpy as np
import pytest

from eval.statistics.many_to_one import LEVEL, against_control


def test_what_lies_apart_is_told_from_what_seeds_do():
    near, far = against_control([1.0, 1.1], [[1.02, 1.07], [2.0, 2.2]])
    assert near["difference"] == pytest.approx(-0.005) and far["difference"] == pytest.approx(1.05)
    assert far["p"] < LEVEL < near["p"]
    assert near["low"] < 0 < near["high"] and 0 < far["low"] < far["difference"] < far["high"]
    assert against_control([1.0, 1.1], [[1.02, 1.07], [2.0, 2.2]]) == [near, far], "the same again"


def test_one_difference_among_twelve_must_be_larger_than_one_asked_alone():
    """By the pooled spread it has p = 0.03 in Student's test of the two; of twelve that were asked it is to be expected
    that one looks so."""
    from scipy.stats import t

    pooled, shift = np.std([0.0, 1.0], ddof=1), 1.72
    alone = 2 * t.sf(shift / (pooled * np.sqrt(1 / 2 + 1 / 2)), 13)
    found = against_control([0.0, 1.0], [[shift, 1 + shift], *[[0.0, 1.0]] * 11])
    assert alone < LEVEL < found[0]["p"] < 12 * alone and found[0]["low"] < 0, "not more careful than Bonferroni"
    assert all(one["p"] > 0.99 for one in found[1:])


def test_without_a_second_value_nothing_is_said_and_without_a_spread_all_of_it():
    (one,) = against_control([1.0], [[2.0]])
    assert one == {"difference": 1.0, "low": None, "high": None, "p": None}
    same, other = against_control([1.0, 1.0], [[1.0, 1.0], [2.0, 2.0]])
    assert (same["p"], other["p"]) == (1.0, 0.0)
    assert against_control([1.0, 2.0], []) == []
