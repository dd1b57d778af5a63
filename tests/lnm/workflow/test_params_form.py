"""params.yaml stands in the form in which DVC writes it back, so that `dvc exp run -S` changes the line it names."""

import difflib
import shutil

import pytest
from conftest import REPOSITORY
from dvc.utils.hydra import apply_overrides

FILES = ["params.yaml", "params.paper.yaml"]


@pytest.fixture(params=FILES)
def copied(request, tmp_path):
    """A copy of a params file, under the name that DVC looks for; and its text."""
    path = tmp_path / "params.yaml"
    shutil.copy(REPOSITORY / request.param, path)
    return path, path.read_text(encoding="utf-8")


def changed(old: str, new: str) -> list[str]:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")
    return [line for line in lines if line[0] in "+-" and line[:3] not in ("+++", "---")]


def test_dvc_writes_it_back_as_it_stands(copied):
    path, before = copied
    apply_overrides(path, ["seed=0"])
    assert path.read_text(encoding="utf-8") == before


@pytest.mark.parametrize("override, line", [
    ("finetune.steps=300", "  steps: 300"), ("sample.scheduler=euler", "  scheduler: euler"),
    ("finetune.learning_rate=1e-4", "  learning_rate: 0.0001"), ("seed=7", "seed: 7"),
    ("videos.rapids.fps=10", "    fps: 10")])
def test_an_override_changes_one_line_and_keeps_its_comment(copied, override, line):
    path, before = copied
    apply_overrides(path, [override])
    out, into = changed(before, path.read_text(encoding="utf-8"))
    assert (out[0], into[0]) == ("-", "+") and into[1:].split("#")[0].rstrip() == line
    assert out.partition("#")[2] == into.partition("#")[2]
