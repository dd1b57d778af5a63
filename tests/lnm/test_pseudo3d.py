"""Pseudo-3D layers: each against an independent reference, and each the identity at its start."""

import pytest
import torch
from tiny_unet import F, tiny_unet2d
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lnm import pseudo3d
from lnm.pseudo3d import FrameCount, Pseudo3DConv, TemporalAttention, TemporalConv, inflate
from lnm.unet import UNetPseudo3DConditionModel


def awake(layer, seed=0):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn(p.shape, generator=g))
    return layer


def test_temporal_conv_equals_conv1d():
    conv = awake(TemporalConv(6, FrameCount(F)))
    x = torch.randn(2 * F, 6, 3, 4)
    one_d = x.view(2, F, 6, 12).permute(0, 3, 2, 1).reshape(-1, 6, F)  # (b h w, c, f)
    want = nn.functional.conv1d(one_d, conv.weight[..., 0], conv.bias, padding=1)
    want = want.view(2, 12, 6, F).permute(0, 3, 2, 1).reshape(2 * F, 6, 3, 4)
    torch.testing.assert_close(conv(x), want, atol=1e-5, rtol=1e-5)


def test_a_new_temporal_conv_is_the_identity_and_still_takes_gradients():
    conv = TemporalConv(6, FrameCount(F))
    x = torch.randn(2 * F, 6, 3, 4)
    assert torch.equal(conv(x), x)
    conv(x).square().sum().backward()
    assert (conv.weight.grad != 0).any(dim=(0, 1, 3)).all()  # the frame before and the frame after too


def reference_attention(layer, x, frames):
    """Eq. 4 in one dimension, position by position, with torch's scaled_dot_product_attention and its own loops."""
    batch, length, width = x.shape[0] // frames, x.shape[1], x.shape[2]
    each = width // layer.heads
    bias = torch.empty(layer.heads, frames, frames)
    for h in range(layer.heads):
        for i in range(frames):
            for j in range(frames):
                bias[h, i, j] = layer.distance_bias[h, max(-15, min(15, i - j)) + 15]
    out = torch.empty_like(x)
    weights = layer.to_qkv.weight.split(width)
    for b in range(batch):
        for position in range(length):
            own = x[b * frames:(b + 1) * frames, position]  # (F, C)
            normed = nn.functional.layer_norm(own, (width,), layer.norm.weight, layer.norm.bias)
            q, k, v = ((normed @ w.T).view(frames, layer.heads, each).transpose(0, 1) for w in weights)
            seen = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)  # scaled by 1 / sqrt(each)
            seen = seen.transpose(0, 1).reshape(frames, width)
            projected = nn.functional.conv1d(seen.T[None], layer.to_out.weight[..., 0], layer.to_out.bias, padding=1)
            out[b * frames:(b + 1) * frames, position] = own + projected[0].T
    return out


