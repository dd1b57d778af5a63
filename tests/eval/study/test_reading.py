"""CSV files of answers: every row is a vote or is listed, and nothing is lost in silence."""

import csv
import json

import numpy as np
import pytest
from answers import HEADER, STUDY, row, write
from conftest import REPOSITORY

from eval.publish.votes import cells
from eval.study.aggregate import aggregate
from eval.study.form import film_hash
from eval.study.sieve import Rule, about
from eval.study.simulate import simulate
from eval.study.text import markdown
from eval.study.votes import read_votes
from lnm.cli import main as command
from lnm.errors import UserError

MALFORMED = [
    (row() + ",more", "15 fields, the header has 14"), ("only,three,fields", "3 fields, the header has 14"),
    (row(observer="", session="s"), "observer is empty"), (row(scene=" "), "scene is empty"),
    (row(question="realizm"), "question 'realizm' is none of preference, realism"),
    (row(choice="left"), "choice 'left' is none of A, B, tie"), (row(choice=""), "choice is empty"),
    (row(b="ours"), "condition_A 'ours' is both films"), (row(catch=2), "is_catch '2' is neither 0 nor 1"),
    (row(catch=1), "is_catch '1' does not fit"), (row(b="catch-1"), "is_catch '0' does not fit"),
    (row(rt=-1), "rt_ms '-1' is no time"), (row(rt="soon"), "rt_ms 'soon' is no time"), (row(rt="inf"), "is no time"),
    (row(rt="nan"), "is no time"), (row(seed="x"), "side_seed 'x' is no whole number"),
    (row("p\x001"), "observer 'p\\x001' holds a control character"), (row(study="x"), "study 'x' is no study's id"),
    (row(answered="soon"), "answered 'soon' is no time such as"), (row(a="{x}", b="{x}"), "condition_A '{x}' is both"),
    (row().replace(film_hash(b"ocean ours"), "c0ffee"), "film_A 'c0ffee' is no film's hash"),
    (row(a="sora"), "condition_A 'sora' is not among the methods ours, cogvideo"),
    (row(b="Ours"), "condition_B 'Ours' is not among"),
]


@pytest.mark.parametrize(("bad", "reason"), MALFORMED, ids=[reason for _, reason in MALFORMED])
def test_a_malformed_row_is_listed_with_its_file_and_line(project, capsys, bad, reason):
    write(project / "inputs" / "human_study" / "v.csv", row("p1"), bad, row("p2"))
    assert command(["study", "aggregate", "--methods", "ours,cogvideo", "--out", "out"]) == 0
    said = capsys.readouterr()
    assert said.err.startswith("inputs/human_study/v.csv: line 3: ") and reason in said.err
    assert "2 votes of 2 observers" in said.out
    listed = list(csv.reader((project / "out" / "left_out.csv").open(newline="")))
    kind = "other films" if "not among" in reason else "malformed"
    assert len(listed) == 2 and listed[1][:3] == ["inputs/human_study/v.csv", "3", kind]
    assert command(["study", "aggregate", "--methods", "ours,cogvideo", "--strict"]) == 2
    assert capsys.readouterr().err.startswith("error: inputs/human_study/v.csv: line 3: ")


def test_what_is_left_out_is_no_formula_for_a_spreadsheet(project):
    write(project / "=HYPERLINK(1).csv", row("p1"), row(choice="left"))
    assert command(["study", "aggregate", "=HYPERLINK(1).csv", "--out", "out"]) == 0
    assert [line[:2] for line in csv.reader((project / "out" / "left_out.csv").open(newline=""))][1:] == [
        ["'=HYPERLINK(1).csv", "3"]]


def test_simulated_votes_hold_no_formula_and_are_counted_by_their_own_names(project):
    path = simulate(project / "votes.csv", {"realism": {"=1+1": 3.0, "@SUM(A1)": 0.0}}, observers=2, catch=0)
    assert {"'=1+1", "'@SUM(A1)"} == set(next(csv.reader([line]))[5] for line in path.read_text().splitlines()[1:])
    assert set(read_votes([path])[0]["condition_A"]) == {"=1+1", "@SUM(A1)"}


