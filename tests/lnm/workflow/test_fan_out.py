"""Videos on two of Ray's workers, one of them killed: nothing is lost, and the bytes are those of `dvc repro`."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest
from conftest import PARAMS, REPOSITORY

from lnm.cli import fan_out as command
from lnm.cli import main
from lnm.errors import UserError
from lnm.files import write_json
from lnm.project import STAGES
from lnm.workflow import checkout, fan_out
from lnm.workflow.checkout import Cell, grid
from lnm.workflow.reproduce import Pipeline

# dvc.yaml's stages by name, light: each adds a line to what the stage before has made. A notebook's interruptions and
# bytes are tested beside this (test_killed.py).
STAGE = """
  {name}:
    foreach: ${{videos}}
    do:
      cmd: python notebooks/stage.py {name} ${{key}}
      deps: ["{needs}"]
      outs:
        - {makes}: {{push: false}}
"""
# A stage as a notebook's runner is one: it ends with whoever started it, and a fine-tune goes on from its store.
SCRIPT = r"""
import os, sys, time
from pathlib import Path
from lnm.workflow.guard import follow_dvc
follow_dvc()
name, video = sys.argv[1:]
target = Path("results", video, name)
log, store = Path("store", "ran"), Path("store", "checkpoint")
store.parent.mkdir(exist_ok=True)
step = int(store.read_text()) if name == "finetune" and store.exists() else 0
with log.open("a") as file:
    file.write(f"{name} from {step}\n")
while name == "finetune" and video == "ocean" and step < 40:
    time.sleep(0.25)
    step += 1
    store.with_suffix(".part").write_text(str(step))
    os.replace(store.with_suffix(".part"), store)
target.mkdir(parents=True, exist_ok=True)
before = {"finetune": "prepare", "sample": "finetune", "evaluate": "sample"}.get(name)
text = Path("results", video, before, "x").read_text() if before else ""
(target / "x").write_text(f"{text}{name}\n")
if name == "evaluate":
    (target / "summary.json").write_text('{"motion_ratio": 1.0}')
"""


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A project of two videos whose stages cost nothing."""
    folder = tmp_path_factory.mktemp("head")
    made = [f"results/${{key}}/{name}" for name in STAGES]
    stages = "".join(STAGE.format(name=name, needs=needs, makes=makes)
                     for name, needs, makes in zip(STAGES, ["build/resolve/${key}", *made], made))
    resolve = STAGE.format(name="resolve", needs="inputs/x", makes="build/resolve/${key}").replace(
        "python notebooks/stage.py resolve ${key}", "mkdir -p build/resolve && cp inputs/x build/resolve/${key}")
    for name, text in {"dvc.yaml": f"stages:{resolve}{stages}", "params.yaml": f"{PARAMS}size: 32\ndevice: cpu\n",
                       "notebooks/stage.py": SCRIPT, "inputs/x": "x", "eval/x": "", "build/code/x": ""}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    shutil.copytree(REPOSITORY / "lnm", folder / "lnm", ignore=shutil.ignore_patterns("__pycache__", "demo"))
    dvc(folder, "init", "--no-scm", "-q")
    return folder


def dvc(folder, *words):
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(folder),
                        "DVC_NO_ANALYTICS": "1"}
    run = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=folder, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def results(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted((folder / "results" / "ocean").rglob("*")) if path.is_file()}


