"""One arm of the ablations by one seed: trained on a prepared clip, looked at on a part of it that is kept apart, and
filmed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch

from lnm import video
from lnm.ablations.arms import Arm, arm_of, arm_pipeline, base_settings, settings_of, twin
from lnm.ablations.loss import fixed_loss
from lnm.ablations.noise import INDEPENDENT, NOISES, correlated
from lnm.batches import check_length
from lnm.checkpoint import open_checkpoint
from lnm.devices import pick_device
from lnm.errors import UserError
from lnm.files import write_json
from lnm.latents import decode, load_latents
from lnm.pipeline import LateNtMoviesPipeline
from lnm.runs import Trained, make_accelerator, open_store, run_identity
from lnm.schedulers import make_scheduler
from lnm.settings import Finetune, Sample
from lnm.stages.sample import film_of, film_seed
from lnm.training import train
from lnm.validation import split

LOOKED_AT = (5, 8)  # frames of a held-out sample: the paper's, and the other choice's
FILM = Sample(num_frames=12, num_inference_steps=10, seeds=1)  # small: there is one of every arm and seed


def run_arm(prepared: Path, out: Path, store: Path, *, arm: str, seed: int, steps: int, checkpoint: str,
            revision: str | None = None, widen: bool = False, device: str = "auto", name: str = "clip",
            sample: Sample | None = None) -> dict:
    """Trains an arm (`lnm.ablations.arms.ARMS`) on the first four fifths of what a prepared clip has to train on,
    measures the held-out loss on the last fifth, and films that fifth's first frame.

    The frames that the prepare stage holds out, which the default's films are measured against, are not looked at: what
    is chosen here may be chosen for them. prepared: the prepare stage's folder. store: where checkpoints are kept; an
    interrupted run goes on from there. seed: of the steps, the layers drawn and the film's noise, alike for every arm.
    steps: of every arm but those about steps. sample: how the film is sampled (None: FILM, by the
    checkpoint's own decoder). name: of the clip.
    Writes <out>/film/ (frames, and film.mp4), <out>/log.csv and, last, <out>/run.json, whose content is returned: what
    the arm is, `loss` by frames of a held-out sample under independent noise, `loss_by_noise` of the fewest frames by
    the kind of noise, and counts. An arm that on this checkpoint is the base itself is not trained: it names it under
    `same_as`.
    Raises UserError for a clip that is too short, an arm that there is not, or while another run holds the store.
    """
    prepared, out, store = Path(prepared), Path(out), Path(store)
    settings = settings_of(arm, steps)
    prompt = json.loads((prepared / "prompts.json").read_text())["prompt"]
    fps = json.loads((prepared / "clip.json").read_text())["fps"]
    own, held = held_out(prepared, name)
    check_length(len(own), settings, f"videos.{name}")
    base = open_checkpoint(checkpoint, revision, pick_device(device), widen=widen)
    chosen = arm_of(arm)
    note = {"arm": arm, "seed": seed, "video": name, "steps": settings.steps, "choice": chosen.choice,
            "value": chosen.value, "against": chosen.against, "beside": chosen.beside, "noise": chosen.noise,
            "prompt": prompt, "fps": fps}
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    if same := twin(arm, base.scheduler):
        note |= {"same_as": same}
        write_json(out / "run.json", note)
        return note
    levels = make_scheduler(base.scheduler)
    pipe = arm_pipeline(arm, base, settings, seed)
    pipe.set_progress_bar_config(desc=f"filming {arm}, seed {seed}")
    trained = _train(pipe, own, prompt, fps, settings, seed, store, f"{arm}, seed {seed}", out / "log.csv", chosen)
    by_noise = {kind: fixed_loss(pipe, held, prompt, fps, settings, min(LOOKED_AT), levels, kind) for kind in NOISES}
    longer = fixed_loss(pipe, held, prompt, fps, settings, max(LOOKED_AT), levels)
    note |= {"loss": dict(zip(map(str, LOOKED_AT), (by_noise[INDEPENDENT], longer), strict=True)),
             "loss_by_noise": by_noise,
             "learning_rate": settings.learning_rate, "train_loss_last_tenth": trained.loss_last_tenth,
             "trained_parameters": trained.trained_parameters, "frames_train": len(own), "frames_held": len(held)}
    sample = sample or FILM
    pipe.scheduler = make_scheduler(pipe.scheduler, kind=sample.scheduler)
    film = _film(pipe, held[:1], prompt, fps, sample, film_seed(seed, 0), chosen.noise)
    video.write_frames(out / "film", film)
    video.write_mp4(out / "film" / "film.mp4", film, fps)
    write_json(out / "run.json", note)
    return note


def held_out(prepared: Path, name: str = "clip") -> tuple[torch.Tensor, torch.Tensor]:
    """Latents (N, C, h, w) that arms are trained on and, the last fifth of a prepared clip's training part, those that
    they are looked at on. Raises UserError for a clip too short for that."""
    latents = load_latents(prepared)["train"]
    own, held = split(latents, base_settings(1))
    if len(held) < max(LOOKED_AT):
        raise UserError(f"videos.{name}: the last fifth of {len(latents)} training frames is {len(held)}; an ablation "
                        f"looks at {max(LOOKED_AT)}: give a longer clip")
    return own, held


def reference(prepared: Path, checkpoint: str, revision: str | None = None, *, widen: bool = False,
              device: str = "auto", name: str = "clip") -> dict:
    """The frames that the films' are beside: the held-out fifth through the autoencoder, uint8 (N, H, W, 3), under
    `frames`, and its `fps`."""
    vae = open_checkpoint(checkpoint, revision, pick_device(device), widen=widen).vae
    fps = json.loads((Path(prepared) / "clip.json").read_text())["fps"]
    return {"frames": decode(vae, held_out(prepared, name)[1]), "fps": fps}


def _train(pipe: LateNtMoviesPipeline, latents: torch.Tensor, prompt: str, fps: float, settings: Finetune, seed: int,
           store: Path, name: str, log: Path, arm: Arm) -> Trained:
    """The arm's training, which goes on from its store; its log is written to `log`."""
    accelerator = make_accelerator(settings, pipe.device)
    identity = run_identity(pipe, latents, prompt, fps, settings, seed)
    told = {"layers": sorted(pipe.unet.temporal_parameters()), "trainer": arm.trainer.__name__}
    resume = open_store(store, identity | told, accelerator)
    finished = False
    try:
        trained = train(pipe, latents, prompt, fps, settings, accelerator, seed, resume, name, kind=arm.trainer)
        log.write_bytes(resume.log.read_bytes())
        finished = True
        return trained
    finally:
        resume.close(finished)


def _film(pipe: LateNtMoviesPipeline, still: torch.Tensor, prompt: str, fps: float, sample: Sample, seed: int,
          kind: str) -> np.ndarray:
    """`lnm.stages.sample.film_of` begun from noise of a kind, which for independent noise is that film itself: the same
    noise is drawn for all kinds."""
    if kind == INDEPENDENT:
        return film_of(pipe, still, prompt, fps, sample, seed)
    generator = torch.Generator("cpu").manual_seed(seed)
    drawn = torch.randn((1, still.shape[1], sample.num_frames, *still.shape[2:]), generator=generator)
    return pipe(image_latents=still, prompt=prompt, fps=fps, output_type="uint8", latents=correlated(drawn, kind),
                **sample.film(), generator=generator).frames[0]
