"""The look of every figure: colours that the colour-blind tell apart, the same bytes for the same input; and the one
figure that an evaluation draws of its own video."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

COLOURS = {  # Okabe and Ito (2008)
    "ours": "#0072B2", "frame_by_frame": "#D55E00", "heldout": "#000000", "heldout_vae": "#666666",
    "identity": "#F0E442", "static": "#009E73", "static_noise": "#CC79A7", "shuffled": "#E69F00",
    "flow_extrapolation": "#56B4E9",
}
OTHER = "#882255"  # a method of the user's
STYLE = {
    "font.size": 10, "font.family": "DejaVu Sans", "axes.titlesize": 10, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd", "axes.axisbelow": True,
    "figure.facecolor": "white", "savefig.dpi": 150, "pdf.fonttype": 42,
}


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


def new_figure(width: float, height: float, rows: int, columns: int, **options):
    """A figure without pyplot: no global state, no backend to choose. axes: (rows, columns)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def styled(function):
    from functools import wraps

    @wraps(function)
    def inner(*args, **kwargs):
        from matplotlib import rc_context

        with rc_context(STYLE):
            return function(*args, **kwargs)

    return inner


def dots(axis, table: dict, metric: str, order: list[str], marker: str, colour_of, shift: float = 0.0) -> bool:
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


def colour_of_method(name: str) -> str:
    return COLOURS.get(name, OTHER)


def busiest_row(frames: np.ndarray) -> int:
    """The row of a film (F, H, W, 3) that changes most from frame to frame, no nearer to an edge than a tenth."""
    change = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean((0, 2, 3))
    edge = len(change) // 10
    return edge + int(change[edge:len(change) - edge].argmax())


@styled
def slices(rows: list[tuple[str, np.ndarray]], row: int, path: Path) -> list[Path]:
    """x-t slices: one row of pixels of each film over time, downwards; what moves steadily draws slanted lines, what
    boils draws specks, what stands still draws upright lines. Li et al., "Generative Image Dynamics" (2024), 7.2."""
    columns = 4
    lines = -(-len(rows) // columns)
    figure, axes = new_figure(11, 1.9 * lines + 0.3, lines, columns)
    for axis, (label, frames) in zip(axes.flat, rows):
        axis.imshow(frames[:, row], interpolation="nearest", aspect="auto")
        axis.set_title(label, fontsize=9)
        axis.set(xticks=[], yticks=[0, len(frames) - 1])
        axis.set_ylabel("frame", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(False)
    for axis in axes.flat[len(rows):]:
        axis.set_axis_off()
    return save(figure, path)


@styled
def motion(table: dict, path: Path) -> list[Path]:
    """Motion metrics of one video (the dict of metrics.json); the dashed line is the real held-out clip."""
    order = list(table["labels"])
    panels = {"motion_energy": "motion energy", "flow_warp": "flow-warp error", "flicker": "flicker"}
    figure, axes = new_figure(10, 0.3 * len(order) + 1.3, 1, len(panels), sharey=True)
    for axis, (metric, title) in zip(axes[0], panels.items()):
        dots(axis, table["methods"], metric, order, "o", colour_of_method)
        real = table["methods"]["heldout"][metric].get("value")
        if real is not None:
            axis.axvline(real, color="#000000", linestyle="--", linewidth=1)
        axis.set(title=title, yticks=range(len(order)), yticklabels=[table["labels"][name] for name in order],
                 ylim=(len(order) - 0.5, -0.5), xlabel="0 to 1, a frame step")
        axis.set_xlim(left=0)
    return save(figure, path, kinds=("png",))
