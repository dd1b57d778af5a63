"""What the votes say: shares, intervals and tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eval.records.published import PUBLISHED
from eval.statistics.agreement import agreement
from eval.statistics.catch import luck
from eval.statistics.crossed import share
from eval.statistics.davidson import strengths
from eval.statistics.intervals import rounded
from eval.statistics.permutation import sign_flip
from eval.statistics.power import observers_needed
from eval.study.form import CATCH, MARK, NO_RESPONSES, QUESTIONS, below_inputs, shown, write_text
from eval.study.text import markdown
from eval.study.votes import read_votes
from lnm.errors import UserError
from lnm.files import sha256, write_json
from lnm.workflow.params import root

POWER_SHARES = (0.6, 0.7, 0.74, 0.76, 0.78, 0.79)  # the last four are the paper's own


def aggregate(paths: list[Path], out: Path, methods: list[str] | None = None, resamples: int = 2000, seed: int = 0,
              max_failed: int = 0, strict: bool = False) -> dict:
    """Reads votes and writes out/summary.json, summary.md and, if there are any, malformed.csv; returns the summary.

    methods: names that may occur, in the order to print them; None takes what comes, ours first. resamples, seed: of
    the bootstrap. max_failed: an observer who fails more catch trials is left out. strict: a malformed or repeated row
    is an error. Simulated votes give the same files named SIMULATED_..., with the mark in them; simulated and real
    ones together are refused.
    """
    summary = {"status": NO_RESPONSES, "simulated": False, "files": {}, "votes": 0, "observers": 0, "questions": {},
               "published": _published(),
               "power": [observers_needed(p, wanted) for p in POWER_SHARES for wanted in (0.8, 0.9)]}
    problems = None
    if paths:
        votes, problems, notes = read_votes(paths, methods)
        if len(problems) and (strict or not len(votes)):
            first, more = problems.iloc[0], len(problems) - 1
            raise UserError(f"{first['file']}: line {first['line']}: {first['reason']}"
                            + (f" ({more} more rows after it)" if more else "")
                            + ("" if len(votes) else "; not one row is a vote"))
        summary |= {"files": {shown(path): sha256(path) for path in paths}, "rows_left_out": len(problems),
                    "notes": notes}
        if len(votes):
            summary |= _summarise(votes, methods, resamples, seed, max_failed)
    summary = rounded(summary)
    mark = f"{MARK}_" if summary["simulated"] else ""
    if problems is not None and len(problems):
        write_text(out / f"{mark}malformed.csv", problems.to_csv(index=False))
    else:
        (out / f"{mark}malformed.csv").unlink(missing_ok=True)  # of an earlier run
    write_text(out / f"{mark}summary.md", markdown(summary))
    write_json(out / f"{mark}summary.json", summary)
    return summary | {"problems": [] if problems is None else [tuple(row) for row in problems.itertuples(index=False)]}


def _summarise(votes, methods: list[str] | None, resamples: int, seed: int, max_failed: int) -> dict:
    """Everything that is said of some votes."""
    simulated = _simulated(votes)
    right = votes["condition_A"].astype(str).str.lower().str.startswith(CATCH).map({True: "B", False: "A"})
    failed = votes[votes["is_catch"] & (votes["choice"].astype(str) != right)]["observer"].value_counts()
    failed = sorted(str(name) for name in failed.index[failed > max_failed])
    out = votes["observer"].isin(failed)
    caught = votes[votes["is_catch"]]
    each = int(caught["observer"].astype(str).value_counts().min()) if len(caught) else 0  # of who saw the fewest
    kept = votes[~out & ~votes["is_catch"]]
    names = {*kept["condition_A"].unique(), *kept["condition_B"].unique()}
    names = sorted(names, key=lambda name: (name != "ours", name))
    order = {name: i for i, name in enumerate(methods or names)}
    a, b = kept["condition_A"].map(order).astype(int), kept["condition_B"].map(order).astype(int)
    tie = kept["choice"].astype(str) == "tie"
    chose_a = (kept["choice"].astype(str) == "A") & ~tie
    kept = kept.assign(
        first=np.minimum(a, b), second=np.maximum(a, b), tie=tie, win=chose_a == (a < b), chose_a=chose_a,
        video=kept["scene"].astype(str).str.split("/seed_").str[0])
    sided = kept[~kept["wide"] & ~kept["tie"]]
    sessions = votes.groupby("observer", observed=True)["session"].nunique()
    several = sorted(str(name) for name in sessions.index[sessions > 1])
    labels = list(order)
    questions = {}
    for question in QUESTIONS:
        asked = kept[kept["question"] == question]
        pairs = [_pair(group, labels[i], labels[j], seed)
                 for (i, j), group in asked.groupby(["first", "second"], sort=True)]
        if pairs:
            questions[question] = {"pairs": pairs, "davidson": _strengths(asked, labels, resamples, seed)}
    return {
        "status": MARK if simulated else "responses", "simulated": simulated,
        "votes": len(kept), "observers": int(kept["observer"].nunique()),
        "catch": {"trials": len(caught), "observers_asked": int(caught["observer"].nunique()), "max_failed": max_failed,
                  "each": each, "luck": luck(each, max_failed), "observers_left_out": failed,
                  "votes_left_out": int((out & ~votes["is_catch"]).sum())},
        "observers_of_several_sessions": several,
        "rt_ms_median": float(kept["rt_ms"].median()) if kept["rt_ms"].notna().any() else None,
        "left_right": _share(sided, sided["chose_a"]) if len(sided) else
        {"refused": "no vote says which film was left"},
        "bootstrap": {"resamples": resamples, "seed": seed}, "questions": questions,
    }


def _simulated(votes) -> bool:
    """Whether these votes are simulated; refuses a mixture, and simulated ones below inputs/."""
    marked = (votes["observer"].astype(str).str.upper().str.startswith(MARK)
              | votes["session"].astype(str).str.upper().str.startswith(MARK))
    if not marked.any():
        return False
    file = votes.loc[marked, "file"].iloc[0]
    if not marked.all():
        raise UserError(f"{file}: holds simulated votes and {votes.loc[~marked, 'file'].iloc[0]} real ones; they are "
                        "never counted together: give one kind")
    if below_inputs(root() / file):
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
