"""Every figure, PNG and PDF, one look: colours that the colour-blind tell apart, the same bytes for the same input."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np

COLOURS = {  # Okabe and Ito (2008)
    "ours": "#0072B2", "prior": "#D55E00", "heldout": "#000000", "heldout_vae": "#666666",
    "static": "#009E73", "static_noise": "#CC79A7", "shuffled": "#E69F00",
}
OTHER = "#56B4E9"  # a method of the user's
MARKERS = "osD^vP*X"  # one a video: colour is never the only sign
STYLE = {
    "font.size": 10, "font.family": "DejaVu Sans", "axes.titlesize": 10, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd", "axes.axisbelow": True,
    "figure.facecolor": "white", "savefig.dpi": 150, "pdf.fonttype": 42, "figure.constrained_layout.use": True,
}


def write_all(results: Path, videos: list[str], out: Path) -> list[Path]:
    """Writes out/figures/{figure3,figure4,loss,metrics}.{png,pdf} from results/<video>/; returns their paths."""
    folder = out / "figures"
    return (figure3(results, videos, folder / "figure3.png") + figure4(results, videos, folder / "figure4.png")
            + loss(results, videos, folder / "loss.png") + metrics(results, videos, folder / "metrics.png"))


def save(figure, path: Path, kinds: tuple[str, ...] = ("png", "pdf")) -> list[Path]:
    """Writes `figure` to path, under the suffix of each kind; without dates, so the same figure is the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind in kinds:
        metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None}}[kind]
        target = path.with_suffix(f".{kind}")
        part = target.with_name(target.name + ".part")
        figure.savefig(part, format=kind, metadata=metadata)
        os.replace(part, target)
        paths.append(target)
    return paths


def _figure(width: float, height: float, rows: int, columns: int, **options):
    """A figure without pyplot: no global state, no backend to choose. axes: (rows, columns)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def _styled(function):
    from functools import wraps

    @wraps(function)
    def inner(*args, **kwargs):
        from matplotlib import rc_context

        with rc_context(STYLE):
            return function(*args, **kwargs)

    return inner


def read_metrics(results: Path, video: str) -> dict:
    """results/<video>/evaluate/metrics.json."""
    return json.loads((results / video / "evaluate" / "metrics.json").read_text(encoding="utf-8"))


def methods(results: Path, video: str) -> list[str]:
    """The methods sampled in this run for a video, ours first."""
    return json.loads((results / video / "sample" / "films.json").read_text(encoding="utf-8"))["methods"]


def first_film(results: Path, video: str, method: str) -> np.ndarray:
    """Frames of a method's first seed, uint8 (F, H, W, 3)."""
    from lnm.video import read_frames

    folders = (results / video / "sample" / method).glob("seed_*")
    return read_frames(min(folders, key=lambda path: int(path.name[5:])))


