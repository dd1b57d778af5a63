"""On the path of a test's processes. In a notebook's kernel, in a stage's command and in dvc it keeps a journal of
every file of the project that is written, renamed or removed and, in a kernel, of every piece of a cell that is
compiled, each just before it happens, and at a given one it stops for good, until somebody kills or interrupts the
process.

FAULTS_ROOT: the project's folder. FAULTS_JOURNAL: the file to write to; of a command and of dvc with `.command` and
`.dvc` behind it. FAULTS_STOP: the event's number, from 1, or the start of a line of the journal and a number among
those lines; none: never. FAULTS_WHO: in whose journal: kernel, command or dvc (default: kernel).
"""

import os
import re
import sys
import time

WATCHED = {"kernel": r"(results|store|build)/", "dvc": r"results/|dvc\.lock$|\.dvc/(cache|tmp/rwlock$)",
           # but for the copy that papermill writes of a running notebook, by the clock as well
           "command": r"(results|store|build(?!/running))/"}
EVENTS = {"open": 0, "os.rename": 1, "os.remove": 0, "shutil.rmtree": 0}  # which argument is the path


def role(words: list[str]) -> str | None:
    """What of a stage's processes a command line is: its notebook's kernel, its command, the dvc that runs it."""
    if "ipykernel_launcher" in words:
        return "kernel"
    if {"dvc", "repro"} <= set(words):
        return "dvc"
    return "command" if any(os.path.basename(word) == "lnm" for word in words[1:3]) else None


def begin(who: str, root: str, journal: str, stop: str) -> None:
    file = os.open(journal, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    start, _, number = stop.rpartition(" ")
    watched, head = re.compile(WATCHED[who]), f"{root}{os.sep}"
    with os.fdopen(os.dup(file)) as before:  # a stage may have two commands, one after the other
        count = sum(line.startswith(start) for line in before)

    def told(event: str, arguments: tuple) -> str | None:
        """A line of the journal; None for what is not of the project."""
        if event == "compile":
            return "compile a piece of a cell" if "ipykernel_" in str(arguments[1]) else None
        if event not in EVENTS or not isinstance(arguments[EVENTS[event]], str | os.PathLike):
            return None
        path = os.path.abspath(os.fspath(arguments[EVENTS[event]]))
        if not isinstance(path, str) or not path.startswith(head) or not watched.match(path, len(head)):
            return None
        if event == "open":
            if not arguments[2] & (os.O_WRONLY | os.O_RDWR):
                return None
            event = "append" if arguments[2] & os.O_APPEND else "write"
        return f"{event} {os.path.relpath(path, root)}"

    def seen(event: str, arguments: tuple) -> None:
        nonlocal count
        line = told(event, arguments)
        if line is None:
            return
        os.write(file, f"{line}\n".encode())
        count += line.startswith(start)
        if number and line.startswith(start) and count == int(number):
            os.write(file, b"stopped\n")
            while True:  # a KeyboardInterrupt is let through
                time.sleep(0.02)

    sys.addaudithook(seen)


if "FAULTS_JOURNAL" in os.environ and (own := role(sys.orig_argv)):
    begin(own, os.environ["FAULTS_ROOT"], os.environ["FAULTS_JOURNAL"] + ("" if own == "kernel" else f".{own}"),
          os.environ.get("FAULTS_STOP", "") if own == os.environ.get("FAULTS_WHO", "kernel") else "")
