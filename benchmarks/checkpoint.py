"""What the built-in checkpoint can do, on images it never saw: what its card, checkpoints/README.md, shows and says.

    python -m benchmarks.checkpoint              autoencoder, text alone, half pictures, CLIP (some minutes on a CPU)
    python -m benchmarks.checkpoint --fid 500    FID of as many samples against held-out stills too (longer; resumes)
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from eval.features.clip import Clip
from eval.features.inception import Inception
from eval.metrics.fidelity import psnr
from eval.metrics.frechet import fid_from_features
from lnm import video
from lnm.checkpoint import open_checkpoint
from lnm.demo import footage, scenes
from lnm.demo.mini.recipe import GREY, RECIPE, SIZE
from lnm.demo.mini.text import tokenize
from lnm.latents import decode, encode
from lnm.project import root

KNOWN = tuple(RECIPE["stills"])  # the scenes that it was trained on
HELD_OUT = 600_000  # first seed of stills that no training saw
MIRRORED = 0.6  # of the steps, where a half is painted from the mirror image of the other
REAL = {"rapids": "a photo of a river", "waves": "a photo of a beach by the sea",
        "waterfall": "a photo of a waterfall", "cliff": "a photo of the coast by the sea",
        "ferry": "a photo of a ferry on the sea"}
# prompt -> scene and time of day; twice each makes the twenty samples
TEXTS = {"ocean waves under a clear sky by day": "sea by day",
         "rough ocean waves under a cloudy sky by day": "sea by day",
         "ocean waves under an open sky at sunset": "sea at sunset",
         "a golden sunset over calm water": "sea at sunset",
         "an afterglow over the sea at sunset": "sea at sunset",
         "clouds drifting in a blue sky by day": "clouds by day",
         "clouds drifting in an orange sky at sunset": "clouds at sunset",
         "rain on a pond in the shade of trees": "pond in rain",
         "a pond in heavy rain under a grey sky": "pond in rain",
         "a starry sky over dark hills at night": "stars at night"}
PLAIN = ["a photo of a river", "a photo of a waterfall", "a photo of a beach by the sea", "a photo of mountains",
         "a photo of a harbour", "a photo of a church", "a starry sky at night", "clouds in a blue sky by day"]
PLAIN_OF = {"rapids": 0, "waves": 2, "waterfall": 1}


def in_turn(count: int, first: int) -> list[scenes.Scene]:
    """`count` scenes, each kind in turn, seeds from `first`."""
    return [scenes.draw(KNOWN[i % len(KNOWN)], first + i) for i in range(count)]


@cache
def stills(count: int, first: int = HELD_OUT) -> tuple[np.ndarray, list[scenes.Scene]]:
    """Stills of `in_turn`'s scenes, and these."""
    drawn = in_turn(count, first)
    # spawn: a fork of a process whose torch has threads can wait for ever on a lock that none of them holds
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        times = [[float(scene.seed % 40)] for scene in drawn]
        # scenes.render itself, not a function of this module: the processes need not import torch then
        images = list(tqdm(pool.map(scenes.render, drawn, times, repeat(SIZE), chunksize=8), total=count,
                           desc="rendering"))
    return np.concatenate(images), drawn


def real(name: str, count: int = 10) -> np.ndarray:
    file, crop = footage.path(name, root() / "footage"), footage.CATALOGUE[name].crop
    return video.read(file, fps=5, size=SIZE, crop=crop).frames[:count]


