"""Memory that runs out in a notebook, and Ctrl-C in one that a person has open."""

import os
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY
from small_notebook import write_notebook
from tiny import write_tiny_checkpoint, write_tiny_prepared

from lnm.cli import main

ERRORS = {
    "a CPU": "import torch\ntorch.zeros(2**60, dtype=torch.uint8)",
    "a GPU": 'import torch\nraise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")',
    "a GPU's library": 'raise RuntimeError("CUDA error: out of memory")',
    "numpy": "import numpy as np\nnp.zeros(2**60, np.uint8)",
}


@pytest.mark.parametrize("where", ERRORS)
def test_memory_that_runs_out_in_a_stage_names_the_remedy(project, capsys, monkeypatch, where):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    path = write_notebook(project / "notebooks" / "n.ipynb", ERRORS[where])
    assert main(["notebook", "run", str(path), "-o", str(project / "out" / "n.ipynb"), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: memory ran out: take a smaller size or fewer frames, on a CPU also one job at a ")
    assert "finetune.gradient_checkpointing: true and finetune.mixed_precision: bf16" in said and said.count("\n") == 1
    assert not (project / "out" / "n.ipynb").exists()


FULL = "no space left on device: make room on the disk and run the same command again"


@pytest.mark.parametrize("raised, said", [
    ("OSError(28, 'No space left on device', 'a/b.png')", f"a/b.png: {FULL}"),
    ("OSError(28, 'No space left on device')", FULL),
    ("PermissionError(13, 'Permission denied', 'a')",
     "a: permission denied: not allowed; change its permissions or choose another place")])
def test_what_the_system_refuses_in_a_stage_is_one_line(project, capsys, raised, said):
    path = write_notebook(project / "notebooks" / "n.ipynb", f"raise {raised}")
    assert main(["notebook", "run", str(path), "-o", str(project / "out" / "n.ipynb"), "--quiet"]) == 2
    assert capsys.readouterr().err == f"error: {said}\n"


def test_a_file_that_a_stage_misses_is_a_bug_and_shows_the_cell(project, capsys):
    path = write_notebook(project / "notebooks" / "n.ipynb", "open('nowhere')")
    assert main(["notebook", "run", str(path), "-o", str(project / "out" / "n.ipynb"), "--quiet"]) == 1
    assert "n.ipynb failed in cell 2" in capsys.readouterr().err


TRAIN = """
from pathlib import Path
from tiny import tiny_finetune
from lnm.stages.finetune import finetune
folder = Path({folder!r})
finetune(folder / "prepared", folder / {out!r}, folder / {store!r}, **tiny_finetune(folder / "checkpoint"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel is stopped by a hook that tests/injected/ sets there")
def test_ctrl_c_in_an_open_notebook_leaves_what_the_same_cell_goes_on_from(tmp_path):
    """JupyterLab's stop button sends the kernel a SIGINT; it comes as the log's line of step 4 of 6 is written."""
    from jupyter_client import KernelManager

    def lines():
        return journal.read_text().splitlines() if journal.exists() else []

    root = tmp_path.resolve()
    journal = root / "journal"
    write_tiny_prepared(root / "prepared", write_tiny_checkpoint(root / "checkpoint"))
    kernel = KernelManager(kernel_name="python3")
    kernel.start_kernel(cwd=str(root), env=os.environ | {
        "PYTHONPATH": ":".join(map(str, (REPOSITORY / "tests" / "injected", REPOSITORY, REPOSITORY / "tests"))),
        "FAULTS_ROOT": str(root), "FAULTS_JOURNAL": str(journal), "FAULTS_STOP": "append store/cut 5"})
    client = kernel.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=300)

        def cell(out, store):
            # else what is asked right after an error is aborted, as the rest of "run all cells" is
            return client.execute(TRAIN.format(folder=str(root), out=out, store=store), stop_on_error=False)

        def answer(asked):
            while (reply := client.get_shell_msg(timeout=300))["parent_header"]["msg_id"] != asked:
                pass
            return reply["content"]

        assert answer(cell("whole", "store/whole"))["status"] == "ok"
        asked = cell("out", "store/cut")
        while lines()[-1:] != ["stopped"]:
            assert kernel.is_alive()
            time.sleep(0.05)
        kernel.interrupt_kernel()
        assert answer(asked)["ename"] == "KeyboardInterrupt"
        journal.write_text("")
        assert answer(cell("out", "store/cut"))["status"] == "ok"
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    taken = [line for line in lines() if line.startswith("append ")]
    assert len(taken) == 2, f"steps 4 and 5, the checkpoint has those before: {taken}"
    for name in ("temporal.safetensors", "log.csv"):
        assert Path(root / "out" / name).read_bytes() == Path(root / "whole" / name).read_bytes()
