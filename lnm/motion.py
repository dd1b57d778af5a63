"""Temporal layers trained on many clips before the one: motion in general, that a fine-tune then makes particular.

The public ancestors of the paper began so. The space stays frozen; what is drawn in a step is a function of (seed,
step, rank). What comes out opens by `finetune.init`.
"""

from __future__ import annotations

import csv
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from lnm.batches import carried_first, draw_clips, fixed_batches, noised
from lnm.clips import EncodedClip, encode_clips, find_clips, held_out, read_captions
from lnm.errors import UserError
from lnm.hub import locate_temporal
from lnm.model import InflatedModel
from lnm.resume import FIELDS, ResumeStore
from lnm.runs import Trained, decided, make_accelerator, resumable, weights_of
from lnm.settings import Motion
from lnm.temporal_file import load_temporal
from lnm.training import Trainer, _draw, _settings, lora_of, run
from lnm.validation import reach


@dataclass
class MotionTrained(Trained):
    """What a training on many clips did: clips trained on, those held out, {steps: validation loss}."""

    clips: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    validation: dict[int, float] = field(default_factory=dict)


def train_motion(pipe: InflatedModel, clips: Path | str, *, captions: Path | str | None = None,
                 prompt: str | None = None, cache: Path | str, size: int | Sequence[int] | None = None, seed: int = 0,
                 store: Path | str | None = None, log: Path | str | None = None, settings: Motion | None = None,
                 **changes: Any) -> MotionTrained:
    """Teach the temporal layers of `pipe` the motion of many clips, in place; `pipe.save_temporal(FILE)` keeps it.

    clips: a folder of videos and folders of images. captions, prompt: see `lnm.clips.read_captions`. cache: a folder
    for their latents, which later runs find there. size: in pixels; None takes the square that the U-Net was made for.
    store: a folder for checkpoints, from which the same call goes on after an interruption. log: a .csv that gets every
    step's loss, and the validation's. settings: all choices; further keywords change single ones.
    Raises UserError for clips, captions or a pipeline that cannot be trained on.
    """
    settings = _settings(pipe, settings, changes, Motion)
    accelerator = make_accelerator(settings, pipe.device)
    size = size or pipe.unet.config.sample_size * pipe.vae_scale_factor
    sources = find_clips(clips)
    texts = read_captions(captions, [s.name for s in sources], prompt)
    held = held_out(sources, settings.holdout)
    with accelerator.main_process_first():  # the others find what it encoded
        encoded = encode_clips(pipe.vae, f"{weights_of(pipe)[0]} {pipe.vae.config.scaling_factor!r}", sources, texts,
                               cache, size, settings, held, accelerator.is_main_process)
    train = long_enough([c for c in encoded if c.content not in held], settings)
    # in an order that names do not change, each content once
    validation = sorted({c.content: c for c in encoded if c.content in held}.values(), key=lambda c: c.content)
    if settings.init:  # its layers alone: noise schedule and mask value are this run's
        # not strict: many clips mend what another base of the same shape has left
        load_temporal(pipe.unet, locate_temporal(settings.init), strict=False)
    else:
        _draw(pipe.unet, seed)
    identity = {**decided(pipe, settings, seed), "size": str(size), "clips": [_facts(c) for c in train]}
    with resumable(pipe, identity, store, accelerator, (*FIELDS, "validation")) as run_store:
        trained = train_encoded(pipe, train, validation, settings, accelerator, seed, run_store)
        if run_store and run_store.main and log is not None:
            shutil.copyfile(run_store.log, log)
    pipe.register_to_config(mask_value=float(settings.mask_value))
    rate = settings.fps or float(np.median([clip.fps for clip in train]))
    pipe.learned = {"fps": rate, "frames": settings.frames, "strides": settings.strides, "prompt": prompt,
                    "steps": settings.steps, "checkpoint": pipe.learned.get("checkpoint"), "extra": {
                        "clips": len(trained.clips), "held_out": len(trained.held_out), "crops": settings.crops,
                        "mirror": settings.mirror, "most_frames": settings.most_frames, "carried": settings.carried,
                        "seed": seed,
                        "optimizer": settings.optimizer, "learning_rate": settings.learning_rate,
                        "lr_floor": settings.lr_floor, "ema": settings.ema, **lora_of(pipe).get("extra", {}),
                        "validation": list(trained.validation.values())[-1] if trained.validation else None}}
    return trained


def _facts(clip: EncodedClip) -> list:
    return [clip.content, clip.caption, clip.fps, [piece.path.name for piece in clip.pieces]]


def long_enough(clips: list[EncodedClip], settings: Motion) -> list[EncodedClip]:
    """Those that hold the longest training sample at the smallest stride; the others are named in a warning."""
    needed = reach(settings.model_copy(update={"frames": settings.most_frames or settings.frames}))
    short = [c.name for c in clips if len(c.pieces[0]) < needed]
    if len(short) == len(clips):
        raise UserError(f"clips: none has the {needed} frames that motion.frames and motion.strides need")
    if short:
        warnings.warn(f"{len(short)} clips have fewer than {needed} frames and are left out: {', '.join(short[:5])}"
                      f"{' ...' if len(short) > 5 else ''}", stacklevel=3)
    return [c for c in clips if c.name not in short]


