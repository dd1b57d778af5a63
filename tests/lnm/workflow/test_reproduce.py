"""What a run of the pipeline tells: the stages as DVC says them, the end of a log that failed, the verdict."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from conftest import REPOSITORY

from lnm.errors import UserError
from lnm.project import STAGES as SEQUENCE
from lnm.workflow.params import own_steps
from lnm.workflow.reproduce import Pipeline, verdict

STAGES = """
stages:
  prepare:
    foreach: [ocean, rain]
    do:
      cmd: echo ${item} > prepared-${item}
      outs: ["prepared-${item}"]
  sample:
    foreach: [ocean]
    do:
      cmd: 'echo trying; echo "error: inputs/ocean.mp4 is torn; give another" >&2; exit 2'
      deps: [prepared-ocean]
      outs: [sampled]
"""


@pytest.fixture
def pipeline(project):
    (project / "dvc.yaml").write_text(STAGES)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=project, check=True)
    return lambda: Pipeline(project, jobs=1, out=io.StringIO())


def test_stages_are_told_as_dvc_runs_them_and_a_failure_by_the_end_of_its_log(project, pipeline):
    run = pipeline()
    assert run.dvc("x.log", "prepare@rain")
    assert run.progress.out.getvalue().startswith("rain        prepare      ")
    assert not run.dvc("y.log", "sample@ocean")
    said = run.progress.out.getvalue().splitlines()
    assert said[1].startswith("ocean       prepare      ")
    assert said[2] == "ocean       sample       FAILED; build/logs/y.log ends:"
    assert said[-1] == "    error: inputs/ocean.mp4 is torn; give another"
    assert not any("git add" in line or "dvc push" in line or "failed to reproduce" in line for line in said)
    assert "failed to reproduce" in (project / "build" / "logs" / "y.log").read_text(), "the log has everything"
    again = pipeline()
    assert again.dvc("z.log", "prepare@rain")
    assert again.progress.out.getvalue() == "rain        prepare      up to date\n"


def test_of_stages_that_are_run_whatever_fails_those_that_failed_are_told(project, pipeline):
    run = pipeline()
    assert run.dvc("w.log", "prepare@ocean")
    assert not run.dvc("x.log", "--single-item", "--keep-going", "sample@ocean", "prepare@rain")
    said = run.progress.out.getvalue().splitlines()
    assert [line.split()[:2] for line in said if not line.startswith(" ")] == [
        ["ocean", "prepare"], ["ocean", "sample"], ["rain", "prepare"]]
    assert "FAILED" in said[1] and not any("FAILED" in line for line in said[2:])
    assert "    error: inputs/ocean.mp4 is torn; give another" in said


def test_a_video_with_rivals_goes_before_the_others_and_what_needs_no_video_runs_beside_them(project, pipeline):
    stage = "{cmd: 'nice > NAME', outs: ['NAME']}"
    own = "".join(f"  {name}:\n    foreach: [ocean, rain]\n    do: {stage.replace('NAME', name + '-${item}')}\n"
                  for name in ("resolve", *SEQUENCE))
    (project / "dvc.yaml").write_text("stages:\n" + own + "".join(
        f"  {name}: {stage.replace('NAME', name)}\n" for name in ("code", "footage", "conformance", "paper")))
    with (project / "params.yaml").open("a") as params:
        params.write("\nrivals: {videos: first}\n")
    run = Pipeline(project, jobs=2, out=io.StringIO())
    assert run.params.rivalled == ["ocean"] and run.run()
    niceness = {path.name: int(path.read_text()) for path in project.glob("*-*")}
    begun = niceness["evaluate-ocean"]
    assert {name: nice - begun for name, nice in niceness.items()} == {
        f"{stage}-{video}": 5 * (video == "rain") for stage in ("resolve", *SEQUENCE) for video in ("ocean", "rain")}
    assert "Running stage 'conformance'" in (project / "build" / "logs" / "conformance.log").read_text()
    assert "Running stage 'conformance'" not in (project / "build" / "logs" / "closing.log").read_text()


STARTED = [sys.executable, "-m", "lnm", "repro"]


def sleeping(project, **ignored):
    """`lnm repro` in the middle of a stage, and the processes below it. ignored: {signal's name: whether it is, as
    whoever starts a command may have it: nohup that of a terminal that closes, a script SIGINT in the background}."""
    (project / "dvc.yaml").write_text("stages:\n  code:\n    cmd: sleep 600\n  footage:\n    cmd: sleep 600\n")

    def begin():
        signal.signal(signal.SIGINT, signal.SIG_IGN if ignored.get("SIGINT") else signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored.get("SIGHUP") else signal.SIG_DFL)

    run = subprocess.Popen(STARTED, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=project,
                           env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, preexec_fn=begin)
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        family = psutil.Process(run.pid).children(recursive=True)
        if any(name_of(process) == "sleep" for process in family):
            return run, family
        assert run.poll() is None, run.communicate()[0]
        time.sleep(0.1)
    raise AssertionError("no stage runs")


def name_of(process):
    """Its name; empty for one that has ended meanwhile, as what DVC starts on the side does."""
    try:
        return process.name()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


@pytest.mark.parametrize("number, ignored", [(signal.SIGINT, {}), (signal.SIGTERM, {}), (signal.SIGHUP, {}),
                                             (signal.SIGTERM, {"SIGINT": True})])
def test_a_run_that_is_stopped_leaves_no_process_and_says_so(project, pipeline, number, ignored):
    run, family = sleeping(project, **ignored)
    run.send_signal(number)
    said = run.communicate(timeout=60)[0]
    assert run.returncode == 130 and said.strip() == "stopped; the same command goes on from the last checkpoints"
    assert family and not psutil.wait_procs(family, timeout=60)[1]


def test_under_nohup_a_run_outlives_its_terminal(project, pipeline):
    run, family = sleeping(project, SIGHUP=True)
    stage = next(process for process in family if name_of(process) == "sleep")
    chain = {stage, *stage.parents()} & set(family)  # what DVC starts on the side, which may end, is no part of it
    run.send_signal(signal.SIGHUP)
    alive = psutil.wait_procs(family, timeout=2)[1]
    assert chain <= set(alive) and len(chain) > 1 and run.poll() is None
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=60)
    assert run.returncode == 130 and not psutil.wait_procs(family, timeout=60)[1]


def measured(project, video, **numbers):
    path = project / "results" / video / "evaluate" / "summary.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(numbers))


def test_the_verdict_is_one_sentence_of_the_run_s_numbers(project):
    """Motion is beside the clip through the autoencoder: beside the clip itself both of these would move too little."""
    measured(project, "ocean", motion_ratio=0.5, motion_ratio_vae=1.1, detail_ratio=0.894, frame0_db=24.8,
             fid_heldout=60.8)
    measured(project, "rain", motion_ratio=0.7, motion_ratio_vae=2.0, detail_ratio=0.5, frame0_db=43.04,
             fid_heldout=None)
    assert verdict(project, ["ocean", "rain"]) == (
        "Verdict: 1 of 2 videos' films move about as far as the real clip (they do 1.10 to 2.00 times, both through "
        "the autoencoder; 0.75 to 1.33 counts), have 0.50 to 0.89 times the clip's fine detail, begin at a PSNR of 25 "
        "to 43 dB to the still and score an FID of 61 to the held-out frames.")


def test_without_numbers_there_is_no_verdict(project):
    with pytest.raises(UserError, match="no video has been measured"):
        verdict(project, ["ocean"])


def test_a_video_s_own_steps_are_said_where_finetune_steps_does_not_reach(project):
    from conftest import PARAMS

    from lnm.workflow.params import load

    (project / "params.yaml").write_text(PARAMS.replace("fps: 8,", "fps: 8, steps: 10,") + "finetune: {steps: 1200}\n")
    params = load(project / "params.yaml")
    said = ["ocean trains 10 steps, its own; finetune.steps (1200) does not reach it, videos.ocean.steps does"]
    assert own_steps(params) == own_steps(params, "ocean") == said and own_steps(params, "rain") == []
    params.finetune.steps = 10
    assert own_steps(params) == [], "the same number needs no word"
