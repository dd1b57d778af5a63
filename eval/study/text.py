"""What the votes say, as text and tables."""

from __future__ import annotations

import numpy as np

from eval.records.markdown import escaped, grid
from eval.records.opponents import PUBLISHED_AS, papers
from eval.statistics.catch import LUCK
from eval.statistics.crossed import percent
from eval.statistics.small import FEWEST
from eval.study.form import MARK, NO_RESPONSES, QUESTIONS


def markdown(summary: dict) -> str:
    """The summary as tables that also line up in a terminal."""
    mark = f"{MARK}: " if summary["simulated"] else ""
    parts = [f"## {mark}Human study"]
    if summary["simulated"]:
        parts.append(f"**{MARK}.** Every vote below comes from a model, none from a person.")
    rows, pairs = [], {}
    for method, said in summary["published"].items():
        rows.append([f"{method}, published", *(said[question] for question in QUESTIONS)])
    for question, entry in summary["questions"].items():
        for pair in entry["pairs"]:
            pairs.setdefault((pair["first"], pair["second"]), {})[question] = pair
    for (first, second), asked in pairs.items():
        first, second = (PUBLISHED_AS.get(papers(name), name) for name in (first, second))
        title = f"{mark}{first} over {second}, this run"
        rows.append([title, *(percent(asked[q]) if "share" in asked.get(q, {}) else "-" for q in QUESTIONS)])
    if not pairs:
        none = NO_RESPONSES if summary["status"] == NO_RESPONSES else "no vote is left"
        rows.append(["this run", *([none] * len(QUESTIONS))])
    parts.append(grid(["Method", *(question.capitalize() for question in QUESTIONS)], rows))
    parts.append("- published: copied from the paper's Table 1; its votes and number of observers were never published")
    if summary["status"] != NO_RESPONSES:
        parts[-1] += ("\n- this run: share of the decided votes of one pair; [ ]: 95%, where votes that share an "
                      "observer or a video count as alike")
        parts += _details(summary, mark)
    elif summary["files"]:
        parts += [_left_out(summary, mark), *_provenance(summary)]
    needed = [[f"{100 * one['share']:.0f}%", f"{one['power']:g}", str(one["smallest"]), str(one["always_from"])]
              for one in summary["power"]]
    parts += ["### How many observers", grid(["True share", "Power", "Observers", "and every number from"], needed),
              "- one vote an observer, exact two-sided binomial test against 1/2, p < .05; computed exactly. Several "
              "votes\n  of one observer are worth less than as many observers."]
    return "\n\n".join(parts) + "\n"


def _details(summary: dict, mark: str) -> list[str]:
    """The tables of what was answered, and what was left out."""
    rows, ranks, reasons = [], [], []
    for question, entry in summary["questions"].items():
        for pair in entry["pairs"]:
            title = [question, f"{pair['first']} over {pair['second']}"]
            alpha = pair["agreement"]
            if "refused" in alpha:
                reasons.append(f"alpha of {question}, {title[1]}: {alpha['refused']}")
            if "refused" in pair:
                rows.append([*title, "-", "0", str(pair["ties"]), *["-"] * 6])
                continue
            rows.append([*title, percent(pair), str(pair["n"]), str(pair["ties"]), pair["over"] or "-",
                         f"{pair['votes_worth']:.0f}" if pair["votes_worth"] else "-", f"{pair['p_value']:.2g}",
                         f"{pair['p_holm']:.2g}",
                         f"{alpha['alpha']:.2f}" if "alpha" in alpha else "-",
                         f"{pair['with_everybody']['wins']} of {pair['with_everybody']['n']}"])
        ranked = entry["davidson"]
        if ranked and "refused" in ranked:
            reasons.append(f"strengths of {question}: {ranked['refused']}")
        elif ranked:
            ranks += _strengths(question, ranked)
    parts = [f"### {mark}Pairs", grid(["Question", "Pair", "Share", "n", "ties", "interval over", "votes worth", "p",
                                       "p, Holm", "alpha", "with all"], rows)]
    if ranks:
        parts += [f"### {mark}Strengths, Davidson's model",
                  grid(["Question", "Method", "log odds", "95%", "over"], ranks)]
    return [*parts, *_said(summary, mark, reasons)]


