"""Fine-tunes whose steps are others than `lnm.training.Trainer`'s: correlated noise, biased timesteps, a second loss.

Clips, prompts left out, timesteps and noise are drawn as for every other arm and then changed, so that two arms differ
by the change alone.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from lnm.ablations.noise import INDEPENDENT, correlated
from lnm.batches import make_batch
from lnm.latents import Clips
from lnm.training import Trainer

BETA = 1.0  # of the anchor, as in MotionDirector's code
ANCHOR = 14  # tells the anchors' draws from those of the batch, which are a function of (seed, step, rank)


class Trial(Trainer):
    """As its parent, by a batch whose noise and timesteps a subclass may change."""

    noise = INDEPENDENT

    def timesteps(self, t: torch.Tensor) -> torch.Tensor:
        """Timesteps (B,) as they are trained on, of those drawn evenly."""
        return t

    def batch(self, latents: Clips, fps: float, seed: int, step: int) -> dict[str, torch.Tensor]:
        """`lnm.batches.make_batch` with this noise and these timesteps."""
        return make_batch(latents, self.settings, fps, self.scheduler, seed, step, self.accelerator.process_index,
                          lambda noise, t: (correlated(noise, self.noise), self.timesteps(t)))

    def step(self, latents: Clips, fps: float, seed: int, step: int) -> tuple[float, float, float]:
        return self.descend(self.batch(latents, fps, seed, step), self.prompt_embeds, step)


class MixedNoise(Trial):
    """All frames of a clip have a part of their noise in common."""

    noise = "mixed"


class ProgressiveNoise(Trial):
    """A frame's noise is that of the frame before in part."""

    noise = "progressive"


class BiasedTimesteps(Trial):
    """Trains where noise is high, and motion is settled, more often than where it is low."""

    def timesteps(self, t: torch.Tensor) -> torch.Tensor:
        return biased(t, self.scheduler.config.num_train_timesteps)


def biased(t: torch.Tensor, count: int) -> torch.Tensor:
    """Timesteps drawn evenly from 0 to count - 1 -> timesteps distributed as count (1 - u^3) for even u in [0, 1]: the
    cubic sampling of Mou et al. (2023), "T2I-Adapter". The later half has 79% of them; what was later stays later."""
    left = 1 - (t.double() + 0.5) / count
    return (count * (1 - left**3)).long().clamp(max=count - 1)


class AnchorLoss(Trainer):
    """Eq. 2 and, beside it, MotionDirector's appearance-debiased loss (Zhao et al. 2023)."""

    def step(self, latents: Clips, fps: float, seed: int, step: int) -> tuple[float, float, float]:
        rank = self.accelerator.process_index
        batch = make_batch(latents, self.settings, fps, self.scheduler, seed, step, rank)
        clips, _, frames = batch["target"].shape[:3]
        drawn = np.random.default_rng([seed, step, rank, ANCHOR]).integers(frames, size=clips)
        return self.descend({**batch, "anchor": torch.from_numpy(drawn)}, self.prompt_embeds, step)

    def loss(self, batch: dict[str, torch.Tensor], embeddings: torch.Tensor) -> torch.Tensor:
        with self.accelerator.autocast():
            predicted = self.model(batch["sample"], batch["timestep"], embeddings, fps=batch["fps"]).sample
        predicted, target = predicted.float(), batch["target"].float()
        return F.mse_loss(predicted, target) + anchor_loss(predicted, target, batch["anchor"])


def anchor_loss(predicted: torch.Tensor, target: torch.Tensor, anchor: torch.Tensor,
                beta: float = BETA) -> torch.Tensor:
    """Mean squared error of sqrt(beta^2 + 1) x - beta x_anchor, both for x the prediction and x the target, (B, C, F,
    h, w): what all frames have in common counts less, what differs between them more.

    anchor: a frame of each clip, (B,). In the paper x is noise; here it is what the checkpoint predicts, as in the
    paper's code.
    """
    def debiased(x: torch.Tensor) -> torch.Tensor:
        held = x[torch.arange(len(x), device=x.device), :, anchor]  # (B, C, h, w)
        return (beta**2 + 1) ** 0.5 * x - beta * held[:, :, None]

    return F.mse_loss(debiased(predicted), debiased(target))
