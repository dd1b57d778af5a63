"""benchmarks.fan_out: what is killed, what is done again, which files differ, the small run, and the page."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from ruamel.yaml import YAML

from benchmarks import fan_out as bench
from lnm.errors import UserError
from lnm.workflow.params import load

RECORD = "benchmarks/results/fan_out.json"
# A command in place of `lnm fan-out`: a worker that is started again where it dies, in a checkout. It fine-tunes by six
# steps, keeps every second, then makes four films. `forgets`: what was kept is not gone on from.
HEAD = r"""
import os, shutil, subprocess, sys, time
from pathlib import Path
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

folder, parent = Path("build/fan-out/params/ocean"), os.getppid()
tune, films = folder / "store/finetune/key", folder / "store/sample/key"

def wait(seconds):
    time.sleep(seconds)
    if os.getppid() != parent:
        sys.exit(1)

def whole(path, step):
    save_file({"x": np.zeros(1)}, path.with_suffix(".part"), metadata={"step": str(step)})
    os.replace(path.with_suffix(".part"), path)

def work(forgets):
    with (folder / "build/attempts").open("a") as file:
        file.write(f"box {os.getpid()}\n")
    if not (folder / "tuned").exists():
        path, log, done = tune / "checkpoint.safetensors", tune / "log.csv", 0
        tune.mkdir(parents=True, exist_ok=True)
        if path.exists() and not forgets:
            with safe_open(path, "np") as file:
                done = int(file.metadata()["step"])
        cut = log.with_suffix(".part")
        cut.write_text("step\n" + "".join(f"{k}\n" for k in range(done)))
        os.replace(cut, log)  # whole or not at all, as a fine-tune's: who watches never reads half of it
        whole(path, done)
        for step in range(done, 6):
            wait(0.8)
            with log.open("a") as file:
                file.write(f"{step}\n")
            if step % 2:
                whole(path, step + 1)
        (folder / "tuned").touch()
        shutil.rmtree(tune)
    films.mkdir(parents=True, exist_ok=True)
    for k in range(4):
        if forgets or not (films / f"ours_{k}.safetensors").exists():
            whole(films / f"ours_{k}.safetensors", k)
        Path(f"results/ocean/sample/ours/seed_{k}").mkdir(parents=True, exist_ok=True)
        wait(0.8)
    shutil.rmtree(films)

if sys.argv[1] == "work":
    work(sys.argv[2] == "forgets")
else:
    (folder / "build").mkdir(parents=True, exist_ok=True)
    (folder / "build/attempts").unlink(missing_ok=True)
    while subprocess.run([sys.executable, __file__, "work", sys.argv[1]]).returncode:
        pass
    print("ocean: done on box in 3 s", flush=True)
"""


@pytest.mark.parametrize("way", ["goes on", "forgets"])
def test_two_kills_and_what_was_done_again_after_each(tmp_path, monkeypatch, way):
    (tmp_path / "build").mkdir()
    (tmp_path / "head.py").write_text(HEAD)

    def start(project, *words):
        with (project / "build" / "said").open("a") as said:
            return subprocess.Popen([sys.executable, "head.py", way], cwd=project, stdout=said)

    monkeypatch.setattr(bench, "start", start)
    found = bench.killed(tmp_path, "ocean", [])
    worker, head = found["kills"]
    assert found["begun"] == {"ocean": 2} and found["begun_after_the_second_kill"] == {"ocean": 1}
    assert 2 <= worker["kept"] < 6 and worker["process"] == sys.executable and worker["there_after_30_s"] == 0
    assert worker["went_on_from"] == (0 if way == "forgets" else worker["kept"])
    assert 1 <= head["kept"] < 4 == head["of"] and head["processes_below"] == 1 and head["there_after_30_s"] == 0
    assert head["made_again"] == (head["kept"] if way == "forgets" else 0)


def test_a_command_that_ends_before_anything_is_kept_is_said(tmp_path):
    head = subprocess.Popen([sys.executable, "-c", ""])
    with pytest.raises(UserError, match="nothing was kept there before the command ended"):
        bench.kept(head, tmp_path, "*.safetensors")


def run(folder, **files):
    """A project with a record of a run, and what its stages gave."""
    gave = {"prepare@ocean": ["results/ocean/prepare"], "evaluate@ocean": ["results/ocean/metrics.json"],
            "paper": ["results/paper"], "footage": ["footage"], "conformance": ["build/conformance.json"]}
    stages = {name: {"cmd": "", "outs": [{"path": path} for path in paths]} for name, paths in gave.items()}
    for name, text in {"results/ocean/prepare/a": "a", "results/ocean/prepare/deep/b": "b", "footage/x": str(folder),
                       "results/ocean/metrics.json": "{}", "results/paper/t": "t", "results/stray": str(folder),
                       "build/conformance.json": str(folder), **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with (folder / "build" / "dvc.lock").open("w") as file:
        YAML().dump({"stages": stages}, file)
    return folder


def test_files_of_stages_are_compared_and_what_is_put_aside_is_not(tmp_path):
    plain = run(tmp_path / "plain")
    same = bench.compared(plain, run(tmp_path / "same"))
    assert same == {"videos": {"files": 3, "equal": 3, "differ": []}, "shared": {"files": 1, "equal": 1, "differ": []}}
    other = bench.compared(plain, run(tmp_path / "other", **{
        "results/ocean/prepare/deep/b": "c", "results/ocean/prepare/more": "", "results/paper/t": "T"}))
    assert other == {"videos": {"files": 4, "equal": 2, "differ": ["results/ocean/prepare/deep/b",
                                                                   "results/ocean/prepare/more"]},
                     "shared": {"files": 1, "equal": 0, "differ": ["results/paper/t"]}}


def test_the_small_run_is_one_that_params_yaml_takes(tmp_path):
    told = YAML(pure=True).load((REPOSITORY / "params.yaml").read_text())
    with pytest.raises(UserError, match="lake: no video of params.yaml; there are ocean, clouds"):
        bench.few(told, ["ocean", "lake"])
    bench.few(told, ["ocean", "rapids"])
    YAML().dump(told, tmp_path / "params.yaml")
    params = load(tmp_path / "params.yaml")
    assert list(params.videos) == ["ocean", "rapids"] and params.rivalled == []
    every, steps = params.finetune.checkpoint_every, params.finetune.steps
    assert 0 < every < steps - every, "a kill after the first checkpoint leaves steps on both sides"
    aside = {"stages": {"conformance": {}}}
    bench.put_aside(aside)
    assert aside["stages"]["conformance"]["frozen"] is True


def test_the_page_shows_the_record_and_nothing_was_lost():
    page = (REPOSITORY / "docs" / "many-machines.md").read_text(encoding="utf-8")
    shown = page.split(f"<!-- {RECORD} -->\n")[1].split(f"\n<!-- end of {RECORD} -->")[0]
    record = json.loads(Path(REPOSITORY / RECORD).read_text(encoding="utf-8"))
    assert shown == bench.markdown(record), f"python -m benchmarks.fan_out --table {RECORD} prints it"
    assert all(row["files"] == row["equal"] > 10 and not row["differ"] for row in record["compared"].values())
    worker, head = record["fan_out"]["kills"]
    assert worker["process"].startswith("ray::") and 0 < worker["kept"] == worker["went_on_from"] < worker["of"]
    assert worker["there_after_30_s"] == head["made_again"] == 0 < head["kept"] < head["of"]
    assert record["fan_out"]["begun"] == {record["videos"][0]: 2, record["videos"][1]: 1}
