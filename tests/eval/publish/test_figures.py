"""What `lnm.describe` says of a live model, and the figures drawn from it."""

import re

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from textures import translated

from eval.metrics import dynamics
from eval.publish.figures import blocks, films, numbers, style
from eval.publish.figures import motion as figure_motion
from eval.publish.figures import unet as drawn_unet
from eval.publish.figures.vectors import TOWARDS, vectors
from eval.registry import UNITS
from lnm.describe import KINDS, layers
from lnm.pseudo3d import TemporalAttention, TemporalConv
from lnm.unet import UNetPseudo3DConditionModel


def tiny(**changes) -> UNetPseudo3DConditionModel:
    """Two levels, one of them with attention, and a head size that differs from the number of heads."""
    unet = UNetPseudo3DConditionModel(**dict(
        sample_size=8, in_channels=9, out_channels=4, layers_per_block=1, block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16, attention_head_dim=2, norm_num_groups=8) | changes)
    unet.freeze_spatial()
    return unet


@pytest.fixture(scope="module")
def unet():
    return tiny()


def test_no_parameter_is_forgotten_or_counted_twice(unet):
    rows = layers(unet, 3, 8, 8)
    assert {row["kind"] for row in rows} == set(KINDS)
    assert sum(row["parameters"] for row in rows) == unet.num_parameters()
    assert sum(row["parameters"] for row in rows if row["trained"]) == unet.num_parameters(only_trainable=True)
    assert len({row["name"] for row in rows}) == len(rows)
    for row in rows:
        if row["kind"] == "temporal attention":
            assert sum(row["parts"].values()) == row["parameters"]


def test_every_temporal_layer_is_there_and_stands_behind_its_frozen_one(unet):
    rows = layers(unet, 3, 8, 8)
    names = [row["name"] for row in rows]
    for kind, module in (("temporal conv", TemporalConv), ("temporal attention", TemporalAttention)):
        found = {row["name"] for row in rows if row["kind"] == kind}
        assert found == {name for name, m in unet.named_modules() if isinstance(m, module)}
        for name in found:
            frozen = rows[names.index(name.removesuffix(".temporal"))]
            assert names.index(name) == names.index(frozen["name"]) + 1
            assert not frozen["trained"] and frozen["output"] == rows[names.index(name)]["input"]


def test_the_shapes_are_those_of_a_real_pass(unet):
    seen = {}
    hooks = [module.register_forward_hook(lambda _, args, out, name=name: seen.update({name: (*args, None, out)}))
             for name, module in unet.named_modules()]  # None: blocks are called with keywords alone
    with torch.no_grad():
        unet(torch.zeros(1, 9, 3, 8, 8), 0, torch.zeros(1, 1, 16), fps=8)
    for hook in hooks:
        hook.remove()
    for row in layers(unet, 3, 8, 8):
        if row["kind"] != "other":
            before, *_, after = seen[row["name"]]
            assert (row["input"], row["output"]) == (list(before.shape), list(after.shape)), row["name"]
        if row["kind"] == "temporal attention":
            assert row["unfolded"] == list(seen[f"{row['name']}.to_out"][0].shape)


def test_what_is_frozen_is_read_off_the_model(unet):
    unet.requires_grad_(False)
    try:
        assert not any(row["trained"] for row in layers(unet, 3, 8, 8))
    finally:
        unet.freeze_spatial()


def texts(monkeypatch, draw, rows, path) -> str:
    """All that a figure says."""
    said, save = [], style.save
    for module in (blocks, drawn_unet):
        monkeypatch.setattr(module, "save", lambda figure, *rest: said.extend(
            text.get_text() for axis in figure.axes for text in axis.texts) or save(figure, *rest))
    paths = draw(rows, path)
    assert [path.suffix for path in paths] == [".png", ".pdf"]
    assert paths[0].read_bytes()[:4] == b"\x89PNG" and paths[1].read_bytes()[:4] == b"%PDF"
    return "\n".join(said)


def test_figure_1_shows_a_1d_layer_for_each_of_the_model_s_and_its_sums(unet, tmp_path, monkeypatch):
    rows = layers(unet, 3, 8, 8)
    said = texts(monkeypatch, drawn_unet.figure1, rows, tmp_path / "figure1.png")
    temporal = [row for row in rows if row["kind"].startswith("temporal")]
    assert len(re.findall(r"^1D$", said, re.M)) == len(temporal) > 20
    assert len(re.findall(r"^(?:3x3|1x1|attn)$", said, re.M)) == len(temporal)
    trained, total = unet.num_parameters(only_trainable=True), unet.num_parameters()
    assert f"Trained: {trained:,} of {total:,} parameters ({trained / total:.1%})." in said
    assert "down 0: 16 channels at 8 x 8" in said and "mid: 32 channels at 4 x 4" in said


def test_figure_1_leaves_out_what_the_placement_leaves_out(tmp_path, monkeypatch):
    rows = layers(tiny(conv_placement="3x3"), 3, 8, 8)
    said = texts(monkeypatch, drawn_unet.figure1, rows, tmp_path / "figure1.png")
    ones, threes = (len(re.findall(rf"^{kernel}$", said, re.M)) for kernel in ("1x1", "3x3"))
    attention = len(re.findall(r"^attn$", said, re.M))
    assert ones > 0 and len(re.findall(r"^1D$", said, re.M)) == threes + attention