def _grid(rows: list[tuple[str, np.ndarray]], path: Path, columns: int = 5) -> list[Path]:
    """Rows of `columns` frames evenly spread over each film, labelled at the left, numbered from 0 above."""
    import textwrap

    figure, axes = _figure(1.5 * columns + 1.5, 1.6 * len(rows) + 0.3, len(rows), columns)
    for line, (label, frames) in zip(axes, rows):
        for axis, index in zip(line, np.linspace(0, len(frames) - 1, columns).round().astype(int)):
            axis.imshow(frames[index], interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            axis.set_title(f"frame {index}", fontsize=8)
            axis.spines[:].set_visible(False)
        line[0].set_ylabel("\n".join(textwrap.wrap(label, 20)[:5]), rotation=0, ha="right", va="center", fontsize=8)
    return save(figure, path)


@_styled
def figure3(results: Path, videos: list[str], path: Path) -> list[Path]:
    """The paper's figure 3: five sampled frames of each video."""
    rows = [(f"{video}: {read_metrics(results, video)['prompt']}", first_film(results, video, "ours"))
            for video in videos]
    return _grid(rows, path)


@_styled
def figure4(results: Path, videos: list[str], path: Path) -> list[Path]:
    """The paper's figure 4: ours against each other method, frame by frame (same first seed, same still)."""
    rows = []
    for video in videos:
        labels = read_metrics(results, video)["labels"]
        rows += [(f"{video}: {labels[name]}", first_film(results, video, name)) for name in methods(results, video)]
    return _grid(rows, path)


@_styled
def loss(results: Path, videos: list[str], path: Path) -> list[Path]:
    """Training loss of each video: every step thin, the running mean thick."""
    figure, axes = _figure(3.4 * len(videos), 2.8, 1, len(videos), sharey=True)
    for axis, video in zip(axes[0], videos):
        with (results / video / "finetune" / "log.csv").open(newline="") as stream:
            table = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(stream)]
        steps, values = np.array(table).T
        axis.plot(steps, values, color=COLOURS["ours"], alpha=0.3, linewidth=0.7)
        width = max(1, len(values) // 20)
        mean = np.convolve(values, np.ones(width) / width, mode="valid")
        axis.plot(steps[width - 1:], mean, color=COLOURS["ours"], linewidth=2, label=f"mean of {width} steps")
        axis.set(title=video, xlabel="step", yscale="log")
        axis.legend(frameon=False, fontsize=8)
    axes[0, 0].set_ylabel("mean squared error of the noise")
    return save(figure, path)


def _dots(axis, table: dict, metric: str, order: list[str], marker: str, colour_of, shift: float = 0.0) -> bool:
    """One marker a method with its interval; a refused metric leaves its line empty. True if anything was drawn."""
    drawn = False
    for line, name in enumerate(order):
        entry = table.get(name, {}).get(metric, {})
        if "value" not in entry:
            continue
        drawn = True
        if entry["low"] is not None:
            axis.plot([entry["low"], entry["high"]], [line + shift] * 2, color=colour_of(name), linewidth=1.5)
        axis.plot(entry["value"], line + shift, marker, color=colour_of(name), markersize=6, markeredgecolor="white")
    return drawn


def _colour(name: str) -> str:
    return COLOURS.get(name, OTHER)


PANELS = {
    "motion_ratio": "motion energy\n(x held-out)",
    "flow_warp": "flow-warp error\n(near to real is good)",
    "detail_kept": "detail kept\n(x VAE reconstruction)",
    "frame0_db": "frame 0, dB\n(100: equal)",
    "fid_train": "FID to training frames\n(low is good)",
    "clipsim": "CLIPSIM\n(high is good)",
}


@_styled
def metrics(results: Path, videos: list[str], path: Path) -> list[Path]:
    """Each headline metric for every method and control; a marker a video, bars are 95% intervals over seeds."""
    from matplotlib.lines import Line2D

    tables = {video: read_metrics(results, video) for video in videos}
    labels = {name: label for table in tables.values() for name, label in table["labels"].items()}
    order = list(labels)
    figure, axes = _figure(11, 0.34 * 2 * len(order) + 2.2, 2, 3, sharey=True)
    for axis, (metric, title) in zip(axes.flat, PANELS.items()):
        drawn = [
            _dots(axis, table["methods"], metric, order, MARKERS[i % len(MARKERS)], _colour,
                  0.5 * ((i + 0.5) / len(videos) - 0.5))
            for i, table in enumerate(tables.values())
        ]
        if not any(drawn):
            axis.text(0.5, 0.5, "refused: see metrics.json", transform=axis.transAxes, ha="center", fontsize=8)
        axis.set(title=title, yticks=range(len(order)), yticklabels=labels.values(), ylim=(len(order) - 0.5, -0.5))
        axis.locator_params(axis="x", nbins=5)
    handles = [Line2D([], [], linestyle="", marker=MARKERS[i % len(MARKERS)], color="#444444", label=video)
               for i, video in enumerate(videos)]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(videos), 6), frameon=False)
    return save(figure, path)


@_styled
def motion(table: dict, path: Path) -> list[Path]:
    """Motion metrics of one video (the dict of metrics.json); the dashed line is the real held-out clip."""
    order = list(table["labels"])
    panels = {"motion_energy": "motion energy", "flow_warp": "flow-warp error", "flicker": "flicker"}
    figure, axes = _figure(10, 0.3 * len(order) + 1.3, 1, len(panels), sharey=True)
    for axis, (metric, title) in zip(axes[0], panels.items()):
        _dots(axis, table["methods"], metric, order, "o", _colour)
        real = table["methods"]["heldout"][metric].get("value")
        if real is not None:
            axis.axvline(real, color="#000000", linestyle="--", linewidth=1)
        axis.set(title=title, yticks=range(len(order)), yticklabels=[table["labels"][name] for name in order],
                 ylim=(len(order) - 0.5, -0.5), xlabel="0 to 1, a frame step")
        axis.set_xlim(left=0)
    return save(figure, path, kinds=("png",))
