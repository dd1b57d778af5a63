"""The image prior: any Stable Diffusion inpainting checkpoint in diffusers' layout, or the built-in `lnm-mini`.

    python -m lnm.prior train        train lnm-mini from scratch (resumable)
    python -m lnm.prior show         what the prior of params.yaml is made of
    python -m lnm.prior verify-sd    open real Stable Diffusion weights and check the whole method on them

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models" (2022).
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lnm.params import UserError, load, root

# the files of a checkpoint that are read
WANTED = ("scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt",
          "tokenizer/tokenizer_config.json", "text_encoder/config.json", "unet/config.json", "vae/config.json")
# and the weights of its models: whole, sharded (an index and shards), or the half-precision variant
WEIGHTS = {"text_encoder": "model", "unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}

SCHEDULERS = {"ddim": "DDIMScheduler", "euler": "EulerDiscreteScheduler", "euler_a": "EulerAncestralDiscreteScheduler",
              "dpm++": "DPMSolverMultistepScheduler", "pndm": "PNDMScheduler", "unipc": "UniPCMultistepScheduler"}


@dataclass
class Prior:
    """An open checkpoint: diffusers' and transformers' own objects, in evaluation mode."""

    vae: Any
    unet: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    name: str


def pick_device(device: str = "auto") -> str:
    """"auto" -> cuda, mps or cpu. Raises UserError for a device that is not there."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(d for d, ok in there.items() if ok)
    if not there.get(device, False):
        raise UserError(f"device: {device} is not available here; set device: auto")
    return device


def locate(name: str, revision: str | None = None) -> Path:
    """The folder of a prior: a local one, or a hub name's snapshot (from the cache or downloaded).

    Raises UserError that names the missing files and where to put them.
    """
    folder = root() / Path(name).expanduser()
    if not folder.is_dir():
        if name.count("/") != 1 or name.startswith((".", "~", "/", "prior/", "inputs/")):
            raise UserError(f"prior.name: there is no folder {name}; `dvc pull prior` brings the built-in prior/lnm-mini")
        from huggingface_hub import snapshot_download

        small = [*WANTED, "model_index.json", "tokenizer/special_tokens_map.json"]
        half = [f"{part}/{stem}.fp16.safetensors" for part, stem in WEIGHTS.items()]
        whole = [f"{part}/{stem}.safetensors" for part, stem in WEIGHTS.items()]
        try:
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*small, *half]))
            if not all((folder / file).is_file() for file in half):  # half the bytes where there are such
                folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*small, *whole]))
        except Exception as error:  # the hub client raises many kinds
            raise UserError(
                f"prior.name: {name} cannot be fetched from the model hub ({type(error).__name__}); fetch it where the "
                f"hub is in reach and put these files into inputs/{name.split('/')[1]}/, then set prior.name to that "
                f"folder: {', '.join([*WANTED, *whole])} (or *.fp16.safetensors)") from None
    for file in WANTED:
        if not (folder / file).is_file():
            raise UserError(f"prior.name: {name}: {file} is missing; put it into {folder.name}/{Path(file).parent}")
    for part in WEIGHTS:
        _variant(folder, part, name)
    return folder


def _variant(folder: Path, part: str, name: str) -> str | None:
    """Which weights of a model there are: None (plain or sharded) or "fp16". Raises UserError if there are none."""
    stem = f"{part}/{WEIGHTS[part]}"
    if (folder / f"{stem}.safetensors").is_file() or (folder / f"{stem}.safetensors.index.json").is_file():
        return None
    if (folder / f"{stem}.fp16.safetensors").is_file():
        return "fp16"
    raise UserError(f"prior.name: {name}: {stem}.safetensors (or .fp16.safetensors) is missing; put it into "
                    f"{folder.name}/{part}; .bin files are not opened")


def open_prior(name: str, revision: str | None = None, device: str = "cpu", dtype=None) -> Prior:
    """Open a checkpoint in Stable Diffusion inpainting's layout, from a folder or by its hub name.

    dtype: float32 unless given. Raises UserError for one that is missing, incomplete, unreadable or not for inpainting.
    """
    import torch
    from diffusers import AutoencoderDC, AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    folder = locate(name, revision)
    dtype = dtype or torch.float32
    try:
        variants = {part: {"variant": _variant(folder, part, name), "use_safetensors": True} for part in WEIGHTS}
        kind = json.loads((folder / "vae/config.json").read_text()).get("_class_name")
        vae = (AutoencoderDC if kind == "AutoencoderDC" else AutoencoderKL).from_pretrained(folder / "vae", torch_dtype=dtype, **variants["vae"])
        unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, **variants["unet"])
        text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=dtype, **variants["text_encoder"])
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    except Exception as error:  # safetensors, json and both libraries raise their own
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"prior.name: {name} cannot be opened: {first[:200]}; fetch its files again") from None
    if unet.config.in_channels != 2 * unet.config.out_channels + 1:
        raise UserError(f"prior.name: {name}: its U-Net takes {unet.config.in_channels} channels; an inpainting one takes "
                        f"{2 * unet.config.out_channels + 1}, choose an inpainting checkpoint")
    if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
        raise UserError(f"prior.name: {name} predicts {scheduler.config.prediction_type}; choose a checkpoint that "
                        "predicts noise (epsilon) or velocity (v_prediction)")
    for module in (vae, unet, text_encoder):
        module.eval().requires_grad_(False).to(device)
    return Prior(vae, unet, text_encoder, tokenizer, scheduler, name)


