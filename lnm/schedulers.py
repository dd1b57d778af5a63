"""The samplers on offer, made with a checkpoint's own noise schedule or with another."""

from __future__ import annotations

SCHEDULERS = {"ddim": "DDIMScheduler", "euler": "EulerDiscreteScheduler", "euler_a": "EulerAncestralDiscreteScheduler",
              "dpm++": "DPMSolverMultistepScheduler", "pndm": "PNDMScheduler", "unipc": "UniPCMultistepScheduler"}


def make_scheduler(base, beta_schedule: str = "prior", kind: str = "ddim"):
    """A scheduler of diffusers with the prior's configuration; beta_schedule "prior" keeps its betas, else "linear",
    "scaled_linear" (both from its beta_start to its beta_end) or "cosine" (Nichol & Dhariwal 2021)."""
    import diffusers

    names = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
    changes = {} if beta_schedule == "prior" else {"beta_schedule": names[beta_schedule]}
    if kind == "pndm":
        changes["skip_prk_steps"] = True  # Stable Diffusion's convention: one U-Net call a step
    return getattr(diffusers, SCHEDULERS[kind]).from_config(base.config, **changes)
