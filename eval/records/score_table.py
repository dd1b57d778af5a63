"""A score as a table for a paper, a page or a spreadsheet: LaTeX, Markdown or CSV, by the file's name.

In LaTeX and Markdown a row is a measure and a column a method, with its interval or range, as on the screen; in CSV a
row is a measure of a method, with every number in a cell of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from eval.records.latex import tabular
from eval.records.markdown import grid
from eval.records.score_text import rows_of
from eval.registry import DIRECTIONS, UNITS, reading
from lnm.files import for_spreadsheet, whole

NUMBERS = ("value", "low", "high", "least", "most", "n", "parts")  # of an entry
COLUMNS = ["method", "control", "metric", "good", *NUMBERS, "unit", "above_real", "refused"]


def write_table(path: Path, result: dict) -> Path:
    """Write a result of `score` in the form that the name's ending asks for, one of `FORMS`."""
    with whole(path) as part:
        part.write_text(FORMS[path.suffix](result), encoding="utf-8")
    return path


def csv(result: dict) -> str:
    """A row a method and measure: what it is, its numbers, whether it is a control that ranks above the real reference,
    and the reason where it was refused."""
    import pandas as pd  # takes a while to load

    flagged = {(flag["control"], flag["metric"]) for flag in result["flags"]}
    rows = []
    for name in result["labels"]:
        for metric, unit in UNITS.items():
            entry = result["methods"][name][metric]
            rows.append({
                "method": for_spreadsheet(name), "control": "yes" if name in result["controls"] else "no",
                "metric": metric, "good": reading(DIRECTIONS[metric]), "unit": unit,
                "above_real": "yes" if (name, metric) in flagged else "",
                "refused": for_spreadsheet(entry.get("refused", ""))} | {key: entry.get(key) for key in NUMBERS})
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object).to_csv(index=False, lineterminator="\n")


def markdown(result: dict) -> str:
    """A row a measure that a method has a value of."""
    header, *rows = rows_of(result)
    return grid(header, rows) + "\n"


def latex(result: dict) -> str:
    """The same as a tabular that needs no package."""
    header, *rows = rows_of(result)
    return tabular(header, rows)


FORMS: dict[str, Callable[[dict], str]] = {".csv": csv, ".md": markdown, ".tex": latex}
