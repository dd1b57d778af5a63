"""Review, statistics 5, 6 and 7: consecutive frames, their intervals and their floors."""

import numpy as np
import pytest

from eval.metrics.frechet import fid_from_features, kid_from_features
from eval.statistics.blocks import correlation_time, jackknife, window_floor, windows
from eval.statistics.small import student
from lnm.errors import UserError


def consecutive(n, d=16, r=0.8, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    for i in range(1, n):
        x[i] = r * x[i - 1] + np.sqrt(1 - r * r) * x[i]
    return x


def test_the_jackknife_leaves_out_stretches_of_time():
    left = []

    def statistic(parts):
        left.append(sorted(set(range(20)) - set(parts[:, 0].astype(int))))
        return float(parts.mean())

    rng = np.random.default_rng(0)
    jackknife(statistic, np.stack([np.arange(20), *rng.normal(0, 500, (23, 20))], axis=1))
    assert left == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15], [16, 17, 18, 19], []]


def test_the_jackknife_of_a_mean_is_students_interval_of_the_blocks():
    x = np.random.default_rng(0).normal(0, 1, 300)
    assert jackknife(np.mean, x) == pytest.approx(student(x.reshape(5, 60).mean(1)))


@pytest.mark.parametrize("r", [0.5, 0.7, 0.9])
def test_a_scalar_series_has_no_interval_before_its_correlation_is_known(r):
    """Of 15 scalars an interval came out where the correlation was underestimated: of 0.7 it covered 64%."""
    found = [jackknife(np.mean, consecutive(n, d, r, seed))
             for n, d in ((15, 1), (48, 1), (100, 16), (239, 1)) for seed in range(30)]
    assert all("needs 240 parts in time, to know how alike" in answer for answer in found)
    series = [consecutive(240, 1, r, seed)[:, 0] for seed in range(400)]
    given = [low <= 0 <= high for low, high in (found for found in (jackknife(np.mean, x) for x in series)
                                                if not isinstance(found, str))]
    assert len(given) > 350 and np.mean(given) > 0.88


def test_the_jackknife_by_time_covers_where_that_of_single_frames_does_not():
    """48 frames whose features are correlated at 0.5 from one to the next."""
    reference = consecutive(72, d=24, r=0.5, seed=999)
    films = [consecutive(48, d=24, r=0.5, seed=seed) + 0.3 for seed in range(120)]
    values = [fid_from_features(film, reference) for film in films]
    blocks, singles = [], []
    for film, value in zip(films, values, strict=True):
        found = jackknife(lambda parts: fid_from_features(parts, reference), film)
        if not isinstance(found, str):
            blocks.append(found[0] <= np.mean(values) <= found[1])
        without = np.array([fid_from_features(np.delete(film, i, 0), reference) for i in range(48)])
        singles.append(abs(value - np.mean(values)) <= 1.96 * np.sqrt(47 * without.var()))
    assert len(blocks) > 100
    assert np.mean(blocks) > 0.9 > np.mean(singles) + 0.03


def test_frames_too_alike_have_no_interval():
    found = jackknife(np.mean, consecutive(16, d=24, r=0.95))
    assert isinstance(found, str) and "independent ones: an interval needs 5" in found
    assert "needs 10 parts in time, there are 9" in jackknife(np.mean, np.arange(9.0))
    assert isinstance(jackknife(np.mean, np.ones(40)), str)  # a still


def test_correlation_time_of_an_autoregression():
    assert correlation_time(consecutive(4000, r=0.0)) == pytest.approx(1, abs=0.1)
    assert correlation_time(consecutive(4000, r=0.8)) == pytest.approx(9, rel=0.1)
    short = [correlation_time(consecutive(16, d=200, r=0.5, seed=seed)) for seed in range(20)]
    assert np.mean(short) == pytest.approx(3, rel=0.15)  # the bias of a short series is taken out


def test_windows_are_consecutive_apart_and_of_the_n_that_is_asked():
    found = windows(96, 16, 72)
    assert len(found) == 18 == len({(a.start, b.start) for a, b in found})
    for window, reference in found:
        assert window.stop - window.start == 16 and reference.stop - reference.start == 72
        assert window.stop <= reference.start or reference.stop <= window.start
        assert max(window.stop, reference.stop) <= 96 and min(window.start, reference.start) >= 0
    assert len(windows(96, 16, 24)) == 20  # spread over more places than that
    assert [b.stop - b.start for _, b in windows(30, 16, 72)] == [14, 14]  # what is left, on both sides
    for window, reference in windows(40, 7, 12, gap=9):
        assert max(window.start - reference.stop, reference.start - window.stop) >= 9
    with pytest.raises(UserError, match="needs 16 \\+ 2 real frames, the clip has 17"):
        windows(17, 16, 72)


@pytest.mark.parametrize("metric", [fid_from_features, kid_from_features])
def test_the_floor_of_consecutive_frames_is_above_that_of_scattered_ones(metric):
    """A film is consecutive frames: beside scattered ones of the clip every film looks worse than real."""
    pool = consecutive(96, r=0.95)
    floor = window_floor(metric, pool, 16, 72)
    rng = np.random.default_rng(0)
    scattered = []
    for _ in range(20):
        order = rng.permutation(96)
        scattered.append(metric(pool[order[:16]], pool[order[16:88]]))
    assert floor["value"] > np.mean(scattered) + 2 * np.std(scattered)
    assert (floor["n"], floor["n_reference"], floor["windows"]) == (16, 72, 18)
    assert floor["least"] <= floor["value"] <= floor["most"]


def test_the_floor_falls_with_n():
    """Why every film is cut to one n: 49 frames score lower than 16 where nothing differs."""
    long, short = (window_floor(fid_from_features, consecutive(200), n, 72)["value"] for n in (49, 16))
    assert long < short


def test_kid_needs_independent_frames():
    """Equal distributions: the unbiased KID of consecutive frames is far above 0, that of independent ones is not."""
    alike = [np.mean([kid_from_features(consecutive(8, r=r, seed=k), consecutive(72, r=0, seed=1000 + k))
                      for k in range(150)]) for r in (0.0, 0.95)]
    assert abs(alike[0]) < 0.15 and alike[1] > 5 * abs(alike[0]) and alike[1] > 0.5
