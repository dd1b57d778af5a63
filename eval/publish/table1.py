"""Table 1: the paper's published rows as printed, and this run's under the same columns; Table 1b: what was measured,
with a dagger where a control beats real frames; Table 1c: ours minus each baseline, paired.

No vote is ever invented: where nobody has answered the human study, the cell says so.
"""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

from eval.publish.formats import cell
from eval.records.published import PUBLISHED
from eval.records.run import difference, mean_over_videos, read_metrics
from eval.records.video import LABELS
from eval.registry import DIRECTIONS, MISMATCHED, UNITS
from eval.statistics.paired import MIN_PAIRS
from eval.study.text import cells

NO_VOTES = "no responses yet"
MEASURED = {  # Table 1b: metric -> heading
    "motion_ratio": "motion x real", "flow_warp": "flow-warp", "detail_kept": "detail kept", "frame0_db": "frame 0 dB",
    "fid_train": "FID train", "fid_heldout": "FID held-out", "clipsim": "CLIPSIM",
}
COMPARED = {  # Table 1c: metric -> heading; which way is better stands in DIRECTIONS
    "flow_warp_gap": "flow-warp gap", "spectrum_gap": "spectrum gap", "detail_kept": "detail kept",
    "frame0_db": "frame 0 dB", "fid_heldout": "FID held-out", "clipsim": "CLIPSIM",
}
DAGGER = "†"


def write(results: Path, videos: list[str], out: Path) -> str:
    """Writes out/table1.md, .csv, .tex and table1c.csv from results/<video>/evaluate/metrics.json; returns the
    markdown."""
    tables = {video: read_metrics(results, video) for video in videos}
    votes = votes_of(results)
    markdown = _markdown(tables, votes)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (("table1.md", markdown), ("table1.csv", _csv(tables, votes)),
                       ("table1.tex", _tex(tables, votes)),
                       ("table1c.csv", _csv_differences(tables))):
        part = out / f"{name}.part"
        part.write_text(text, encoding="utf-8")
        os.replace(part, out / name)
    return markdown


