"""Review, statistics 1 and 2: what a few films carry, and what their unit is."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from eval.statistics import paired
from eval.statistics.small import crossed, means, student, summarise


def coverage(n, interval, draws=2000):
    rng = np.random.default_rng(n)
    hits = 0
    for _ in range(draws):
        low, high = interval(rng.normal(3, 1, n))
        hits += low <= 3 <= high
    return hits / draws


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 8])  # films, or videos, a user of the default has
def test_students_interval_covers_95_percent_at_the_numbers_of_films_there_are(n):
    assert coverage(n, student) == pytest.approx(0.95, abs=0.015)


def test_a_percentile_bootstrap_of_2_and_3_films_does_not_cover():
    """Why there is none: the review's 51% and 73%."""
    from scipy.stats import bootstrap

    def interval(values):
        found = bootstrap((values,), np.mean, n_resamples=199, method="percentile", rng=np.random.default_rng(0))
        return found.confidence_interval

    assert coverage(2, interval, 400) == pytest.approx(0.51, abs=0.07)
    assert coverage(3, interval, 400) == pytest.approx(0.73, abs=0.07)


@pytest.mark.parametrize("n", (1, 2, 3, 4))
def test_fewer_than_5_films_give_points_and_a_range_and_no_interval(n):
    values = [float(k * k) for k in range(n)]
    entry = summarise(values, "dB")
    assert (entry["low"], entry["high"]) == (None, None)
    assert (entry["least"], entry["most"], entry["values"], entry["n"]) == (0.0, values[-1], values, n)
    assert entry["value"] == pytest.approx(np.mean(values))


def test_from_5_films_on_the_interval_is_students():
    values = [1.0, 4.0, 2.0, 8.0, 5.0]
    entry = summarise(values, "dB")
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (entry["low"], entry["high"]) == pytest.approx((expected.low, expected.high))


def test_equal_values_have_no_interval_of_width_0():
    assert summarise([2.0] * 6, "dB")["low"] is None


def test_two_seeds_of_one_fine_tune_are_not_two_fine_tunes():
    values, names = [1.0, 1.2, 2.0, 2.4, 3.0, 3.1, 4.0, 4.2], ["a", "a", "b", "b", "c", "c", "d", "d"]
    assert summarise(values, "")["low"] is not None  # 8 films
    entry = summarise(values, "", names)
    assert entry["low"] is None and entry["clusters"] == 4 and entry["n"] == 8
    assert means(values, names) == pytest.approx([1.1, 2.2, 3.05, 4.1])
    six = summarise([*values, 5.0, 5.2], "", [*names, "e", "e"])
    assert (six["low"], six["high"]) == pytest.approx(student([1.1, 2.2, 3.05, 4.1, 5.1]))
    assert summarise([1.0, 1.0, 4.0], "", ["a", "a", "b"])["value"] == 2.5  # of clusters: a has one voice


def test_the_interval_of_clusters_covers_where_that_of_films_does_not():
    rng, hits = np.random.default_rng(0), {"films": 0, "fine-tunes": 0}
    for _ in range(1500):
        values = list(np.repeat(rng.normal(0, 1, 6), 2) + rng.normal(0, 0.3, 12))
        for unit, names in (("films", None), ("fine-tunes", [k // 2 for k in range(12)])):
            entry = summarise(values, "", names)
            hits[unit] += entry["low"] <= 0 <= entry["high"]
    assert hits["films"] / 1500 < 0.88
    assert hits["fine-tunes"] / 1500 == pytest.approx(0.95, abs=0.02)


def test_one_reason_refuses_the_whole():
    assert summarise([1.0, "too short"], "x") == {"refused": "too short"}
    assert summarise([], "x") == {"refused": "no films"}


PAIRS = [f"fine-tune {tune}, still {still}" for tune in range(4) for still in range(2)]


@pytest.mark.parametrize("names, found", [
    (PAIRS, True), (["fine-tune 1, still 1", "fine-tune 2, still 2"], False), (["fine-tune 1, still 1"] * 3, False),
    (["fine-tune 1, still 1", "fine-tune 1, still 2"], False), (["a", "b"], False), (None, False),
    (["fine-tune 1, still 1", "fine-tune 2, still 2", "fine-tune 2, still 1"], True)])
def test_pairs_that_share_a_fine_tune_or_a_still_are_crossed(names, found):
    assert crossed(names) == found


def test_crossed_pairs_have_no_interval_since_one_as_if_they_were_independent_does_not_cover():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        values = (rng.normal(size=(4, 1)) + rng.normal(size=(1, 2)) + 0.3 * rng.normal(size=(4, 2))).ravel()
        low, high = student(values)
        hits += low <= 0 <= high
    assert hits / 400 < 0.85
    entry = summarise(list(values), "", PAIRS)
    assert entry["low"] is None and entry["clusters"] == 8
    assert summarise(list(values), "", [str(k) for k in range(8)])["low"] is not None


def test_a_test_of_crossed_pairs_flips_whole_fine_tunes_and_whole_stills():
    gain = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]
    assert paired.tested(gain)["p"] == pytest.approx(2 / 2**8)
    found = paired.tested(gain, PAIRS)
    assert found["p"] == pytest.approx(2 / 2**2) and found["pairs"] == 2, "of the 2 stills"
    assert found["mean_gain"] == pytest.approx(np.mean(gain))
