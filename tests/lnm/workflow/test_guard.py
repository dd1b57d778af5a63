"""Nothing is left running when whoever started it is gone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import REPOSITORY
from small_notebook import write_notebook


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("victim", ["runner", "its starter"])
def test_a_sigkill_of_the_runner_or_of_dvc_ends_the_kernel(project, victim):
    write_notebook(project / "notebooks" / "n.ipynb", "import os, time\nopen('../pid', 'w').write(str(os.getpid()))",
          "while True: time.sleep(0.1)")
    runner = f"{sys.executable} -m lnm notebook run notebooks/n.ipynb -o out/n.ipynb & echo $! > runner; wait"
    # what DVC does: a stage's command under a shell, with DVC_STAGE in the environment that DVC itself lacks
    starter = ("import os, subprocess; "
               f"subprocess.run(['/bin/sh', '-c', {runner!r}], env=dict(os.environ, DVC_STAGE='n'))")
    environment = {k: v for k, v in os.environ.items() if k != "DVC_STAGE"} | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen([sys.executable, "-c", starter], env=environment, stderr=subprocess.DEVNULL)
    assert wait(lambda: (project / "pid").exists() and (project / "pid").read_text())
    kernel, running = int((project / "pid").read_text()), int((project / "runner").read_text())
    assert not gone(kernel) and not gone(running)
    os.kill(running if victim == "runner" else process.pid, signal.SIGKILL)
    assert wait(lambda: gone(kernel) and gone(running))
    process.kill()
    process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_a_command_that_runs_no_notebook_ends_with_its_dvc_too(project, shell):
    """It is stopped as it is about to write (tests/injected/): it would be there for ever."""
    command = f"{sys.executable} -m lnm params resolve ocean"
    starter = ("import os, subprocess; "
               f"subprocess.run([{shell!r}, '-c', {command!r}], env=dict(os.environ, DVC_STAGE='n'))")
    environment = {k: v for k, v in os.environ.items() if k != "DVC_STAGE"} | {
        "PYTHONPATH": f"{REPOSITORY / 'tests' / 'injected'}:{REPOSITORY}", "FAULTS_WHO": "command",
        "FAULTS_ROOT": str(project.resolve()), "FAULTS_JOURNAL": str(project / "journal"), "FAULTS_STOP": "1"}
    process = subprocess.Popen([sys.executable, "-c", starter], env=environment, stderr=subprocess.DEVNULL)
    journal = project / "journal.command"
    assert wait(lambda: journal.exists() and journal.read_text().endswith("stopped\n"))
    below = psutil.Process(process.pid).children(recursive=True)
    assert "resolve" in " ".join(below[-1].cmdline())
    process.kill()
    process.wait()
    alive = psutil.wait_procs(below, timeout=60)[1]
    for one in alive:
        one.kill()
    assert not alive


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="Linux groups no processes by session here")
def test_a_kernel_stands_behind_others_as_far_as_its_runner_does(project):
    """In a session of its own its niceness alone would count for nothing."""
    write_notebook(project / "notebooks" / "n.ipynb",
                   "import os\nopen('../seen', 'w').write(f\"{os.getsid(0)} {os.nice(0)} \" + "
                   "open('/proc/self/autogroup').read())")
    done = subprocess.run([sys.executable, "-m", "lnm", "notebook", "run", "notebooks/n.ipynb", "-o", "out/n.ipynb"],
                          env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, preexec_fn=lambda: os.nice(3))
    session, own, *_, group = (project / "seen").read_text().split()
    assert done.returncode == 0 and int(session) != os.getsid(0)
    assert int(own) == os.nice(0) + 3 and group == own
