"""What the report says that it rests on beside the stages of each video: the checks of the method, the ablations."""

import hashlib

import pytest

from eval.claims import conformance
from eval.publish.report_cells import Cells
from eval.publish.report_provenance import NOT_RECORDED, stages, whole
from lnm.files import write_json
from lnm.workflow import commit

CHECKS, ABLATIONS = "the method, checked on small models", "ablations: 3 of 4 runs of ocean"


@pytest.fixture
def project(tmp_path):
    """A project with films of one video, and nothing else."""
    write_json(tmp_path / "results" / "ocean" / "sample" / "films.json", {"temporal_sha256": "ab" * 32})
    return tmp_path


def rows(project):
    results = project / "results"
    header, found = stages(results, {}, "c0ffee", Cells(results, results / "paper"))
    assert all(len(row) == len(header) for row in found)
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in found}


def hashes(project):
    refused = {"refused": "none"}
    backend = {"checkpoint": "checkpoints/mine", "inception": refused, "clip": refused, "flow": "DIS"}
    return dict(whole(project / "results", {"ocean": {"backend": backend}}, "c0ffee"))


def test_what_was_neither_checked_nor_trained_has_no_row(project):
    assert list(rows(project)) == ["Table 1, figures, this report"]
    assert not [what for what in hashes(project) if "checks" in what or "ablations" in what]


def test_the_checks_of_the_method_have_the_hash_of_the_code_that_they_were_of(project):
    code = conformance.code(project)
    write_json(project / conformance.FILE, {"code": code, "checks": {}})
    row = rows(project)[CHECKS]
    assert row["Notebook"] == "conformance.json"
    assert row["Run at commit"] == f"{NOT_RECORDED}; code {code[:12]}"
    assert hashes(project)["code that the checks of the method were of, sha256"] == code
    commit.note(project, project / conformance.FILE, "abad1dea" * 5)
    assert rows(project)[CHECKS]["Run at commit"] == f"abad1deaabad; code {code[:12]}"
    write_json(project / conformance.FILE, {"code": "0" * 64, "checks": {}})
    assert rows(project)[CHECKS]["Run at commit"] == f"{NOT_RECORDED}; code {'0' * 12}, not as it is now"


def test_the_ablations_have_what_is_recorded_of_them(project):
    folder = project / "results" / "ablations"
    write_json(folder / "ablations.json", {"video": "ocean", "checkpoint": "checkpoints/mine", "done": 3, "wanted": 4,
                                           "arms": {"base": {"seeds": [0, 1]}, "adamw": {"seeds": [1]},
                                                    "same": {"same_as": "base"}}})
    row = rows(project)[ABLATIONS]
    assert row["Notebook"] == {"text": "ablations.ipynb", "href": "", "focus": True}
    assert (row["Params"], row["Seed"], row["Run at commit"]) == (NOT_RECORDED, "0, 1", NOT_RECORDED)
    assert row["Weights"] == f"checkpoint checkpoints/mine, hash {NOT_RECORDED}"
    (folder / "ablations.ipynb").write_text("{}")
    commit.note(project, folder / "ablations.ipynb", "abad1dea" * 5)
    row = rows(project)[ABLATIONS]
    assert row["Notebook"]["href"] == "../ablations/ablations.ipynb" and row["Run at commit"] == "abad1deaabad"
    said = hashes(project)["ablations.json, sha256"]
    assert said == hashlib.sha256((folder / "ablations.json").read_bytes()).hexdigest()
