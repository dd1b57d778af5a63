"""The arms: one choice each, the identity at the start, and switches that take out what they say and nothing else."""

import pytest
import torch
from tiny import CHANNELS, write_tiny_checkpoint
from tiny_unet import wake

from lnm.ablations.arms import ARMS, BASE, arm_pipeline, base_settings, settings_of, twin
from lnm.ablations.layers import faded
from lnm.ablations.loss import fixed_loss, same_level
from lnm.ablations.noise import NOISES
from lnm.checkpoint import open_checkpoint
from lnm.errors import UserError
from lnm.schedulers import make_scheduler
from lnm.settings import Finetune

OWN = [name for name, arm in ARMS.items() if "init" not in arm.changes]  # what needs no layers of many clips


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return open_checkpoint(str(write_tiny_checkpoint(tmp_path_factory.mktemp("arms") / "checkpoint")))


def pipeline(base, name):
    return arm_pipeline(name, base, settings_of(name, 6), seed=0)


def clip(frames=5, seed=0):
    """(sample, timestep, text) of a clip of noise."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(1, 2 * CHANNELS + 1, frames, 8, 8, generator=generator), torch.tensor([500]),
            torch.randn(1, 4, 16, generator=generator))


@torch.no_grad()
def answer(unet, fps=8.0, frames=5):
    sample, timestep, text = clip(frames)
    return unet(sample, timestep, text, fps=torch.tensor([fps])).sample


def test_an_arm_differs_from_what_it_stands_beside_in_one_choice():
    for name, arm in ARMS.items():
        other = ARMS[arm.beside]
        own, base = settings_of(name, 6), settings_of(arm.beside, 6)
        changed = {key for key in Finetune.model_fields if getattr(own, key) != getattr(base, key)}
        changed |= {"attention"} if arm.attention != other.attention else set()
        changed |= {"edit"} if arm.edit != other.edit else set()
        changed |= {"trainer"} if arm.trainer != other.trainer else set()
        expected = {"optimizer", "learning_rate"} if name == "adamw_faster" else None
        alone = name in (BASE, "steps_1800")  # the first of its kind, which others stand beside
        assert changed == expected if expected else alone or len(changed) == 1, (name, changed)
        assert arm.against or alone
    assert settings_of("adamw_faster", 6).learning_rate == 5 * settings_of("adamw", 6).learning_rate
    assert settings_of("steps_3600", 6).steps == 3600 and settings_of("cosine", 6).steps == 6
    assert base_settings(6).init is None and base_settings(6).learning_rate == Finetune().learning_rate


@pytest.mark.parametrize("name", OWN)
def test_every_arm_starts_as_the_frozen_checkpoint_and_has_something_to_train(base, name):
    unet = pipeline(base, name).unet
    frames = [base.unet(clip()[0][:, :, k], clip()[1], clip()[2]).sample for k in range(5)]
    assert torch.allclose(answer(unet), torch.stack(frames, dim=2), atol=1e-5)
    unet.freeze_spatial()
    trains = {k for k, p in unet.named_parameters() if p.requires_grad}
    assert trains and trains == set(unet.temporal_parameters())


def test_the_switches_take_out_what_they_say_and_nothing_else(base):
    parameters = {name: pipeline(base, name).unet.temporal_parameters() for name in OWN}
    whole = set(parameters["base"])

    def lacks(name):
        return whole - set(parameters[name])

    assert set(parameters["mask_0"]) == whole
    assert lacks("no_position") == {k for k in whole if k.endswith(".distance_bias")} != set()
    assert lacks("no_fps") == {k for k in whole if k.startswith("fps_embedding.")} != set()
    assert lacks("no_attention") == {k for k in whole if ".transformer_blocks." in k} != set()
    assert lacks("kernel_1") == set() and {
        p.shape[2:] for k, p in parameters["kernel_1"].items() if k.endswith("to_out.weight")} == {(1, 1)}
    assert {p.shape[2:] for k, p in parameters["base"].items() if k.endswith("to_out.weight")} == {(3, 1)}
    assert lacks("conv_no_projections") == {k for k in whole if "proj_in" in k or "proj_out" in k} != set()
    assert lacks("conv_no_projections") < lacks("conv_3x3")


def test_without_fps_a_frame_rate_says_nothing_and_with_it_it_does(base):
    told, untold = (wake(pipeline(base, name).unet) for name in ("base", "no_fps"))
    for unet in (told, untold):
        torch.nn.init.ones_(unet.fps_embedding.linear_2.weight)  # it would have something to say
    assert not torch.allclose(answer(told, 8.0), answer(told, 2.0))
    assert torch.equal(answer(untold, 8.0), answer(untold, 2.0))


def test_without_the_position_term_attention_does_not_see_when_a_frame_is(base):
    from lnm.pseudo3d import TemporalAttention

    def seen(name):
        unet = pipeline(base, name).unet
        attention = next(m for m in unet.modules() if isinstance(m, TemporalAttention))
        with torch.no_grad():
            attention.to_out.weight[:, :, attention.to_out.kernel_size[0] // 2].fill_(0.1)  # of the frame itself
            if isinstance(attention.distance_bias, torch.nn.Parameter):
                attention.distance_bias.copy_(torch.arange(31.0).expand_as(attention.distance_bias))
        attention.frames.value = 4
        x = torch.randn(4, 3, attention.norm.normalized_shape[0], generator=torch.Generator().manual_seed(1))
        back = torch.tensor([3, 2, 1, 0])
        with torch.no_grad():
            return torch.allclose(attention(x)[back], attention(x[back]), atol=1e-6)

    assert seen("no_position") and not seen("base")


def test_faded_layers_are_the_checkpoint_frame_by_frame_at_low_noise_and_whole_at_high_noise(base):
    whole, own = (wake(pipeline(base, "base").unet) for _ in range(2))
    faded(own)
    for unet in (whole, own):
        torch.nn.init.ones_(unet.fps_embedding.linear_2.weight)  # the frame rate has something to say
    sample, _, text = clip()

    @torch.no_grad()
    def asked(unet, *t):
        many = len(t)
        return unet(sample.expand(many, -1, -1, -1, -1), torch.tensor(t), text.expand(many, -1, -1),
                    fps=torch.tensor([8.0])).sample

    @torch.no_grad()
    def frame_by_frame(t):
        return torch.stack([base.unet(sample[:, :, k], t, text).sample for k in range(sample.shape[2])], dim=2)

    for t in (0, 60, 100):
        assert torch.allclose(asked(own, t), frame_by_frame(t), atol=1e-5)
        assert not torch.allclose(asked(whole, t), frame_by_frame(t), atol=1e-2)
    for t in (300, 999):
        assert torch.equal(asked(own, t), asked(whole, t))
    half = asked(own, 200)
    assert not torch.allclose(half, frame_by_frame(200), atol=1e-3)
    assert not torch.allclose(half, asked(whole, 200), atol=1e-3)
    both = asked(own, 60, 999)  # each clip of a batch by its own timestep
    assert torch.allclose(both[:1], frame_by_frame(60), atol=1e-4)
    assert torch.allclose(both[1:], asked(whole, 999), atol=1e-4)


def test_a_schedule_that_the_checkpoint_has_already_is_no_arm_of_its_own(base):
    assert twin("scaled_linear", base.scheduler) == BASE  # Stable Diffusion's, and lnm-mini's
    assert {twin(name, base.scheduler) for name in ARMS if name != "scaled_linear"} == {None}


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_the_held_out_loss_asks_every_schedule_at_the_same_noise_levels(base, kind):
    own, other = make_scheduler(base.scheduler, kind), make_scheduler(base.scheduler)
    for t in (55, 500, 944):
        at = same_level(own, other, torch.tensor([t]))
        assert abs(float(own.alphas_cumprod[at] - other.alphas_cumprod[t])) < 0.01, (kind, t, int(at))
        assert same_level(other, other, torch.tensor([t])) == t
    assert same_level(own, other, torch.tensor([500])) != 500


def test_the_held_out_loss_of_the_base_is_that_of_the_grid(base):
    """The same number as the loop's own choice of a step would see (lnm.training)."""
    from lnm.batches import fixed_batches
    from lnm.validation import samples

    settings = settings_of("base", 6)
    held = torch.randn(9, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(2))
    pipe = pipeline(base, "base")
    scheduler = make_scheduler(base.scheduler)
    with torch.no_grad():
        batches = [batch for i, clean in enumerate(samples(held, settings))
                   for batch in fixed_batches(clean, i, 8.0, settings, scheduler)]
        text = pipe.encode_prompt(["waves"])
        expected = [torch.nn.functional.mse_loss(
            pipe.unet(one["sample"], one["timestep"], text, fps=one["fps"]).sample, one["target"]).item()
            for one in batches]
    found = fixed_loss(pipe, held, "waves", 8.0, settings, 5, scheduler)
    assert found == pytest.approx(sum(expected) / len(expected), rel=1e-6) and len(expected) == 18
    assert fixed_loss(pipe, held, "waves", 8.0, settings, 8, scheduler) != found
    kinds = [fixed_loss(pipe, held, "waves", 8.0, settings, 5, scheduler, kind) for kind in NOISES]
    assert kinds[0] == found and len(set(kinds)) == 3


def test_an_arm_that_there_is_not_is_one_line():
    with pytest.raises(UserError, match="ARM: cosin is none; there is base, linear, cosine"):
        settings_of("cosin", 6)
