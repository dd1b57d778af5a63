"""The autoencoder of `lnm-mini`: a small AutoencoderDC whose encoder is linear and whose decoder learns.

At downsampling 8 with 16 channels, 192 numbers of an 8x8 patch become 16. The best linear way is the Karhunen-Loève
transform (PCA of patches), and the pixel-shuffling autoencoder of Chen et al., "Deep Compression Autoencoder" (2024)
can be set to compute it exactly. The encoder stays it: what a latent holds is plain, a masked box leaks a thousandth
into the patches beside it, and the U-Net meets coarse channels that are strong and fine ones that are weak, as in
pixels. The decoder starts as the inverse transform and learns what lies between patches, from latents with some noise
on them, for those that a U-Net makes are never quite an encoder's. AutoencoderKL, whose decoder upsamples by repeating
pixels, was 3 dB below the transform alone after as much training on a CPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from lnm.demo.mini.loop import loop
from lnm.demo.mini.optimisers import adamw, autocast, update
from lnm.demo.mini.recipe import round_of, total_steps
from lnm.latents import encode_pixels, to_tensor

if TYPE_CHECKING:
    from diffusers import AutoencoderDC

LATENT_CHANNELS, PATCH = 16, 8
# Channel k is divided by its deviation to this power: 1 makes all alike, 0 keeps the transform's own. Near 1 fine
# channels weigh as much as coarse ones and patches do not agree; at 0 they drown in the last steps' noise.
WHITENING = 0.3
PIXELS = 3 * 4  # channels of half resolution that carry a 2x2 patch
ANCHORS, LEVEL = slice(2 * PIXELS, 2 * PIXELS + 8), 6.0  # constant channels that keep the last RMS norm from acting


def new_vae() -> AutoencoderDC:
    """AutoencoderDC at downsampling 8 with 16 channels; full resolution holds one convolution."""
    from diffusers import AutoencoderDC

    return AutoencoderDC(
        latent_channels=LATENT_CHANNELS,
        encoder_block_out_channels=(16, 16, 64, 128), decoder_block_out_channels=(64, 64, 128, 128),
        encoder_layers_per_block=(0, 1, 1, 0), decoder_layers_per_block=(0, 2, 2, 3),
        encoder_qkv_multiscales=((),) * 4, decoder_qkv_multiscales=((),) * 4, encoder_out_shortcut=False,
        decoder_in_shortcut=False,
    )


def _centre(conv: torch.nn.Conv2d, rows: slice, weight: torch.Tensor, bias: torch.Tensor | float = 0.0) -> None:
    """Let output channels `rows` of a 3x3 convolution see their own pixel only, through `weight` (rows, in)."""
    conv.weight[rows] = 0
    conv.weight[rows, :weight.shape[1], 1, 1] = weight
    conv.bias[rows] = bias


def _pixels_last(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 2, 3, 1).flatten(0, 2)  # (B, C, h, w) -> (B h w, C)


def _fit(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Least squares y = x w + b in float64, a little ridge -> w (in, out), b (out)."""
    x, y = x.double(), y.double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    gram = x.T @ x
    w = torch.linalg.solve(gram + 1e-6 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype), x.T @ y)
    return w.float(), (mean_y - mean_x @ w).float()


@torch.no_grad()
def linear_start(vae: AutoencoderDC, images: np.ndarray) -> None:
    """Set `vae` to the Karhunen-Loève transform of 8x8 patches of `images`, uint8 (N, H, W, 3), its scaling factor to
    the latents' deviation; the decoder also uses the 8 patches around.

    Residual branches start at zero: all is linear.
    """
    for module in vae.modules():
        if hasattr(module, "conv2"):  # a residual block: x + norm(...)
            module.norm.weight.zero_()
            module.norm.bias.zero_()
    encoder, decoder = vae.encoder, vae.decoder
    x = to_tensor(images)
    for conv in (encoder.conv_in.conv, encoder.down_blocks[1][-1].conv, encoder.down_blocks[2][-1].conv,
                 decoder.conv_in, decoder.up_blocks[2][0].conv, decoder.up_blocks[1][0].conv, decoder.conv_out.conv):
        conv.weight.mul_(0.1)  # channels that the transform does not use begin small
    _start_encoder(encoder, x)
    latents = encoder(x)  # (N, 16, h, w)
    vae.register_to_config(scaling_factor=1 / latents.std().item())
    _start_decoder(decoder, x, latents)


def _start_encoder(encoder: torch.nn.Module, x: torch.Tensor) -> None:
    """Let `encoder` compute the transform of the patches of x (N, 3, H, W): gather a patch, then project it."""
    _centre(encoder.conv_in.conv, slice(0, 3), torch.eye(3))
    half = encoder.conv_in(x)  # (N, 64, H/2, W/2), the first 12 channels a 2x2 patch
    down = encoder.down_blocks[1]
    _centre(down[-1].conv, slice(0, PIXELS), torch.eye(PIXELS))
    quarter = down(half)  # (N, 128, H/4, W/4), all of a 4x4 patch among them
    flat = _pixels_last(quarter).double()
    basis = torch.linalg.eigh((flat - flat.mean(0)).T @ (flat - flat.mean(0)))[1].flip(1)[:, :32]
    down = encoder.down_blocks[2]
    _centre(down[-1].conv, slice(0, 32), basis.T.float())
    eighth = _pixels_last(down(quarter))  # (N h w, 128)
    weight, bias = _fit(eighth, _coefficients(x))
    _centre(encoder.conv_out, slice(None), weight.T, bias)


