"""The whole recipe, from images to the two folders lnm-mini and lnm-mini-clip."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lnm.demo import footage
from lnm.demo.mini.autoencoder import train_vae
from lnm.demo.mini.batch import training_latents
from lnm.demo.mini.clip import save_clip, train_clip
from lnm.demo.mini.clips import make_clips
from lnm.demo.mini.images import training_images
from lnm.demo.mini.recipe import RECIPE
from lnm.demo.mini.references import reference_data, train_references
from lnm.demo.mini.text import train_tokenizer
from lnm.demo.mini.unet import new_scheduler, patch_basis, train_unet

if TYPE_CHECKING:
    from diffusers import AutoencoderDC, UNet2DConditionModel
    from transformers import CLIPTextModel


def save_checkpoint(folder: Path, vae: AutoencoderDC, unet: UNet2DConditionModel, text_encoder: CLIPTextModel,
                    tokenizer_folder: Path) -> None:
    """diffusers' Stable Diffusion layout, fp16 safetensors, no file over 14 MB."""
    for name, module in (("vae", vae), ("unet", unet)):
        module.to("cpu", torch.float16).save_pretrained(folder / name, max_shard_size="14MB")
    text_encoder.to("cpu", torch.float16).save_pretrained(folder / "text_encoder")
    new_scheduler().save_pretrained(folder / "scheduler")
    shutil.copytree(tokenizer_folder, folder / "tokenizer", dirs_exist_ok=True)
    # what the folder is, in the stock pipeline's words; that pipeline itself takes no AutoencoderDC
    index = {"_class_name": "StableDiffusionInpaintPipeline", "vae": ["diffusers", "AutoencoderDC"],
             "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
             "unet": ["diffusers", "UNet2DConditionModel"], "scheduler": ["diffusers", "DDIMScheduler"],
             "safety_checker": [None, None], "feature_extractor": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def train(out: Path, work: Path, recipe: dict = RECIPE, downloads: Path | None = None) -> None:
    """Train everything into `out`/lnm-mini and `out`/lnm-mini-clip; what `work` already holds is not done again.

    downloads: where the photographs' archive is kept; None as in lnm.demo.footage. Raises UserError if it is not there
    and cannot be fetched.
    """
    work.mkdir(parents=True, exist_ok=True)
    (work / "recipe.json").write_text(json.dumps(recipe, indent=2))
    photos = footage.photos(work / "photos", downloads)
    images, captions = training_images(work, recipe["stills"], photos, recipe["photo_crops"], recipe["seed"] + 1)
    vae = train_vae(work, recipe, images)
    tokenizer = train_tokenizer(work / "tokenizer", captions)
    latents = training_latents(work, recipe, vae, images)
    basis = patch_basis(vae)
    unet, text_encoder = train_unet(work, recipe, latents, captions, tokenizer, basis)
    footage.fetch(list(recipe["clips"]["real"]), work / "footage", downloads)
    make_clips(work / "clips", work / "footage", recipe["clips"])
    stills = sum(recipe["stills"].values())  # the photographs come after them
    given = reference_data(work, work / "clips", vae, tokenizer, images[stills:], captions[stills:])
    unet = train_references(work, recipe, unet, text_encoder, tokenizer, *given, basis)
    clip = train_clip(work, recipe, images, captions, tokenizer)
    save_checkpoint(out / "lnm-mini", vae, unet, text_encoder, work / "tokenizer")
    save_clip(out / "lnm-mini-clip", clip, tokenizer, work / "tokenizer")
