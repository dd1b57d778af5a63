"""Review, statistics 10: the cells of Table 1."""

import csv
import io

import pytest

from eval import registry
from eval.publish import report_tables, table1, table1_notes, votes
from eval.publish.formats import cell, counted, named
from eval.statistics.small import summarise
from lnm.files import FORMULA


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


@pytest.mark.parametrize("name", ["cogvideo", "CogVideo", "COGVIDEO"])
def test_the_paper_s_opponent_is_known_however_its_folder_is_spelt(name):
    found = votes.cells(summary(pair(name, "ours", 0.3), pair("ours", "static", 1.0)))
    assert found["ours"]["preference"] == f"70% [20, 60] over {name}"


def test_few_observers_have_a_share_and_no_interval():
    assert votes.cells(summary(pair("ours", "cogvideo", 0.75, None, None, 4)))["ours"]["preference"] == (
        "75% of 4 votes over cogvideo")


@pytest.mark.parametrize("clusters, unit, said", [
    (None, "fine-tune", "4 films"), ([1, 2, 1, 2], "fine-tune", "4 films, 2 fine-tunes"),
    ([1, 1, 1, 1], "still", "4 films, 1 still"), ([1, 2, 3, 4], "film", "4 films"),
    ([1, 2, 1, 2], "fine-tune and still", "4 films, 2 pairs of fine-tune and still"),
    ([1, 2, 3, 4], "fine-tune and still", "4 films, one a pair of fine-tune and still"),
    ([1, 1, 1, 1], "fine-tune and still", "4 films, 1 pair of fine-tune and still"),
    ([1, 2, 3, 4], "fine-tune", "4 films, 4 fine-tunes"),
])
def test_a_number_says_how_many_films_and_how_many_of_what_they_share(clusters, unit, said):
    found = summarise([1.0, 2.0, 3.0, 4.0], "", clusters)
    assert counted(found, unit) == said
    assert report_tables.entry(found, unit).replace("\u00a0", " ") == f"2.5 (1 to 4), {said}"


def test_pairs_of_films_are_told_from_pairs_of_what_they_were_made_from():
    """Table 1c said "4 pairs, 4 pairs of fine-tune and still"."""
    unit, values = "fine-tune and still", [1.0, 2.0, 3.0, 4.0]
    assert counted(summarise(values, "", "abcd"), unit, "pair") == "4 pairs of films, one a pair of fine-tune and still"
    assert counted(summarise(values, "", "abab"), unit, "pair") == "4 pairs of films, 2 pairs of fine-tune and still"
    assert counted(summarise([1.0], "", "a"), unit) == "1 film, 1 pair of fine-tune and still"
    assert counted(summarise(values, "", "abcd"), "fine-tune", "pair") == "4 pairs, 4 fine-tunes"


def two_fine_tunes():
    """A metrics.json of four films of ours by two fine-tunes, and of one still."""
    ours = {metric: summarise([1.0, 2.0, 3.0, 4.0], "", "abab") for metric in registry.UNITS}
    one = {metric: summarise([1.0], "") for metric in registry.UNITS}
    labels = {"ours": "mine", "static": "static", "static_noise": "noise", "heldout": "real", "heldout_vae": "ceiling"}
    return {"labels": labels, "controls": list(labels)[1:], "interval": {"unit": "fine-tune"},
            "methods": dict.fromkeys(labels, one) | {"ours": ours}, "flags": [], "sizes": {},
            "differences": {"static": ours, "static_noise": ours}, "reference": {"fid": {"refused": "no"}}}


def test_two_fine_tunes_of_two_films_each_are_not_four_of_anything():
    tables = {"ocean": two_fine_tunes()}
    rows = {row[0]: row[1] for row in table1.table1b(tables)[1]}
    assert (rows["mine"], rows["static"]) == ("4 films, 2 fine-tunes", "1 film")
    assert table1.table1c(tables)[1][0][1] == "4 pairs, 2 fine-tunes"
    assert named(tables["ocean"], "ours") == "mine\n4 films, 2 fine-tunes"
    assert named(tables["ocean"], "static") == "static"
    assert table1_notes._ours(tables) == "4 films, 2 fine-tunes"
    both = tables | {"rapids": two_fine_tunes()}
    assert table1.table1b(both)[1][0][1] == table1.table1c(both)[1][0][1] == "2 videos"


