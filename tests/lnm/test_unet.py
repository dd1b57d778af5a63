"""The inflated U-Net: starts as its 2D parent, learns only in time, loses nothing on disk."""

import copy

import pytest
import torch
from diffusers import UNet2DConditionModel

from lnm.errors import UserError
from lnm.pseudo3d import CONV_PLACEMENTS, FrameCount, Pseudo3DConv, TemporalConv, TemporalAttention
from lnm.temporal_file import TemporalNotes, base_identity, load_temporal, same_base, save_temporal
from lnm.unet import UNetPseudo3DConditionModel, is_temporal

B, C, F, H, D = 2, 4, 5, 16, 16


def tiny_unet2d(**changes):
    torch.manual_seed(0)
    config = dict(
        sample_size=H, in_channels=2 * C + 1, out_channels=C, layers_per_block=1, block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=D, attention_head_dim=2, norm_num_groups=8)
    return UNet2DConditionModel(**{**config, **changes}).eval()


def inputs(batch=1, frames=F):
    g = torch.Generator().manual_seed(1)
    return (torch.randn(batch, 2 * C + 1, frames, H, H, generator=g), torch.tensor([7, 500][:batch]),
            torch.randn(batch, 3, D, generator=g))


def train_a_step(unet):
    unet.freeze_spatial()
    for _ in range(2):  # zero projections wake on the first, what stands before them on the second
        sample, t, words = inputs(B)
        loss = unet(sample, t, words, fps=8).sample.square().mean()
        loss.backward()
        with torch.no_grad():
            for p in unet.parameters():
                if p.grad is not None:
                    p -= 0.5 * p.grad.sign() * 0.02
                    p.grad = None


@pytest.mark.parametrize("placement", CONV_PLACEMENTS)
@torch.no_grad()
def test_inflated_equals_its_2d_parent_exactly(placement):
    parent = tiny_unet2d()
    unet = UNetPseudo3DConditionModel.from_unet2d(parent, conv_placement=placement)
    sample, t, words = inputs()
    ours = unet(sample, t[0], words, fps=12.5).sample
    frames = sample[0].transpose(0, 1)
    theirs = parent(frames, t[0], words.repeat(F, 1, 1)).sample
    assert ours.shape == (1, C, F, H, H)
    assert (ours[0].transpose(0, 1) - theirs).abs().max() == 0.0


@torch.no_grad()
def test_one_frame_equals_the_parent_and_a_batch_has_its_own_timesteps():
    parent = tiny_unet2d()
    unet = UNetPseudo3DConditionModel.from_unet2d(parent)
    sample, t, words = inputs(B)
    assert (unet(sample[:1, :, :1], t[0], words[:1], fps=4).sample[:, :, 0]
            - parent(sample[:1, :, 0], t[0], words[:1]).sample).abs().max() == 0.0
    both = unet(sample, t, words, fps=torch.tensor([4.0, 8.0])).sample
    alone = torch.cat([unet(sample[i:i + 1], t[i], words[i:i + 1]).sample for i in range(B)])
    torch.testing.assert_close(both, alone, atol=1e-5, rtol=1e-4)


def test_a_step_changes_time_and_nothing_else():
    unet = UNetPseudo3DConditionModel.from_unet2d(tiny_unet2d())
    before = {k: v.clone() for k, v in unet.state_dict().items()}
    sample, t, words = inputs()
    start = unet(sample, t, words, fps=8).sample.detach()
    train_a_step(unet)
    changed = {k for k, v in unet.state_dict().items() if not torch.equal(v, before[k])}
    # LayerNorm's and keys' gradients can vanish; every kind of temporal layer must have moved
    assert changed and all(is_temporal(k) for k in changed)
    for part in ("conv_in.temporal.weight", "temporal.to_out.weight", "temporal.to_qkv.weight",
                 "temporal.distance_bias", "fps_embedding.linear_1.weight", "fps_embedding.linear_2.weight"):
        assert any(part in k for k in changed), part
    assert (unet(sample, t, words, fps=8).sample - start).abs().max() > 1e-4
    # fps matters now, and frames see each other
    assert not torch.equal(unet(sample, t, words, fps=8).sample, unet(sample, t, words, fps=24).sample)
    other = sample.clone()
    other[:, :, -1] += 1
    assert not torch.equal(unet(sample, t, words).sample[:, :, 0], unet(other, t, words).sample[:, :, 0])


