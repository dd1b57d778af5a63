"""The pipeline interrupted, and side by side: a stage killed by SIGKILL at any moment, whoever is hit, and run again
gives the bytes of one that was left alone, and goes on from its checkpoint; results deleted by hand come again; videos
that run at the same time keep out of each other's way. More kills, of every stage: `make faults`."""

import io
import os
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faults import Faults, finish, forget, record, start, write_project

from lnm.workflow.reproduce import Pipeline

PARAMS = """\
size: 32
device: cpu
checkpoint: {name: checkpoints/lnm-mini, clip: null}
finetune: {steps: 20, frames: 3, preview_every: 0, checkpoint_every: 4, seeds: 2}
sample: {num_frames: 4, num_inference_steps: 1, seeds: 1}
rivals: {methods: [animatediff, dreamix], videos: all, films: 1, steps: 8}
videos:
  drift: {path: inputs/drift, fps: 8, prompts: [waves]}
  slow: {path: inputs/drift, fps: 4, prompts: [waves]}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The pipeline itself, on a tiny checkpoint, up to and without the fine-tune."""
    folder = write_project(tmp_path_factory.mktemp("project") / "project", PARAMS)
    finish(start(folder, "code", "resolve@drift", "prepare@drift"))
    return folder


@pytest.fixture(scope="module")
def faults(project):
    """What the stages that train give when they are left alone."""
    faults = Faults(project)
    for stage in ("finetune@drift", "rivals@drift"):
        faults.leave_alone(stage)
    return faults


# The moments, each just before it happens: a line of the log in the first fine-tune, one in the second, the second's
# temporal file; the first rival's film.
KILLS = [("finetune@drift", "dvc", "append .*log.csv", 11, (40, 8, 32)),
         ("finetune@drift", "kernel", "append .*log.csv", 27, (40, 24, 16)),
         ("finetune@drift", "group", "os.rename .*temporal.safetensors", 2, (40, 40, 0)),
         ("rivals@drift", "runner", "os.rename .*film.mp4", 1, (16, 8, 8))]


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
@pytest.mark.parametrize("stage, victim, moment, number, steps", KILLS)
def test_killed_and_run_again_goes_on_to_the_same_bytes(project, faults, stage, victim, moment, number, steps):
    """steps: of the whole stage, kept by checkpoints at the kill, taken after it."""
    events = [k for k, line in enumerate(faults.whole[stage]["kernel"], 1) if re.match(moment, line)]
    row = faults.kill(stage, victim, events[number - 1])
    assert not row.failed, row
    assert row.work["steps"] == [*steps]


def test_results_deleted_by_hand_come_again(project, faults):
    """From DVC's cache; and where that is gone as well, by the stage itself."""
    cache = project / ".dvc" / "cache"
    stage, results = "finetune@drift", project / "results" / "drift"
    outs = faults.outs[stage]
    whole = (results / "finetune" / "temporal.safetensors").read_bytes()
    for cached in (True, False):
        shutil.rmtree(results / "finetune")
        if not cached:
            cache.rename(cache.with_name("away"))
            forget(project, stage)
        finish(start(project, stage))
        assert (results / "finetune" / "temporal.safetensors").read_bytes() == whole and record(project, stage) == outs
    shutil.copytree(cache.with_name("away"), cache, dirs_exist_ok=True)  # what other stages have there


def test_videos_side_by_side_wait_for_each_other(project, faults, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    said = io.StringIO()
    pipeline = Pipeline(project, jobs=2, out=said, stages=("prepare",))
    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(pipeline.video, ["drift", "slow"]))
    told = {tuple(line.split()[:2]): line for line in said.getvalue().splitlines()}
    assert "up to date" in told["drift", "prepare"] and " s " in told["slow", "prepare"]
    assert "Running stage 'prepare@slow'" in (project / "build" / "logs" / "slow.log").read_text()
    assert (project / "results" / "slow" / "prepare" / "latents.safetensors").exists()
    assert finish(start(project, "prepare@slow", "finetune@drift")).count("didn't change") == 2
