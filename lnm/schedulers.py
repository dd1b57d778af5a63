"""The samplers on offer, made with a checkpoint's own noise schedule or with another."""

from __future__ import annotations

import diffusers
import torch

from lnm.errors import UserError

SCHEDULERS = {"ddim": "DDIMScheduler", "euler": "EulerDiscreteScheduler", "euler_a": "EulerAncestralDiscreteScheduler",
              "dpm++": "DPMSolverMultistepScheduler", "pndm": "PNDMScheduler", "unipc": "UniPCMultistepScheduler"}
BETA_SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
# what decides which noise level a timestep has, and what the model predicts there
SCHEDULE_KEYS = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas",
                 "rescale_betas_zero_snr", "prediction_type")


def make_scheduler(base, beta_schedule: str = "checkpoint", kind: str = "ddim"):
    """A scheduler of diffusers with the configuration of `base`, another scheduler.

    beta_schedule: "checkpoint" keeps its betas; "linear" and "scaled_linear" run from its beta_start to its beta_end;
    "cosine" is that of Nichol & Dhariwal (2021). What the original Stable Diffusion code calls "linear" is diffusers'
    "scaled_linear". kind: a key of SCHEDULERS; "pndm" calls the U-Net once more than it has steps.
    Raises UserError for a sampler that cannot keep the schedule (PNDM knows no zero terminal signal).
    """
    changes = {} if beta_schedule == "checkpoint" else {"beta_schedule": BETA_SCHEDULES[beta_schedule]}
    if kind == "pndm":
        changes["skip_prk_steps"] = True  # Stable Diffusion's convention
    made = getattr(diffusers, SCHEDULERS[kind]).from_config(base.config, **changes)
    kept = diffusers.DDIMScheduler.from_config(base.config, **changes).alphas_cumprod
    if not torch.allclose(made.alphas_cumprod, kept, atol=1e-4):
        raise UserError(f"sample.scheduler: {kind} cannot keep this checkpoint's noise schedule (it leaves out "
                        f"rescale_betas_zero_snr); choose one of {', '.join(k for k in SCHEDULERS if k != kind)}")
    return made


def schedule_of(scheduler) -> dict:
    """The noise schedule of a scheduler, as plain values: what films must be sampled with after training on it."""
    found = {k: scheduler.config.get(k) for k in SCHEDULE_KEYS}
    return {k: v if isinstance(v, (int, float, str, bool, type(None))) else list(map(float, v)) for k, v in found.items()}


def with_schedule(scheduler, schedule: dict):
    """The same sampler with another noise schedule, as `schedule_of` gives it."""
    return type(scheduler).from_config({**scheduler.config, **schedule})
