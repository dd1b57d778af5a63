"""The last round of lnm-mini's U-Net: the still as a reference for another moment of its scene.

An inpainting U-Net is taught to repeat what is given and to invent what is hidden. It has never been given a picture
that is not quite the one to paint, which is what a film asks of it: temporal layers in a network that copies in place
can hold a frame still or redraw it, and hardly move it. Here a part of each batch hides the whole picture (mask 1) and
gives another frame of the same clip beside it, as the paper's films do with their still. The network learns to take
texture from where it stood a moment before; which moment that is, it is not told. All else goes on as in the rounds
before.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from lnm.clips import encode_clips, find_clips, held_out, read_captions
from lnm.demo.mini.batch import Batch, half_plane
from lnm.demo.mini.loop import loop
from lnm.demo.mini.optimisers import muon_and_adamw, update_in_round
from lnm.demo.mini.recipe import GREY, SIZE, round_of, total_steps
from lnm.demo.mini.text import tokenize
from lnm.demo.mini.unet import new_scheduler, prediction_loss
from lnm.latents import encode
from lnm.settings import Motion

if TYPE_CHECKING:
    from diffusers import AutoencoderDC, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

HIDDEN = ("reference", "everything", "box", "half", "nothing")


def reference_data(work: Path, folder: Path, vae: AutoencoderDC, tokenizer: CLIPTokenizer, images: np.ndarray,
                   captions: list[str]) -> tuple[list[dict], dict, torch.Tensor]:
    """What `draw_reference_batch` takes: the clips of `folder` as `lnm.demo.mini.clips.make_clips` made them and, once
    more, mirrored as pixels; the photographs `images`, uint8 (N, SIZE, SIZE, 3), with captions, likewise; and an empty
    picture. Clips in validation/ are left out. Encoded once, into `work`/pieces."""
    sources = find_clips(folder)
    held = held_out(sources, 0.0)
    texts = read_captions(folder / "captions.csv", [s.name for s in sources], None)
    encoded = encode_clips(vae, "lnm-mini", sources, texts, work / "pieces", SIZE, Motion(fps=None, mirror=True), held)
    clips = [{"pieces": [piece[slice(0, len(piece), 1)].half() for piece in clip.pieces], "fps": clip.fps,
              "ids": tokenize(tokenizer, [clip.caption])[0]} for clip in encoded if clip.content not in held]
    both = torch.cat([encode(vae, np.ascontiguousarray(x), 64).half() for x in (images, images[:, :, ::-1])])
    photos = {"latents": both, "ids": tokenize(tokenizer, captions).repeat(2, 1)}
    return clips, photos, encode(vae, np.full((1, SIZE, SIZE, 3), GREY, np.uint8))[0]


def box_mask(rng: np.random.Generator, side: int) -> torch.Tensor:
    """A mask (side, side) that is 1 in a random rectangle of whole cells, a side from a quarter to the whole."""
    height, width = rng.integers(side // 4, side + 1, 2)
    y, x = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
    mask = torch.zeros(side, side)
    mask[y:y + height, x:x + width] = 1
    return mask


def hide(kind: str, x: torch.Tensor, other: torch.Tensor, blank: torch.Tensor,
         rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Hint (C, h, w) and mask (1, h, w) of latents x (C, h, w) with `kind` of HIDDEN hidden.

    other: latents of another moment, what "reference" gives. blank: those of an empty picture (C, h, w). What is hidden
    is whole cells, so that it is as if hidden before the encoder, which sees one cell at a time.
    """
    side = x.shape[-1]
    if kind == "reference":
        return other, torch.ones(1, side, side)
    if kind == "nothing":
        return x, torch.zeros(1, side, side)
    mask = {"everything": lambda: torch.ones(side, side), "box": lambda: box_mask(rng, side),
            "half": lambda: half_plane(rng, side)}[kind]()
    return torch.where(mask > 0, blank, x), mask[None]


