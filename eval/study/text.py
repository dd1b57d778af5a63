"""What the votes say, as text and tables."""

from __future__ import annotations

import numpy as np

from eval.statistics.crossed import percent
from eval.statistics.small import FEWEST
from eval.study.form import MARK, NO_RESPONSES, QUESTIONS

PUBLISHED_AS = {"ours": "LateNtMovies (ours)", "cogvideo": "CogVideo"}  # our name -> the paper's row


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
        first, second = (PUBLISHED_AS.get(name.lower(), name) for name in (first, second))
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
                rows.append([*title, "-", "0", str(pair["ties"]), *["-"] * 4])
                continue
            rows.append([*title, percent(pair), str(pair["n"]), str(pair["ties"]), pair["over"] or "-",
                         f"{pair['votes_worth']:.0f}" if pair["votes_worth"] else "-", f"{pair['p_value']:.2g}",
                         f"{alpha['alpha']:.2f}" if "alpha" in alpha else "-"])
        ranked = entry["davidson"]
        if ranked and "refused" in ranked:
            reasons.append(f"strengths of {question}: {ranked['refused']}")
        elif ranked:
            ranks += _strengths(question, ranked)
    parts = [f"### {mark}Pairs", grid(["Question", "Pair", "Share", "n", "ties", "interval over", "votes worth", "p",
                                       "alpha"], rows)]
    if ranks:
        parts += [f"### {mark}Strengths, Davidson's model",
                  grid(["Question", "Method", "log odds", "95%", "over"], ranks)]
    catch, side = summary["catch"], summary["left_right"]
    notes = [
        f"{summary['votes']} votes of {summary['observers']} observers counted; n is without ties",
        f"the interval is over whole observers and whole videos; of fewer than {FEWEST} videos over observers, for "
        f"these videos\n  alone; of fewer than {FEWEST} observers there is none. p: sign flips of observers' shares "
        "against 1/2, each pair alone",
        "alpha: Krippendorff's, over scenes; near 0 where every scene leans the same way, however strongly",
        f"catch trials: {catch['trials']}, {catch['each']} an observer, which one who clicks at random passes with "
        f"probability {catch['luck']:.2g}; shown to {catch['observers_asked']} observers; left out for failing more "
        f"than {catch['max_failed']}: {len(catch['observers_left_out'])} observers with {catch['votes_left_out']} votes"
        + (f" ({_some(catch['observers_left_out'])})" if catch["observers_left_out"] else ""),
        f"rows left out as malformed or repeated: {summary['rows_left_out']}"
        + (f", listed in {MARK + '_' if mark else ''}malformed.csv" if summary["rows_left_out"] else ""),
        f"left film chosen: {side['refused']}" if "refused" in side else
        f"left film chosen: {percent(side)} of {side['n']} votes",
    ]
    if several := summary["observers_of_several_sessions"]:
        notes.append(f"observers of several sessions: {_some(several)}; all their votes count")
    return [*parts, "\n".join(f"- {note}" for note in notes + reasons + summary["notes"])]


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


def grid(header: list[str], rows: list[list[str]]) -> str:
    """A markdown table whose columns line up."""
    rows = [[text.replace("|", "\\|") for text in row] for row in rows]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |"
                     for line in lines)
