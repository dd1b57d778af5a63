"""Table 1: the paper's published rows as printed, and this run's under the same columns; Table 1b: what was measured,
with a dagger where a control beats real frames; Table 1c: ours minus each baseline, paired.

No vote is ever invented: where nobody has answered the human study, the cell says so.
"""

from __future__ import annotations

from pathlib import Path

from eval.publish import table1_notes
from eval.publish.formats import cell, counted, several
from eval.publish.table1_notes import ALIKE, DAGGER, NO_VOTES
from eval.publish.votes import votes_of
from eval.records.latex import escaped as in_latex
from eval.records.latex import tabular
from eval.records.markdown import escaped, grid
from eval.records.published import PUBLISHED
from eval.records.run import beside_ceiling, difference, mean_over_videos, read_tables
from eval.records.video import LABELS
from eval.registry import MISMATCHED, TO_HELDOUT, UNITS, directed, heading
from eval.statistics.permutation import LEVEL, holm
from lnm.files import for_spreadsheet, whole

SCORED = ("clipsim", "clipscore", "fid_train")  # of Table 1
MEASURED = ("motion_ratio", "flow_warp", "detail_kept", "frame0_db", "fid_train", "fid_heldout", "clipsim")  # of 1b
COMPARED = ("flow_warp_gap", "spectrum_gap", "detail_kept", "frame0_db", "fid_heldout", "clipsim")  # of Table 1c
ENDS = ("low", "high", "least", "most")


def write(results: Path, videos: list[str], out: Path) -> str:
    """Writes out/table1.md, .csv, .tex and table1c.csv from results/<video>/evaluate/metrics.json; returns the
    markdown."""
    tables = read_tables(results, videos)
    votes = votes_of(results)
    markdown = _markdown(tables, votes)
    for name, text in (("table1.md", markdown), ("table1.csv", _csv(tables, votes)),
                       ("table1.tex", _tex(tables, votes)),
                       ("table1c.csv", _csv_differences(tables))):
        with whole(out / name) as part:
            part.write_text(text, encoding="utf-8")
    return markdown


def _votes(votes: dict[str, dict[str, str]], name: str) -> list[str]:
    """The cells of preference and realism; nobody is asked about the real clip unless it is named in the study."""
    none = "" if name == "heldout" else NO_VOTES
    return [votes.get(name, {}).get(question, none) for question in ("preference", "realism")]


def rows_of(tables: dict[str, dict]) -> dict[str, str]:
    """The rows of this run, name -> label: methods first (the user's own among them), then controls, then real."""
    labels = {name: label for table in tables.values() for name, label in table["labels"].items()}
    controls = {name for table in tables.values() for name in table["controls"]}
    order = [name for name in labels if name not in controls] + ["static", "static_noise", "heldout"]
    return {name: labels[name] for name in order}


def marked(text: str, tables: dict[str, dict], name: str, metric: str) -> str:
    """The cell with a dagger where `name` is a control that this metric ranks above real frames, in any video."""
    found = any(flag["metric"] == metric and flag["control"] == name
                for table in tables.values() for flag in table["flags"])
    return text + DAGGER if found else text


def table1(tables: dict[str, dict],
           votes: dict[str, dict[str, str]] | None = None) -> tuple[list[str], list[list[str]]]:
    """(header, rows) in the paper's columns and two more: published rows, then this run's means over its videos.
    A method without films for every video has its means over those that it filmed, and says so. votes: as `votes_of`
    gives them."""
    header = ["Method", "Preferences", "Realism", "Resolution", *map(heading, SCORED)]
    rows = [[f"{row['method']}, published", row["preferences"], row["realism"], row["resolution"], row["clipsim"], "",
             row["fid"]] for row in PUBLISHED]
    for name, label in rows_of(tables).items():
        own = {video: table for video, table in tables.items() if name in table["methods"]}
        values = [marked(cell(mean_over_videos(own, name, metric)), own, name, metric)
                  for metric in SCORED]
        where = "" if len(own) == len(tables) else f" ({', '.join(own)} alone)"
        rows.append([label + where, *_votes(votes or {}, name), resolution(tables, name), *values])
    wrong = mean_over_videos(tables, "heldout", "clipsim_mismatched")
    rows.append([LABELS[MISMATCHED], "", "", resolution(tables, "heldout"),
                 marked(cell(wrong), tables, MISMATCHED, "clipsim"), "", ""])
    return header, rows