def test_table_1c_stands_beside_the_autoencoder_where_every_video_has_that(tmp_path):
    """Beside it ours is 3 nearer than a still, beside the clip itself 2.5 farther."""
    nearer, farther = (summarise([value], "") for value in (-3.0, 2.5))
    tables = {name: two_fine_tunes() for name in ("ocean", "rapids")}
    for table in tables.values():
        table["differences"] |= {"heldout": {metric: farther for metric in registry.UNITS}}
        table["differences_vae"] = {name: dict.fromkeys(registry.TO_HELDOUT, nearer)
                                    for name in ("static", "static_noise", "heldout")}
    header, rows = table1.table1c(tables)
    column = 2 + list(table1.COMPARED).index("flow_warp_gap")
    assert [row[0] for row in rows] == ["static", "noise", "real"], "the clip itself is a row"
    assert {row[column] for row in rows} == {"-3.00"} and rows[0][2 + list(table1.COMPARED).index("clipsim")] == "2.50"
    assert not [key for key in table1.tests(tables) if key[0] == "heldout"], "which is no baseline: it is not tested"
    assert "; 'real, held out' there is the clip without it" in table1_notes.beside(["flow_warp_gap"], [])
    lines = table1._csv_differences(tables).splitlines()
    assert "mean,static,flow_warp_gap,autoencoder,-3," in "\n".join(lines)
    assert "mean,static,clipsim,clip,2.5," in "\n".join(lines)

    del tables["rapids"]["differences_vae"]
    assert table1.table1c(tables)[1][0][column] == "2.50", "or else every video is beside the clip itself"
    said = table1_notes.beside(["flow_warp_gap"], ["flow_warp_gap"])
    assert said.startswith("Beside the clip itself: flow-warp error, off real, for want of it.")


def test_what_a_user_wrote_is_text_in_the_markdown(monkeypatch):
    tables = {"<b>ocean": two_fine_tunes()}
    tables["<b>ocean"]["labels"]["mine|too"] = "mine|too"
    tables["<b>ocean"]["methods"]["mine|too"] = tables["<b>ocean"]["methods"]["static"]
    tables["<b>ocean"]["differences"]["mine|too"] = tables["<b>ocean"]["differences"]["static"]
    monkeypatch.setattr(table1_notes, "notes", lambda *of: ['the prompt "<img src=x>" of **all** $words$'])
    text = table1._markdown(tables, {})
    assert "<img" not in text and "<b>" not in text and r"of \*\*all\*\* \$words\$" in text
    assert "## Table 1b. &lt;b&gt;ocean: what was measured" in text and r"| mine\|too " in text


def test_a_name_that_is_a_formula_is_text_in_both_csvs():
    tables = {"ocean": two_fine_tunes() | {"backend": {"clip": {"name": "@SUM(A1)"}}}}
    tables["ocean"]["labels"] |= {"ours": "=1+1", "static": "-2+cmd|x"}
    first = list(csv.DictReader(io.StringIO(table1._csv(tables, {}))))
    assert {"'=1+1", "'-2+cmd|x"} <= {row["method"] for row in first}
    assert {row["clip_model"] for row in first if row["source"] == "this run"} == {"'@SUM(A1)"}
    others = list(csv.DictReader(io.StringIO(table1._csv_differences(tables))))
    assert "'-2+cmd|x" in {row["ours_minus"] for row in others}
    cells = [cell for row in [*first, *others] for cell in row.values() if cell]
    assert not [cell for cell in cells if cell.startswith(FORMULA) and not cell.lstrip("-+")[0].isdigit()]


def test_fid_is_refused_of_the_video_that_has_none_and_said_of_the_others():
    """Review, bugs: notes of a run with and one without Inception."""
    none = {"backend": {"inception": {"refused": "no weights"}}, "reference": {"fid": {"refused": "no weights"}}}
    floors = {"train": {"n": 5, "n_reference": 9}}
    some = {"backend": {"inception": {"name": "Inception"}}, "reference": {"fid": floors}}
    both, alone = (table1_notes._inception({"a": none, "b": other}) for other in (some, none))
    assert "FID is by Inception" in both[0] and "(b 5 against 9)" in both[0]
    assert both[1:] == ["FID refused of a: no weights."] and alone == ["FID refused: no weights."]
