"""The report's tables, each from a metrics.json made up for it."""

import pytest

from eval.publish import report_tables
from eval.publish.report_cells import Cells
from eval.statistics.small import summarise


@pytest.fixture
def cells(tmp_path):
    return Cells(tmp_path, tmp_path / "paper")


def two_flows(cases, **refused):
    """A metrics.json with these disagreements of the two flows."""
    rows = {name: {metric: refused or {"value": 1.0} for metric in ("flow_speed_rife", "flow_warp_rife")}
            | {"flow_speed": {"value": 1.0}, "flow_warp": {"value": 1.0}} for name in ("heldout", "ours", "shuffled")}
    return {"labels": {"heldout": "real", "ours": "mine", "shuffled": "mixed"}, "methods": rows,
            "flow_disagreements": cases}


def test_what_two_flows_rank_differently_is_said_with_both_orders(cells):
    case = {"methods": ["heldout", "shuffled"], "flow_warp": [0.0166, 0.0145], "flow_warp_rife": [0.0159, 0.0332]}
    found = report_tables.flows("ocean", two_flows({"speed": [], "warp": [case]}), cells)
    assert "rank 1 pair of films or controls differently: there neither order is to be trusted" in found["said"]
    header, (row,) = found["table"]
    assert [row[0], *(cell["text"] for cell in row[1:])] == [
        "flow-warp error", "mixed 0.0145 < real 0.0166", "real 0.0159 < mixed 0.0332"]
    assert "DIS" in header[1] and "RIFE" in header[2]


def test_two_flows_that_agree_are_said_to_and_a_flow_that_is_not_there_agrees_with_nothing(cells):
    nothing = {"speed": [], "warp": []}
    agreed = report_tables.flows("ocean", two_flows(nothing), cells)
    assert "rank every two of these films and controls alike" in agreed["said"] and agreed["table"] is None
    missing = report_tables.flows("ocean", two_flows(nothing, refused="no RIFE weights"), cells)
    assert missing["said"].endswith("cannot be held against each other: no RIFE weights.")
    assert report_tables.flows("ocean", {"methods": {}, "labels": {}}, cells) is None, "older numbers"


def test_what_compares_with_the_real_clip_stands_beside_the_autoencoder_s_as_well(cells):
    table = {"labels": {"heldout": "real", "heldout_vae": "ceiling", "ours": "mine"}, "methods": {},
             "interval": {"unit": "fine-tune"},
             "against_vae": {"heldout_vae": {"motion_ratio": {"refused": "it is itself"}},
                             "ours": {"motion_ratio": summarise([1.25, 1.25], "", "ab")}}}
    found = report_tables.against_vae("ocean", table, cells)
    header, (row,) = found["table"]
    assert header == ["Metric", "ceiling", "mine"] and row[1] == "-"
    assert row[2]["text"].replace("\u00a0", " ") == "1.25, 2 films, 2 fine-tunes"
    assert found["refusals"] == ["“motion, x real” refused (-) for ceiling: it is itself"]
    assert row[0] == "motion, x real (x held-out; good: near 1)"
    assert report_tables.against_vae("ocean", {"labels": {}, "methods": {}}, cells) is None, "older numbers"
