"""How the checks of the method reach the ledger."""

import re

import pytest
from conftest import REPOSITORY

from eval.claims import conformance
from lnm.errors import UserError
from lnm.files import write_json
from lnm.workflow import code

ASIDE = {"lnm", "lnm.errors", "lnm.files"}  # what no check is about


def test_what_was_found_is_of_the_modules_that_the_checks_run():
    texts = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests" / "conformance").glob("*.py")
             if not path.name.startswith(("test_", "conftest"))]
    lines = sorted({line for text in texts for line in re.findall(r"from lnm\.\w+ import [\w, ]+", text)})
    behind = {name for name in code.modules("\n".join(lines), REPOSITORY) if name.startswith("lnm.")} - ASIDE
    # a stage is told its settings as json, so no notebook's code holds them; the checks take them from the module
    assert {f"lnm.{name}" for name in conformance.CHECKED} == behind | {"lnm.settings"}


def test_an_edit_of_a_check_or_of_the_settings_makes_what_was_found_old(project, monkeypatch):
    folder = project / "tests" / "conformance"
    folder.mkdir(parents=True)
    (folder / "checks.py").write_text("TOLERANCE = 1e-5\n")
    write_json(project / conformance.FILE, {"code": conformance.code(), "checks": {}})
    assert conformance.outcomes() == {}
    (folder / "checks.py").write_text("TOLERANCE = 1e5\n")
    assert "checked on other code than this" in conformance.outcomes()
    before = conformance.code()
    copy = project / "lnm"
    copy.mkdir()
    for name in conformance.CHECKED:
        (copy / f"{name}.py").write_bytes((REPOSITORY / "lnm" / f"{name}.py").read_bytes())
    monkeypatch.setattr(conformance.lnm, "__file__", str(copy / "__init__.py"))
    assert conformance.code() == before
    (copy / "settings.py").write_text("X = 1\n")
    assert conformance.code() != before


def test_the_pipeline_checks_again_what_was_edited():
    from ruamel.yaml import YAML

    stage = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"]["conformance"]
    assert stage["deps"] == [*(f"lnm/{name}.py" for name in conformance.CHECKED), "tests/conformance"]
    assert list(stage["outs"][0]) == [conformance.FILE.as_posix()]


def test_a_check_that_fails_is_said_and_stops_nothing(project, monkeypatch):
    with pytest.raises(UserError, match="tests/conformance: not there"):
        conformance.run(project)
    folder = project / "tests" / "conformance"
    folder.mkdir(parents=True)
    (folder / "test_it.py").write_text("def test_it():\n    assert 1 + 1 == 2\n")
    assert conformance.run(project) == ""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (folder / "test_it.py").write_text("import torch\n\n\ndef test_it():\n    assert torch.get_num_threads() == 1\n")
    assert conformance.run(project) == "", "beside other work threads wait for each other"
    (folder / "test_it.py").write_text("def test_it():\n    assert 1 + 1 == 3\n")
    assert "1 failed" in conformance.run(project)
