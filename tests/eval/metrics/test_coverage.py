"""Precision, recall and KID by subsets against their definitions."""

import numpy as np
import pytest

from eval.metrics.coverage import kid_subsets, precision_recall
from eval.metrics.frechet import kid_from_features
from lnm.errors import UserError


def by_hand(a, b, k=3):
    """The share of a that lies in the ball of any of b, as wide as to its k-th nearest neighbour."""
    def distances(x, y):
        return np.linalg.norm(x[:, None] - y[None], axis=-1)

    radii = np.sort(distances(b, b), axis=1)[:, k]  # the nearest is itself
    return (distances(a, b) <= radii).any(1).mean()


def test_precision_and_recall_are_of_balls_around_the_other_set():
    rng = np.random.default_rng(0)
    narrow, wide = rng.normal(size=(40, 3)) * 0.3, rng.normal(size=(60, 3))
    precision, recall = precision_recall(narrow, wide)
    assert precision == pytest.approx(by_hand(narrow, wide)) and recall == pytest.approx(by_hand(wide, narrow))
    assert precision > 0.9 and recall < 0.5  # it looks real, and shows little of what is real
    assert precision_recall(wide, wide) == (1, 1) and precision_recall(wide, wide + 100) == (0, 0)
    with pytest.raises(UserError, match="4 frames on both sides, got 3 and 60"):
        precision_recall(narrow[:3], wide)


def test_kid_of_whole_subsets_is_the_exact_one_and_of_parts_near_it():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 8)), rng.normal(0.5, 1, (40, 8))
    exact = kid_from_features(a, b)
    mean, deviation = kid_subsets(a, b, size=40, subsets=3)
    assert mean == pytest.approx(exact, rel=1e-6) and deviation == pytest.approx(0, abs=1e-9)
    mean, deviation = kid_subsets(a, b)
    assert mean == pytest.approx(exact, rel=0.2) and 0 < deviation < exact
    assert kid_subsets(a, b, seed=1) != (mean, deviation) == kid_subsets(a, b)
    with pytest.raises(UserError, match="subsets of 50 needs as many frames"):
        kid_subsets(a, b, size=50)
    with pytest.raises(UserError, match="subsets of 2"):
        kid_subsets(a[:2], b)
