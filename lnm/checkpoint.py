"""Opens a checkpoint: any Stable Diffusion inpainting model in diffusers' layout, or the built-in `lnm-mini`.

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models" (2022).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lnm.errors import UserError

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
    """The folder of a checkpoint: a local one, or a hub name's snapshot (from the cache or downloaded).

    Raises UserError that names the missing files and where to put them.
    """
    folder = Path(name).expanduser()
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


def open_checkpoint(name: str, revision: str | None = None, device: str = "cpu", dtype=None) -> Checkpoint:
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
    return Checkpoint(vae, unet, text_encoder, tokenizer, scheduler, name)
