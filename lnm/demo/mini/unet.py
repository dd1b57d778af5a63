"""The inpainting U-Net of lnm-mini, its noise schedule, and its training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from lnm.demo.mini.autoencoder import LATENT_CHANNELS, PATCH
from lnm.demo.mini.batch import Batch, draw_batch
from lnm.demo.mini.loop import loop
from lnm.demo.mini.optimisers import autocast, muon_and_adamw, update_in_round
from lnm.demo.mini.recipe import SIZE, round_of, total_steps
from lnm.demo.mini.text import new_text_encoder, tokenize
from lnm.latents import encode_pixels

if TYPE_CHECKING:
    from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer


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


@torch.no_grad()
def patch_basis(vae: AutoencoderDC) -> torch.Tensor:
    """What each channel of a latent, before scaling, adds to the pixels of its patch, (C, 3, 8, 8): the inverse of the
    linear encoder."""
    count = 3 * PATCH**2
    patches = torch.cat([torch.zeros(1, count), torch.eye(count)]).view(-1, 3, PATCH, PATCH)
    seen = encode_pixels(vae, patches.to(vae.device)).flatten(1).cpu()
    return torch.linalg.pinv((seen[1:] - seen[:1]).double()).float().view(-1, *patches.shape[1:])


def coarse_error(error: torch.Tensor, basis: torch.Tensor, mask: torch.Tensor, seams: float = 0) -> torch.Tensor:
    """The mean square of `error` (B, C, h, w) averaged over 2x2, 4x4 and 8x8 cells, times 2, 4 and 8 (the multiscale
    loss of Hoogeboom et al., "simple diffusion", 2023, the other way up), and ten times that of its steps between
    pixels either side of a patch's edge; where that is an edge of `mask` (B, 1, h, w), `seams` times as much on top.

    The best prediction stays the mean; but a hue or an edge that does not go on hardly shows in a plain mean square,
    which is nearly all fine texture; half pictures showed it at their seams.
    """
    pooled = sum(2**k * F.avg_pool2d(error, 2**k).square().mean() for k in (1, 2, 3))
    left, right = (torch.einsum("bchw,cpi->bpihw", error, basis[..., i]) for i in (0, -1))
    top, bottom = (torch.einsum("bchw,cpi->bpihw", error, basis[..., i, :]) for i in (0, -1))
    across, down = right[..., :-1] - left[..., 1:], bottom[..., :-1, :] - top[..., 1:, :]
    across_by, down_by = (1 + seams * mask.diff(dim=d).abs().unsqueeze(1) for d in (-1, -2))
    return pooled + 5 * ((across_by * across.square()).mean() + (down_by * down.square()).mean())


def prediction_loss(models: torch.nn.ModuleDict, scheduler: DDIMScheduler, batch: Batch, part: dict,
                    basis: torch.Tensor) -> torch.Tensor:
    """The mean square of what "unet" and "text_encoder" of `models` miss of the velocities of `batch`; and, in a round
    that weighs what is coarse, its `coarse_error`."""
    device = basis.device
    noisy = scheduler.add_noise(batch.latents, batch.noise, batch.timesteps)
    sample = torch.cat([noisy, batch.mask, batch.hint], 1).to(device, memory_format=torch.channels_last)
    with autocast(device.type):
        words = models["text_encoder"](batch.ids.to(device)).last_hidden_state
        predicted = models["unet"](sample, batch.timesteps.to(device), words).sample
    predicted = predicted.float()
    velocity = scheduler.get_velocity(batch.latents, batch.noise, batch.timesteps).to(device)
    loss = F.mse_loss(predicted, velocity)
    if part.get("coarse"):
        loss = loss + coarse_error(predicted - velocity, basis, batch.mask.to(device), part.get("seams", 0))
    return loss


def train_unet(work: Path, recipe: dict, latents: dict[str, torch.Tensor], captions: list[str],
               tokenizer: CLIPTokenizer, basis: torch.Tensor) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Velocity prediction on latents; the mask holds everything, a box, what is beyond a line, or nothing (a round's
    "masks" says how often). Returns the U-Net and the text encoder that learns with it, both averages over steps."""
    torch.manual_seed(recipe["seed"] + 1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    unet = new_unet().to(device, memory_format=torch.channels_last)
    models = torch.nn.ModuleDict({"unet": unet, "text_encoder": new_text_encoder(tokenizer).to(device)})
    optimizers = muon_and_adamw(models, "embedding|conv_in|conv_out")
    smooth = torch.nn.ModuleDict({"unet": new_unet(), "text_encoder": new_text_encoder(tokenizer)}).to(device)
    smooth.load_state_dict(models.state_dict())
    scheduler, basis, rounds = new_scheduler(), basis.to(device), recipe["unet_rounds"]
    tokens, empty = tokenize(tokenizer, captions), tokenize(tokenizer, [""])[0]

    def take(step: int) -> float:
        batch = draw_batch(recipe, step, latents, tokens, empty)
        loss = prediction_loss(models, scheduler, batch, round_of(rounds, step)[0], basis)
        value = update_in_round(loss, optimizers, rounds, step)
        decay = min(recipe["ema"], (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(smooth.parameters()), list(models.parameters()), 1 - decay)
        return value

    loop("unet", work, {"fast": models, "smooth": smooth}, optimizers, total_steps(rounds), take)
    return smooth["unet"].eval(), smooth["text_encoder"].eval()
