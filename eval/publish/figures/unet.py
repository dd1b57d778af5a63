"""Figure 1: the U-Net of a run, and where its 1D layers stand."""

from __future__ import annotations

import re
from pathlib import Path

from eval.publish.figures.canvas import FROZEN, arrow, box, canvas
from eval.publish.figures.style import COLOURS, save, styled

CELL, THIN, ROW = 0.36, 0.24, 0.5  # inches: a frozen layer, the 1D layer behind it, a row of both
PARTS = {"resnets": "ResNet", "attentions": "transformer", "downsamplers": "down", "upsamplers": "up"}


def _amount(n: int) -> str:
    """5306976 -> '5.31 M'."""
    return f"{n / 1e6:.2f} M" if n >= 1e6 else f"{n / 1e3:.1f} k" if n >= 1e3 else str(n)


def _rows(block: list[dict]) -> dict[str, list[dict]]:
    """A U-Net block's layers by where they stand: {"0": ResNet and transformer 0, ..., "": the resampler}."""
    rows: dict[str, list[dict]] = {}
    for layer in block:
        place = re.search(r"(?:resnets|attentions)\.(\d+)", layer["name"])
        rows.setdefault(place[1] if place else "", []).append(layer)
    return rows


def _cells(axis, x: float, y: float, row: list[dict]) -> None:
    """One row of layers from x rightwards: frozen grey, the trained 1D layer in colour directly behind it."""
    before = None
    for layer in row:
        part = next((text for key, text in PARTS.items() if f".{key}." in layer["name"]), "")
        if part != before:
            x += 0.12 if before else 0
            axis.text(x, y + 0.33, part, fontsize=6.5, color="#555555")
            before = part
        attention = "attention" in layer["kind"]
        if layer["kind"].startswith("temporal"):
            box(axis, x - 0.06, y, THIN, 0.3, COLOURS["frame_by_frame" if attention else "ours"], "1D", color="white",
                 fontweight="bold")
            x += THIN
        else:
            box(axis, x, y, CELL, 0.3, FROZEN, "attn" if attention else "x".join(map(str, layer["kernel"])),
                 color="#222222")
            x += CELL + 0.06


