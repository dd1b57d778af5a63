"""Fine-tuning of the temporal layers on one clip. Section 4.

Everything random in a step is a function of (seed, step, rank), so a run that was interrupted and resumed gives
the bytes of one that was not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from einops import rearrange
from tqdm.auto import tqdm

from lnm.errors import UserError
from lnm.resume import ResumeStore
from lnm.settings import Finetune

if TYPE_CHECKING:
    from lnm.pipeline import LateNtMoviesPipeline


# ---------------------------------------------------------------- one step's data and rate


def learning_rate(step: int, settings: Finetune) -> float:
    """Linear warm-up over `warmup_steps`, then constant or a cosine to zero."""
    rate = settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warmup_steps))
    if settings.lr_schedule == "cosine":
        done = max(0, step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
        rate *= 0.5 * (1 + np.cos(np.pi * done))
    return float(rate)


def draw_clips(latents: torch.Tensor, settings: Finetune, fps: float,
               rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of consecutive latents, each clip at a random stride, from latents (N, C, h, w) at `fps`.

    Returns clips (B, C, F, h, w) and the frame rate of each (B,).
    """
    frames = settings.frames
    fitting = [s for s in settings.strides if s * (frames - 1) < len(latents)]
    clips, rates = [], []
    for _ in range(settings.batch_size):
        stride = int(rng.choice(fitting))
        start = int(rng.integers(0, len(latents) - stride * (frames - 1)))
        clips.append(latents[start:start + stride * (frames - 1) + 1:stride])
        rates.append(fps / stride)
    return rearrange(torch.stack(clips), "b f c h w -> b c f h w"), torch.tensor(rates)


def make_batch(latents: torch.Tensor, settings: Finetune, fps: float, scheduler, seed: int, step: int,
               rank: int = 0) -> dict[str, torch.Tensor]:
    """Everything that goes into one step, on the CPU; a function of (seed, step, rank) alone.

    sample (B, 2C+1, F, h, w): noisy latents, mask, first frame's latents repeated. target (B, C, F, h, w): the noise,
    or the velocity for a checkpoint that predicts it. timestep (B,): one a clip. fps (B,). drop (B,): prompt left out.
    """
    rng = np.random.default_rng([seed, step, rank])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    clean, rates = draw_clips(latents, settings, fps, rng)
    noise = torch.randn(clean.shape, generator=generator)
    t = torch.randint(0, scheduler.config.num_train_timesteps, (len(clean),), generator=generator)
    noisy = scheduler.add_noise(clean, noise, t)  # eq. 1
    still = clean[:, :, :1]
    if settings.still_noise:
        still = still + settings.still_noise * torch.randn(still.shape, generator=generator)
    mask = torch.full_like(clean[:, :1], settings.mask_value)
    target = noise if scheduler.config.prediction_type == "epsilon" else scheduler.get_velocity(clean, noise, t)
    return {"sample": torch.cat([noisy, mask, still.expand_as(clean)], dim=1), "target": target, "timestep": t,
            "fps": rates, "drop": torch.from_numpy(rng.random(len(clean)) < settings.prompt_dropout)}


def make_optimizer(parameters: list, settings: Finetune) -> torch.optim.Optimizer:
    """Lion (Chen et al. 2023), the paper's, or AdamW."""
    if settings.optimizer == "lion":
        from lion_pytorch import Lion  # here: it brings torch's compiler along, which AdamW does not need

        return Lion(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    return torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay,
                             betas=(0.9, 0.99))


def check_length(count: int, settings: Finetune, name: str) -> None:
    """Raise UserError unless `count` frames hold a training sample at the smallest stride."""
    reach = min(settings.strides) * (settings.frames - 1) + 1
    if count < reach:
        raise UserError(f"{name}: {count} training frames, finetune.frames and finetune.strides need {reach}; give a "
                        "longer clip, a higher fps or smaller strides")


# ---------------------------------------------------------------- the loop


@dataclass
class Trained:
    """What a fine-tune did: the smoothed loss at its begin and end, and how many numbers trained and stood still."""

    steps: int
    trained_parameters: int
    frozen_parameters: int
    loss_first_tenth: float
    loss_last_tenth: float


