"""The report: one HTML file that opens offline, with the films playing in it and nothing fetched from anywhere."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

import numpy as np

from eval.publish import ranking, table1
from eval.publish.figures.every import write_all
from eval.publish.figures.numbers import good
from eval.publish.votes import cells, votes_of
from eval.records.run import compared, film, read_tables
from eval.registry import DIRECTIONS, UNITS
from eval.statistics.small import around
from eval.study.form import QUESTIONS
from lnm.files import sha256
from lnm.workflow.params import STAGES, root


def write(results: Path, videos: list[str], out: Path, commit: str | None = None) -> Path:
    """Writes out/report.html from results/<video>/ and returns its path. Draws the figures if they are not there yet.

    commit: what to print as the code's commit; None asks git, and says "unknown" without it.
    """
    from jinja2 import Environment

    folder = out / "figures"
    wanted = ["loss", "metrics", *(f"{kind}_{video}" for kind in ("controls", "slices") for video in videos)]
    if not all((folder / f"{name}.png").is_file() for name in wanted):
        write_all(results, videos, out)
    tables = read_tables(results, videos)
    commit = commit or git_commit()
    paper = _notebook(out / "6_paper.ipynb", out)
    model = [folder / f"{name}.png" for name in ("figure1", "figure2")]
    header, rows = table1.table1(tables, votes_of(results))
    template = (Path(__file__).parent / "templates/report.html").read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True).from_string(template).render(
        checkpoint=next(iter(tables.values()))["backend"]["checkpoint"],
        resolution=table1.resolution(tables),
        videos=[_video(results, video, table, out) for video, table in tables.items()],
        table1=(header, _linked(rows, paper)),
        table1b=[_table1b(results, title, group, out) for title, group in table1.groups(tables).items()],
        table1c=_table1c(tables, paper),
        paper=paper,
        notes=table1.notes(tables),
        metrics_png=_base64(folder / "metrics.png"),
        loss_png=_base64(folder / "loss.png"),
        model=[_base64(path) for path in model] if all(path.is_file() for path in model) else None,
        claims=_claims(out),
        study=_study(results, out),
        stages=_stages(results, tables, commit, out),
        provenance=_provenance(results, tables, commit),
    )
    path = out / "report.html"
    part = path.with_suffix(".part")
    part.write_text(page, encoding="utf-8")
    os.replace(part, path)
    return path


def git_commit() -> str:
    """The commit checked out at the project's root, or "unknown" (no git, no repository, no commit yet)."""
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root(), capture_output=True, text=True)
    except OSError:
        return "unknown"
    return answer.stdout.strip() if answer.returncode == 0 else "unknown"


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


def _film(label: str, frames: np.ndarray, fps: float) -> dict:
    from lnm.video import write_mp4

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_mp4(path, frames, fps)
        return {"label": label, "frames": len(frames), "data": _base64(path)}


def _notebook(path: Path, out: Path) -> str:
    """The link from out/report.html to an executed notebook, "" where there is none (a run by hand leaves none). The
    one that is writing this report comes to stand beside it."""
    if not path.is_file() and not (path.parent == out and os.environ.get("LNM_RESOLVED") == "1"):
        return ""
    return quote(os.path.relpath(path, out).replace(os.sep, "/"))


def _linked(rows: list[list[str]], href: str) -> list[list]:
    """Every number of this run's rows with a link to the notebook that computed it."""
    def linked(text):
        return {"text": text, "href": href} if any(char.isdigit() for char in text) else text

    return [row if row[0].endswith("published") else [row[0], *map(linked, row[1:])] for row in rows]


def _table1b(results: Path, title: str, group: dict[str, dict], out: Path) -> tuple:
    """(title, (header, rows), link, its text) of one Table 1b."""
    header, rows = table1.table1b(group)
    path = out / "6_paper.ipynb" if len(group) > 1 else results / next(iter(group)) / "notebooks" / "4_evaluate.ipynb"
    href = _notebook(path, out)
    return title, (header, _linked(rows, href)), href, path.stem


def _table1c(tables: dict[str, dict], href: str) -> tuple | None:
    """(title, (header, rows)) of the paired differences; None where the numbers are older than these."""
    if not all("differences" in table for table in tables.values()):
        return None
    header, rows = table1.table1c(tables)
    return table1.table1c_title(tables), (header, _linked(rows, href))


def _video(results: Path, name: str, table: dict, out: Path) -> dict:
    """What the template shows of one video."""
    folder, labels, fps = results / name, table["labels"], table["fps"]
    clip = json.loads((folder / "prepare" / "clip.json").read_text(encoding="utf-8"))
    shown = ["heldout", *compared(table), "static"]
    films = [_film(labels[method], film(results, name, method), fps) for method in shown]
    methods, flags = table["methods"], {(flag["metric"], flag["control"]) for flag in table.get("flags", [])}
    evaluated = folder / "notebooks" / "4_evaluate.ipynb"
    href = _notebook(evaluated, out)
    refused: dict[tuple[str, str], list[str]] = {}
    rows = []
    for metric, unit in UNITS.items():
        entries = {method: values[metric] for method, values in methods.items() if metric in values}
        if not entries:
            continue  # measured by a newer version than that which wrote these numbers
        rows.append([f"{metric} ({unit})", *(
            {"text": _entry(entries[method]), "href": href, "flag": (metric, method) in flags}
            if "value" in entries[method] else "-" for method in labels)])
        for method, entry in entries.items():
            if "refused" in entry:
                refused.setdefault((metric, entry["refused"]), []).append(labels[method])
    return {
        "name": name, "prompt": table["prompt"], "fps": f"{fps:g}", "films": films,
        "sheet": _base64(folder / "evaluate" / "sheet.png"),
        "sheet_rows": "; ".join(labels[row] for row in table["sheet"]),
        "unseen": table["reference"]["still_is_first_heldout"],
        "href": href, "of": evaluated.stem,
        "metrics": (["Metric", *labels.values()], rows),
        "refusals": [f"{metric} refused (-) for {'; '.join(names)}: {reason}"
                     for (metric, reason), names in sorted(refused.items())],
        "ranked": ranking.paragraph(table),
        "ranks": _ranks(table, href),
        "slices_png": _base64(out / "figures" / f"slices_{name}.png"),
        "controls_png": _base64(out / "figures" / f"controls_{name}.png"),
        "credit": clip["credit"] or f"no credit given ({clip['source']})",
    }


