"""Review, statistics 10: the cells of Table 1."""

import pytest

from eval.publish import votes
from eval.publish.formats import cell
from eval.statistics.small import summarise


@pytest.mark.parametrize("values, said", [
    ([164.2], "164"), ([164.2, 164.2], "164"), ([0.0, 0.0], "0.00"), ([164.0, 164.3], "164"),
    ([0.9, 1.0, 1.4], "1.10 (0.90 to 1.40)"), ([-0.02, 0.05], "0.0150 (-0.0200 to 0.0500)"),
    ([1.0, 2.0, 3.0, 4.0, 5.0], "3.00 [1.04, 4.96]"),
])
def test_a_cell_has_the_range_of_few_and_the_interval_of_5_and_never_plus_minus_0(values, said):
    assert cell(summarise(values, "")) == said and "±" not in said


def test_an_asymmetric_interval_is_printed_as_such():
    assert cell({"value": 0.2, "low": 0.05, "high": 0.6, "n": 6}) == "0.200 [0.050, 0.600]"
    assert cell({"refused": "no"}) == "-"


def pair(first, second, share, low=0.4, high=0.8, n=40):
    return {"first": first, "second": second, "share": share, "low": low, "high": high, "n": n}


def summary(*pairs):
    return {"simulated": False, "questions": {"preference": {"pairs": list(pairs)}}}


def test_opponents_are_named_and_not_pooled():
    found = votes.cells(summary(pair("ours", "frame_by_frame", 0.9), pair("ours", "identity", 0.5)))
    assert found["ours"]["preference"] == ("90% [40, 80] over checkpoint, frame by frame; "
                                           "50% [40, 80] over ours, from the identity")
    assert found["identity"]["preference"] == "50% [20, 60] over LateNtMovies (ours)"


def test_where_cogvideo_was_asked_about_the_papers_comparison_stands_alone():
    found = votes.cells(summary(pair("cogvideo", "ours", 0.3), pair("ours", "static", 1.0),
                                pair("cogvideo", "static", 0.9)))
    assert found["ours"]["preference"] == "70% [20, 60] over cogvideo"
    assert found["cogvideo"]["preference"] == "30% [40, 80] over LateNtMovies (ours)"
    assert found["static"]["preference"].count("over") == 2


def test_few_observers_have_a_share_and_no_interval():
    assert votes.cells(summary(pair("ours", "cogvideo", 0.75, None, None, 4)))["ours"]["preference"] == (
        "75% of 4 votes over cogvideo")
