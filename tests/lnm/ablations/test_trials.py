"""Trials: what each trainer changes of a step, and that it changes nothing else."""

import pytest
import torch
import torch.nn.functional as F
from tiny import CHANNELS, write_tiny_checkpoint

from lnm.ablations.arms import ARMS, arm_pipeline, settings_of
from lnm.ablations.noise import correlated
from lnm.ablations.trials import AnchorLoss, BiasedTimesteps, MixedNoise, ProgressiveNoise, Trial, anchor_loss, biased
from lnm.batches import make_batch
from lnm.checkpoint import open_checkpoint
from lnm.runs import make_accelerator
from lnm.training import Trainer

LATENTS = torch.randn(20, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(3))
SETTINGS = settings_of("base", 6).model_copy(update={"batch_size": 3, "mixed_precision": "no"})


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return open_checkpoint(str(write_tiny_checkpoint(tmp_path_factory.mktemp("trials") / "checkpoint")))


def trainer(base, kind):
    pipe = arm_pipeline("base", base, SETTINGS, seed=0)
    return kind(pipe, "waves", SETTINGS, make_accelerator(SETTINGS, "cpu"), "drift")


def test_a_trial_that_changes_nothing_draws_what_every_arm_draws(base):
    one = trainer(base, Trial)
    for step in (0, 7):
        expected = make_batch(LATENTS, SETTINGS, 8.0, one.scheduler, 5, step)
        found = one.batch(LATENTS, 8.0, 5, step)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("kind", [MixedNoise, ProgressiveNoise])
def test_a_noise_trial_trains_on_the_base_s_noise_made_one_of_its_kind(base, kind):
    plain, own = (trainer(base, k).batch(LATENTS, 8.0, 5, 2) for k in (Trial, kind))
    assert all(torch.equal(plain[key], own[key]) for key in ("timestep", "fps", "drop"))
    assert torch.equal(plain["sample"][:, CHANNELS:], own["sample"][:, CHANNELS:]), "mask and still"
    assert base.scheduler.config.prediction_type == "epsilon"
    noise = plain["target"]
    assert torch.allclose(own["target"], correlated(noise, kind.noise), atol=1e-6)
    # both from the same clean latents: the samples differ by the noise alone, at this step's level
    level = (1 - base.scheduler.alphas_cumprod[plain["timestep"]]).sqrt().view(-1, 1, 1, 1, 1)
    difference = (own["sample"] - plain["sample"])[:, :CHANNELS]
    assert torch.allclose(difference, level * (own["target"] - noise), atol=1e-5) and float(difference.abs().max()) > 1


def test_an_arm_s_film_begins_from_the_noise_that_it_trained_on():
    assert {name: arm.noise for name, arm in ARMS.items() if arm.noise != "independent"} == {
        "noise_mixed": "mixed", "noise_progressive": "progressive"}
    assert ARMS["noise_mixed"].trainer.noise == "mixed"


def test_biased_timesteps_are_cubic_and_keep_their_order(base):
    count = 1000
    even = torch.arange(count)
    made = biased(even, count)
    assert int(made.min()) == 1 and int(made.max()) == 999 and bool((made.diff() >= 0).all())
    for share in (0.1, 0.5, 0.9):  # P(t <= x T) of T (1 - u^3)
        assert float((made < share * count).double().mean()) == pytest.approx(1 - (1 - share) ** (1 / 3), abs=0.002)
    plain, own = (trainer(base, k).batch(LATENTS, 8.0, 5, 2) for k in (Trial, BiasedTimesteps))
    assert torch.equal(own["timestep"], biased(plain["timestep"], count)) and bool(
        (own["timestep"] > plain["timestep"]).all())


def test_the_anchor_loss_is_its_formula_and_not_the_mean_squared_error():
    predicted, target = (torch.randn(2, 3, 4, 1, 1, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    anchor, expected = torch.tensor([2, 0]), []
    for clip in range(2):
        for frame in range(4):
            off = predicted[clip, :, frame] - target[clip, :, frame]
            held = predicted[clip, :, anchor[clip]] - target[clip, :, anchor[clip]]
            expected.append(((2**0.5 * off - held) ** 2).mean())
    found = anchor_loss(predicted, target, anchor)
    assert float(found) == pytest.approx(float(torch.stack(expected).mean()), rel=1e-6)
    assert float(found) != pytest.approx(float(F.mse_loss(predicted, target)), rel=0.01)
    assert float(anchor_loss(predicted, target, anchor, beta=0.0)) == pytest.approx(
        float(F.mse_loss(predicted, target)), rel=1e-6)
    # an error that all frames have in common counts for (sqrt(2) - 1)^2 of itself
    shifted = target + torch.randn(2, 3, 1, 1, 1, generator=torch.Generator().manual_seed(2))
    assert float(anchor_loss(shifted, target, anchor)) == pytest.approx(
        (2**0.5 - 1) ** 2 * float(F.mse_loss(shifted, target)), rel=1e-4)


def test_the_anchor_trial_adds_its_loss_to_eq_2_and_draws_every_frame(base):
    one, plain = trainer(base, AnchorLoss), trainer(base, Trainer)
    given, seen = [], []
    for each in (one, plain):
        each.restore(None)
        each.descend = lambda batch, *_: given.append(batch) or (0.0, 0.0, 0.0)
    for step in range(12):
        one.step(LATENTS, 8.0, 5, step)
        seen += given[-1]["anchor"].tolist()
    assert set(seen) == set(range(SETTINGS.frames))
    one.step(LATENTS, 8.0, 5, 0)
    plain.step(LATENTS, 8.0, 5, 0)
    with_anchor, without = given[-2:]
    assert all(torch.equal(with_anchor[key], without[key]) for key in without)
    assert torch.equal(with_anchor["anchor"], given[0]["anchor"]), "a function of seed and step"
    with torch.no_grad():
        first = plain.loss(without, plain.prompt_embeds.expand(3, -1, -1))
        predicted = one.model(with_anchor["sample"], with_anchor["timestep"], one.prompt_embeds.expand(3, -1, -1),
                              fps=with_anchor["fps"]).sample
        both = one.loss(with_anchor, one.prompt_embeds.expand(3, -1, -1))
    second = anchor_loss(predicted, with_anchor["target"], with_anchor["anchor"])
    assert float(both) == pytest.approx(float(first + second), rel=1e-5) and float(second) > 0