@torch.no_grad()
def sample(checkpoint, prompts: list[str], hint: torch.Tensor, mask: torch.Tensor, seed: int, guidance: float,
           steps: int = 20, batch: int = 16, begin: torch.Tensor | None = None, strength: float = 1.0) -> np.ndarray:
    """Inpainted pictures uint8 (N, H, W, 3): hint (N, C, h, w) of the masked picture's latents, mask (N, 1, h, w).

    begin: latents (N, C, h, w) to begin from, with as much noise as the last `strength` of the steps take off, as in
    image-to-image (Meng et al., "SDEdit", 2022).
    """
    tokens = tokenize(checkpoint.tokenizer, prompts + [""])
    words = torch.cat([checkpoint.text_encoder(part)[0] for part in tokens.split(64)])
    noise = torch.randn(hint.shape, generator=torch.Generator().manual_seed(seed))
    checkpoint.scheduler.set_timesteps(steps)
    times = checkpoint.scheduler.timesteps[steps - round(strength * steps):]
    if begin is not None:
        noise = checkpoint.scheduler.add_noise(begin, noise, times[:1])
    done = []
    for i in tqdm(range(0, len(hint), batch), desc="sampling"):
        part = slice(i, min(i + batch, len(hint)))
        x, empty = noise[part], words[-1:].expand(part.stop - i, -1, -1)
        for t in times:
            inputs = torch.cat([x, mask[part], hint[part]], 1)
            both = checkpoint.unet(torch.cat([inputs, inputs]), t, torch.cat([empty, words[part]])).sample
            without, with_ = both.chunk(2)
            x = checkpoint.scheduler.step(without + guidance * (with_ - without), t, x).prev_sample
        done.append(x)
    return decode(checkpoint.vae, torch.cat(done))


def autoencoder(checkpoint, count: int = 10, clips: Iterable[str] = REAL) -> dict[str, float]:
    """PSNR in dB of held-out stills and real frames through the autoencoder, mean over `count` pictures of each scene
    and clip."""
    images, _ = stills(count * len(KNOWN))
    kinds = {kind: images[i::len(KNOWN)] for i, kind in enumerate(KNOWN)}
    found = {}
    for name, frames in (kinds | {name: real(name, count) for name in clips}).items():
        again = decode(checkpoint.vae, encode(checkpoint.vae, frames))
        found[name] = float(np.mean([psnr(a, b) for a, b in zip(frames, again, strict=True)]))
    return found


def blank(checkpoint) -> torch.Tensor:
    return encode(checkpoint.vae, np.full((1, SIZE, SIZE, 3), GREY, np.uint8))


def text_alone(checkpoint, clip) -> tuple[np.ndarray, np.ndarray]:
    """Two samples of each of TEXTS, uint8 (2 N, H, W, 3), and which of TEXTS `clip` takes them for, (N, 2)."""
    prompts = [text for text in TEXTS for _ in range(2)]
    hint = blank(checkpoint).expand(len(prompts), -1, -1, -1)
    made = sample(checkpoint, prompts, hint, torch.ones_like(hint[:, :1]), seed=0, guidance=2.0)
    return made, (clip(made) @ np.stack([clip.text(text) for text in TEXTS]).T).argmax(1).reshape(-1, 2)


def named_rightly(named: np.ndarray) -> np.ndarray:
    """Which of `text_alone`'s samples are taken for a prompt of their own scene and time of day: bool (N, 2)."""
    kinds = np.array(list(TEXTS.values()))
    return kinds[named] == kinds[:, None]


