"""Intervals over films."""

import numpy as np

from eval.statistics import intervals


def test_intervals_of_the_mean_cover_at_about_their_level():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        entry = intervals.summarise(list(rng.normal(3, 1, 30)), "x", 300, 0)
        hits += entry["low"] <= 3 <= entry["high"]
    assert 0.88 <= hits / 200 <= 0.99
    assert intervals.summarise([1.0], "x", 100, 0)["low"] is None
    assert intervals.summarise([1.0, "too short"], "x", 100, 0) == {"refused": "too short"}
