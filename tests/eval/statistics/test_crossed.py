"""Review, statistics 10 and 11: shares of votes that are crossed, and what can be drawn anew."""

import numpy as np
import pytest
from scipy.stats import norm, t

from eval.statistics import crossed
from eval.statistics.small import FEWEST


def asked(observers, videos, rng, spread=0.8):
    liking = 0.6 + rng.normal(0, spread, (observers, 1)) + rng.normal(0, spread, (1, videos))
    wins = rng.random((observers, videos)) < 1 / (1 + np.exp(-liking))
    o, v = np.indices(wins.shape)
    return wins.ravel(), o.ravel(), v.ravel()


def test_a_clustered_share_covers_where_wilson_over_votes_does_not():
    from statsmodels.stats.proportion import proportion_confint

    truth = np.mean(1 / (1 + np.exp(-np.random.default_rng(9).normal(0.6, 0.8 * np.sqrt(2), 400_000))))
    rng, hits = np.random.default_rng(0), np.zeros(2)
    for _ in range(400):
        wins, o, v = asked(20, 6, rng)
        entry = crossed.share(wins, o, v)
        low, high = proportion_confint(wins.sum(), len(wins), method="wilson")
        hits += entry["low"] <= truth <= entry["high"], low <= truth <= high
    assert hits[0] / 400 > 0.92 and hits[1] / 400 < 0.85


def test_independent_votes_are_worth_about_what_they_are():
    rng = np.random.default_rng(0)
    wins = rng.random(400) < 0.6
    entry = crossed.share(wins, np.arange(400), np.arange(400) % 20)
    assert 200 < entry["votes_worth"] <= 400 and entry["low"] < 0.6 < entry["high"]


def test_a_repeated_vote_adds_nothing():
    wins, o, v = asked(12, 6, np.random.default_rng(3))
    once, often = crossed.share(wins, o, v), crossed.share(*(np.tile(x, 10) for x in (wins, o, v)))
    assert often["share"] == once["share"] and often["n"] == 10 * once["n"]
    assert often["high"] - often["low"] == pytest.approx(once["high"] - once["low"], rel=0.15)


@pytest.mark.parametrize("seed", range(3))
def test_the_effective_number_is_that_of_whole_observers_and_whole_videos_less_their_cells(seed):
    """By hand: sums of residuals over clusters, squared, and g / (g - 1) for g of them."""
    rng = np.random.default_rng(seed)
    wins, o, v = asked(9, 6, rng)
    p, n = wins.mean(), len(wins)

    def variance(cluster):
        sums = [(wins - p)[cluster == one].sum() for one in np.unique(cluster)]
        return np.square(sums).sum() / n ** 2 * len(sums) / (len(sums) - 1)

    by_o, by_v, both = variance(o), variance(v), variance(o * 100 + v)
    fewer = (t.ppf(0.975, n - 1) / t.ppf(0.975, 5)) ** 2
    worth = min(n, p * (1 - p) / max(by_o, by_v, by_o + by_v - both) * fewer)
    assert crossed.share(wins, o, v)["votes_worth"] == pytest.approx(worth)


@pytest.mark.parametrize("family", ["Gaussian", "Binomial"])
def test_a_gee_of_independence_has_the_same_share_and_variance_but_for_the_number_of_clusters(family):
    """Observers with 1 to 9 votes each, so that no two clusters weigh alike."""
    from statsmodels.genmod import families
    from statsmodels.genmod.cov_struct import Independence
    from statsmodels.genmod.generalized_estimating_equations import GEE

    rng = np.random.default_rng(4)
    observer = np.repeat(np.arange(9), np.arange(1, 10))
    wins = rng.random(len(observer)) < np.repeat(rng.uniform(0.2, 0.9, 9), np.arange(1, 10))
    model = GEE(wins.astype(float), np.ones(len(wins)), observer, family=getattr(families, family)(),
                cov_struct=Independence()).fit(cov_type="robust")
    share, variance = model.params[0], model.cov_params()[0, 0]
    if family == "Binomial":  # of log odds, by the delta method
        share = 1 / (1 + np.exp(-share))
        variance *= (share * (1 - share)) ** 2
    assert share == pytest.approx(crossed.share(wins, observer, observer)["share"], rel=1e-6)
    assert crossed._variance(wins, observer) == pytest.approx(variance * 9 / 8, rel=1e-6)


def test_3_videos_are_not_drawn_anew_and_it_is_said():
    wins, o, v = asked(20, 3, np.random.default_rng(0))
    assert crossed.share(wins, o, v)["over"] == crossed.OBSERVERS
    assert crossed.share(*asked(20, FEWEST, np.random.default_rng(0)))["over"] == crossed.BOTH
    few = crossed.share(*asked(FEWEST - 1, 8, np.random.default_rng(0)))
    assert few["low"] is few["high"] is few["over"] is None and 0 < few["share"] < 1


def test_a_share_of_all_votes_still_has_an_interval():
    o, v = (x.ravel() for x in np.indices((8, 5)))
    entry = crossed.share(np.ones(40, bool), o, v)
    assert entry["high"] == 1 and entry["low"] == pytest.approx(0.025 ** (1 / 5))  # Clopper-Pearson of 5 of 5


def test_two_way_weights_draw_whole_observers_and_whole_videos():
    o, v = crossed.weights(7, 5, crossed.BOTH, 300, 0)
    assert (o.sum(1) == 7).all() and (v.sum(1) == 5).all() and o.shape == (300, 7)
    assert o.var() == pytest.approx(6 / 7, rel=0.1) and v.var() == pytest.approx(4 / 5, rel=0.1)
    assert (crossed.weights(7, 3, crossed.OBSERVERS, 10, 0)[1] == 1).all()


def test_the_expanded_tails_make_a_percentile_interval_students():
    """The bootstrap mean of n normal values has deviation sd sqrt((n - 1) / n) / sqrt(n); its tail must reach
    t sd / sqrt(n)."""
    for n in (5, 12, 40):
        low, high = crossed.tails(n)
        assert -norm.ppf(low) * np.sqrt((n - 1) / n) == pytest.approx(t.ppf(0.975, n - 1)) and low + high == 1
