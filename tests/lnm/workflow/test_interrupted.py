"""Ctrl-C ends the pipeline's notebooks, whoever of its processes is told, and the same command goes on afterwards."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from conftest import REPOSITORY
from small_notebook import write_notebook

# A sampling that does not listen: it is in the middle of a step, and what it has done it finds again.
STEPS = """
import os, pathlib, signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
done = pathlib.Path("../steps")
for step in range(len(done.read_text()) if done.exists() else 0, 3):
    done.open("a").write(str(step))
    while step == 1 and not os.path.exists("../on"):
        time.sleep(0.05)
"""
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "DVC_STAGE"} | {"PYTHONPATH": str(REPOSITORY)}


@pytest.fixture
def stage(project):
    write_notebook(project / "notebooks" / "n.ipynb", STEPS)
    (project / "dvc.yaml").write_text(
        f"stages:\n  code:\n    cmd: {sys.executable} -m lnm notebook run notebooks/n.ipynb -o out/n.ipynb\n"
        "    outs: [out/n.ipynb]\n  footage:\n    cmd: sleep 600\n")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=project, check=True)
    return project


def waiting(project, run):
    """The run's processes below it, once its kernel stands in the middle of a step."""
    deadline = time.monotonic() + 600
    while not (project / "steps").is_file() or (project / "steps").read_text() != "01":
        assert run.poll() is None and time.monotonic() < deadline, run.stdout.read()
        time.sleep(0.05)
    return psutil.Process(run.pid).children(recursive=True)


def command(process):
    """Its command line; empty for one that has ended meanwhile, as what DVC starts on the side does."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def of(family, word):
    """The last of them with that word in its command line: below it a shell's, which names its command, where the
    shell stays (dash does, bash does not)."""
    return [p for p in family if word in command(p)][-1]


def started(stage):
    """`lnm repro` in a session of its own."""
    return subprocess.Popen([sys.executable, "-m", "lnm", "repro"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, cwd=stage, env=ENVIRONMENT, start_new_session=True,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))


def goes_on(stage):
    """The same command, once the stage may: what was done is not done again."""
    (stage / "on").touch()
    again = subprocess.run([sys.executable, "-m", "lnm", "repro", "code"], cwd=stage, env=ENVIRONMENT, text=True,
                           capture_output=True)
    assert again.returncode == 0, again.stdout + again.stderr
    assert (stage / "steps").read_text() == "012", "what was done is not done again"
    assert [path.name for path in (stage / "out").glob("*.ipynb")] == ["n.ipynb"]


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
@pytest.mark.parametrize("told", ["lnm repro", "the group of dvc", "dvc alone", "the notebook's runner alone"])
def test_ctrl_c_leaves_no_process_and_the_same_command_goes_on(stage, told):
    run = started(stage)
    family = waiting(stage, run)
    dvc, kernel = of(family, "lnm.workflow.dvc"), of(family, "ipykernel")
    assert of(family, "notebook run").is_running() and kernel.is_running()
    if told == "the group of dvc":
        os.killpg(dvc.pid, signal.SIGINT)
    else:
        (of(family, "notebook run") if "runner" in told else dvc if told == "dvc alone" else run).send_signal(
            signal.SIGINT)
    left = psutil.wait_procs(family, timeout=60)[1]
    for process in left:
        process.kill()
    said = run.communicate(timeout=60)[0]
    assert not left, f"went on: {[command(p) for p in left]}"
    assert run.returncode == (130 if told == "lnm repro" else 1), said
    assert not (stage / "out" / "n.ipynb").exists()
    goes_on(stage)


@pytest.mark.skipif(sys.platform != "linux", reason="the chain of parents is read from /proc")
def test_a_second_run_is_refused_in_one_line_and_a_sigkill_of_the_first_leaves_no_process(stage):
    run = started(stage)
    family = waiting(stage, run)
    second = subprocess.run([sys.executable, "-m", "lnm", "repro"], cwd=stage, env=ENVIRONMENT, text=True,
                            capture_output=True)
    assert (second.returncode, second.stdout) == (2, "")
    assert second.stderr == "error: another `lnm repro` is running here; wait for it or stop it\n"
    by_hand = subprocess.run([sys.executable, "-m", "dvc", "repro", "code"], cwd=stage, env=ENVIRONMENT, text=True,
                             capture_output=True)
    assert by_hand.returncode != 0 and "n.ipynb' is busy" in by_hand.stderr + by_hand.stdout, by_hand
    assert run.poll() is None and (stage / "steps").read_text() == "01", "the first knows nothing of it"
    run.kill()
    alive = psutil.wait_procs(family, timeout=60)[1]
    for process in alive:
        process.kill()
    run.communicate(timeout=60)
    assert not alive, f"went on: {[command(p) for p in alive]}"
    (stage / ".dvc" / "tmp" / "rwlock").write_text("")  # as dvc leaves it where it is killed while it writes
    goes_on(stage)
