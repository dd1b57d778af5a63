"""Held-out loss that can be compared between arms, whatever noise schedule and how many frames they were trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from lnm.ablations.noise import INDEPENDENT, correlated
from lnm.batches import noised
from lnm.model import InflatedModel
from lnm.settings import Finetune
from lnm.validation import grid, samples


@torch.no_grad()
def fixed_loss(pipe: InflatedModel, held: torch.Tensor, prompt: str, fps: float, settings: Finetune, frames: int,
               levels: Any, kind: str = INDEPENDENT) -> float:
    """Mean squared error of eq. 2 over `lnm.validation.grid`, of samples of `frames` frames, in float32.

    held: latents (N, C, h, w) at `fps` that were not trained on. settings: of the arm, whose mask it is shown. levels:
    a scheduler whose noise levels the grid's timesteps mean. An arm of another schedule (`pipe.scheduler`) is asked at
    its own timestep with the nearest level, so that all arms are asked for the same target under the same noise. kind:
    of the grid's noise over frames (`lnm.ablations.noise.NOISES`), whatever the arm was trained on.
    """
    looked = settings.model_copy(update={"frames": frames, "still_noise": 0.0})
    own = pipe.scheduler
    embeds = pipe.encode_prompt([prompt])
    rate = torch.tensor([fps / min(looked.strides)])
    losses = []
    for i, clean in enumerate(samples(held, looked)):
        for noise, t, generator in grid(clean, i, levels.config.num_train_timesteps):
            noise = correlated(noise, kind)
            batch = noised(clean, noise, same_level(own, levels, t), looked, own, generator)
            batch = {k: v.to(pipe.device) for k, v in batch.items()}
            seen = pipe.unet(batch["sample"], batch["timestep"], embeds, fps=rate.to(pipe.device)).sample
            losses.append(F.mse_loss(seen.float(), batch["target"].float()).item())
    return float(np.mean(losses))


def same_level(own: Any, other: Any, t: torch.Tensor) -> torch.Tensor:
    """The timestep (1,) of the scheduler `own` whose share of signal is nearest to that of `other` at t (1,)."""
    return (own.alphas_cumprod - other.alphas_cumprod[t]).abs().argmin()[None]
