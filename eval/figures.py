"""Every figure, PNG and PDF, one look: colours that the colour-blind tell apart, the same bytes for the same input."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from eval.drawing import COLOURS, busiest_row, colour_of_method, dots, new_figure, save, slices, styled

FROZEN = "#d9d9d9"
MARKERS = "osD^vP*X"  # one a video: colour is never the only sign
def write_all(results: Path, videos: list[str], out: Path, layers: list[dict] | None = None) -> list[Path]:
    """Writes out/figures/{figure1,figure2,figure3,figure4,loss,metrics,controls_<video>,slices_<video>}.{png,pdf} from
    results/<video>/; returns their paths.

    layers: what `lnm.describe.layers` says of the run's model, for figures 1 and 2; without it there are none.
    """
    folder = out / "figures"
    paths = figure1(layers, folder / "figure1.png") + figure2(layers, folder / "figure2.png") if layers else []
    paths += figure3(results, videos, folder / "figure3.png") + figure4(results, videos, folder / "figure4.png")
    paths += loss(results, videos, folder / "loss.png") + metrics(results, videos, folder / "metrics.png")
    for video in videos:
        paths += controls(read_metrics(results, video), folder / f"controls_{video}.png")
        paths += time_slices(results, video, folder / f"slices_{video}.png")
    return paths


def read_metrics(results: Path, video: str) -> dict:
    """results/<video>/evaluate/metrics.json."""
    return json.loads((results / video / "evaluate" / "metrics.json").read_text(encoding="utf-8"))


def methods(results: Path, video: str) -> list[str]:
    """The methods sampled in this run for a video, ours first."""
    return json.loads((results / video / "sample" / "films.json").read_text(encoding="utf-8"))["methods"]


def film(results: Path, video: str, method: str) -> np.ndarray:
    """The first film of any method of metrics.json, uint8 (F, H, W, 3): sampled in this run, under inputs/baselines/,
    the real held-out frames (as many as a film has), or made again from the still."""
    from eval import baselines
    from eval.evaluate import read_baseline
    from lnm.video import read_frames, read_image
    from lnm.workflow.params import root

    folder, table = results / video, read_metrics(results, video)
    count, fps = table["reference"]["frames_film"], table["fps"]
    if method in ("heldout", "heldout_vae"):
        return read_frames(folder / "prepare" / method)[:count]
    if method in methods(results, video):
        return read_frames(min((folder / "sample" / method).glob("seed_*"), key=lambda path: int(path.name[5:])))
    if method in baselines.BASELINES:
        return baselines.generate(method, read_image(folder / "prepare" / "still.png"), count, fps, 0,
                                  train=read_frames(folder / "prepare" / "train"), train_fps=fps)
    path = next(path for path in (root() / "inputs" / "baselines" / method).iterdir()
                if path.name.split(".")[0] == video)
    return read_baseline(path, fps, table["size"][::-1])[0]


def compared(table: dict) -> list[str]:
    """The methods of a metrics.json: ours first, then every baseline, the user's included; no controls."""
    return [name for name in table["labels"] if name not in table["controls"]]


