"""How much runs at once, by what the machine has."""

import pytest

from lnm.workflow import machine


@pytest.mark.parametrize("cores, threads, jobs", [(1, 1, 2), (2, 1, 4), (8, 2, 4), (64, 4, 4)])
def test_videos_side_by_side_as_cores_and_memory_bear(monkeypatch, cores, threads, jobs):
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(machine.os, "sysconf", {"SC_PAGE_SIZE": 2**12, "SC_PHYS_PAGES": 2**22}.get)  # 16 GiB
    assert (machine.threads(), machine.jobs("cpu")) == (threads, jobs)
    monkeypatch.setattr(machine.os, "sysconf", {"SC_PAGE_SIZE": 2**12, "SC_PHYS_PAGES": 2**20}.get)  # 4 GiB
    assert machine.jobs("cpu") == 1


def test_an_accelerator_has_one_video_at_a_time(monkeypatch):
    monkeypatch.setattr(machine, "pick_device", lambda device: "cuda")
    assert machine.jobs() == 1
