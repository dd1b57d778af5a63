"""The inpainting U-Net of lnm-mini, its noise schedule, and its training."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from lnm.demo.mini.autoencoder import LATENT_CHANNELS
from lnm.demo.mini.batch import Batch, Pictures, draw_batch
from lnm.demo.mini.loop import loop
from lnm.demo.mini.optimisers import autocast, muon_and_adamw, update_in_round
from lnm.demo.mini.recipe import SIZE, schedule
from lnm.demo.mini.windows import transform_of

if TYPE_CHECKING:
    from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel


def new_unet() -> UNet2DConditionModel:
    """UNet2DConditionModel with 2C+1 input channels, as Stable Diffusion inpainting has."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=SIZE // 8, in_channels=2 * LATENT_CHANNELS + 1, out_channels=LATENT_CHANNELS, layers_per_block=1,
        block_out_channels=(80, 128, 160), down_block_types=("CrossAttnDownBlock2D",) * 2 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 2, cross_attention_dim=128, attention_head_dim=4,
        norm_num_groups=16)


def new_scheduler() -> DDIMScheduler:
    """Velocity prediction down to a signal of nothing (Salimans & Ho 2022; Lin et al. 2024).

    With Stable Diffusion's own noise prediction a model this small took its colours from the mean of the noise, which
    never quite hides the picture: every frame of a film had colours of its own.
    """
    from diffusers import DDIMScheduler

    # beta_start: the last of 15 steps begins at a noise of 0.12, with Stable Diffusion's 0.00085 at 0.28, where the
    # finest channels are lost already and would come out as their mean
    return DDIMScheduler(num_train_timesteps=1000, beta_start=0.0001, beta_end=0.012, beta_schedule="scaled_linear",
                         clip_sample=False, set_alpha_to_one=True, steps_offset=0, prediction_type="v_prediction",
                         rescale_betas_zero_snr=True, timestep_spacing="trailing")


def weighed(error: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean square of `error` (B, C, h, w), four times as much in cells on either side of an edge of `mask`
    (B, 1, h, w); and that of its means over 2x2, 4x4 and 8x8 cells, times 2, 4 and 8 (the multiscale loss of Hoogeboom
    et al., "simple diffusion", 2023, the other way up).

    The best prediction stays the mean; but a hue that does not go on hardly shows in a plain mean square, which is
    nearly all fine texture; half pictures showed it at their seams.
    """
    edge = F.max_pool2d(mask, 3, 1, 1) + F.max_pool2d(-mask, 3, 1, 1)  # 1 where the 3x3 cells hold both
    fine = ((1 + 3 * edge) * error.square()).mean()
    return fine + sum(2**k * F.avg_pool2d(error, 2**k).square().mean() for k in (1, 2, 3))


def prediction_loss(models: torch.nn.ModuleDict, scheduler: DDIMScheduler, batch: Batch) -> torch.Tensor:
    """What "unet" and "text_encoder" of `models` miss of the velocities of `batch`, `weighed`."""
    device = models["unet"].device
    noisy = scheduler.add_noise(batch.latents, batch.noise, batch.timesteps)
    sample = torch.cat([noisy, batch.mask, batch.hint], 1).to(device, memory_format=torch.channels_last)
    with autocast(device.type):
        words = models["text_encoder"](batch.ids.to(device)).last_hidden_state
        predicted = models["unet"](sample, batch.timesteps.to(device), words).sample
    velocity = scheduler.get_velocity(batch.latents, batch.noise, batch.timesteps).to(device)
    return weighed(predicted.float() - velocity, batch.mask.to(device))


def train_unet(work: Path, recipe: dict, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, vae: AutoencoderDC,
               pictures: Pictures, carried: bool) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Train `unet` to predict velocities in the latents of `vae`; returns it and the text encoder, averages over steps.

    carried: the two know latents like these already: recipe["carried"] says how, and the text encoder stands still.
    Without it both learn, by recipe["unet"]. Goes on from `work`/unet.safetensors where it was interrupted.
    """
    from diffusers.models.attention_processor import AttnProcessor

    device = "cuda" if torch.cuda.is_available() else "cpu"
    # a core takes 1.1 s for a step's passes through it, and 1.65 s with torch's fused attention, for heads this small
    unet.set_attn_processor(AttnProcessor())
    part = schedule(recipe["carried" if carried else "unet"])
    unet = unet.float().to(memory_format=torch.channels_last).requires_grad_(True).train()
    text_encoder = text_encoder.float().requires_grad_(not carried)
    models = torch.nn.ModuleDict({"unet": unet, "text_encoder": text_encoder}).to(device)
    smooth = copy.deepcopy(models).requires_grad_(False).eval()
    optimizers = muon_and_adamw(models["unet"] if carried else models, "embedding|conv_in|conv_out")
    scheduler, transform = new_scheduler(), transform_of(vae)  # one convolution: a tenth of the time of the encoder

    def take(step: int) -> float:
        loss = prediction_loss(models, scheduler, draw_batch(recipe, step, pictures, transform))
        value = update_in_round(loss, optimizers, [part], step)
        decay = min(recipe["ema"], (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(smooth.parameters()), list(models.parameters()), 1 - decay)
        return value

    loop("unet", work, {"fast": models, "smooth": smooth}, optimizers, part["steps"], take)
    return smooth["unet"], smooth["text_encoder"]
