"""What a notebook's kernel does first when the pipeline runs it."""

from __future__ import annotations

import tqdm.notebook

from lnm.workflow import guard


def begin(parent: int) -> None:
    """End with the runner, and draw bars as plain text: widgets would be invisible in the log, and their random names
    would make every executed copy another file."""
    guard.die_with_parent(parent)
    tqdm.notebook.IProgress = None  # what tqdm.auto looks for when it chooses