def _grid(rows: list[tuple[str, np.ndarray]], path: Path, columns: int = 5) -> list[Path]:
    """Rows of `columns` frames evenly spread over each film, labelled at the left, numbered from 0 above; a row has
    its numbers where they are not those of the row above."""
    import textwrap

    figure, axes = new_figure(1.2 * columns + 1.6, 1.22 * len(rows) + 0.3, len(rows), columns)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
    above = None
    for line, (label, frames) in zip(axes, rows):
        indices = np.linspace(0, len(frames) - 1, columns).round().astype(int).tolist()
        for axis, index in zip(line, indices):
            axis.imshow(frames[index], interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            axis.spines[:].set_visible(False)
            if indices != above:
                axis.set_title(f"frame {index}", fontsize=8)
        above = indices
        line[0].set_ylabel("\n".join(textwrap.wrap(label, 20)[:5]), rotation=0, ha="right", va="center", fontsize=8)
    return save(figure, path)


def _amount(n: int) -> str:
    """5306976 -> '5.31 M'."""
    return f"{n / 1e6:.2f} M" if n >= 1e6 else f"{n / 1e3:.1f} k" if n >= 1e3 else str(n)


def _canvas(width: float, height: float):
    """A figure and one bare axis measured in inches from the lower left corner."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axis.set_axis_off()
    return figure, axis


def _box(axis, x: float, y: float, width: float, height: float, colour: str, text: str = "", edge: str | None = None,
         **font) -> None:
    """A box with its lower left corner at (x, y) and centred text, inches."""
    from matplotlib.patches import FancyBboxPatch

    axis.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.04", facecolor=colour,
                                  edgecolor=edge or colour, linewidth=0.8))
    axis.text(x + width / 2, y + height / 2, text, **{"ha": "center", "va": "center", "fontsize": 7} | font)


def _arrow(axis, start: tuple[float, float], end: tuple[float, float], **style) -> None:
    axis.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#444444", "linewidth": 1,
                                              "shrinkA": 0, "shrinkB": 0} | style)


CELL, THIN, ROW = 0.36, 0.24, 0.5  # inches: a frozen layer, the 1D layer behind it, a row of both


def _rows(block: list[dict]) -> dict[str, list[dict]]:
    """A U-Net block's layers by where they stand: {"0": ResNet and transformer 0, ..., "": the resampler}."""
    import re

    rows: dict[str, list[dict]] = {}
    for layer in block:
        place = re.search(r"(?:resnets|attentions)\.(\d+)", layer["name"])
        rows.setdefault(place[1] if place else "", []).append(layer)
    return rows


PARTS = {"resnets": "ResNet", "attentions": "transformer", "downsamplers": "down", "upsamplers": "up"}


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
            _box(axis, x - 0.06, y, THIN, 0.3, COLOURS["frame_by_frame" if attention else "ours"], "1D", color="white",
                 fontweight="bold")
            x += THIN
        else:
            _box(axis, x, y, CELL, 0.3, FROZEN, "attn" if attention else "x".join(map(str, layer["kernel"])),
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
    figure, axis = _canvas(width, height)
    left, right = 0.15, width - wide - 0.15

    def draw(name: str, x: float, top: float) -> float:
        """A block's frame, heading and layers; the y of its lower edge."""
        own = [layer for layer in layers if layer["block"] == name]
        _box(axis, x, top - tall[name], wide, tall[name], "#fafafa", edge="#999999")
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
        _box(axis, x, top - 0.62, wide, 0.62, "#fafafa", edge="#999999")
        first, last = blocks[name][0], blocks[name][-1]
        axis.text(x + 0.1, top - 0.31, f"{name}: {first['input'][1]} to {last['output'][1]} channels", va="center",
                  fontsize=8, fontweight="bold")
        _cells(axis, x + 2.6, top - 0.46, blocks[name])
    _box(axis, width / 2 - 0.3, top - 0.34, 0.6, 0.3, COLOURS["static"], "fps", color="white", fontweight="bold")
    axis.text(width / 2, top - 0.4, "with the time,\nto every ResNet", ha="center", va="top", fontsize=6.5)

    level, above = top - 0.62 - gap, {left: top - 0.62, right: top - 0.62}
    for *pair, room in zip(downs, ups, levels):
        half = level - min(tall[name] for name in pair) / 2
        for name, x in zip(pair, (left, right)):
            lower = draw(name, x, level)
            ends = (x + wide / 2, above[x]), (x + wide / 2, level)
            _arrow(axis, *(ends if x == left else ends[::-1]))
            above[x] = lower
        _arrow(axis, (left + wide, half), (right, half), linestyle="--", color="#888888")
        axis.text(width / 2, half + 0.06, "skip", ha="center", fontsize=7, color="#555555")
        level -= room + gap
    x = (width - wide) / 2
    draw("mid", x, level)
    turn = level - tall["mid"] / 2
    axis.plot([left + wide / 2] * 2, [above[left], turn], color="#444444", linewidth=1)
    _arrow(axis, (left + wide / 2, turn), (x, turn))
    axis.plot([x + wide, right + wide / 2], [turn] * 2, color="#444444", linewidth=1)
    _arrow(axis, (right + wide / 2, turn), (right + wide / 2, above[right]))
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
        _box(axis, here, line - 0.08, 0.22, 0.16, colour, edge="#666666")
        state = "trained" if any(layer["trained"] for layer in own) else "frozen"
        number = "" if kind in ("other", "fps") else f"{len(own)} "
        axis.text(here + 0.32, line, f"{number}{text}: {_amount(sum(r['parameters'] for r in own))}, {state}",
                  va="center", fontsize=8)
    trained = sum(layer["parameters"] for layer in layers if layer["trained"])
    total = sum(layer["parameters"] for layer in layers)
    axis.text(x, y - 0.95, f"Trained: {trained:,} of {total:,} parameters ({trained / total:.1%}).",
              fontsize=9, fontweight="bold")


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
    conv, conv1d = next((pair for pair in convs if pair[0]["input"][1] != pair[0]["output"][1]), convs[0])
    f, c, h, w = conv1d["output"]
    unfolded = f"b c f (h w) = (1, {c}, {f}, {h * w})"
    panels = [("Pseudo-3D convolution, eq. 3", conv, [
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
    ])]
    attention = next((pair for pair in pairs if pair[0]["kind"] == "spatial attention"), None)
    if attention:
        space, time = attention
        f, length, dim = time["output"]
        heads, colour = time["heads"], COLOURS["frame_by_frame"]

        def part(*names):
            return time | {"parameters": sum(time["parts"][name] for name in names)}

        panels.append(("Pseudo-3D attention, eq. 4", space, [
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
        ]))
    box, arrow = 0.44, 0.38
    tall = max(sum(arrow if isinstance(step, str) else box for step in flow) for *_, flow in panels)
    width, height = 5.2 * len(panels), tall + 1.0
    figure, axis = _canvas(width, height)
    for i, (title, layer, flow) in enumerate(panels):
        x, y = 5.2 * i + 0.25, height - 0.6
        centre = x + 1.4  # the way of the frames; room for their shapes at its right
        axis.text(x + 2.2, y + 0.32, f"{title}\n{layer['name']}", ha="center", va="center", fontsize=9,
                  fontweight="bold")
        for k, step in enumerate(flow):
            if isinstance(step, str):
                _arrow(axis, (centre, y), (centre, y - arrow))
                axis.text(centre + 0.16, y - arrow / 2, step, va="center", fontsize=7.5, family="DejaVu Sans Mono")
                if i == 1 and k == 2:  # the residual leaves here
                    start = y - arrow / 2
                y -= arrow
                continue
            colour, text, own = step
            ink = "white" if colour in COLOURS.values() else "#222222"
            _box(axis, x, y - box, 4.4, box, colour, edge="#999999" if colour in ("white", FROZEN) else None)
            axis.text(x + 0.12, y - box / 2, text, va="center", fontsize=8, color=ink)
            if own:
                axis.text(x + 4.28, y - box / 2, f"{'trained' if own['trained'] else 'frozen'}: "
                          f"{own['parameters']:,}", va="center", ha="right", fontsize=8, color=ink)
            y -= box
        if i == 1:
            end = y + arrow * 0.55
            axis.plot([centre, x - 0.15, x - 0.15], [start, start, end], color="#444444", linewidth=1)
            _arrow(axis, (x - 0.15, end), (centre - 0.09, end))
            axis.text(centre, end, "+", ha="center", va="center", fontsize=9, fontweight="bold",
                      bbox={"boxstyle": "circle,pad=0.1", "facecolor": "white", "edgecolor": "#444444"})
    axis.text(0.25, 0.12, f"One clip (b = 1) of {f} frames. Frozen in grey, trained in colour, reshapes in white; "
              "counts of parameters at the right.", fontsize=8)
    return save(figure, path)


def _shape(names: str, sizes) -> str:
    return f"{names} = ({', '.join(map(str, sizes))})"


@styled
def figure3(results: Path, videos: list[str], path: Path) -> list[Path]:
    """The paper's figure 3: five sampled frames of each video."""
    rows = [(f"{video}: {read_metrics(results, video)['prompt']}", film(results, video, "ours")) for video in videos]
    return _grid(rows, path)


@styled
def figure4(results: Path, videos: list[str], path: Path) -> list[Path]:
    """The paper's figure 4: ours against each baseline, frame by frame at the same times, under the real clip."""
    rows = []
    for video in videos:
        table = read_metrics(results, video)
        films = {name: film(results, video, name) for name in ("heldout", *compared(table))}
        count = min(map(len, films.values()))
        rows += [(f"{video}: {table['labels'][name]}", frames[:count]) for name, frames in films.items()]
    return _grid(rows, path)


def time_slices(results: Path, video: str, path: Path) -> list[Path]:
    """x-t slices of one video: the real clip, the real one through the VAE, every method and a still repeated, along
    the row where the real clip changes most."""
    table = read_metrics(results, video)
    names = ["heldout", *(["heldout_vae"] if "heldout_vae" in table["labels"] else []), *compared(table), "static"]
    films = [(table["labels"][name], film(results, video, name)) for name in names]
    return slices(films, busiest_row(films[0][1]), path)


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


PANELS = {
    "motion_ratio": "motion energy\n(x held-out)",
    "flow_warp": "flow-warp error\n(near to real is good)",
    "detail_kept": "detail kept\n(x VAE reconstruction)",
    "frame0_db": "frame 0, dB\n(100: equal)",
    "fid_train": "FID to training frames\n(low is good)",
    "clipsim": "CLIPSIM\n(high is good)",
}


@styled
def metrics(results: Path, videos: list[str], path: Path) -> list[Path]:
    """Each headline metric for every method and control; a marker a video, bars are 95% intervals over seeds."""
    from matplotlib.lines import Line2D

    tables = {video: read_metrics(results, video) for video in videos}
    labels = {name: label for table in tables.values() for name, label in table["labels"].items()}
    order = list(labels)
    figure, axes = new_figure(11, 0.34 * 2 * len(order) + 2.2, 2, 3, sharey=True)
    for axis, (metric, title) in zip(axes.flat, PANELS.items()):
        drawn = [
            dots(axis, table["methods"], metric, order, MARKERS[i % len(MARKERS)], colour_of_method,
                  0.5 * ((i + 0.5) / len(videos) - 0.5))
            for i, table in enumerate(tables.values())
        ]
        if not any(drawn):
            axis.text(0.5, 0.5, "refused: see metrics.json", transform=axis.transAxes, ha="center", fontsize=8)
        axis.set(title=title, yticks=range(len(order)), yticklabels=labels.values(), ylim=(len(order) - 0.5, -0.5))
        axis.locator_params(axis="x", nbins=5)
    handles = [Line2D([], [], linestyle="", marker=MARKERS[i % len(MARKERS)], color="#444444", label=video)
               for i, video in enumerate(videos)]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(videos), 6), frameon=False)
    return save(figure, path)


