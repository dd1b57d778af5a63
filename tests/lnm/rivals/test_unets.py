"""The trained rivals' U-Nets: how each starts, what of it trains, what it sees in time; independent references."""

import pytest
import torch
from diffusers import MotionAdapter, UNetMotionModel
from tiny_unet import B, D, F, inputs, tiny_unet2d, wake

from lnm.errors import UserError
from lnm.rivals.animatediff import AnimateDiffUNet
from lnm.rivals.dreamix import DreamixUNet, masked_in_time
from lnm.rivals.tune_a_video import TuneAVideoUNet
from lnm.unet import FrameByFrameUNet, is_temporal

WIDE = dict(block_out_channels=(16, 32))  # 8 heads of 2 and of 4 channels


@pytest.fixture(scope="module")
def parent():
    return tiny_unet2d(**WIDE)


@torch.no_grad()
def by_frame(parent, batch=1, frames=F):
    return FrameByFrameUNet.of(parent)(*inputs(batch, frames)).sample


@torch.no_grad()
def test_animatediff_starts_as_the_2d_unet_frame_by_frame(parent):
    unet = AnimateDiffUNet.of(parent)
    assert torch.equal(unet(*inputs(B)).sample, by_frame(parent, B))
    wake(unet)
    assert not torch.allclose(unet(*inputs(B)).sample, by_frame(parent, B), atol=1e-3)
    assert type(parent.down_blocks[0].attentions[0]).__name__ == "Transformer2DModel", "the parent stays"


@torch.no_grad()
def test_animatediff_is_diffusers_own_motion_model_on_the_same_weights(parent):
    """UNetMotionModel of the same 2D U-Net with our trained modules gives the same film: place, order, settings."""
    unet = wake(AnimateDiffUNet.of(parent))
    adapter = MotionAdapter(block_out_channels=(16, 32), motion_layers_per_block=(1, 1),
                            motion_mid_block_layers_per_block=1, motion_num_attention_heads=8,
                            motion_norm_num_groups=8)
    theirs = UNetMotionModel.from_unet2d(parent, adapter).eval()
    blocks = {f"down_blocks.{i}": b for i, b in enumerate(theirs.down_blocks)}
    blocks |= {f"up_blocks.{i}": b for i, b in enumerate(theirs.up_blocks)} | {"mid_block": theirs.mid_block}
    count = 0
    for name, block in blocks.items():
        own = unet.get_submodule(name)
        for module, layer in zip(block.motion_modules, getattr(own, "attentions", None) or own.resnets, strict=True):
            module.load_state_dict(layer.motion.state_dict())
            count += 1
    assert count == len({k.split(".motion.")[0] for k in unet.temporal_parameters()}) == 7
    sample, t, text = inputs(1)
    for length in (F, 2):
        ours = unet(sample[:, :, :length], t, text).sample
        film = theirs(sample[:, :, :length], t, text.repeat_interleave(length, dim=0)).sample
        assert torch.allclose(film, ours, atol=1e-5)


def test_animatediff_tells_32_frames_apart_and_refuses_more(parent):
    unet = AnimateDiffUNet.of(parent)
    sample, t, text = inputs(1, 33)
    with pytest.raises(UserError, match="33 frames; its positional encoding ends at 32"):
        unet(sample, t, text)
    with torch.no_grad():
        assert unet(sample[:, :, :32], t, text).sample.shape[2] == 32


@torch.no_grad()
def test_tune_a_video_s_first_frame_is_the_2d_unet_s_and_the_others_look_at_it(parent):
    unet = TuneAVideoUNet.of(parent)
    sample, t, text = inputs(B)
    before, ours = by_frame(parent, B), unet(sample, t, text).sample
    assert torch.allclose(ours[:, :, 0], before[:, :, 0], atol=1e-5)
    assert not torch.allclose(ours[:, :, 1], before[:, :, 1], atol=1e-3)
    one = sample[:, :, :1].expand(-1, -1, F, -1, -1)
    still = FrameByFrameUNet.of(parent)(one, t, text).sample
    assert torch.allclose(unet(one, t, text).sample, still, atol=1e-5), "of equal frames nothing changes"


@torch.no_grad()
def test_sparse_causal_attention_is_that_of_eq_5():
    """Plain softmax attention of frame i over the tokens of frames 0 and i - 1 (0 for itself)."""
    unet = TuneAVideoUNet.of(tiny_unet2d(**WIDE))
    attention = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    attention.count.value = F
    x = torch.randn(B * F, 7, 16, generator=torch.Generator().manual_seed(0))
    got = attention(x).view(B, F, 7, 16)
    heads = attention.heads
    for b in range(B):
        for i in range(F):
            frames = x.view(B, F, 7, 16)[b]
            seen = torch.cat([frames[0], frames[max(i - 1, 0)]])
            q, k, v = (w(y).view(len(y), heads, -1).transpose(0, 1) for w, y in
                       ((attention.to_q, frames[i]), (attention.to_k, seen), (attention.to_v, seen)))
            out = ((q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5).softmax(-1) @ v
            want = attention.to_out[0](out.transpose(0, 1).reshape(7, 16))
            assert torch.allclose(got[b, i], want, atol=1e-5)


@torch.no_grad()
def test_tune_a_video_s_temporal_attention_starts_as_the_identity_and_sees_all_frames(parent):
    unet = TuneAVideoUNet.of(parent)
    block = unet.mid_block.attentions[0].transformer_blocks[0]
    block.count.value = F
    x = torch.randn(F, 4, 32, generator=torch.Generator().manual_seed(0))
    text = torch.randn(F, 3, D, generator=torch.Generator().manual_seed(1))

    def moved():
        """The change in the first frame that the last one makes."""
        other = x.clone()
        other[-1] = other[-1].flip(-1)
        return (block(other, encoder_hidden_states=text)[0] - block(x, encoder_hidden_states=text)[0]).abs().max()

    assert moved() == 0  # sparse attention looks back alone, temporal attention is silent
    block.attn_temp.to_out[0].weight.normal_(generator=torch.Generator().manual_seed(2))
    assert moved() > 1e-3


@pytest.mark.parametrize("make, trained", [
    (AnimateDiffUNet.of, lambda name: ".motion." in name),
    (TuneAVideoUNet.of, lambda name: "attn1.to_q" in name or "attn2.to_q" in name or "attn_temp" in name),
    (DreamixUNet.from_unet2d, lambda name: True)])
def test_what_trains_has_a_gradient_and_nothing_else_does(parent, make, trained):
    unet = make(parent)
    unet.freeze_spatial()
    wanted = {name for name, _ in unet.named_parameters() if trained(name)}
    assert wanted and set(unet.temporal_parameters()) == wanted
    wake(unet)  # else what stands behind a zero layer has none
    sample, t, text = inputs(1)
    unet(sample, t, text, fps=8.0).sample.square().mean().backward()
    assert {name for name, p in unet.named_parameters() if p.grad is not None} == wanted
    assert not any(p.grad is not None for p in parent.parameters())


@torch.no_grad()
def test_masked_in_time_the_dreamix_unet_is_its_2d_parent_whatever_it_has_learned(parent):
    unet = DreamixUNet.from_unet2d(parent)
    for name, p in unet.named_parameters():
        if is_temporal(name):
            p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(len(name)))
    sample, t, text = inputs(B)
    with masked_in_time(unet):
        assert torch.equal(unet(sample, t, text, fps=8.0).sample, by_frame(parent, B))
    assert not torch.allclose(unet(sample, t, text, fps=8.0).sample, by_frame(parent, B), atol=1e-3)
