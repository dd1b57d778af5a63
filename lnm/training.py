"""Fine-tuning of the temporal layers on one clip. Section 4.

Everything random in a step is a function of (seed, step, rank), so a run that was interrupted and resumed gives
the bytes of one that was not. Several processes train together where `accelerate launch` or `torchrun` starts them:
each draws its own clips, gradients are averaged, and the first process alone writes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from diffusers.models.attention_processor import AttnProcessor
from tqdm.auto import tqdm

from lnm.batches import carried_first, check_lengths, held_batches, learning_rate, make_batch, make_optimizer
from lnm.errors import UserError
from lnm.hub import locate_temporal
from lnm.latents import Clips, Pictures, encode
from lnm.model import InflatedModel
from lnm.precision import HALF, HalfFrozen
from lnm.resume import ResumeStore
from lnm.runs import Trained, log_fields, make_accelerator, resumable, run_identity
from lnm.schedulers import make_scheduler, schedule_of, with_schedule
from lnm.settings import Finetune, finetune_of, validated
from lnm.temporal_file import load_temporal
from lnm.unet import UNetPseudo3DConditionModel
from lnm.validation import Choice, split, split_list
from lnm.video import read

AnyFinetune = TypeVar("AnyFinetune", bound=Finetune)

# ---------------------------------------------------------------- the loop


class Trainer:
    """The state of one fine-tune: the model under Accelerate, optimiser, moving average, embeddings of the prompt."""

    floor = 0.0  # of the cosine, a share of the rate

    def __init__(self, pipe: InflatedModel, prompt: str, settings: Finetune, accelerator: Accelerator,
                 name: str):
        self.settings, self.accelerator, self.name = settings, accelerator, name
        self.pictures: list[np.ndarray] | None = None  # behind the latents of each clip, for `carried`
        self.scheduler = make_scheduler(pipe.scheduler, settings.beta_schedule)
        # films are sampled on the levels of noise that were trained on; the sampler stays
        self.pipe, self.sampler = pipe, pipe.scheduler
        pipe.scheduler = with_schedule(pipe.scheduler, schedule_of(self.scheduler))
        self.home, self.device = pipe.device, accelerator.device
        pipe.unet.freeze_spatial()
        self.checkpointing = settings.gradient_checkpointing and not pipe.unet.is_gradient_checkpointing
        if settings.gradient_checkpointing:
            pipe.unet.enable_gradient_checkpointing()
        self.processors = None
        if self.device.type == "cpu" and accelerator.mixed_precision == "bf16":
            # torch's fused attention in bfloat16 takes twice the time of its parts there
            self.processors = pipe.unet.attn_processors
            pipe.unet.set_attn_processor(AttnProcessor())
        self.unet, self.trained = pipe.unet, pipe.unet.temporal_parameters()
        self.state = {"temporal": self.trained}
        if settings.ema:
            self.state["ema"] = {k: p.detach().clone() for k, p in self.trained.items()}
        self.optimizer = make_optimizer(self.trained, settings)
        self.prompt_embeds, self.empty_embeds = pipe.encode_prompt([prompt, ""]).to(self.device)
        # what autocast would cast anew at every step; on a CPU that is cheap, and two copies are not
        half = HALF.get(accelerator.mixed_precision) if self.device.type != "cpu" else None
        self.half = HalfFrozen(self.unet, half) if half else None

    def restore(self, store: ResumeStore | None) -> int:
        """Go on from the store's checkpoint and hand model and optimiser to Accelerate; the number of steps done."""
        start, scaler = store.resume(self.state, self.optimizer) if store else (0, None)
        self.model, self.optimizer = self.accelerator.prepare(self.unet, self.optimizer)
        if scaler and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(scaler)
        return start

    def save(self, store: ResumeStore, step: int) -> None:
        """Write a checkpoint; all processes come here, one writes."""
        scaler = self.accelerator.scaler
        store.save(step, self.state, self.optimizer, scaler.state_dict() if scaler else None)

    def step(self, latents: Clips, fps: float, seed: int, step: int) -> tuple[float, float, float]:
        """One step down the loss of eq. 2: (loss, learning rate, norm of the gradient)."""
        batch = make_batch(latents, self.settings, fps, self.scheduler, seed, step, self.accelerator.process_index,
                           told=self.carried if self.pictures else None)
        return self.descend(batch, self.prompt_embeds, step)

    def carried(self, clip: int, rows: slice) -> torch.Tensor:
        """Latents (C, F, h, w) of the first of a clip's rows, carried along by optical flow (`carried_first`)."""
        assert self.pictures
        return carried_first(self.pipe.vae, self.pictures[clip][rows])

    def loss(self, batch: dict[str, torch.Tensor], embeddings: torch.Tensor) -> torch.Tensor:
        """Eq. 2 on a batch that is on the device."""
        with self.accelerator.autocast():
            predicted = self.model(batch["sample"], batch["timestep"], embeddings, fps=batch["fps"]).sample
        return F.mse_loss(predicted.float(), batch["target"].float())

    def descend(self, batch: dict[str, torch.Tensor], prompt_embeds: torch.Tensor,
                step: int) -> tuple[float, float, float]:
        """`step` on a batch of `make_batch`'s form. prompt_embeds: (L, D), or (B, L, D), one a clip."""
        settings = self.settings
        batch = {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}
        embeddings = torch.where(batch["drop"][:, None, None], self.empty_embeds, prompt_embeds)
        rate = learning_rate(step, settings, self.floor)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        loss = self.loss(batch, embeddings)
        self.accelerator.backward(loss)
        size = self.accelerator.clip_grad_norm_(list(self.trained.values()), settings.max_grad_norm)
        # the one place where a step waits for a GPU, and before anything reaches the weights
        value, norm = torch.stack([loss.detach(), size.detach().to(loss)]).tolist()
        self._finite(value, "loss", step)
        if self.accelerator.scaler is None:  # fp16's scaler leaves such a step out, and halves the loss's scale
            self._finite(norm, "gradient", step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        # a step that fp16's loss scale was too high for leaves the weights, and so their average, where they were
        if settings.ema and not self.accelerator.optimizer_step_was_skipped:
            self.average(step)
        return value, rate, norm

    def _finite(self, value: float, what: str, step: int) -> None:
        """Raise UserError for NaN and inf, before they reach the weights: the last checkpoint is of sound ones."""
        if not math.isfinite(value):
            self.optimizer.zero_grad(set_to_none=True)
            kind = type(self.settings).__name__.lower()
            raise UserError(f"{self.name}: the {what} is not finite at step {step}; lower {kind}.learning_rate "
                            f"or set {kind}.mixed_precision: no (stopped; the last checkpoint is sound)")

    @torch.no_grad()
    def average(self, step: int) -> None:
        """The moving average after a step; it follows closely at first, so that it forgets where it began."""
        decay = min(self.settings.ema or 0.0, (1 + step) / (10 + step))
        for k, slow in self.state["ema"].items():
            slow.lerp_(self.trained[k].detach(), 1 - decay)

    @torch.no_grad()
    def finish(self) -> None:
        """The moving average, where one is kept, becomes the weights."""
        for k, slow in self.state.get("ema", {}).items():
            self.trained[k].copy_(slow)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The moving average in the place of the weights, where one is kept, and then the weights again."""
        own = {k: p.detach().clone() for k, p in self.trained.items()}
        self.finish()
        try:
            yield
        finally:
            with torch.no_grad():
                for k, p in self.trained.items():
                    p.copy_(own[k])

    @torch.no_grad()
    def held_out_loss(self, batches: Iterable[tuple[torch.Tensor, dict[str, torch.Tensor]]]) -> float:
        """Eq. 2 on batches of one, each with its prompt's embeddings (L, D), by the weights as they stand."""
        self.unet.eval()
        losses = []
        for embeds, batch in batches:
            batch = {k: v.to(self.device) for k, v in batch.items()}
            with self.accelerator.autocast():  # the U-Net itself: this process looks alone
                seen = self.unet(batch["sample"], batch["timestep"], embeds[None].to(self.device),
                                 fps=batch["fps"]).sample
            losses.append(F.mse_loss(seen.float(), batch["target"].float()).item())
        return float(np.mean(losses))

    def release(self) -> None:
        """Give the U-Net back as it came: on its device, evaluating, without Accelerate's autocast around it."""
        for name in ("forward", "_original_forward"):
            self.unet.__dict__.pop(name, None)
        if self.checkpointing:
            self.unet.disable_gradient_checkpointing()
        if self.processors:
            self.unet.set_attn_processor(self.processors)
        self.unet.eval().to(self.home)
        if self.half:
            self.half.restore()


def train(pipe: InflatedModel, latents: Clips, prompt: str, fps: float, settings: Finetune,
          accelerator: Accelerator, seed: int = 0, store: ResumeStore | None = None, name: str = "clip",
          preview: Callable[[int], None] | None = None, kind: type[Trainer] = Trainer,
          stop: int | None = None, pictures: Pictures | None = None) -> Trained:
    """Train `pipe` in time, in place, on latents (N, C, h, w) at `fps`, or a list; log and checkpoints in `store`.

    preview(step): called by the process that writes, every `settings.preview_every` steps; it may sample with `pipe`.
    kind: whose steps are taken. stop: of `settings.steps: auto`, how many another fine-tune of the clip was found to
    need: no more are taken, under the same schedule, and the validation part is kept apart but not looked at. pictures:
    of the latents, uint8 (N, H, W, 3), or a list, for `settings.carried`. What trains is what the U-Net names as its
    `temporal_parameters`.
    Raises UserError for too few latents or a loss that is not finite.
    """
    check_lengths(latents, settings, name)
    if settings.carried and pictures is None:
        raise UserError(f"{name}: carried {settings.carried:g} needs the clip's pictures beside its latents; give "
                        "them, or set carried to 0")
    trainer = kind(pipe, prompt, settings, accelerator, name)
    shown: list[np.ndarray] | None = None
    if settings.carried and pictures is not None:
        shown = pictures if isinstance(pictures, list) else [pictures]
    choice, apart = None, shown
    if settings.steps == "auto":
        latents, held = split(latents, settings)
        if shown:
            shown, apart = split_list(shown, settings)
        if stop is None:
            choice = Choice(trainer.trained, settings.patience)
            trainer.state |= choice.state

    trainer.pictures = shown

    def look(done: int) -> tuple[str, ...]:
        if accelerator.is_main_process and preview and settings.preview_every and done % settings.preview_every == 0:
            trainer.unet.eval()
            preview(done)
        if choice is None:
            return () if stop is None else ("",)
        if done % settings.validate_every and done != settings.ceiling:
            return ("",)
        with trainer.averaged():
            seen = [trainer.held_out_loss(_held_batches(trainer, held, fps, apart))]
            (loss,) = broadcast_object_list(seen)  # all stop at the same step, though their last digits may differ
            choice.look(done, loss, trainer.trained)
        return (f"{loss:.6f}",)

    return run(trainer, lambda step: trainer.step(latents, fps, seed, step), store, f"fine-tuning {name}", look, choice,
               stop)


def _held_batches(trainer: Trainer, held: Clips, fps: float,
                  pictures: list[np.ndarray] | None = None) -> Iterator[tuple[torch.Tensor, dict]]:
    """What a step is chosen by: (prompt's embeddings, batch of one) over `held_batches`."""
    for batch in held_batches(held, fps, trainer.settings, trainer.scheduler, trainer.pipe.vae, pictures):
        yield trainer.prompt_embeds, batch


def run(trainer: Trainer, take: Callable[[int], tuple[float, float, float]], store: ResumeStore | None, desc: str,
        look: Callable[[int], tuple], choice: Choice | None = None, stop: int | None = None) -> Trained:
    """Take the steps of `trainer` that its store has not, and hand the U-Net back with what was learned.

    take(step): one step, as `Trainer.step` gives it. look(done): called after each; what it gives ends the log's line.
    choice: of a step by a held-out loss, kept by `look`, which is called before the first step as well; once it has
    settled no further step is taken, and its weights are those handed back. stop: take so many steps, not all.
    """
    settings, main = trainer.settings, trainer.accelerator.is_main_process
    last = settings.ceiling if stop is None else min(stop, settings.ceiling)
    losses: list[float] = []
    recent = None
    try:
        start = trainer.restore(store)
        if store and start == 0:  # the layers as they were drawn: whoever resumes may have drawn others
            trainer.save(store, 0)
        if choice and start == 0:
            look(0)
        bar = tqdm(range(start, last), initial=start, total=last, desc=desc, disable=not main)
        for step in bar:
            if choice and choice.settled:
                break
            loss, rate, norm = take(step)
            recent = loss if recent is None else 0.95 * recent + 0.05 * loss
            bar.set_postfix(loss=f"{recent:.4f}", refresh=False)
            losses.append(loss)
            done = step + 1
            seen = look(done)
            if store:
                store.write(step, loss, rate, norm, *seen)
                if done % settings.checkpoint_every == 0 or done == last or choice and choice.settled:
                    trainer.save(store, done)
        if choice:
            choice.restore(trainer.trained)
        else:
            trainer.finish()
    except BaseException:
        trainer.pipe.scheduler = trainer.sampler  # it was not trained on the other
        raise
    finally:
        trainer.release()
    return Trained(choice.step if choice else last, sum(p.numel() for p in trainer.trained.values()),
                   sum(p.numel() for p in trainer.unet.parameters() if not p.requires_grad),
                   store.losses() if store and store.main else losses, choice.loss if choice else None)


# ---------------------------------------------------------------- for a script


def finetune(pipe: InflatedModel, frames_or_path: Any, *, prompt: str, fps: float, steps: int | None = None,
             size: int | tuple[int, int] | None = None, crop: list[int] | None = None, seed: int = 0,
             store: Path | str | None = None, settings: Finetune | None = None, strict: bool = True,
             **changes: Any) -> Trained:
    """Teach the temporal layers of `pipe` the motion of one clip, in place. Then `pipe(...)` films, and
    `pipe.save_temporal(FILE)` keeps what was learned.

    frames_or_path: frames, uint8 (N, H, W, 3) or a list of PIL images, at `fps`; or a video file or folder of images,
    resampled to `fps` and, by `size` and `crop`, cut as `lnm.video.read` does. size: None takes the square that the
    U-Net was made for. settings: all choices of `lnm.settings.Finetune`; `steps` and further keywords
    (`learning_rate`, `frames` ...) change single ones. None: those of `finetune_of`, which on an `lnm-mini` that was
    taught nothing yet begins from `lnm-mini-motion` (`init=None`: from the identity). seed: of the steps, and of layers
    that were not trained before.
    store: a folder for checkpoints, from which the same call goes on after an interruption. strict: False takes an
    `init` that was trained on another base of the same shape, with a warning.
    Returns what was trained and the losses. Raises UserError for a pipeline or clip that cannot be trained on, and for
    a setting that is unknown or out of range.
    """
    if settings is None and isinstance(pipe.unet, UNetPseudo3DConditionModel) and untrained(pipe.unet):
        name = pipe.learned.get("checkpoint") or ""
        suits = finetune_of(name, known=False)  # "3x3" and its like fit no layers of "all"
        settings = suits if suits.conv_placement == pipe.unet.config.conv_placement else None
    settings = _settings(pipe, settings, changes if steps is None else {**changes, "steps": steps})
    accelerator = make_accelerator(settings, pipe.device)
    frames = _frames(pipe, frames_or_path, fps, size, crop)
    check_lengths(frames, settings, "clip")
    if settings.init:  # its layers alone: noise schedule and mask value are this run's
        load_temporal(pipe.unet, locate_temporal(settings.init), strict)
    else:
        _draw(pipe.unet, seed)
    identity = run_identity(pipe, frames, prompt, fps, settings, seed)
    with resumable(pipe, identity, store, accelerator, log_fields(settings)) as run_store:
        latents = encode(pipe.vae, frames, desc="encoding the clip" if accelerator.is_main_process else None)
        trained = train(pipe, latents, prompt, fps, settings, accelerator, seed, run_store, pictures=frames)
    pipe.register_to_config(mask_value=float(settings.mask_value))
    pipe.learned = {"fps": float(fps), "frames": settings.frames, "strides": settings.strides, "prompt": prompt,
                    "steps": trained.steps, "checkpoint": pipe.learned.get("checkpoint"), **lora_of(pipe)}
    return trained


def lora_of(pipe: InflatedModel) -> dict[str, Any]:
    """The note of a LoRA that is fused into the base, for `pipe.learned`; empty where there is none."""
    lora = pipe.learned.get("extra", {}).get("lora")
    return {"extra": {"lora": lora}} if lora else {}


def _settings(pipe: InflatedModel, settings: AnyFinetune | None, changes: dict,
              kind: type[AnyFinetune] = Finetune) -> AnyFinetune:  # type: ignore[assignment]
    """The choices of a run on a pipeline. Raises UserError where the two do not fit."""
    if not isinstance(pipe.unet, UNetPseudo3DConditionModel):
        raise UserError("finetune: this pipeline has no temporal layers (its U-Net is 2D); open it with "
                        "LateNtMoviesPipeline.from_pretrained")
    if pipe.unet.dtype != torch.float32:
        raise UserError(f"finetune: this pipeline is in {str(pipe.unet.dtype).removeprefix('torch.')}, too coarse for "
                        "small steps; open it in float32 and pass mixed_precision=\"bf16\"")
    if not all(p.isfinite().all() for p in pipe.unet.temporal_parameters().values()):
        raise UserError("finetune: this pipeline's temporal layers are not finite, as a fine-tune that failed leaves "
                        "them; open it again")
    placement = pipe.unet.config.conv_placement
    chosen = (settings or kind(conv_placement=placement)).model_dump()
    settings = validated(kind, {**chosen, **changes})
    if settings.conv_placement != placement:
        raise UserError(f"finetune.conv_placement: {settings.conv_placement}, but this pipeline was opened with "
                        f"{placement}; pass conv_placement to from_pretrained")
    return settings


def _frames(pipe: InflatedModel, frames_or_path: Any, fps: float, size: Any, crop: Any) -> np.ndarray:
    """Frames uint8 (N, H, W, 3) of what `finetune` is given, of a size that the autoencoder takes."""
    if not isinstance(fps, int | float) or not 0 < fps < float("inf"):
        raise UserError(f"fps {fps!r}: must be a number above 0, frames a second")
    if isinstance(frames_or_path, str | Path):
        frames = read(frames_or_path, fps, size or pipe.unet.config.sample_size * pipe.vae_scale_factor, crop).frames
    elif size is not None or crop is not None:
        raise UserError("size, crop: for a path only; cut the frames before they are given")
    else:
        frames = np.asarray(frames_or_path)
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise UserError(f"frames of shape {frames.shape} and type {frames.dtype}; give uint8 (N, height, width, 3) "
                            "or a path")
    height, width = frames.shape[1:3]
    if height % pipe.vae_scale_factor or width % pipe.vae_scale_factor:
        raise UserError(f"frames of {width} x {height} pixels: both must be multiples of {pipe.vae_scale_factor}")
    return frames


def untrained(unet: UNetPseudo3DConditionModel) -> bool:
    """The temporal layers are the identity still."""
    return not bool(unet.fps_embedding.linear_2.weight.any())


@torch.no_grad()
def _draw(unet: UNetPseudo3DConditionModel, seed: int) -> None:
    """What is random in layers that were never trained, drawn by `seed` on the CPU as `nn.Linear` does: the same call
    gives the same bytes, wherever it runs. Trained layers are left alone: their fps embedding is not zero any more."""
    if not untrained(unet):
        return
    generator = torch.Generator().manual_seed(seed)
    reach = unet.fps_embedding.linear_1.in_features ** -0.5
    for name, p in unet.temporal_parameters().items():
        if name.endswith(".temporal.to_qkv.weight"):
            p.copy_((2 * torch.rand(p.shape, generator=generator) - 1) * p.shape[1] ** -0.5)
        elif name.startswith("fps_embedding.linear_1."):
            p.copy_((2 * torch.rand(p.shape, generator=generator) - 1) * reach)
