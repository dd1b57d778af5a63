"""The fine-tune stage: temporal layers learn one prepared clip; an interrupted run goes on from its store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lnm import video
from lnm.batches import check_lengths
from lnm.checkpoint import open_checkpoint
from lnm.devices import pick_device
from lnm.files import made, whole
from lnm.hub import locate_temporal
from lnm.latents import load_latents, spare, training_clips
from lnm.lora import fuse_lora
from lnm.model import InflatedModel
from lnm.resume import ResumeStore, together
from lnm.runs import log_fields, make_accelerator, open_store, run_identity
from lnm.settings import Finetune
from lnm.stages.preview import previewer
from lnm.temporal_file import load_temporal
from lnm.training import train


def finetune(prepared: Path, out: Path, store: Path, *, settings: Finetune, checkpoint: str,
             revision: str | None = None, widen: bool = False, lora: str | None = None, lora_scale: float = 1.0,
             any_base: bool = False, seed: int = 0, device: str = "auto", memory: str = "auto", name: str = "clip",
             about: dict | None = None) -> dict:
    """Trains what is temporal on a prepared clip; writes temporal.safetensors, log.csv and previews into `out`.

    prepared: the prepare stage's folder. widen: see `lnm.open_checkpoint`. lora, lora_scale: fused into the checkpoint
    (`lnm.lora.fuse_lora`). any_base: take a `settings.init` that was trained on another base of the same shape, with a
    warning. store: where checkpoints are kept between runs. memory: "low" keeps no activation that can be computed
    again, and no text encoder once the prompt is encoded. name: of the clip, in bars and messages. about: names as the
    user wrote them (checkpoint), for the record. Where several processes train together, all call this and the first
    writes. `settings.seeds` above 1: further fine-tunes, by seeds drawn from (seed, k), in `out`/seeds/k; under
    `settings.steps: auto` of as many steps as the first was found to need. With `settings.init` and
    `settings.identity_steps` one more begins as the identity, is told of the first frame alone, as in the paper
    (`settings.carried` 0), and is written to `out`/identity. With `settings.carried` and `settings.noise_steps` one
    more begins as the first does, is told of the first frame alone too, and is written to `out`/noise: layers for films
    that begin from noise.
    Returns a summary (counts, first and last losses).
    Raises UserError for a clip that is too short, or while another run holds the store.
    """
    prepared, out, store = Path(prepared), Path(out), Path(store)
    if memory == "low":
        settings = settings.model_copy(update={"gradient_checkpointing": True})
    base = {"checkpoint": checkpoint, "revision": revision, "widen": widen, "lora": lora, "lora_scale": lora_scale,
            "any_base": any_base}
    run: dict[str, Any] = {"base": base, "seed": seed, "device": device, "name": name, "about": about,
                           "low": memory == "low"}
    with together() as run["stores"]:
        summary = _train(prepared, out, store, settings, **run)
        for arm in ("seeds", "identity", "noise"):
            shutil.rmtree(out / arm, ignore_errors=True)
            made(out / arm)
        for k in range(1, settings.seeds):
            drawn = int(np.random.default_rng([seed, k]).integers(2**31))
            again = run | {"seed": drawn, "name": f"{name}, fine-tune {k + 1}",
                           "stop": summary["steps"] if settings.steps == "auto" else None}
            _train(prepared, out / "seeds" / str(k), store / "seeds" / str(k),
                   settings.model_copy(update={"preview_every": 0}), **again)
        for arm, (what, own) in _arms(settings).items():
            other = _train(prepared, out / arm, store / arm, own, **run | {"name": f"{name}, {what}"})
            summary[f"{arm}_loss_last_tenth"] = other["loss_last_tenth"]
    return summary


def _arms(settings: Finetune) -> dict[str, tuple[str, Finetune]]:
    """The fine-tunes of the arms beside ours, all told of the first frame alone: by folder what each is called in bars,
    and its settings."""
    arms: dict[str, tuple[str, Finetune]] = {}
    told = {"preview_every": 0, "carried": 0.0}
    if settings.init and settings.identity_steps:
        arms["identity"] = "from the identity", settings.model_copy(
            update=told | {"init": None, "steps": settings.identity_steps})
    if settings.carried and settings.noise_steps:
        arms["noise"] = "told of the still", settings.model_copy(update=told | {"steps": settings.noise_steps})
    return arms


def _train(prepared: Path, out: Path, store: Path, settings: Finetune, *, base: dict[str, Any], seed: int, device: str,
           name: str, about: dict | None, low: bool, stores: list[ResumeStore], stop: int | None = None) -> dict:
    """One fine-tune of `finetune`. base: its arguments that say which checkpoint. stores: gets that of this one. stop:
    of `lnm.training.train`."""
    cached = load_latents(prepared)
    fps = json.loads((prepared / "clip.json").read_text())["fps"]
    prompt = json.loads((prepared / "prompts.json").read_text())["prompt"]
    clips = training_clips(cached)
    check_lengths(clips, settings, f"videos.{name}")
    device = pick_device(device)
    accelerator = make_accelerator(settings, device)
    pipe = _pipeline(settings, seed, device, **base)
    identity = run_identity(pipe, clips, prompt, fps, settings, seed) | ({} if stop is None else {"stop": stop})
    resume = open_store(store, identity, accelerator, fields=log_fields(settings))
    stores.append(resume)
    if low:
        spare(pipe.vae)
        pipe.drop_text_encoder([prompt, ""] if prompt else [""])
    preview = previewer(pipe, cached["still"][:1], prompt, fps, max(8, settings.frames), seed,
                        resume.folder / "previews", prepared if settings.carried else None)
    pictures = _pictures(prepared, len(clips)) if settings.carried else None
    trained = train(pipe, clips, prompt, fps, settings, accelerator, seed, resume, name, preview, stop=stop,
                    pictures=pictures)
    if resume.main:
        _export(resume, out)
        pipe.save_temporal(out / "temporal.safetensors", fps=fps, frames=settings.frames, strides=settings.strides,
                           prompt=prompt, steps=trained.steps, video=name.split(",")[0],
                           checkpoint=(about or {}).get("checkpoint", base["checkpoint"]))
    return {"video": name, "prompt": prompt, "steps": trained.steps,
            "trained_parameters": trained.trained_parameters, "frozen_parameters": trained.frozen_parameters,
            "loss_first_tenth": trained.loss_first_tenth, "loss_last_tenth": trained.loss_last_tenth}


def _pictures(prepared: Path, clips: int) -> list[np.ndarray]:
    """The frames that each clip's latents to train on were encoded from."""
    further = [prepared / "clips" / str(number) for number in range(2, clips + 1)]
    return [video.read_frames(folder / "train") for folder in (prepared, *further)]


def _pipeline(settings: Finetune, seed: int, device: str, *, checkpoint: str, revision: str | None, widen: bool,
              lora: str | None, lora_scale: float, any_base: bool) -> InflatedModel:
    """The checkpoint inflated; its temporal layers from `settings.init`, or drawn by `seed` and starting as the
    identity."""
    base = open_checkpoint(checkpoint, revision, device, widen=widen)
    if lora:
        fuse_lora(base, lora, lora_scale)
    torch.manual_seed(seed)  # the temporal attention's projections
    pipe = InflatedModel.from_checkpoint(base, conv_placement=settings.conv_placement, mask_value=settings.mask_value,
                                         in_place=True)
    if settings.init:  # its layers alone: noise schedule and mask value are this run's
        load_temporal(pipe.unet, locate_temporal(settings.init), strict=not any_base)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _export(resume: ResumeStore, out: Path) -> None:
    """The log and the previews, those of an earlier run removed."""
    shutil.rmtree(out / "previews", ignore_errors=True)
    made(out / "previews")
    if (resume.folder / "previews").is_dir():
        shutil.copytree(resume.folder / "previews", out / "previews", dirs_exist_ok=True)
    with whole(out / "log.csv") as part:
        shutil.copyfile(resume.log, part)
