"""Answers that are remembered by the frames that were asked about."""

import numpy as np
import pytest
from textures import noise, translated

from eval.features import flow
from eval.features.once import once
from eval.metrics import dynamics, motion
from lnm.errors import UserError


def test_the_last_films_are_answered_from_memory_by_content_and_older_ones_anew():
    asked = []

    @once(2)
    def bright(frames):
        """The mean."""
        asked.append(len(frames))
        return float(frames.mean())

    a, b, c = noise(2, seed=1), noise(3, seed=2), noise(4, seed=3)
    assert bright(a) == bright(a.copy()) == a.mean() and asked == [2]
    bright(b), bright(a), bright(c)
    assert asked == [2, 3, 4]
    bright(a)
    assert asked == [2, 3, 4]  # b was asked about longest ago
    bright(b)
    assert asked == [2, 3, 4, 3] and bright.__doc__ == "The mean."
    bright(b.reshape(len(b), b.shape[1] // 2, -1, 3))  # the same bytes in another shape
    assert len(asked) == 5


def test_what_is_raised_is_raised_again():
    for _ in range(2):
        with pytest.raises(UserError, match="2 frames, got 1"):
            flow.dis(noise(1))


def test_the_flow_of_a_film_is_computed_once_for_all_that_ask(monkeypatch):
    pairs, estimate = [], flow.dis_pairs
    monkeypatch.setattr(flow, "dis_pairs", lambda a, b: pairs.append(len(a)) or estimate(a, b))
    film = translated(count=7, step=3)
    motion.flow_warps(film), dynamics.dynamic_margin(film), dynamics.tracks(film), dynamics.tracks(film)
    assert pairs == [6]  # backwards it is asked for by flow_warps alone, past this counter


def test_remembered_flow_is_the_films_own():
    for step in (1, 3, 1):
        film = translated(count=4, step=step)
        np.testing.assert_array_equal(flow.dis(film), flow.dis_pairs(film[:-1], film[1:]))
