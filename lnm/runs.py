"""What a training run is: all that decides its result, who takes part, and the store that it goes on from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list

from lnm.devices import half_precision
from lnm.errors import UserError
from lnm.latents import Clips
from lnm.model import InflatedModel
from lnm.resume import FIELDS, ResumeStore
from lnm.schedulers import make_scheduler, schedule_of
from lnm.settings import Finetune

# what changes how often a run looks or saves, not what it computes
WITHOUT_EFFECT = {"checkpoint_every", "preview_every", "validate_every", "validation_clips"}
CHOOSING = {"most_steps", "validation", "validate_every", "patience"}  # what `steps: auto` hangs on, and nothing else


@dataclass
class Trained:
    """What a fine-tune did: the mean loss of its first and last tenth, and how many numbers trained and stood still.

    steps: whose weights were kept; losses: of every step taken, as the log has them. validation: the held-out loss of
    what was kept, where one was looked at.
    """

    steps: int
    trained_parameters: int
    frozen_parameters: int
    losses: list[float]
    validation_loss: float | None = None

    @property
    def loss_first_tenth(self) -> float:
        return float(np.mean(self.losses[:max(1, len(self.losses) // 10)])) if self.losses else math.nan

    @property
    def loss_last_tenth(self) -> float:
        return float(np.mean(self.losses[-max(1, len(self.losses) // 10):])) if self.losses else math.nan


def make_accelerator(settings: Finetune, device: torch.device | str) -> Accelerator:
    """This process's place among those that train together; to be made before anything is put on a GPU.

    device: "cpu" keeps to the CPU; with any other Accelerate picks the process's own. Raises UserError for fp16 there.
    """
    cpu = torch.device(device).type == "cpu"
    if cpu and settings.mixed_precision == "fp16":
        raise UserError(f"{type(settings).__name__.lower()}.mixed_precision: fp16 needs a GPU; choose bf16 or no")
    AcceleratorState._reset_state(reset_partial_state=True)  # a kernel may fine-tune twice, in another precision
    return Accelerator(mixed_precision=precision(settings, device), cpu=cpu)


def precision(settings: Finetune, device: torch.device | str) -> str:
    """`settings.mixed_precision`, with what "auto" is on this device: it decides the bytes, so a run remembers it."""
    return half_precision(device) if settings.mixed_precision == "auto" else settings.mixed_precision


def run_identity(pipe: InflatedModel, clip: np.ndarray | Clips, prompt: str, fps: float,
                 settings: Finetune, seed: int) -> dict:
    """All that decides what a fine-tune gives, as json values; not where it runs, nor how often it looks or saves.

    clip: the frames or latents that are trained on, or a list of a clip's each. `settings.init` is seen in the weights
    that the run starts from.
    """
    content, parts = hashlib.sha256(), clip if isinstance(clip, list) else [clip]
    for part in parts:
        content.update(np.ascontiguousarray(part).tobytes())
    several = {"lengths": [len(part) for part in parts]} if len(parts) > 1 else {}
    return {**decided(pipe, settings, seed), "prompt": prompt, "fps": fps, "clip": content.hexdigest(), **several}


def decided(pipe: InflatedModel, settings: Finetune, seed: int) -> dict:
    """The part of a run's identity that is not its data: settings, seed, noise schedule, first weights."""
    aside = WITHOUT_EFFECT - CHOOSING if settings.steps == "auto" else WITHOUT_EFFECT | CHOOSING
    return {**settings.model_dump(exclude=aside | {"init", "identity_steps", "noise_steps", "seeds"}), "seed": seed,
            "mixed_precision": precision(settings, pipe.device), "weights": weights_of(pipe),
            "schedule": schedule_of(make_scheduler(pipe.scheduler, settings.beta_schedule))}


def log_fields(settings: Finetune) -> tuple[str, ...]:
    """What a fine-tune's log has of each step."""
    return (*FIELDS, "validation") if settings.steps == "auto" else FIELDS


def weights_of(pipe: InflatedModel) -> list[str]:
    """Tells the weights of two pipelines apart without reading all: the `fingerprint` of each model. A decoder in time
    is left out: nothing that is trained here sees a frame decoded."""
    vae = {k: p for k, p in pipe.vae.named_parameters() if ".temporal." not in k}
    return [fingerprint(vae), *(fingerprint(dict(m.named_parameters())) for m in (pipe.text_encoder, pipe.unet))]


def fingerprint(parameters: Mapping[str, torch.Tensor]) -> str:
    """A hash of parameters' names, their shapes and one value of each."""
    seen = [(k, tuple(p.shape), float(p.detach().flatten()[p.numel() // 2])) for k, p in parameters.items()]
    return hashlib.sha256(repr(seen).encode()).hexdigest()


def open_store(folder: Path, identity: dict, accelerator: Accelerator, patience: float = 20.0, *,
               fields: tuple[str, ...] = FIELDS) -> ResumeStore:
    """The resume store of a run. The first process locks it; where it cannot, all stop with its UserError."""
    store: ResumeStore | None = None
    refused: list[str | None] = [None]
    if accelerator.is_main_process:
        try:
            store = ResumeStore(folder, identity, patience, fields=fields)
        except UserError as error:
            refused = [str(error)]
    broadcast_object_list(refused)
    if refused[0]:
        raise UserError(refused[0])
    return store or ResumeStore(folder, identity, main=False, fields=fields)


@contextmanager
def resumable(pipe: InflatedModel, identity: dict, folder: Path | str | None, accelerator: Accelerator,
         fields: tuple[str, ...] = FIELDS) -> Iterator[ResumeStore | None]:
    """The store of a run on a pipeline in memory, None without a folder; a run that ends leaves nothing in it.

    Entered again with the pipeline as an interrupted run left it, it is that run's, which goes on.
    """
    began = identity["weights"] = getattr(pipe, "interrupted", {}).get(tuple(identity["weights"]), identity["weights"])
    store = open_store(Path(folder), identity, accelerator, fields=fields) if folder is not None else None
    finished = False
    try:
        yield store
        finished = True
    finally:
        pipe.interrupted = {} if finished else {tuple(weights_of(pipe)): began}
        if store:
            store.close(finished)
