"""A score as CSV, Markdown and LaTeX: the numbers of its JSON, and text that stays text."""

import csv
import json
import re

import pytest
from conftest import REPOSITORY
from textures import translated

from eval.records import latex, score_table, score_text
from eval.records.score import SCHEMA, score
from eval.registry import UNITS
from lnm import video
from lnm.cli import main

MOVING = translated(count=20)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("empty")
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        films = {"mine": [MOVING[:6], MOVING[1:7]], "of_others": [MOVING[::2][:6]]}
        return score(films, MOVING[8:16], clip="none", fps=8)


def test_the_csv_has_every_number_of_the_json_and_every_reason(result, tmp_path):
    path = score_table.write_table(tmp_path / "o.csv", result)
    with path.open(newline="", encoding="utf-8") as stream:
        rows = {(row["method"], row["metric"]): row for row in csv.DictReader(stream)}
    assert set(rows) == {(name, metric) for name in result["methods"] for metric in UNITS}
    flagged = {(flag["control"], flag["metric"]) for flag in result["flags"]}
    for (name, metric), row in rows.items():
        entry = result["methods"][name][metric]
        assert row["refused"] == entry.get("refused", "") and row["unit"] == UNITS[metric]
        for key in ("value", "low", "high", "least", "most", "n"):
            number = entry.get(key)
            assert (row[key] == "") if number is None else float(row[key]) == pytest.approx(number), (name, metric, key)
        assert row["n"] in ("", "1") or row["n"].isdigit(), "a count is no 2.0"
        assert (row["control"], row["above_real"]) == ("no" if name in result["films"] else "yes",
                                                       "yes" if (name, metric) in flagged else "")
    assert any(row["above_real"] for row in rows.values()) and any(row["refused"] for row in rows.values())


def test_the_docs_have_every_key_of_the_json_and_its_schema(result):
    page = (REPOSITORY / "docs" / "report.md").read_text(encoding="utf-8")
    table = page.split("The JSON of `--json`")[1].split("\n\n`lnm score --list`")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    assert {key for row in rows for key in re.findall("`(.+?)`", row[0])} == set(result)
    assert f"`{SCHEMA}`" in table
    entries = [entry for methods in result["methods"].values() for entry in methods.values()]
    said = {key for entry in entries for key in entry}
    assert {key for key in said if f"`{key}`" not in table} == set(), "of an entry"


def test_markdown_and_latex_have_the_screen_s_rows(result):
    header, *rows = score_text.rows_of(result)
    assert header[:3] == ["metric", "mine", "of_others"] and rows[0][0] == "motion"
    lines = score_table.markdown(result).splitlines()
    assert len(lines) == len(rows) + 2 and lines[2].startswith("| motion ") and rows[0][1] in lines[2]
    tex = score_table.latex(result)
    assert tex.startswith(r"\begin{tabular}{l" + "r" * (len(header) - 1) + "}") and tex.count(r"\hline") == 3
    assert "motion & " + rows[0][1] in tex and r"$\dagger$" in tex
    assert not re.search(r"(?<!\\)[%#_&](?! )", tex) and len(tex.split("\\\\\n")) == len(rows) + 2


@pytest.mark.parametrize("text, expected", [
    ("50% of a_b & c", r"50\% of a\_b \& c"), ("~^\\", r"\textasciitilde{}\textasciicircum{}\textbackslash{}"),
    ("0†", r"0$\dagger$"), ("$x$ {y} #1", r"\$x\$ \{y\} \#1"), ("a < b", r"a $<$ b")])
def test_what_latex_reads_is_escaped(text, expected):
    assert latex.escaped(text) == expected


def test_the_command_writes_the_form_that_the_name_asks_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    video.write_frames("film", MOVING[:4])
    words = ["score", "--frames", "film", "--method", "mine", "--clip", "none", "--quiet"]
    assert main([*words, "--table", "t.csv", "--json", "o.json"]) == 0
    assert (tmp_path / "t.csv").read_text() == score_table.csv(json.loads((tmp_path / "o.json").read_text()))
    capsys.readouterr()
    assert main([*words, "--table", "t.xlsx"]) == 2
    assert "--table t.xlsx: the name must end in .md, .tex or .csv" in capsys.readouterr().err


def test_a_reason_that_would_run_in_a_spreadsheet_is_text(result):
    changed = json.loads(json.dumps(result))
    changed["methods"]["mine"]["fid_train"] = {"refused": "=1+1"}
    assert "'=1+1" in score_table.csv(changed)
