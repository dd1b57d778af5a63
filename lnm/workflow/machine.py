"""How much at once this machine bears."""

from __future__ import annotations

import os

from lnm.devices import pick_device


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """CPU threads of a notebook: a quarter of the cores, 1 to 4. Fixed, for the last digits of a sum depend on it: a
    video gives the same bytes whether others run beside it or not."""
    return max(1, min(4, cores() // 4))


def jobs(device: str = "auto") -> int:
    """How many videos run side by side: one on an accelerator, which they would share; else two a core, so that the
    last of a few does not leave cores idle, at most 4, and as the memory bears at 3 GiB each. device: as params.yaml
    names it."""
    if pick_device(device) != "cpu":
        return 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return max(1, min(4, 2 * cores(), int(memory / 3)))
