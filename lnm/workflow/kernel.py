"""What a notebook's kernel does first when the pipeline runs it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import tqdm.notebook

from lnm.workflow import guard


def begin(parent: int) -> None:
    """End with the runner, and draw bars as plain text: widgets would be invisible in the log, and their random names
    would make every executed copy another file."""
    guard.die_with_parent(parent)
    stand_back()
    tqdm.notebook.IProgress = None  # what tqdm.auto looks for when it chooses


def stand_back() -> None:
    """Take the niceness of this process for its session. A kernel has a session of its own, and where Linux groups
    processes by session (sched(7), "The autogroup feature") that of a process counts within its session alone: a video
    that stands behind would not stand behind."""
    with suppress(OSError):  # no Linux, no such feature, or no leave to
        Path("/proc/self/autogroup").write_text(str(os.nice(0)))
