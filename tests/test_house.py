"""The house as it is drawn: layers and no circle, short files and functions, declared imports, clean texts."""

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parent.parent
LINES, FUNCTION_LINES = 400, 60
# packages that cost seconds to import, or that not every user has: these may be imported where they are needed
HEAVY = {"torch", "diffusers", "transformers", "accelerate", "open_clip", "tokenizers", "safetensors", "cv2", "av",
         "matplotlib", "pandas", "scipy", "huggingface_hub", "lion_pytorch", "peft", "papermill", "nbclient",
         "nbformat", "IPython", "ruamel", "dvc", "rich", "ray"}
# imported in a notebook alone, which the extra `pipeline` brings
NOTEBOOK_DISPLAY = {"lnm/video.py": {"ipython"}, "lnm/player.py": {"ipython"}}


def tracked() -> list[Path]:
    """Files of the project that git follows or would follow: an installed copy has none, and needs none of this."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=REPOSITORY,
                            capture_output=True, text=True, check=True).stdout
    return [REPOSITORY / name for name in listed.split("\0") if name and (REPOSITORY / name).is_file()]


def sources(room: str) -> list[Path]:
    return sorted((REPOSITORY / room).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(tree: ast.AST) -> list[str]:
    """Modules that are imported anywhere below `tree`; `from a import b` counts as a."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append(node.module)
    return found


@cache
def project() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def declared(*extras: str) -> dict[str, Requirement]:
    """The base dependencies and those of extras, by name."""
    lines = project()["dependencies"] + [line for e in extras for line in project()["optional-dependencies"][e]]
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def functions(path: Path) -> list[tuple[str, int]]:
    """(name, lines without its docstring) of every function of a file."""
    found = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            found.append((f"{name_of(path)}:{node.name}", lines))
    return found


def test_imports_go_down_the_layers_in_no_circle_and_the_method_does_not_know_its_harness():
    found = subprocess.run([Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=REPOSITORY,
                           capture_output=True, text=True)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-1000:]
    assert "Contracts: 5 kept, 0 broken" in found.stdout, found.stdout[-3000:]


def test_the_harness_is_forbidden_every_module_of_the_method_that_it_does_not_need():
    """A new module of lnm is forbidden until somebody says why the harness is to know it."""
    config = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    harness = next(one for one in config["contracts"] if one["id"] == "harness")
    there = {f"lnm.{path.stem}" for path in (REPOSITORY / "lnm").iterdir()
             if path.suffix == ".py" or (path / "__init__.py").is_file()} - {"lnm.__init__"}
    known = there - set(harness["forbidden_modules"])
    assert known == {"lnm.errors", "lnm.files", "lnm.flow", "lnm.project", "lnm.video"}
    assert set(harness["forbidden_modules"]) <= there


@pytest.mark.parametrize("room", ["lnm", "eval"])
def test_no_file_is_long(room):
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources(room)}
    assert len(lines) > 40
    assert not {name: count for name, count in lines.items() if count > LINES}


@pytest.mark.parametrize("room", ["lnm", "eval"])
def test_no_function_is_long(room):
    lengths = [pair for path in sources(room) for pair in functions(path)]
    assert len(lengths) > 200
    assert not [pair for pair in lengths if pair[1] > FUNCTION_LINES]


def test_what_is_imported_inside_a_function_costs_seconds():
    """A package that is heavy, or a module of ours that imports one: nothing else is worth hiding. That none of them
    hides a circle is among the contracts, which see these imports too."""
    import grimp

    graph = grimp.build_graph("lnm", "eval", include_external_packages=True, cache_dir=None)
    idle = []
    for path in sources("lnm"):
        for function in ast.walk(tree_of(path)):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for module in imports_of(function):
                    package = module.split(".")[0]
                    brings = graph.find_upstream_modules(module) if package == "lnm" else {package}
                    if not brings & HEAVY:
                        idle.append(f"{name_of(path)}:{function.name}: {module}")
    assert idle == []


