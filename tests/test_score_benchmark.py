"""benchmarks.score without its libraries: what it takes for equal, and that a refusal is none."""

import pytest

from benchmarks import score


def rows(**others):
    return {"ours": {"fid": 100.0, "kid": 0.5, "seconds": 1.0, "ratio": 1.0}} | others


def test_a_library_that_did_not_run_fails():
    """All of them refused, and the values counted as equal."""
    found = score.judged(rows(torchmetrics={"refused": "ImportError: x", "seconds": 0.1, "ratio": 0.1}))
    assert [one["holds"] for one in found] == [False] and "ImportError" in found[0]["shares"]
    assert not score.judged(rows(other={"seconds": 1.0, "ratio": 1.0}))[0]["holds"]  # nothing to compare


@pytest.mark.parametrize("library, name, value, holds", [
    ("torch-fidelity", "fid", 100.05, True), ("torch-fidelity", "fid", 100.2, False),
    ("torchmetrics", "kid", 0.53, True), ("torchmetrics", "kid", 0.56, False),
    ("pytorch-fid", "fid, its own resize", 106.0, True), ("pytorch-fid", "fid, its own resize", 112.0, False),
])
def test_every_value_has_its_bound_pytorch_fids_own_pipeline_too(library, name, value, holds):
    [one] = score.judged(rows(**{library: {name: value, "seconds": 1.0, "ratio": 1.0}}))
    assert one["holds"] == holds and one["value"] == name


def test_what_both_sides_share_is_said():
    [kid] = score.judged(rows(**{"torch-fidelity": {"kid": 0.5}}))
    [own] = score.judged(rows(**{"pytorch-fid": {"fid, its own resize": 100.0}}))
    assert "torch-fidelity's on both sides" in kid["shares"] and "independent program" in own["shares"]
    assert "cores" in score.machine()
