"""How lnm-mini is trained: every number, and which round of training a step falls into."""

from __future__ import annotations

from typing import Any

SIZE = 128  # pixels
GREY = 128  # what stands where the mask is

# the clips that lnm-mini and lnm-mini-motion learn from; seeds lie beyond those of stills and of the built-in clips
MOTION: dict[str, Any] = dict(
    seed=0, frames=40, rates=(5, 6.25, 8, 10, 12.5, 16), paces=(0.4, 1.2),
    clips={"ocean": 600, "clouds": 440, "sunset": 260, "pond": 100, "dusk": 160, "rapids": 160},
    first_seed=200_000, validation=2, validation_seed=300_000,
    # pieces of each real clip: squares from `smallest_piece` of its short side, one frame of `every`
    real={"waterfall": "a photo of a waterfall", "cliff": "a photo of the coast by the sea",
          "ferry": "a photo of a ferry on the sea"},
    pieces=160, smallest_piece=0.4, every=(2, 3, 4), real_seconds=5.0, held_seconds=1.0,
)

# How lnm-mini is trained. The weights that are shipped are the carried ones: `lnm checkpoint train --start` from those
# of before, whose U-Net had had 9,800 steps, and 1,400 with references, on latents of separate 8x8 blocks. The way from
# nothing has not been run at full length.
RECIPE: dict[str, Any] = dict(
    seed=0,
    stills={"ocean": 2600, "clouds": 1800, "sunset": 900, "pond": 500, "dusk": 500},  # for CLIP; one seed each
    photo_crops=5,  # crops of each photograph
    clips=MOTION,
    # the encoder, see windows.py; `clips`: how many of them are among what it is fitted to
    fit=dict(channels=16, clips=120, steps=2500, batch=24, crop=64, lr=2e-3, decoder_lr=5e-4, noise=0.02, gradient=0.3,
             penalty=1e-3),
    vae_start=400,  # pictures behind the decoder's linear start, from nothing
    decoder=dict(steps=3000, lr=4e-4, warmup=100),
    vae_batch=8, vae_crop=64, vae_mse=1.0, vae_gradient=0.5, vae_texture=0.1, vae_noise=0.12,
    # the U-Net, from nothing with the text encoder, or carried over, the text encoder as it is; see `schedule`
    unet=dict(steps=12_000, lr=4e-3, edge_lr=2e-3),
    carried=dict(steps=1900, lr=2.5e-3, edge_lr=1.5e-3),
    # what a step sees, see batch.py; "photos": their share of the pictures that have no reference; "reach": seconds
    # between a frame and the one given beside it, at most
    unet_batch=24, prompt_dropout=0.1, ema=0.998, photos=0.5, reach=1.5,
    masks={"reference": 0.5, "everything": 0.12, "box": 0.08, "half": 0.2, "nothing": 0.1},
    clip_batch=96,
    clip_rounds=[dict(steps=500, period=500, cooldown=1, lr=3e-3, edge_lr=1e-3),
                 dict(steps=500, period=500, cooldown=100, lr=2e-3, edge_lr=7e-4)],
)


def schedule(part: dict) -> dict:
    """One round of `part`'s "steps" and rates: a warm-up, a cosine, a straight line to nothing over the last 30%."""
    return part | {"period": part["steps"], "cooldown": max(1, int(0.3 * part["steps"]))}


def round_of(rounds: list[dict], step: int) -> tuple[dict, int]:
    """The round of training that `step` falls into, and its number within it. Raises IndexError after the last."""
    for part in rounds:
        if step < part["steps"]:
            return part, step
        step -= part["steps"]
    raise IndexError("a step after the last round")


def total_steps(rounds: list[dict]) -> int:
    return sum(part["steps"] for part in rounds)
