"""Runs a notebook as a stage of the pipeline, strictly, and reads what its code is made of.

    python -m lnm.notebook notebooks/1_prepare.ipynb -o results/ocean/notebooks/1_prepare.ipynb -p video ocean
    python -m lnm.notebook --code         writes build/code/<notebook>.py, what the stages depend on
    python -m lnm.notebook --jobs         how many videos `make repro` runs side by side
    python -m lnm.notebook --threads      how many CPU threads a notebook has

papermill does the running. Around it stands what a pipeline needs and papermill leaves open: a notebook has exactly
one cell tagged `parameters` and only names assigned there can be given; the executed copy holds no times, paths or
progress bars, so the same run gives the same bytes; a failure shows the cell and its error, not the machinery; the
kernel's progress bars are seen while it runs; and nothing goes on training when whoever started it is gone.
"""

from __future__ import annotations

import argparse
import ast
import ctypes
import hashlib
import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from lnm.params import UserError, load, root

PACKAGES = ("lnm", "eval")
# Its values reach a stage through build/resolve/<video>/<stage>.json, so a new default there reruns only its stages.
BY_VALUE = {"lnm.params"}
KERNEL = {  # the kernel's environment, beside what it inherits
    "LNM_RESOLVED": "1",
    "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's kernel, whatever else is installed for the user
    "PYTHONHASHSEED": "0",
    "TQDM_MININTERVAL": "0.5",
    "TOKENIZERS_PARALLELISM": "false",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm.auto without widgets: plain bars are what we want
}
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


# --- what a stage depends on: the notebook's code and the modules behind it ---------------------------------------


def code(notebook: Path) -> str:
    """The notebook as a stage sees it: the sources and tags of its code cells, and a hash of each module behind them.

    Prose, outputs, metadata and cell ids leave it as it is; so do comments, docstrings and command lines of modules.
    """
    cells = [cell for cell in _read(notebook)["cells"] if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    tags = [" ".join(cell["metadata"].get("tags", [])) for cell in cells]
    base = notebook.resolve().parent.parent
    hashes = [f"# {name} {_module_hash(path)}" for name, path in modules("\n".join(map(_plain, sources)), base).items()]
    blocks = [f"# %% {tag}".rstrip() + f"\n{source}" for tag, source in zip(tags, sources, strict=True)]
    return "\n\n".join(["\n".join(hashes), *blocks]).lstrip() + "\n"


def modules(source: str, base: Path) -> dict[str, Path]:
    """Every module of ours that some code imports, directly or by way of another, lazy imports included.

    base: the folder that holds lnm/ and eval/. Returns {dotted name: file}, sorted by name.
    """
    found: dict[str, Path] = {}
    todo = _imports(source, "")
    while todo:
        name = todo.pop()
        path = base.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name.split(".")[0] in PACKAGES and name not in found and name not in BY_VALUE and path.is_file():
            found[name] = path
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            todo += _imports(path.read_text(encoding="utf-8"), package)
    return dict(sorted(found.items()))


def _imports(source: str, package: str) -> list[str]:
    """The dotted names that some source may import; `from a import b` may mean the module a.b."""
    names: list[str] = []
    for node in ast.walk(_without_cli(ast.parse(source))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            stem = ".".join([*parts, *([node.module] if node.module else [])])
            names += [stem, *(f"{stem}.{alias.name}" for alias in node.names)]
    # importing a.b.c also runs a and a.b
    return [".".join(name.split(".")[:n]) for name in names for n in range(1, name.count(".") + 2)]


def _module_hash(path: Path) -> str:
    """A hash of a module's code and of the other files beside it that it names (a template, a table)."""
    tree = _without_cli(ast.parse(path.read_text(encoding="utf-8")))
    beside = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
            body[0].value = ast.Constant(...)  # a docstring
        if _is_text(node) and re.fullmatch(r"[\w/.-]+\.\w+", node.value) and (path.parent / node.value).is_file():
            beside.add(path.parent / node.value)
    whole = hashlib.sha256(ast.unparse(tree).encode())
    for file in sorted(beside - {path}):
        whole.update(file.read_bytes())
    return whole.hexdigest()[:16]


def _without_cli(tree: ast.Module) -> ast.Module:
    """Without `main` and `if __name__ == "__main__"`: a module's command line is nothing to a notebook."""
    main = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main"]
    guard = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test).startswith("__name__ ==")]
    tree.body = [node for node in tree.body if node not in main + guard]
    return tree


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _plain(source: str) -> str:
    """A cell as plain Python: magics and shell lines blanked."""
    return re.sub(r"(?m)^\s*[%!].*$", "", source)