LINES = {"heldout": "-", "heldout_vae": "--", "static": ":", "static_noise": "-.", "shuffled": (0, (3, 1, 1, 1, 1, 1))}
GOOD = {"high": "high is good", "low": "low is good", "real": "near to real is good", None: "no reading"}


def good(direction: str | float | None) -> str:
    """In words what a reader of a metric takes for good: an entry of `eval.measure.DIRECTIONS`."""
    return GOOD.get(direction) or f"near to {direction:g} is good"


@styled
def controls(table: dict, path: Path) -> list[Path]:
    """Every metric of one video (the dict of metrics.json): ours and the baselines as points with 95% intervals over
    films, the controls and the real held-out frames as lines. A metric without a value for ours is named below."""
    import textwrap

    from matplotlib.lines import Line2D

    from eval.measure import DIRECTIONS
    from eval.ranking import real_value

    order, values = compared(table), table["methods"]
    drawn = [metric for metric in DIRECTIONS if "value" in values["ours"].get(metric, {})]
    left = [metric for metric in values["ours"] if metric not in drawn]
    columns = 4
    rows = -(-len(drawn) // columns)
    figure, axes = new_figure(11, rows * (0.2 * len(order) + 0.95) + 0.9, rows, columns, sharey=True)
    for axis, metric in zip(axes.flat, drawn):
        lines = {name: values[name].get(metric, {}).get("value") for name in table["controls"]}
        lines["heldout"] = real_value(table, metric)
        for name, value in lines.items():
            if value is not None:
                axis.axvline(value, color=colour_of_method(name), linestyle=LINES[name], linewidth=1.4)
        dots(axis, values, metric, order, "o", colour_of_method)
        axis.set_title(f"{metric}\n{good(DIRECTIONS[metric])}", fontsize=9)
        axis.set(yticks=range(len(order)), yticklabels=[table["labels"][name] for name in order],
                 ylim=(len(order) - 0.5, -0.5))
        axis.tick_params(labelsize=8)
        axis.locator_params(axis="x", nbins=4)
        axis.grid(axis="x", visible=False)
    for axis in axes.flat[len(drawn):]:
        axis.set_axis_off()
    handles = [Line2D([], [], color=colour_of_method(name), linestyle=LINES[name], label=table["labels"][name])
               for name in table["controls"]]
    said = "Where a metric compares with the held-out frames, its line is that of other real frames. "
    said += f"Not measured: {', '.join(left)} (reasons: metrics.json)." if left else ""
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9,
                  title=textwrap.fill(said, 150), title_fontsize=8)
    figure.suptitle(table["video"], fontsize=11)
    return save(figure, path)