class Trainer:
    """The state of one fine-tune: the model under Accelerate, optimiser, moving average, embeddings of the prompt."""

    def __init__(self, pipe: LateNtMoviesPipeline, prompt: str, settings: Finetune, name: str):
        self.settings, self.scheduler, self.name = settings, pipe.scheduler, name
        self.device = pipe.device
        AcceleratorState._reset_state(reset_partial_state=True)  # a kernel may fine-tune twice, in another precision
        self.accelerator = Accelerator(mixed_precision=settings.mixed_precision, cpu=self.device.type == "cpu")
        pipe.unet.freeze_spatial()
        if settings.gradient_checkpointing:
            pipe.unet.enable_gradient_checkpointing()
        self.unet, self.trained = pipe.unet, pipe.unet.temporal_parameters()
        self.state = {"temporal": self.trained}
        if settings.ema:
            self.state["ema"] = {k: p.detach().clone() for k, p in self.trained.items()}
        self.optimizer = make_optimizer(list(self.trained.values()), settings)
        with torch.no_grad():
            self.prompt_embeds, self.empty_embeds = pipe.encode_prompt([prompt, ""])

    def prepare(self) -> None:
        """Hand model and optimiser to Accelerate, once they are restored."""
        self.model, self.optimizer = self.accelerator.prepare(self.unet, self.optimizer)

    def step(self, latents: torch.Tensor, fps: float, seed: int, step: int) -> tuple[float, float, float]:
        """One step down the loss of eq. 2: (loss, learning rate, norm of the gradient)."""
        settings = self.settings
        batch = make_batch(latents, settings, fps, self.scheduler, seed, step, self.accelerator.process_index)
        batch = {k: v.to(self.device) for k, v in batch.items()}
        embeddings = torch.where(batch["drop"][:, None, None], self.empty_embeds, self.prompt_embeds)
        rate = learning_rate(step, settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        with self.accelerator.autocast():
            predicted = self.model(batch["sample"], batch["timestep"], embeddings, fps=batch["fps"]).sample
        loss = F.mse_loss(predicted.float(), batch["target"].float())  # eq. 2
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(list(self.trained.values()), settings.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if not torch.isfinite(loss):
            raise UserError(f"{self.name}: the loss is not finite at step {step}; lower finetune.learning_rate "
                            "or set finetune.mixed_precision: no")
        if settings.ema:
            decay = min(settings.ema, (1 + step) / (10 + step))
            for k, slow in self.state["ema"].items():
                slow.lerp_(self.trained[k].detach(), 1 - decay)
        return loss.item(), rate, float(norm)

    @torch.no_grad()
    def finish(self) -> None:
        """The moving average, where one is kept, becomes the weights."""
        for k, slow in self.state.get("ema", {}).items():
            self.trained[k].copy_(slow)


def train(pipe: LateNtMoviesPipeline, latents: torch.Tensor, prompt: str, fps: float, settings: Finetune, seed: int,
          store: ResumeStore, name: str = "clip", preview: Callable[[int], None] | None = None) -> Trained:
    """Train the temporal layers of `pipe` on latents (N, C, h, w) at `fps`, in place; log and checkpoints in `store`.

    pipe: an inflated pipeline whose scheduler holds the training schedule. preview(step): called every
    `settings.preview_every` steps. Raises UserError for too few latents or a loss that is not finite.
    """
    check_length(len(latents), settings, name)
    trainer = Trainer(pipe, prompt, settings, name)
    start = store.resume(trainer.state, trainer.optimizer)
    trainer.prepare()
    bar = tqdm(range(start, settings.steps), initial=start, total=settings.steps, desc=f"fine-tuning {name}")
    recent = None
    for step in bar:
        loss, rate, norm = trainer.step(latents, fps, seed, step)
        recent = loss if recent is None else 0.95 * recent + 0.05 * loss
        bar.set_postfix(loss=f"{recent:.4f}", refresh=False)
        store.write(step, loss, rate, norm)
        done = step + 1
        if preview is not None and settings.preview_every and done % settings.preview_every == 0:
            trainer.unet.eval()
            preview(done)
        if done % settings.checkpoint_every == 0 or done == settings.steps:
            store.save(done, trainer.state, trainer.optimizer)
    trainer.finish()
    losses = store.losses()
    tenth = max(1, len(losses) // 10)
    return Trained(settings.steps, sum(p.numel() for p in trainer.trained.values()),
                   sum(p.numel() for p in trainer.unet.parameters() if not p.requires_grad),
                   float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:])))
