"""Opens a checkpoint: any Stable Diffusion inpainting model in diffusers' layout, or the built-in `lnm-mini`.

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models" (2022).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderDC, AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from lnm.errors import UserError
from lnm.files import builtin

# the files of a checkpoint that are read
WANTED = ("scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt",
          "tokenizer/tokenizer_config.json", "text_encoder/config.json", "unet/config.json", "vae/config.json")
# and the weights of its models: whole, sharded (an index and shards), or the half-precision variant
WEIGHTS = {"text_encoder": "model", "unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}


@dataclass
class Checkpoint:
    """An open checkpoint: diffusers' and transformers' own objects, in evaluation mode."""

    vae: Any
    unet: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    name: str


def locate(name: str, revision: str | None = None) -> Path:
    """The folder of a checkpoint: "lnm-mini", a local folder, or a hub name's snapshot (from the cache or downloaded).

    Raises UserError that names the missing files and where to put them.
    """
    folder = builtin(name) or Path(name).expanduser()
    if not folder.is_dir():
        folder = _from_hub(name, revision)
    for file in WANTED:
        if not (folder / file).is_file():
            raise UserError(f"checkpoint.name: {name}: {file} is missing; put it into {folder.name}/{Path(file).parent}")
    for part in WEIGHTS:
        _variant(folder, part, name)
    return folder


def _from_hub(name: str, revision: str | None) -> Path:
    if name.count("/") != 1 or name.startswith((".", "~", "/", "checkpoints/", "inputs/")):
        raise UserError(f"checkpoint.name: there is no folder {name}; `dvc pull lnm-mini` brings the built-in "
                        "checkpoints/lnm-mini")
    from huggingface_hub import snapshot_download  # here: a local folder needs none of it

    small = [*WANTED, "model_index.json", "tokenizer/special_tokens_map.json"]
    half = [f"{part}/{stem}.fp16.safetensors" for part, stem in WEIGHTS.items()]
    whole = [f"{part}/{stem}.safetensors" for part, stem in WEIGHTS.items()]
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*small, *half]))
        if not all((folder / file).is_file() for file in half):  # half the bytes where there are such
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=[*small, *whole]))
    except Exception as error:  # the hub client raises many kinds
        raise UserError(
            f"checkpoint.name: {name} cannot be fetched from the model hub ({type(error).__name__}); fetch it where the "
            f"hub is in reach and put these files into inputs/{name.split('/')[1]}/, then set checkpoint.name to that "
            f"folder: {', '.join([*WANTED, *whole])} (or *.fp16.safetensors)") from None
    return folder


def _variant(folder: Path, part: str, name: str) -> str | None:
    """Which weights of a model there are: None (plain or sharded) or "fp16". Raises UserError if there are none."""
    stem = f"{part}/{WEIGHTS[part]}"
    if (folder / f"{stem}.safetensors").is_file() or (folder / f"{stem}.safetensors.index.json").is_file():
        return None
    if (folder / f"{stem}.fp16.safetensors").is_file():
        return "fp16"
    raise UserError(f"checkpoint.name: {name}: {stem}.safetensors (or .fp16.safetensors) is missing; put it into "
                    f"{folder.name}/{part}; .bin files are not opened")


def open_checkpoint(name: str, revision: str | None = None, device: str = "cpu",
                    dtype: torch.dtype | None = None) -> Checkpoint:
    """Open a checkpoint in Stable Diffusion inpainting's layout: "lnm-mini", a folder, or a hub name.

    dtype: float32 unless given. Raises UserError for one that is missing, incomplete, unreadable or not for inpainting.
    """
    folder = locate(name, revision)
    try:
        base = _read(folder, name, dtype or torch.float32)
    except UserError:
        raise
    except Exception as error:  # safetensors, json and both libraries raise their own
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"checkpoint.name: {name} cannot be opened: {first[:200]}; fetch its files again") from None
    config = base.unet.config
    if config.in_channels != 2 * config.out_channels + 1:
        raise UserError(f"checkpoint.name: {name}: its U-Net takes {config.in_channels} channels; an inpainting one takes "
                        f"{2 * config.out_channels + 1}, choose an inpainting checkpoint")
    predicts = base.scheduler.config.prediction_type
    if predicts not in ("epsilon", "v_prediction"):
        raise UserError(f"checkpoint.name: {name} predicts {predicts}; choose a checkpoint that "
                        "predicts noise (epsilon) or velocity (v_prediction)")
    for module in (base.vae, base.unet, base.text_encoder):
        module.eval().requires_grad_(False).to(device)
    return base


def _read(folder: Path, name: str, dtype: torch.dtype) -> Checkpoint:
    """diffusers' and transformers' objects of a folder that has all its files."""
    weights = {part: {"variant": _variant(folder, part, name), "use_safetensors": True} for part in WEIGHTS}
    kind = json.loads((folder / "vae/config.json").read_text()).get("_class_name")
    autoencoder = AutoencoderDC if kind == "AutoencoderDC" else AutoencoderKL
    # a configuration written for another sampler may lack the key, and diffusers' default clamps latents to [-1, 1]
    schedule = {**DDIMScheduler.load_config(folder / "scheduler"), "clip_sample": False}
    return Checkpoint(
        vae=autoencoder.from_pretrained(folder / "vae", torch_dtype=dtype, **weights["vae"]),
        unet=UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, **weights["unet"]),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=dtype, **weights["text_encoder"]),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        scheduler=DDIMScheduler.from_config(schedule),
        name=name)