def votes_of(results: Path) -> dict[str, dict[str, str]]:
    """What the human study says of each method, by question; {} where nobody has answered."""
    path = results / "human_study" / "summary.json"
    return cells(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


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
    votes: as `votes_of` gives them."""
    header = ["Method", "Preferences", "Realism", "Resolution", "CLIPSIM", "CLIPScore", "FID train"]
    rows = [[f"{row['method']}, published", row["preferences"], row["realism"], row["resolution"], row["clipsim"], "",
             row["fid"]] for row in PUBLISHED]
    for name, label in rows_of(tables).items():
        values = [marked(cell(mean_over_videos(tables, name, metric)), tables, name, metric)
                  for metric in ("clipsim", "clipscore", "fid_train")]
        rows.append([label, *_votes(votes or {}, name), resolution(tables), *values])
    wrong = mean_over_videos(tables, "heldout", "clipsim_mismatched")
    rows.append([LABELS[MISMATCHED], "", "", resolution(tables), marked(cell(wrong), tables, MISMATCHED, "clipsim"),
                 "", ""])
    return header, rows


def table1b(tables: dict[str, dict]) -> tuple[list[str], list[list[str]]]:
    """(header, rows) of one video, or the means of several: every method, control and the real clip, and for FID what
    it gives when nothing differs. `n` counts films, or videos."""
    first = next(iter(tables.values()))
    rows = []
    for name, label in (rows_of(tables) | {"heldout_vae": first["labels"]["heldout_vae"]}).items():
        entries = [first["methods"][name][metric] if len(tables) == 1 else mean_over_videos(tables, name, metric)
                   for metric in MEASURED]
        count = max(entry.get("n", 0) for entry in entries)
        cells = [marked(cell(entry), tables, name, metric) for entry, metric in zip(entries, MEASURED)]
        rows.append([label, str(count or "-"), *cells])
    wrong = (first["methods"]["heldout"]["clipsim_mismatched"] if len(tables) == 1
             else mean_over_videos(tables, "heldout", "clipsim_mismatched"))
    if "value" in wrong:
        text = marked(cell(wrong), tables, MISMATCHED, "clipsim")
        rows.append([LABELS[MISMATCHED], str(wrong["n"]), *(text if m == "clipsim" else "" for m in MEASURED)])
    floors = first["reference"]["fid"]
    if len(tables) == 1 and "refused" not in floors:
        alike = {f"fid_{name}": floor["real_vs_real"] for name, floor in floors.items()}
        rows.append(["real against real", "", *(cell(alike[m]) if m in alike else "" for m in MEASURED)])
    return ["Method", "n", *MEASURED.values()], rows


def table1c(tables: dict[str, dict]) -> tuple[list[str], list[list[str]]]:
    """(header, rows): ours minus each baseline, `*` where the paired 95% interval of at least MIN_PAIRS pairs
    leaves out 0. `n` counts pairs."""
    rows = []
    for name, label in rows_of(tables).items():
        if name in ("ours", "heldout"):
            continue
        entries = [difference(tables, name, metric) for metric in COMPARED]
        sure = [entry.get("n", 0) >= MIN_PAIRS and (entry["low"] > 0 or entry["high"] < 0) for entry in entries]
        cells = [cell(entry) + ("*" if apart else "") for entry, apart in zip(entries, sure)]
        rows.append([label, str(max(entry.get("n", 0) for entry in entries) or "-"), *cells])
    arrows = {"low": " ↓", "high": " ↑"}
    return ["Ours minus", "n", *(text + arrows[DIRECTIONS[metric]] for metric, text in COMPARED.items())], rows


def table1c_title(tables: dict[str, dict]) -> str:
    over = next(iter(groups(tables))) if len(tables) == 1 else list(groups(tables))[-1]
    return f"Table 1c. {over}: ours minus each baseline, paired"


def groups(tables: dict[str, dict]) -> dict[str, dict[str, dict]]:
    """Title -> the videos that Table 1b of that title is about: each alone, then all where there are several."""
    single = {video: {video: table} for video, table in tables.items()}
    return single | ({f"mean of {len(tables)} videos": tables} if len(tables) > 1 else {})


def resolution(tables: dict[str, dict]) -> str:
    """Width x height of the films, of every size that occurs."""
    return ", ".join(sorted({f"{width}x{height}" for height, width in (t["size"] for t in tables.values())}))


def notes(tables: dict[str, dict]) -> list[str]:
    """What has to be known to read the tables, one sentence or two each."""
    first = next(iter(tables.values()))
    clip, inception = first["backend"]["clip"], first["backend"]["inception"]
    videos = ", ".join(tables)
    said = [
        "Rows marked published are copied from the paper. The others are this run's "
        f"({first['backend']['checkpoint']}; mean over {len(tables)} videos: {videos}): a demonstration of the method, "
        "not a reproduction of the paper.",
        f"'{NO_VOTES}': nobody has been asked about these films; results/human_study/study.html asks.",
        "The published CLIPSIM values can only be 2.5 x cosine (CLIPScore): as a mean cosine 0.75 is out of CLIP's "
        "reach, real videos score near 0.24 to 0.30. So read them beside CLIPScore, which puts 'A photo depicts' "
        "before the prompt.",
    ]
    if "refused" in clip:
        said.append(f"CLIPSIM refused: {clip['refused']}.")
    else:
        mini = "lnm-mini-clip" in clip["name"]
        said.append(f"CLIPSIM here is by {clip['name']} (weights {clip['sha256'][:12]}); cosines of different CLIP "
                    "models do not compare" + (", and lnm-mini-clip's with no published value." if mini else "."))
    if "refused" in inception:
        said.append(f"FID refused: {inception['refused']}.")
    else:
        sizes = "; ".join(f"{video} {t['reference']['fid']['train']['n']} against "
                          f"{t['reference']['fid']['train']['n_reference']}" for video, t in tables.items())
        said.append(f"FID is by {inception['name']}, frames against all training frames ({sizes}); the paper's is 5 "
                    "frames against 1060. So few frames never score near 0: 'real against real' is what random frames "
                    "of the same clip score against each other at these numbers.")
    said += [
        "Motion and flow-warp error are good when near the real clip's, not when low: a frozen film has none of either."
        " Detail kept is 1 for the VAE's reconstruction of the real clip; noise counts as detail. Frame 0 is PSNR to "
        "the still (100: equal); the VAE itself reaches "
        + ", ".join(f"{t['reference']['ceiling_db']:.1f} dB ({video})" for video, t in tables.items()) + ".",
        "± is half of a 95% bootstrap interval, over videos in a mean and over films (seeds) elsewhere; with one "
        "there is none; in 'real against real' it is half the range of the draws. '-' is a refusal, with its reason in "
        "metrics.json, or a method without films for every video. table1.csv has the intervals.",
    ]
    if any(table["backend"]["clip"].get("other_prompts") for table in tables.values()):
        said.append(f"'{LABELS[MISMATCHED]}' is the held-out frames scored with the other prompts that were suggested "
                    "for the video; CLIPSIM has to tell them from its own.")
    if any(table["flags"] for table in tables.values()):
        said.append(f"{DAGGER}: this metric, read as is usual, ranks this control above real held-out frames, in at "
                    "least one video; it alone does not tell a good film. `flags` in metrics.json lists every case.")
    said.append("Table 1c pairs film k of ours with film k of a baseline (a baseline of one film with each), and "
                "videos in a mean. ↓: negative is better for ours, ↑: positive is. * where the interval leaves out 0, "
                f"from {MIN_PAIRS} pairs on: fewer are all of one sign by chance more often than 1 time in 20. "
                "table1c.csv has the intervals.")
    said += [f"{video}: {t['backend']['clip']['note']}." for video, t in tables.items()
             if "note" in t["backend"]["clip"]]
    return said


def _grid(header: list[str], rows: list[list[str]]) -> str:
    """A markdown table whose columns also line up in a terminal."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [[text.ljust(width) for text, width in zip(row, widths)] for row in [header, *rows]]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _markdown(tables: dict[str, dict], votes: dict) -> str:
    import textwrap

    parts = ["## Table 1. Video generation evaluation", _grid(*table1(tables, votes))]
    for title, group in groups(tables).items():
        parts += [f"## Table 1b. {title}: what was measured", _grid(*table1b(group))]
    parts += [f"## {table1c_title(tables)}", _grid(*table1c(tables))]
    wrapped = ["\n  ".join(textwrap.wrap(note, 110)) for note in notes(tables)]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in wrapped)]) + "\n"


