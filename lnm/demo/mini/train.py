"""The whole recipe, from images to the two folders lnm-mini and lnm-mini-clip."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from lnm.checkpoint import Checkpoint, open_checkpoint
from lnm.demo import footage
from lnm.demo.mini.autoencoder import LATENT_CHANNELS, new_vae, train_vae
from lnm.demo.mini.batch import Film, read_films, tokenized
from lnm.demo.mini.clip import save_clip, train_clip
from lnm.demo.mini.clips import make_clips
from lnm.demo.mini.images import crop_photos, training_images
from lnm.demo.mini.recipe import RECIPE
from lnm.demo.mini.text import new_text_encoder, train_tokenizer
from lnm.demo.mini.unet import new_scheduler, new_unet, train_unet
from lnm.errors import UserError
from lnm.files import write_sums

if TYPE_CHECKING:
    from diffusers import AutoencoderDC, UNet2DConditionModel
    from transformers import CLIPTextModel

NAME, CLIP = "lnm-mini", "lnm-mini-clip"  # the two folders


def save_checkpoint(folder: Path, vae: AutoencoderDC, unet: UNet2DConditionModel, text_encoder: CLIPTextModel,
                    tokenizer_folder: Path) -> None:
    """diffusers' Stable Diffusion layout, fp16 safetensors, no file over 14 MB."""
    for name, module in (("vae", vae), ("unet", unet)):
        module.to("cpu", torch.float16).save_pretrained(folder / name, max_shard_size="14MB")
        config = json.loads((folder / name / "config.json").read_text())
        config.pop("_name_or_path", None)  # where it was opened from, which is of this machine alone
        (folder / name / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    text_encoder.to("cpu", torch.float16).save_pretrained(folder / "text_encoder")
    new_scheduler().save_pretrained(folder / "scheduler")
    shutil.copytree(tokenizer_folder, folder / "tokenizer", dirs_exist_ok=True)
    # what the folder is, in the stock pipeline's words; that pipeline itself takes no AutoencoderDC
    index = {"_class_name": "StableDiffusionInpaintPipeline", "vae": ["diffusers", "AutoencoderDC"],
             "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
             "unet": ["diffusers", "UNet2DConditionModel"], "scheduler": ["diffusers", "DDIMScheduler"],
             "safety_checker": [None, None], "feature_extractor": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def open_start(start: Path, out: Path) -> Checkpoint:
    """The lnm-mini in the folder `start`, which is carried over. Raises UserError unless it is one of 16 channels with
    lnm-mini-clip beside it, both elsewhere than where `train` writes."""
    if not start.is_dir():
        raise UserError(f"--start: there is no folder {start}; give that of an lnm-mini")
    try:
        base = open_checkpoint(str(start))
    except UserError as error:
        raise UserError(f"--start: {start} is no lnm-mini: {str(error).removeprefix('checkpoint.name: ')}") from None
    found, wanted = ({k: p.shape for k, p in vae.decoder.state_dict().items()} for vae in (base.vae, new_vae()))
    if found != wanted or base.unet.config.out_channels != LATENT_CHANNELS:
        raise UserError(f"--start: {start} is no lnm-mini of {LATENT_CHANNELS} channels; give the folder of one")
    if not (start.parent / CLIP).is_dir():
        raise UserError(f"--start: there is no {CLIP} beside {start}; put its own there, it is taken as it is")
    if start.resolve() == (out / NAME).resolve():
        raise UserError(f"--start: {start} is where the result goes; move it, with its {CLIP}, or give another --out")
    return base


def some_frames(films: list[Film], recipe: dict) -> np.ndarray:
    """Every tenth frame of as many clips as the fit of the encoder looks at, uint8 (N, SIZE, SIZE, 3)."""
    count = min(recipe["fit"]["clips"], len(films))
    rows = np.random.default_rng(recipe["seed"]).choice(len(films), count, replace=False)
    return np.concatenate([films[k].frames[::10] for k in rows])


def train(out: Path, work: Path, recipe: dict = RECIPE, downloads: Path | None = None,
          start: Path | None = None) -> None:
    """Train everything into `out`/lnm-mini and `out`/lnm-mini-clip, with SHA256SUMS of both beside them; what `work`
    already holds is not done again.

    downloads: where the archives of photographs and clips are kept; None as in lnm.demo.footage. start: the folder of
    an lnm-mini of 16 channels: its latents and its U-Net are carried over; its text encoder, its tokenizer and the
    lnm-mini-clip beside it, which works on pixels, are taken as they are. Raises UserError if it is none, or if
    pictures are not there and cannot be fetched.
    """
    base = open_start(start, out) if start else None
    work.mkdir(parents=True, exist_ok=True)
    (work / "recipe.json").write_text(json.dumps(recipe, indent=2))
    photographs = footage.photos(work / "photos", downloads)
    photos, captions = crop_photos(photographs, recipe["photo_crops"], recipe["seed"] + 1)
    footage.fetch(list(recipe["clips"]["real"]), work / "footage", downloads)
    make_clips(work / "clips", work / "footage", recipe["clips"])
    films = read_films(work / "clips", work)
    to_fit = np.concatenate([photos[::2], some_frames(films, recipe)])
    vae = train_vae(work, recipe, to_fit, np.concatenate([photos, *(film.frames[::5] for film in films)]),
                    base.vae if base else None)
    if base and start:
        shutil.copytree(start / "tokenizer", work / "tokenizer", dirs_exist_ok=True)
        shutil.copytree(start.parent / CLIP, out / CLIP, dirs_exist_ok=True)
        tokenizer, unet, text_encoder = base.tokenizer, base.unet, base.text_encoder
    else:  # CLIP has stills, and crops of its own
        images, said = training_images(work, recipe["stills"], photographs, recipe["photo_crops"], recipe["seed"] + 1)
        tokenizer = train_tokenizer(work / "tokenizer", said)
        save_clip(out / CLIP, train_clip(work, recipe, images, said, tokenizer), tokenizer, work / "tokenizer")
        torch.manual_seed(recipe["seed"] + 1)
        unet, text_encoder = new_unet(), new_text_encoder(tokenizer)
    pictures = tokenized(tokenizer, photos, captions, films)
    unet, text_encoder = train_unet(work, recipe, unet, text_encoder, vae, pictures, carried=base is not None)
    save_checkpoint(out / NAME, vae, unet, text_encoder, work / "tokenizer")
    write_sums(out, (NAME, CLIP))
