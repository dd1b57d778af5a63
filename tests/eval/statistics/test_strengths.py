"""Bradley-Terry against another maximum of its likelihood."""

import numpy as np
import pytest

from eval.statistics import strengths


def test_bradley_terry_equals_another_maximum_of_the_likelihood():
    import choix

    rng = np.random.default_rng(1)
    games, data = np.zeros((8, 4, 4)), []
    for observer in range(8):
        for _ in range(20):
            i, j = rng.permutation(4)[:2]
            games[observer, i, j] += 1
            data.append((i, j))
    expected = choix.opt_pairwise(4, data, alpha=0)
    fitted = strengths.bradley_terry(games, 50, 0)
    assert fitted["strengths"] == pytest.approx(expected - expected.mean(), abs=1e-4)
    assert all(low < value < high for low, value, high in zip(fitted["low"], fitted["strengths"], fitted["high"]))
    games[:, :, 0] = 0  # nobody ever prefers another to the first
    assert "no finite strengths" in strengths.bradley_terry(games, 50, 0)["refused"]