def half_pictures(checkpoint) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The right half of ten pictures painted anew: what was given and made, each uint8 (10, H, W, 3), and the `seam` of
    the pictures, of their reconstructions and of what was made, from noise alone and from the mirrored left half."""
    images, drawn = stills(5, HELD_OUT + 1000)
    images = np.concatenate([images, *(real(name, 1) for name in REAL)])
    hidden, mirrored = images.copy(), images.copy()
    hidden[:, :, SIZE // 2:] = GREY
    mirrored[:, :, SIZE // 2:] = images[:, :, SIZE // 2 - 1::-1]
    hint = encode(checkpoint.vae, hidden)
    mask = torch.zeros_like(hint[:, :1])
    mask[..., mask.shape[-1] // 2:] = 1
    captions = [scene.caption for scene in drawn] + list(REAL.values())
    made = {"painted, from the mirrored half": sample(checkpoint, captions, hint, mask, seed=1, guidance=1.0,
                                                      begin=encode(checkpoint.vae, mirrored), strength=MIRRORED),
            "painted, from noise alone": sample(checkpoint, captions, hint, mask, seed=1, guidance=1.0)}
    through = decode(checkpoint.vae, encode(checkpoint.vae, images))
    measured = {"pictures": images, "through the autoencoder": through} | made
    return {"pictures": images, "left half given": hidden} | made, {name: seam(x) for name, x in measured.items()}


def seam(images: np.ndarray) -> np.ndarray:
    """How far pictures uint8 (N, H, W, 3) break at the middle, (2, N): the step between the two columns of pixels there
    over the mean step in the 18 columns around; and between the two columns of 8x8 cells there, in grey levels."""
    x = images.astype(float)
    steps = np.abs(np.diff(x[:, :, SIZE // 2 - 9:SIZE // 2 + 9], axis=2)).mean((1, 3))  # (N, 17)
    cells = x[:, :, SIZE // 2 - 8:SIZE // 2 + 8].reshape(len(x), -1, 8, 2, 8, 3).mean((2, 4))  # (N, H / 8, 2, 3)
    return np.stack([steps[:, 8] / steps.mean(1), np.abs(np.diff(cells, axis=2)).mean((1, 2, 3))])


def true_of_a_still(scene) -> set[str]:
    """The captions that a still of `scene` does not belie: its own in other words, sunrise for sunset (only a film
    tells them apart), and these with its hills or its clouds left unsaid."""
    turns = (False, True) if "rising" in scene.numbers else (None,)
    turned = [replace(scene, numbers=scene.numbers | {"rising": turn}) for turn in turns]
    said = set().union(*map(scenes.paraphrases, turned))
    unsaid = " above dark hills| over a hilly horizon| with clouds| under glowing clouds"
    return said | {re.sub(unsaid, "", caption) for caption in said}


def clip_alone(clip) -> tuple[dict[str, float], dict[str, list[float]], dict[str, list[float]]]:
    """On held-out scenes, top-1 of 16 different captions, where the other 15 are not true of the still ("untrue") and
    where they may be its own in other words ("any"); the cosines behind them by whose captions; and of each real clip,
    the cosines with PLAIN."""
    images, drawn = stills(200, HELD_OUT + 2000)
    pictures = clip(images)
    kind_of = {scene.caption: scene.kind for scene in drawn}
    words = {text: clip.text(text) for text in set(kind_of) | set(PLAIN)}
    hits, cosines = {"untrue": [], "any": []}, {"its own": [], "its scene's untrue": [], "other scenes'": []}
    for i, scene in enumerate(drawn):
        true = true_of_a_still(scene)
        own = float(pictures[i] @ words[scene.caption])
        cosines["its own"].append(own)
        for what, found in hits.items():
            others = [c for c in sorted(kind_of) if c not in (true if what == "untrue" else {scene.caption})]
            others = np.random.default_rng(i).permutation(others)[:15]
            scores = [float(pictures[i] @ words[c]) for c in others]
            found.append(own > max(scores))
            if what == "untrue":
                for other, score in zip(others, scores, strict=True):
                    cosines["its scene's untrue" if kind_of[other] == scene.kind else "other scenes'"].append(score)
    water = {name: clip(real(name)).mean(0) for name in PLAIN_OF}
    plain = {name: [float(seen @ words[c]) for c in PLAIN] for name, seen in water.items()}
    return {what: float(np.mean(found)) for what, found in hits.items()}, cosines, plain


def rank(scores: list[float], own: int) -> int:
    """1 where nothing scores above number `own`."""
    return 1 + sum(score > scores[own] for score in scores)


def fid(checkpoint, count: int, keep: Path) -> None:
    """Prints FID of `count` pictures a set; each set's features stay in `keep`, so that an interrupted run goes on."""
    network = Inception(root() / "weights" / "inception-2015-12-05.pt")

    def features(what: str, make) -> np.ndarray:
        file = keep / f"{what.replace(' ', '-')}-{count}.npy"
        if not file.exists():
            frames = make()
            found = [network(frames[i:i + 16]) for i in tqdm(range(0, count, 16), desc=f"Inception, {what}")]
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.with_suffix(".part").open("wb") as part:
                np.save(part, np.concatenate(found))
            file.with_suffix(".part").replace(file)
        return np.load(file)

    def samples() -> np.ndarray:
        captions = [scene.caption for scene in in_turn(count, HELD_OUT + 10_000)]
        hint = blank(checkpoint).expand(count, -1, -1, -1)
        return sample(checkpoint, captions, hint, torch.ones_like(hint[:, :1]), seed=2, guidance=2.0)

    reference = features("held-out stills", lambda: stills(count, HELD_OUT + 10_000)[0])
    print(f"\nFID, real Inception weights, {count} pictures a set, against held-out rendered stills of all scenes",
          flush=True)

    def other() -> np.ndarray:
        return stills(count, HELD_OUT + 50_000)[0]

    others = {"samples from captions": samples, "other held-out stills": other,
              "those through the VAE": lambda: decode(checkpoint.vae, encode(checkpoint.vae, other()))}
    for name, make in others.items():
        print(f"  {name:24} {fid_from_features(features(name, make), reference):.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checkpoint", description=__doc__.split("\n\n")[0])
    parser.add_argument("--checkpoint", default="checkpoints/lnm-mini")
    parser.add_argument("--clip", default="checkpoints/lnm-mini-clip")
    parser.add_argument("--fid", type=int, default=0, metavar="N", help="pictures a set")
    args = parser.parse_args()
    checkpoint, clip, docs = open_checkpoint(args.checkpoint), Clip(args.clip, root()), root() / "docs"
    print("\nVAE, PSNR in dB on images it never saw: "
          + ", ".join(f"{name} {value:.1f}" for name, value in autoencoder(checkpoint).items()))

    top, cosines, plain = clip_alone(clip)
    print(f"\n{clip.name}: top-1 of 16 different captions on held-out scenes {top['untrue']:.0%} where the others are "
          f"not true of the still, {top['any']:.0%} where they may say the same in other words")
    for what, values in cosines.items():
        print(f"  cosine of a still with {what} captions: {np.mean(values):.3f} (sd {np.std(values):.3f})")
    for name, scores in plain.items():
        print(f"  {name}: its caption is number {rank(scores, PLAIN_OF[name])} of {len(PLAIN)} "
              f"(best: {PLAIN[int(np.argmax(scores))]})")

    pictures, seams = half_pictures(checkpoint)
    print("\nhalf pictures: step across the seam over the mean step near it; step of 8x8 cells across it, grey levels")
    for name, (steps, cells) in seams.items():
        print(f"  {name:32} {steps.round(1).tolist()}; {cells.round(1).tolist()}, mean {cells.mean():.1f}")
    video.contact_sheet(list(pictures.items()), columns=10, path=docs / "checkpoint-inpaint.webp")

    made, named = text_alone(checkpoint, clip)
    right, texts = named_rightly(named), list(TEXTS)
    exact = (named == np.arange(len(texts))[:, None]).sum()
    print(f"\ntext alone, named by {clip.name} among the {len(texts)} prompts: scene and time of day of "
          f"{right.sum()} of {right.size} samples, the very prompt of {exact}")
    for text, pair, ok in zip(texts, named, right, strict=True):
        print(f"  {ok.sum()} of 2  {text}" + ("" if ok.all() else f" -> {[texts[i] for i in pair]}"))
    video.contact_sheet([(" | ".join(texts[i:i + 4]), made[2 * i:2 * i + 8]) for i in range(0, len(texts), 4)],
                        path=docs / "checkpoint-text.webp")
    if args.fid:
        weights = [file.read_bytes() for file in sorted((root() / args.checkpoint).rglob("*.safetensors"))]
        fid(checkpoint, args.fid, root() / "store" / "fid" / hashlib.sha256(b"".join(weights)).hexdigest()[:16])


if __name__ == "__main__":
    main()
