"""The one figure that an evaluation draws of its own video."""

from __future__ import annotations

from pathlib import Path

from eval.publish.figures.style import colour_of_method, dots, new_figure, save, styled
from eval.publish.formats import named, titled

PANELS = ("motion_energy", "flow_warp", "flicker")


@styled
def motion(table: dict, path: Path) -> list[Path]:
    """Motion metrics of one video (the dict of metrics.json); the dashed line is the real held-out clip."""
    order = list(table["labels"])
    figure, axes = new_figure(10, 0.3 * len(order) + 1.5, 1, len(PANELS), sharey=True)
    for axis, metric in zip(axes[0], PANELS):
        dots(axis, table["methods"], metric, order, "o", colour_of_method)
        real = table["methods"]["heldout"][metric].get("value")
        if real is not None:
            axis.axvline(real, color="#000000", linestyle="--", linewidth=1)
        axis.set(yticks=range(len(order)), yticklabels=[named(table, name) for name in order],
                 ylim=(len(order) - 0.5, -0.5))
        axis.set_title(titled(metric, 32), fontsize=9)
        axis.set_xlim(left=0)
    return save(figure, path, kinds=("png",))