def _csv(tables: dict[str, dict], votes: dict) -> str:
    """One row a method and video ('mean' over videos); value, low, high and n of each metric."""
    metrics = [*MEASURED, *(metric for metric in UNITS if metric not in MEASURED)]
    header = ["source", "video", "method", "preferences", "realism", "resolution", "clip_model", "ranked_above_real"]
    header += [f"{metric}{part}" for metric in metrics for part in ("", "_low", "_high", "_n")]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, header, restval="", lineterminator="\n")
    writer.writeheader()
    for row in PUBLISHED:
        writer.writerow({"source": "published", "fid_train": row["fid"]}
                        | {key: row[key] for key in ("method", "preferences", "realism", "resolution", "clipsim")})
    model = next(iter(tables.values()))["backend"]["clip"].get("name", "")
    for video, group in [("mean", tables), *((video, {video: table}) for video, table in tables.items())]:
        for name, label in rows_of(group).items():
            row = {"source": "this run", "video": video, "method": label, "resolution": resolution(group),
                   "clip_model": model}
            row["ranked_above_real"] = " ".join(metric for metric in metrics if marked("", group, name, metric))
            row["preferences"], row["realism"] = _votes(votes, name)
            for metric in metrics:
                entry = (mean_over_videos(tables, name, metric) if video == "mean"
                         else group[video]["methods"][name][metric])
                if "value" in entry:
                    row |= {metric: f"{entry['value']:.6g}", f"{metric}_n": entry["n"]}
                    if entry["low"] is not None:
                        row |= {f"{metric}_low": f"{entry['low']:.6g}", f"{metric}_high": f"{entry['high']:.6g}"}
            writer.writerow(row)
    return stream.getvalue()


def _csv_differences(tables: dict[str, dict]) -> str:
    """Ours minus each baseline, a row a video ('mean' over videos), baseline and metric."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["video", "ours_minus", "metric", "value", "low", "high", "n"])
    for video, group in [("mean", tables), *((video, {video: table}) for video, table in tables.items())]:
        for name, label in rows_of(group).items():
            for metric in UNITS if name != "ours" else ():
                entry = difference(group, name, metric)
                if "value" in entry:
                    low, high = ("" if entry[end] is None else f"{entry[end]:.6g}" for end in ("low", "high"))
                    writer.writerow([video, label, metric, f"{entry['value']:.6g}", low, high, entry["n"]])
    return stream.getvalue()


def _tex(tables: dict[str, dict], votes: dict) -> str:
    """Both tables as LaTeX tabulars that need no package."""
    parts = []
    for caption, (header, rows) in [("Video generation evaluation", table1(tables, votes))] + [
        (f"{title}: what was measured", table1b(group)) for title, group in groups(tables).items()
    ] + [(table1c_title(tables).removeprefix("Table 1c. "), table1c(tables))]:
        lines = [" & ".join(_escape(text) for text in row) + r" \\" for row in [header, *rows]]
        parts.append("\n".join([
            r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", r"\hline",
            lines[0], r"\hline", *lines[1:], r"\hline", r"\end{tabular}", rf"\caption{{{_escape(caption)}}}",
            r"\end{table}",
        ]))
    return "\n\n".join(parts) + "\n"


def _escape(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "±": r"$\pm$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {DAGGER: r"$\dagger$", "↓": r"$\downarrow$", "↑": r"$\uparrow$"}
    special |= {char: f"\\{char}" for char in "&%$#_{}"}
    return "".join(special.get(char, char) for char in text)
