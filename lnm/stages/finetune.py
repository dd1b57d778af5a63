"""The fine-tune stage: temporal layers learn one prepared clip; an interrupted run goes on from its store."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch

from lnm.checkpoint import open_checkpoint, pick_device
from lnm.finetune import check_length, train
from lnm.pipeline import LateNtMoviesPipeline, to_uint8
from lnm.resume import ResumeStore
from lnm.schedulers import make_scheduler
from lnm.settings import Finetune
from lnm.stages.prepare import load
from lnm.temporal_file import load_temporal, save_temporal
from lnm.unet import UNetPseudo3DConditionModel
from lnm.video import write_gif

# what changes how often a run looks or saves, not what it computes
COSMETIC = {"checkpoint_every"}


def finetune(prepared: Path, out: Path, store: Path, *, settings: Finetune, checkpoint: str, revision: str | None = None,
             seed: int = 0, size: int = 128, device: str = "auto", name: str = "clip", about: dict | None = None) -> dict:
    """Trains what is temporal on a prepared clip; writes temporal.safetensors, log.csv and previews into `out`.

    prepared: the prepare stage's folder. store: where checkpoints are kept between runs. about: what identifies the
    run beside its settings (hashes of the files behind it). Returns a summary (counts, first and last losses).
    Raises UserError for a clip that is too short.
    """
    cached = load(prepared)
    fps = json.loads((prepared / "clip.json").read_text())["fps"]
    prompt = json.loads((prepared / "prompts.json").read_text())["prompt"]
    check_length(len(cached["train"]), settings, f"videos.{name}")
    keep = ResumeStore(store, _identity(cached, settings, seed, size, prompt, fps, about or {}))
    finished = False
    try:
        pipe = _pipeline(settings, checkpoint, revision, seed, pick_device(device))

        def preview(step: int) -> None:
            film = pipe(image_latents=cached["still"], prompt=prompt, num_frames=max(8, settings.frames), fps=fps,
                        generator=torch.Generator("cpu").manual_seed(seed),
                        decode_chunk_size=8 if size < 512 else 1).frames[0]
            write_gif(keep.folder / "previews" / f"step_{step:05d}.gif", to_uint8(film), fps)

        trained = train(pipe, cached["train"], prompt, fps, settings, seed, keep, f"videos.{name}", preview)
        out.mkdir(parents=True, exist_ok=True)
        (out / "previews").mkdir(exist_ok=True)
        if (keep.folder / "previews").is_dir():
            shutil.copytree(keep.folder / "previews", out / "previews", dirs_exist_ok=True)
        shutil.copyfile(keep.log, out / "log.csv")
        save_temporal(pipe.unet, out / "temporal.safetensors", {"video": name, "steps": settings.steps, "prompt": prompt,
                                                                "mask_value": settings.mask_value, "fps": fps})
        finished = True
        return {"video": name, "prompt": prompt, **asdict(trained)}
    finally:
        keep.close(finished)


def _identity(cached: dict, settings: Finetune, seed: int, size: int, prompt: str, fps: float, about: dict) -> dict:
    """All that decides a run's result."""
    seen = [cached["train"]] + ([cached["still"]] if settings.preview_every else [])
    return {**settings.model_dump(exclude=COSMETIC | {"init"}), **about, "seed": seed, "size": size, "prompt": prompt,
            "fps": fps, "latents": [hashlib.sha256(x.numpy().tobytes()).hexdigest() for x in seen]}


def _pipeline(settings: Finetune, checkpoint: str, revision: str | None, seed: int, device: str) -> LateNtMoviesPipeline:
    """The checkpoint inflated, with the training schedule; its temporal layers from `settings.init` or the identity."""
    base = open_checkpoint(checkpoint, revision, device)
    scheduler = make_scheduler(base.scheduler, settings.beta_schedule, "ddim")
    torch.manual_seed(seed)  # the temporal attention's projections
    unet = UNetPseudo3DConditionModel.from_unet2d(base.unet, conv_placement=settings.conv_placement).to(device)
    base.unet = None  # the inflated copy is all that is needed: 3.4 GB of Stable Diffusion's
    if settings.init:
        load_temporal(unet, settings.init)
    pipe = LateNtMoviesPipeline(base.vae, base.text_encoder, base.tokenizer, unet, scheduler, settings.mask_value)
    pipe.set_progress_bar_config(disable=True)
    return pipe
