"""One training step's data, its learning rate and its optimiser. Section 4.

Everything random in a step is a function of (seed, step, rank), so a run that was interrupted and resumed gives the
bytes of one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from einops import rearrange

from lnm.errors import UserError
from lnm.flow import backward_flow, carried
from lnm.latents import Clips, encode
from lnm.lion import Lion
from lnm.settings import Decoder, Finetune
from lnm.validation import grid, places, reach


def learning_rate(step: int, settings: Finetune | Decoder, floor: float = 0.0) -> float:
    """Linear warm-up over `warmup_steps`, then constant or a cosine to `floor` times the rate."""
    rate = settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warmup_steps))
    if settings.lr_schedule == "cosine":
        done = max(0, step - settings.warmup_steps) / max(1, settings.ceiling - settings.warmup_steps)
        rate *= floor + (1 - floor) * 0.5 * (1 + np.cos(np.pi * done))
    return float(rate)


def draw_clips(latents: Clips, settings: Finetune, fps: float, rng: np.random.Generator,
               ) -> tuple[torch.Tensor, torch.Tensor, list[tuple[int, slice]]]:
    """A batch of consecutive latents, each clip at a random stride, from latents (N, C, h, w) at `fps`, or a list of
    those: every place in any of them is drawn as often, and none reaches over two.

    Returns clips (B, C, F, h, w), the frame rate of each (B,), and where each is from: which of the list, which rows.
    """
    frames = settings.frames
    sources = latents if isinstance(latents, list) else [latents]
    fitting = [s for s in settings.strides if s * (frames - 1) < max(map(len, sources))]
    drawn, rates = [], []
    for _ in range(settings.batch_size):
        stride = int(rng.choice(fitting))
        places = [max(0, len(source) - stride * (frames - 1)) for source in sources]
        start = int(rng.integers(0, sum(places)))
        which = int(np.searchsorted(np.cumsum(places), start, side="right"))
        start -= sum(places[:which])
        drawn.append((which, slice(start, start + stride * (frames - 1) + 1, stride)))
        rates.append(fps / stride)
    clips = rearrange(torch.stack([sources[which][rows] for which, rows in drawn]), "b f c h w -> b c f h w")
    return clips, torch.tensor(rates), drawn


def carried_first(vae: Any, frames: np.ndarray) -> torch.Tensor:
    """Latents (C, F, h, w), scaled, of the first of frames uint8 (F, H, W, 3), carried along by their own optical flow,
    as a film that is begun from flow is told of it (`sample.condition: video`); what enters is of the frames. One is
    encoded at a time, for the training lies in memory beside it."""
    film = np.stack(list(carried(frames[0], backward_flow(frames), frames)))
    return encode(vae, film, chunk_size=1).movedim(0, 1)


def make_batch(latents: Clips, settings: Finetune, fps: float, scheduler: Any, seed: int, step: int, rank: int = 0,
               trained_on: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]] | None = None,
               told: Callable[[int, slice], torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """Everything that goes into one step, on the CPU; a function of (seed, step, rank) alone.

    sample (B, 2C+1, F, h, w): noisy latents, mask, first frame's latents repeated. target (B, C, F, h, w): the noise,
    or the velocity for a checkpoint that predicts it. timestep (B,): one a clip. fps (B,). drop (B,): prompt left out.
    trained_on: of the noise (B, C, F, h, w) and timesteps (B,) that are drawn, those that are taken. told: of a clip's
    number and rows, the latents (C, F, h, w) that frames are told of in a share `settings.carried` of the steps.
    """
    rng = np.random.default_rng([seed, step, rank])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    clean, rates, places = draw_clips(latents, settings, fps, rng)
    noise = torch.randn(clean.shape, generator=generator)
    t = torch.randint(0, scheduler.config.num_train_timesteps, (len(clean),), generator=generator)
    if trained_on:
        noise, t = trained_on(noise, t)
    drop = torch.from_numpy(rng.random(len(clean)) < settings.prompt_dropout)
    stills = None
    if told and rng.random() < settings.carried:
        stills = torch.stack([told(*place) for place in places])
    return {**noised(clean, noise, t, settings, scheduler, generator, stills), "fps": rates, "drop": drop}


def noised(clean: torch.Tensor, noise: torch.Tensor, t: torch.Tensor, settings: Finetune, scheduler: Any,
           generator: torch.Generator, told: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """`make_batch`'s sample, target and timestep of clips (B, C, F, h, w), noise of that shape and timesteps (B,).
    told: of that shape, what each frame is told of; None: all of the first frame."""
    noisy = scheduler.add_noise(clean, noise, t)  # eq. 1
    still = clean[:, :, :1] if told is None else told
    if settings.still_noise:
        still = still + settings.still_noise * torch.randn(still.shape, generator=generator)
    mask = torch.full_like(clean[:, :1], settings.mask_value)
    target = noise if scheduler.config.prediction_type == "epsilon" else scheduler.get_velocity(clean, noise, t)
    return {"sample": torch.cat([noisy, mask, still.expand_as(clean)], dim=1), "target": target, "timestep": t}


def fixed_batches(clean: torch.Tensor, number: int, fps: float, settings: Finetune, scheduler: Any,
                  told: torch.Tensor | None = None) -> Iterator[dict[str, torch.Tensor]]:
    """Batches of one over `lnm.validation.grid`'s timesteps and noise, of the held-out sample `number`.

    clean: (1, C, F, h, w) at the smallest stride, from a clip at `fps`. told: as `noised` takes it. What frames are
    told of has no noise of its own.
    """
    settings = settings.model_copy(update={"still_noise": 0.0})
    rate = torch.tensor([fps / min(settings.strides)])
    for noise, t, generator in grid(clean, number, scheduler.config.num_train_timesteps):
        yield {**noised(clean, noise, t, settings, scheduler, generator, told), "fps": rate}


def held_batches(held: Clips, fps: float, settings: Finetune, scheduler: Any, vae: Any,
                 pictures: list[np.ndarray] | None = None) -> Iterator[dict[str, torch.Tensor]]:
    """`fixed_batches` of each of `lnm.validation.samples`. pictures: behind each clip of `held`, where frames are told
    of the carried first one in a share of the steps: then as well, or, where that is all of them, instead."""
    number = 0
    for clip, latents in enumerate(held if isinstance(held, list) else [held]):
        for rows in places(len(latents), settings):
            told: list[torch.Tensor | None] = [None] if settings.carried < 1 else []
            told += [carried_first(vae, pictures[clip][rows])[None]] if pictures else []
            for each in told:
                yield from fixed_batches(latents[rows].movedim(0, 1)[None], number, fps, settings, scheduler, each)
            number += 1


def make_optimizer(parameters: dict[str, torch.nn.Parameter], settings: Finetune) -> torch.optim.Optimizer:
    """Lion (Chen et al. 2023), the paper's, or AdamW, for parameters by name.

    Weight decay pulls towards zero. That is the identity for what is added to a residual (attention, fps embedding),
    but not for the temporal convolutions, which start as Dirac kernels, nor for norms: those have none.
    """
    decayed = {k for k, p in parameters.items()
               if p.ndim >= 2 and (".temporal.to_" in k or k.startswith("fps_embedding."))}
    groups = [{"params": [p for k, p in parameters.items() if k in decayed], "weight_decay": settings.weight_decay},
              {"params": [p for k, p in parameters.items() if k not in decayed], "weight_decay": 0.0}]
    if settings.optimizer == "lion":
        return Lion(groups, lr=settings.learning_rate)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.99))


def check_lengths(latents: Clips | np.ndarray, settings: Finetune, name: str) -> None:
    """`check_length` of what is trained on, of several clips of each."""
    if not isinstance(latents, list):
        return check_length(len(latents), settings, name)
    for number, clip in enumerate(latents, 1):
        check_length(len(clip), settings, f"{name}: clip {number}" if len(latents) > 1 else name)


def check_length(count: int, settings: Finetune, name: str) -> None:
    """Raise UserError unless `count` frames hold a training sample at the smallest stride."""
    needed = reach(settings)
    if count < needed:
        raise UserError(f"{name}: {count} training frames, finetune.frames and finetune.strides need {needed}; give a "
                        "longer clip, a higher fps or smaller strides")
    if settings.steps == "auto" and count < 2 * needed:
        raise UserError(f"{name}: {count} training frames; finetune.steps: auto keeps {needed} of them apart, which "
                        "leaves too few; give a longer clip, or a number of steps")
