"""The sample stage: films by the fine-tuned model, and by the frozen checkpoint frame by frame."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from lnm import video
from lnm.checkpoint import open_checkpoint, pick_device
from lnm.files import sha256, write_json
from lnm.pipeline import build, to_uint8
from lnm.settings import Sample
from lnm.stages.prepare import load


def sample_films(prepared: Path, temporal: Path, out: Path, *, settings: Sample, checkpoint: str,
                 revision: str | None = None, seed: int = 0, size: int = 128, device: str = "auto",
                 beta_schedule: str = "prior", mask_value: float = 0, name: str = "clip", about: dict | None = None,
                 methods: tuple[str, ...] = ("ours", "prior")) -> dict:
    """Films of a prepared clip's still: `ours` and the frozen checkpoint frame by frame, `settings.seeds` of each.

    prepared: the prepare stage's folder. temporal: the fine-tune's temporal.safetensors. Writes
    <out>/<method>/seed_<k>/ (frames, film.mp4, film.gif), a contact sheet of each and, last, <out>/films.json,
    whose content is returned.
    """
    base = open_checkpoint(checkpoint, revision, pick_device(device))
    prompt = json.loads((prepared / "prompts.json").read_text())["prompt"]
    fps = json.loads((prepared / "clip.json").read_text())["fps"]
    still = load(prepared)["still"]
    seeds = [seed + k for k in range(settings.seeds)]
    for method in methods:
        weights = temporal if method == "ours" else None
        # the untouched checkpoint keeps the noise levels it was trained with
        pipe = build(base, weights, beta_schedule if weights else "prior", settings.scheduler, mask_value)
        for k, film_seed in enumerate(seeds):
            pipe.set_progress_bar_config(desc=f"sampling {name}, {method}, film {k + 1} of {len(seeds)}")
            film = pipe(image_latents=still, prompt=prompt, negative_prompt=settings.negative_prompt,
                        num_frames=settings.num_frames, fps=fps if weights else None,
                        num_inference_steps=settings.num_inference_steps, guidance_scale=settings.guidance_scale,
                        first_frame=settings.first_frame, generator=torch.Generator("cpu").manual_seed(film_seed),
                        decode_chunk_size=8 if size < 512 else 1).frames[0]
            write_film(out / method / f"seed_{k}", to_uint8(film), fps)
            video.contact_sheet([(f"{method}, seed {film_seed}", to_uint8(film))], path=out / f"{method}_seed_{k}.png")
        del pipe  # before the next U-Net is made
    note = {"video": name, "prompt": prompt, "fps": fps,
            **settings.model_dump(include={"num_frames", "num_inference_steps", "guidance_scale", "first_frame"}),
            "prior": (about or {}).get("prior", checkpoint), "mask_value": mask_value, "seeds": seeds,
            "methods": list(methods), "temporal_sha256": sha256(temporal)}
    write_json(out / "films.json", note)
    return note


def write_film(folder: Path, frames: np.ndarray, fps: float) -> None:
    """A film as frames, mp4 and GIF."""
    video.write_frames(folder, frames)
    video.write_mp4(folder / "film.mp4", frames, fps)
    video.write_gif(folder / "film.gif", frames, fps)