def _said(summary: dict, mark: str, reasons: list[str]) -> list[str]:
    """How the tables are to be read, what was not counted and why, and where the votes come from."""
    side = summary["left_right"]
    notes = [
        f"{summary['votes']} votes of {summary['observers']} observers counted; n is without ties",
        f"the interval is over whole observers and whole videos; of fewer than {FEWEST} videos over observers, for "
        f"these videos\n  alone; of fewer than {FEWEST} observers there is none. p: sign flips of observers' shares "
        "against 1/2,\n  each pair alone; Holm: corrected for all of the table",
        "with all: the share's votes if nobody were left out for not looking",
        "alpha: Krippendorff's, over scenes; near 0 where every scene leans the same way, however strongly",
        *_careless(summary),
        _left_out(summary, mark).removeprefix("- "),
        f"left film chosen: {side['refused']}" if "refused" in side else
        f"left film chosen: {percent(side)}" + ("" if side["low"] is None else f" of {side['n']} votes"),
    ]
    if several := summary["observers_of_several_sessions"]:
        notes.append("observers of several sessions, of which the earliest counts: " + _some([
            f"{escaped(one['observer'])} (session {escaped(one['sessions'][0])}; {one['left_out']} later answers left "
            "out)" for one in several]))
    notes += map(escaped, reasons + summary["notes"])
    return ["\n".join(f"- {note}" for note in notes), *_provenance(summary)]


def _left_out(summary: dict, mark: str) -> str:
    kinds = ", ".join(f"{n} {kind}" for kind, n in summary["left_out"].items())
    return f"- rows left out: {kinds}, listed in {MARK + '_' if mark else ''}left_out.csv" if kinds else (
        "- rows left out: none")


def _careless(summary: dict) -> list[str]:
    """The rule by which observers were not looking, its chance of being passed by luck, and whom it caught."""
    rule, catch, found = summary["rule"], summary["catch"], summary["careless"]
    luck = (f"catch trials: {catch['trials']}, shown to {catch['observers_asked']} observers, at least "
            f"{catch['fewest']} to each; who presses at random passes with probability {catch['luck']:.2g}"
            + ("" if catch["luck"] <= LUCK else f", **more than {LUCK:g}**")
            + (f" ({catch['observers_without']} observers were shown none)" if catch["observers_without"] else ""))
    signs = [f"more than {rule['max_failed']} failed catch trials"]
    if rule["min_rt_ms"]:
        signs.append(f"a median answer before {rule['min_rt_ms']:g} ms")
    if rule["one_side_p"]:
        signs.append(f"one side so often that a coin does it with p {rule['one_side_p']:g} or less")
    said = (f"not looking: {', or '.join(signs)}.\n  {'Left out' if found['left_out'] else 'Flagged and counted'}: "
            f"{len(found['observers'])} observers with {found['votes']} votes")
    if found["observers"]:
        said += ": " + _some([f"{escaped(name)} ({', '.join(why)})" for name, why in found["observers"].items()])
    return [luck, said]


def _provenance(summary: dict) -> list[str]:
    """The table of the files that the votes come from, and of whose films they are."""
    rows = [[name, one["sha256"][:12], str(one["rows"]), str(one["counted"]), str(one["observers"]),
             ", ".join(one["studies"]) or "-", f"{one['first']} to {one['last']}" if one["first"] else "-"]
            for name, one in summary["files"].items()]
    study = summary["study"]
    known = (f"films of the study {study['id']}: " + "; ".join(
        f"{escaped(scene)}: " + ", ".join(f"{escaped(method)} {film}" for method, film in films.items())
        for scene, films in study["films"].items()) if study and not summary["simulated"]
        else "no study was named: the films were not compared with any")
    return ["### Where the votes come from", grid(["File", "SHA-256", "rows", "counted", "observers", "study",
                                                   "answered"], rows), f"- {known}"]


def _strengths(question: str, ranked: dict) -> list[list[str]]:
    """Rows of one question's strengths, strongest first. An end that a bootstrap leaves open is infinite."""
    rows = []
    for i in np.argsort(ranked["strengths"])[::-1]:
        interval = "-"
        if ranked["over"]:
            low, high = ranked["low"][i], ranked["high"][i]
            interval = f"[{'-inf' if low is None else f'{low:+.2f}'}, {'inf' if high is None else f'{high:+.2f}'}]"
        rows.append([question, ranked["methods"][i], f"{ranked['strengths'][i]:+.2f}", interval, ranked["over"] or "-"])
    return rows


def _some(names: list[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