def draw_reference_batch(recipe: dict, step: int, clips: Sequence[dict], photos: dict, blank: torch.Tensor,
                         empty: torch.Tensor) -> Batch:
    """What step `step` sees, a function of (seed, step).

    clips: of each {"pieces": [latents (N, C, h, w), ...], "fps": frames a second, "ids": its caption's tokens (77,)}.
    photos: {"latents": (M, C, h, w), "ids": (M, 77)}, which are never references. empty: tokens of no caption (77,).
    """
    part, _ = round_of(recipe["reference_rounds"], step)
    rng = np.random.default_rng([recipe["seed"], 8, step])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    shares = np.cumsum([part["masks"].get(kind, 0) for kind in HIDDEN[:-1]])
    rows, hints, masks, ids, times = [], [], [], [], []
    for _ in range(recipe["unet_batch"]):
        kind = HIDDEN[int(np.searchsorted(shares, rng.random(), side="right"))]
        if kind != "reference" and rng.random() < part["photos"]:
            k = int(rng.integers(len(photos["latents"])))
            x = other = photos["latents"][k].float()
            words = photos["ids"][k]
        else:
            clip = clips[int(rng.integers(len(clips)))]
            piece = clip["pieces"][int(rng.integers(len(clip["pieces"])))]
            reach = max(1, round(part["reach"] * clip["fps"]))
            i = int(rng.integers(len(piece)))
            j = int(np.clip(i + rng.integers(-reach, reach + 1), 0, len(piece) - 1))
            x, other, words = piece[i].float(), piece[j].float(), clip["ids"]
        hint, mask = hide(kind, x, other, blank, rng)
        # hues are settled at high noise, and nothing but what is given can tell them where a picture is half hidden
        drawn = torch.randint(0, 1000, (1 if kind == "reference" else part["noisiest_of"],), generator=generator)
        rows.append(x)
        hints.append(hint)
        masks.append(mask)
        ids.append(empty if rng.random() < recipe["prompt_dropout"] else words)
        times.append(drawn.amax())
    clean = torch.stack(rows)
    noise = torch.randn(clean.shape, generator=generator)
    return Batch(clean, torch.stack(hints), torch.stack(masks), torch.stack(ids), noise, torch.stack(times))


def train_references(work: Path, recipe: dict, unet: UNet2DConditionModel, text_encoder: CLIPTextModel,
                     tokenizer: CLIPTokenizer, clips: Sequence[dict], photos: dict, blank: torch.Tensor,
                     basis: torch.Tensor) -> UNet2DConditionModel:
    """Train `unet` on by the recipe's "reference_rounds"; the text encoder stands still. Returns the steps' average.

    basis: of `lnm.demo.mini.unet.patch_basis`. Goes on from `work`/references.safetensors where it was interrupted.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    smooth = type(unet).from_config(unet.config).to(device)
    smooth.load_state_dict(unet.state_dict())
    models = torch.nn.ModuleDict({"unet": unet.float().to(device, memory_format=torch.channels_last).train(),
                                  "text_encoder": text_encoder.float().to(device).eval()})
    text_encoder.requires_grad_(False)
    optimizers = muon_and_adamw(models["unet"], "embedding|conv_in|conv_out")
    scheduler, basis, rounds = new_scheduler(), basis.to(device), recipe["reference_rounds"]
    empty = tokenize(tokenizer, [""])[0]

    def take(step: int) -> float:
        batch = draw_reference_batch(recipe, step, clips, photos, blank, empty)
        loss = prediction_loss(models, scheduler, batch, round_of(rounds, step)[0], basis)
        value = update_in_round(loss, optimizers, rounds, step)
        decay = min(recipe["ema"], (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(smooth.parameters()), list(models["unet"].parameters()), 1 - decay)
        return value

    loop("references", work, {"fast": models["unet"], "smooth": smooth}, optimizers, total_steps(rounds), take)
    return smooth.eval()
