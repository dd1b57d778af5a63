"""What the votes say, as text and tables."""

from __future__ import annotations

import numpy as np

from eval.study.form import MARK, NO_RESPONSES, QUESTIONS

PUBLISHED_AS = {"ours": "LateNtMovies (ours)", "cogvideo": "CogVideo"}  # our name -> the paper's row


def percent(entry: dict) -> str:
    """`79% [70, 86]`: a share and its Wilson interval."""
    low, high = entry["wilson"]
    return f"{100 * entry['share']:.0f}% [{100 * low:.0f}, {100 * high:.0f}]"


def cells(summary: dict) -> dict[str, dict[str, str]]:
    """What Table 1 prints of each method of this run, by question; {} without responses or when simulated."""
    if summary["simulated"]:
        return {}
    table: dict[str, dict[str, str]] = {}
    for question, entry in summary["questions"].items():
        for method, one in entry["methods"].items():
            table.setdefault(method, {})[question] = percent(one)
    return table


def markdown(summary: dict) -> str:
    """The summary as tables that also line up in a terminal."""
    mark = f"{MARK}: " if summary["simulated"] else ""
    parts = [f"## {mark}Human study"]
    if summary["simulated"]:
        parts.append(f"**{MARK}.** Every vote below comes from a model, none from a person.")
    rows, run = [], {name: entry["methods"] for name, entry in summary["questions"].items()}
    for method, said in summary["published"].items():
        rows.append([f"{method}, published", *(said[question] for question in QUESTIONS)])
    names = list(dict.fromkeys(name for entry in run.values() for name in entry))
    for name in names:
        title = f"{mark}{PUBLISHED_AS.get(name.lower(), name)}, this run"
        rows.append([title, *(percent(run[q][name]) if name in run.get(q, {}) else "-" for q in QUESTIONS)])
    if not names:
        none = NO_RESPONSES if summary["status"] == NO_RESPONSES else "no vote is left"
        rows.append(["this run", *([none] * len(QUESTIONS))])
    parts.append(grid(["Method", *(question.capitalize() for question in QUESTIONS)], rows))
    parts.append("- published: copied from the paper's Table 1; its votes and number of observers were never published")
    if summary["status"] != NO_RESPONSES:
        parts[-1] += "\n- this run: share of the decided votes, with its 95% Wilson interval"
        parts += _details(summary, mark)
    needed = [[f"{100 * one['share']:.0f}%", f"{one['power']:g}", str(one["smallest"]), str(one["always_from"])]
              for one in summary["power"]]
    parts += ["### How many observers", grid(["True share", "Power", "Observers", "and every number from"], needed),
              "- one vote an observer, exact two-sided binomial test against 1/2, p < .05; computed exactly. Several "
              "votes\n  of one observer are worth less than as many observers."]
    return "\n\n".join(parts) + "\n"


def _details(summary: dict, mark: str) -> list[str]:
    """The tables of what was answered, and what was left out."""
    def interval(entry: dict) -> str:
        if "refused" in entry:
            return f"- ({entry['clusters']})"
        return f"[{100 * entry['low']:.0f}, {100 * entry['high']:.0f}] ({entry['clusters']})"

    rows, ranks, reasons = [], [], []
    for question, entry in summary["questions"].items():
        for pair in entry["pairs"]:
            title = [question, f"{pair['first']} over {pair['second']}"]
            alpha = pair["agreement"]
            if "refused" in alpha:
                reasons.append(f"alpha of {question}, {title[1]}: {alpha['refused']}")
            if "refused" in pair:
                rows.append([*title, "-", "0", str(pair["ties"]), *["-"] * 5])
                continue
            exact = pair["clopper_pearson"]
            rows.append([*title, percent(pair), str(pair["n"]), str(pair["ties"]),
                         f"[{100 * exact[0]:.0f}, {100 * exact[1]:.0f}]", interval(pair["by_observer"]),
                         interval(pair["by_video"]), f"{pair['p_value']:.2g}",
                         f"{alpha['alpha']:.2f}" if "alpha" in alpha else "-"])
        ranked = entry["bradley_terry"]
        if ranked and "refused" in ranked:
            reasons.append(f"Bradley-Terry of {question}: {ranked['refused']}")
        elif ranked:
            for i in np.argsort(ranked["strengths"])[::-1]:
                low, high = ranked["low"][i], ranked["high"][i]
                ranks.append([question, ranked["methods"][i], f"{ranked['strengths'][i]:+.2f}",
                              "-" if low is None else f"[{low:+.2f}, {high:+.2f}]"])
    parts = [f"### {mark}Pairs", grid(["Question", "Pair", "Share, Wilson", "n", "ties", "Clopper-Pearson",
                                       "by observer", "by video", "p", "alpha"], rows)]
    if ranks:
        parts += [f"### {mark}Bradley-Terry", grid(["Question", "Method", "log odds", "95%"], ranks)]
    catch, side = summary["catch"], summary["left_right"]
    notes = [
        f"{summary['votes']} votes of {summary['observers']} observers counted; n is without ties. Wilson, Clopper-"
        "Pearson and p (exact\n  binomial test against 1/2, each pair alone) take votes as independent; by observer "
        "and by video (how many) draw\n  whole observers or videos anew: 95% bootstrap",
        "alpha: Krippendorff's, over scenes; near 0 where every scene leans the same way, however strongly",
        f"catch trials: {catch['trials']}, shown to {catch['observers_asked']} observers; left out for failing more "
        f"than {catch['max_failed']}: {len(catch['observers_left_out'])} observers with {catch['votes_left_out']} votes"
        + (f" ({_some(catch['observers_left_out'])})" if catch["observers_left_out"] else ""),
        f"rows left out as malformed or repeated: {summary['rows_left_out']}"
        + (f", listed in {MARK + '_' if mark else ''}malformed.csv" if summary["rows_left_out"] else ""),
        f"left film chosen: {side['refused']}" if "refused" in side else
        f"left film chosen: {percent(side)} of {side['n']} votes, p {side['p_value']:.2g} against 1/2",
    ]
    if several := summary["observers_of_several_sessions"]:
        notes.append(f"observers of several sessions: {_some(several)}; all their votes count")
    return [*parts, "\n".join(f"- {note}" for note in notes + reasons + summary["notes"])]


def _some(names: list[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def grid(header: list[str], rows: list[list[str]]) -> str:
    """A markdown table whose columns line up."""
    rows = [[text.replace("|", "\\|") for text in row] for row in rows]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |"
                     for line in lines)
