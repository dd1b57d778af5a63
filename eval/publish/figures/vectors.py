"""Velocities and accelerations of points tracked through the films, beside the real clip's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eval.metrics.dynamics import VECTORS
from eval.publish.figures.style import colour_of_method, new_figure, save, styled
from eval.registry import METRICS

LINES = {"heldout": "-", "heldout_vae": "--", "ours": "-", "identity": "-."}  # by line as well as by colour
TOWARDS = "→↘↓↙←↖↑↗"  # the directions of `dynamics.histogram`; rows of pixels count downwards


@styled
def vectors(table: dict, path: Path, kinds: tuple[str, ...] = ("png", "pdf")) -> list[Path]:
    """Shares of tracked points by length and by direction, a row each for velocity and acceleration: the real clip, it
    through the autoencoder, ours and ours from the identity, the mean over each one's films, as the evaluation has kept
    them ("vectors" of metrics.json, from `dynamics.shares`). The legend says how far each is from the real clip's, by
    velocity_gap and acceleration_gap."""
    figure, axes = new_figure(10, 5.6, len(VECTORS), 2, width_ratios=(3, 2))
    for (far, towards), what in zip(axes, VECTORS):
        edges, films = (table["vectors"][what][key] for key in ("edges", "films"))
        for name, share in films.items():
            off = None if name == "heldout" else table["methods"][name].get(f"{what}_gap", {}).get("value")
            look = {"color": colour_of_method(name), "linestyle": LINES[name], "linewidth": 1.8,
                    "label": table["labels"][name] + ("" if off is None else f": {off:.2g} off")}
            far.stairs(100 * np.array(share["length"]), edges, **look)
            towards.plot(100 * np.array(share["direction"]), marker="o", markersize=4, **look)
        far.set(title=what, xlabel=f"{METRICS[f'{what}_gap'].short}; what is longer counts in the last bin",
                ylabel="% of tracked points", xlim=(0, edges[-1]), ylim=(0, None))
        towards.set(title=f"direction of {what}", xticks=range(len(TOWARDS)), xticklabels=TOWARDS, ylim=(0, None))
        if films:
            far.legend(frameon=False, fontsize=8)
        else:
            far.text(0.5, 0.5, "refused: see metrics.json", transform=far.transAxes, ha="center", fontsize=8)
    figure.suptitle(table["video"], fontsize=11)
    return save(figure, path, kinds)
