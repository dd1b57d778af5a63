"""Which votes count: those about the study's own films, one answer to a trial an observer, by observers who looked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache

import numpy as np

from eval.study.form import CATCH, MARK
from eval.study.votes import REPEATED
from lnm.errors import UserError

OTHER_FILMS = "other films"
LEAVE_OUT, FLAG = "leave_out", "flag"


@dataclass(frozen=True)
class Rule:
    """When an observer was not looking. Any one of the three is enough; 0 in place of a limit switches it off.

    max_failed: more failed catch trials than this (a tie fails). min_rt_ms: a median reaction time below this, in
    milliseconds from the moment both films play. one_side_p: the left or the right film chosen so often that a coin
    would do it with this probability or less (exact two-sided binomial test; sides are drawn at random and half of the
    pairs swap theirs, so an observer who looks is nearer to half than a coin). careless: what becomes of the votes of
    such an observer, "leave_out" or "flag".
    """

    max_failed: int = 0
    min_rt_ms: float = 500
    one_side_p: float = 0.001
    careless: str = LEAVE_OUT

    def record(self) -> dict:
        return asdict(self)


LOOKED = Rule()


def films_of(study: dict) -> dict[tuple[str, str], str]:
    """(scene, method) -> the film's hash, of what `page.write_page` returns or `page.read_study` reads."""
    return {(trial["scene"], method): study["hashes"][film] for trial in study["trials"]
            for method, film in zip(trial["conditions"], trial["films"], strict=True)}


def about(votes, study: dict | None, methods: list[str] | None = None):
    """Votes about the study's films, of the methods that may occur, and a problem (file, line, kind, reason) for each
    other vote.

    A film is known by its hash: the same film in a page that was built anew is the same film. A wide form has no
    hashes, so there the study's id must be this one's. Of a catch trial the broken film is not looked at. Without a
    study nothing is left out, but votes about two films of one method and scene are an error.
    """
    why = np.full(len(votes), "", dtype=object)
    known = None if study is None else films_of(study)
    if known is None:
        _one_film_each(votes)
    for side in "AB":
        rows = votes[["scene", "study", "wide", f"condition_{side}", f"film_{side}"]].itertuples(index=False, name=None)
        for i, (scene, asked, wide, method, film) in enumerate(rows):
            if why[i] or method.lower().startswith(CATCH):
                continue
            if methods and method not in methods:
                why[i] = f"condition_{side} {method!r} is not among the methods {', '.join(methods)}"
            if known is None or why[i]:
                continue
            expected = known.get((scene, method))
            if expected is None:
                why[i] = f"the study {study['id']} has no film of {method} in {scene}"
            elif wide and asked != study["id"]:
                why[i] = f"study {asked!r} is not {study['id']}; a wide form needs a column study that names it"
            elif not wide and film != expected:
                why[i] = f"film_{side} {film!r} of study {asked} is not this study's film of {method} in {scene}"
    other = why != ""
    problems = [(file, line, OTHER_FILMS, text) for file, line, text in
                zip(votes["file"][other], votes["line"][other], why[other], strict=True)]
    return votes[~other].reset_index(drop=True), problems


def _one_film_each(votes) -> None:
    """Raises UserError where one method's film of a scene has several hashes."""
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    for side in "AB":
        columns = votes[["scene", f"condition_{side}", f"film_{side}", "file"]]
        for scene, method, film, file in columns.drop_duplicates().itertuples(index=False, name=None):
            before, where = seen.setdefault((scene, method), (film, file))
            if film and film != before and film != MARK and not method.lower().startswith(CATCH):
                raise UserError(f"{file}: is about the film {film} of {method} in {scene}, {where} about {before}; "
                                "name the study whose films count: --study study.html")


def once(votes):
    """One answer an observer, scene, question and pair: (votes, problems, observers).

    Of an observer's sessions the earliest counts, by the time of its first answer, or in the order of the files where a
    session has no time. Later answers to what is answered are problems; later answers to something else count.
    observers: of each with several sessions {"observer", "sessions" in that order, "left_out" answers}.
    """
    if votes.empty:
        return votes, [], []
    a, b = votes["condition_A"].astype(str), votes["condition_B"].astype(str)
    table = votes[["observer", "session", "scene", "question", "answered"]].assign(
        first=a.where(a < b, b), second=b.where(a < b, a), place=np.arange(len(votes)))
    table = table.astype({name: str for name in ("observer", "session")})
    sessions = table.groupby(["observer", "session"], sort=False).agg(
        start=("answered", "min"), place=("place", "min")).reset_index()
    timed = sessions["start"].notna().groupby(sessions["observer"]).transform("all")
    sessions["start"] = sessions["start"].where(timed)
    sessions = sessions.sort_values(["observer", "start", "place"], kind="stable")
    sessions["rank"] = sessions.groupby("observer").cumcount()
    table = table.merge(sessions[["observer", "session", "rank"]], on=["observer", "session"]).sort_values("place")
    ordered = table.sort_values(["rank", "place"], kind="stable")
    key = ["observer", "scene", "question", "first", "second"]
    counts = ordered.groupby(key, observed=True, sort=False)["place"].transform("first")
    again = ordered[counts != ordered["place"]]
    file, line = votes["file"].to_numpy(), votes["line"].to_numpy()
    problems = [(file[row], line[row], REPEATED, f"observer {observer} has answered this in {file[before]}, line "
                 f"{line[before]}, which counts: the earlier session")
                for row, before, observer in zip(again["place"], counts[again.index], again["observer"], strict=True)]
    left = again["observer"].value_counts()
    several = sessions[sessions.groupby("observer")["session"].transform("size") > 1]
    observers = [{"observer": name, "sessions": group["session"].tolist(), "left_out": int(left.get(name, 0))}
                 for name, group in several.groupby("observer")]
    return votes.drop(index=again["place"]).reset_index(drop=True), problems, observers


def careless(votes, rule: Rule) -> dict[str, list[str]]:
    """Observers who were not looking, by `rule`, and why: {observer: reasons}, in the order of their names."""
    why: dict[str, list[str]] = {}
    caught = votes[votes["is_catch"]]
    right = caught["condition_A"].astype(str).str.lower().str.startswith(CATCH).map({True: "B", False: "A"})
    failed = (caught["choice"].astype(str) != right).groupby(caught["observer"].astype(str)).agg(["sum", "size"])
    for observer, (wrong, asked) in zip(failed.index, failed.to_numpy(), strict=True):
        if wrong > rule.max_failed:
            why.setdefault(observer, []).append(f"failed {wrong} of {asked} catch trials")
    for observer, median in votes.groupby(votes["observer"].astype(str))["rt_ms"].median().items():
        if median < rule.min_rt_ms:
            why.setdefault(observer, []).append(f"median answer after {median:.0f} ms")
    sided = votes[~votes["wide"] & (votes["choice"] != "tie")]
    left = (sided["choice"].astype(str) == "A").groupby(sided["observer"].astype(str)).agg(["sum", "size"])
    for observer, (chosen, n) in zip(left.index, left.to_numpy(), strict=True):
        if _coin(int(chosen), int(n)) <= rule.one_side_p:
            more, side = max((chosen, "left"), (n - chosen, "right"))
            why.setdefault(observer, []).append(f"chose the {side} film {more} of {n} times")
    return dict(sorted(why.items()))


@cache
def _coin(heads: int, n: int) -> float:
    from scipy.stats import binomtest

    return float(binomtest(heads, n).pvalue)
