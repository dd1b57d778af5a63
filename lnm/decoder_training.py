"""Training of a decoder in time on many clips: their pixels, from latents with noise on them.

The autoencoder itself stands still. What is drawn in a step is a function of (seed, step), so a run that was
interrupted and resumed gives the bytes of one that was not.
"""

from __future__ import annotations

import csv
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from lnm import video
from lnm.batches import learning_rate
from lnm.clips import Source, find_clips, held_out
from lnm.decoder import (
    add_temporal_decoder,
    decode_together,
    decoder_parameters,
    has_temporal_decoder,
    remove_temporal_decoder,
)
from lnm.errors import UserError
from lnm.latents import encode_pixels, to_tensor
from lnm.resume import FIELDS, ResumeStore
from lnm.runs import WITHOUT_EFFECT, Trained, fingerprint
from lnm.settings import Decoder, validated

LEVELS = (0.0, 0.07)  # noise on the scaled latents of held-out clips; 0.07: about what a U-Net gets wrong in a film
MEASURES = tuple(f"{what}_{level:g}" for level in LEVELS for what in ("mse", "change"))  # of the log, after FIELDS
SOUND = "(stopped; the last checkpoint is sound)"


@dataclass
class DecoderTrained(Trained):
    """What a training of a decoder in time did: clips trained on, those held out, {steps: {measure: value}}.

    The measures, on held-out clips by the averaged weights, pixels in [-1, 1]: mse_0 and mse_0.07, the mean square of
    what the pixels miss, and change_0 and change_0.07, the mean |difference| of their changes from frame to frame; from
    clean latents, and from latents with noise of 0.07. Step 0 is the decoder as it was.
    """

    clips: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    validation: dict[int, dict[str, float]] = field(default_factory=dict)


def train_decoder(model: Any, clips: Path | str, *, size: int | None = None, seed: int = 0,
                  store: Path | str | None = None, log: Path | str | None = None, settings: Decoder | None = None,
                  **changes: Any) -> DecoderTrained:
    """Teach the decoder of an autoencoder, in place, to decode the frames of a film together;
    `lnm.decoder.save_decoder` keeps what was learned.

    model: an autoencoder of diffusers in float32 (AutoencoderKL, AutoencoderDC), or a pipeline that has one as `vae`.
    It begins from the temporal layers that its decoder has, else from new ones, which are the identity. clips: a folder
    of videos and folders of images, of which those in validation/, or else a share, are never trained on. size: the
    side of the square that clips are cut to, in pixels; None: the one that the pipeline's U-Net was made for. store: a
    folder for checkpoints, from which the same call goes on after an interruption. log: a .csv that gets every step's
    loss, and what was measured on held-out clips. settings: all choices; further keywords change single ones.
    Raises UserError for clips or an autoencoder that cannot be trained on, and leaves the autoencoder as it was.
    """
    vae = getattr(model, "vae", model)
    settings = validated(Decoder, {**(settings or Decoder()).model_dump(), **changes})
    size = _side(model, size, settings)
    sources = find_clips(clips)
    held = held_out(sources, settings.holdout)
    sources = long_enough(sources, size, settings)
    train = [s for s in sources if s.content not in held]
    if not train:
        raise UserError(f"clips: of those to train on none has the {settings.frames} frames of decoder.frames")
    # in an order that names do not change, each content once
    apart = sorted({s.content: s for s in sources if s.content in held}.values(), key=lambda s: s.content)
    seen = [validation_sample(vae, s.path, settings, size, i) for i, s in enumerate(apart[:settings.validation_clips])]
    with trained_layers(vae) as layers:
        identity = {**settings.model_dump(exclude=WITHOUT_EFFECT), "seed": seed, "size": size,
                    "clips": [s.content for s in train], "weights": fingerprint(dict(vae.named_parameters()))}
        run_store = ResumeStore(Path(store), identity, fields=(*FIELDS, *MEASURES)) if store is not None else None
        finished = False
        try:
            trained = _descend(vae, layers, [s.path for s in train], seen, settings, size, seed, run_store)
            if run_store and log is not None:
                shutil.copyfile(run_store.log, log)
            finished = True
        finally:
            if run_store:
                run_store.close(finished)
    vae.decoder.temporal_notes = {
        **settings.model_dump(include={"steps", "frames", "strides", "crop", "noise", "gradient_weight", "time_weight",
                                       "learning_rate", "lr_floor", "ema"}),
        "size": size, "seed": seed, "clips": len(train), "held_out": len(apart),
        "validation": trained.validation.get(settings.steps)}
    trained.clips, trained.held_out = [s.name for s in train], [s.name for s in apart]
    return trained