def _ranks(table: dict, href: str) -> tuple[list[str], list[list]]:
    """(header, rows): the order of films and controls in each metric, and what it says."""
    rows = [[metric, good(DIRECTIONS[metric]), {"text": ranking.order(table, metric, one), "href": href},
             ranking.of_metric(table, one), ranking.of_film(table, one)]
            for metric, one in ranking.ranks(table).items()]
    return ["Metric", "Reading", "Order, best first", "Of the metric", "Of our films: they stand"], rows


def _claims(out: Path) -> dict | None:
    """The ledger of the paper's claims that `lnm claims` left beside the report; None where it is not."""
    path = out / "claims.json"
    if not path.is_file():
        return None
    ledger = json.loads(path.read_text(encoding="utf-8"))
    columns = ("section", "quote", "published", "computed", "verdict", "reason")
    rows = [[row["id"], *(_text(row[column]) for column in columns)] for row in ledger["claims"]]
    return {"line": f"{len(rows)} claims: {ledger['counts_line']}.",
            "table": (["Claim", *map(str.capitalize, columns)], rows)}


def _text(value) -> str:
    if isinstance(value, list):
        return " […] ".join(map(str, value))
    return "-" if value is None else str(value)


def _study(results: Path, out: Path) -> dict | None:
    """What results/human_study/summary.json says; None where the study has not been run."""
    folder = results / "human_study"
    if not (folder / "summary.json").is_file():
        return None
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    page = folder / "study.html"
    answered = cells(summary)
    said = "No responses yet: nobody has been asked about these films." if not answered else (
        f"{summary['votes']} votes of {summary['observers']} observers.")
    rows = [[method, *(shares.get(question, "-") for question in QUESTIONS)] for method, shares in answered.items()]
    return {"said": said, "page": quote(os.path.relpath(page, out).replace(os.sep, "/")) if page.is_file() else "",
            "table": (["Method", *map(str.capitalize, QUESTIONS)], rows) if rows else None}


def _entry(entry: dict) -> str:
    return f"{entry['value']:.4g}{around(entry, lambda number: f'{number:.3g}')}, n\u00a0{entry['n']}"


def _stages(results: Path, tables: dict[str, dict], commit: str, out: Path) -> tuple[list[str], list[list]]:
    """(header, rows): of each stage of each video its notebook, the hash of its settings, weights, seed and commit."""
    rows = []
    for video, table in tables.items():
        films = json.loads((results / video / "sample" / "films.json").read_text(encoding="utf-8"))
        backend = table["backend"]
        for number, stage in enumerate(STAGES, 1):
            resolved = root() / "build" / "resolve" / video / f"{stage}.json"
            choices = json.loads(resolved.read_text(encoding="utf-8")) if resolved.is_file() else {}
            weights = {"checkpoint": choices.get("checkpoint_sha256"), "CLIP": choices.get("clip_sha256")}
            if stage == "sample":
                weights["temporal layers"] = films["temporal_sha256"]
            if stage == "evaluate":
                weights = {name: backend[kind].get("sha256") for name, kind in
                           (("CLIP", "clip"), ("Inception", "inception"), ("I3D", "i3d"), ("LPIPS", "lpips"))
                           if kind in backend}
            seed = {"prepare": "-", "finetune": str(choices.get("seed", "-")),
                    "sample": ", ".join(map(str, films["seeds"])), "evaluate": str(table["seed"])}[stage]
            path = results / video / "notebooks" / f"{number}_{stage}.ipynb"
            rows.append([f"{video}: {stage}", {"text": path.name, "href": _notebook(path, out), "focus": True},
                         sha256(resolved)[:12] if choices else "not resolved",
                         "; ".join(f"{name} {sha[:12]}" for name, sha in weights.items() if sha) or "-", seed,
                         commit[:12]])
    paper = {"text": "6_paper.ipynb", "href": _notebook(out / "6_paper.ipynb", out), "focus": True}
    rows.append(["Table 1, figures, this report", paper, sha256(root() / "params.yaml")[:12], "-", "-", commit[:12]])
    return ["What", "Notebook", "Params", "Weights", "Seed", "Commit"], rows


def _provenance(results: Path, tables: dict[str, dict], commit: str) -> list[tuple[str, str]]:
    """(what, value) pairs: enough to say which code, choices and weights made this page."""
    rows = [("code, git commit", commit), ("params.yaml, sha256", sha256(root() / "params.yaml"))]
    for video in tables:
        films = json.loads((results / video / "sample" / "films.json").read_text(encoding="utf-8"))
        rows.append((f"{video}: film seeds", ", ".join(str(seed) for seed in films["seeds"])))
        rows.append((f"{video}: temporal layers, sha256", str(films["temporal_sha256"])))
    backend = next(iter(tables.values()))["backend"]
    rows.append(("checkpoint", str(backend["checkpoint"])))
    for kind in ("inception", "clip"):
        entry = backend[kind]
        rows.append((f"{kind}, sha256", entry.get("sha256") or f"refused: {entry['refused']}"))
    rows.append(("optical flow", backend["flow"]))
    return rows