@pytest.mark.parametrize("room, extras", [("lnm", ()), ("lnm/workflow", ("pipeline", "cluster")), ("eval", ("eval",))])
def test_every_import_is_declared(room, extras):
    """The library's in the base dependencies, the harness's in `eval`, what runs notebooks in `pipeline`, on other
    machines in `cluster`."""
    brings = importlib.metadata.packages_distributions()
    missing = []
    for path in sources(room):
        if room == "lnm" and "workflow" in path.parts:
            continue
        there = set(declared(*extras)) | NOTEBOOK_DISPLAY.get(name_of(path), set())
        for package in {module.split(".")[0] for module in imports_of(tree_of(path))}:
            if package in sys.stdlib_module_names or package in ("lnm", "eval"):
                continue
            if not {canonicalize_name(name) for name in brings[package]} & there:
                missing.append(f"{name_of(path)}: {package}")
    assert not missing


def test_requirements_pin_all_that_is_declared_sorted_and_within_its_bounds():
    lines = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    assert lines == sorted(lines, key=str.lower)
    pins = dict(line.split("==") for line in lines)
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    assert len(pins) == len(lines)
    wanted = declared("lora", "cluster", "pipeline", "eval", "test", "docs")
    assert set(wanted) == set(pins), "what is pinned is declared, and what is declared is pinned"
    outside = [f"{r} is pinned to {pins[name]}" for name, r in wanted.items() if pins[name] not in r.specifier]
    assert not outside
    (all_of_it,) = map(Requirement, project()["optional-dependencies"]["all"])
    assert all_of_it.extras == set(project()["optional-dependencies"]) - {"all"}


def test_the_version_stands_in_one_place():
    import lnm

    assert project()["dynamic"] == ["version"] and re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", lnm.__version__)
    others = [name_of(p) for p in tracked() if p.suffix in (".py", ".toml", ".cff") and p.name != "__init__.py"
              and re.search(rf"version.*{re.escape(lnm.__version__)}", p.read_text(encoding="utf-8"))]
    assert not others


def test_licence_and_citation_say_the_same():
    assert project()["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0" in (REPOSITORY / "LICENSE").read_text()
    from ruamel.yaml import YAML

    cited = YAML(typ="safe").load(REPOSITORY / "CITATION.cff")
    assert cited["license"] == "Apache-2.0" and cited["cff-version"] == "1.2.0"
    paper = cited["preferred-citation"]
    assert [person["family-names"] for person in paper["authors"]] == ["Halbert", "Ham", "Legum", "Wan"]


@pytest.mark.parametrize("path", sorted((REPOSITORY / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_has_one_parameters_cell_and_no_outputs(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in cells) == 1
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)


def test_the_checkout_is_small():
    sizes = {name_of(path): path.stat().st_size for path in tracked()}
    assert sum(sizes.values()) < 46e6
    assert max(sizes.values()) < 15e6, max(sizes, key=sizes.get)


def test_no_path_of_a_machine_is_in_the_project():
    """Neither of this checkout nor of anybody's home."""
    here, home = re.escape(str(REPOSITORY)), re.escape(str(Path.home()))
    homes = re.compile(rf"(?<![\w.])(?:/(?:home|Users)/(?!somebody/)\w+/|/(?:root)/\w+|{here}\b|{home}/\w)")
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name_of(path)}: {hit.group()}" for hit in homes.finditer(text) if path != Path(__file__).resolve()]
    assert not found


def test_opencv_opens_no_file():
    """It brings a video library of its own, older than the one that clips are read by (CONTRIBUTING.md)."""
    opening = {"VideoCapture", "VideoWriter", "imread", "imreadmulti", "imdecode", "imdecodemulti", "imcount"}
    found = [f"{path.name}: {node.attr}" for room in ("lnm", "eval", "benchmarks") for path in sources(room)
             for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute) and node.attr in opening]
    assert not found


def test_ruff_finds_nothing():
    found = subprocess.run([Path(sys.executable).with_name("ruff"), "check", "--quiet", "--output-format=concise"],
                           cwd=REPOSITORY, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-1000:]


def test_the_types_of_the_public_names_hold():
    # without a cache: 7 s, and a look at what is there alone
    found = subprocess.run([sys.executable, "-m", "mypy", "--cache-dir", os.devnull], cwd=REPOSITORY,
                           capture_output=True, text=True)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-1000:]
