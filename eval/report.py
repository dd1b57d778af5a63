"""The report: one HTML file that opens offline, with the films playing in it and nothing fetched from anywhere."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from eval import figures, table1
from eval.evaluate import UNITS
from lnm.params import root, sha256

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
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #ffffff; --soft: #5a5a5a; --line: #d0d0d0; --tint: #f4f4f2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e6; --paper: #17181a; --soft: #a8a8a6; --line: #444648; --tint: #222426; }
}
body { margin: 0 auto; padding: 1.5rem; max-width: 72rem; background: var(--paper); color: var(--ink);
       font: 16px/1.5 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
.plain { border-left: 4px solid #d55e00; padding: .5rem 1rem; background: var(--tint); }
.films { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; } .films figure { width: 15rem; }
figcaption, .note { color: var(--soft); font-size: .875rem; }
video { width: 100%; display: block; background: #000; image-rendering: auto; }
img { max-width: 100%; height: auto; background: #fff; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; margin: .5rem 0; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; font-weight: 400; } thead th { font-weight: 600; }
code { font-size: .8125rem; overflow-wrap: anywhere; } nav a { margin-right: 1rem; color: inherit; }
dt { font-weight: 600; } dd { margin: 0 0 .5rem; }
a:focus-visible, video:focus-visible, .wide:focus-visible { outline: 3px solid #0072b2; outline-offset: 2px; }
@media print {
  :root { --ink: #000; --paper: #fff; --soft: #333; --line: #999; --tint: #fff; }
  body { max-width: none; padding: 0; font-size: 10pt; } nav { display: none; }
  figure, tr { break-inside: avoid; } h2, h3, caption { break-after: avoid; } .wide { overflow: visible; }
  table { font-size: 7pt; } th, td { padding: .1rem .25rem; white-space: normal; } .films figure { width: 22%; }
}
</style>
</head>
<body>
{% macro grid(caption, header, rows) %}
<div class="wide" tabindex="0" role="region" aria-label="{{ caption }}"><table>
<caption>{{ caption }}</caption>
<thead><tr>{% for text in header %}<th scope="col">{{ text }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in rows %}
<tr><th scope="row">{{ row[0] }}</th>{% for text in row[1:] %}<td>{{ text }}</td>{% endfor %}</tr>
{%- endfor %}
</tbody></table></div>
{% endmacro %}
<header>
<h1>LateNtMovies: report of a run</h1>
<p class="plain"><strong>A demonstration, not a reproduction.</strong> These films were made by the method of the paper
(a frozen text-to-image inpainting model given layers in time, tuned on one clip) with the prior
<code>{{ prior }}</code> at {{ resolution }} pixels, not with the paper's model, videos and viewers. No number below
reproduces one of the paper's; rows marked <em>published</em> are copied from it.</p>
<nav aria-label="Contents"><a href="#films">Films</a><a href="#table1">Table 1</a><a href="#metrics">Metrics and
controls</a><a href="#training">Training</a><a href="#credits">Credits</a><a href="#provenance">Provenance</a></nav>
</header>
<main>
<h2 id="films">Films</h2>
{% for video in videos %}
<section aria-labelledby="film-{{ loop.index }}">
<h3 id="film-{{ loop.index }}">{{ video.name }}</h3>
<p>&ldquo;{{ video.prompt }}&rdquo; <span class="note">{{ video.fps }} frames a second; our films and the prior's start
from the same still{{ ", the first held-out frame, which training never saw" if video.unseen }}.</span></p>
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
</section>
{% endfor %}

<h2 id="table1">Table 1</h2>
{{ grid("Table 1. Video generation evaluation", *table1) }}
{% for title, table in table1b %}{{ grid("Table 1b. " ~ title ~ ": what was measured", *table) }}{% endfor %}
<ul class="note">{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>

<h2 id="metrics">Metrics and controls</h2>
<p>A metric is worth what it says of films that nobody would call good. Read each row against the real clip's column
and the controls: a still repeated, the same still under noise that moves as much as the real clip, the real frames
in a random order.</p>
<figure><img src="data:image/png;base64,{{ metrics_png }}"
 alt="Six panels, one a metric, a row each method and control, a marker each video; the numbers are in the tables.">
<figcaption>Bars are 95% bootstrap intervals over films (seeds).</figcaption></figure>
{% for video in videos %}
{{ grid(video.name ~ ": every metric; value [95% interval], n films", *video.metrics) }}
{% if video.refusals %}<ul class="note">{% for text in video.refusals %}<li>{{ text }}</li>{% endfor %}</ul>{% endif %}
{% endfor %}

<h2 id="training">Training</h2>
<figure><img src="data:image/png;base64,{{ loss_png }}" alt="Training loss by step, a panel each video.">
<figcaption>Loss of the temporal layers, the only ones trained.</figcaption></figure>

<h2 id="credits">Credits</h2>
<ul>{% for video in videos %}<li>{{ video.name }}: {{ video.credit }}</li>{% endfor %}</ul>

<h2 id="provenance">Provenance</h2>
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

    if not all((out / "figures" / f"{name}.png").is_file() for name in ("loss", "metrics")):
        figures.write_all(results, videos, out)
    tables = {video: figures.read_metrics(results, video) for video in videos}
    page = Environment(autoescape=True, trim_blocks=True).from_string(TEMPLATE).render(
        prior=next(iter(tables.values()))["backend"]["prior"],
        resolution=table1.resolution(tables),
        videos=[_video(results, video, table) for video, table in tables.items()],
        table1=table1.table1(tables),
        table1b=[(title, table1.table1b(group)) for title, group in table1.groups(tables).items()],
        notes=table1.notes(tables),
        metrics_png=_base64(out / "figures" / "metrics.png"),
        loss_png=_base64(out / "figures" / "loss.png"),
        provenance=_provenance(results, tables, commit or git_commit()),
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


def _video(results: Path, name: str, table: dict) -> dict:
    """What the template shows of one video."""
    from lnm.video import read_frames, read_image

    folder, labels, fps = results / name, table["labels"], table["fps"]
    clip = json.loads((folder / "prepare" / "clip.json").read_text(encoding="utf-8"))
    count = table["reference"]["frames_film"]
    still = read_image(folder / "prepare" / "still.png")
    films = [_film(labels["heldout"], read_frames(folder / "prepare" / "heldout")[:count], fps)]
    films += [_film(labels[method], figures.first_film(results, name, method), fps)
              for method in figures.methods(results, name)]
    films.append(_film(labels["static"], np.repeat(still[None], count, axis=0), fps))
    methods = table["methods"]
    rows = [[f"{metric} ({unit})", *(_entry(methods[method][metric]) for method in labels)]
            for metric, unit in UNITS.items()]
    refused: dict[tuple[str, str], list[str]] = {}
    for method, values in methods.items():
        for metric, entry in values.items():
            if "refused" in entry:
                refused.setdefault((metric, entry["refused"]), []).append(labels[method])
    return {
        "name": name, "prompt": table["prompt"], "fps": f"{fps:g}", "films": films,
        "sheet": _base64(folder / "evaluate" / "sheet.png"),
        "sheet_rows": "; ".join(labels[row] for row in table["sheet"]),
        "unseen": table["reference"]["still_is_first_heldout"],
        "metrics": (["Metric", *labels.values()], rows),
        "refusals": [f"{metric} refused (-) for {'; '.join(names)}: {reason}"
                     for (metric, reason), names in sorted(refused.items())],
        "credit": clip["credit"] or f"no credit given ({clip['source']})",
    }


def _entry(entry: dict) -> str:
    if "refused" in entry:
        return "-"
    interval = "" if entry["low"] is None else f" [{entry['low']:.3g}, {entry['high']:.3g}]"
    return f"{entry['value']:.4g}{interval}, n {entry['n']}"


def _provenance(results: Path, tables: dict[str, dict], commit: str) -> list[tuple[str, str]]:
    """(what, value) pairs: enough to say which code, choices and weights made this page."""
    rows = [("code, git commit", commit), ("params.yaml, sha256", sha256(root() / "params.yaml"))]
    for video, table in tables.items():
        films = json.loads((results / video / "sample" / "films.json").read_text(encoding="utf-8"))
        rows.append((f"{video}: film seeds", ", ".join(str(seed) for seed in films["seeds"])))
        rows.append((f"{video}: temporal layers, sha256", str(films["temporal_sha256"])))
    backend = next(iter(tables.values()))["backend"]
    rows.append(("prior", str(backend["prior"])))
    for kind in ("inception", "clip"):
        entry = backend[kind]
        rows.append((f"{kind}, sha256", entry.get("sha256") or f"refused: {entry['refused']}"))
    rows.append(("optical flow", backend["flow"]))
    return rows
