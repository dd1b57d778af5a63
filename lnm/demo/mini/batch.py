"""What one step of the U-Net's training sees: pictures, what is hidden of them, and another moment as reference.

An inpainting U-Net is taught to repeat what is given and to invent what is hidden. It has never been given a picture
that is not quite the one to paint, which is what a film asks of it: temporal layers in a network that copies in place
can hold a frame still or redraw it, and hardly move it. So half of each batch hides the whole picture (mask 1) and
gives another frame of the same clip beside it, as the paper's films do with their still. The network learns to take
texture from where it stood a moment before; which moment that is, it is not told.

All is hidden and mirrored as pixels, before the encoder, whose windows reach half a cell into what is beside them.
Everything random is a function of (seed, step), so that an interrupted run goes on with the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm.auto import tqdm

from lnm import video
from lnm.clips import find_clips, held_out, read_captions
from lnm.demo.mini.recipe import GREY, SIZE
from lnm.demo.mini.text import tokenize
from lnm.demo.mini.windows import CELL, Transform
from lnm.latents import to_tensor

if TYPE_CHECKING:
    from transformers import CLIPTokenizer


@dataclass
class Film:
    """A training clip: frames uint8 (N, SIZE, SIZE, 3), of `fps` a second, and its caption."""

    frames: np.ndarray
    fps: float
    caption: str


@dataclass
class Pictures:
    """What there is to draw from: photographs uint8 (M, SIZE, SIZE, 3) with their captions' tokens (M, 77), clips with
    theirs (N, 77), and the tokens of no caption (77,)."""

    photos: np.ndarray
    photo_ids: torch.Tensor
    films: list[Film]
    film_ids: torch.Tensor
    empty: torch.Tensor


@dataclass
class Batch:
    """One step's data, on the CPU; C channels of latents, h x w cells."""

    latents: torch.Tensor  # (B, C, h, w), clean and scaled
    hint: torch.Tensor  # (B, C, h, w), those of what is given: the picture with what is masked blanked, or a reference
    mask: torch.Tensor  # (B, 1, h, w), 1 where the picture is hidden
    ids: torch.Tensor  # (B, 77), the caption's tokens
    noise: torch.Tensor  # (B, C, h, w)
    timesteps: torch.Tensor  # (B,)


def read_films(folder: Path, work: Path) -> list[Film]:
    """The clips of `folder` as `lnm.demo.mini.clips.make_clips` made them, but for those in validation/.

    Decoded once, into `work`/frames.bin, from which they are read as they are needed.
    """
    sources = find_clips(folder)
    captions = read_captions(folder / "captions.csv", [s.name for s in sources], None)
    held = held_out(sources, 0.0)
    kept = [(s, caption) for s, caption in zip(sources, captions, strict=True) if s.content not in held]
    pixels, index = work / "frames.bin", work / "frames.json"
    contents = [source.content for source, _ in kept]
    if not index.exists() or json.loads(index.read_text())["clips"] != contents:
        counts, rates = [], []
        with pixels.open("wb") as stream:
            for source, _ in tqdm(kept, desc="reading clips", mininterval=5):
                clip = video.read(source.path, size=SIZE)
                stream.write(clip.frames.tobytes())
                counts.append(len(clip))
                rates.append(clip.fps)
        index.write_text(json.dumps({"clips": contents, "counts": counts, "fps": rates}))
    known = json.loads(index.read_text())
    frames = np.memmap(pixels, np.uint8, "r").reshape(-1, SIZE, SIZE, 3)
    parts = np.split(frames, np.cumsum(known["counts"])[:-1])
    return [Film(part, fps, caption) for part, fps, (_, caption) in zip(parts, known["fps"], kept, strict=True)]


def tokenized(tokenizer: CLIPTokenizer, photos: np.ndarray, captions: list[str], films: list[Film]) -> Pictures:
    """`Pictures` of photographs uint8 (M, SIZE, SIZE, 3) with captions, and of clips."""
    return Pictures(photos, tokenize(tokenizer, captions), films, tokenize(tokenizer, [f.caption for f in films]),
                    tokenize(tokenizer, [""])[0])


def box_mask(rng: np.random.Generator, side: int) -> np.ndarray:
    """A mask (side, side) that is 1 in a random rectangle of whole cells, a side from a quarter to the whole."""
    height, width = rng.integers(side // 4, side + 1, 2)
    y, x = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
    mask = np.zeros((side, side), np.float32)
    mask[y:y + height, x:x + width] = 1
    return mask


def half_plane(rng: np.random.Generator, side: int) -> np.ndarray:
    """A mask (side, side) that is 1 beyond a line: a quarter to three quarters of the picture, at any of its edges."""
    mask = np.zeros((side, side), np.float32)
    mask[:, int(rng.integers(side // 4, 3 * side // 4 + 1)):] = 1
    return np.rot90(mask, int(rng.integers(4)))


def hide(kind: str, x: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What is given of a picture x, uint8 (H, W, 3), with `kind` of a recipe's "masks" hidden, and the mask (h, w).

    other: another moment, what "reference" gives. What is hidden is whole cells.
    """
    side = len(x) // CELL
    if kind == "reference":
        return other, np.ones((side, side), np.float32)
    if kind == "nothing":
        return x, np.zeros((side, side), np.float32)
    mask = {"everything": lambda: np.ones((side, side), np.float32), "box": lambda: box_mask(rng, side),
            "half": lambda: half_plane(rng, side)}[kind]()
    return np.where(mask.repeat(CELL, 0).repeat(CELL, 1)[..., None] > 0, GREY, x).astype(np.uint8), mask


@torch.no_grad()
def draw_batch(recipe: dict, step: int, pictures: Pictures, transform: Transform) -> Batch:
    """What step `step` sees, in the latents of `transform`; a function of (seed, step)."""
    rng = np.random.default_rng([recipe["seed"], 9, step])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    kinds, shares = list(recipe["masks"]), list(recipe["masks"].values())
    clean, given, masks, ids, times = [], [], [], [], []
    for _ in range(recipe["unet_batch"]):
        kind = str(rng.choice(kinds, p=shares))
        if kind != "reference" and rng.random() < recipe["photos"]:
            k = int(rng.integers(len(pictures.photos)))
            x = other = pictures.photos[k]
            words = pictures.photo_ids[k]
        else:
            k = int(rng.integers(len(pictures.films)))
            film, words = pictures.films[k], pictures.film_ids[k]
            reach = max(1, round(recipe["reach"] * film.fps))
            i = int(rng.integers(len(film.frames)))
            j = int(np.clip(i + rng.integers(-reach, reach + 1), 0, len(film.frames) - 1))
            x, other = film.frames[i], film.frames[j]
        if rng.random() < 0.5:
            x, other = x[:, ::-1], other[:, ::-1]
        hint, mask = hide(kind, x, other, rng)
        clean.append(x)
        given.append(hint)
        masks.append(torch.from_numpy(mask.copy())[None])
        ids.append(pictures.empty if rng.random() < recipe["prompt_dropout"] else words)
        # the noisier of two: hues are settled at high noise, and in a picture that is half hidden only what is given
        # can tell them
        times.append(torch.randint(0, 1000, (1 if kind == "reference" else 2,), generator=generator).amax())
    latents, hints = transform(to_tensor(np.stack(clean + given))).chunk(2)
    noise = torch.randn(latents.shape, generator=generator)
    return Batch(latents, hints, torch.stack(masks), torch.stack(ids), noise, torch.stack(times))
