"""The temporal file: carries all that sampling needs, knows its base again, and refuses what does not fit."""

import copy
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_unet import inputs, tiny_unet2d, wake, write_lora

from lnm.errors import UserError
from lnm.pseudo3d import TemporalAttention
from lnm.temporal_file import (
    FORMAT,
    TemporalNotes,
    base_identity,
    load_temporal,
    read_temporal,
    same_base,
    save_temporal,
)
from lnm.unet import UNetPseudo3DConditionModel

NOTES = TemporalNotes(schedule={"beta_schedule": "linear", "prediction_type": "epsilon"}, mask_value=0.0, fps=12.5,
                      frames=5, strides=[1, 2], prompt="wavës", steps=2, video="ocean", checkpoint="lnm-mini",
                      extra={"who": "we"})


def inflated(parent=None, **settings):
    return UNetPseudo3DConditionModel.from_unet2d(parent or tiny_unet2d(), **settings)


@torch.no_grad()
def test_it_travels_with_its_notes(tmp_path):
    unet = wake(inflated(conv_placement="3x3"))
    save_temporal(unet, tmp_path / "t.safetensors", NOTES)
    fresh = inflated(conv_placement="3x3")
    assert load_temporal(fresh, tmp_path / "t.safetensors") == NOTES
    sample, t, words = inputs()
    assert torch.equal(unet(sample, t, words, fps=8).sample, fresh(sample, t, words, fps=8).sample)
    file = read_temporal(tmp_path / "t.safetensors")
    assert (file.conv_placement, file.temporal_attention) == ("3x3", True)
    assert set(file.tensors) == set(unet.temporal_parameters())
    assert [p.name for p in tmp_path.iterdir()] == ["t.safetensors"]  # nothing half-written stays


@torch.no_grad()
def test_a_file_whose_attention_tells_fewer_distances_opens_and_acts_as_it_did(tmp_path):
    short = wake(inflated())
    for layer in short.modules():
        if isinstance(layer, TemporalAttention):
            layer.max_distance, layer.distance_bias = 2, torch.nn.Parameter(torch.randn(layer.heads, 5))
    save_temporal(short, tmp_path / "t.safetensors", NOTES)
    fresh = inflated()
    load_temporal(fresh, tmp_path / "t.safetensors")
    assert all(p.shape[-1] == 31 for k, p in fresh.temporal_parameters().items() if k.endswith("distance_bias"))
    sample, t, words = inputs(frames=6)  # some are 5 apart and counted as 2 apart
    torch.testing.assert_close(fresh(sample, t, words).sample, short(sample, t, words).sample)


@pytest.mark.parametrize("given, kept", [
    ("/home/somebody/models/sd", "sd"), ("~/models/sd", "sd"), ("models/sd", "models/sd"),
    ("somebody/sd", "somebody/sd"), ("lnm-mini", "lnm-mini"), (None, None)])
def test_where_the_base_lies_on_a_machine_is_nobody_elses_business(tmp_path, given, kept):
    save_temporal(inflated(), tmp_path / "t.safetensors", TemporalNotes(checkpoint=given))
    assert read_temporal(tmp_path / "t.safetensors").notes.checkpoint == kept


def test_the_same_layers_give_the_same_bytes(tmp_path):
    unet = wake(inflated())
    for name in "ab":
        save_temporal(unet, tmp_path / name, NOTES)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@torch.no_grad()
def test_saved_in_half_precision_it_is_half_as_large_and_the_unet_keeps_its_own(tmp_path):
    unet = wake(inflated())
    save_temporal(unet, tmp_path / "whole.safetensors")
    save_temporal(unet, tmp_path / "half.safetensors", dtype=torch.float16)
    assert {v.dtype for v in load_file(tmp_path / "half.safetensors").values()} == {torch.float16}
    fresh = inflated()
    load_temporal(fresh, tmp_path / "half.safetensors")
    assert {p.dtype for p in fresh.parameters()} == {torch.float32}
    for k, p in fresh.temporal_parameters().items():
        torch.testing.assert_close(p, unet.temporal_parameters()[k], atol=1e-3, rtol=1e-3)


