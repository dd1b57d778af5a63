"""The linear encoder of `lnm-mini`: overlapping windows of 16x16 pixels, one each 8, fitted to pictures.

Latents are computed of cells of 8x8 pixels. Where each sees its own cell alone, they change unpredictably when water
moves by a pixel: what leaves a cell is gone, and what comes in was never seen. A lapped transform (Malvar & Staelin,
"The LOT", 1989) sees half of each neighbour as well. When pictures are shifted by 1, 2, 4 and 7 pixels, a linear map of
the 3x3 cells around, as they were, explains of the variance of the 8 least predictable of 16 channels:

    blocks of 8x8         0.885  0.863  0.867  0.876
    windows of 16x16      0.975  0.955  0.923  0.953

The best linear decoder of 3x3 cells gives photographs back at 27.66 dB from the blocks and 27.58 from the windows,
frames of clips at 31.60 and 31.24. `python -m benchmarks.latents` measures both.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from lnm.demo.mini.loop import loop
from lnm.latents import encode_pixels, to_tensor

if TYPE_CHECKING:
    from diffusers import AutoencoderDC

CELL, WINDOW = 8, 16  # pixels: a latent each CELL, of a square of WINDOW around its cell
# Channel k is divided by its deviation to this power: 1 makes all alike, 0 keeps the transform's own. Near 1 fine
# channels weigh as much as coarse ones and cells do not agree; at 0 they drown in the last steps' noise.
WHITENING = 0.3


def pixels_last(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 2, 3, 1).flatten(0, 2)  # (B, C, h, w) -> (B h w, C)


def least_squares(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """y = x w + b in float64, a little ridge -> w (in, out), b (out)."""
    x, y = x.double(), y.double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    gram = x.T @ x
    w = torch.linalg.solve(gram + 1e-6 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype), x.T @ y)
    return w.float(), (mean_y - mean_x @ w).float()


def around(z: torch.Tensor) -> torch.Tensor:
    """The 3x3 cells around each cell of z (B, C, h, w), nothing beyond the edge -> (B h w, C * 9)."""
    return F.unfold(z, 3, padding=1).transpose(1, 2).flatten(0, 1)


class Transform(torch.nn.Module):
    """Latents (B, C, h, w) of pixels (B, 3, H, W) in [-1, 1] by `weight` (C, 3, side, side) and `bias` (C): a square of
    `side` around each cell, grey beyond the picture's edge."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor):
        super().__init__()
        self.weight, self.bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight, self.bias, stride=CELL, padding=(self.weight.shape[-1] - CELL) // 2)


class LinearDecoder(torch.nn.Module):
    """Pixels of latents, by a linear map of the 3x3 cells around; starts as the best one for latents z of pixels x."""

    def __init__(self, z: torch.Tensor, x: torch.Tensor):
        super().__init__()
        weight, bias = least_squares(around(z), pixels_last(F.pixel_unshuffle(x, CELL)))
        self.weight = torch.nn.Parameter(weight.T.unflatten(1, (z.shape[1], 3, 3)).contiguous())
        self.bias = torch.nn.Parameter(bias)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return F.pixel_shuffle(F.conv2d(z, self.weight, self.bias, padding=1), CELL)


@torch.no_grad()
def transform_of(vae: AutoencoderDC) -> Transform:
    """What the encoder of an lnm-mini computes, scaled: its response to each pixel of a cell, in the 9 cells around."""
    count, side = 3 * CELL**2, 3 * CELL
    x = torch.zeros(count + 1, 3, side, side)
    x[1:, :, CELL:-CELL, CELL:-CELL] = torch.eye(count).view(-1, 3, CELL, CELL)
    seen = encode_pixels(vae, x.to(vae.device)).float().cpu() * vae.config.scaling_factor  # (1 + count, C, 3, 3)
    response = (seen[1:] - seen[:1]).flip(2, 3)  # the cell lies below and right of what is above and left of it
    weight = response.unflatten(0, (3, CELL, CELL)).permute(3, 0, 4, 1, 5, 2).reshape(-1, 3, side, side)
    return Transform(weight.contiguous(), seen[0, :, 1, 1].clone())