@pytest.mark.parametrize("frames", [1, 5, 18, 34])  # 18: frames 16 and 17 apart count as 15 apart; 34: a fused kernel
@torch.no_grad()
def test_temporal_attention_equals_torchs_own_with_a_bias_by_clipped_distance(frames):
    layer = awake(TemporalAttention(8, 2, FrameCount(frames)))
    x = torch.randn(2 * frames, 3, 8)
    torch.testing.assert_close(layer(x), reference_attention(layer, x, frames), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("sequences", [65_535, 4])  # 4: of 14 sequences of 2 heads, two at once
def test_a_fused_kernel_gives_what_plain_products_give_and_the_same_gradients(sequences, monkeypatch):
    layer, x = awake(TemporalAttention(8, 2, FrameCount(F))), torch.randn(2 * F, 7, 8)
    found = []
    for plain in (F, 0):
        monkeypatch.setattr(pseudo3d, "PLAIN_FRAMES", plain)
        monkeypatch.setattr(pseudo3d, "SEQUENCES", sequences)
        layer.zero_grad()
        seen = layer(x)
        seen.square().sum().backward()
        found.append([seen.detach(), *(p.grad.clone() for p in layer.parameters())])
    for plain, fused in zip(*found, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-3, atol=1e-3 * plain.abs().max().item())


@torch.no_grad()
def test_far_frames_never_hold_all_their_logits_at_once():
    """64 sequences of 64 frames: plain products wrote 2 x 64 x 64 x 64 logits, 2 MB; a fused kernel writes none."""
    layer, largest = TemporalAttention(8, 2, FrameCount(64)), []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            made = out if isinstance(out, tuple) else (out,)
            largest.extend(t.numel() for t in made if isinstance(t, torch.Tensor))
            return out

    with Sizes():
        layer(torch.randn(64, 64, 8))
    assert max(largest) <= 3 * 64 * 64 * 8, "queries, keys and values"


@torch.no_grad()
def test_the_distance_bias_tells_past_from_future_and_each_head_has_its_own():
    layer = TemporalAttention(8, 2, FrameCount(3))
    assert layer.distance_bias.shape == (2, 31) and layer.distance_bias.abs().max() == 0
    layer.to_qkv.weight[:16] = 0  # no content in the logits: the bias alone decides who is seen
    layer.to_qkv.weight[16:] = torch.eye(8)
    layer.to_out.weight[:, :, 1, 0] = torch.eye(8)
    layer.distance_bias[0, 15 + 1] = 50.0  # head 0 sees the frame before, where there is one
    layer.distance_bias[1, 15 - 1] = 50.0  # head 1 the frame after
    x = torch.randn(3, 1, 8)
    seen, normed = layer(x) - x, layer.norm(x)
    torch.testing.assert_close(seen[1, 0, :4], normed[0, 0, :4])
    torch.testing.assert_close(seen[1, 0, 4:], normed[2, 0, 4:])
    torch.testing.assert_close(seen[2, 0, :4], normed[1, 0, :4])
    torch.testing.assert_close(seen[0, 0, 4:], normed[1, 0, 4:])


def test_a_new_temporal_attention_is_the_identity_by_its_zero_projection_alone():
    layer = TemporalAttention(8, 2, FrameCount(F))
    x = torch.randn(2 * F, 6, 8)
    assert torch.equal(layer(x), x)
    assert layer.to_out.weight.abs().max() == 0 and layer.to_out.bias.abs().max() == 0
    assert layer.to_qkv.weight.std() > 0  # drawn, so that the projection's first step has something to learn from
    layer(x).square().sum().backward()
    assert layer.to_out.weight.grad.abs().max() > 0


def test_temporal_attention_mixes_only_the_frames_of_one_position():
    layer = TemporalAttention(8, 2, FrameCount(F))
    nn.init.normal_(layer.to_out.weight)
    x = torch.randn(2 * F, 6, 8)
    y = x.clone()
    y[F - 1, 2] += torch.arange(8)  # last frame of the first clip, position 2
    moved = (layer(x) != layer(y)).any(-1)
    assert moved[:F, 2].all() and moved.sum() == F


def test_placement_says_which_convolutions_get_a_temporal_one():
    def inflated(placement):
        unet = UNetPseudo3DConditionModel.from_unet2d(tiny_unet2d(), conv_placement=placement)
        return {n: m for n, m in unet.named_modules() if isinstance(m, Pseudo3DConv)}

    every, no_projections, only_3x3 = inflated("all"), inflated("all_but_projections"), inflated("3x3")
    plain = {n: m for n, m in tiny_unet2d().named_modules() if isinstance(m, nn.Conv2d)}
    assert set(every) == set(plain)
    assert {n.rsplit(".")[-1] for n in set(every) - set(no_projections)} == {"proj_in", "proj_out"}
    assert set(only_3x3) == {n for n, m in plain.items() if m.kernel_size == (3, 3)}
    assert any("conv_shortcut" in n for n in set(no_projections) - set(only_3x3))
    with pytest.raises(ValueError, match="3x3, all_but_projections, all"):
        inflated("some")


def test_a_layer_inflated_by_itself_takes_single_pictures_until_it_is_told_of_frames():
    layer = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
    x = torch.randn(2, 3, 4, 4)
    plain = layer(x)
    frames = inflate(layer)
    awake(layer[0].temporal)
    centre = layer[0].temporal.weight[:, :, 1, 0]  # what is left of the convolution on one frame
    want = torch.einsum("oc,bchw->bohw", centre, plain) + layer[0].temporal.bias[:, None, None]
    torch.testing.assert_close(layer(x), want, atol=1e-5, rtol=1e-5)
    frames.value = 2
    assert not torch.allclose(layer(x), want)


def test_layers_share_one_frame_count_and_attention_can_be_left_out():
    unet = tiny_unet2d()
    frames = inflate(unet, temporal_attention=False)
    layers = [m for m in unet.modules() if isinstance(m, TemporalConv)]
    assert layers and all(m.frames is frames for m in layers)
    assert not any(isinstance(m, TemporalAttention) for m in unet.modules())
    whole = tiny_unet2d()
    frames = inflate(whole)
    attention = [m for m in whole.modules() if isinstance(m, TemporalAttention)]
    blocks = [m for m in tiny_unet2d().modules() if type(m).__name__ == "BasicTransformerBlock"]
    assert len(attention) == len(blocks) and all(m.frames is frames for m in attention)
    assert [m.heads for m in attention] == [m.attn1.heads for m in blocks]