def test_another_base_is_refused_and_nothing_is_changed(tmp_path):
    save_temporal(wake(inflated()), tmp_path / "t.safetensors")
    stranger = tiny_unet2d()
    with torch.no_grad():
        stranger.conv_in.weight += 0.1
    stranger = inflated(stranger)
    before = copy.deepcopy(stranger.state_dict())
    with pytest.raises(UserError, match="another checkpoint.*strict=False"):
        load_temporal(stranger, tmp_path / "t.safetensors")
    assert all(torch.equal(v, before[k]) for k, v in stranger.state_dict().items())
    with pytest.warns(UserWarning, match="another checkpoint"):
        load_temporal(stranger, tmp_path / "t.safetensors", strict=False)
    own = stranger.temporal_parameters()
    assert all(torch.equal(own[k], v) for k, v in read_temporal(tmp_path / "t.safetensors").tensors.items())


def test_another_placement_and_other_shapes_are_refused_by_name(tmp_path):
    save_temporal(inflated(), tmp_path / "t.safetensors")
    with pytest.raises(UserError, match="conv_placement: all.*3x3"):
        load_temporal(inflated(conv_placement="3x3"), tmp_path / "t.safetensors")
    with pytest.raises(UserError, match="attention: True.*False"):
        load_temporal(inflated(temporal_attention=False), tmp_path / "t.safetensors")
    with pytest.raises(UserError, match="other shapes"):
        load_temporal(inflated(tiny_unet2d(block_out_channels=(16, 16))), tmp_path / "t.safetensors", strict=False)


def test_what_is_no_temporal_file_is_one_line(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"not safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "weights.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "old.safetensors", metadata={"lnm": json.dumps({"format": "x-1"})})
    for name, words in (("bad", "not a readable"), ("none", "no such file"), ("weights", FORMAT), ("old", FORMAT)):
        with pytest.raises(UserError, match=words) as error:
            read_temporal(tmp_path / f"{name}.safetensors")
        assert name in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_copy_in_half_precision_is_the_same_base_and_a_slight_fine_tune_is_not(dtype):
    parent, copied, tuned = tiny_unet2d(), tiny_unet2d(), tiny_unet2d()
    copied.load_state_dict({k: v.to(dtype).float() for k, v in parent.state_dict().items()})
    with torch.no_grad():
        g = torch.Generator().manual_seed(3)
        for p in tuned.parameters():  # one per cent of the weights' own size
            p += 0.01 * p.square().mean().sqrt() * torch.randn(p.shape, generator=g)
    whole, half, other = (base_identity(inflated(u)) for u in (parent, copied, tuned))
    assert same_base(whole, half) and same_base(half, whole)
    assert not same_base(whole, other) and not same_base(half, other)
    assert same_base(whole, base_identity(inflated(parent.to(dtype))))  # held in half precision, not only rounded


def test_the_identity_counts_names_and_shapes_and_no_temporal_layer():
    whole = base_identity(inflated())
    assert base_identity(wake(inflated(conv_placement="3x3"))) == whole
    assert not same_base(whole, base_identity(inflated(tiny_unet2d(layers_per_block=2))))


def test_a_lora_on_the_base_changes_neither_the_identity_nor_the_names(tmp_path):
    plain, carrying = inflated(), inflated()
    carrying.load_lora_adapter(write_lora(tmp_path, tiny_unet2d()), prefix="unet", adapter_name="a")
    assert base_identity(carrying) == base_identity(plain)
    save_temporal(wake(carrying), tmp_path / "t.safetensors")
    load_temporal(plain, tmp_path / "t.safetensors")  # and back without it
    load_temporal(carrying, tmp_path / "t.safetensors")
    with safe_open(tmp_path / "t.safetensors", "pt") as f:
        assert set(f.keys()) == set(plain.temporal_parameters())
    carrying.fuse_lora()  # now the weights are others
    assert not same_base(base_identity(carrying), base_identity(plain))
