"""Runs a notebook as a stage of the pipeline, strictly.

papermill does the running. Around it stands what a pipeline needs and papermill leaves open: a notebook has exactly
one cell tagged `parameters` and only names assigned there can be given; the executed copy holds no times, paths or
progress bars, so the same run gives the same bytes; a failure shows the cell and its error, not the machinery; the
kernel's progress bars are seen while it runs; and nothing goes on training when whoever started it is gone.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TextIO

from lnm.errors import OUT_OF_MEMORY, UserError, memory_ran_out, refused
from lnm.files import named, whole
from lnm.project import root
from lnm.workflow import commit
from lnm.workflow.code import is_text, read
from lnm.workflow.machine import threads
from lnm.workflow.progress import BAR

INTERACTIVE = {  # the environment of a kernel that a person opens, beside what it inherits
    "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's kernel, whatever else is installed for the user
    "TOKENIZERS_PARALLELISM": "false",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm.auto without widgets draws plain bars, which will do
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # transformers' bars of weights being loaded
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}
KERNEL = INTERACTIVE | {"LNM_RESOLVED": "1", "PYTHONHASHSEED": "0", "TQDM_MININTERVAL": "0.5"}
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def parameters(notebook: Path, given: dict[str, str]) -> dict[str, Any]:
    """The values to put in, typed like the defaults they replace. Raises UserError for what papermill lets pass."""
    tagged = [cell for cell in read(notebook)["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise UserError(f"{notebook.name}: {len(tagged)} cells are tagged `parameters`; tag exactly one")
    defaults: dict[str, Any] = {}
    for node in ast.parse("".join(tagged[0]["source"])).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defaults |= {target.id: node.value for target in targets if isinstance(target, ast.Name)}
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in defaults:
            raise UserError(f"{notebook.name}: no parameter is named {name}; there is {', '.join(defaults) or 'none'}")
        if is_text(defaults[name]):
            values[name] = text
        else:
            try:
                values[name] = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                raise UserError(f"{notebook.name}: {name} takes a Python value like its default; got {text}") from None
    return values


def run(notebook: Path, executed: Path, given: dict[str, str], quiet: bool = False) -> None:
    """Executes a notebook in notebooks/ with the given parameters and writes its clean copy, atomically.

    quiet: of what the kernel says while it runs, show its error stream alone, without progress bars.
    Raises UserError if the notebook raised one or its parameters are wrong, NotebookError for any other failure, and
    KeyboardInterrupt: then end this process, and with it the kernel.
    """
    values = parameters(notebook, given)
    # jsonschema imports it where it is there, to check IRIs, of which a notebook has none: it builds a grammar, which
    # takes two seconds of every stage
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    here = root()
    at = commit.head(here)  # before it runs: what is edited meanwhile is not what ran
    told = commit.resolved(here, notebook, given.get("video"))
    part = here / "build" / "running" / f"{_told_apart(executed)}.ipynb"  # a kill leaves nothing beside the results
    before = dict(os.environ)
    os.environ.update(KERNEL)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads()))
    executed.parent.mkdir(parents=True, exist_ok=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        _beside(
            papermill.execute_notebook,
            notebook,
            part,
            values,
            kernel_name="python3",
            language="python",
            cwd=notebook.parent,
            progress_bar=False,
            start_timeout=300,  # a busy machine may need minutes to import what a kernel needs
            stdout_file=None if quiet else Live(sys.stdout),
            stderr_file=Live(sys.stderr, bars=not quiet),
            extra_arguments=[
                "--InteractiveShell.xmode=Plain",
                "--IPKernelApp.log_level=CRITICAL",  # of the machinery only
                f"--IPKernelApp.exec_lines=__import__('lnm.workflow.kernel').workflow.kernel.begin({os.getpid()})",
            ],
        )
        copy = clean(json.loads(part.read_text(encoding="utf-8")), here)
        with whole(executed) as ready:  # build/ may be on another disk
            ready.write_text(json.dumps(copy, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        commit.note(here, executed, at, told)
    except PapermillExecutionError as error:
        if error.ename == "UserError":
            raise UserError(error.evalue) from None
        if memory_ran_out(error.ename, error.evalue):
            raise UserError(OUT_OF_MEMORY) from None
        if error.ename in ("OSError", "PermissionError") and (line := refused(error.evalue)):
            raise UserError(line) from None
        raise NotebookError(_failure(notebook, error, _keep(part, executed, here))) from None
    except DeadKernelError:
        raise NotebookError(f"{notebook.name}: its Python ended without a word; most often {OUT_OF_MEMORY}") from None
    except OSError as error:  # papermill's, which says of a full disk neither what it wrote nor what helps
        with named(part.relative_to(here)):
            raise error
    finally:
        part.unlink(missing_ok=True)
        os.environ.clear()
        os.environ.update(before)


def _beside(work: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Runs papermill in a thread that is not the first, where nbclient leaves signals alone: in the first it takes
    SIGINT and SIGTERM, asks the kernel to end and waits for a cell that does not listen. So Ctrl-C is a
    KeyboardInterrupt here, at once; the kernel goes on until this process ends."""
    done: Future[None] = Future()

    def run_it() -> None:
        try:
            work(*arguments, **options)
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run_it, daemon=True).start()
    done.result()