def test_notebook_5_takes_the_votes_about_its_own_films_methods_alone(project, capsys):
    cells = json.loads((REPOSITORY / "notebooks" / "5_human_study.ipynb").read_text(encoding="utf-8"))["cells"]
    answers = next("".join(cell["source"]) for cell in cells if cell["id"] == "answers")
    write(project / "votes.csv", row("p1"), row("p2", b="cogvidoe"))
    choices = {"responses": ["votes.csv"], "bootstrap": 100, "seed": 0, "max_failed": 0, "min_rt_ms": 0,
               "one_side_p": 0, "careless": "flag"}
    names = {"root": lambda: project, "out": project / "out", "choices": choices, "page": None, "aggregate": aggregate,
             "Rule": Rule, "scenes": {"ocean": {"ours": b"", "cogvideo": b""}}, "display": print, "Markdown": str,
             "markdown": markdown}
    exec(answers, names)
    assert "left out: votes.csv, line 3: condition_B 'cogvidoe' is not among the methods" in capsys.readouterr().out
    pairs = [pair for entry in names["summary"]["questions"].values() for pair in entry["pairs"]]
    assert {(pair["first"], pair["second"], pair["n"]) for pair in pairs if pair.get("n")} == {("ours", "cogvideo", 1)}


def test_lines_are_the_files_own_even_after_a_field_of_several_lines(project):
    path = write(project / "v.csv", row("p1", scene='"a\nscene"'), "", row(choice="C"), row("p2"))
    votes, problems, _ = read_votes([path])
    assert votes["line"].tolist() == [6]
    assert problems.values.tolist() == [
        ["v.csv", 2, "malformed", "scene 'a\\nscene' holds a control character"],
        ["v.csv", 5, "malformed", "choice 'C' is none of A, B, tie, nor a method of the pair"]]


def test_every_row_is_a_vote_or_is_listed(project):
    rng = np.random.default_rng(0)
    good = [row(f"p{k}") for k in range(300)]
    rows = good + [bad for bad, _ in MALFORMED] * 3 + good[:20]
    rng.shuffle(rows)
    votes, problems, _ = read_votes([write(project / "v.csv", *rows)])
    votes, other = about(votes, None, ["ours", "cogvideo"])
    lines = [*votes["line"], *problems["line"], *(line for _, line, _, _ in other)]
    assert sorted(lines) == list(range(2, len(rows) + 2))
    assert len(votes) == 300


def test_more_malformed_rows_than_fit_a_screen_are_all_in_the_file(project, capsys):
    path = write(project / "v.csv", row("p"), *[row(f"p{k}", choice="C") for k in range(30)])
    assert command(["study", "aggregate", str(path), "--out", str(project / "out")]) == 0
    assert "... and 10 more" in capsys.readouterr().err
    assert len((project / "out" / "left_out.csv").read_text().splitlines()) == 31
    write(path, row("p"))
    assert command(["study", "aggregate", str(path), "--out", str(project / "out")]) == 0
    assert not (project / "out" / "left_out.csv").exists()


def test_a_session_given_twice_counts_once_and_one_that_contradicts_itself_is_an_error(project):
    first = write(project / "a.csv", row("p1"), row("p1", "rain"), row("p2"))
    again = write(project / "b.csv", row("p1", a="cogvideo", b="ours", choice="B"), row("p3"))  # sides swapped
    votes, problems, _ = read_votes([first, again])
    assert len(votes) == 4
    assert problems.values.tolist() == [["b.csv", 2, "repeated", "session s-p1: the same vote as a.csv, line 2"]]
    write(again, row("p3"), row("p1", choice="B"))
    with pytest.raises(UserError, match="b.csv: line 3: session s-p1 answers ocean, preference otherwise than in "
                                        "a.csv, line 2; keep one of them"):
        read_votes([first, again])