def _coefficients(x: torch.Tensor) -> torch.Tensor:
    """The transform of the patches of x (N, 3, H, W), whitened in part: (N h w, 16), float64."""
    patches = _pixels_last(F.pixel_unshuffle(x, PATCH)).double()  # (N h w, 192)
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    values, vectors = values.flip(0)[:LATENT_CHANNELS], vectors.flip(1)[:, :LATENT_CHANNELS]
    vectors = vectors * torch.sign(vectors.sum(0))
    return (patches - mean) @ vectors * values ** (-WHITENING / 2)


def _start_decoder(decoder: torch.nn.Module, x: torch.Tensor, latents: torch.Tensor) -> None:
    """Let `decoder` give x (N, 3, H, W) back from `latents` (N, 16, h, w) as well as a linear map of a patch and the 8
    around it can."""
    _centre(decoder.conv_in, slice(0, LATENT_CHANNELS), torch.eye(LATENT_CHANNELS))
    hidden = decoder.conv_in(latents)
    around = F.unfold(hidden[:, :LATENT_CHANNELS], 3, padding=1).transpose(1, 2).flatten(0, 1)  # (N h w, 16 * 9)
    up = decoder.up_blocks[2][0]
    # a 4x4 patch each of the four, as 48 channels
    wanted = F.pixel_unshuffle(F.pixel_unshuffle(x, 4), 2)  # (N, 48 * 4, h, w)
    through = hidden.repeat_interleave(up.repeats, 1)[:, :wanted.shape[1]]  # what its shortcut gives
    weight, bias = _fit(around, _pixels_last(wanted - through))
    up.conv.weight[:192] = 0
    up.conv.weight[:192, :LATENT_CHANNELS] = weight.T.unflatten(1, (LATENT_CHANNELS, 3, 3))
    up.conv.bias[:192] = bias
    hidden = decoder.up_blocks[2](hidden)  # (N, 128, H/4, W/4)
    up = decoder.up_blocks[1][0]
    pixels = F.pixel_unshuffle(F.pixel_unshuffle(x, 2), 2)  # (N, 12 * 4, H/4, W/4), of the picture itself
    guess, _ = _fit(_pixels_last(hidden[:, :48]), _pixels_last(pixels))
    values = _pixels_last(hidden[:, :48]) @ guess
    values = values.unflatten(0, hidden.shape[:1] + hidden.shape[2:]).permute(0, 3, 1, 2)
    level = torch.full_like(values[:, :8 * 4], LEVEL)
    wanted = torch.cat([values, -values, level], 1)  # both signs for the ReLU, and the anchors
    rows = wanted.shape[1]
    through = hidden.repeat_interleave(up.repeats, 1)[:, :rows]
    weight, bias = _fit(_pixels_last(hidden), _pixels_last(wanted - through))
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


def patch_edges(y: torch.Tensor) -> torch.Tensor:
    """How much steps between pixels either side of a patch's edge differ from the mean of the steps beside them, mean
    over the edges across and down. y: (B, 3, H, W)."""
    return sum(y.diff(n=3, dim=d).index_select(d, torch.arange(PATCH - 2, y.shape[d] - 3, PATCH, device=y.device))
               .abs().mean() / 2 for d in (2, 3))


def loss(y: torch.Tensor, x: torch.Tensor, recipe: dict) -> torch.Tensor:
    """L1 and squared error on pixels, L1 on their differences and on local roughness, so that water keeps its texture;
    and, for patches whose neighbours a U-Net made do not quite meet, their edges. y, x: (B, 3, H, W) in [-1, 1]."""
    total = F.l1_loss(y, x) + recipe["vae_mse"] * F.mse_loss(y, x)
    for dy, dx in zip(_gradients(y), _gradients(x), strict=True):
        total = total + recipe["vae_gradient"] * F.l1_loss(dy, dx)
    for ry, rx in zip(_texture(y), _texture(x), strict=True):
        total = total + recipe["vae_texture"] * F.l1_loss(ry, rx)
    return total + recipe["edges"] * patch_edges(y) if recipe.get("edges") else total


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


def train_vae(work: Path, recipe: dict, images: np.ndarray) -> AutoencoderDC:
    """The encoder is a linear transform and stays it; the decoder learns on crops of `images`, uint8 (N, H, W, 3)."""
    torch.manual_seed(recipe["seed"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    vae = new_vae()
    linear_start(vae, images[::len(images) // recipe["vae_start"]])
    vae.encoder.requires_grad_(False)
    vae = vae.to(device, memory_format=torch.channels_last)
    optimizer, rounds = adamw(vae.decoder.parameters(), 3e-4, 1e-4, (0.9, 0.99)), recipe["vae_rounds"]

    def take(index: int) -> float:
        part, step_of_part = round_of(rounds, index)
        with autocast(device):
            loss = step(vae, images, recipe | part, index)
        optimizer.param_groups[0]["peak"] = part["lr"]
        return update(loss, [optimizer], step_of_part, part["steps"], part["warmup"], clip=0.5)

    loop("vae", work, {"decoder": vae.decoder}, [optimizer], total_steps(rounds), take)
    return vae.eval()
