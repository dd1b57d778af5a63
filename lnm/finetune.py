"""Fine-tuning of the temporal layers on one clip. Section 4.

Everything random in a step is a function of (seed, step, rank), so a run that was interrupted and resumed gives
the bytes of one that was not. Checkpoints live in `store/`, outside the stage's outputs, under a lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from tqdm.auto import tqdm

from lnm import latents as latents_
from lnm.params import UserError, root

# what changes how often a run looks or saves, not what it computes
COSMETIC = ("checkpoint_every", "device")


def learning_rate(step: int, settings: dict) -> float:
    """Linear warm-up over `warmup_steps`, then constant or a cosine to zero."""
    warmup, steps = settings["warmup_steps"], settings["steps"]
    rate = settings["learning_rate"] * min(1.0, (step + 1) / max(1, warmup))
    if settings["lr_schedule"] == "cosine":
        rate *= 0.5 * (1 + np.cos(np.pi * max(0, step - warmup) / max(1, steps - warmup)))
    return float(rate)


def draw_clips(latents: torch.Tensor, settings: dict, fps: float, rng: np.random.Generator):
    """A batch of `frames` consecutive latents, each clip at a random stride: (B, C, F, h, w), fps (B,)."""
    frames = settings["frames"]
    fitting = [s for s in settings["strides"] if s * (frames - 1) < len(latents)]
    clips, rates = [], []
    for _ in range(settings["batch_size"]):
        stride = int(rng.choice(fitting))
        start = int(rng.integers(0, len(latents) - stride * (frames - 1)))
        clips.append(latents[start:start + stride * (frames - 1) + 1:stride])
        rates.append(fps / stride)
    return rearrange(torch.stack(clips), "b f c h w -> b c f h w"), torch.tensor(rates)


def make_batch(latents: torch.Tensor, settings: dict, fps: float, scheduler, step: int, rank: int = 0) -> dict:
    """Everything that goes into one step, on the CPU; a function of (seed, step, rank) alone.

    sample (B, 2C+1, F, h, w): noisy latents, mask, first frame's latents repeated. target (B, C, F, h, w): the noise,
    or the velocity for a prior that predicts it. timestep (B,): one a clip. fps (B,). drop (B,): prompt left out.
    """
    rng = np.random.default_rng([settings["seed"], step, rank])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    clean, rates = draw_clips(latents, settings, fps, rng)
    noise = torch.randn(clean.shape, generator=generator)
    t = torch.randint(0, scheduler.config.num_train_timesteps, (len(clean),), generator=generator)
    noisy = scheduler.add_noise(clean, noise, t)  # eq. 1
    still = clean[:, :, :1]
    if settings["still_noise"]:
        still = still + settings["still_noise"] * torch.randn(still.shape, generator=generator)
    mask = torch.full_like(clean[:, :1], settings["mask_value"])
    kind = scheduler.config.prediction_type
    target = noise if kind == "epsilon" else scheduler.get_velocity(clean, noise, t)
    return {"sample": torch.cat([noisy, mask, still.expand_as(clean)], dim=1), "target": target, "timestep": t,
            "fps": rates, "drop": torch.from_numpy(rng.random(len(clean)) < settings["prompt_dropout"])}


def make_optimizer(parameters: list, settings: dict):
    """Lion (Chen et al. 2023), the paper's, or AdamW."""
    if settings["optimizer"] == "lion":
        from lion_pytorch import Lion

        return Lion(parameters, lr=settings["learning_rate"], weight_decay=settings["weight_decay"])
    return torch.optim.AdamW(parameters, lr=settings["learning_rate"], weight_decay=settings["weight_decay"],
                             betas=(0.9, 0.99))


# ---------------------------------------------------------------- the resume store


