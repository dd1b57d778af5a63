"""Losses and metrics."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from eval.metrics import ceiling
from eval.publish.figures.style import COLOURS, colour_of_method, dots, new_figure, save, styled
from eval.publish.formats import named, titled
from eval.publish.ranking import ALIKE, ALIKE_LABEL
from eval.records.run import compared, read_metrics
from eval.registry import DIRECTIONS, TO_HELDOUT, heading, reading

MARKERS = "osD^vP*X"  # one a video: colour is never the only sign


@styled
def loss(results: Path, videos: list[str], path: Path) -> list[Path]:
    """Training loss of each video: every step thin, the running mean thick."""
    figure, axes = new_figure(3.4 * len(videos), 2.8, 1, len(videos), sharey=True)
    for axis, video in zip(axes[0], videos):
        with (results / video / "finetune" / "log.csv").open(newline="") as stream:
            table = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(stream)]
        steps, values = np.array(table).T
        axis.plot(steps, values, color=COLOURS["ours"], alpha=0.3, linewidth=0.7)
        width = max(1, len(values) // 20)
        mean = np.convolve(values, np.ones(width) / width, mode="valid")
        axis.plot(steps[width - 1:], mean, color=COLOURS["ours"], linewidth=2, label=f"mean of {width} steps")
        axis.set(title=video, xlabel="step", yscale="log")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.yaxis.set_minor_formatter(lambda value, _: f"{value:g}")
        axis.legend(frameon=False, fontsize=8)
    axes[0, 0].set_ylabel("mean squared error")
    return save(figure, path)


PANELS = ("motion_ratio", "flow_warp", "detail_ratio", "frame0_db", "fid_train", "clipsim")


@styled
def metrics(results: Path, videos: list[str], path: Path) -> list[Path]:
    """Each headline metric for every method and control; a marker a video (the mean of its films), a tick a film; from
    5 films on, or from 5 of what films share, a bar, Student's 95% interval, in place of the ticks."""
    from matplotlib.lines import Line2D

    tables = {video: read_metrics(results, video) for video in videos}
    labels = {name: named(table, name) for table in tables.values() for name in table["labels"]}
    order = list(labels)
    figure, axes = new_figure(11, 0.34 * 2 * len(order) + 2.2, 2, 3, sharey=True)
    for axis, metric in zip(axes.flat, PANELS):
        drawn = [
            dots(axis, table["methods"], metric, order, MARKERS[i % len(MARKERS)], colour_of_method,
                  0.5 * ((i + 0.5) / len(videos) - 0.5))
            for i, table in enumerate(tables.values())
        ]
        if not any(drawn):
            axis.text(0.5, 0.5, "refused: see metrics.json", transform=axis.transAxes, ha="center", fontsize=8)
        axis.set(yticks=range(len(order)), yticklabels=labels.values(), ylim=(len(order) - 0.5, -0.5))
        axis.set_title(titled(metric, 38), fontsize=9)
        axis.locator_params(axis="x", nbins=5)
    handles = [Line2D([], [], linestyle="", marker=MARKERS[i % len(MARKERS)], color="#444444", label=video)
               for i, video in enumerate(videos)]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(videos), 6), frameon=False)
    return save(figure, path)


LINES = {"heldout": "-", ALIKE: (0, (1, 4)), "heldout_vae": "--",
         "static": ":", "static_noise": "-.", "shuffled": (0, (3, 1, 1, 1, 1, 1))}


@styled
def controls(table: dict, path: Path) -> list[Path]:
    """Every metric of one video (the dict of metrics.json): ours and the baselines as points, with a tick a film
    or from 5 films on, or 5 of what they share, a bar (95%), the controls and the real held-out frames as lines; beside
    the clip through the autoencoder where that was recorded. A metric without a value for ours is named below."""
    import textwrap

    from matplotlib.lines import Line2D

    order, values = compared(table), table["methods"]
    drawn = [metric for metric in DIRECTIONS if "value" in values["ours"].get(metric, {})]
    left = [metric for metric in values["ours"] if metric not in drawn]
    columns = 4
    rows = -(-len(drawn) // columns)
    names = [named(table, name) for name in order]
    height = 0.3 if any("\n" in name for name in names) else 0.2  # of a name of one line or two
    figure, axes = new_figure(11, rows * (height * len(order) + 1.1) + 0.9, rows, columns, sharey=True)
    for axis, metric in zip(axes.flat, drawn):
        shown = {name: {metric: entry} for name, entry in ceiling.entries(metric, table).items()}
        lines = {name: shown.get(name, {}).get(metric, {}).get("value") for name in table["controls"]}
        lines |= {ALIKE: ceiling.real(metric, table)} if metric in TO_HELDOUT else {}
        for name, value in lines.items():
            if value is not None:
                axis.axvline(value, color=colour_of_method(name), linestyle=LINES[name], linewidth=1.4)
        dots(axis, shown, metric, order, "o", colour_of_method)
        axis.set_title(f"{textwrap.fill(heading(metric), 30)}\ngood: {reading(DIRECTIONS[metric])}", fontsize=9)
        axis.set(yticks=range(len(order)), yticklabels=names, ylim=(len(order) - 0.5, -0.5))
        axis.tick_params(labelsize=8)
        axis.locator_params(axis="x", nbins=4)
        axis.grid(axis="x", visible=False)
    for axis in axes.flat[len(drawn):]:
        axis.set_axis_off()
    labels = table["labels"] | {ALIKE: ALIKE_LABEL}
    handles = [Line2D([], [], color=colour_of_method(name), linestyle=LINES[name], label=labels[name])
               for name in (*table["controls"], ALIKE)]
    clip = [metric for metric in drawn if not ceiling.recorded(metric, table)]
    said = ("What compares with real frames stands beside them through the autoencoder; other real frames beside the "
            "held-out ones, both without it. ")
    said += f"Beside the clip itself: {'; '.join(map(heading, clip))}. " if clip else ""
    said += f"Not measured: {'; '.join(map(heading, left))} (reasons: metrics.json)." if left else ""
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9,
                  title=textwrap.fill(said, 150), title_fontsize=8)
    figure.suptitle(table["video"], fontsize=11)
    return save(figure, path)
