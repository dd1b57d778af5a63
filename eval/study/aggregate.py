"""What the votes say: shares, intervals and tests."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

import numpy as np

from eval.records.published import PUBLISHED
from eval.statistics.agreement import agreement
from eval.statistics.catch import luck
from eval.statistics.crossed import share
from eval.statistics.davidson import strengths
from eval.statistics.intervals import rounded
from eval.statistics.permutation import holm, sign_flip
from eval.statistics.power import observers_needed
from eval.study.form import CATCH, MARK, NO_RESPONSES, QUESTIONS, below_inputs, shown, write_text
from eval.study.sieve import LEAVE_OUT, LOOKED, Rule, about, careless, films_of, once
from eval.study.text import markdown
from eval.study.votes import PROBLEM, read_votes
from lnm.errors import UserError
from lnm.files import for_spreadsheet, sha256, write_json

POWER_SHARES = (0.6, 0.7, 0.74, 0.76, 0.78, 0.79)  # the last four are the paper's own


def aggregate(paths: list[Path], out: Path | None, methods: list[str] | None = None, resamples: int = 2000,
              seed: int = 0, rule: Rule = LOOKED, strict: bool = False, study: dict | None = None) -> dict:
    """Reads votes and writes out/summary.json, summary.md and, if there are any, left_out.csv; returns the summary.

    out: a folder; None writes nothing. methods: names that may occur, in the order to print them; None takes what
    comes, ours first. resamples, seed: of the bootstrap. rule: which observers were not looking. strict: any row that
    is not counted is an error. study: the one whose films count, as from `page.write_page` or `page.read_study`;
    answers about other films are listed and never counted. Simulated votes give the same files named SIMULATED_...,
    with the mark in them; simulated and real ones together are refused.
    """
    summary = {"status": NO_RESPONSES, "simulated": False, "study": _record(study), "files": {}, "votes": 0,
               "observers": 0, "questions": {}, "published": _published(),
               "power": [observers_needed(p, wanted) for p in POWER_SHARES for wanted in (0.8, 0.9)]}
    problems: list[tuple] = []
    if paths:
        votes, unread, notes = read_votes(paths)
        problems = list(unread.itertuples(index=False, name=None))
        if problems and (strict or not len(votes)):
            raise UserError(_first(problems) + ("" if len(votes) else "; not one row is a vote"))
        simulated = len(votes) > 0 and _simulated(votes, paths)
        votes, other = about(votes, None if simulated else study, methods)
        votes, again, several = once(votes)
        problems += [*other, *again]
        if problems and strict:
            raise UserError(_first(problems))
        summary |= {"files": _files(paths, votes, problems), "notes": notes,
                    "left_out": dict(Counter(kind for _, _, kind, _ in problems)),
                    "observers_of_several_sessions": several, "rule": rule.record()}
        if not votes["is_catch"].all():  # catch trials alone say nothing
            summary |= _summarise(votes, simulated, methods, resamples, seed, rule)
    summary = rounded(summary)
    if out is not None:
        _write(summary, problems, out)
    return summary | {"problems": problems}


def _first(problems: list[tuple]) -> str:
    file, line, _, reason = problems[0]
    more = f" ({len(problems) - 1} more rows after it)" if len(problems) > 1 else ""
    return f"{file}: line {line}: {reason}{more}"


def _write(summary: dict, problems: list[tuple], out: Path) -> None:
    mark = f"{MARK}_" if summary["simulated"] else ""
    if problems:
        stream = io.StringIO(newline="")
        csv.writer(stream, lineterminator="\n").writerows([PROBLEM, *(map(for_spreadsheet, row) for row in problems)])
        write_text(out / f"{mark}left_out.csv", stream.getvalue())
    else:
        (out / f"{mark}left_out.csv").unlink(missing_ok=True)  # of an earlier run
    write_text(out / f"{mark}summary.md", markdown(summary))
    write_json(out / f"{mark}summary.json", summary)


def _record(study: dict | None) -> dict | None:
    """What a summary keeps of the study: its id and the hash of every film that was asked about."""
    if study is None:
        return None
    films: dict[str, dict[str, str]] = {}
    for (scene, method), film in films_of(study).items():
        if not method.startswith(CATCH):
            films.setdefault(scene, {})[method] = film
    return {"id": study["id"], "films": films}


def _files(paths: list[Path], votes, problems: list[tuple]) -> dict[str, dict]:
    """Where the votes come from: of each file its hash and what was found in it. A vote of a catch trial is a row."""
    lost = Counter(file for file, *_ in problems)
    found = {}
    for path in paths:
        name = shown(path)
        rows = votes[votes["file"] == name]
        times = rows["answered"].dropna()
        found[name] = {
            "sha256": sha256(path), "rows": len(rows) + lost[name], "counted": len(rows),
            "observers": int(rows["observer"].nunique()), "studies": sorted(set(rows["study"].astype(str)) - {""}),
            "first": times.min().isoformat() if len(times) else None,
            "last": times.max().isoformat() if len(times) else None}
    return found


def _summarise(votes, simulated: bool, methods: list[str] | None, resamples: int, seed: int, rule: Rule) -> dict:
    """Everything that is said of some votes."""
    why = careless(votes, rule)
    asked = votes[~votes["is_catch"]]
    suspect = asked["observer"].isin(list(why))
    everybody, labels = _sorted(asked, methods)
    kept = everybody[~suspect] if rule.careless == LEAVE_OUT else everybody
    caught = votes["is_catch"].groupby(votes["observer"].astype(str)).sum()
    sided = kept[~kept["wide"] & ~kept["tie"]]
    questions = {}
    for question in QUESTIONS:
        answers, every = kept[kept["question"] == question], everybody[everybody["question"] == question]
        pairs = [_pair(group, labels[i], labels[j], seed) | _with_everybody(every, i, j)
                 for (i, j), group in answers.groupby(["first", "second"], sort=True)]
        if pairs:
            questions[question] = {"pairs": pairs, "davidson": _strengths(answers, labels, resamples, seed)}
    tested = [pair for entry in questions.values() for pair in entry["pairs"] if "p_value" in pair]
    for pair, p in zip(tested, holm([pair["p_value"] for pair in tested]), strict=True):
        pair["p_holm"] = p
    return {
        "status": MARK if simulated else "responses", "simulated": simulated,
        "votes": len(kept), "observers": int(kept["observer"].nunique()),
        "careless": {"observers": why, "votes": int(suspect.sum()), "left_out": rule.careless == LEAVE_OUT},
        "catch": {"trials": int(caught.sum()), "observers_asked": int((caught > 0).sum()),
                  "observers_without": int((caught == 0).sum()), "fewest": int(caught.min()),
                  "luck": luck(int(caught.min()), rule.max_failed)},
        "rt_ms_median": float(kept["rt_ms"].median()) if kept["rt_ms"].notna().any() else None,
        "left_right": _share(sided, sided["chose_a"]) if len(sided) else
        {"refused": "no vote says which film was left"},
        "bootstrap": {"resamples": resamples, "seed": seed}, "questions": questions,
    }


def _sorted(votes, methods: list[str] | None):
    """Votes with what does not depend on sides, and the methods' names by their numbers: `first` and `second`, the
    pair's methods as numbers, the smaller first; `win`, whether the first was chosen; `tie`, `chose_a`, `video`."""
    names = {*votes["condition_A"].unique(), *votes["condition_B"].unique()}
    labels = methods or sorted(names, key=lambda name: (name != "ours", name))
    order = {name: i for i, name in enumerate(labels)}
    a, b = votes["condition_A"].map(order).astype(int), votes["condition_B"].map(order).astype(int)
    tie = votes["choice"].astype(str) == "tie"
    chose_a = (votes["choice"].astype(str) == "A") & ~tie
    return votes.assign(
        first=np.minimum(a, b), second=np.maximum(a, b), tie=tie, win=chose_a == (a < b), chose_a=chose_a,
        video=votes["scene"].astype(str).str.split("/seed_").str[0]), list(labels)


