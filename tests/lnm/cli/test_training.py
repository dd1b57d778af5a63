"""`lnm finetune` and `lnm motion train` started once a GPU: the first process writes and talks, each has its GPU."""

import os
import subprocess
import sys

import numpy as np
from conftest import REPOSITORY
from tiny import SIZE, write_tiny_checkpoint

from lnm import video
from lnm.cli import style
from lnm.cli.training import own_device
from lnm.temporal_file import read_temporal


def test_two_processes_write_one_file(tmp_path):
    write_tiny_checkpoint(tmp_path / "tiny")
    picture = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    video.write_mp4(tmp_path / "clip.mp4", np.stack([np.roll(picture, i, 1) for i in range(16)]), 8)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "lnm",
         "finetune", "clip.mp4", "--prompt", "waves", "--out", "waves.safetensors", "--steps", "2", "--size", str(SIZE),
         "--checkpoint", "tiny", "--set", "frames=3", "--device", "cpu"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == f"temporal file: {tmp_path / 'waves.safetensors'}\n"
    assert done.stderr.count("fps: 8, as none is given") == 1 and done.stderr.count("loss: ") == 1
    assert read_temporal(tmp_path / "waves.safetensors").notes.steps == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4", "tiny", "waves.safetensors"]


def test_of_several_gpus_each_process_has_its_own(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert own_device("cuda") == "cuda" and own_device("cpu") == "cpu"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert own_device("cuda") == "cuda:1" and own_device("cpu") == "cpu"


def test_of_several_processes_one_talks(monkeypatch, capsys):
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        style.say(f"by {rank}")
    assert capsys.readouterr().err == "by 0\n"
