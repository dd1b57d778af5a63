"""The rivals stage: other methods' temporal parts, trained by the loop that trains ours, and films of the still."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lnm import video
from lnm.batches import check_lengths
from lnm.checkpoint import open_checkpoint
from lnm.devices import pick_device
from lnm.files import made, whole, write_json
from lnm.latents import Clips, load_latents, training_clips
from lnm.lora import fuse_lora
from lnm.pipeline import LateNtMoviesPipeline
from lnm.resume import ResumeStore, together
from lnm.rivals.methods import RIVALS, rival_pipeline
from lnm.runs import Trained, log_fields, make_accelerator, open_store, run_identity
from lnm.schedulers import make_scheduler
from lnm.settings import Finetune, Sample
from lnm.stages.sample import film_of, film_seed, made_from, origins, write_film
from lnm.training import train

STYLE = "_style"  # behind a method's name: what is filmed is not the method's own model


def film_rivals(prepared: Path, out: Path, store: Path, *, methods: Sequence[str], settings: Finetune, sample: Sample,
                checkpoint: str, revision: str | None = None, widen: bool = False, lora: str | None = None,
                lora_scale: float = 1.0, seed: int = 0, device: str = "auto", memory: str = "auto", name: str = "clip",
                about: dict | None = None) -> dict:
    """Trains each of `methods` (keys of `lnm.rivals.methods.RIVALS`) on a prepared clip and films its still, or its
    stills in turn.

    prepared: the prepare stage's folder. widen: refused; only ours trains what is added. lora, lora_scale: fused into
    the checkpoint (`lnm.lora.fuse_lora`). memory: "low" keeps no activation that can be computed again. store: where
    checkpoints are kept between runs. settings: of all methods; a method's rate is its share of
    `settings.learning_rate`. sample: `seeds` films of each; film k starts from the noise and the still that film k of
    ours starts from, and is decoded by the checkpoint's own decoder. name: of the clip. about: names as the user wrote
    them (checkpoint), for the record.
    Writes <out>/<method>_style/seed_<k>/ (frames, film.mp4, film.gif), <out>/<method>_style.csv (the log), a contact
    sheet of each method and, last, <out>/rivals.json, whose content is returned.
    Raises UserError for a clip that is too short, a film longer than a method knows, or while another run holds the
    store.
    """
    prepared, out, store = Path(prepared), Path(out), Path(store)
    prompt = json.loads((prepared / "prompts.json").read_text())["prompt"]
    fps = json.loads((prepared / "clip.json").read_text())["fps"]
    cached = load_latents(prepared)
    stills = cached["still"].split(1)
    clips = training_clips(cached)
    check_lengths(clips, settings, f"videos.{name}")
    made(out)
    notes = {}
    with together() as stores:
        for method in methods:
            base = open_checkpoint(checkpoint, revision, pick_device(device), widen=widen)
            if lora:
                fuse_lora(base, lora, lora_scale)
            own = settings.model_copy(update={"learning_rate": settings.learning_rate * RIVALS[method].rate} | (
                {"gradient_checkpointing": True} if memory == "low" else {}))
            pipe = rival_pipeline(method, base, own, seed)
            trained = _train(pipe, clips, prompt, fps, own, seed, store / method, f"{name}, {method}", method,
                             out / f"{method}{STYLE}.csv", stores)
            pipe.scheduler = make_scheduler(pipe.scheduler, kind=sample.scheduler)
            films = []
            for k in range(sample.seeds):
                pipe.set_progress_bar_config(desc=f"sampling {name}, {method}, film {k + 1} of {sample.seeds}")
                still = stills[made_from(k, 1, len(stills))[1]]
                films.append(film_of(pipe, still, prompt, fps, sample, film_seed(seed, k)))
                write_film(out / f"{method}{STYLE}" / f"seed_{k}", films[k], fps)
            video.contact_sheet([(f"{method}, film {k}", film) for k, film in enumerate(films)],
                                path=out / f"{method}.png")
            notes[f"{method}{STYLE}"] = {
                "steps": trained.steps, "learning_rate": own.learning_rate,
                "trained_parameters": trained.trained_parameters, "frozen_parameters": trained.frozen_parameters,
                "loss_first_tenth": trained.loss_first_tenth, "loss_last_tenth": trained.loss_last_tenth}
    note = {"video": name, "prompt": prompt, "fps": fps, "seed": seed, "seeds": list(range(sample.seeds)),
            **sample.model_dump(include={"num_frames", "num_inference_steps", "guidance_scale", "first_frame"}),
            **({"checkpoint": checkpoint} | (about or {})), "methods": list(notes), "trained": notes,
            **origins(dict.fromkeys(notes, 1), dict.fromkeys(notes, sample.seeds), len(stills))}
    write_json(out / "rivals.json", note)
    return note


def _train(pipe: LateNtMoviesPipeline, latents: Clips, prompt: str, fps: float, settings: Finetune, seed: int,
           store: Path, name: str, method: str, log: Path, stores: list[ResumeStore]) -> Trained:
    """One method's training, which goes on from its store, put into `stores`; its log is written to `log`."""
    accelerator = make_accelerator(settings, pipe.device)
    resume = open_store(store, run_identity(pipe, latents, prompt, fps, settings, seed), accelerator,
                        fields=log_fields(settings))
    stores.append(resume)
    trained = train(pipe, latents, prompt, fps, settings, accelerator, seed, resume, name, kind=RIVALS[method].trainer)
    if resume.main:
        with whole(log) as part:
            part.write_bytes(resume.log.read_bytes())
    return trained