def _with_everybody(votes, first: int, second: int) -> dict:
    """A pair's share if nobody were left out for not looking."""
    decided = votes[(votes["first"] == first) & (votes["second"] == second) & ~votes["tie"]]
    return {"with_everybody": {"wins": int(decided["win"].sum()), "n": len(decided)}}


def _simulated(votes, paths: list[Path]) -> bool:
    """Whether these votes are simulated; refuses a mixture, and simulated ones below inputs/."""
    marked = (votes["observer"].astype(str).str.upper().str.startswith(MARK)
              | votes["session"].astype(str).str.upper().str.startswith(MARK)
              | (votes[["study", "film_A", "film_B"]].astype(str) == MARK).any(axis=1))
    if not marked.any():
        return False
    file = votes.loc[marked, "file"].iloc[0]
    if not marked.all():
        raise UserError(f"{file}: holds simulated votes and {votes.loc[~marked, 'file'].iloc[0]} real ones; they are "
                        "never counted together: give one kind")
    if any(below_inputs(path) for path in paths):
        raise UserError(f"{file}: simulated votes do not belong below inputs/; move it")
    return True


def _codes(names) -> np.ndarray:
    """A column's values as whole numbers from 0."""
    return np.unique(names.astype(str).to_numpy(), return_inverse=True)[1]


