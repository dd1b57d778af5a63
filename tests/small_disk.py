"""A disk in memory that can be filled, or be read-only: only root may mount one, and not in every container."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOM = "no space left on device: make room on the disk and run the same command again"


@contextmanager
def mounted(folder: Path, kib: int) -> Iterator[Path]:
    """`folder`, made, as a disk of so many KiB. Skips the test where none can be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs a disk of its own, which only root may mount, and not in every container")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, leave: int = 0) -> None:
    """A file named `full` that takes all room but `leave` KiB."""
    found = os.statvfs(disk)
    (disk / "full").write_bytes(b"\0" * (found.f_bavail * found.f_frsize - 1024 * leave))


def read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its name, but for `full`."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and path.name != "full"}