# ---------------------------------------------------------------- one step's data


def make_motion_batch(clips: Sequence[EncodedClip], settings: Motion, scheduler: Any, seed: int, step: int,
                      rank: int = 0, vae: Any = None) -> tuple[dict[str, torch.Tensor], list[int]]:
    """What goes into one step, as `lnm.batches.make_batch` has it, and which clips it shows; a function of (seed,
    step, rank). A clip is drawn, a piece of it, a stride that fits, a start. In a share `settings.carried` of the steps
    each frame is told of its own of the carried first frame (`lnm.batches.carried_first`), which `vae` encodes."""
    rng = np.random.default_rng([seed, step, rank])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    frames = int(rng.integers(settings.frames, (settings.most_frames or settings.frames) + 1))
    one = settings.model_copy(update={"frames": frames, "batch_size": 1})
    chosen = rng.integers(len(clips), size=settings.batch_size).tolist()
    drawn = []
    for i in chosen:
        pieces = clips[i].pieces
        piece: Any = pieces[int(rng.integers(len(pieces)))]
        clip, rate, ((_, rows),) = draw_clips(piece, one, clips[i].fps, rng)
        drawn.append((clip, rate, piece, rows))
    clean = torch.cat([clip for clip, *_ in drawn])
    noise = torch.randn(clean.shape, generator=generator)
    t = torch.randint(0, scheduler.config.num_train_timesteps, (len(clean),), generator=generator)
    drop = torch.from_numpy(rng.random(len(clean)) < settings.prompt_dropout)
    told = None
    if settings.carried and rng.random() < settings.carried:
        told = torch.stack([carried_first(vae, piece.frames(rows)) for *_, piece, rows in drawn])
    return {**noised(clean, noise, t, settings, scheduler, generator, told), "drop": drop,
            "fps": torch.cat([rate for _, rate, *_ in drawn])}, chosen


def validation_batches(clips: Sequence[EncodedClip], settings: Motion, scheduler: Any) -> Iterator[tuple[int, dict]]:
    """(clip, batch of one) over GRID fixed timesteps and noise that hangs on clip and timestep alone: the middle of
    each held-out clip at the smallest stride."""
    for i, clip in enumerate(clips):
        latents = clip.pieces[0]
        start = (len(latents) - reach(settings)) // 2
        clean = latents[start:start + reach(settings):min(settings.strides)].movedim(0, 1)[None]  # (1, C, F, h, w)
        for batch in fixed_batches(clean, i, clip.fps, settings, scheduler):
            yield i, batch


# ---------------------------------------------------------------- the loop


class MotionTrainer(Trainer):
    """A trainer whose clips have a caption each, and which looks at clips that it is not trained on."""

    def __init__(self, pipe: InflatedModel, clips: list[EncodedClip], held: list[EncodedClip], settings: Motion,
                 accelerator: Accelerator):
        super().__init__(pipe, "", settings, accelerator, "many clips")
        self.choices, self.floor, self.clips, self.held = settings, settings.lr_floor, clips, held
        texts = sorted({c.caption for c in [*clips, *held]})
        embeds = torch.cat([pipe.encode_prompt(texts[i:i + 64]).cpu() for i in range(0, len(texts), 64)])
        self.captions = dict(zip(texts, embeds, strict=True))

    def take(self, seed: int, step: int) -> tuple[float, float, float]:
        """Step number `step`, as `Trainer.step` gives it."""
        batch, chosen = make_motion_batch(self.clips, self.choices, self.scheduler, seed, step,
                                          self.accelerator.process_index, self.pipe.vae)
        return self.descend(batch, torch.stack([self.captions[self.clips[i].caption] for i in chosen]).to(self.device),
                            step)

    def validate(self) -> float:
        """Eq. 2 on the held-out clips, by the averaged weights."""
        with self.averaged():
            return self.held_out_loss((self.captions[self.held[i].caption], batch) for i, batch in
                                      validation_batches(self.held, self.choices, self.scheduler))


def train_encoded(pipe: InflatedModel, clips: list[EncodedClip], held: list[EncodedClip], settings: Motion,
                  accelerator: Accelerator, seed: int = 0, store: ResumeStore | None = None) -> MotionTrained:
    """Train the temporal layers of `pipe` on encoded clips, in place; `held` are looked at alone."""
    seen = [c for c in held if len(c.pieces[0]) >= reach(settings)][:settings.validation_clips]
    trainer = MotionTrainer(pipe, clips, seen, settings, accelerator)
    validation: dict[int, float] = {}

    def look(done: int) -> tuple[str]:
        due = done % settings.validate_every == 0 or done == settings.ceiling
        if not (seen and due and accelerator.is_main_process):
            return ("",)
        validation[done] = trainer.validate()
        return (f"{validation[done]:.6f}",)

    trained = run(trainer, lambda step: trainer.take(seed, step), store, f"training on {len(clips)} clips", look)
    if store and store.main:  # those of an interrupted run as well
        with store.log.open() as stream:
            rows = [(int(row["step"]) + 1, row["validation"]) for row in csv.DictReader(stream)]
        validation = {done: float(loss) for done, loss in rows if loss}
    return MotionTrained(**vars(trained), clips=[c.name for c in clips], held_out=[c.name for c in held],
                         validation=validation)
