"""The fine-tune stage: temporal layers learn one prepared clip; an interrupted run goes on from its store."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import torch

from lnm.checkpoint import open_checkpoint
from lnm.devices import pick_device
from lnm.pipeline import LateNtMoviesPipeline, to_uint8
from lnm.resume import ResumeStore
from lnm.settings import Finetune
from lnm.stages.prepare import load
from lnm.training import COSMETIC, check_length, train
from lnm.video import write_gif


def finetune(prepared: Path, out: Path, store: Path, *, settings: Finetune, checkpoint: str, revision: str | None = None,
             seed: int = 0, size: int | list[int] = 128, device: str = "auto", name: str = "clip",
             about: dict | None = None) -> dict:
    """Trains what is temporal on a prepared clip; writes temporal.safetensors, log.csv and previews into `out`.

    prepared: the prepare stage's folder. store: where checkpoints are kept between runs. about: what identifies the
    run beside its settings (names and hashes of the files behind it). Returns a summary (counts, first and last losses).
    Raises UserError for a clip that is too short.
    """
    cached, about = load(prepared), about or {}
    fps = json.loads((prepared / "clip.json").read_text())["fps"]
    prompt = json.loads((prepared / "prompts.json").read_text())["prompt"]
    check_length(len(cached["train"]), settings, f"videos.{name}")
    latents = hashlib.sha256(cached["train"].numpy().tobytes()).hexdigest()
    keep = ResumeStore(store, {**settings.model_dump(exclude=COSMETIC | {"init"}), **about, "seed": seed, "size": size,
                               "prompt": prompt, "fps": fps, "latents": latents})
    finished = False
    try:
        pipe = _pipeline(settings, checkpoint, revision, seed, pick_device(device))

        def preview(step: int) -> None:
            film = pipe(image_latents=cached["still"], prompt=prompt, num_frames=max(8, settings.frames), fps=fps,
                        generator=torch.Generator("cpu").manual_seed(seed)).frames[0]
            write_gif(keep.folder / "previews" / f"step_{step:05d}.gif", to_uint8(film), fps)

        trained = train(pipe, cached["train"], prompt, fps, settings, seed, keep, name, preview)
        out.mkdir(parents=True, exist_ok=True)
        (out / "previews").mkdir(exist_ok=True)
        if (keep.folder / "previews").is_dir():
            shutil.copytree(keep.folder / "previews", out / "previews", dirs_exist_ok=True)
        shutil.copyfile(keep.log, out / "log.csv")
        pipe.save_temporal(out / "temporal.safetensors", fps=fps, frames=settings.frames, strides=settings.strides,
                           prompt=prompt, steps=settings.steps, video=name,
                           checkpoint=about.get("checkpoint", checkpoint))
        finished = True
        return {"video": name, "prompt": prompt, "steps": trained.steps,
                "trained_parameters": trained.trained_parameters, "frozen_parameters": trained.frozen_parameters,
                "loss_first_tenth": trained.loss_first_tenth, "loss_last_tenth": trained.loss_last_tenth}
    finally:
        keep.close(finished)


def _pipeline(settings: Finetune, checkpoint: str, revision: str | None, seed: int, device: str) -> LateNtMoviesPipeline:
    """The checkpoint inflated; its temporal layers from `settings.init`, or drawn by `seed` and starting as the
    identity."""
    base = open_checkpoint(checkpoint, revision, device)
    torch.manual_seed(seed)  # the temporal attention's projections
    pipe = LateNtMoviesPipeline.from_checkpoint(base, conv_placement=settings.conv_placement,
                                                mask_value=settings.mask_value, in_place=True)
    if settings.init:
        pipe.load_temporal(settings.init)
        pipe.register_to_config(mask_value=settings.mask_value)
    pipe.set_progress_bar_config(disable=True)
    return pipe
