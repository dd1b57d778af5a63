"""Nothing outlives whoever started it: a notebook's kernel ends with its runner, the runner with its `dvc`."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

FOLLOWED = "LNM_FOLLOWED"  # in the environment: the process id of who must live on for a stage to go on


def die_with_parent(parent: int) -> None:
    """Called in the kernel: a SIGKILL of the runner ends it at once. Elsewhere than Linux ipykernel's own poll does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def follow_dvc() -> None:
    """Ends this process when the `dvc` that started it is gone, whatever shell stands between the two; and where
    FOLLOWED names a process further up, that of a cluster's worker, when that is."""
    if "DVC_STAGE" not in os.environ:
        return
    chain = [os.getpid()]
    while True:
        chain.append(_parent(chain[-1]))
        try:  # dvc gives DVC_STAGE to its stages and has none itself; the first without it is dvc
            if b"\0DVC_STAGE=" not in b"\0" + Path(f"/proc/{chain[-1]}/environ").read_bytes():
                break
        except OSError:
            break
    last = int(os.environ.get(FOLLOWED, chain[-1])) if sys.platform == "linux" else chain[-1]  # by /proc alone
    while chain[-1] not in (0, 1, last):
        chain.append(_parent(chain[-1]))
    if chain[-1] != last:  # it was gone before this stage began
        os._exit(1)

    def watch() -> None:
        while all(_parent(child) == parent for child, parent in zip(chain, chain[1:], strict=False)):
            time.sleep(0.5)
        os._exit(1)  # and the kernel with it

    threading.Thread(target=watch, daemon=True).start()


def _parent(pid: int) -> int:
    """The parent of a process; 0 when it is gone."""
    if pid == os.getpid():
        return os.getppid()
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])
