"""The inflated U-Net: starts as its 2D parent, learns only in time, loses nothing on disk, carries the base's LoRA."""

import copy
import shutil

import pytest
import torch
from diffusers import UNet2DConditionModel
from tiny_unet import B, C, F, H, inputs, tiny_unet2d, wake, write_lora

from lnm.errors import UserError
from lnm.pseudo3d import CONV_PLACEMENTS, TemporalAttention
from lnm.unet import FrameByFrameUNet, UNetPseudo3DConditionModel, is_temporal, per_frame


def inflated(parent=None, seed=7, **settings):
    parent = parent or tiny_unet2d()
    torch.manual_seed(seed)
    return UNetPseudo3DConditionModel.from_unet2d(parent, **settings)


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


@torch.no_grad()
def frame_by_frame(unet2d, sample, t, words):
    """A 2D U-Net on every frame of one clip (1, 2C+1, F, H, W): (1, C, F, H, W)."""
    f = sample.shape[2]
    return unet2d(sample[0].transpose(0, 1), t, words.repeat(f, 1, 1)).sample.transpose(0, 1)[None]


# ---------------------------------------------------------------- inflation


@pytest.mark.parametrize("placement", CONV_PLACEMENTS)
@torch.no_grad()
def test_inflated_equals_its_2d_parent_exactly(placement):
    parent = tiny_unet2d()
    unet = inflated(parent, conv_placement=placement)
    sample, t, words = inputs()
    ours = unet(sample, t[0], words, fps=12.5).sample
    assert ours.shape == (1, C, F, H, H)
    assert (ours - frame_by_frame(parent, sample, t[0], words)).abs().max() == 0.0