def table1b(tables: dict[str, dict]) -> tuple[list[str], list[list[str]]]:
    """(header, rows) of one video, or the means of several: every method, control and the real clip, and for FID what
    it gives when nothing differs. `n` counts films and what they share (`counted`), or videos."""
    first = next(iter(tables.values()))
    unit = first["interval"]["unit"] if len(tables) == 1 else "film"
    rows = []
    for name, label in (rows_of(tables) | {"heldout_vae": first["labels"]["heldout_vae"]}).items():
        entries = [first["methods"][name][metric] if len(tables) == 1 else mean_over_videos(tables, name, metric)
                   for metric in MEASURED]
        count = _most(entries, unit, "film" if len(tables) == 1 else "video")
        cells = [marked(cell(entry), tables, name, metric) for entry, metric in zip(entries, MEASURED)]
        rows.append([label, count, *cells])
    wrong = (first["methods"]["heldout"]["clipsim_mismatched"] if len(tables) == 1
             else mean_over_videos(tables, "heldout", "clipsim_mismatched"))
    if "value" in wrong:
        text = marked(cell(wrong), tables, MISMATCHED, "clipsim")
        count = several(wrong["n"], "prompt" if len(tables) == 1 else "video")
        rows.append([LABELS[MISMATCHED], count, *(text if m == "clipsim" else "" for m in MEASURED)])
    floors = first["reference"]["fid"]
    if len(tables) == 1 and "refused" not in floors:
        alike = {f"fid_{name}": floor["real_vs_real"] for name, floor in floors.items()}
        rows.append([ALIKE, "", *(cell(alike[m]) if m in alike else "" for m in MEASURED)])
    return ["Method", "n", *map(heading, MEASURED)], rows


def table1c(tables: dict[str, dict]) -> tuple[list[str], list[list[str]]]:
    """(header, rows): ours minus each baseline, with its p where the sign-flip test, corrected by Holm for all cells of
    the table, has one of at most 5%; and minus the real clip, which is no baseline and is not tested. What compares
    with real frames does so through the autoencoder where that was recorded. `n` counts pairs of films and what ours
    share (`counted`), which is what is tested; in a mean it counts videos."""
    rows, p_values = [], tests(tables)
    what = ((next(iter(tables.values()))["interval"]["unit"], "pair") if len(tables) == 1 else ("film", "video"))
    for name, label in (baselines_of(tables) | {"heldout": rows_of(tables)["heldout"]}).items():
        entries = [difference(tables, name, metric) for metric in COMPARED]
        cells = [cell(entry) + (f", p {p_values[name, metric]:.2g}" if p_values.get((name, metric), 1) <= LEVEL else "")
                 for entry, metric in zip(entries, COMPARED)]
        rows.append([label, _most(entries, *what), *cells])
    return ["Ours minus", "n", *map(directed, COMPARED)], rows


def _most(entries: list[dict], unit: str, what: str) -> str:
    """What the entry of a row that is over the most is over, "-" where all are refused."""
    most = max((entry for entry in entries if "n" in entry), key=lambda entry: entry["n"], default=None)
    return counted(most, unit, what) if most else "-"


def baselines_of(tables: dict[str, dict]) -> dict[str, str]:
    """The rows of Table 1c, name -> label."""
    return {name: label for name, label in rows_of(tables).items() if name not in ("ours", "heldout")}


def tests(tables: dict[str, dict]) -> dict[tuple[str, str], float]:
    """(baseline, metric) -> p of the sign-flip test of each cell of Table 1c, by Holm for all of them together."""
    entries = {(name, metric): difference(tables, name, metric) for name in baselines_of(tables) for metric in COMPARED}
    asked = {key: entry["p"] for key, entry in entries.items() if "p" in entry}
    return dict(zip(asked, holm(list(asked.values())), strict=True))


def table1c_title(tables: dict[str, dict]) -> str:
    over = next(iter(groups(tables))) if len(tables) == 1 else list(groups(tables))[-1]
    return f"Table 1c. {over}: ours minus each baseline, paired"


def groups(tables: dict[str, dict]) -> dict[str, dict[str, dict]]:
    """Title -> the videos that Table 1b of that title is about: each alone, then all where there are several."""
    single = {video: {video: table} for video, table in tables.items()}
    return single | ({f"mean of {len(tables)} videos": tables} if len(tables) > 1 else {})


def resolution(tables: dict[str, dict], name: str = "ours") -> str:
    """Width x height of a method's films, of every size that occurs: as they were made, before anything is resized."""
    return ", ".join(sorted({t["sizes"][name] for t in tables.values() if name in t["sizes"]}))


def notes(tables: dict[str, dict]) -> list[str]:
    """What has to be known to read the tables, a sentence or a few each."""
    pairs = [entry.get("pairs", 0) for name in baselines_of(tables) for metric in COMPARED
             for entry in [difference(tables, name, metric)]]
    compared = [metric for metric in COMPARED if metric in TO_HELDOUT]
    clip = [metric for metric in compared if not beside_ceiling(tables, "static", metric)]
    return [*table1_notes.notes(tables, len(tests(tables)), max(pairs, default=0)),
            table1_notes.beside(compared, clip)]


