"""`lnm doctor`: is everything here that a run needs."""

from __future__ import annotations

from pathlib import Path

import typer

from lnm.cli.style import App, Quiet
from lnm.errors import UserError
from lnm.project import root
from lnm.workflow import health

app = App()


@app.add("lnm doctor")
def doctor(quiet: Quiet = False) -> None:
    """Look at the installation and, inside a project, at all it needs; exit status 1 if something fails.

    Python, pins, memory, GPU, DVC and its remote, weights and footage by their hashes, notebooks, git, disk, what runs
    left: a line each, ok, warn or FAIL, with a fix. About ten seconds. With --quiet, only what is amiss.
    """
    lines = []
    for line in health.examine(_project()):
        lines.append(line)
        if not quiet or line.status != health.OK:
            print(f"{line.status:5} {line.what}: {line.says}" + (f"\n{'':6}fix: {line.fix}" if line.fix else ""),
                  flush=True)
    failed = sum(line.status == health.FAIL for line in lines)
    warned = sum(line.status == health.WARN for line in lines)
    if not quiet:
        print(f"{len(lines)} lines: {failed} fail, {warned} warn")
    if failed:
        raise typer.Exit(1)


def _project() -> Path | None:
    try:
        return root()
    except UserError:
        return None
