"""The audit notebook: its headings quote the paper, and it runs without a run of the pipeline."""

import json
import os
import re
import shutil
from pathlib import Path

from conftest import REPOSITORY

from lnm.workflow import runner

NOTEBOOK = REPOSITORY / "notebooks" / "audit.ipynb"


def test_the_notebook_is_stripped_and_its_headings_quote_the_paper():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    headings = re.findall(r"(?m)^## .*$", prose)
    quotes = [quote for heading in headings for quote in re.findall("“(.+?)”", heading)]
    assert len(headings) >= 8 and all("“" in heading for heading in headings)
    assert cells[0]["cell_type"] == "markdown" and runner.parameters(NOTEBOOK, {"video": "rapids"})
    for cell in cells:
        if cell["cell_type"] == "code":
            assert not cell["outputs"] and cell["execution_count"] is None and len(cell["source"]) <= 14, cell["id"]
    if os.environ.get("LNM_PAPER"):
        text = " ".join(Path(os.environ["LNM_PAPER"]).read_text(encoding="utf-8").split())
        assert [quote for quote in quotes if quote not in text] == []


def test_the_notebook_runs_without_a_run_of_the_pipeline(project, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    for name in ("claims.yaml", "params.paper.yaml", "notebooks/audit.ipynb"):
        (project / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, project / name)
    executed = project / "out" / "audit.ipynb"
    runner.run(project / "notebooks" / "audit.ipynb", executed, {})
    book = json.loads(executed.read_text(encoding="utf-8"))
    printed = {cell["id"]: json.dumps(cell["outputs"]) for cell in book["cells"] if cell["cell_type"] == "code"}
    assert "where the paper contradicts itself" in printed["ledger"] and "104%" in printed["contradictions"]
    assert "[78, 74, 30, 79, 76]: the least number is 76" in printed["grim"]
    assert "image/png" in printed["fid-plot"] and "run `make repro`" in printed["fid-real"]
    assert "Traceback" not in json.dumps(book)