def _markdown(tables: dict[str, dict], votes: dict) -> str:
    import textwrap

    parts = ["## Table 1. Video generation evaluation", grid(*table1(tables, votes))]
    for title, group in groups(tables).items():
        parts += [f"## Table 1b. {escaped(title)}: what was measured", grid(*table1b(group))]
    parts += [f"## {escaped(table1c_title(tables))}", grid(*table1c(tables))]
    wrapped = ["\n  ".join(textwrap.wrap(escaped(note), 110)) for note in notes(tables)]  # a prompt, a path
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in wrapped)]) + "\n"


def _csv(tables: dict[str, dict], votes: dict) -> str:
    """One row a method and video ('mean' over videos); value, 95% interval (low, high; from FEWEST on), range (least,
    most), n and, where films share what they were made from, of how many (clusters) of each metric."""
    metrics = [*MEASURED, *(metric for metric in UNITS if metric not in MEASURED)]
    header = ["source", "video", "method", "preferences", "realism", "resolution", "clip_model", "ranked_above_real"]
    parts = ("", *(f"_{end}" for end in ENDS), "_n", "_clusters")
    header += [f"{metric}{part}" for metric in metrics for part in parts]
    rows = [{"source": "published", "fid_train": row["fid"]}
            | {key: row[key] for key in ("method", "preferences", "realism", "resolution", "clipsim")}
            for row in PUBLISHED]
    model = next(iter(tables.values()))["backend"]["clip"].get("name", "")
    for video, group in [("mean", tables), *((video, {video: table}) for video, table in tables.items())]:
        for name, label in rows_of(group).items():
            row = {"source": "this run", "video": video, "method": for_spreadsheet(label),
                   "resolution": resolution(group, name), "clip_model": for_spreadsheet(model)}
            row["ranked_above_real"] = " ".join(metric for metric in metrics if marked("", group, name, metric))
            row["preferences"], row["realism"] = _votes(votes, name)
            for metric in metrics:
                entry = (mean_over_videos(tables, name, metric) if video == "mean"
                         else group[video]["methods"][name].get(metric, {}))  # {}: of numbers older than the metric
                if "value" in entry:
                    row |= {metric: f"{entry['value']:.6g}", f"{metric}_n": entry["n"],
                            f"{metric}_clusters": entry.get("clusters", "")}
                    row |= {f"{metric}_{end}": text for end, text in zip(ENDS, _ends(entry))}
            rows.append(row)
    return _written(header, rows)


def _written(header: list[str], rows: list[dict]) -> str:
    """Rows as CSV under a header; what a row has no value of is empty."""
    import pandas as pd  # takes a while to load

    return pd.DataFrame(rows, columns=header, dtype=object).to_csv(index=False, lineterminator="\n")


def _ends(entry: dict) -> list[str]:
    """An entry's ENDS, "" where it has none."""
    return ["" if entry[end] is None else f"{entry[end]:.6g}" for end in ENDS]


def _csv_differences(tables: dict[str, dict]) -> str:
    """Ours minus each baseline, a row a video ('mean' over videos), baseline and metric. beside: the real clip through
    the "autoencoder", where the metric is another thing there, else the "clip"."""
    header, rows = ["video", "ours_minus", "metric", "beside", "value", *ENDS, "n", "clusters", "p", "p_holm"], []
    corrected = tests(tables)  # of the table that is printed
    for video, group in [("mean", tables), *((video, {video: table}) for video, table in tables.items())]:
        for name, label in rows_of(group).items():
            for metric in UNITS if name != "ours" else ():
                entry = difference(group, name, metric)
                if "value" in entry:
                    p = [f"{entry['p']:.4g}" if "p" in entry else "", f"{corrected[name, metric]:.4g}"
                         if group.keys() == tables.keys() and (name, metric) in corrected else ""]
                    beside = "autoencoder" if beside_ceiling(group, name, metric) else "clip"
                    cells = [video, for_spreadsheet(label), metric, beside, f"{entry['value']:.6g}", *_ends(entry),
                             entry["n"], entry.get("clusters", ""), *p]
                    rows.append(dict(zip(header, cells, strict=True)))
    return _written(header, rows)


def _tex(tables: dict[str, dict], votes: dict) -> str:
    """Both tables as LaTeX tabulars that need no package."""
    parts = []
    for caption, (header, rows) in [("Video generation evaluation", table1(tables, votes))] + [
        (f"{title}: what was measured", table1b(group)) for title, group in groups(tables).items()
    ] + [(table1c_title(tables).removeprefix("Table 1c. "), table1c(tables))]:
        below = rf"\caption{{{in_latex(caption)}}}"
        parts.append("\n".join([r"\begin{table}", r"\centering", tabular(header, rows) + below, r"\end{table}"]))
    return "\n\n".join(parts) + "\n"
