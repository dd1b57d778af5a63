"""What a U-Net is made of: every parameter counted once, shapes as the layers truly take them."""

import pytest
from tiny_unet import inputs, tiny_unet2d

from lnm.describe import KINDS, layers
from lnm.pseudo3d import Pseudo3DConv, TemporalAttention, TemporalConv
from lnm.unet import UNetPseudo3DConditionModel


@pytest.fixture(scope="module")
def unet():
    unet = UNetPseudo3DConditionModel.from_unet2d(tiny_unet2d())
    unet.freeze_spatial()
    return unet


@pytest.fixture(scope="module")
def rows(unet):
    return layers(unet, 5, 16, 12)


def of(rows, kind):
    return {row["name"]: row for row in rows if row["kind"] == kind}


def test_every_parameter_is_counted_once(unet, rows):
    assert sum(row["parameters"] for row in rows) == sum(p.numel() for p in unet.parameters())
    assert len({row["name"] for row in rows}) == len(rows) and {row["kind"] for row in rows} == set(KINDS)
    trained = sum(row["parameters"] for row in rows if row["trained"])
    assert trained == sum(p.numel() for p in unet.temporal_parameters().values())
    assert {row["kind"] for row in rows if row["trained"]} == {"temporal conv", "temporal attention", "fps"}


def test_every_layer_is_there_in_the_order_of_its_use(unet, rows):
    modules = dict(unet.named_modules())
    kinds = {"conv2d": Pseudo3DConv, "temporal conv": TemporalConv, "temporal attention": TemporalAttention}
    for kind, cls in kinds.items():
        assert set(of(rows, kind)) == {n for n, m in modules.items() if type(m) is cls}
    names = [row["name"] for row in rows]
    assert names[:3] == ["fps_embedding", "conv_in", "conv_in.temporal"]
    last = max(i for i, row in enumerate(rows) if row["kind"] != "other")
    assert names[last - 1:last + 1] == ["conv_out", "conv_out.temporal"]
    assert all(row["kind"] == "other" for row in rows[last + 1:])
    blocks = list(dict.fromkeys(row["block"] for row in rows[:last + 1]))
    assert blocks == ["time", "in", "down 0", "down 1", "mid", "up 0", "up 1", "out"]


def test_shapes_are_those_of_a_real_pass(unet, rows):
    real, handles = {}, []
    for name, module in unet.named_modules():
        if isinstance(module, Pseudo3DConv | TemporalConv | TemporalAttention):
            def note(_, args, out, name=name):
                real[name] = (list(args[0].shape), list(out.shape))

            handles.append(module.register_forward_hook(note))
    sample, t, words = inputs(1, 5)
    unet(sample[..., :12], t, words, fps=8)
    for handle in handles:
        handle.remove()
    told = {row["name"]: (row["input"], row["output"]) for row in rows if row["name"] in real}
    assert told == real
    assert of(rows, "conv2d")["conv_in"]["kernel"] == [3, 3]
    assert of(rows, "temporal conv")["conv_in.temporal"]["kernel"] == [3, 1]


def test_temporal_attention_says_its_heads_and_parts(unet, rows):
    for name, row in of(rows, "temporal attention").items():
        module = unet.get_submodule(name)
        assert row["heads"] == module.heads and sum(row["parts"].values()) == row["parameters"]
        assert set(row["parts"]) == {"norm", "to_qkv", "distance_bias", "to_out"}
        frames, length, width = row["input"]
        assert frames == 5 and row["unfolded"] == [1, width, 5, length]


def test_the_frozen_block_is_counted_without_what_stands_behind_it(unet, rows):
    for name, row in of(rows, "spatial attention").items():
        block = unet.get_submodule(name)
        behind = sum(p.numel() for p in block.temporal.parameters())
        assert row["parameters"] == sum(p.numel() for p in block.parameters()) - behind and not row["trained"]
