"""Samplers keep the noise schedule that they are asked for, and one that cannot says so."""

import logging

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler

from lnm.errors import UserError
from lnm.schedulers import SCHEDULERS, make_scheduler, schedule_of, with_schedule

BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
ZERO_SIGNAL = dict(BETAS, rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing")


def base(**changes):
    return DDIMScheduler(**{**BETAS, **changes})


@pytest.mark.parametrize("schedule", ["checkpoint", "linear", "scaled_linear", "cosine"])
def test_beta_schedules(schedule):
    betas = make_scheduler(base(), schedule).betas
    if schedule in ("checkpoint", "scaled_linear"):
        want = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    elif schedule == "linear":
        want = torch.linspace(0.00085, 0.012, 1000)
    else:
        s = torch.arange(1001, dtype=torch.float64) / 1000
        bar = torch.cos((s + 0.008) / 1.008 * torch.pi / 2) ** 2  # Nichol & Dhariwal 2021, eq. 17
        want = (1 - bar[1:] / bar[:-1]).clamp(max=0.999).float()
    torch.testing.assert_close(betas, want, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_every_sampler_has_the_checkpoints_betas(kind):
    made = make_scheduler(base(), kind=kind)
    assert type(made).__name__ == SCHEDULERS[kind]
    torch.testing.assert_close(made.betas, base().betas)


@pytest.mark.parametrize("kind", [k for k in SCHEDULERS if k != "pndm"])
def test_zero_terminal_signal_survives_the_change_of_sampler(kind):
    made = make_scheduler(DDIMScheduler(**ZERO_SIGNAL), kind=kind)
    assert made.alphas_cumprod[999] < 1e-6 and made.config.prediction_type == "v_prediction"
    made.set_timesteps(15)
    assert made.timesteps[0] == 999  # pure noise is where such a checkpoint starts


def test_pndm_refuses_zero_terminal_signal_in_one_line_and_calls_once_more_than_it_has_steps():
    with pytest.raises(UserError, match="sample.scheduler: pndm cannot keep.*zero_snr.*ddim, euler") as error:
        make_scheduler(DDIMScheduler(**ZERO_SIGNAL), kind="pndm")
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="sample.scheduler: pndm"):
        with_schedule(PNDMScheduler(**{k: v for k, v in BETAS.items() if k != "clip_sample"}),
                      schedule_of(DDIMScheduler(**ZERO_SIGNAL)))
    allowed = make_scheduler(base(), kind="pndm")
    allowed.set_timesteps(15)
    assert len(allowed.timesteps) == 16


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_another_schedule_reaches_every_sampler_whatever_its_configuration_left_to_defaults(kind):
    sampler = make_scheduler(base(), kind=kind)
    wanted = schedule_of(DDIMScheduler(beta_start=0.001, beta_end=0.02, beta_schedule="linear",
                                       prediction_type="v_prediction"))
    made = with_schedule(sampler, wanted)
    assert type(made) is type(sampler)
    torch.testing.assert_close(made.betas, torch.linspace(0.001, 0.02, 1000))
    assert schedule_of(made) == wanted
    again = make_scheduler(made, kind="ddim")  # and on to the next sampler
    torch.testing.assert_close(again.betas, torch.linspace(0.001, 0.02, 1000))
    assert again.config.prediction_type == "v_prediction" and not again.config.clip_sample


def test_a_key_that_the_configuration_had_by_default_can_be_changed():
    plain = base()  # rescale_betas_zero_snr and prediction_type stand at diffusers' defaults
    made = with_schedule(plain, {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"})
    assert made.alphas_cumprod[999] == 0 and made.config.prediction_type == "v_prediction"


def test_what_a_sampler_has_by_default_is_each_samplers_own():
    plain = base()  # DDIM's default timestep_spacing is "leading", DPM-Solver's "linspace"
    assert make_scheduler(plain, kind="dpm++").config.timestep_spacing == "linspace"
    assert with_schedule(make_scheduler(plain, kind="dpm++"), {}).config.timestep_spacing == "linspace"
    told = base(timestep_spacing="trailing")
    assert make_scheduler(told, kind="dpm++").config.timestep_spacing == "trailing"


@pytest.mark.parametrize("kind", [None, *SCHEDULERS])
def test_latents_are_never_clamped(kind):
    sampler = DDIMScheduler(**{k: v for k, v in BETAS.items() if k != "clip_sample"})  # diffusers' default is True
    assert sampler.config.clip_sample
    sampler = with_schedule(sampler, {}) if kind is None else make_scheduler(sampler, kind=kind)
    assert not DDIMScheduler.from_config(sampler.config).config.clip_sample  # nor when the user changes it himself
    ddim = make_scheduler(sampler, kind="ddim")
    ddim.set_timesteps(10)
    far = torch.full((1, 4, 2, 2), 9.0)
    step = ddim.step(torch.zeros_like(far), ddim.timesteps[-1], far)
    assert step.pred_original_sample.min() > 8


def test_trained_betas_travel_and_another_schedule_takes_their_place():
    trained = base(trained_betas=[0.1, 0.2, 0.3], num_train_timesteps=3)
    schedule = schedule_of(trained)
    assert schedule["trained_betas"] == pytest.approx([0.1, 0.2, 0.3])
    torch.testing.assert_close(with_schedule(base(), schedule).betas, torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(with_schedule(trained, schedule_of(base())).betas, base().betas)
    assert make_scheduler(trained, "linear").betas[0] == pytest.approx(0.00085)


def test_a_schedule_is_plain_values_of_a_sampler_that_knows_less_too():
    schedule = schedule_of(PNDMScheduler(beta_schedule="linear", skip_prk_steps=True))
    assert schedule == {"num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
                        "trained_betas": None, "rescale_betas_zero_snr": False, "prediction_type": "epsilon"}


def test_no_key_is_called_unexpected(caplog):
    logging.getLogger("diffusers").propagate = True
    diffusers.utils.logging.enable_propagation()
    try:
        for kind in SCHEDULERS:
            with_schedule(make_scheduler(base(), kind=kind), schedule_of(base()))
        with_schedule(EulerDiscreteScheduler(beta_schedule="linear"), schedule_of(base()))
    finally:
        diffusers.utils.logging.disable_propagation()
    assert "not expected" not in caplog.text