@torch.no_grad()
def windowed_transform(x: torch.Tensor, channels: int) -> Transform:
    """The Karhunen-Loève transform (PCA) of windows of x (N, 3, H, W) that fade to their edges as a sine, whitened in
    part; the deviation of all latents is 1."""
    fade = torch.sin(np.pi * (torch.arange(WINDOW) + 0.5) / WINDOW)
    fade = fade[:, None] * fade  # (WINDOW, WINDOW)
    side = 3 * WINDOW**2
    second, count = torch.zeros(side, side, dtype=torch.float64), 0
    for part in x.split(32):
        windows = F.unfold(part, WINDOW, stride=CELL, padding=(WINDOW - CELL) // 2).transpose(1, 2).flatten(0, 1)
        windows = windows * fade.flatten().repeat(3)
        second, count = second + (windows.T @ windows).double(), count + len(windows)
    basis = torch.linalg.eigh(second / count)[1].flip(1)[:, :channels].T.float()
    basis = basis * torch.sign(basis.sum(1, keepdim=True))
    found = Transform(basis.view(-1, 3, WINDOW, WINDOW) * fade, torch.zeros(channels))
    z = found(x)
    scale = z.std((0, 2, 3)) ** -WHITENING
    scale = scale / (scale.square() * z.var((0, 2, 3))).mean().sqrt()
    found.weight.mul_(scale.view(-1, 1, 1, 1))
    found.bias.copy_(-scale * z.mean((0, 2, 3)))
    return found


@torch.no_grad()
def towards(found: Transform, target: Transform, x: torch.Tensor) -> Transform:
    """The channels of `found` mixed so that they are as near to those of `target` on x (N, 3, H, W) as a linear map can
    bring them, with the deviations of these."""
    z, wanted = pixels_last(found(x)), pixels_last(target(x))
    mix, _ = least_squares(z, wanted)
    mix = mix * wanted.std(0) / (z @ mix).std(0)
    return Transform(torch.einsum("kc,kpij->cpij", mix, found.weight), wanted.mean(0) + (found.bias - z.mean(0)) @ mix)


def fit(work: Path, recipe: dict, images: np.ndarray, start: Transform | None = None) -> Transform:
    """Windows whose latents, under a little noise, a linear map of 3x3 cells decodes best. images: uint8 (N, H, W, 3).

    start: the encoder of another checkpoint. A penalty keeps each channel near to that one's (least squares, in its
    deviations), so that a U-Net that knows those can go on; without `start`, near to those of `windowed_transform`,
    which keeps their order and deviations. Goes on from `work`/windows.safetensors where it was interrupted.
    """
    part, x = recipe["fit"], to_tensor(images)
    found = windowed_transform(x[::3], part["channels"])
    target = start or copy.deepcopy(found)
    target.requires_grad_(False)
    if start is not None:
        found = towards(found, target, x[::3])
    with torch.no_grad():
        decoder = LinearDecoder(found(x[::4]), x[::4])
        deviation = target(x[::3]).std((0, 2, 3)).view(-1, 1, 1)
    optimizer = torch.optim.Adam([{"params": found.parameters(), "lr": part["lr"]},
                                  {"params": decoder.parameters(), "lr": part["decoder_lr"]}], betas=(0.9, 0.99))
    peaks = [group["lr"] for group in optimizer.param_groups]

    def take(step: int) -> float:
        generator = torch.Generator().manual_seed(recipe["seed"] * 1_000_003 + step)
        crops = draw_crops(x, part["batch"], part["crop"], generator)
        z = found(crops)
        made = decoder(z + part["noise"] * torch.randn(z.shape, generator=generator))
        loss = F.mse_loss(made, crops)
        for dim in (2, 3):
            loss = loss + part["gradient"] * F.mse_loss(made.diff(dim=dim), crops.diff(dim=dim))
        apart = ((z - target(crops)) / deviation)[..., 1:-1, 1:-1]  # a crop's outer cells see grey beyond it
        (loss + part["penalty"] * apart.square().mean()).backward()
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * 0.5 * (1 + np.cos(np.pi * step / part["steps"]))
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    loop("windows", work, {"windows": found, "decoder": decoder}, [optimizer], part["steps"], take)
    return found.requires_grad_(False)


def draw_crops(x: torch.Tensor, count: int, side: int, generator: torch.Generator) -> torch.Tensor:
    """`count` squares of `side` pixels of x (N, 3, H, W), cut between cells; half of the times all are rolled by up to
    7 pixels each way, so that cells lie elsewhere in the picture."""
    def draw(high: int, *shape: int) -> list[int]:
        return torch.randint(0, high, shape, generator=generator).tolist()

    rows = draw(len(x), count)
    top, left = (CELL * corner for corner in draw(max(1, (x.shape[-1] - side) // CELL), 2))
    crops = x[rows][:, :, top:top + side, left:left + side]
    if torch.rand((), generator=generator) < 0.5:
        crops = crops.roll(draw(CELL, 2), (2, 3))
    return crops


@torch.no_grad()
def write_encoder(vae: AutoencoderDC, windows: Transform) -> None:
    """Let the encoder of `vae` compute `windows`, in numbers that half precision holds, as they will be saved.

    Its convolution before the first pixel-unshuffling hands three channels on and the shortcuts gather the pixels of a
    cell, 192 of 256 channels; all between is zero. `conv_out`, a 3x3 convolution over cells, holds the windows: 24x24
    pixels, of which the outer 4 are zero.
    """
    encoder = vae.encoder
    for parameter in encoder.parameters():
        parameter.zero_()
    encoder.conv_in.conv.weight[:3, :, 1, 1] = torch.eye(3)
    cell = encoder.conv_in(torch.eye(3 * CELL**2).view(-1, 3, CELL, CELL))
    for block in encoder.down_blocks:
        cell = block(cell)
    channel = cell.flatten(1).argmax(1)  # of each pixel of a cell
    margin = (3 * CELL - WINDOW) // 2
    wide = F.pad(windows.weight, (margin,) * 4) / vae.config.scaling_factor  # (C, 3, 24, 24)
    cells = wide.unflatten(3, (3, CELL)).unflatten(2, (3, CELL)).permute(0, 1, 3, 5, 2, 4)  # (C, 3, 8, 8, 3, 3)
    encoder.conv_out.weight[:, channel] = cells.flatten(1, 3)
    encoder.conv_out.bias.copy_(windows.bias / vae.config.scaling_factor)
    encoder.half().float()