def make_scheduler(base, beta_schedule: str = "prior", kind: str = "ddim"):
    """A scheduler of diffusers with the prior's configuration; beta_schedule "prior" keeps its betas, else "linear",
    "scaled_linear" (both from its beta_start to its beta_end) or "cosine" (Nichol & Dhariwal 2021)."""
    import diffusers

    names = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
    changes = {} if beta_schedule == "prior" else {"beta_schedule": names[beta_schedule]}
    if kind == "pndm":
        changes["skip_prk_steps"] = True  # Stable Diffusion's convention: one U-Net call a step
    return getattr(diffusers, SCHEDULERS[kind]).from_config(base.config, **changes)


# ---------------------------------------------------------------- checks on real weights


def verify_sd(name: str, revision: str | None, size: int) -> bool:
    """Open a real checkpoint and check the method on it, printing a line a check. Returns whether all passed."""
    import numpy as np
    import torch

    from lnm import scenes
    from lnm.latents import decode, encode
    from lnm.pipeline import LateNtMoviesPipeline
    from lnm.unet import UNetPseudo3DConditionModel, is_temporal

    device = pick_device()
    failed = []

    def check(what: str, ok: bool, value) -> None:
        print(f"{'pass' if ok else 'FAIL'}  {what}: {value}", flush=True)
        failed.extend([] if ok else [what])

    prior = open_prior(name, revision, device)
    keys = set(prior.unet.state_dict())
    unet = UNetPseudo3DConditionModel.from_unet2d(prior.unet)
    check("every 2D key of the checkpoint is in the inflated U-Net, and no other",
          {k for k in unet.state_dict() if not is_temporal(k)} == keys, f"{len(keys)} keys")
    frames = scenes.render(scenes.draw("ocean", 3), np.arange(5) / 8, size=size)
    latents = encode(prior.vae, frames, 1, "encoding")
    error = np.mean((decode(prior.vae, latents, 1).astype(float) - frames) ** 2)
    check("the VAE gives a rendered ocean back (PSNR of 25 dB or more)", error < 206, f"{10 * np.log10(255**2 / error):.1f} dB")
    pipe = LateNtMoviesPipeline(prior.vae, prior.text_encoder, prior.tokenizer, unet, prior.scheduler)
    words = pipe.encode_prompt(["ocean waves at sunset"])
    clip = latents.transpose(0, 1)[None].to(device)  # (1, C, F, h, w)
    sample = torch.cat([clip, torch.ones_like(clip[:, :1]), clip[:, :, :1].expand_as(clip)], dim=1)
    with torch.no_grad():
        ours = unet(sample, 500, words, fps=8).sample[0].transpose(0, 1)
        theirs = prior.unet(sample[0].transpose(0, 1), 500, words.repeat(5, 1, 1)).sample
    difference = (ours - theirs).abs().max().item()
    # on CUDA, TF32 convolutions round even a copy: there the bound is theirs
    check("inflated equals its 2D parent, frame by frame", difference <= (0.0 if device == "cpu" else 1e-2), difference)
    unet.freeze_spatial()
    unet.enable_gradient_checkpointing()
    unet.train()
    noise = torch.randn_like(clip)
    noisy = prior.scheduler.add_noise(clip, noise, torch.tensor([500], device=device))
    loss = torch.nn.functional.mse_loss(unet(torch.cat([noisy, sample[:, clip.shape[1]:]], 1), 500, words, fps=8).sample, noise)
    loss.backward()
    reached = [k for k, p in unet.named_parameters() if p.grad is not None]
    check("a training step reaches the temporal layers and nothing else", set(reached) == set(unet.temporal_parameters()),
          f"{len(reached)} tensors, loss {loss.item():.4f}")
    film = pipe.to(device)(image_latents=latents[:1], prompt="ocean waves at sunset", num_frames=2, num_inference_steps=4,
                           fps=8, generator=torch.Generator().manual_seed(0)).frames
    check("four sampling steps give finite frames", bool(np.isfinite(film).all()), film.shape)
    if device == "cuda":
        print(f"      most GPU memory in use: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB at {size} x {size}")
    print("all checks passed" if not failed else f"{len(failed)} checks failed")
    return not failed


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lnm.prior", description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train lnm-mini from scratch; an interrupted run goes on")
    train.add_argument("--out", type=Path, default=None, help="default: prior/ in the project")
    train.add_argument("--work", type=Path, default=None, help="images, latents, checkpoints; default: store/prior")
    show = commands.add_parser("show", help="what a prior is made of")
    verify = commands.add_parser("verify-sd", help="check the method on real Stable Diffusion weights")
    for command in (show, verify):
        command.add_argument("--prior", default=None, help="a folder or hub name")
        command.add_argument("--revision", default=None)
    verify.add_argument("--size", type=int, default=512)
    args = parser.parse_args(argv)
    try:
        if args.command == "train":
            from lnm import mini

            mini.train(args.out or root() / "prior", args.work or root() / "store" / "prior")
            return 0
        default = load(root() / "params.paper.yaml" if args.command == "verify-sd" else None).prior
        name, revision = args.prior or default.name, args.revision or (None if args.prior else default.revision)
        if args.command == "verify-sd":
            return 0 if verify_sd(name, revision, args.size) else 1
        prior = open_prior(name, revision)
        for part in ("vae", "unet", "text_encoder"):
            module = getattr(prior, part)
            print(f"{part:13} {type(module).__name__}, {sum(p.numel() for p in module.parameters()):,} parameters")
        print(f"{'scheduler':13} {prior.scheduler.config.beta_schedule}, predicts {prior.scheduler.config.prediction_type}")
        return 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