def _side(model: Any, size: int | None, settings: Decoder) -> int:
    """The square's side. Raises UserError for one, or for a crop, that is not whole cells of the latents."""
    vae, unet = getattr(model, "vae", model), getattr(model, "unet", None)
    if vae.dtype != torch.float32:
        raise UserError(f"decoder: this autoencoder is in {str(vae.dtype).removeprefix('torch.')}, too coarse for "
                        "small steps; open it in float32")
    step = cell(vae)
    side = size if size is not None or unet is None else unet.config.sample_size * step
    if side is None:
        raise UserError("size: give it; an autoencoder alone does not say what it was made for")
    if not isinstance(side, int) or side < step or side % step:
        raise UserError(f"size {side}: give the side of a square in pixels, a multiple of {step}")
    if settings.crop % step:
        raise UserError(f"decoder.crop {settings.crop}: must be a multiple of {step} pixels")
    return side


def cell(vae: Any) -> int:
    """Pixels a side that one latent stands for."""
    return getattr(vae, "spatial_compression_ratio", None) or 2 ** (len(vae.config.block_out_channels) - 1)


def read_clip(path: Path, size: int, max_frames: int | None = None) -> np.ndarray:
    """All frames of a clip, or the first so many, cut to a square: uint8 (N, size, size, 3)."""
    rate = 1.0 if path.is_dir() else None  # a folder of images has none of its own; every frame is taken anyway
    return video.read(path, rate, size, max_frames=max_frames).frames


def long_enough(sources: Sequence[Source], size: int, settings: Decoder) -> list[Source]:
    """Those that hold `settings.frames` frames; the others are named in a warning."""
    short = [s.name for s in tqdm(sources, desc="looking at the clips")
             if len(read_clip(s.path, size, settings.frames)) < settings.frames]
    if short:
        warnings.warn(f"{len(short)} clips have fewer than {settings.frames} frames and are left out: "
                      f"{', '.join(short[:5])}{' ...' if len(short) > 5 else ''}", stacklevel=3)
    return [s for s in sources if s.name not in short]


# ---------------------------------------------------------------- one step's data and its loss


def decoder_loss(made: torch.Tensor, real: torch.Tensor, settings: Decoder) -> torch.Tensor:
    """L1 on pixels, on their differences in space, and on those in time, which is where boiling shows.

    made, real: (F, 3, H, W) in [-1, 1].
    """
    total = F.l1_loss(made, real)
    for dim in (-1, -2):
        total = total + settings.gradient_weight * F.l1_loss(made.diff(dim=dim), real.diff(dim=dim))
    return total + settings.time_weight * F.l1_loss(made.diff(dim=0), real.diff(dim=0))


