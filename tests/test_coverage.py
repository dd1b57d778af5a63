"""benchmarks.coverage at few draws: what it counts, and that a line that falls short is told from one that holds."""

import json

import numpy as np
import pytest
from conftest import REPOSITORY

from benchmarks import coverage
from eval.statistics import many_to_one, paired


def test_it_finds_the_bootstrap_short_at_the_defaults_2_films_and_students_interval_not():
    lines = {(line.what, line.data): line for line in coverage.means(400, 0)}
    assert lines["was: percentile bootstrap", "2 films, normal"].measured == pytest.approx(0.5, abs=0.07)
    assert not lines["was: percentile bootstrap", "3 films, normal"].holds
    assert lines["Student's t", "6 films, normal"].holds and lines["Student's t", "6 films, normal"].used
    assert not lines["Student's t (not printed: points and range)", "2 films, normal"].used


def test_all_that_is_printed_is_counted_long_tails_by_the_bound_that_the_docs_say():
    lines = coverage.means(1500, 0)
    printed = [line for line in lines if line.what == "Student's t"]
    assert {line.data for line in printed} == {f"{n} films, {name}" for n in (5, 6, 8) for name in (
        "normal", "exponential")} and all(line.used for line in printed)
    for line in printed:
        tails = line.data.endswith("exponential")
        assert line.nominal == 0.95 and line.bound == pytest.approx(0.85 if tails else 0.9) and line.holds
        assert not tails or line.measured < 0.92  # which is why another bound is said


def test_a_rate_counts_only_the_draws_that_give_an_answer():
    answers = iter([True, None, False, True])
    assert coverage.rate(4, None, lambda rng: next(answers)) == (pytest.approx(2 / 3), 0.75)


def test_a_test_may_not_exceed_and_an_interval_may_not_fall_short_of_what_it_says():
    def line(nominal, measured, is_test):
        return coverage.Line("x", "y", nominal, measured, 1.0, True, is_test)

    assert line(0.95, 0.91, False).holds and not line(0.95, 0.89, False).holds
    assert line(0.05, 0.01, True).holds and not line(0.05, 0.07, True).holds


def test_a_draw_of_arms_is_judged_as_the_harness_judges_it():
    """The one |t| asked for once against the harness's own p of each draw, near the level on both sides."""
    least, rng, near = coverage.critical(3), np.random.default_rng(0), []
    for _ in range(60):
        one, others = rng.normal(0, 1.5, 2), rng.normal(0, 1, (3, 2))
        if coverage.any_differs(one, others, 0.8 * least) and not coverage.any_differs(one, others, 1.25 * least):
            p = min(answer["p"] for answer in many_to_one.against_control(one, list(others)))
            near.append(p <= many_to_one.LEVEL)
            assert abs(p - many_to_one.LEVEL) < 2e-3 or near[-1] == coverage.any_differs(one, others, least)
    assert {True, False} == set(near)


def test_arms_of_unequal_spreads_differ_too_often_and_of_equal_ones_do_not():
    equal, between, apart = coverage.arms(300, 0, count=3)
    assert equal.measured == pytest.approx(0.05, abs=0.015) and equal.holds and equal.bound == pytest.approx(0.06)
    assert equal.measured < between.measured < apart.measured and apart.measured > 0.1
    assert all(line.used and line.is_test and line.given == 1 for line in (equal, between, apart))


def test_the_crossed_test_is_the_larger_p_and_keeps_its_level_where_that_of_fine_tunes_alone_would_not(monkeypatch):
    (line,) = coverage.crossed_signs(300, 0)
    assert 0 < line.measured <= line.bound == pytest.approx(0.06) and line.used and line.is_test
    monkeypatch.setattr(paired, "factors", lambda names: [[name.split(", ")[0] for name in names]])
    (alone,) = coverage.crossed_signs(300, 0)
    assert alone.measured > line.measured + 0.02


def test_scalar_series_are_counted_wherever_an_interval_comes_out_and_were_short():
    lines = {(line.what, line.data): line for line in coverage.scalars(100, 0)}
    was = lines["was: jackknife by time", "15 scalars, r = 0.7"]
    assert not was.used and not was.holds and 0 < was.given < 0.5
    now = lines["jackknife by time", "15 scalars, r = 0.7"]
    assert now.given == 0 and not now.used
    assert all(line.used for (what, data), line in lines.items() if data.startswith("240"))


def test_the_docs_have_the_table_of_the_measured_coverage():
    name = "benchmarks/results/coverage.json"
    measured = json.loads((REPOSITORY / name).read_text(encoding="utf-8"))
    page = (REPOSITORY / "docs" / "report.md").read_text(encoding="utf-8")
    table = page.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- end of {name} -->")[0]
    assert table == coverage.markdown(measured["lines"]), f"python -m benchmarks.coverage --table {name} prints it"
    assert measured["passed"] and all(line["holds"] for line in measured["lines"] if line["used"])
