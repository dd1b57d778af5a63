"""benchmarks.score without its libraries: what it takes for equal, and that a refusal is none."""

import json
import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY

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


def test_what_was_recorded_holds_by_the_bounds_of_now_and_the_docs_say_it():
    record = json.loads((REPOSITORY / "benchmarks" / "results" / "score.json").read_text(encoding="utf-8"))
    rows, verdicts = record["rows"], score.judged(record["rows"])
    assert verdicts == record["verdicts"] and record["passed"] and all(one["holds"] for one in verdicts)
    off = {(one["library"], one["value"]): one["off"] for one in verdicts}
    libraries = ("torch-fidelity", "torchmetrics", "pytorch-fid")
    assert all(off[library, "fid"] < 2e-6 for library in libraries)
    assert off["torch-fidelity", "precision"] == off["torch-fidelity", "recall"] == off["lpips", "lpips"] == 0
    page = " ".join((REPOSITORY / "docs" / "report.md").read_text(encoding="utf-8").split())
    assert "pytorch-fid's within 2e-6, precision, recall and LPIPS to the last digit; {}, {} and {} times our".format(
        *(f"{rows[library]['ratio']:.2g}" for library in libraries)) in page
    assert f"changes this FID by {off['pytorch-fid', 'fid, its own resize']:.0%}" in page


def test_the_number_of_threads_is_set_before_numpy_reads_it():
    """Both benchmarks that time libraries take it by one function."""
    code = ("import argparse, os, sys; from benchmarks import fid, options, score; assert 'numpy' not in sys.modules; "
            "args = options.parsed(argparse.ArgumentParser(), ['--threads', '3', '--json', 'x.json']); "
            "import torch; print(args.threads, args.json, torch.get_num_threads(), os.environ['OPENBLAS_NUM_THREADS'])")
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment["PYTHONPATH"] = str(REPOSITORY)
    said = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert said.stdout.split() == ["3", "x.json", "3", "3"], said.stderr
