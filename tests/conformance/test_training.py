"""The training on small models against references."""

import pytest
import torch
from conformance import training


def test_a_step_moves_time_alone():
    steps = training.train_two_steps()
    assert steps["spatial_changed"] == 0 < steps["temporal_changed"] == steps["temporal"]


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear"])
def test_training_batches_follow_equation_1(schedule, monkeypatch):
    assert training.eq1_error(schedule) < 1e-5
    from diffusers import DDIMScheduler

    add_noise = DDIMScheduler.add_noise
    monkeypatch.setattr(DDIMScheduler, "add_noise", lambda self, x, noise, t: 0.9 * add_noise(self, x, noise, t))
    assert training.eq1_error(schedule) > 0.01


@pytest.mark.parametrize("kind", ["ddim", "dpm++"])
def test_a_sampler_that_estimates_otherwise_is_seen(kind, monkeypatch):
    assert training.x0_error(kind) < 1e-4
    sampler = training.sampler
    monkeypatch.setattr(training, "sampler", lambda schedule, kind: sampler("linear", kind))  # other betas than it says
    assert training.x0_error(kind) > 0.01


def test_training_is_conditioned_on_the_clips_first_frame_under_a_full_mask(monkeypatch):
    assert training.condition_error() < 1e-6
    from lnm import batches

    noised = batches.noised

    def last(clean, *rest):  # conditioned on the last frame instead
        batch = noised(clean, *rest)
        batch["sample"][:, -clean.shape[1]:] = clean[:, :, -1:].expand_as(clean)
        return batch

    monkeypatch.setattr(batches, "noised", last)
    assert training.condition_error() > 0.1


def test_consecutive_means_stride_one():
    assert training.consecutive_share(5, [1]) == 1 and training.consecutive_share(5, [2]) == 0
    assert 0.4 < training.consecutive_share(5, [1, 2]) < 0.6


def test_lion_keeps_one_number_a_weight_and_moves_each_alike():
    lion, adamw = training.optimizer_bytes("lion"), training.optimizer_bytes("adamw")
    assert lion["state"] == 4 * lion["parameters"]
    assert 8 * adamw["parameters"] < adamw["state"] < 8.1 * adamw["parameters"]  # and a step count a tensor
    assert training.update_spread("lion") == pytest.approx(1, abs=1e-6)
    assert training.update_spread("adamw") > 10 > training.update_spread("lion", 0.01) > 1.01


def test_the_squared_error_prefers_a_ramp():
    rough = training.mse_smoothness(length=32, count=256)
    places = torch.randint(1, 32, (256, 1), generator=torch.Generator().manual_seed(0))
    mean = (torch.arange(32) >= places).float().mean(0)  # the minimum of the squared error, in closed form
    assert rough["mse"] == pytest.approx(float(mean.diff().square().sum()), abs=1e-3)
    assert rough["edge"] == 1 and rough["mse"] < 0.2 * rough["l1"]
