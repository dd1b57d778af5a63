"""The whole method checked on a real checkpoint, a line a check: what `lnm checkpoint verify` runs."""

from __future__ import annotations

import numpy as np
import torch

from lnm.checkpoint import Checkpoint, open_checkpoint
from lnm.demo import scenes
from lnm.devices import pick_device
from lnm.latents import decode, encode
from lnm.pipeline import LateNtMoviesPipeline
from lnm.unet import UNetPseudo3DConditionModel, is_temporal

PROMPT = "ocean waves at sunset"


class Checks:
    """Prints a line a check and remembers what failed."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def __call__(self, what: str, ok: bool, value) -> None:
        print(f"{'pass' if ok else 'FAIL'}  {what}: {value}", flush=True)
        self.failed.extend([] if ok else [what])


def verify_sd(name: str, revision: str | None = None, size: int = 512, widen: bool = False) -> bool:
    """Open a real checkpoint and check the method on it at `size` x `size` pixels, printing a line a check.

    widen: take a text-to-image checkpoint. Returns whether all passed. Raises UserError for a checkpoint that cannot be
    opened.
    """
    device, check = pick_device(), Checks()
    checkpoint = open_checkpoint(name, revision, device, widen=widen)
    keys = set(checkpoint.unet.state_dict())
    unet = UNetPseudo3DConditionModel.from_unet2d(checkpoint.unet, widen=widen)
    check("every 2D key of the checkpoint is in the inflated U-Net, and no other",
          {k for k in unet.state_dict() if not is_temporal(k)} == keys, f"{len(keys)} keys")
    latents = _check_vae(check, checkpoint, size)
    pipe = LateNtMoviesPipeline(checkpoint.vae, checkpoint.text_encoder, checkpoint.tokenizer, unet,
                                checkpoint.scheduler)
    _check_unet(check, checkpoint, unet, latents.transpose(0, 1)[None].to(device), pipe.encode_prompt([PROMPT]))
    film = pipe.to(device)(image_latents=latents[:1], prompt=PROMPT, num_frames=2, num_inference_steps=4, fps=8,
                           generator=torch.Generator().manual_seed(0)).frames
    check("four sampling steps give finite frames", bool(np.isfinite(film).all()), film.shape)
    if device == "cuda":
        print(f"      most GPU memory in use: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB at {size} x {size}")
    print("all checks passed" if not check.failed else f"{len(check.failed)} checks failed")
    return not check.failed


def _check_vae(check: Checks, checkpoint: Checkpoint, size: int) -> torch.Tensor:
    """Five frames of a rendered ocean through the autoencoder; returns their latents (5, C, h, w)."""
    frames = scenes.render(scenes.draw("ocean", 3), np.arange(5) / 8, size=size)
    latents = encode(checkpoint.vae, frames, 1, "encoding")
    error = np.mean((decode(checkpoint.vae, latents, 1).astype(float) - frames) ** 2)
    check("the VAE gives a rendered ocean back (PSNR of 25 dB or more)", error < 206,
          f"{10 * np.log10(255**2 / error):.1f} dB")
    return latents


def _check_unet(check: Checks, checkpoint: Checkpoint, unet: UNetPseudo3DConditionModel, clip: torch.Tensor,
                prompt_embeds: torch.Tensor) -> None:
    """The inflated U-Net against its parent, then a training step. clip: (1, C, 5, h, w); prompt_embeds: (1, 77, D).
    """
    sample = torch.cat([clip, torch.ones_like(clip[:, :1]), clip[:, :, :1].expand_as(clip)], dim=1)
    with torch.no_grad():
        ours = unet(sample, 500, prompt_embeds, fps=8).sample[0].transpose(0, 1)
        theirs = checkpoint.unet(sample[0, :checkpoint.unet.config.in_channels].transpose(0, 1), 500,
                                 prompt_embeds.repeat(5, 1, 1)).sample
    difference = (ours - theirs).abs().max().item()
    # on CUDA, TF32 convolutions round even a copy: there the bound is theirs; version 2's transformers begin in a
    # matrix product, whose rounding hangs on how its input lies in memory
    bound = 1e-2 if clip.device.type != "cpu" else 1e-4 if checkpoint.unet.config.use_linear_projection else 0.0
    check("inflated equals its 2D parent, frame by frame", difference <= bound, difference)
    unet.freeze_spatial()
    unet.enable_gradient_checkpointing()
    unet.train()
    noise = torch.randn_like(clip)
    noisy = checkpoint.scheduler.add_noise(clip, noise, torch.tensor([500], device=clip.device))
    predicted = unet(torch.cat([noisy, sample[:, clip.shape[1]:]], 1), 500, prompt_embeds, fps=8).sample
    loss = torch.nn.functional.mse_loss(predicted, noise)
    loss.backward()
    reached = [k for k, p in unet.named_parameters() if p.grad is not None]
    check("a training step reaches the temporal layers and nothing else",
          set(reached) == set(unet.temporal_parameters()), f"{len(reached)} tensors, loss {loss.item():.4f}")