class Store:
    """Checkpoints of one run, in a folder named by all that decides its result; one trainer at a time.

    Raises UserError if another process holds the lock.
    """

    def __init__(self, folder: Path, identity: dict, patience: float = 20.0):
        from filelock import FileLock, Timeout

        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        self.folder = folder / key
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(folder / "lock")
        try:
            self.lock.acquire(timeout=patience)
        except Timeout:
            raise UserError(f"{folder}: another fine-tune of this video is running; wait for it or stop it") from None
        for old in folder.iterdir():  # what other settings left behind will not be resumed
            if old.is_dir() and old != self.folder:
                shutil.rmtree(old)
        self.path, self.log = self.folder / "checkpoint.safetensors", self.folder / "log.csv"

    def save(self, step: int, modules: dict[str, dict], optimizer) -> None:
        """Write weights, optimiser and step, whole or not at all."""
        from safetensors.torch import save_file

        tensors = {f"{name}/{k}": v.detach().cpu().contiguous() for name, ps in modules.items() for k, v in ps.items()}
        for i, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{i}/{k}": v.detach().cpu().contiguous() for k, v in slots.items()}
        part = self.path.with_suffix(".part")
        save_file(tensors, part, metadata={"step": str(step)})
        with part.open("rb") as f:
            os.fsync(f.fileno())
        os.replace(part, self.path)

    def resume(self, modules: dict[str, dict], optimizer) -> int:
        """Restore the last checkpoint and cut the log back to it; the number of steps done, 0 if none."""
        from safetensors import safe_open

        if not self.path.exists():
            self.log.write_text("step,loss,lr,grad_norm\n")
            return 0
        with safe_open(self.path, "pt") as f:
            step = int(f.metadata()["step"])
            tensors = {k: f.get_tensor(k) for k in f.keys()}
        with torch.no_grad():
            for name, ps in modules.items():
                for k, p in ps.items():
                    p.copy_(tensors[f"{name}/{k}"])
        state = optimizer.state_dict()
        for k, v in tensors.items():
            if k.startswith("optimizer/"):
                _, i, slot = k.split("/")
                state["state"].setdefault(int(i), {})[slot] = v
        optimizer.load_state_dict(state)
        rows = self.log.read_text().splitlines()
        self.log.write_text("\n".join([rows[0]] + [r for r in rows[1:] if int(r.split(",")[0]) < step]) + "\n")
        return step

    def close(self, finished: bool) -> None:
        if finished:
            shutil.rmtree(self.folder)
        self.lock.release()


# ---------------------------------------------------------------- training


