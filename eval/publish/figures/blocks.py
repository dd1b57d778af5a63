"""Figure 2: one pseudo-3D convolution and one pseudo-3D attention block, step by step."""

from __future__ import annotations

from pathlib import Path

from eval.publish.figures.canvas import FROZEN, arrow, box, canvas
from eval.publish.figures.style import COLOURS, save, styled

BOX, ARROW = 0.44, 0.38  # inches: the height of a step, and of the way to the next


@styled
def figure2(layers: list[dict], path: Path) -> list[Path]:
    """The paper's figure 2: one pseudo-3D convolution (eq. 3) and one pseudo-3D attention block (eq. 4) of this model,
    with the shapes that one clip has on its way through.

    layers: as in `figure1`. The examples are the first convolution that changes the number of channels (the first
    inside a block if none does) and the first attention, where there is one.
    """
    named = {layer["name"]: layer for layer in layers}
    pairs = [(layer, named[f"{layer['name']}.temporal"]) for layer in layers if f"{layer['name']}.temporal" in named]
    convs = [pair for pair in pairs if pair[0]["kind"] == "conv2d" and "." in pair[0]["name"]]
    conv = next((pair for pair in convs if pair[0]["input"][1] != pair[0]["output"][1]), convs[0])
    attention = next((pair for pair in pairs if pair[0]["kind"] == "spatial attention"), None)
    panels = [_convolution(*conv), *([_attention(*attention)] if attention else [])]
    tall = max(sum(ARROW if isinstance(step, str) else BOX for step in flow) for *_, flow in panels)
    height = tall + 1.0
    figure, axis = canvas(5.2 * len(panels), height)
    for i, (title, layer, flow) in enumerate(panels):
        _panel(axis, 5.2 * i + 0.25, height - 0.6, f"{title}\n{layer['name']}", flow, residual=i == 1)
    frames = (attention or conv)[1]["output"][0]
    axis.text(0.25, 0.12, f"One clip (b = 1) of {frames} frames. Frozen in grey, trained in colour, reshapes in white; "
              "counts of parameters at the right.", fontsize=8)
    return save(figure, path)


# a panel: (title, its frozen layer, steps); a step is a shape on the way, or (colour, text, layer or None) in a box
Panel = tuple[str, dict, list]


def _convolution(conv: dict, conv1d: dict) -> Panel:
    f, c, h, w = conv1d["output"]
    unfolded = f"b c f (h w) = (1, {c}, {f}, {h * w})"
    return "Pseudo-3D convolution, eq. 3", conv, [
        _shape("(b f) c h w", conv["input"]),
        (FROZEN, f"Conv2d {conv['kernel'][0]} x {conv['kernel'][1]}, {conv['input'][1]} to {c} channels", conv),
        _shape("(b f) c h w", conv["output"]),
        ("white", "unfold: (b f) c h w -> b c f (h w)", None),
        unfolded,
        (COLOURS["ours"], f"Conv1d over frames, kernel {conv1d['kernel'][0]}, {c} to {c} channels\n"
                          "starts as the identity (Dirac kernel)", conv1d),
        unfolded,
        ("white", "fold: b c f (h w) -> (b f) c h w", None),
        _shape("(b f) c h w", conv1d["output"]),
    ]


def _attention(space: dict, time: dict) -> Panel:
    f, length, dim = time["output"]
    heads, colour = time["heads"], COLOURS["frame_by_frame"]

    def part(*names):
        return time | {"parameters": sum(time["parts"][name] for name in names)}

    return "Pseudo-3D attention, eq. 4", space, [
        _shape("(b f) l c, l = h w", space["input"]),
        (FROZEN, "self attention, cross attention, feed-forward", space),
        _shape("(b f) l c", space["output"]),
        (colour, "LayerNorm, linear to q, k, v", part("norm", "to_qkv")),
        _shape("(b f) l (n h d)", (f, length, 3 * dim)),
        ("white", "unfold: (b f) l (n h d) -> n b l h f d", None),
        f"q, k, v: b l h f d = (1, {length}, {heads}, {f}, {dim // heads})",
        (colour, f"attention over {f} frames, each place alone\nbias by head and distance in time",
         part("distance_bias")),
        _shape("b c f l", time["unfolded"]),
        (colour, "convolution over frames, 3 x 1\nstarts at zero: the sum is the identity", part("to_out")),
        _shape("b c f l", time["unfolded"]),
        ("white", "fold: b c f l -> (b f) l c", None),
        _shape("(b f) l c", time["output"]),
    ]


def _panel(axis, x: float, y: float, title: str, flow: list, residual: bool) -> None:
    """One block from y downwards. residual: what stands after the third step is added again at the end."""
    centre = x + 1.4  # the way of the frames; room for their shapes at its right
    axis.text(x + 2.2, y + 0.32, title, ha="center", va="center", fontsize=9, fontweight="bold")
    start = y
    for k, step in enumerate(flow):
        if isinstance(step, str):
            arrow(axis, (centre, y), (centre, y - ARROW))
            axis.text(centre + 0.16, y - ARROW / 2, step, va="center", fontsize=7.5, family="DejaVu Sans Mono")
            if k == 2:  # the residual leaves here
                start = y - ARROW / 2
            y -= ARROW
            continue
        colour, text, own = step
        ink = "white" if colour in COLOURS.values() else "#222222"
        box(axis, x, y - BOX, 4.4, BOX, colour, edge="#999999" if colour in ("white", FROZEN) else None)
        axis.text(x + 0.12, y - BOX / 2, text, va="center", fontsize=8, color=ink)
        if own:
            axis.text(x + 4.28, y - BOX / 2, f"{'trained' if own['trained'] else 'frozen'}: "
                      f"{own['parameters']:,}", va="center", ha="right", fontsize=8, color=ink)
        y -= BOX
    if residual:
        end = y + ARROW * 0.55
        axis.plot([centre, x - 0.15, x - 0.15], [start, start, end], color="#444444", linewidth=1)
        arrow(axis, (x - 0.15, end), (centre - 0.09, end))
        axis.text(centre, end, "+", ha="center", va="center", fontsize=9, fontweight="bold",
                  bbox={"boxstyle": "circle,pad=0.1", "facecolor": "white", "edgecolor": "#444444"})


def _shape(names: str, sizes) -> str:
    return f"{names} = ({', '.join(map(str, sizes))})"
