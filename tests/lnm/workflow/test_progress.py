"""A line a stage and video, and an honest word on the time left."""

import io

import pytest
from conftest import PARAMS

from lnm.workflow import progress
from lnm.workflow.params import load
from lnm.workflow.progress import Progress, duration


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def start(project, text="", **words):
    (project / "params.yaml").write_text(PARAMS + text)
    return Progress(load(project / "params.yaml"), project / "build" / "logs", jobs=2, out=io.StringIO(), **words)


@pytest.mark.parametrize("seconds, exact, rough", [
    (3.6, "4 s", "10 s"), (59, "59 s", "1 min"), (385, "6 min 25 s", "6 min"), (3600, "1 h", "1 h"),
    (7500, "2 h 5 min", "2 h 5 min")])
def test_durations_in_words(seconds, exact, rough):
    assert (duration(seconds), duration(seconds, rough=True)) == (exact, rough)


def test_a_line_a_stage_with_what_it_took_and_what_is_left(project, clock):
    seen = start(project)
    seen.begin("prepare@ocean")
    clock[0] += 36
    seen.end("prepare@ocean")
    seen.end("prepare@rain", "up to date")
    assert seen.out.getvalue().splitlines() == [
        "ocean       prepare      36 s              about 12 min left", "rain        prepare      up to date"]
    seen.end("prepare@ocean")  # a second look at the end of a run says nothing
    seen.begin("resolve@ocean")
    seen.end("resolve@ocean")
    assert seen.out.getvalue().count("\n") == 2


def test_the_bar_of_a_fine_tune_is_believed(project, clock):
    seen = start(project)
    for video in ("ocean", "rain"):
        seen.end(f"prepare@{video}", "up to date")
    seen.begin("finetune@ocean")
    seen.begin("finetune@rain")
    before = seen.seconds_left()
    seen.seen("finetune@ocean", "fine-tuning ocean:  10%|#     | 42/420 [00:30<1:04:30,  1.4it/s, loss=0.1]")
    assert seen.seconds_left() == pytest.approx(before + 3870 - 0.91 * 420)
    clock[0] += 60
    assert seen.seconds_left() == pytest.approx(before + 3870 - 0.91 * 420 - 60)


def test_a_machine_twice_as_slow_is_expected_to_stay_so(project, clock):
    seen = start(project)
    before = seen.seconds_left()
    seen.begin("prepare@ocean")
    clock[0] += 72
    seen.end("prepare@ocean")
    assert seen.seconds_left() == pytest.approx(2 * (before - 0), rel=0.01)  # of rain, which has not begun


def test_what_was_measured_here_is_what_the_next_run_expects(project, clock):
    seen = start(project)
    seen.begin("sample@rain")
    clock[0] += 5
    seen.end("sample@rain")
    again = start(project)
    assert again.chains["rain"].expected["sample"] == 5 and again.chains["ocean"].expected["sample"] == 78


def test_another_size_is_no_ground_for_more_than_at_least(project, clock):
    assert start(project).time_left().startswith("about ")
    assert start(project, "size: 512\n").time_left().startswith("at least ")


def test_a_video_s_own_steps_count(project):
    (project / "params.yaml").write_text(PARAMS.replace("fps: 8,", "fps: 8, steps: 10,"))
    seen = Progress(load(project / "params.yaml"), project / "logs", jobs=2, out=io.StringIO())
    assert seen.chains["ocean"].expected["finetune"] == pytest.approx(9.1)


@pytest.mark.parametrize("more, steps", [("identity_steps: 2, noise_steps: 3", 8), ("identity_steps: 2, init: x", 10),
                                         ("noise_steps: 3, carried: 0.5", 8),
                                         ("noise_steps: 3, carried: 1.0}\nsample: {begin: flow", 11)])
def test_the_fine_tunes_of_the_arms_count_where_there_are_any(project, more, steps):
    seen = start(project, f"finetune: {{steps: 4, seeds: 2, {more}}}\n")
    assert seen.chains["ocean"].expected["finetune"] == pytest.approx(0.91 * steps)


def test_a_failure_names_the_log_and_shows_its_end_even_when_quiet(project, clock):
    seen = start(project, quiet=True)
    seen.begin("sample@ocean")
    seen.end("prepare@rain")
    seen.fail("sample@ocean", project / "build" / "logs" / "ocean.log", ["error: no"])
    said = seen.out.getvalue()
    assert said.startswith("ocean       sample       FAILED; ") and said.endswith("ocean.log ends:\n    error: no\n")


def test_on_a_terminal_one_line_moves(project, clock):
    seen = start(project)
    seen.tick()
    assert seen.out.getvalue() == "", "not in a file"
    seen.out.isatty = lambda: True
    seen.tick()
    assert seen.out.getvalue() == "\r\x1b[Klooking at what has changed; 0 s gone"
    seen.out.truncate(seen.out.seek(0))
    seen.begin("finetune@rain")
    seen.seen("finetune@rain", "fine-tuning rain:  50%|###   | 210/420 [03:00<03:00,  1.4it/s]")
    clock[0] += 65
    seen.tick()
    assert seen.out.getvalue().startswith("\r\x1b[Krain finetune 50%; 1 min 5 s gone, about ")
