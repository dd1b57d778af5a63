"""Votes read from CSV files, and everything in them that is no vote."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from eval.study.form import CATCH, COLUMNS, PAIR, shown
from eval.study.vote import reason
from lnm.errors import UserError
from lnm.files import from_spreadsheet, regular_file

PROBLEM = ("file", "line", "kind", "reason")  # of a row that is not counted
MALFORMED, REPEATED = "malformed", "repeated"


def find_responses(folder: Path) -> list[Path]:
    """The CSV files of a folder, sorted; none where there is no such folder."""
    return sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() == ".csv")


def read_votes(paths: list[Path]):
    """Every vote in some CSV files, and everything that is none: (votes, problems, notes).

    votes: a DataFrame of COLUMNS (side_seed dropped, rt_ms a number or NaN, answered a time or NaT, is_catch a bool)
    and file, line, wide (no side is known). problems: a DataFrame of PROBLEM: rows that are malformed or stand twice,
    which are not among the votes. notes: what else was not used, a line each. Raises UserError for a file that cannot
    be read as a whole, and for a session that contradicts itself.
    """
    import pandas as pd

    tables, problems, notes = [], [], []
    for path in paths:
        table, malformed, said = _read_file(path)
        tables.append(table)
        problems += malformed
        notes += said
    votes = pd.concat(tables, ignore_index=True)
    why = np.array([reason(dict(zip(COLUMNS, row, strict=True)))
                    for row in votes[list(COLUMNS)].itertuples(index=False, name=None)], dtype=object)
    bad = votes[why != ""]
    problems += zip(bad["file"], bad["line"], why[why != ""], strict=True)
    votes = votes[why == ""].reset_index(drop=True)
    votes["rt_ms"] = pd.to_numeric(votes["rt_ms"], errors="coerce")  # empty: not measured
    votes["answered"] = pd.to_datetime(votes["answered"], errors="coerce", utc=True, format="ISO8601")
    votes["is_catch"] = votes["is_catch"].str.lower().isin(("1", "true"))
    for name in ("file", "observer", "session", "study", "scene", "question", "condition_A", "condition_B", "film_A",
                 "film_B", "choice"):
        votes[name] = votes[name].astype("category")
    votes, twice = _once(votes.drop(columns="side_seed"))
    listed = [(file, line, MALFORMED, text) for file, line, text in problems]
    listed += [(file, line, REPEATED, text) for file, line, text in twice]
    return votes, pd.DataFrame(listed, columns=list(PROBLEM)), notes


def _read_file(path: Path):
    """One CSV, long or wide, as text: a DataFrame of COLUMNS, file, line, wide; [(file, line, reason)] of rows whose
    number of fields is wrong; notes."""
    import pandas as pd

    name = shown(path)
    rows = _rows(path, name)
    line, header = next(rows)
    header = [text.strip() for text in header]
    pairs = {i: match for i, text in enumerate(header) if (match := PAIR.fullmatch(text))}
    needed = ("observer", "study") if pairs and "study" in header else ("observer",) if pairs else COLUMNS
    missing = [column for column in needed if column not in header]
    if missing:
        form = "the page's" if len(missing) < len(COLUMNS) / 2 else "the page's or a wide (scene|question|A vs B)"
        untold = "; answers that do not say about which films they are cannot be counted" if "film_A" in missing else ""
        raise UserError(f"{name}: no column {', '.join(missing)}; the header must be {form} one: "
                        f"{', '.join(needed)}" + (" and pairs" if pairs else untold))
    repeated = {column for column in header if column and header.count(column) > 1}
    if repeated:
        raise UserError(f"{name}: the column {min(repeated)} stands twice; remove one")
    places = [header.index(column) for column in needed]
    columns: list[list] = [[] for _ in COLUMNS]
    lines, problems, notes, memo, blank = [], [], [], {}, 0
    for line, row in rows:
        if len(row) != len(header):
            problems.append((name, line, f"{len(row)} fields, the header has {len(header)}"))
            continue
        if not pairs:
            lines.append(line)
            for column, place in zip(columns, places, strict=True):  # one object a distinct text: a million rows fit
                text = row[place]
                column.append(memo[text] if text in memo else memo.setdefault(text, from_spreadsheet(text.strip())))
            continue
        observer, study = ([row[place].strip() for place in places] + [""])[:2]
        for i, pair in pairs.items():
            cell, (scene, question, a, b) = row[i].strip(), (text.strip() for text in pair.groups())
            if not cell:
                blank += 1
            else:
                choice = {a.lower(): "A", b.lower(): "B", "a": "A", "b": "B", "tie": "tie"}.get(cell.lower(), cell)
                catch = str(int(any(text.lower().startswith(CATCH) for text in (a, b))))
                lines.append(line)
                session = f"{observer}, line {line} of {name}"
                for column, text in zip(columns, (observer, session, study, scene, question, a, b, "", "", choice, "",
                                                  "", "", catch), strict=True):
                    column.append(text)
    table = pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)), dtype=str)
    table["file"], table["line"], table["wide"] = name, np.array(lines, dtype=np.int64), bool(pairs)
    ignored = [text for i, text in enumerate(header) if text not in needed and i not in pairs]
    if ignored:
        notes.append(f"{name}: columns not read: {', '.join(text or '(unnamed)' for text in ignored)}")
    if blank:
        notes.append(f"{name}: {blank} cells are blank: not answered")
    if not len(table) and not problems:
        notes.append(f"{name}: no answers below the header")
    return table, problems, notes


def _rows(path: Path, name: str) -> Iterator[tuple[int, list[str]]]:
    """(line it starts on, fields) of each row that is not blank; the first is the header."""
    data = regular_file(path, fix="give a CSV file").read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{name}: saved as UTF-16; save it as CSV UTF-8")
    try:
        text = data.decode("utf-8-sig")  # with the mark that spreadsheets put first, or without
    except UnicodeDecodeError as error:
        line, byte = data.count(b"\n", 0, error.start) + 1, data[error.start]
        raise UserError(f"{name}: line {line}: not UTF-8 (byte 0x{byte:02x}); save it as CSV UTF-8") from None
    if not text.strip():
        raise UserError(f"{name}: empty; put the answers into it or take it away")
    first = text.lstrip().partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{name}: line {line}: {error}; a quote that is opened there is not closed, or stands inside "
                        "a field") from None


def _once(votes):
    """Votes without those that stand twice (a file downloaded twice), and a problem for each of these. A session that
    answers the same question twice and differently is an error: which answer holds cannot be known."""
    a, b = votes["condition_A"].astype(str), votes["condition_B"].astype(str)
    keys = votes[["session", "scene", "question"]].assign(
        first=a.where(a < b, b), second=b.where(a < b, a)).astype("category")
    chosen = a.where(votes["choice"] == "A", b).where(votes["choice"] != "tie", "tie")
    group = keys.groupby(list(keys), observed=True, sort=False).ngroup().to_numpy()
    _, first = np.unique(group, return_index=True)
    original = first[group]  # a row's first appearance
    again = np.flatnonzero(original != np.arange(len(votes)))
    chosen, file, line, session = chosen.to_numpy(), votes["file"].to_numpy(), votes["line"].to_numpy(), \
        votes["session"].to_numpy()
    problems = []
    for row, before in zip(again, original[again], strict=True):
        there = f"{file[before]}, line {line[before]}"
        if chosen[row] != chosen[before]:
            scene, question = votes["scene"].iloc[row], votes["question"].iloc[row]
            raise UserError(f"{file[row]}: line {line[row]}: session {session[row]} answers {scene}, {question} "
                            f"otherwise than in {there}; keep one of them")
        problems.append((file[row], line[row], f"session {session[row]}: the same vote as {there}"))
    return votes.drop(index=votes.index[again]).reset_index(drop=True), problems
