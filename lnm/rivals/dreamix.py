"""Dreamix's mixed fine-tuning, approximated: no code of it is public. Molad et al. 2023, "Dreamix: Video Diffusion
Models are General Video Editors", section 4.2.

What is taken over is the objective: the clip in order, mixed with its frames out of order and the temporal layers
masked, by all weights of the U-Net. What is not: the cascade of Imagen Video, whose place our own temporal layers on
the checkpoint take, and the start from a degraded source video, which a still does not give.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from lnm.latents import Clips
from lnm.pseudo3d import TemporalAttention, TemporalConv, bare
from lnm.training import Trainer
from lnm.unet import UNetPseudo3DConditionModel

CLIPS = 0.5  # share of the steps that see the clip in order


class DreamixUNet(UNetPseudo3DConditionModel):
    """Our inflated U-Net with nothing frozen. It has to be so: with temporal layers masked, a step on single frames
    teaches spatial layers or nothing."""

    def temporal_parameters(self) -> dict[str, nn.Parameter]:
        """Name -> parameter of all that trains: everything."""
        return {bare(k): p for k, p in self.named_parameters()}

    def freeze_spatial(self) -> None:
        """Nothing is frozen."""
        self.requires_grad_(True)


class MixedTrainer(Trainer):
    """Steps on the clip, and steps on as many of its frames at random places, each by itself."""

    def step(self, latents: Clips, fps: float, seed: int, step: int) -> tuple[float, float, float]:
        rng = np.random.default_rng([seed, step, self.accelerator.process_index, 1])  # make_batch has one without the 1
        if rng.random() < CLIPS:
            return super().step(latents, fps, seed, step)
        latents = torch.cat(latents) if isinstance(latents, list) else latents
        shuffled = latents[torch.from_numpy(rng.permutation(len(latents)))]
        with masked_in_time(self.unet):
            return super().step(shuffled, fps, seed, step)


@contextmanager
def masked_in_time(unet: UNetPseudo3DConditionModel) -> Iterator[None]:
    """The U-Net without what is temporal in it, the fps embedding included: every frame by itself."""
    def same(x: torch.Tensor) -> torch.Tensor:
        return x

    def nothing(**_: Any) -> None:
        return None

    layers = [m for m in unet.modules() if isinstance(m, TemporalConv | TemporalAttention)]
    for layer in layers:
        layer.__dict__["forward"] = same
    unet.__dict__["get_class_embed"] = nothing
    try:
        yield
    finally:
        for layer in layers:
            del layer.__dict__["forward"]
        del unet.__dict__["get_class_embed"]
