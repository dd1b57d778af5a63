"""The figure of the ablations: a point a seed, a row an arm, a panel a measure."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eval.publish.figures.style import COLOURS, new_figure, save, styled
from eval.records.ablations import MEASURES, differs

SAME, OTHER = "#777777", COLOURS["ours"]


@styled
def ablations(table: dict, path: Path) -> list[Path]:
    """A table of `eval.records.ablations.measured`. The line is the mean of the arm that the others stand beside, the
    grey band how far an arm's mean may lie from it by its seeds alone; filled points lie further off."""
    rows = {name: entry for name, entry in table["arms"].items() if "values" in entry}
    figure, axes = new_figure(12, 0.28 * len(rows) + 1.2, 1, len(MEASURES), sharey=True)
    labels = ["base" if name == "base" else f"{entry['choice']}: {entry['value']}" for name, entry in rows.items()]
    for axis, (measure, kind) in zip(axes[0], MEASURES.items(), strict=True):
        for line, entry in enumerate(rows.values()):
            far = differs(entry, measure)
            colour = OTHER if far else SAME
            axis.plot(entry["values"][measure], [line] * len(entry["seeds"]), "o", markersize=5, color=colour,
                      markerfacecolor=colour if far else "white")
        _band(axis, rows, measure)
        axis.set(title=kind.label.replace(", x", ",\nx").replace(" of 8", "\nof 8"), yticks=range(len(rows)),
                 yticklabels=labels, ylim=(len(rows) - 0.5, -0.5))
        axis.tick_params(axis="x", labelsize=8)
    return save(figure, path, kinds=("png",))


def _band(axis, rows: dict, measure: str) -> None:
    """Each control's mean over the rows that stand beside it, and what seeds alone may do."""
    for control in dict.fromkeys(entry["beside"] for entry in rows.values()):
        if control not in rows:
            continue
        lines = [i for i, (name, entry) in enumerate(rows.items()) if control in (name, entry["beside"])]
        top, bottom = min(lines) - 0.4, max(lines) + 0.4
        centre = float(np.mean(rows[control]["values"][measure]))
        axis.plot([centre] * 2, [top, bottom], color="#000000", linewidth=0.8, zorder=0)
        halves = [(one["high"] - one["low"]) / 2 for entry in rows.values() if entry["beside"] == control
                  for one in [entry.get("compared", {}).get(measure, {})] if one.get("p") is not None]
        if halves:
            half = float(np.median(halves))
            axis.fill_betweenx([top, bottom], centre - half, centre + half, color="#e8e8e8", linewidth=0, zorder=-1)
