"""Review, statistics 11: catch trials that a random clicker does not pass."""

import numpy as np
import pytest

from eval.statistics.catch import LUCK, luck, trials_needed


def test_two_catch_trials_let_a_random_clicker_pass_one_time_in_four():
    assert luck(2) == 0.25 and luck(0) == 1


def test_the_number_of_catch_trials_keeps_luck_at_2_percent():
    assert trials_needed() == 6 and luck(6) == pytest.approx(1 / 64)
    for may_fail in range(4):
        needed = trials_needed(may_fail)
        assert luck(needed, may_fail) <= LUCK < luck(needed - 1, may_fail)


def test_luck_is_what_random_clicks_do():
    clicks = np.random.default_rng(0).integers(0, 2, (40_000, 9)).sum(1)
    assert np.mean(clicks <= 1) == pytest.approx(luck(9, 1), abs=0.003)


def test_the_defaults_of_the_page_and_of_a_run_keep_luck_at_2_percent():
    from inspect import signature

    from eval.study.page import write_page
    from eval.study.simulate import simulate
    from lnm.workflow.params import HumanStudy

    defaults = [signature(made).parameters["catch"].default for made in (write_page, simulate)]
    for catch in (HumanStudy().catch, *defaults):
        assert luck(catch, HumanStudy().max_failed) <= LUCK