@pytest.mark.skipif(sys.platform != "linux", reason="who is followed is found in /proc")
def test_a_killed_worker_loses_nothing_and_the_project_computes_nothing_again(head, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed (the extra cluster)")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    chains = fan_out.plan(head, grid(head, []), head / "build" / "fan-out")
    ocean, rain = chains

    def kill():
        while not (ocean.folder / "store" / "checkpoint").exists():
            time.sleep(0.1)
        os.kill(int((ocean.folder / "build" / "attempts").read_text().split()[-1]), signal.SIGKILL)

    with ExitStack() as stack:
        try:
            stack.enter_context(fan_out.cluster("local", 2, head, quiet=True))
        except UserError as error:  # its own patience with a busy machine is fixed
            pytest.skip(f"Ray does not start here: {error}")
        threading.Thread(target=kill, daemon=True).start()
        ended = list(fan_out.fan_out(chains, cpus=1, gpus=0, quiet=True))
    assert len(ended) == 2 and all(chain.fine for chain in chains), [chain.why for chain in chains]
    assert (ocean.attempts, rain.attempts) == (2, 1) and "2 attempts" in ocean.line()
    *ran, = (ocean.folder / "store" / "ran").read_text().splitlines()
    assert [line.split()[0] for line in ran] == ["prepare", "finetune", *STAGES[1:]]
    assert ran[1] == "finetune from 0" and int(ran[2].split()[-1]) > 0, "it went on from its checkpoint"

    said = io.StringIO()
    pipeline = Pipeline(head, 1, out=said)
    assert all(pipeline.video(name) for name in ("ocean", "rain"))
    lines = said.getvalue().splitlines()
    assert len(lines) == 2 * len(STAGES) and all("from DVC's cache" in line for line in lines), lines
    assert not (head / "store").exists(), "nothing ran here"

    plain = checkout.make(head, tmp_path / "plain", Cell(), "ocean", tmp_path / "cache")  # a cache that knows nothing
    ran = dvc(plain, "repro", "--single-item", *(f"{stage}@ocean" for stage in ("resolve", *STAGES)))
    assert ran.count("Running stage") == 1 + len(STAGES) and results(plain) == results(head)
    assert len(results(head)) == 1 + len(STAGES)


# ---------------------------------------------------------------- without a cluster


def test_an_attempt_on_another_machine_puts_its_locks_away(tmp_path):
    locks = tmp_path / ".dvc" / "tmp" / "rwlock"
    locks.parent.mkdir(parents=True)
    (tmp_path / "build").mkdir()
    locks.write_text("{}")
    assert fan_out._attempt(tmp_path) == 1 and locks.exists()
    assert fan_out._attempt(tmp_path) == 2 and locks.exists(), "of this machine: DVC knows which processes live"
    (tmp_path / "build" / "attempts").write_text("elsewhere 1\n")
    assert fan_out._attempt(tmp_path) == 2 and not locks.exists()
    locks.touch()
    assert fan_out._attempt(tmp_path) == 3 and not locks.exists(), "left empty by a killed DVC"


@pytest.mark.skipif(sys.platform != "linux", reason="who is followed is found in /proc")
def test_a_stage_ends_when_the_worker_that_is_followed_does(tmp_path):
    """Worker, dvc, shell, stage: only the worker is killed, the stage goes."""
    stage = tmp_path / "stage.py"
    stage.write_text("import os, time\nfrom pathlib import Path\nfrom lnm.workflow.guard import follow_dvc\n"
                     "follow_dvc()\nPath('part').write_text(str(os.getpid()))\nos.replace('part', 'stage')\n"
                     "time.sleep(600)\n")
    inner = ("import os, subprocess, sys; subprocess.run(f'{sys.executable} stage.py; true', shell=True, "
             "env=os.environ | {'DVC_STAGE': 'x'})")
    worker = ("import os, subprocess, sys; "
              f"subprocess.run([sys.executable, '-c', {inner!r}], "
              "env=os.environ | {'LNM_FOLLOWED': str(os.getpid())})")
    process = subprocess.Popen([sys.executable, "-c", worker], cwd=tmp_path,
                               env=os.environ | {"PYTHONPATH": str(REPOSITORY)})
    deadline = time.monotonic() + 300
    while not (tmp_path / "stage").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    pid = int((tmp_path / "stage").read_text())
    assert Path(f"/proc/{pid}").exists()
    process.kill()
    process.wait()
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists()


@pytest.fixture
def without_ray(head, monkeypatch):
    """The command in the project, where workers answer at once: whether all goes well is in the list."""
    fine = [True]
    monkeypatch.chdir(head)
    (head / "dvc.lock").touch()
    monkeypatch.setattr(command, "Pipeline", lambda *args: type("Shared", (), {
        "ended": lambda self: nullcontext(), "dvc": lambda self, *words: True})())
    monkeypatch.setattr(fan_out, "cluster", lambda *args: nullcontext())

    def answer(chains, cpus, gpus, quiet):
        for chain in chains:
            assert (cpus, gpus) == (1, 0)
            path = chain.folder / "results" / chain.video / "evaluate" / "summary.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"motion_ratio": float(chain.cell.settings.get("size", 0)) / 64}))
            chain.fine, chain.why, chain.seconds, chain.attempts, chain.host = fine[0], "torn", 61.0, 1, "box"
            yield chain

    monkeypatch.setattr(fan_out, "fan_out", answer)
    return fine


def test_a_grid_ends_in_a_table_and_changes_nothing_here(head, without_ray, capsys):
    assert main(["fan-out", "--set", "size=64,128", "--folder", str(head / "build" / "grid")]) == 0
    said = capsys.readouterr().out
    assert "ocean size=64: done on box in 1 min 1 s" in said
    table = (head / "build" / "grid" / "table.csv").read_text().splitlines()
    assert table[0] == "size,video,motion_ratio,seconds,results" and table[1].startswith("64,ocean,1.0,61,")
    assert [row.split(",")[:3] for row in table[2:]] == [["64", "rain", "1.0"], ["128", "ocean", "2.0"],
                                                        ["128", "rain", "2.0"]]
    assert "size: 32\n" in (head / "params.yaml").read_text()


def test_what_is_set_is_no_formula_in_the_table(tmp_path):
    chains = []
    for value in ("=1+1", "-2", "@SUM(A1)"):
        chains.append(fan_out.Chain(Cell((f"still={value}",)), "ocean", tmp_path / str(len(chains)), fine=True))
        write_json(chains[-1].folder / "results/ocean/evaluate/summary.json", {"motion_ratio": -1.5})
    frame = fan_out.table(chains, tmp_path / "table.csv")
    rows = [row.split(",")[:3] for row in (tmp_path / "table.csv").read_text().splitlines()]
    assert rows == [["still", "video", "motion_ratio"], ["'=1+1", "ocean", "-1.5"], ["-2", "ocean", "-1.5"],
                    ["'@SUM(A1)", "ocean", "-1.5"]]
    assert list(frame["still"]) == ["=1+1", "-2", "@SUM(A1)"], "what is printed is as it was set"


def test_a_chain_that_failed_is_named_and_the_others_go_on(head, without_ray, capsys):
    without_ray[0] = False
    assert main(["fan-out", "--set", "size=64"]) == 1
    said = capsys.readouterr().err
    assert "ocean size=64: FAILED; torn" in said and "rain size=64: FAILED" in said
    assert said.splitlines()[-1].startswith("error: 2 of 2 failed")


def test_without_a_grid_the_project_goes_on_with_what_all_videos_share(head, without_ray, monkeypatch):
    done = []
    monkeypatch.setattr(command, "everything", lambda *args: done.append(args))
    assert main(["fan-out", "--jobs", "2", "--quiet"]) == 0 and done == [(head, 2, True)]
    assert not list((head / "build" / "fan-out" / "params").iterdir()), "what is in the cache needs no checkout"


@pytest.mark.parametrize("address, said", [
    ("local", "fan-out: Ray does not start on this machine .*timed out.*again when there is less"),
    ("auto", "--address auto: no Ray answers there .*timed out.*`ray start --head` begins one")])
def test_a_ray_that_does_not_start_is_tried_three_times_and_said(monkeypatch, tmp_path, address, said):
    tries = []

    def init(*words, **named):
        tries.append(words)
        raise RuntimeError("The current node timed out\nduring startup")

    monkeypatch.setitem(sys.modules, "ray", type("Ray", (), {"init": init, "shutdown": lambda: None}))
    with pytest.raises(UserError, match=said), fan_out.cluster(address, 1, tmp_path, True):
        pass
    assert tries == [(address,)] * 3


def test_without_ray_it_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="Ray is not installed; `pip install ray` brings it"), \
            fan_out.cluster("local", 1, tmp_path, True):
        pass
