"""Cells of Markdown tables: text that came from outside stays text."""

import pytest

from eval.records.markdown import escaped, grid
from lnm.files import for_spreadsheet, from_spreadsheet

CASES = [
    ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"), ("a|b", r"a\|b"), ("a\\|b", r"a\\\|b"),
    ("&lt;b>", "&amp;lt;b&gt;"), ("[x](javascript:y)", r"[x]\(javascript:y)"), ("a\n\n# b\x00", "a # b "),
    ("**b** `c` $d$", r"\*\*b\*\* \`c\` \$d\$"), ("_b_", r"\_b\_"),
]
PLAIN = ["79% [70, 86]", "frame_by_frame", "-0.12*", "12.0 (8.1 to 16.5)", "1920x1029", "a \u2020"]


@pytest.mark.parametrize("text, expected", CASES)
def test_what_would_be_markup_is_escaped(text, expected):
    assert escaped(text) == expected


@pytest.mark.parametrize("text", PLAIN)
def test_what_means_nothing_stays_readable(text):
    assert escaped(text) == text


@pytest.mark.parametrize("text, expected", [
    ("=HYPERLINK(1)", "'=HYPERLINK(1)"), ("+1+1", "'+1+1"), ("-2+cmd|x", "'-2+cmd|x"), ("@SUM(A1)", "'@SUM(A1)"),
    ("\t=1", "'\t=1"), ("-0.12", "-0.12"), ("+3", "+3"), ("1e-05", "1e-05"), ("-1.5e-05", "-1.5e-05"), ("ours", "ours"),
    ("", ""), ("a=b", "a=b"),
])
def test_a_spreadsheet_is_given_no_formula_and_every_number(text, expected):
    assert for_spreadsheet(text) == expected and from_spreadsheet(expected) == text


def test_a_cell_makes_no_further_cell_and_columns_line_up():
    table = grid(["Method", "n"], [["a|b", "1"], ["longer than that", "12"]]).splitlines()
    assert table[2] == r"| a\|b             | 1  |" and len({len(line) for line in table}) == 1


def test_table_1_and_the_studys_summary_are_written_by_it():
    from eval.publish import table1
    from eval.study import text

    assert table1.grid is grid and text.grid is grid