@styled
def figure1(layers: list[dict], path: Path) -> list[Path]:
    """The paper's figure 1, and what it leaves "unpictured": where the 1D layers stand in this U-Net.

    layers: what `lnm.describe.layers` says of a model; nothing else is drawn, counts and sums are over them.
    """
    blocks: dict[str, list[dict]] = {}
    for layer in layers:
        if layer["kind"] != "other":
            blocks.setdefault(layer["block"], []).append(layer)
    downs = [name for name in blocks if name.startswith("down")]
    ups = [name for name in blocks if name.startswith("up")][::-1]
    wide, middle, gap = 4.35, 0.9, 0.28
    tall = {name: ROW * len(_rows(block)) + 0.3 for name, block in blocks.items()}
    levels = [max(tall[name] for name in pair) for pair in zip(downs, ups)]
    width, height = 2 * wide + middle + 0.3, 0.62 + sum(levels) + gap * (len(levels) + 1) + tall["mid"] + 1.9
    figure, axis = canvas(width, height)
    left, right = 0.15, width - wide - 0.15

    def draw(name: str, x: float, top: float) -> float:
        """A block's frame, heading and layers; the y of its lower edge."""
        own = [layer for layer in layers if layer["block"] == name]
        box(axis, x, top - tall[name], wide, tall[name], "#fafafa", edge="#999999")
        _, channels, rows, columns = blocks[name][0]["output"]
        trained = sum(layer["parameters"] for layer in own if layer["trained"])
        frozen = sum(layer["parameters"] for layer in own) - trained
        axis.text(x + 0.1, top - 0.1, f"{name}: {channels} channels at {rows} x {columns}", va="top", fontsize=8,
                  fontweight="bold")
        axis.text(x + wide - 0.1, top - 0.1, f"{_amount(frozen)} frozen, {_amount(trained)} trained", va="top",
                  ha="right", fontsize=7.5)
        for i, row in enumerate(_rows(blocks[name]).values()):
            _cells(axis, x + 0.12, top - 0.22 - ROW * (i + 1), row)
        return top - tall[name]

    top = height - 0.1
    for name, x in (("in", left), ("out", right)):
        box(axis, x, top - 0.62, wide, 0.62, "#fafafa", edge="#999999")
        first, last = blocks[name][0], blocks[name][-1]
        axis.text(x + 0.1, top - 0.31, f"{name}: {first['input'][1]} to {last['output'][1]} channels", va="center",
                  fontsize=8, fontweight="bold")
        _cells(axis, x + 2.6, top - 0.46, blocks[name])
    box(axis, width / 2 - 0.3, top - 0.34, 0.6, 0.3, COLOURS["static"], "fps", color="white", fontweight="bold")
    axis.text(width / 2, top - 0.4, "with the time,\nto every ResNet", ha="center", va="top", fontsize=6.5)

    level, above = top - 0.62 - gap, {left: top - 0.62, right: top - 0.62}
    for *pair, room in zip(downs, ups, levels):
        half = level - min(tall[name] for name in pair) / 2
        for name, x in zip(pair, (left, right)):
            lower = draw(name, x, level)
            ends = (x + wide / 2, above[x]), (x + wide / 2, level)
            arrow(axis, *(ends if x == left else ends[::-1]))
            above[x] = lower
        arrow(axis, (left + wide, half), (right, half), linestyle="--", color="#888888")
        axis.text(width / 2, half + 0.06, "skip", ha="center", fontsize=7, color="#555555")
        level -= room + gap
    x = (width - wide) / 2
    draw("mid", x, level)
    turn = level - tall["mid"] / 2
    axis.plot([left + wide / 2] * 2, [above[left], turn], color="#444444", linewidth=1)
    arrow(axis, (left + wide / 2, turn), (x, turn))
    axis.plot([x + wide, right + wide / 2], [turn] * 2, color="#444444", linewidth=1)
    arrow(axis, (right + wide / 2, turn), (right + wide / 2, above[right]))
    _legend(axis, layers, 0.2, 1.25)
    return save(figure, path)


def _legend(axis, layers: list[dict], x: float, y: float) -> None:
    """What each colour is, how many layers and how many parameters; from y downwards."""
    said = {
        "conv2d": (FROZEN, "2D convolutions (a ResNet's 1x1 is on its shortcut)"),
        "spatial attention": (FROZEN, "blocks of self and cross attention, feed-forward"),
        "other": ("#ffffff", "norms, time embedding, projections (not drawn)"),
        "temporal conv": (COLOURS["ours"], "1D convolutions over frames"),
        "temporal attention": (COLOURS["frame_by_frame"], "attentions over frames"),
        "fps": (COLOURS["static"], "frame rate embedding"),
    }
    for i, (kind, (colour, text)) in enumerate(said.items()):
        own = [layer for layer in layers if layer["kind"] == kind]
        here, line = x + (i // 3) * 5.1, y - 0.26 * (i % 3)
        box(axis, here, line - 0.08, 0.22, 0.16, colour, edge="#666666")
        state = "trained" if any(layer["trained"] for layer in own) else "frozen"
        number = "" if kind in ("other", "fps") else f"{len(own)} "
        axis.text(here + 0.32, line, f"{number}{text}: {_amount(sum(r['parameters'] for r in own))}, {state}",
                  va="center", fontsize=8)
    trained = sum(layer["parameters"] for layer in layers if layer["trained"])
    total = sum(layer["parameters"] for layer in layers)
    axis.text(x, y - 0.95, f"Trained: {trained:,} of {total:,} parameters ({trained / total:.1%}).",
              fontsize=9, fontweight="bold")