def test_figure_2_has_the_shapes_of_the_fold_and_the_counts(unet, tmp_path, monkeypatch):
    rows = layers(unet, 3, 8, 8)
    said = texts(monkeypatch, blocks.figure2, rows, tmp_path / "figure2.png")
    conv = unet.down_blocks[1].resnets[0].conv1  # the first that changes the number of channels: 16 to 32, at 4 x 4
    attention = unet.down_blocks[0].attentions[0].transformer_blocks[0].temporal
    for wanted in ("down_blocks.1.resnets.0.conv1", "(b f) c h w = (3, 16, 4, 4)", "b c f (h w) = (1, 32, 3, 16)",
                   f"frozen: {sum(p.numel() for p in (conv.weight, conv.bias)):,}",
                   f"trained: {sum(p.numel() for p in conv.temporal.parameters()):,}",
                   "(b f) l (n h d) = (3, 64, 48)",
                   f"b l h f d = (1, 64, {attention.heads}, 3, {16 // attention.heads})",
                   "b c f l = (1, 16, 3, 64)", f"trained: {attention.distance_bias.numel():,}"):
        assert wanted in said, wanted


def test_a_model_without_attention_in_time_has_both_figures(tmp_path, monkeypatch):
    rows = layers(tiny(temporal_attention=False), 3, 8, 8)
    assert "Pseudo-3D attention" not in texts(monkeypatch, blocks.figure2, rows, tmp_path / "figure2.png")
    drawn_unet.figure1(rows, tmp_path / "figure1.png")


def test_slices_show_the_row_that_moves_most_over_time(tmp_path, monkeypatch):
    import matplotlib.axes


    frames = np.zeros((6, 40, 30, 3), np.uint8)
    frames[:, 2] = np.arange(6)[:, None, None] * 40  # at the edge: a border that flickers is no motion
    for i in range(6):
        frames[i, 25, 3 * i] = 200
    assert films.busiest_row(frames) == 25 and films.busiest_row(frames[:1]) == 20
    shown = []
    real = matplotlib.axes.Axes.imshow
    monkeypatch.setattr(matplotlib.axes.Axes, "imshow", lambda self, x, **how: shown.append(x) or real(self, x, **how))
    films.slices([("a", frames), ("b", frames[:, ::-1])], 25, tmp_path / "slices.png")
    assert np.array_equal(shown[0], frames[:, 25]) and shown[0].shape == (6, 30, 3) and not shown[1].any()
    assert (tmp_path / "slices.png").is_file() and (tmp_path / "slices.pdf").is_file()


def test_velocities_and_accelerations_are_drawn_of_each_film_beside_the_real_clip_s(tmp_path, monkeypatch):
    """The real clip slides 2 pixels a step to the left, one film of ours as well and the other to the right."""
    import matplotlib.axes

    real = translated(step=2, count=6)
    table = {"video": "ocean", "labels": {"heldout": "real", "ours": "mine"},
             "methods": {"heldout": {}, "ours": {"velocity_gap": {"value": 1.25}, "acceleration_gap": {"value": 0.5}}},
             "vectors": dynamics.shares({"heldout": [real], "ours": [real, real[::-1]]})}
    far, towards = [], []
    stairs, plot = matplotlib.axes.Axes.stairs, matplotlib.axes.Axes.plot
    monkeypatch.setattr(matplotlib.axes.Axes, "stairs", lambda self, share, edges, **look: far.append(
        (look["label"], share, edges)) or stairs(self, share, edges, **look))
    monkeypatch.setattr(matplotlib.axes.Axes, "plot", lambda self, share, **look: towards.append(
        np.round(share)) or plot(self, share, **look))
    (path,) = vectors(table, tmp_path / "vectors.png", kinds=("png",))
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert [label for label, *_ in far] == ["real", "mine: 1.2 off", "real", "mine: 0.5 off"]
    for _, share, edges in far[:2]:
        assert share.sum() == pytest.approx(100) and 1.8 < np.average(edges[1:], weights=share) < 2.4
    left, right = TOWARDS.index("←"), TOWARDS.index("→")
    assert towards[0][left] > 95 and towards[1][left] == pytest.approx(50, abs=3) == towards[1][right]


@pytest.mark.parametrize("draw", ["motion", "metrics", "controls"])
def test_what_panels_are_headed_by_keeps_to_its_panel(tmp_path, monkeypatch, draw):
    """The registry's names and units are longer than a panel is wide."""
    row = {metric: {"value": 1.0, "n": 2, "values": [0.5, 1.5], "low": None} for metric in UNITS}
    names = {"heldout": "real, held out", "heldout_vae": "real, through the VAE", "ours": "LateNtMovies (ours)",
             "frame_by_frame": "checkpoint, frame by frame", "static": "static repeat"}
    table = {"video": "sea", "labels": names, "methods": dict.fromkeys(names, row), "controls": ["static"],
             "interval": {"unit": "fine-tune and still"}, "reference": {}}
    kept = []
    for module in (figure_motion, numbers):
        monkeypatch.setattr(module, "save", lambda figure, path, **_: kept.append(figure))
    if draw == "metrics":
        monkeypatch.setattr(numbers, "read_metrics", lambda results, video: table)
        numbers.metrics(tmp_path, ["sea"], tmp_path / "a")
    else:
        {"motion": figure_motion.motion, "controls": numbers.controls}[draw](table, tmp_path / "a")
    figure = kept[0]
    FigureCanvasAgg(figure).draw()
    boxes = [axis.title.get_window_extent() for axis in figure.axes if axis.get_title()]
    assert len(boxes) >= 3
    assert not [one for k, one in enumerate(boxes) for other in boxes[k + 1:] if one.overlaps(other)]