def finetune(settings: dict, prepared: Path, out: Path, store: Path) -> dict:
    """The fine-tune stage of one video: trains what is temporal, writes temporal.safetensors, log.csv and previews.

    settings: `lnm.params.settings("finetune", video)`. prepared: the prepare stage's folder. store: where checkpoints
    are kept between runs. Returns a summary (counts, last losses). Raises UserError for a clip that is too short.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    from lnm.pipeline import LateNtMoviesPipeline, to_uint8
    from lnm.prior import make_scheduler, open_prior, pick_device
    from lnm.unet import UNetPseudo3DConditionModel
    from lnm.video import write_gif

    name = settings["video"]
    cached = latents_.load(prepared)
    fps = json.loads((prepared / "clip.json").read_text())["fps"]
    prompt = json.loads((prepared / "prompts.json").read_text())["prompt"]
    reach = min(settings["strides"]) * (settings["frames"] - 1) + 1
    if len(cached["train"]) < reach:
        raise UserError(f"videos.{name}: {len(cached['train'])} training frames, finetune.frames and finetune.strides "
                        f"need {reach}; give a longer clip, a higher fps or smaller strides")

    identity = {k: v for k, v in settings.items() if k not in COSMETIC}
    seen = [cached["train"]] + ([cached["still"]] if settings["preview_every"] else [])
    identity |= {"latents": [hashlib.sha256(x.numpy().tobytes()).hexdigest() for x in seen], "prompt": prompt, "fps": fps}
    keep = Store(store, identity)
    finished = False
    try:
        device = pick_device(settings["device"])
        AcceleratorState._reset_state(reset_partial_state=True)  # a kernel may fine-tune twice, in another precision
        accelerator = Accelerator(mixed_precision=settings["mixed_precision"], cpu=device == "cpu")
        prior = open_prior(settings["prior"], settings["revision"], device)
        scheduler = make_scheduler(prior.scheduler, settings["beta_schedule"], "ddim")
        torch.manual_seed(settings["seed"])  # the temporal attention's projections
        unet = UNetPseudo3DConditionModel.from_unet2d(prior.unet, conv_placement=settings["conv_placement"]).to(device)
        prior.unet = None  # the inflated copy is all that is needed: 3.4 GB of Stable Diffusion's
        if settings["init"]:
            unet.load_temporal(root() / settings["init"])
        unet.freeze_spatial()
        if settings["gradient_checkpointing"]:
            unet.enable_gradient_checkpointing()
        trained = unet.temporal_parameters()
        modules = {"temporal": trained}
        if settings["ema"]:
            modules["ema"] = {k: p.detach().clone() for k, p in trained.items()}
        optimizer = make_optimizer(list(trained.values()), settings)
        pipe = LateNtMoviesPipeline(prior.vae, prior.text_encoder, prior.tokenizer, unet, scheduler,
                                    settings["mask_value"])
        pipe.set_progress_bar_config(disable=True)
        with torch.no_grad():
            words, silence = pipe.encode_prompt([prompt, ""])
        start = keep.resume(modules, optimizer)
        model, optimizer = accelerator.prepare(unet, optimizer)

        bar = tqdm(range(start, settings["steps"]), initial=start, total=settings["steps"], desc=f"fine-tuning {name}")
        recent = None
        for step in bar:
            batch = make_batch(cached["train"], settings, fps, scheduler, step, accelerator.process_index)
            batch = {k: v.to(device) for k, v in batch.items()}
            embeddings = torch.where(batch["drop"][:, None, None], silence, words)
            rate = learning_rate(step, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            model.train()
            with accelerator.autocast():
                predicted = model(batch["sample"], batch["timestep"], embeddings, fps=batch["fps"]).sample
            loss = F.mse_loss(predicted.float(), batch["target"].float())  # eq. 2
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(list(trained.values()), settings["max_grad_norm"])
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if not torch.isfinite(loss):
                raise UserError(f"videos.{name}: the loss is not finite at step {step}; lower finetune.learning_rate "
                                "or set finetune.mixed_precision: no")
            if settings["ema"]:
                decay = min(settings["ema"], (1 + step) / (10 + step))
                for k, slow in modules["ema"].items():
                    slow.lerp_(trained[k].detach(), 1 - decay)
            recent = loss.item() if recent is None else 0.95 * recent + 0.05 * loss.item()
            bar.set_postfix(loss=f"{recent:.4f}", refresh=False)
            with keep.log.open("a") as f:
                f.write(f"{step},{loss.item():.6f},{rate:.3e},{float(norm):.4f}\n")
            done = step + 1
            if settings["preview_every"] and done % settings["preview_every"] == 0:
                unet.eval()
                film = pipe(image_latents=cached["still"], prompt=prompt, num_frames=max(8, settings["frames"]), fps=fps,
                            generator=torch.Generator("cpu").manual_seed(settings["seed"]),
                            decode_chunk_size=8 if settings["size"] < 512 else 1).frames[0]
                write_gif(keep.folder / "previews" / f"step_{done:05d}.gif", to_uint8(film), fps)
            if done % settings["checkpoint_every"] == 0 or done == settings["steps"]:
                keep.save(done, modules, optimizer)

        if settings["ema"]:
            with torch.no_grad():
                for k, p in trained.items():
                    p.copy_(modules["ema"][k])
        out.mkdir(parents=True, exist_ok=True)
        (out / "previews").mkdir(exist_ok=True)
        if (keep.folder / "previews").is_dir():
            shutil.copytree(keep.folder / "previews", out / "previews", dirs_exist_ok=True)
        shutil.copyfile(keep.log, out / "log.csv")
        unet.save_temporal(out / "temporal.safetensors", {"video": name, "steps": settings["steps"], "prompt": prompt,
                                                          "mask_value": settings["mask_value"], "fps": fps})
        finished = True
        losses = [float(row.split(",")[1]) for row in keep.log.read_text().splitlines()[1:]]
        return {"video": name, "prompt": prompt, "steps": settings["steps"],
                "trained_parameters": sum(p.numel() for p in trained.values()),
                "frozen_parameters": sum(p.numel() for p in unet.parameters() if not p.requires_grad),
                "loss_first_tenth": float(np.mean(losses[:max(1, len(losses) // 10)])),
                "loss_last_tenth": float(np.mean(losses[-max(1, len(losses) // 10):]))}
    finally:
        keep.close(finished)
