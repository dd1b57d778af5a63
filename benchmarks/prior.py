"""What the built-in prior can do, on images it never saw: the figures and pictures of its card (prior/README.md).

    python -m benchmarks.prior              autoencoder, text alone, half pictures, CLIP (some minutes on a CPU)
    python -m benchmarks.prior --fid 500    FID of as many samples against held-out stills as well (longer)
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from tqdm.auto import tqdm

from eval.features import Clip, Inception
from eval.fid import fid_from_features
from eval.fidelity import psnr
from lnm import footage, scenes, video
from lnm.latents import decode, encode
from lnm.mini import SIZE
from lnm.params import root
from lnm.prior import open_prior

HELD_OUT = 600_000  # first seed of stills that no training saw
REAL = {"rapids": "a photo of white water rapids in a river", "waves": "a photo of a beach by the sea",
        "waterfall": "a photo of a waterfall", "cliff": "a photo of the coast by the sea",
        "ferry": "a photo of a ferry on the sea"}
# prompt -> (scene, what the sun does): twice each makes the twenty samples
TEXTS = ["ocean waves under a clear sky by day", "ocean waves under an open sky at sunset",
         "rough ocean waves under a cloudy sky by day", "clouds drifting in a blue sky by day",
         "clouds drifting in an orange sky at sunset", "a golden sunset over calm water",
         "an afterglow over the sea at sunset", "rain on a pond in the shade of trees",
         "a pond in heavy rain under a grey sky", "a starry sky over dark hills at night"]
PLAIN = ["a photo of a river", "a photo of a waterfall", "a photo of a beach by the sea", "a photo of mountains",
         "a photo of a harbour", "a photo of a church", "a starry sky at night", "clouds in a blue sky by day"]
PLAIN_OF = {"rapids": 0, "waves": 2, "waterfall": 1}


def stills(count: int, first: int = HELD_OUT) -> tuple[np.ndarray, list[str]]:
    """`count` stills of each scene in turn, and their captions."""
    drawn = [scenes.draw(scenes.KINDS[i % len(scenes.KINDS)], first + i) for i in range(count)]
    images = [scenes.render(scene, [float(scene.seed % 40)], SIZE)[0] for scene in tqdm(drawn, desc="rendering")]
    return np.stack(images), [scene.caption for scene in drawn]


def real(name: str, count: int = 10) -> np.ndarray:
    return video.read(root() / footage.path(name), fps=5, size=SIZE, crop=footage.CATALOGUE[name].crop).frames[:count]


@torch.no_grad()
def sample(prior, prompts: list[str], hint: torch.Tensor, mask: torch.Tensor, seed: int, guidance: float,
           steps: int = 20, batch: int = 16) -> np.ndarray:
    """Inpainted pictures uint8 (N, H, W, 3): hint (N, C, h, w) of the masked picture's latents, mask (N, 1, h, w)."""
    ids = prior.tokenizer(prompts + [""], padding="max_length", truncation=True, return_tensors="pt").input_ids
    words = torch.cat([prior.text_encoder(part)[0] for part in ids.split(64)])
    noise = torch.randn(hint.shape, generator=torch.Generator().manual_seed(seed))
    done = []
    for i in tqdm(range(0, len(hint), batch), desc="sampling"):
        part = slice(i, min(i + batch, len(hint)))
        x, empty = noise[part], words[-1:].expand(part.stop - i, -1, -1)
        prior.scheduler.set_timesteps(steps)
        for t in prior.scheduler.timesteps:
            inputs = torch.cat([x, mask[part], hint[part]], 1)
            both = prior.unet(torch.cat([inputs, inputs]), t, torch.cat([empty, words[part]])).sample
            without, with_ = both.chunk(2)
            x = prior.scheduler.step(without + guidance * (with_ - without), t, x).prev_sample
        done.append(x)
    return decode(prior.vae, torch.cat(done))


def autoencoder(prior) -> None:
    images, _ = stills(50)
    kinds = {kind: images[i::len(scenes.KINDS)] for i, kind in enumerate(scenes.KINDS)}
    print("\nVAE, PSNR in dB on images it never saw (mean over pictures)")
    for name, frames in (kinds | {name: real(name) for name in REAL}).items():
        again = decode(prior.vae, encode(prior.vae, frames))
        print(f"  {name:10} {np.mean([psnr(a, b) for a, b in zip(frames, again)]):.1f}")


def blank(prior) -> torch.Tensor:
    return encode(prior.vae, np.full((1, SIZE, SIZE, 3), 128, np.uint8))


