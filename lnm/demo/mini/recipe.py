"""How lnm-mini is trained: every number, and which round of training a step falls into."""

from __future__ import annotations

from typing import Any

SIZE = 128  # pixels
GREY = 128  # what stands where the mask is

# the clips that lnm-mini's last round and lnm-mini-motion learn from; seeds lie beyond those of lnm-mini's stills and
# of the built-in clips
MOTION: dict[str, Any] = dict(
    seed=0, frames=40, rates=(5, 6.25, 8, 10, 12.5, 16), paces=(0.4, 1.2),
    clips={"ocean": 600, "clouds": 440, "sunset": 260, "pond": 100, "dusk": 160, "rapids": 160},
    first_seed=200_000, validation=2, validation_seed=300_000,
    # pieces of each real clip: squares from `smallest_piece` of its short side, one frame of `every`
    real={"waterfall": "a photo of a waterfall", "cliff": "a photo of the coast by the sea",
          "ferry": "a photo of a ferry on the sea"},
    pieces=80, smallest_piece=0.4, every=(2, 3, 4), real_seconds=5.0, held_seconds=1.0,
)

# how lnm-mini is trained: four and a half hours on 2 CPU cores
RECIPE = dict(
    seed=0,
    stills={"ocean": 2600, "clouds": 1800, "sunset": 900, "pond": 500, "dusk": 500},  # rendered; one seed each
    photo_crops=5,  # crops of each photograph
    vae_start=400,  # images behind the linear transform
    vae_batch=8, vae_crop=64, vae_mse=1.0, vae_gradient=0.5, vae_texture=0.1, vae_noise=0.1,
    vae_rounds=[dict(steps=1500, lr=3e-4, warmup=200), dict(steps=500, lr=2e-4, warmup=50, edges=0.07)],
    unet_batch=24, prompt_dropout=0.1, ema=0.998,
    # a round: a warm-up to `lr`, a cosine over `period`, a straight line to nothing over the last `cooldown` steps.
    # From the second on more pictures go on from what is given; the third also weighs what is coarse, the fourth the
    # line between what is given and what is not (`coarse_error`); the last three learn more of high noise, where hues
    # are settled: a timestep is the noisiest of two.
    unet_rounds=[
        dict(steps=2400, period=3000, cooldown=400, lr=4e-3, edge_lr=2e-3, photos=0.3,
             masks={"everything": 0.5, "box": 0.35}),
        dict(steps=1200, period=3200, cooldown=1, lr=3e-3, edge_lr=1.5e-3, photos=0.4,
             masks={"everything": 0.3, "box": 0.15, "half": 0.35}),
        dict(steps=1200, period=2100, cooldown=1, lr=3e-3, edge_lr=1.5e-3, photos=0.4,
             masks={"everything": 0.25, "box": 0.15, "half": 0.45}, coarse=1),
        dict(steps=800, period=1200, cooldown=500, lr=2.5e-3, edge_lr=1.2e-3, photos=0.4,
             masks={"everything": 0.25, "box": 0.15, "half": 0.45}, coarse=1, seams=10),
        dict(steps=1800, period=2400, cooldown=700, lr=3e-3, edge_lr=1.5e-3, photos=0.4,
             masks={"everything": 0.2, "box": 0.1, "half": 0.55}, coarse=1, seams=10, noisiest_of=2),
        dict(steps=1100, period=1500, cooldown=700, lr=2.5e-3, edge_lr=1.2e-3, photos=0.4,
             masks={"everything": 0.2, "box": 0.1, "half": 0.55}, coarse=1, seams=10, noisiest_of=2),
        dict(steps=1300, period=2400, cooldown=600, lr=3e-3, edge_lr=1.5e-3, photos=0.4,
             masks={"everything": 0.2, "box": 0.1, "half": 0.6}, coarse=1, seams=10, noisiest_of=2),
    ],
    # the last round of the U-Net, see references.py; "reach": seconds between a frame and the one given beside it
    reference_rounds=[
        dict(steps=1400, period=1400, cooldown=420, lr=2.5e-3, edge_lr=1.2e-3, photos=0.5, reach=1.5,
             masks={"reference": 0.5, "everything": 0.12, "box": 0.08, "half": 0.2}, coarse=1, seams=10, noisiest_of=2),
    ],
    clips=MOTION,
    clip_batch=96,
    clip_rounds=[dict(steps=500, period=500, cooldown=1, lr=3e-3, edge_lr=1e-3),
                 dict(steps=500, period=500, cooldown=100, lr=2e-3, edge_lr=7e-4)],
)

def round_of(rounds: list[dict], step: int) -> tuple[dict, int]:
    """The round of training that `step` falls into, and its number within it. Raises IndexError after the last."""
    for part in rounds:
        if step < part["steps"]:
            return part, step
        step -= part["steps"]
    raise IndexError("a step after the last round")


def total_steps(rounds: list[dict]) -> int:
    return sum(part["steps"] for part in rounds)