def _read(notebook: Path) -> dict[str, Any]:
    try:
        return json.loads(notebook.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{notebook}: there is no such notebook") from None
    except ValueError as error:
        raise UserError(f"{notebook}: not a notebook ({error}); restore it from git") from None


def write_code(base: Path) -> list[Path]:
    """Writes build/code/<notebook>.py for every notebook; returns the paths."""
    folder = base / "build" / "code"
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for notebook in sorted((base / "notebooks").glob("*.ipynb")):
        path = folder / f"{notebook.stem}.py"
        path.write_text(code(notebook), encoding="utf-8")
        paths.append(path)
    return paths


# --- running one ---------------------------------------------------------------------------------------------------


def parameters(notebook: Path, given: dict[str, str]) -> dict[str, Any]:
    """The values to put in, typed like the defaults they replace. Raises UserError for what papermill lets pass."""
    tagged = [cell for cell in _read(notebook)["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise UserError(f"{notebook.name}: {len(tagged)} cells are tagged `parameters`; tag exactly one")
    defaults: dict[str, Any] = {}
    for node in ast.parse("".join(tagged[0]["source"])).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        defaults |= {target.id: node.value for target in targets if isinstance(target, ast.Name)}
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in defaults:
            raise UserError(f"{notebook.name}: no parameter is named {name}; there is {', '.join(defaults) or 'none'}")
        if _is_text(defaults[name]):
            values[name] = text
        else:
            try:
                values[name] = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                raise UserError(f"{notebook.name}: {name} takes a Python value like its default; got {text}") from None
    return values


def run(notebook: Path, executed: Path, given: dict[str, str]) -> None:
    """Executes a notebook in notebooks/ with the given parameters and writes its clean copy, atomically.

    Raises UserError if the notebook raised one or its parameters are wrong, NotebookError for any other failure.
    """
    values = parameters(notebook, given)
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    here = root()
    part = executed.with_suffix(".part.ipynb")
    before = dict(os.environ)
    os.environ.update(KERNEL)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads()))
    executed.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            notebook,
            part,
            values,
            kernel_name="python3",
            language="python",
            cwd=notebook.parent,
            progress_bar=False,
            start_timeout=300,  # a busy machine may need minutes to import what a kernel needs
            stdout_file=Live(sys.stdout),
            stderr_file=Live(sys.stderr),
            extra_arguments=[
                "--InteractiveShell.xmode=Plain",
                "--IPKernelApp.log_level=CRITICAL",  # of the machinery only
                f"--IPKernelApp.exec_lines=__import__('lnm.notebook').notebook.die_with_parent({os.getpid()})",
            ],
        )
        copy = clean(json.loads(part.read_text(encoding="utf-8")), here)
        part.write_text(json.dumps(copy, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(part, executed)
    except PapermillExecutionError as error:
        if error.ename == "UserError":
            raise UserError(error.evalue) from None
        raise NotebookError(_failure(notebook, error, _keep(part, executed, here))) from None
    except DeadKernelError:
        raise NotebookError(f"{notebook.name}: its Python ended without a word; most often memory ran out") from None
    finally:
        part.unlink(missing_ok=True)
        os.environ.clear()
        os.environ.update(before)


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
            cell["outputs"] = [_clean_value(output, here) for output in kept]
    return book


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
    """Passes the kernel's output on while it runs. To a file or a pipe, a progress bar is a line every 15 seconds."""

    def __init__(self, stream: TextIO, every: float = 15.0):
        self.stream, self.every = stream, every
        self.bar, self.shown = "", time.monotonic()

    def write(self, text: str) -> None:
        if self.stream.isatty():
            self.stream.write(text)
            return
        for piece in re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text):
            line = piece.strip("\r\n")
            if piece.endswith("\n"):
                last = line or self.bar  # a finished bar's last state is worth its line
                self.stream.write(f"{last}\n" if last or not self.bar else "")
                self.bar = ""
            elif line.strip():
                self.bar = line
                if time.monotonic() - self.shown >= self.every:
                    self.stream.write(f"{line}\n")
                    self.bar, self.shown = "", time.monotonic()

    def flush(self) -> None:
        self.stream.flush()


# --- how much at once ----------------------------------------------------------------------------------------------


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """CPU threads of a notebook: a quarter of the cores, 1 to 4. Fixed, for the last digits of a sum depend on it: a
    video gives the same bytes whether others run beside it or not."""
    return max(1, min(4, cores() // 4))


def jobs() -> int:
    """How many videos run side by side: one on an accelerator, which they would share; else as many as the cores bear,
    at most 4, and the memory at 3 GiB each."""
    from lnm.prior import pick_device

    if pick_device(load().device) != "cpu":
        return 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return max(1, min(4, cores() + 1, int(memory / 3)))


# --- nothing outlives whoever started it ---------------------------------------------------------------------------


def die_with_parent(parent: int) -> None:
    """Called in the kernel: a SIGKILL of the runner ends it at once. Elsewhere than Linux ipykernel's own poll does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def follow_dvc() -> None:
    """Ends this process when the `dvc` that started it is gone, whatever shell stands between the two."""
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


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lnm.notebook", description="Run a notebook as a pipeline stage.")
    parser.add_argument("notebook", nargs="?", type=Path)
    parser.add_argument("-o", "--output", type=Path, metavar="EXECUTED", help="where the executed copy goes")
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument("--code", action="store_true", help="write build/code/*.py instead")
    parser.add_argument("--jobs", action="store_true", help="print how many videos `make repro` runs side by side instead")
    parser.add_argument("--threads", action="store_true", help="print how many CPU threads a notebook has instead")
    args = parser.parse_args(argv)
    try:
        if args.code:
            write_code(root())
            return 0
        if args.jobs or args.threads:
            print(jobs() if args.jobs else threads())
            return 0
        if not args.notebook or not args.output:
            parser.error("give a notebook and -o EXECUTED, or --code, --jobs, --threads")
        given = dict(args.parameter)
        title = " · ".join([args.notebook.stem, *given.values()])
        print(f"-- {title}", flush=True)
        started = time.monotonic()
        follow_dvc()
        run(args.notebook.resolve(), args.output.resolve(), given)
        print(f"-- {title}: done in {time.monotonic() - started:.0f} s", flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except NotebookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
