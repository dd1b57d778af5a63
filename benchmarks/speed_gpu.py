"""The absolute figures of benchmarks.speed: what a GPU must do at Stable Diffusion's size, 512 x 512, in bfloat16.

Goals were set for a recent data-centre GPU. On a machine without one they are owed; the code runs on a CPU at a tiny
size, in a test.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from benchmarks import speed_models as models
from lnm import latents, video
from lnm.batches import make_optimizer
from lnm.precision import HalfFrozen
from lnm.settings import Finetune
from lnm.windows import blended

STEPS, FRAMES, LONG, LONGEST = 3600, 5, 25, 240
GOALS = {"minutes": 3.0, "gigabytes": 10.0, "film": 0.6, "encoded": 100.0, "long": 12.0}
VAE = dict(block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=2,
           up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, sample_size=512)  # Stable Diffusion's


def trainer(size: str, frames: int, device: str, checkpointing: bool, half: bool = True,
            precision: str = "bf16") -> Callable[[], None]:
    """One step of a fine-tune as `lnm.training.Trainer` takes it on a GPU: frozen weights in bfloat16 (half), Lion.
    precision: "no", or "bf16" under autocast."""
    arm = models.make("ours", size, device, precision)
    assert arm is not None
    if checkpointing:
        arm.model.enable_gradient_checkpointing()
    arm.model.train()
    if half:
        HalfFrozen(arm.model, torch.bfloat16)
    optimizer = make_optimizer({str(i): p for i, p in enumerate(arm.trained)}, Finetune())
    clip = models.batch(size, frames, device)
    return lambda: models.train(arm, clip, optimizer, device, precision)


def seconds(run: Callable[[], Any], device: str, repeats: int) -> float:
    """The median over repeats, after one that is not counted."""
    taken = []
    for _ in range(repeats + 1):
        _wait(device)
        start = time.perf_counter()
        run()
        _wait(device)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def held(run: Callable[[], Any], device: str) -> float | None:
    """Gigabytes that a GPU holds at the worst moment of what `run` makes and takes, weights included; on a CPU it is
    run and None."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None


def checkpointed(size: str, device: str, frames: int = LONG) -> None:
    """Two steps of a fine-tune with checkpointing: optimiser states are there at the second."""
    step = trainer(size, frames, device, checkpointing=True)
    for _ in range(2):
        step()


def long_film(size: str, device: str, vae_config: dict[str, Any], frames: int) -> None:
    """One step of a film of so many frames with guidance, window by window, then decoded, as the pipeline does it."""
    arm = models.make("ours", size, device, "bf16")
    assert arm is not None
    arm.model.eval().to(torch.bfloat16)
    vae = AutoencoderKL(**vae_config).to(device, torch.bfloat16).eval().requires_grad_(False)
    clip = models.batch(size, frames, device)
    text = clip["text"].repeat(2, 1, 1).to(torch.bfloat16)

    def predict(part: torch.Tensor) -> torch.Tensor:
        both = arm.call(arm.model, part.repeat(2, 1, 1, 1, 1).to(torch.bfloat16), clip["timestep"].repeat(2), text)
        return both.float().mean(0, keepdim=True)

    with torch.no_grad():
        film = blended(predict, clip["sample"], 16, 12)
    latents.decode(vae, film[0, :vae.config.latent_channels].movedim(1, 0))


def film(size: str, device: str) -> Callable[[], None]:
    """15 steps of a film of FRAMES frames with guidance, weights in bfloat16."""
    arm = models.make("ours", size, device, "bf16")
    assert arm is not None
    arm.model.eval().to(torch.bfloat16)
    clip = {k: v.repeat(2, *[1] * (v.ndim - 1)) for k, v in models.batch(size, FRAMES, device).items()}
    halves = {k: v.to(torch.bfloat16) if v.is_floating_point() else v for k, v in clip.items()}

    def run() -> None:
        with torch.no_grad():
            for _ in range(15):
                arm.call(arm.model, halves["sample"], halves["timestep"], halves["text"])
    return run


def frames_a_second(device: str, count: int, height: int, side: int, vae_config: dict[str, Any] = VAE) -> float:
    """Of a clip of 16:9 that is decoded, resized and encoded."""
    vae = AutoencoderKL(**vae_config).to(device, torch.bfloat16).eval().requires_grad_(False)
    width = 16 * height // 9 // 2 * 2
    rows = np.arange(height)[:, None] + np.arange(width)[None]
    picture = np.stack([rows % 256, (2 * rows) % 256, (rows // 2) % 256], -1).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        video.write_mp4(path, np.broadcast_to(picture, (count, *picture.shape)), 25)
        latents.encode(vae, np.zeros((1, side, side, 3), np.uint8))
        _wait(device)
        start = time.perf_counter()
        latents.encode(vae, video.read(path, size=side).frames)
        _wait(device)
        return count / (time.perf_counter() - start)


def figures(size: str = "sd15", device: str = "cuda", repeats: int = 20, count: int = 1060, height: int = 1080,
            side: int = 512, vae: dict[str, Any] = VAE, longest: int = LONGEST) -> list[dict[str, Any]]:
    """A line a figure, as benchmarks.speed has them: {"what", "goal", "found", "holds"}."""
    rows: list[dict[str, Any]] = []

    def line(what: str, goal: str, found: float | None, holds: bool) -> None:
        rows.append({"what": what, "goal": goal, "found": found, "holds": found is not None and holds})

    minutes = seconds(trainer(size, FRAMES, device, False), device, repeats) * STEPS / 60
    line(f"{STEPS} steps of {FRAMES} frames, minutes", f"at most {GOALS['minutes']:g}", minutes,
         minutes <= GOALS["minutes"])
    most = held(lambda: checkpointed(size, device), device)
    line(f"{LONG} frames with checkpointing, GB", f"at most {GOALS['gigabytes']:g}", most,
         most is not None and most <= GOALS["gigabytes"])
    taken = seconds(film(size, device), device, max(1, repeats // 4))
    line(f"{FRAMES} frames, 15 steps with guidance, s", f"at most {GOALS['film']:g}", taken, taken <= GOALS["film"])
    rate = frames_a_second(device, count, height, side, vae)
    line(f"{count} frames of {height}p decoded, resized and encoded, frames/s", f"at least {GOALS['encoded']:g}", rate,
         rate >= GOALS["encoded"])
    most = held(lambda: long_film(size, device, vae, longest), device)
    line(f"a film of {longest} frames, GB", f"at most {GOALS['long']:g}", most,
         most is not None and most <= GOALS["long"])
    return rows


def owed() -> list[dict[str, Any]]:
    """The same lines where no GPU was at hand."""
    names = ((f"{STEPS} steps of {FRAMES} frames, minutes", f"at most {GOALS['minutes']:g}"),
             (f"{LONG} frames with checkpointing, GB", f"at most {GOALS['gigabytes']:g}"),
             (f"{FRAMES} frames, 15 steps with guidance, s", f"at most {GOALS['film']:g}"),
             ("1060 frames of 1080p decoded, resized and encoded, frames/s", f"at least {GOALS['encoded']:g}"),
             (f"a film of {LONGEST} frames, GB", f"at most {GOALS['long']:g}"))
    return [{"what": f"GPU, 512x512, bf16: {what}", "goal": goal, "found": None, "holds": None} for what, goal in names]