@torch.no_grad()
def test_one_frame_equals_the_parent_and_a_batch_has_its_own_timesteps():
    parent = tiny_unet2d()
    unet = inflated(parent)
    sample, t, words = inputs(B)
    assert (unet(sample[:1, :, :1], t[0], words[:1], fps=4).sample[:, :, 0]
            - parent(sample[:1, :, 0], t[0], words[:1]).sample).abs().max() == 0.0
    both = unet(sample, t, words, fps=torch.tensor([4.0, 8.0])).sample
    alone = torch.cat([unet(sample[i:i + 1], t[i], words[i:i + 1]).sample for i in range(B)])
    torch.testing.assert_close(both, alone, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_inflation_in_place_and_by_copy_give_equal_models_and_the_copy_leaves_its_parent_alone():
    parent, twin = tiny_unet2d(), tiny_unet2d()
    copied = inflated(parent)
    swapped = inflated(twin, in_place=True)
    assert swapped is twin and type(parent) is UNet2DConditionModel
    assert {k for k in parent.state_dict() if is_temporal(k)} == set()
    a, b = copied.state_dict(), swapped.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    sample, t, words = inputs()
    assert torch.equal(wake(copied)(sample, t, words, fps=8).sample, wake(swapped)(sample, t, words, fps=8).sample)


def test_a_seed_gives_the_same_temporal_layers_whatever_the_2d_weights_and_their_precision_are():
    parents = (tiny_unet2d(0), tiny_unet2d(1), tiny_unet2d(1).double())
    drawn = [{k: p.float() for k, p in inflated(parent, seed=3).temporal_parameters().items()} for parent in parents]
    assert all(torch.equal(drawn[0][k], other[k]) for other in drawn[1:] for k in drawn[0])
    other = inflated(seed=4).temporal_parameters()
    assert any(not torch.equal(drawn[0][k], p) for k, p in other.items())


def test_an_inflated_unet_is_not_inflated_again():
    with pytest.raises(UserError, match="inflated already"):
        inflated(inflated())


def test_a_unet_that_is_not_for_inpainting_is_refused_and_one_with_class_embeddings():
    with pytest.raises(UserError, match="takes 4 channels, an inpainting U-Net takes 9"):
        inflated(tiny_unet2d(in_channels=4))
    with pytest.raises(UserError, match="class embeddings"):
        inflated(tiny_unet2d(class_embed_type="timestep"))


def test_the_copy_keeps_the_parents_precision():
    assert {p.dtype for p in inflated(tiny_unet2d().to(torch.bfloat16)).parameters()} == {torch.bfloat16}


# ---------------------------------------------------------------- what it learns


def test_a_step_changes_time_and_nothing_else():
    unet = inflated()
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


@torch.no_grad()
def test_the_fps_embedding_is_added_to_the_time_embedding_and_no_statement_adds_nothing():
    unet = wake(inflated())
    seen = []
    unet.time_embedding.register_forward_hook(lambda m, a, out: seen.append(out))
    unet.down_blocks[0].resnets[0].register_forward_pre_hook(lambda m, args: seen.append(args[1]))
    sample, t, words = inputs(B)
    unet(sample, t, words, fps=torch.tensor([8.0, 30.0]))
    time, whole = seen
    rates = torch.tensor([8.0] * F + [30.0] * F)
    half = unet.config.block_out_channels[0] // 2
    angles = rates[:, None] * torch.exp(-torch.arange(half) / half * torch.log(torch.tensor(10000.0)))
    want = unet.fps_embedding(torch.cat([angles.cos(), angles.sin()], dim=1))  # Vaswani et al. 2017, section 3.5
    torch.testing.assert_close(whole - time, want, atol=1e-4, rtol=1e-4)
    seen.clear()
    unet(sample, t, words)
    assert torch.equal(*seen)


def test_a_number_or_one_a_clip_becomes_one_a_frame():
    assert per_frame(7, 2, 3, "cpu").tolist() == [7] * 6
    assert per_frame(torch.tensor([1, 2]), 2, 3, "cpu").tolist() == [1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("frames", [1, 2, 24])
@torch.no_grad()
def test_any_number_of_frames(frames):
    sample, t, words = inputs(1, frames)
    assert inflated()(sample, t, words, fps=8).sample.shape == (1, C, frames, H, H)


def test_checkpointing_covers_the_temporal_layers_and_keeps_the_gradients():
    unet = inflated()
    train_a_step(unet)
    unet.train()
    grads = []
    calls = []
    blocks = [m for m in unet.modules() if isinstance(m, TemporalAttention)]
    for checkpointing in (False, True):
        unet.enable_gradient_checkpointing() if checkpointing else unet.disable_gradient_checkpointing()
        unet.zero_grad()
        handles = [m.register_forward_pre_hook(lambda *_, c=checkpointing: calls.append(c)) for m in blocks]
        sample, t, words = inputs(B)
        unet(sample, t, words, fps=8).sample.square().mean().backward()
        [h.remove() for h in handles]
        grads.append({k: p.grad.clone() for k, p in unet.named_parameters() if p.grad is not None})
    assert calls.count(True) == 2 * calls.count(False)  # run again in the backward pass
    assert grads[0].keys() == grads[1].keys() == set(unet.temporal_parameters())
    for k in grads[0]:
        torch.testing.assert_close(grads[0][k], grads[1][k], atol=1e-6, rtol=1e-4)


# ---------------------------------------------------------------- on disk


def test_parent_keys_are_unchanged():
    parent = tiny_unet2d()
    assert {k for k in inflated(parent).state_dict() if not is_temporal(k)} == set(parent.state_dict())


@torch.no_grad()
def test_save_and_load_lose_nothing(tmp_path):
    unet = wake(inflated(conv_placement="3x3")).eval()
    unet.save_pretrained(tmp_path)
    again = UNetPseudo3DConditionModel.from_pretrained(tmp_path)
    sample, t, words = inputs()
    assert torch.equal(unet(sample, t, words, fps=8).sample, again(sample, t, words, fps=8).sample)
    assert again.config.conv_placement == "3x3"


@pytest.mark.parametrize("subfolder", [None, "unet"])
@torch.no_grad()
def test_from_pretrained_inflates_a_2d_folder(tmp_path, subfolder):
    parent = tiny_unet2d()
    parent.save_pretrained(tmp_path / (subfolder or ""))
    places = {} if subfolder is None else {"subfolder": subfolder}
    own = {"conv_placement": "3x3", "temporal_attention": False}
    unet = UNetPseudo3DConditionModel.from_pretrained(tmp_path, **own, **places)
    assert not unet.training and {p.device.type for p in unet.parameters()} == {"cpu"}
    assert unet.config.conv_placement == "3x3" and not any("attn1.temporal" in k for k in unet.state_dict())
    sample, t, words = inputs()
    assert torch.equal(unet(sample, t[0], words, fps=8).sample, frame_by_frame(parent, sample, t[0], words))
    half = UNetPseudo3DConditionModel.from_pretrained(tmp_path, torch_dtype=torch.bfloat16, **places)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


def test_from_pretrained_opens_no_pickle(tmp_path):
    tiny_unet2d().save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(OSError, match="safetensors"):
        UNetPseudo3DConditionModel.from_pretrained(tmp_path)


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


# ---------------------------------------------------------------- torch.compile


@torch.no_grad()
def test_torch_compile_traces_it_whole_for_any_number_of_frames():
    unet = wake(inflated())
    compiled = torch.compile(unet, backend="eager", fullgraph=True)
    for frames in (3, 5):
        sample, t, words = inputs(1, frames)
        torch.testing.assert_close(compiled(sample, t, words, fps=8).sample, unet(sample, t, words, fps=8).sample)


@pytest.mark.parametrize("attention", [True, False])
@torch.no_grad()
def test_compile_repeated_blocks_finds_the_transformer_blocks(attention):
    unet = wake(inflated(temporal_attention=attention))
    sample, t, words = inputs()
    want = unet(sample, t, words, fps=8).sample
    unet.compile_repeated_blocks(backend="eager", fullgraph=True)
    blocks = [m for m in unet.modules() if hasattr(m, "attn1")]
    assert blocks and all(m._compiled_call_impl is not None for m in blocks)
    torch.testing.assert_close(unet(sample, t, words, fps=8).sample, want)


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("c++")), reason="torch's inductor needs a C++ compiler")
@torch.no_grad()
def test_inductor_compiles_the_repeated_blocks():
    parent = tiny_unet2d(block_out_channels=(16,), down_block_types=("CrossAttnDownBlock2D",), mid_block_type=None,
                         up_block_types=("UpBlock2D",))  # one transformer block: inductor takes its time
    unet = wake(inflated(parent))
    sample, t, words = inputs(1, 2)
    want = unet(sample, t, words, fps=8).sample
    unet.compile_repeated_blocks(fullgraph=True)
    torch.testing.assert_close(unet(sample, t, words, fps=8).sample, want, atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------- LoRA of the base on the spatial layers


def with_weights_added(parent, lora):
    """The 2D U-Net with W + dW in the place of W, computed from the file by hand."""
    from safetensors.torch import load_file

    merged = copy.deepcopy(parent)
    weights = load_file(lora / "pytorch_lora_weights.safetensors")
    own = dict(merged.named_parameters())
    names = {k.removeprefix("unet.").split(".lora_")[0] for k in weights}
    with torch.no_grad():
        for name in names:
            down, up = (weights[f"unet.{name}.lora_{ab}.weight"] for ab in "AB")
            own[f"{name}.weight"] += (up.flatten(1) @ down.flatten(1)).view(own[f"{name}.weight"].shape)  # alpha = rank
    assert any("conv" in n for n in names) and any("to_q" in n for n in names)
    return merged


@torch.no_grad()
def test_a_lora_gives_what_the_base_with_its_weights_added_gives_whether_fused_or_not(tmp_path):
    lora = write_lora(tmp_path, tiny_unet2d())
    sample, t, words = inputs()
    unet, want = (wake(inflated(parent)) for parent in (tiny_unet2d(), with_weights_added(tiny_unet2d(), lora)))
    want = want(sample, t, words, fps=8).sample
    plain = unet(sample, t, words, fps=8).sample
    unet.load_lora_adapter(lora, prefix="unet", adapter_name="a")
    close = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(unet(sample, t, words, fps=8).sample, want, **close)  # T((W + dW) x)
    unet.fuse_lora()
    torch.testing.assert_close(unet(sample, t, words, fps=8).sample, want, **close)
    unet.unfuse_lora()
    torch.testing.assert_close(unet(sample, t, words, fps=8).sample, want, **close)
    unet.disable_lora()
    torch.testing.assert_close(unet(sample, t, words, fps=8).sample, plain, **close)
    assert (want - plain).abs().max() > 0.1


@torch.no_grad()
def test_a_unet_without_its_lora_is_what_it_was(tmp_path):
    unet = wake(inflated())
    names, (sample, t, words) = list(unet.temporal_parameters()), inputs()
    plain = unet(sample, t, words, fps=8).sample
    unet.load_lora_adapter(write_lora(tmp_path, tiny_unet2d()), prefix="unet", adapter_name="a")
    assert list(unet.temporal_parameters()) == names  # what travels in a temporal file is called the same
    unet.unload_lora()
    assert torch.equal(unet(sample, t, words, fps=8).sample, plain)


@torch.no_grad()
def test_inflation_of_a_unet_that_carries_a_lora_is_the_lora_on_the_inflated_one(tmp_path):
    carrying = tiny_unet2d()
    lora = write_lora(tmp_path, carrying)
    sample, t, words = inputs()
    before, after = inflated(carrying), inflated()
    after.load_lora_adapter(lora, prefix="unet", adapter_name="a")
    assert before.temporal_parameters().keys() == after.temporal_parameters().keys()
    before, after = (wake(unet)(sample, t, words, fps=8).sample for unet in (before, after))
    torch.testing.assert_close(before, after)


# ---------------------------------------------------------------- the frozen base, frame by frame


@torch.no_grad()
def test_frame_by_frame_is_the_2d_unet_and_leaves_it_as_it_was():
    parent = tiny_unet2d()
    view = FrameByFrameUNet.of(parent)
    sample, t, words = inputs()
    assert torch.equal(view(sample, t[0], words, fps=8).sample, frame_by_frame(parent, sample, t[0], words))
    assert type(parent) is UNet2DConditionModel and view.conv_in is parent.conv_in
    assert not any(is_temporal(k) for k in view.state_dict())
    view.to(torch.float64)
    assert view.dtype == torch.float64
