"""benchmarks.coverage at few draws: what it counts, and that a line that falls short is told from one that holds."""

import json

import pytest
from conftest import REPOSITORY

from benchmarks import coverage


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