@pytest.mark.parametrize("frames", [1, 2, 24])
@torch.no_grad()
def test_any_number_of_frames(frames):
    unet = UNetPseudo3DConditionModel.from_unet2d(tiny_unet2d())
    sample, t, words = inputs(1, frames)
    assert unet(sample, t, words, fps=8).sample.shape == (1, C, frames, H, H)


def test_temporal_conv_equals_conv1d():
    conv = TemporalConv(6, FrameCount(F))
    torch.nn.init.normal_(conv.weight)
    x = torch.randn(B * F, 6, 3, 4)
    one_d = x.view(B, F, 6, 12).permute(0, 3, 2, 1).reshape(-1, 6, F)  # (b h w, c, f)
    want = torch.nn.functional.conv1d(one_d, conv.weight[..., 0], conv.bias, padding=1)
    want = want.view(B, 12, 6, F).permute(0, 3, 2, 1).reshape(B * F, 6, 3, 4)
    torch.testing.assert_close(conv(x), want, atol=1e-5, rtol=1e-5)


def test_temporal_attention_mixes_only_the_frames_of_one_position():
    attention = TemporalAttention(8, 2, FrameCount(F))
    torch.nn.init.normal_(attention.to_out.weight)
    x = torch.randn(B * F, 6, 8)
    y = x.clone()
    y[F - 1, 2] += 1  # last frame of the first clip, position 2
    moved = (attention(x) != attention(y)).any(-1)
    assert moved[:F, 2].all() and moved.sum() == F


def test_placement_says_which_convolutions_get_a_temporal_one():
    def inflated(placement):
        unet = UNetPseudo3DConditionModel.from_unet2d(tiny_unet2d(), conv_placement=placement)
        return {n: m for n, m in unet.named_modules() if isinstance(m, Pseudo3DConv)}
    every, no_projections, only_3x3 = inflated("all"), inflated("all_but_projections"), inflated("3x3")
    assert {n.rsplit(".")[-1] for n in set(every) - set(no_projections)} == {"proj_in", "proj_out"}
    assert all(m.kernel_size == (3, 3) for m in only_3x3.values())
    assert any("conv_shortcut" in n for n in set(no_projections) - set(only_3x3))
    with pytest.raises(ValueError, match="3x3, all_but_projections, all"):
        inflated("some")


def test_parent_keys_are_unchanged():
    parent = tiny_unet2d()
    unet = UNetPseudo3DConditionModel.from_unet2d(parent)
    assert {k for k in unet.state_dict() if not is_temporal(k)} == set(parent.state_dict())


def test_checkpointing_covers_the_temporal_layers_and_keeps_the_gradients():
    unet = UNetPseudo3DConditionModel.from_unet2d(tiny_unet2d())
    train_a_step(unet)
    unet.train()
    grads = []
    calls = []
    blocks = [m for m in unet.modules() if isinstance(m, TemporalAttention)]
    for checkpointing in (False, True):
        unet.enable_gradient_checkpointing() if checkpointing else unet.disable_gradient_checkpointing()
        unet.zero_grad()
        handles = [m.register_forward_pre_hook(lambda *_: calls.append(checkpointing)) for m in blocks]
        sample, t, words = inputs(B)
        unet(sample, t, words, fps=8).sample.square().mean().backward()
        [h.remove() for h in handles]
        grads.append({k: p.grad.clone() for k, p in unet.named_parameters() if p.grad is not None})
    assert calls.count(True) == 2 * calls.count(False)  # run again in the backward pass
    assert grads[0].keys() == grads[1].keys() == set(unet.temporal_parameters())
    for k in grads[0]:
        torch.testing.assert_close(grads[0][k], grads[1][k], atol=1e-6, rtol=1e-4)


