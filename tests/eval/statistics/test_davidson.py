"""Review, statistics 11: ties by Davidson's model, observers and videos crossed, no resample dropped."""

import choix
import numpy as np
import pytest
from scipy.optimize import minimize

from eval.statistics import crossed, davidson


def votes(observers, videos, truth=(0.8, 0.0, -0.8), nu=0.5, seed=0):
    rng = np.random.default_rng(seed)
    m = len(truth)
    wins, ties = (np.zeros((observers, videos, m, m)) for _ in range(2))
    for i in range(m):
        for j in range(i + 1, m):
            a, b = np.exp(truth[i]), np.exp(truth[j])
            x = rng.random((observers, videos)) * (a + b + nu * np.sqrt(a * b))
            wins[..., i, j], wins[..., j, i] = x < a, (x >= a) & (x < a + b)
            ties[..., i, j] = ties[..., j, i] = x >= a + b
    return wins, ties


def test_strengths_are_the_likeliest_under_davidsons_probabilities():
    wins, ties = votes(40, 4)
    w, t = wins.sum((0, 1)), ties.sum((0, 1))

    def minus_log_likelihood(x):
        p, nu, total = np.exp(x[:3]), np.exp(x[3]), 0.0
        for i in range(3):
            for j in range(i + 1, 3):
                d = p[i] + p[j] + nu * np.sqrt(p[i] * p[j])  # Davidson (1970), equation 2.1
                total += w[i, j] * np.log(p[i] / d) + w[j, i] * np.log(p[j] / d)
                total += t[i, j] * np.log(nu * np.sqrt(p[i] * p[j]) / d)
        return -total

    best = minimize(minus_log_likelihood, np.zeros(4), method="BFGS", options={"gtol": 1e-8}).x
    entry = davidson.strengths(wins, ties, 10)
    assert entry["strengths"] == pytest.approx(best[:3] - best[:3].mean(), abs=1e-4)
    assert entry["tie"] == pytest.approx(np.exp(best[3]), rel=1e-4)


def test_without_ties_it_is_bradley_and_terrys_model():
    wins, ties = votes(40, 4, nu=0.0)
    entry = davidson.strengths(wins, ties, 10)
    assert entry["strengths"] == pytest.approx(choix.ilsr_pairwise_dense(wins.sum((0, 1)), max_iter=1000), abs=1e-5)
    assert entry["tie"] == 0


def test_a_tie_is_not_half_a_win():
    """Half wins shrink strengths to 0 the more ties there are; Davidson's ties say how close, not how strong."""
    wins, ties = votes(400, 5, nu=3.0)
    halves = choix.ilsr_pairwise_dense((wins + ties / 2).sum((0, 1)), max_iter=1000)
    entry = davidson.strengths(wins, ties, 10)
    assert entry["strengths"] == pytest.approx([0.8, 0, -0.8], abs=0.12)
    assert halves[0] < 0.6


def test_many_tables_at_once_are_each_table_alone():
    tables = [votes(30, 3, seed=k, nu=nu) for k, nu in ((1, 0.5), (2, 0.0), (3, 2.0))]
    wins, ties = (np.stack([table[i].sum((0, 1)) for table in tables]) for i in range(2))
    together, nus = davidson.fit(wins, ties)
    for k in range(3):
        alone, nu = davidson.fit(wins[k:k + 1], ties[k:k + 1])
        assert together[k] == pytest.approx(alone[0]) and nus[k] == pytest.approx(nu[0])


def test_observers_and_videos_are_crossed():
    """What differs between videos widens the interval, which it could not if observers alone were drawn."""
    wins, ties = votes(20, 6, seed=1)
    wins[:, 0] = wins[:, 0].swapaxes(1, 2)  # one video is liked the other way
    wins[:, 3] = wins[:, 3].swapaxes(1, 2)
    both = davidson.strengths(wins, ties, 1000)
    alone = davidson.strengths(wins.reshape(120, 1, 3, 3), ties.reshape(120, 1, 3, 3), 1000)
    assert (both["over"], alone["over"]) == (crossed.BOTH, crossed.OBSERVERS)
    assert both["high"][0] - both["low"][0] > 1.5 * (alone["high"][0] - alone["low"][0])


def test_no_resample_without_finite_strengths_is_dropped():
    """One observer alone ever saw the first method lose. Where that one is not drawn its strength has no upper end."""
    wins, ties = votes(8, 3, truth=(0.5, 0.0, -0.5), nu=0.3)
    for other in (1, 2):
        wins[..., 0, other] += wins[..., other, 0] + ties[..., 0, other]
        wins[..., other, 0] = ties[..., 0, other] = ties[..., other, 0] = 0
    wins[0, 0, 1, 0] = 1
    entry = davidson.strengths(wins, ties, 2000)
    expected = (7 / 8) ** 8
    assert entry["resamples_without_finite_strengths"] / 2000 == pytest.approx(expected, abs=0.05)
    assert entry["high"][0] is None  # unbounded: it was finite when such resamples were left out
    assert entry["low"][0] is not None


def test_a_method_that_never_loses_is_refused():
    wins, ties = votes(8, 3)
    wins[..., :, 0] = ties[..., :, 0] = ties[..., 0, :] = 0
    assert davidson.strengths(wins, ties)["refused"] == davidson.NOT_FINITE
    assert davidson.strengths(wins * 0, ties)["refused"] == "every vote is a tie"


def test_4_observers_have_strengths_and_no_interval():
    entry = davidson.strengths(*votes(4, 12), 100)
    assert entry["low"] is entry["high"] is entry["over"] is None and len(entry["strengths"]) == 3


@pytest.mark.parametrize("observers, videos", [(12, 3), (15, 6)])
def test_the_interval_of_a_strength_covers(observers, videos):
    hits = 0
    for seed in range(60):
        entry = davidson.strengths(*votes(observers, videos, seed=seed), 600, seed)
        low, high = (entry[end][0] for end in ("low", "high"))
        hits += (low is None or low <= 0.8) and (high is None or high >= 0.8)
    assert hits >= 54
