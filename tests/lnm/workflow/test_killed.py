"""The pipeline interrupted, and side by side: a fine-tune killed by SIGKILL, whoever is hit, and run again gives the
bytes of one that was left alone; videos that run at the same time keep out of each other's way."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import REPOSITORY
from tiny import SIZE, write_tiny_checkpoint

from lnm import video
from lnm.workflow.reproduce import Pipeline


def start(project, *words):
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    env.pop("PYTHONPATH", None)
    return subprocess.Popen(words, cwd=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True)


def dvc(project, *words):
    return start(project, sys.executable, "-m", "dvc", "repro", "--single-item", *words)


def finish(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The pipeline itself, on a tiny checkpoint, up to and without the fine-tune."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("lnm", "eval", "notebooks"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "dvc.yaml", folder)
    write_tiny_checkpoint(folder / "checkpoints" / "lnm-mini")
    for name in ("checkpoints/lnm-mini-clip", "checkpoints/lnm-mini-motion", "checkpoints/lnm-mini-decoder", "footage",
                 "weights", "data"):
        (folder / name).mkdir(parents=True)
        (folder / name / "empty").touch()
    picture = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    video.write_frames(folder / "inputs" / "drift", np.stack([np.roll(picture, i, 1) for i in range(16)]))
    (folder / "params.yaml").write_text(
        f"size: {SIZE}\ndevice: cpu\ncheckpoint: {{name: checkpoints/lnm-mini, clip: null}}\n"
        "finetune: {steps: 120, frames: 3, preview_every: 0, checkpoint_every: 5}\n"
        "videos:\n  drift: {path: inputs/drift, fps: 8, prompts: [waves]}\n"
        "  slow: {path: inputs/drift, fps: 4, prompts: [waves]}\n")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=folder, check=True)
    for stage in ("code", "resolve@drift", "prepare@drift"):
        finish(dvc(folder, stage))
    return folder


def outputs(project):
    out = project / "results" / "drift" / "finetune"
    return (out / "temporal.safetensors").read_bytes(), (out / "log.csv").read_bytes()


@pytest.fixture(scope="module")
def whole(project):
    finish(dvc(project, "finetune@drift"))
    return outputs(project)


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
@pytest.mark.parametrize("victim", ["dvc", "papermill", "group"])
def test_killed_and_resumed_gives_the_same_bytes(project, whole, victim):
    shutil.rmtree(project / "store", ignore_errors=True)
    process = dvc(project, "--force", "finetune@drift")
    checkpoints = (project / "store").rglob
    deadline = time.monotonic() + 200
    while not list(checkpoints("checkpoint.safetensors")):
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.1)
    family = psutil.Process(process.pid).children(recursive=True)
    if victim == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif victim == "dvc":
        process.kill()
    else:
        next(p for p in family if "notebook" in p.cmdline()).kill()
    process.communicate(timeout=60)
    gone, alive = psutil.wait_procs(family, timeout=20)
    assert not alive, f"went on alone: {[p.cmdline() for p in alive]}"
    assert not (project / "results" / "drift" / "finetune" / "temporal.safetensors").exists()
    assert list(checkpoints("checkpoint.safetensors"))
    rwlock = project / ".dvc" / "tmp" / "rwlock"
    if rwlock.exists() and not rwlock.stat().st_size:
        rwlock.unlink()  # as make does
    finish(dvc(project, "--force", "finetune@drift"))
    assert outputs(project) == whole


def test_videos_side_by_side_wait_for_each_other(project, whole, monkeypatch):
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
    assert finish(dvc(project, "prepare@slow", "finetune@drift")).count("didn't change") == 2
