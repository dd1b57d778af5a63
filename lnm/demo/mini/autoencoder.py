"""The autoencoder of `lnm-mini`: a small AutoencoderDC whose encoder is linear and whose decoder learns.

At downsampling 8 with 16 channels, 768 numbers of a window of 16x16 pixels become 16 (lnm/demo/mini/windows.py says how
and why windows overlap); the pixel-shuffling autoencoder of Chen et al., "Deep Compression Autoencoder" (2024) can be
set to compute it exactly. The encoder stays it: what a latent holds is plain, and the U-Net meets coarse channels that
are strong and fine ones that are weak, as in pixels. A masked box leaks half a cell: the latents beside it see its
outer 4 pixels, and no others. The decoder starts linear, as the best map of 3x3 cells, or as another checkpoint's, and
learns the rest from latents with some noise on them, for those that a U-Net makes are never quite an encoder's.
AutoencoderKL, whose decoder upsamples by repeating pixels, was 3 dB below the transform of blocks alone after as much
training on a CPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from lnm.demo.mini.loop import loop
from lnm.demo.mini.optimisers import adamw, autocast, update
from lnm.demo.mini.windows import around, fit, least_squares, pixels_last, transform_of, write_encoder
from lnm.latents import encode_pixels, to_tensor

if TYPE_CHECKING:
    from diffusers import AutoencoderDC

LATENT_CHANNELS = 16
PIXELS = 3 * 4  # channels of half resolution that carry a 2x2 patch
ANCHORS, LEVEL = slice(2 * PIXELS, 2 * PIXELS + 8), 6.0  # constant channels that keep the last RMS norm from acting


def new_vae() -> AutoencoderDC:
    """AutoencoderDC at downsampling 8 with 16 channels; full resolution holds one convolution. An encoder's block has 4
    times the channels of the one before, so that the shortcuts alone hand every pixel on."""
    from diffusers import AutoencoderDC

    return AutoencoderDC(
        latent_channels=LATENT_CHANNELS,
        encoder_block_out_channels=(16, 16, 64, 256), decoder_block_out_channels=(64, 64, 128, 128),
        encoder_layers_per_block=(0, 1, 1, 0), decoder_layers_per_block=(0, 2, 2, 3),
        encoder_qkv_multiscales=((),) * 4, decoder_qkv_multiscales=((),) * 4, encoder_out_shortcut=False,
        decoder_in_shortcut=False,
    )


def _centre(conv: torch.nn.Conv2d, rows: slice, weight: torch.Tensor, bias: torch.Tensor | float = 0.0) -> None:
    """Let output channels `rows` of a 3x3 convolution see their own pixel only, through `weight` (rows, in)."""
    conv.weight[rows] = 0
    conv.weight[rows, :weight.shape[1], 1, 1] = weight
    conv.bias[rows] = bias


@torch.no_grad()
def start_decoder(vae: AutoencoderDC, images: np.ndarray) -> None:
    """Let the decoder of `vae`, whose encoder is there, give `images`, uint8 (N, H, W, 3), back as well as a linear map
    of 3x3 cells can. Residual branches start at zero: all is linear."""
    decoder, x = vae.decoder, to_tensor(images)
    for module in decoder.modules():
        if hasattr(module, "conv2"):  # a residual block: x + norm(...)
            module.norm.weight.zero_()
            module.norm.bias.zero_()
    for conv in (decoder.conv_in, decoder.up_blocks[2][0].conv, decoder.up_blocks[1][0].conv, decoder.conv_out.conv):
        conv.weight.mul_(0.1)  # channels that the map does not use begin small
    latents = vae.encoder(x)  # (N, 16, h, w)
    _centre(decoder.conv_in, slice(0, LATENT_CHANNELS), torch.eye(LATENT_CHANNELS))
    hidden = decoder.conv_in(latents)
    up = decoder.up_blocks[2][0]
    # a 4x4 patch each of the four, as 48 channels
    wanted = F.pixel_unshuffle(F.pixel_unshuffle(x, 4), 2)  # (N, 48 * 4, h, w)
    through = hidden.repeat_interleave(up.repeats, 1)[:, :wanted.shape[1]]  # what its shortcut gives
    weight, bias = least_squares(around(hidden[:, :LATENT_CHANNELS]), pixels_last(wanted - through))
    up.conv.weight[:192] = 0
    up.conv.weight[:192, :LATENT_CHANNELS] = weight.T.unflatten(1, (LATENT_CHANNELS, 3, 3))
    up.conv.bias[:192] = bias
    hidden = decoder.up_blocks[2](hidden)  # (N, 128, H/4, W/4)
    up = decoder.up_blocks[1][0]
    pixels = F.pixel_unshuffle(F.pixel_unshuffle(x, 2), 2)  # (N, 12 * 4, H/4, W/4), of the picture itself
    guess, _ = least_squares(pixels_last(hidden[:, :48]), pixels_last(pixels))
    values = pixels_last(hidden[:, :48]) @ guess
    values = values.unflatten(0, hidden.shape[:1] + hidden.shape[2:]).permute(0, 3, 1, 2)
    level = torch.full_like(values[:, :8 * 4], LEVEL)
    wanted = torch.cat([values, -values, level], 1)  # both signs for the ReLU, and the anchors
    rows = wanted.shape[1]
    through = hidden.repeat_interleave(up.repeats, 1)[:, :rows]
    weight, bias = least_squares(pixels_last(hidden), pixels_last(wanted - through))
    _centre(up.conv, slice(0, rows), weight.T, bias)
    hidden = decoder.up_blocks[1](hidden)
    decoder.norm_out.weight[:] = hidden.square().mean(1).sqrt().mean()
    decoder.norm_out.bias.zero_()
    out = decoder.conv_out.conv
    both = torch.cat([torch.eye(PIXELS), -torch.eye(PIXELS), torch.zeros(PIXELS, out.in_channels - 2 * PIXELS)], 1)
    _centre(out, slice(None), both)


def _gradients(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def _texture(x: torch.Tensor) -> list[torch.Tensor]:
    """Root of the local energy of fine detail, per channel, at two scales: how rough, wherever exactly."""
    out = []
    for _ in range(2):
        low = F.avg_pool2d(x, 2)
        fine = x - F.interpolate(low, scale_factor=2.0, mode="nearest")
        out.append((F.avg_pool2d(fine.square(), 8, 4) + 1e-4).sqrt())
        x = low
    return out


def loss(y: torch.Tensor, x: torch.Tensor, recipe: dict) -> torch.Tensor:
    """L1 and squared error on pixels, L1 on their differences and on local roughness, so that water keeps its texture.
    y, x: (B, 3, H, W) in [-1, 1]."""
    total = F.l1_loss(y, x) + recipe["vae_mse"] * F.mse_loss(y, x)
    for dy, dx in zip(_gradients(y), _gradients(x), strict=True):
        total = total + recipe["vae_gradient"] * F.l1_loss(dy, dx)
    for ry, rx in zip(_texture(y), _texture(x), strict=True):
        total = total + recipe["vae_texture"] * F.l1_loss(ry, rx)
    return total


def step(vae: AutoencoderDC, images: np.ndarray, recipe: dict, index: int) -> torch.Tensor:
    """The loss of training step `index`: its crops, flips and latent noise follow from (seed, index)."""
    rng = np.random.default_rng([recipe["seed"], 1, index])
    crop = recipe["vae_crop"]
    rows = rng.integers(0, len(images), recipe["vae_batch"])
    corners = rng.integers(0, images.shape[1] - crop + 1, (len(rows), 2))
    batch = np.stack([images[r][y:y + crop, x:x + crop] for r, (y, x) in zip(rows, corners, strict=True)])
    if rng.random() < 0.5:
        batch = batch[:, :, ::-1]
    x = to_tensor(batch).to(vae.device, memory_format=torch.channels_last)
    with torch.no_grad():
        latents = encode_pixels(vae, x)
    generator = torch.Generator().manual_seed(recipe["seed"] * 1_000_003 + index)
    noise = torch.randn(latents.shape, generator=generator)
    level = torch.randn(len(latents), 1, 1, 1, generator=generator).abs()
    level = level * recipe["vae_noise"] / vae.config.scaling_factor
    return loss(vae.decode(latents + (level * noise).to(latents)).sample.float(), x, recipe)


def train_vae(work: Path, recipe: dict, to_fit: np.ndarray, images: np.ndarray,
              start: AutoencoderDC | None = None) -> AutoencoderDC:
    """Windows fitted to `to_fit`, then a decoder that learns on crops of `images`, all uint8 (N, H, W, 3).

    start: the autoencoder of another lnm-mini. The windows stay near to its encoder, its scaling factor stays, and its
    decoder is where the decoder begins; without it that is the best linear map.
    """
    torch.manual_seed(recipe["seed"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    vae = new_vae()
    windows = fit(work, recipe, to_fit, transform_of(start) if start else None)
    if start:
        vae.register_to_config(scaling_factor=start.config.scaling_factor)
        vae.decoder.load_state_dict(start.decoder.state_dict())
        write_encoder(vae, windows)
    else:
        few = to_fit[::max(1, len(to_fit) // recipe["vae_start"])]
        write_encoder(vae, windows)
        vae.register_to_config(scaling_factor=1 / windows(to_tensor(few)).std().item())
        start_decoder(vae, few)
    vae.encoder.requires_grad_(False)
    vae = vae.to(device, memory_format=torch.channels_last)
    part = recipe["decoder"]
    optimizer = adamw(vae.decoder.parameters(), part["lr"], 1e-4, (0.9, 0.99))

    def take(index: int) -> float:
        with autocast(device):
            loss = step(vae, images, recipe, index)
        return update(loss, [optimizer], index, part["steps"], part["warmup"], clip=0.5)

    loop("vae", work, {"decoder": vae.decoder}, [optimizer], part["steps"], take)
    return vae.eval()
