"""Velocities and accelerations of points tracked through the films, beside the real clip's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eval.metrics.dynamics import histogram, tracks
from eval.publish.figures.style import colour_of_method, new_figure, save, styled
from eval.records.run import film, methods, read_metrics
from eval.statistics.intervals import measured

SHOWN = {"heldout": "-", "heldout_vae": "--", "ours": "-", "identity": "-."}  # by line as well as by colour
ROWS = {"velocity": "pixels a step", "acceleration": "pixels a step squared"}  # in the order of `tracks`
BINS = 20
LONG = 98  # the percentile of all lengths at which the axis ends; what is longer counts in the last bin
TOWARDS = "→↘↓↙←↖↑↗"  # the directions of `histogram`; rows of pixels count downwards


@styled
def vectors(results: Path, video: str, path: Path, kinds: tuple[str, ...] = ("png", "pdf")) -> list[Path]:
    """Shares of tracked points by length and by direction (`dynamics.histogram`), a row each for velocity and
    acceleration: the real clip, it through the autoencoder, ours and ours from the identity, the mean over each one's
    films. The legend says how far each is from the real clip's, by velocity_gap and acceleration_gap; films that these
    refuse, such as those of another frame rate, are left out."""
    table = read_metrics(results, video)
    found = {name: _tracked(results, video, name) for name in SHOWN if name in table["labels"]}
    figure, axes = new_figure(10, 5.6, len(ROWS), 2, width_ratios=(3, 2))
    for row, (what, unit) in enumerate(ROWS.items()):
        clouds = {name: [pair[row] for pair in pairs] for name, pairs in found.items()
                  if pairs and (name == "heldout" or "value" in _gap(table, name, what))}
        lengths = [np.linalg.norm(cloud, axis=1) for some in clouds.values() for cloud in some]
        edges = np.linspace(0, np.percentile(np.concatenate(lengths), LONG) if lengths else 0, BINS + 1)
        edges = edges if edges[-1] > 0 else np.linspace(0, 1, BINS + 1)  # nothing moves
        far, towards = axes[row]
        for name, some in clouds.items():
            share = 100 * np.mean([histogram(cloud, edges) for cloud in some], axis=0)  # (directions, BINS)
            off = None if name == "heldout" else _gap(table, name, what).get("value")
            look = {"color": colour_of_method(name), "linestyle": SHOWN[name], "linewidth": 1.8,
                    "label": table["labels"][name] + ("" if off is None else f": {off:.2g} off")}
            far.stairs(share.sum(0), edges, **look)
            towards.plot(share.sum(1), marker="o", markersize=4, **look)
        far.set(title=what, xlabel=f"{unit}; what is longer counts in the last bin", ylabel="% of tracked points",
                xlim=(0, edges[-1]), ylim=(0, None))
        towards.set(title=f"direction of {what}", xticks=range(len(TOWARDS)), xticklabels=TOWARDS, ylim=(0, None))
        if clouds:
            far.legend(frameon=False, fontsize=8)
        else:
            far.text(0.5, 0.5, "refused: see metrics.json", transform=far.transAxes, ha="center", fontsize=8)
    figure.suptitle(video, fontsize=11)
    return save(figure, path, kinds)


def _gap(table: dict, name: str, what: str) -> dict:
    return table["methods"][name].get(f"{what}_gap", {})


def _tracked(results: Path, video: str, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Velocities and accelerations, each (N, 2), of every film of a method that has any."""
    from lnm.video import read_frames

    folders = sorted((results / video / "sample" / name).glob("seed_*")) if name in methods(results, video) else []
    films = list(map(read_frames, folders)) or [film(results, video, name)]
    pairs = [measured(tracks, frames) for frames in films]
    return [pair for pair in pairs if not isinstance(pair, str)]
