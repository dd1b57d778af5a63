"""The samplers on offer, made with a checkpoint's own noise schedule or with another."""

from __future__ import annotations

from typing import Any

import diffusers
import torch

from lnm.errors import UserError

SCHEDULERS = {"ddim": "DDIMScheduler", "euler": "EulerDiscreteScheduler", "euler_a": "EulerAncestralDiscreteScheduler",
              "dpm++": "DPMSolverMultistepScheduler", "pndm": "PNDMScheduler", "unipc": "UniPCMultistepScheduler"}
BETA_SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
# what decides which noise level a timestep has, and what the model predicts there
SCHEDULE_KEYS = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas",
                 "rescale_betas_zero_snr", "prediction_type")


def make_scheduler(base: Any, beta_schedule: str = "checkpoint", kind: str = "ddim") -> Any:
    """A scheduler of diffusers with the configuration of `base`, another scheduler.

    beta_schedule: "checkpoint" keeps its betas; "linear" and "scaled_linear" run from its beta_start to its beta_end;
    "cosine" is that of Nichol & Dhariwal (2021). What the original Stable Diffusion code calls "linear" is diffusers'
    "scaled_linear". kind: a key of SCHEDULERS; "pndm" calls the U-Net once more than it has steps.
    Raises UserError for a sampler that cannot keep the schedule (PNDM knows no zero terminal signal).
    """
    changes: dict[str, Any] = {} if beta_schedule == "checkpoint" else {"beta_schedule": BETA_SCHEDULES[beta_schedule],
                                                        "trained_betas": None}
    if kind == "pndm":
        changes["skip_prk_steps"] = True  # Stable Diffusion's convention
    return _made(getattr(diffusers, SCHEDULERS[kind]), base.config, changes)


def schedule_of(scheduler: Any) -> dict:
    """The noise schedule of a scheduler, as plain values (SCHEDULE_KEYS): what films must be sampled with after
    training on it."""
    found = {k: scheduler.config.get(k) for k in SCHEDULE_KEYS}
    found["rescale_betas_zero_snr"] = bool(found["rescale_betas_zero_snr"])  # None for a sampler that does not know it
    return {k: v if isinstance(v, int | float | str | None) else list(map(float, v)) for k, v in found.items()}


def with_schedule(scheduler: Any, schedule: dict) -> Any:
    """The same sampler with another noise schedule, as `schedule_of` gives it; {} changes nothing. UserError as in
    `make_scheduler`."""
    return _made(type(scheduler), scheduler.config, schedule)


def _made(kind: Any, config: Any, changes: dict) -> Any:
    """A scheduler of class `kind` from a configuration with changes; it must have the betas that these describe."""
    # latents are not confined to [-1, 1]; a configuration that does not say so gets diffusers' default, which clamps
    changes = {"clip_sample": False, **changes}
    # diffusers leaves out what a configuration has by default, even where it has been changed since
    defaults = [k for k in config.get("_use_default_values", ()) if k not in changes]
    changed = {**config, **changes, "_use_default_values": defaults}
    made = kind.from_config(changed)
    if not torch.allclose(made.alphas_cumprod, diffusers.DDIMScheduler.from_config(changed).alphas_cumprod, atol=1e-4):
        name = next((k for k, v in SCHEDULERS.items() if v == kind.__name__), kind.__name__)
        raise UserError(f"sample.scheduler: {name} cannot keep this noise schedule (it knows no rescale_betas_zero_snr)"
                        f"; choose one of {', '.join(k for k in SCHEDULERS if k not in (name, 'pndm'))}")
    return made