def draw_frames(path: Path, settings: Decoder, step: int, size: int, rng: np.random.Generator,
                mirrored: bool) -> np.ndarray:
    """`settings.frames` frames of a clip at a drawn stride, cut to a drawn square of `settings.crop` pixels, whose
    corner lies on a multiple of `step` pixels: uint8 (F, crop, crop, 3)."""
    frames = read_clip(path, size)
    strides = [s for s in settings.strides if 1 + (settings.frames - 1) * s <= len(frames)] or [1]
    stride = int(rng.choice(strides))
    start = int(rng.integers(max(1, len(frames) - (settings.frames - 1) * stride)))
    crop = min(settings.crop, size)
    y, x = (step * int(rng.integers((size - crop) // step + 1)) for _ in range(2))
    cut = frames[start::stride][:settings.frames, y:y + crop, x:x + crop]
    return np.ascontiguousarray(cut[:, :, ::-1] if mirrored else cut)


def make_decoder_batch(vae: Any, clips: Sequence[Path], settings: Decoder, size: int, seed: int,
                       step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy latents (F, C, h, w), not scaled, and the pixels (F, 3, H, W) that they should give; a function of (seed,
    step). The deviation of the noise is |N(0, 1)| times `settings.noise`, in units of the scaled latents."""
    rng = np.random.default_rng([seed, 11, step])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    frames = draw_frames(clips[int(rng.integers(len(clips)))], settings, cell(vae), size, rng, bool(rng.random() < 0.5))
    pixels = to_tensor(frames).to(vae.device)
    with torch.no_grad():
        latents = encode_pixels(vae, pixels.to(vae.dtype)).float()
    level = settings.noise * abs(float(torch.randn((), generator=generator))) / vae.config.scaling_factor
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    return latents + level * noise, pixels


def freeze_all_but_time(vae: Any) -> dict[str, torch.nn.Parameter]:
    """Add temporal layers to the decoder where there are none, and let these alone train: name -> parameter."""
    add_temporal_decoder(vae)
    vae.requires_grad_(False)
    trained = decoder_parameters(vae)
    for parameter in trained.values():
        parameter.requires_grad_(True)
    return trained


def decoder_step_loss(vae: Any, latents: torch.Tensor, pixels: torch.Tensor, settings: Decoder) -> torch.Tensor:
    """The loss of one batch of `make_decoder_batch`."""
    return decoder_loss(decode_together(vae, latents.to(vae.dtype)).float(), pixels, settings)


# ---------------------------------------------------------------- clips that are never trained on


@torch.no_grad()
def validation_sample(vae: Any, path: Path, settings: Decoder, size: int,
                      number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Clean latents (F, C, h, w), not scaled, noise like them and pixels (F, 3, H, W) of the middle of a held-out clip,
    its consecutive frames and its central square of `settings.crop` pixels. The noise hangs on `number` alone."""
    frames = read_clip(path, size)
    step, crop = cell(vae), min(settings.crop, size)
    start, corner = (len(frames) - settings.frames) // 2, (size - crop) // 2 // step * step
    cut = frames[start:start + settings.frames, corner:corner + crop, corner:corner + crop]
    pixels = to_tensor(cut).to(vae.device)
    latents = encode_pixels(vae, pixels)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(number)).to(latents)
    return latents, noise / vae.config.scaling_factor, pixels


@torch.no_grad()
def measure(vae: Any, samples: Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> dict[str, float]:
    """MEASURES, by the decoder as it stands: means over the samples of `validation_sample`."""
    found = []
    for latents, noise, pixels in samples:
        row = []
        for level in LEVELS:
            made = decode_together(vae, latents + level * noise)
            row += [F.mse_loss(made, pixels).item(), F.l1_loss(made.diff(dim=0), pixels.diff(dim=0)).item()]
        found.append(row)
    return dict(zip(MEASURES, np.mean(found, axis=0).tolist(), strict=True)) if found else {}


# ---------------------------------------------------------------- the loop


@contextmanager
def trained_layers(vae: Any) -> Iterator[dict[str, torch.nn.Parameter]]:
    """The temporal layers of the decoder, the only ones that train for a while. Where that ends in an error, they are
    what they were, so that the same call goes on from its store."""
    fresh, flags = not has_temporal_decoder(vae), {p: p.requires_grad for p in vae.parameters()}
    layers = freeze_all_but_time(vae)
    before = {k: p.detach().clone() for k, p in layers.items()}
    try:
        yield layers
    except BaseException:
        with torch.no_grad():
            for k, p in layers.items():
                p.copy_(before[k])
        if fresh:
            remove_temporal_decoder(vae)
        raise
    finally:
        for p in (*layers.values(), *flags):
            p.requires_grad_(flags.get(p, False))


@contextmanager
def _averaged(layers: dict[str, torch.nn.Parameter], slow: dict[str, torch.Tensor]) -> Iterator[None]:
    """The moving average in the place of the weights, and then the weights again."""
    own = {k: p.detach().clone() for k, p in layers.items()}
    _copy(slow, layers)
    try:
        yield
    finally:
        _copy(own, layers)


@torch.no_grad()
def _copy(source: dict[str, torch.Tensor], target: dict[str, torch.nn.Parameter]) -> None:
    for k, p in target.items():
        p.copy_(source[k])


def _descend(vae: Any, layers: dict[str, torch.nn.Parameter], clips: list[Path], held: list, settings: Decoder,
             size: int, seed: int, store: ResumeStore | None) -> DecoderTrained:
    """Take the steps that `store` has not; the moving average becomes the weights."""
    validation = {0: measure(vae, held)} if held else {}
    slow = {k: p.detach().clone() for k, p in layers.items()}
    # no weight decay: it would pull the kernels from the identity towards nothing
    optimizer = torch.optim.AdamW(layers.values(), lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    state: dict[str, dict] = {"temporal": layers, "ema": slow}
    start = store.resume(state, optimizer)[0] if store else 0
    losses: list[float] = []
    bar = tqdm(range(start, settings.steps), initial=start, total=settings.steps,
               desc=f"training on {len(clips)} clips")
    for step in bar:
        loss, rate, norm = _step(vae, layers, optimizer, clips, settings, size, seed, step)
        losses.append(loss)
        done, decay = step + 1, min(settings.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(slow.values()), list(layers.values()), 1 - decay)
        bar.set_postfix(loss=f"{float(np.mean(losses[-50:])):.4f}", refresh=False)
        row = [""] * len(MEASURES)
        if held and (done % settings.validate_every == 0 or done == settings.steps):
            with _averaged(layers, slow):
                validation[done] = measure(vae, held)
            row = [f"{value:.6f}" for value in validation[done].values()]
        if store:
            store.write(step, loss, rate, norm, *row)
            if done % settings.checkpoint_every == 0 or done == settings.steps:
                store.save(done, state, optimizer)
    _copy(slow, layers)
    if store:  # those of an interrupted run as well
        with store.log.open() as stream:
            rows = [(int(row["step"]) + 1, row) for row in csv.DictReader(stream)]
        validation |= {done: {k: float(row[k]) for k in MEASURES} for done, row in rows if row[MEASURES[0]]}
    return DecoderTrained(settings.steps, sum(p.numel() for p in layers.values()),
                          sum(p.numel() for k, p in vae.named_parameters() if ".temporal." not in k),
                          store.losses() if store else losses, validation=validation)


def _step(vae: Any, layers: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer, clips: list[Path],
          settings: Decoder, size: int, seed: int, step: int) -> tuple[float, float, float]:
    """One step: (loss, learning rate, norm of the gradient)."""
    latents, pixels = make_decoder_batch(vae, clips, settings, size, seed, step)
    loss = decoder_step_loss(vae, latents, pixels, settings)
    if not torch.isfinite(loss):  # before it reaches the weights
        raise UserError(f"the loss is not finite at step {step}; lower decoder.learning_rate {SOUND}")
    rate = learning_rate(step, settings, settings.lr_floor)
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(list(layers.values()), settings.max_grad_norm)
    if not torch.isfinite(norm):
        raise UserError(f"the gradient is not finite at step {step}; lower decoder.learning_rate {SOUND}")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item(), rate, float(norm)