def _share(votes, wins) -> dict:
    """`crossed.share` of some votes, of which a Series says which are won."""
    return share(wins.to_numpy(dtype=bool), _codes(votes["observer"]), _codes(votes["video"]))


def _pair(votes, first: str, second: str, seed: int) -> dict:
    """One question about one pair of methods."""
    decided = votes[~votes["tie"]]
    entry = {"refused": "every vote is a tie"}
    if not decided.empty:
        by_observer = decided.groupby("observer", observed=True)["win"].mean() - 0.5
        entry = _share(decided, decided["win"]) | {"p_value": sign_flip(by_observer.to_numpy(), seed)}
    entry |= {"first": first, "second": second, "ties": int(votes["tie"].sum()),
              "observers": int(votes["observer"].nunique()), "videos": int(votes["video"].nunique())}
    value = np.where(votes["tie"], 2, np.where(votes["win"], 0, 1))
    scenes = votes["scene"].astype(str).to_numpy()
    units = {scene: i for i, scene in enumerate(sorted(set(scenes)))}
    counts = np.zeros((len(units), 3), dtype=np.int64)
    np.add.at(counts, (np.array([units[scene] for scene in scenes]), value), 1)
    return entry | {"agreement": agreement(counts)}


def _strengths(votes, labels: list[str], resamples: int, seed: int) -> dict | None:
    """Davidson's strengths of more than two methods; None for two, whose share says it all."""
    present = sorted({*votes["first"], *votes["second"]})
    if len(present) < 3:
        return None
    place = {method: i for i, method in enumerate(present)}
    first, second = votes["first"].map(place).to_numpy(), votes["second"].map(place).to_numpy()
    cell = _codes(votes["observer"]), _codes(votes["video"])
    wins, ties = (np.zeros((cell[0].max() + 1, cell[1].max() + 1, len(present), len(present))) for _ in range(2))
    won, tie = votes["win"].to_numpy(dtype=bool), votes["tie"].to_numpy(dtype=bool)
    for i, j, chosen in ((first, second, won & ~tie), (second, first, ~won & ~tie)):
        np.add.at(wins, (*cell, i, j), chosen)
        np.add.at(ties, (*cell, i, j), tie)
    return {"methods": [labels[i] for i in present]} | strengths(wins, ties, resamples, seed)


def _published() -> dict:
    """The shares printed in the paper's Table 1, as printed; the votes behind them were never published."""
    return {row["method"]: {"preference": row["preferences"], "realism": row["realism"]} for row in PUBLISHED}
