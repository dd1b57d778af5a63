"""How much runs at once, by what the machine has."""

import pytest
from conftest import PARAMS

import lnm.checkpoint
from lnm.workflow import machine
from lnm.workflow.__main__ import main


@pytest.mark.parametrize("cores, threads, jobs", [(1, 1, 2), (2, 1, 3), (8, 2, 4), (64, 4, 4)])
def test_videos_side_by_side_as_cores_and_memory_bear(project, monkeypatch, capsys, cores, threads, jobs):
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(machine.os, "sysconf", {"SC_PAGE_SIZE": 2**12, "SC_PHYS_PAGES": 2**22}.get)  # 16 GiB
    (project / "params.yaml").write_text(PARAMS + "device: cpu\n")
    assert main(["threads"]) == 0 and main(["jobs"]) == 0
    assert capsys.readouterr().out.split() == [str(threads), str(jobs)]
    monkeypatch.setattr(machine.os, "sysconf", {"SC_PAGE_SIZE": 2**12, "SC_PHYS_PAGES": 2**20}.get)  # 4 GiB
    assert machine.jobs("cpu") == 1


def test_an_accelerator_has_one_video_at_a_time(project, monkeypatch):
    monkeypatch.setattr(lnm.checkpoint, "pick_device", lambda device: "cuda")
    assert machine.jobs() == 1