def _told_apart(executed: Path) -> str:
    """A name for the copy that is being run, which no other run in this project has at the same time."""
    return f"{executed.stem}-{hashlib.sha256(str(executed).encode()).hexdigest()[:8]}"


class NotebookError(Exception):
    """A notebook failed; the message is the readable account of it."""


def _keep(part: Path, executed: Path, here: Path) -> str:
    """Moves a half-run copy out of the stage's folder; returns where, relative to the root."""
    kept = here / "build" / "failed" / executed.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part, kept)
    return kept.relative_to(here).as_posix()


def _failure(notebook: Path, error: Any, kept: str) -> str:
    lines = ANSI.sub("", "\n".join(error.traceback)).strip().splitlines()
    short = lines if len(lines) <= 30 else [*lines[:4], "  ...", *lines[-25:]]
    cell = "\n".join(f"    {line}" for line in error.source.strip().splitlines())
    return "\n".join([f"{notebook.name} failed in cell {error.exec_count}:", "", cell, "", *short, "",
                      f"The half-run copy: {kept}"])  # fmt: skip


def clean(book: dict[str, Any], here: Path) -> dict[str, Any]:
    """An executed notebook without what differs from run to run: times, paths, addresses, progress bars."""
    book["metadata"] = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in book["cells"]:
        tags = cell["metadata"].get("tags")
        cell["metadata"] = {"tags": tags} if tags else {}
        if "injected-parameters" in (tags or ()):
            cell["id"] = "injected-parameters"
        if cell["cell_type"] == "code":
            kept = [output for output in cell["outputs"] if output.get("name") != "stderr"]
            cell["outputs"] = [_clean_value(output, here) for output in _joined(kept)]
    return book


def _joined(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs with what was printed in a row as one: on a busy machine a kernel sends one line in several pieces."""
    found: list[dict[str, Any]] = []
    for output in outputs:
        if found and output["output_type"] == found[-1]["output_type"] == "stream":
            text = "".join([*found[-1]["text"], *output["text"]])
            found[-1] = found[-1] | {"text": text.splitlines(keepends=True)}
        else:
            found.append(output)
    return found


def _clean_value(value: Any, here: Path) -> Any:
    if isinstance(value, dict):
        return {key: _clean_value(item, here) for key, item in value.items() if key != "transient"}
    if isinstance(value, list):
        return [_clean_value(item, here) for item in value]
    if not isinstance(value, str):
        return value
    value = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in value.split("\n"))  # what a bar overwrote
    value = value.replace(f"{here}/", "").replace(str(here), ".")
    return re.sub(r" at 0x[0-9a-f]{6,}", "", value)


class Live:
    """Passes the kernel's output on while it runs. To a file or a pipe, a progress bar is a line every 15 seconds.

    bars: False leaves progress bars out."""

    def __init__(self, stream: TextIO, every: float = 15.0, bars: bool = True):
        self.stream, self.every, self.bars = stream, every, bars
        self.bar, self.shown = "", time.monotonic()

    def write(self, text: str) -> None:
        if self.bars and self.stream.isatty():
            self.stream.write(text)
            return
        for piece in re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text):
            line = piece.strip("\r\n")
            if piece.endswith("\n"):
                last = line or self.bar  # a finished bar's last state is worth its line
                if self.bars or not BAR.search(last):
                    self.stream.write(f"{last}\n" if last or not self.bar else "")
                self.bar = ""
            elif line.strip():
                self.bar = line
                if self.bars and time.monotonic() - self.shown >= self.every:
                    self.stream.write(f"{line}\n")
                    self.bar, self.shown = "", time.monotonic()

    def flush(self) -> None:
        self.stream.flush()