NOT_READ = {
    "latin1": (HEADER + "\n" + row("Ren\u00e9") + "\n").encode("latin-1"),
    "utf16": (HEADER + "\n" + row()).encode("utf-16"),
    "empty": b"", "blank": b"\n \n",
    "missing": (HEADER.replace(",choice", "") + "\n" + row()).encode(),
    "old page": (HEADER.replace("study,", "").replace("film_A,film_B,", "") + "\n").encode(),
    "prose": b"Dear all,\nhere are my answers.\n",
    "no observer": b"name,ocean|preference|ours vs cogvideo\np1,ours\n",
    "twice": (HEADER + ",choice\n" + row() + ",A\n").encode(),
    "quote": (HEADER + "\n" + row() + '\np2,s2,"ocean,preference\n' + row("p3") + "\n").encode(),
    "spreadsheet": b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00\xff\xfe",
    "all malformed": (HEADER + "\n" + row(choice="C") + "\n" + row(choice="D")).encode(),
}
SAYS = {
    "latin1": "line 2: not UTF-8 (byte 0xe9); save it as CSV UTF-8", "utf16": "saved as UTF-16; save it as CSV UTF-8",
    "empty": "empty;", "blank": "empty;", "missing": "no column choice;",
    "old page": "no column study, film_A, film_B; the header must be the page's one",
    "prose": "no column observer, session",
    "no observer": "no column observer;", "twice": "the column choice stands twice",
    "quote": "line 3: unexpected end of data", "spreadsheet": "not UTF-8",
    "all malformed": "line 2: choice 'C' is none of A, B, tie, nor a method of the pair (1 more rows after it); not "
    "one row is a vote"}


@pytest.mark.parametrize("name", NOT_READ)
def test_a_file_that_cannot_be_read_is_one_clear_line_and_nothing_is_written(project, capsys, name):
    path = project / "inputs" / "human_study" / "v.csv"
    path.parent.mkdir()
    path.write_bytes(NOT_READ[name])
    assert command(["study", "aggregate"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: inputs/human_study/v.csv: ") and SAYS[name] in error and error.count("\n") == 1
    assert not (project / "results").exists()


def test_a_file_that_is_not_there_or_given_twice_is_one_clear_line(project, capsys):
    assert command(["study", "aggregate", "none.csv"]) == 2
    assert capsys.readouterr().err == "error: none.csv: no such file; give a CSV file\n"
    path = write(project / "v.csv", row())
    assert command(["study", "aggregate", str(path), str(project / "." / "v.csv")]) == 2
    assert "given twice" in capsys.readouterr().err


def test_without_responses_it_says_so(project, capsys):
    for given in ([], [str(write(project / "inputs" / "human_study" / "v.csv"))]):
        assert command(["study", "aggregate", *given]) == 0
        assert capsys.readouterr().out.startswith("no responses yet\n")
        summary = json.loads((project / "results" / "human_study" / "summary.json").read_text())
        assert summary["status"] == "no responses yet" and summary["questions"] == {} and not summary["simulated"]
        assert summary["published"]["CogVideo"] == {"preference": "21%", "realism": "24%"}
        table = (project / "results" / "human_study" / "summary.md").read_text()
        assert "| 79%              | 76%              |" in table and "| no responses yet | no responses yet |" in table
        assert cells(summary) == {}
    (project / "inputs" / "human_study" / "answers.xlsx").write_bytes(b"PK")
    assert command(["study", "aggregate"]) == 0
    assert "answers.xlsx: not a .csv file, not read" in capsys.readouterr().err


def test_two_hundred_thousand_rows(project):
    lines = [f"p{k % 5000},s{k % 5000},{STUDY},scene{k // 5000},preference,ours,cogvideo,{'0' * 16},{'1' * 16},"
             f"{'AAAB'[(k + k // 5000) % 4]},7,{900 + k % 999},,0" for k in range(200_000)]
    path = write(project / "v.csv", *lines, row(choice="C"))
    summary = aggregate([path], project / "out", resamples=20, rule=Rule(one_side_p=0))
    pair, = summary["questions"]["preference"]["pairs"]
    assert (pair["wins"], pair["n"], summary["observers"], summary["left_out"]) == (
        150_000, 200_000, 5000, {"malformed": 1})
    assert summary["problems"][0][1] == 200_002


@pytest.mark.parametrize("arguments", [
    ["--preference", "ours"], ["--preference", "ours=much"], ["--preference", "ours=1"], [],
    ["--preference", "ours=1,b=0", "--lapse", "2"], ["--preference", "ours=1,b=0", "--observers", "0"],
    ["--preference", "catch=1,b=0"], ["--preference", "ours=nan,b=0"], ["--preference", "ours=inf,b=0"],
    ["--preference", "ours=1,b=0", "--side-bias", "nan"], ["--preference", "ours=1,b=0", "--scene-sd", "inf"]])
def test_a_model_that_is_none_is_refused(project, capsys, arguments):
    assert command(["study", "simulate", *arguments]) == 2
    assert "error: " in capsys.readouterr().err and not (project / "build").exists()