def text_alone(prior, clip) -> None:
    """Two samples of each of ten prompts, and which of the ten lnm-mini-clip takes them for."""
    prompts = [text for text in TEXTS for _ in range(2)]
    hint = blank(prior).expand(len(prompts), -1, -1, -1)
    made = sample(prior, prompts, hint, torch.ones_like(hint[:, :1]), seed=0, guidance=2.0)
    images, texts = clip(made), np.stack([clip.text(text) for text in TEXTS])
    images, texts = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, texts))
    named = (images @ texts.T).argmax(1)
    right = named == np.repeat(np.arange(len(TEXTS)), 2)
    print(f"\ntext alone: {right.sum()} of {len(prompts)} named rightly by {clip.name} among the {len(TEXTS)} prompts")
    for text, pair, ok in zip(TEXTS, named.reshape(-1, 2), right.reshape(-1, 2)):
        taken = "" if ok.all() else f" -> {[TEXTS[i] for i in pair]}"
        print(f"  {'yes' if ok.all() else 'half' if ok.any() else 'no':5} {text}{taken}")
    video.contact_sheet([(" | ".join(TEXTS[i:i + 4]), made[2 * i:2 * i + 8]) for i in range(0, len(TEXTS), 4)],
                        path=root() / "docs" / "prior-text.png")


def half_pictures(prior) -> None:
    """The right half of ten pictures painted anew; the step across the edge beside the same in the picture itself."""
    images, captions = stills(5, HELD_OUT + 1000)
    images = np.concatenate([images, *(real(name, 1) for name in REAL)])
    hidden = images.copy()
    hidden[:, :, SIZE // 2:] = 128
    hint = encode(prior.vae, hidden)
    mask = torch.zeros_like(hint[:, :1])
    mask[..., mask.shape[-1] // 2:] = 1
    made = sample(prior, captions + list(REAL.values()), hint, mask, seed=1, guidance=2.0)
    steps = np.abs(np.diff(made[:, :, SIZE // 2 - 9:SIZE // 2 + 9].astype(float), axis=2)).mean((1, 3))  # (10, 17)
    print("\nhalf pictures: step across the seam over the mean step near it, "
          f"{np.round(steps[:, 8] / steps.mean(1), 2).tolist()}")
    video.contact_sheet([("pictures", images), ("left half given", hidden), ("painted", made)], columns=10,
                        path=root() / "docs" / "prior-inpaint.png")


def clip_alone(clip) -> None:
    """Top-1 of 16 different captions on held-out scenes, plain captions for photographs, and what a score is worth."""
    images, captions = stills(200, HELD_OUT + 2000)
    pictures = clip(images)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    words = {text: clip.text(text) for text in set(captions) | set(PLAIN)}
    words = {text: v / np.linalg.norm(v) for text, v in words.items()}
    rng, hits, right, wrong = np.random.default_rng(0), [], [], []
    for i, caption in enumerate(captions):
        others = rng.permutation([c for c in sorted(set(captions)) if c != caption])[:15]
        scores = [pictures[i] @ words[c] for c in (caption, *others)]
        hits.append(int(np.argmax(scores) == 0))
        right.append(scores[0])
        wrong.append(np.mean(scores[1:]))
    print(f"\n{clip.name}: top-1 of 16 different captions on {len(captions)} held-out scenes {np.mean(hits):.0%}")
    print(f"  cosine of the right caption {np.mean(right):.3f} (sd {np.std(right):.3f}), of other scenes' "
          f"{np.mean(wrong):.3f} (sd {np.std(wrong):.3f})")
    for name, own in PLAIN_OF.items():
        x = clip(real(name)).mean(0)
        scores = [x @ words[c] / np.linalg.norm(x) for c in PLAIN]
        print(f"  {name}: its caption is number {1 + sum(s > scores[own] for s in scores)} of {len(PLAIN)} "
              f"(best: {PLAIN[int(np.argmax(scores))]})")


def fid(prior, count: int) -> None:
    network = Inception(root() / "weights" / "inception-2015-12-05.pt")
    a, captions = stills(count, HELD_OUT + 10_000)
    b, _ = stills(count, HELD_OUT + 50_000)
    hint = blank(prior).expand(count, -1, -1, -1)
    made = sample(prior, captions, hint, torch.ones_like(hint[:, :1]), seed=2, guidance=2.0)
    again = decode(prior.vae, encode(prior.vae, b, desc="through the VAE"))

    def features(frames, what):
        return np.concatenate([network(frames[i:i + 16]) for i in tqdm(range(0, count, 16), desc=f"Inception, {what}")])

    reference = features(a, "held-out stills")
    print(f"\nFID, real Inception weights, {count} pictures a set, against held-out rendered stills of all scenes")
    sets = {"other held-out stills": b, "those through the VAE": again, "samples from captions": made}
    for name, frames in sets.items():
        print(f"  {name:24} {fid_from_features(features(frames, name), reference):.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prior", description=__doc__.split("\n\n")[0])
    parser.add_argument("--prior", default="prior/lnm-mini")
    parser.add_argument("--clip", default="prior/lnm-mini-clip")
    parser.add_argument("--fid", type=int, default=0, metavar="N", help="pictures a set")
    args = parser.parse_args()
    prior, clip = open_prior(args.prior), Clip(args.clip, root())
    autoencoder(prior)
    clip_alone(clip)
    half_pictures(prior)
    text_alone(prior, clip)
    if args.fid:
        fid(prior, args.fid)


if __name__ == "__main__":
    main()
