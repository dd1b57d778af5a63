"""What one step of the U-Net's training sees: latents of the training images, and what is hidden of each.

Everything random is a function of (seed, step), so that an interrupted run goes on with the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm

from lnm.demo.mini.recipe import GREY, SIZE, round_of
from lnm.latents import encode

if TYPE_CHECKING:
    from diffusers import AutoencoderDC

HIDDEN = ("everything", "box", "half", "nothing")  # what a mask may hold


def random_box(rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random rectangle (x0, y0, x1, y1) of pixels, a side from a quarter to the whole picture."""
    w, h = rng.integers(SIZE // 4, SIZE + 1, 2)
    x, y = rng.integers(0, SIZE - w + 1), rng.integers(0, SIZE - h + 1)
    return x, y, x + w, y + h


def half_plane(rng: np.random.Generator, side: int) -> torch.Tensor:
    """A mask (side, side) that is 1 beyond a line: a quarter to three quarters of the picture, at any of its edges."""
    mask = torch.zeros(side, side)
    mask[:, int(rng.integers(side // 4, 3 * side // 4 + 1)):] = 1
    return torch.rot90(mask, int(rng.integers(4)))


@torch.no_grad()
def training_latents(work: Path, recipe: dict, vae: AutoencoderDC, images: np.ndarray) -> dict[str, torch.Tensor]:
    """Scaled latents of every image, of every third with a random box blanked, those boxes, and of a blank."""
    path = work / "latents.safetensors"
    if not path.exists():
        latents, masked, boxes = [], [], []
        for start in tqdm(range(0, len(images), 64), desc="encoding"):
            x = images[start:start + 64]
            third = range(-start % 3, len(x), 3)
            hidden = x[third].copy()
            for i, row in enumerate(third):
                x0, y0, x1, y1 = random_box(np.random.default_rng([recipe["seed"], 2, start + row]))
                hidden[i, y0:y1, x0:x1] = GREY
                boxes.append((x0, y0, x1, y1))
            latents.append(encode(vae, x, 64))
            masked.append(encode(vae, hidden, 64))
        save_file({"latents": torch.cat(latents), "masked": torch.cat(masked), "boxes": torch.tensor(np.array(boxes)),
                   "blank": encode(vae, np.full((1, SIZE, SIZE, 3), GREY, np.uint8))}, path)
    return load_file(path)


@dataclass
class Batch:
    """One step's data, on the CPU; C channels of latents, h x w cells."""

    latents: torch.Tensor  # (B, C, h, w), clean and scaled
    hint: torch.Tensor  # (B, C, h, w), those of the picture with what is masked blanked
    mask: torch.Tensor  # (B, 1, h, w), 1 where the picture is hidden
    ids: torch.Tensor  # (B, 77), the caption's tokens
    noise: torch.Tensor  # (B, C, h, w)
    timesteps: torch.Tensor  # (B,)


def draw_rows(recipe: dict, part: dict, count: int, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Which of the `count` images are in a step of round `part`, (B,), and what is hidden of each: (B,) of HIDDEN."""
    stills = sum(recipe["stills"].values())  # the rendered stills come first
    photo = rng.random(recipe["unet_batch"]) < part["photos"]
    rows = rng.integers(np.where(photo, stills, 0), np.where(photo, count, stills))
    shares = np.cumsum([part["masks"].get(kind, 0) for kind in HIDDEN[:-1]])
    hidden = [HIDDEN[k] for k in np.searchsorted(shares, rng.random(len(rows)), side="right")]
    boxed = np.array([kind == "box" for kind in hidden])
    return np.where(boxed, rows // 3 * 3, rows), hidden  # the images whose latents with a box are kept


def hide(kind: str, row: int, latents: dict[str, torch.Tensor],
         rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Hint (C, h, w) and mask (1, h, w) of image `row` with `kind` of HIDDEN hidden.

    latents: as of training_latents.
    """
    x, blank = latents["latents"][row], latents["blank"][0]
    side = x.shape[-1]
    if kind == "everything":
        return blank, torch.ones(1, side, side)
    if kind == "box":
        x0, y0, x1, y1 = latents["boxes"][row // 3].tolist()
        pixels = torch.zeros(1, 1, SIZE, SIZE)
        pixels[..., y0:y1, x0:x1] = 1
        # nearest, as diffusers does
        return latents["masked"][row // 3], F.interpolate(pixels, scale_factor=1 / (SIZE // side))[0]
    if kind == "half":
        mask = half_plane(rng, side)
        return torch.where(mask > 0, blank, x), mask[None]  # whole patches: as if hidden before the encoder
    return x, torch.zeros(1, side, side)


def draw_batch(recipe: dict, step: int, latents: dict[str, torch.Tensor], tokens: torch.Tensor,
               empty: torch.Tensor) -> Batch:
    """What step `step` sees: pictures, what is hidden of them, captions, noise and timesteps.

    latents: as of training_latents. tokens: (N, 77), those of every caption. empty: (77,), those of no caption, which
    stand in for a share "prompt_dropout" of the captions. A timestep is the largest of "noisiest_of" drawn.
    """
    part, _ = round_of(recipe["unet_rounds"], step)
    rng = np.random.default_rng([recipe["seed"], 3, step])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    rows, hidden = draw_rows(recipe, part, len(latents["latents"]), rng)
    x, ids = latents["latents"][rows], tokens[rows].clone()
    hints, masks = [], []
    for i, (row, kind) in enumerate(zip(rows, hidden, strict=True)):
        hint, mask = hide(kind, row, latents, rng)
        hints.append(hint)
        masks.append(mask)
        if rng.random() < recipe["prompt_dropout"]:
            ids[i] = empty
    hint, mask = torch.stack(hints), torch.stack(masks)
    if rng.random() < 0.5:
        x, hint, mask = x.flip(-1), hint.flip(-1), mask.flip(-1)
    noise = torch.randn(x.shape, generator=generator)
    t = torch.randint(0, 1000, (part.get("noisiest_of", 1), len(rows)), generator=generator).amax(0)
    return Batch(x, hint, mask, ids, noise, t)
