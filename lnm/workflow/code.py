"""What a notebook's code is: its cells, and a hash of every module of ours behind them.

A stage depends on build/code/<notebook>.py, so an edit reruns the stages whose code it is, and no other.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from lnm.errors import UserError, shortened
from lnm.files import given_path, regular_file, whole

PACKAGES = ("lnm", "eval")
# Their values reach a stage through build/resolve/<video>/<stage>.json, so an edit there reruns only the stages whose
# json it changes. They are not hashed; what they import is.
BY_VALUE = {"lnm.settings", "lnm.workflow.params", "lnm.workflow.resolve", "lnm.demo", "lnm.demo.footage"}
# What it makes is looked at and decides nothing: neither it nor what it imports is hashed.
LOOKED_AT = {"lnm.stages.preview", "lnm.workflow.live"}
# Stages that are commands and no notebooks: the name of their file in build/code, and what they run.
COMMANDS = {"arm": "from lnm.stages.ablation import run_arm"}


def code(notebook: Path) -> str:
    """The notebook as a stage sees it: the sources and tags of its code cells, and a hash of each module behind them.

    Prose, outputs, metadata and cell ids leave it as it is; so do comments, docstrings and command lines of modules.
    """
    cells = [cell for cell in read(notebook)["cells"] if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    tags = [" ".join(cell["metadata"].get("tags", [])) for cell in cells]
    blocks = [f"# %% {tag}".rstrip() + f"\n{source}" for tag, source in zip(tags, sources, strict=True)]
    return _with_hashes("\n".join(map(_plain, sources)), blocks, notebook.resolve().parent.parent)


def _with_hashes(source: str, blocks: list[str], base: Path) -> str:
    """Blocks of code under a line for each module behind `source`."""
    hashes = [f"# {name} {_module_hash(path)}" for name, path in modules(source, base).items()]
    return "\n\n".join(["\n".join(hashes), *blocks]).lstrip() + "\n"


def modules(source: str, base: Path) -> dict[str, Path]:
    """Every module of ours that some code imports, directly or by way of another, lazy imports included; without those
    whose values reach a stage as json.

    base: the folder that holds lnm/ and eval/. Returns {dotted name: file}, sorted by name.
    """
    found: dict[str, Path] = {}
    todo = _imports(source, "")
    while todo:
        name = todo.pop()
        path = base.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name.split(".")[0] in PACKAGES and name not in {*found, *LOOKED_AT} and path.is_file():
            found[name] = path
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            todo += _imports(path.read_text(encoding="utf-8"), package)
    return {name: found[name] for name in sorted(found.keys() - BY_VALUE)}


def _imports(source: str, package: str) -> list[str]:
    """The dotted names that some source may import; `from a import b` may mean the module a.b."""
    names: list[str] = []
    for node in ast.walk(_as_imported(ast.parse(source))):
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
    tree = _as_imported(ast.parse(path.read_text(encoding="utf-8")))
    beside = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and is_text(body[0].value):
            body[0].value = ast.Constant(...)  # a docstring
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and re.fullmatch(r"[\w/.-]+\.(?!py$)\w+", text) and (path.parent / text).is_file():
            beside.add(path.parent / text)
    whole = hashlib.sha256(ast.unparse(tree).encode())
    for file in sorted(beside - {path}):
        whole.update(file.read_bytes())
    return whole.hexdigest()[:16]


def _as_imported(tree: ast.Module) -> ast.Module:
    """Without what never runs in a notebook: a module's command line (`main`, `if __name__ == "__main__"`) and what is
    imported for a type checker."""
    def idle(node: ast.stmt) -> bool:
        if isinstance(node, ast.If):
            return ast.unparse(node.test).startswith(("__name__ ==", "TYPE_CHECKING"))
        return isinstance(node, ast.FunctionDef) and node.name == "main"

    tree.body = [node for node in tree.body if not idle(node)]
    return tree


def is_text(node: ast.AST) -> bool:
    """Whether a piece of code is a literal string."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _plain(source: str) -> str:
    """A cell as plain Python: magics and shell lines blanked."""
    return re.sub(r"(?m)^\s*[%!].*$", "", source)


def read(notebook: Path) -> dict[str, Any]:
    """A notebook's json. Raises UserError where there is none."""
    if not given_path(notebook).exists():
        raise UserError(f"{shortened(notebook)}: there is no such notebook; check the name")
    try:
        return json.loads(regular_file(notebook, fix="give a notebook").read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{notebook}: not a notebook ({shortened(error)}); restore it from git") from None


def write_code(base: Path) -> list[Path]:
    """Writes build/code/<notebook>.py for every notebook, and <name>.py for each of COMMANDS; returns the paths."""
    folder = base / "build" / "code"
    texts = {notebook.stem: code(notebook) for notebook in sorted((base / "notebooks").glob("*.ipynb"))}
    texts |= {name: _with_hashes(source, [source], base) for name, source in COMMANDS.items()}
    for name, text in texts.items():
        with whole(folder / f"{name}.py") as part:
            part.write_text(text, encoding="utf-8")
    return [folder / f"{name}.py" for name in texts]


