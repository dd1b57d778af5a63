"""`dvc` as `lnm repro` runs it: SIGINT ends it with all that it has started, whoever of them is told.

By itself dvc ignores SIGINT while the command of a stage runs, since a terminal tells that command as well; told alone,
it went on. In a thread that is not the first it leaves signals as they are, and the first one ends the group.
"""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import Future
from threading import Thread

INTERRUPTED = 130


def main(arguments: list[str]) -> int:
    """dvc's exit status for a command line. The process must lead a group of its own, which SIGINT ends."""
    from dvc.cli import main as dvc

    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a script puts into the background ignores it
    status: Future[int] = Future()

    def work() -> None:
        try:
            status.set_result(dvc(arguments))
        except BaseException as error:
            status.set_exception(error)

    Thread(target=work, daemon=True).start()
    try:
        return status.result()
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # here; what it started has its own answer
        os.killpg(os.getpid(), signal.SIGTERM)
        os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
