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

from eval import figures, ranking, table1
from eval.measure import DIRECTIONS, UNITS
from lnm.files import sha256
from lnm.workflow.params import STAGES, root

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>LateNtMovies: report of a run</title>
<style>
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #ffffff; --soft: #5a5a5a; --line: #d0d0d0; --tint: #f4f4f2;
        --link: #00629b; --flag: #b34700; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e6; --paper: #17181a; --soft: #a8a8a6; --line: #444648; --tint: #222426;
          --link: #7cc4f0; --flag: #ff9a5c; }
}
body { margin: 0 auto; padding: 1.5rem; max-width: 72rem; background: var(--paper); color: var(--ink);
       font: 16px/1.5 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
.plain { border-left: 4px solid #d55e00; padding: .5rem 1rem; background: var(--tint); }
.films { display: grid; grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); gap: .75rem; }
figure { margin: 1rem 0; } .films figure { margin: 0; }
figcaption, .note { color: var(--soft); font-size: .875rem; }
video { width: 100%; display: block; background: #000; image-rendering: auto; }
img { max-width: 100%; height: auto; background: #fff; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; margin: .5rem 0; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; font-weight: 400; } thead th { font-weight: 600; }
.prose th, .prose td { text-align: left; white-space: normal; vertical-align: top; min-width: 6rem; }
td a { color: inherit; text-decoration: none; } td a:hover { text-decoration: underline; }
tbody th { white-space: normal; min-width: 8rem; position: sticky; left: 0; background: var(--paper); }
.across tbody th { min-width: 17rem; }
.links td a { color: var(--link); text-decoration: underline; } a { color: var(--link); }
.flag { color: var(--flag); font-weight: 600; }
code { font-size: .8125rem; overflow-wrap: anywhere; } nav a { margin-right: 1rem; color: inherit; }
dt { font-weight: 600; } dd { margin: 0 0 .5rem; }
a:focus-visible, video:focus-visible, .wide:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
@media print {
  :root { --ink: #000; --paper: #fff; --soft: #333; --line: #999; --tint: #fff;
          --link: #000; --flag: #000; }
  body { max-width: none; padding: 0; font-size: 10pt; } nav { display: none; }
  figure, tr { break-inside: avoid; } h2, h3, caption { break-after: avoid; } .wide { overflow: visible; }
  table { font-size: 7pt; } th, td { padding: .1rem .25rem; white-space: normal; } thead { break-after: avoid; }
  .films { display: none; } .across { page: across; } .across tbody th { min-width: 8rem; } a { color: inherit; }
}
@page across { size: landscape; }
</style>
</head>
<body>
{% macro show(cell) -%}
{% if cell is string %}{{ cell }}
{%- elif cell.href %}<a href="{{ cell.href }}"{% if not cell.focus %} tabindex="-1"{% endif %}>{{ cell.text }}</a>
{%- else %}{{ cell.text }}{% endif %}{% if cell is not string and cell.flag %}<span class="flag">&dagger;</span>
{%- endif %}
{%- endmacro %}
{% macro grid(caption, header, rows, href="", of="", kind="") %}
<div class="wide{{ " across" if header|length > 7 and not kind }}" tabindex="0" role="region"
 aria-label="{{ caption }}"><table{% if kind %} class="{{ kind }}"{% endif %}>
<caption>{{ caption }}{% if href %} &mdash; <a href="{{ href }}">{{ of }}</a>{% endif %}</caption>
<thead><tr>{% for text in header %}<th scope="col">{{ text }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in rows %}
<tr><th scope="row">{{ show(row[0]) }}</th>{% for cell in row[1:] %}<td>{{ show(cell) }}</td>{% endfor %}</tr>
{%- endfor %}
</tbody></table></div>
{% endmacro %}
<header>
<h1>LateNtMovies: report of a run</h1>
<p class="plain"><strong>A demonstration, not a reproduction.</strong> These films were made by the method of the paper
(a frozen text-to-image inpainting model given layers in time, tuned on one clip) with the checkpoint
<code>{{ checkpoint }}</code> at {{ resolution }} pixels, not with the paper's model, videos and viewers. No number
below reproduces one of the paper's; rows marked <em>published</em> are copied from it.</p>
<nav aria-label="Contents"><a href="#films">Films</a><a href="#table1">Table 1</a><a href="#metrics">Metrics and
controls</a>{% if model %}<a href="#model">Model</a>{% endif %}<a href="#training">Training</a>
{% if claims %}<a href="#claims">Paper against this run</a>{% endif %}{% if study %}<a href="#study">Human study</a>
{% endif %}<a href="#credits">Credits</a><a href="#provenance">Provenance</a></nav>
</header>
<main>
<h2 id="films">Films</h2>
{% for video in videos %}
<section aria-labelledby="film-{{ loop.index }}">
<h3 id="film-{{ loop.index }}">{{ video.name }}</h3>
<p>&ldquo;{{ video.prompt }}&rdquo; <span class="note">{{ video.fps }} frames a second; our films and the checkpoint's
start from the same still{{ ", the first held-out frame, which training never saw" if video.unseen }}.</span></p>
<div class="films">
{% for film in video.films %}
<figure><video src="data:video/mp4;base64,{{ film.data }}" muted loop autoplay playsinline controls preload="auto"
 aria-label="{{ video.name }}: {{ film.label }}, {{ film.frames }} frames"></video>
<figcaption>{{ film.label }}</figcaption></figure>
{% endfor %}
</div>
<figure><img src="data:image/png;base64,{{ video.sheet }}"
 alt="{{ video.name }}, frames of the same time steps side by side, one row a film: {{ video.sheet_rows }}">
<figcaption>The same time steps, one row a film.</figcaption></figure>
<figure><img src="data:image/png;base64,{{ video.slices_png }}"
 alt="{{ video.name }}, one row of pixels over time, a panel each film.">
<figcaption>One row of pixels, where the real clip changes most, over time (downwards). Steady motion draws slanted
lines, boiling draws specks, a still draws upright lines.</figcaption></figure>
</section>
{% endfor %}

<h2 id="table1">Table 1</h2>
{{ grid("Table 1. Video generation evaluation", *table1) }}
{% for title, table, href, of in table1b %}{{ grid("Table 1b. " ~ title ~ ": what was measured", *table,
        href=href, of=of) }}
{% endfor %}
{% if table1c %}{{ grid(table1c[0], *table1c[1], href=paper, of="6_paper") }}{% endif %}
<ul class="note">{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>

<h2 id="metrics">Metrics and controls</h2>
<p>A metric is worth what it says of films that nobody would call good. Beside our films stand controls: a still
repeated, the same still under noise that moves as much as the real clip, the real frames in a random order. What they
win, a number cannot prove. <span class="flag">&dagger;</span> marks a control that ranks above real frames.</p>
<figure><img src="data:image/png;base64,{{ metrics_png }}"
 alt="Six panels, one a metric, a row each method and control, a marker each video; the numbers are in the tables.">
<figcaption>Bars are 95% bootstrap intervals over films (seeds).</figcaption></figure>
{% for video in videos %}
<h3>{{ video.name }}: the films ranked against the controls</h3>
<p class="ranked">{{ video.ranked }}</p>
{{ grid(video.name ~ ": best first, by what a reader of each metric takes for good", *video.ranks, href=video.href,
        of=video.of, kind="prose") }}
<figure><img src="data:image/png;base64,{{ video.controls_png }}"
 alt="{{ video.name }}, a panel each metric: our films and the baselines as points, the controls as lines.">
<figcaption>Points: ours and the baselines, bars are 95% intervals over films. Lines: the controls and real frames.
</figcaption></figure>
{{ grid(video.name ~ ": every metric; value [95% interval], n films", *video.metrics, href=video.href, of=video.of) }}
{% if video.refusals %}<ul class="note">{% for text in video.refusals %}<li>{{ text }}</li>{% endfor %}</ul>{% endif %}
{% endfor %}

{% if model %}
<h2 id="model">Model</h2>
<figure><img src="data:image/png;base64,{{ model[0] }}"
 alt="The U-Net of this run as blocks: its frozen layers are grey cells, the trained 1D ones coloured behind them.">
<figcaption>Figure 1. Where the 1D layers stand, drawn from the model of this run.</figcaption></figure>
<figure><img src="data:image/png;base64,{{ model[1] }}"
 alt="A pseudo-3D convolution and a pseudo-3D attention block, step by step, with the shapes of this run's tensors.">
<figcaption>Figure 2. A pseudo-3D convolution and attention, with the shapes of this run.</figcaption></figure>
{% endif %}

<h2 id="training">Training</h2>
<figure><img src="data:image/png;base64,{{ loss_png }}" alt="Training loss by step, a panel each video.">
<figcaption>Loss of the temporal layers, the only ones trained.</figcaption></figure>

{% if claims %}
<h2 id="claims">Paper against this run</h2>
<p>{{ claims.line }}</p>
{{ grid("Every claim of the paper, and what this code and this run give", *claims.table, kind="prose") }}
{% endif %}

{% if study %}
<h2 id="study">Human study</h2>
<p>{{ study.said }}{% if study.page %} <a href="{{ study.page }}">Open the study&rsquo;s page</a>.{% endif %}</p>
{% if study.table %}{{ grid("Human study: share of the decided votes [95% Wilson interval]", *study.table) }}{% endif %}
{% endif %}

<h2 id="credits">Credits</h2>
<ul>{% for video in videos %}<li>{{ video.name }}: {{ video.credit }}</li>{% endfor %}</ul>

<h2 id="provenance">Provenance</h2>
<p>Every number above links to the executed notebook that computed it. Hashes are sha256, params&rsquo; of what
params.yaml says to that stage, weights&rsquo; of the files it opens.</p>
{{ grid("Which notebook, choices, weights and seed stand behind what", *stages, kind="prose links") }}
<dl>{% for name, value in provenance %}<dt>{{ name }}</dt><dd><code>{{ value }}</code></dd>{% endfor %}</dl>
</main>
</body>
</html>
"""


def write(results: Path, videos: list[str], out: Path, commit: str | None = None) -> Path:
    """Writes out/report.html from results/<video>/ and returns its path. Draws the figures if they are not there yet.

    commit: what to print as the code's commit; None asks git, and says "unknown" without it.
    """
    from jinja2 import Environment

    folder = out / "figures"
    wanted = ["loss", "metrics", *(f"{kind}_{video}" for kind in ("controls", "slices") for video in videos)]
    if not all((folder / f"{name}.png").is_file() for name in wanted):
        figures.write_all(results, videos, out)
    tables = {video: figures.read_metrics(results, video) for video in videos}
    commit = commit or git_commit()
    paper = _notebook(out / "6_paper.ipynb", out)
    model = [folder / f"{name}.png" for name in ("figure1", "figure2")]
    header, rows = table1.table1(tables, table1.votes_of(results))
    page = Environment(autoescape=True, trim_blocks=True).from_string(TEMPLATE).render(
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
    shown = ["heldout", *figures.compared(table), "static"]
    films = [_film(labels[method], figures.film(results, name, method), fps) for method in shown]
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
    rows = [[metric, figures.good(DIRECTIONS[metric]), {"text": ranking.order(table, metric, one), "href": href},
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
    from eval.human_study import QUESTIONS, cells

    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    page = folder / "study.html"
    answered = cells(summary)
    said = "No responses yet: nobody has been asked about these films." if not answered else (
        f"{summary['votes']} votes of {summary['observers']} observers.")
    rows = [[method, *(shares.get(question, "-") for question in QUESTIONS)] for method, shares in answered.items()]
    return {"said": said, "page": quote(os.path.relpath(page, out).replace(os.sep, "/")) if page.is_file() else "",
            "table": (["Method", *map(str.capitalize, QUESTIONS)], rows) if rows else None}


def _entry(entry: dict) -> str:
    interval = "" if entry["low"] is None else f" [{entry['low']:.3g}, {entry['high']:.3g}]"
    return f"{entry['value']:.4g}{interval}, n\u00a0{entry['n']}"


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
                    "sample": ", ".join(map(str, films["seeds"])), "evaluate": str(table["interval"]["seed"])}[stage]
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
