"""Boxes and arrows, measured in inches."""

from __future__ import annotations

FROZEN = "#d9d9d9"


def canvas(width: float, height: float):
    """A figure and one bare axis measured in inches from the lower left corner."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axis.set_axis_off()
    return figure, axis


def box(axis, x: float, y: float, width: float, height: float, colour: str, text: str = "", edge: str | None = None,
        **font) -> None:
    """A box with its lower left corner at (x, y) and centred text, inches."""
    from matplotlib.patches import FancyBboxPatch

    axis.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.04", facecolor=colour,
                                  edgecolor=edge or colour, linewidth=0.8))
    axis.text(x + width / 2, y + height / 2, text, **{"ha": "center", "va": "center", "fontsize": 7} | font)


def arrow(axis, start: tuple[float, float], end: tuple[float, float], **style) -> None:
    """An arrow from one point to another, inches."""
    axis.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#444444", "linewidth": 1,
                                              "shrinkA": 0, "shrinkB": 0} | style)