def test_save_and_load_lose_nothing(tmp_path):
    unet = UNetPseudo3DConditionModel.from_unet2d(tiny_unet2d(), conv_placement="3x3")
    train_a_step(unet)
    unet.eval().save_pretrained(tmp_path)
    again = UNetPseudo3DConditionModel.from_pretrained(tmp_path)
    sample, t, words = inputs()
    with torch.no_grad():
        assert torch.equal(unet(sample, t, words, fps=8).sample, again(sample, t, words, fps=8).sample)
    assert again.config.conv_placement == "3x3"


def test_temporal_file_travels_and_refuses_another_base(tmp_path):
    unet = UNetPseudo3DConditionModel.from_unet2d(tiny_unet2d())
    train_a_step(unet)
    save_temporal(unet, tmp_path / "t.safetensors", TemporalNotes(steps=2))
    fresh = UNetPseudo3DConditionModel.from_unet2d(tiny_unet2d())
    assert load_temporal(fresh, tmp_path / "t.safetensors") == TemporalNotes(steps=2)
    sample, t, words = inputs()
    with torch.no_grad():
        assert torch.equal(unet(sample, t, words, fps=8).sample, fresh(sample, t, words, fps=8).sample)
    stranger = tiny_unet2d()
    with torch.no_grad():
        stranger.conv_in.weight += 0.1
    stranger = UNetPseudo3DConditionModel.from_unet2d(stranger)
    before = copy.deepcopy(stranger.state_dict())
    with pytest.raises(UserError, match="another checkpoint"):
        load_temporal(stranger, tmp_path / "t.safetensors")
    assert all(torch.equal(v, before[k]) for k, v in stranger.state_dict().items())
    with pytest.raises(UserError, match="conv_placement"):
        load_temporal(UNetPseudo3DConditionModel.from_unet2d(tiny_unet2d(), conv_placement="3x3"),
                      tmp_path / "t.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"not safetensors")
    for bad in ("bad.safetensors", "none.safetensors"):
        with pytest.raises(UserError, match=bad):
            load_temporal(fresh, tmp_path / bad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_copy_in_half_precision_is_the_same_base_and_a_slight_fine_tune_is_not(dtype):
    parent, copied, tuned = tiny_unet2d(), tiny_unet2d(), tiny_unet2d()
    copied.load_state_dict({k: v.to(dtype).float() for k, v in parent.state_dict().items()})
    with torch.no_grad():
        for p in tuned.parameters():  # one per cent of the weights' own size
            p += 0.01 * p.std() * torch.randn(p.shape, generator=torch.Generator().manual_seed(3)) if p.numel() > 1 else 0
    whole, half, other = (base_identity(UNetPseudo3DConditionModel.from_unet2d(u)) for u in (parent, copied, tuned))
    assert same_base(whole, half) and same_base(half, whole)
    assert not same_base(whole, other) and not same_base(half, other)


def test_a_unet_that_is_not_for_inpainting_is_refused():
    with pytest.raises(UserError, match="takes 4 channels, an inpainting U-Net takes 9"):
        UNetPseudo3DConditionModel.from_unet2d(tiny_unet2d(in_channels=4))


@torch.no_grad()
def test_torch_compile():
    unet = UNetPseudo3DConditionModel.from_unet2d(tiny_unet2d())
    sample, t, words = inputs()
    compiled = torch.compile(unet, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(sample, t, words, fps=8).sample, unet(sample, t, words, fps=8).sample)


# Stable Diffusion 1.5 inpainting's own configuration (unet/config.json of its public checkpoint)
SD15_INPAINTING = dict(
    sample_size=64, in_channels=9, out_channels=4, layers_per_block=2, block_out_channels=(320, 640, 1280, 1280),
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3, cross_attention_dim=768, attention_head_dim=8,
    norm_num_groups=32)


def test_stable_diffusions_configuration_inflates_with_every_2d_key_accounted_for():
    with torch.device("meta"):
        parent = UNet2DConditionModel(**SD15_INPAINTING)
        unet = UNetPseudo3DConditionModel(**SD15_INPAINTING)
    ours = {k: v.shape for k, v in unet.state_dict().items()}
    theirs = {k: v.shape for k, v in parent.state_dict().items()}
    assert sum(v.numel() for v in parent.parameters()) == 859_535_364
    assert {k: v for k, v in ours.items() if not is_temporal(k)} == theirs
    assert len(theirs) == 686
