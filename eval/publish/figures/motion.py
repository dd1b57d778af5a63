"""The one figure that an evaluation draws of its own video."""

from __future__ import annotations

from pathlib import Path

from eval.publish.figures.style import colour_of_method, dots, new_figure, save, styled
from eval.publish.formats import named


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
        axis.set(title=title, yticks=range(len(order)), yticklabels=[named(table, name) for name in order],
                 ylim=(len(order) - 0.5, -0.5), xlabel="0 to 1, a frame step")
        axis.set_xlim(left=0)
    return save(figure, path, kinds=("png",))
