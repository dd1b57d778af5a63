"""A tiny inpainting checkpoint with random weights, in the on-disk layout of Stable Diffusion's."""

import json
from pathlib import Path

import torch

CHANNELS, SIZE = 4, 32  # of the latents; pixels


def write_tiny_checkpoint(folder: Path, prediction_type: str = "epsilon", **unet_changes) -> Path:
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from lnm.demo.mini.text import train_tokenizer

    torch.manual_seed(0)
    tokenizer = train_tokenizer(folder / "tokenizer", ["ocean waves at sunset", "clouds in a blue sky"])
    AutoencoderKL(
        latent_channels=CHANNELS, sample_size=SIZE, norm_num_groups=4, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, scaling_factor=0.5,
    ).save_pretrained(folder / "vae")
    UNet2DConditionModel(**dict(
        sample_size=SIZE // 2, in_channels=2 * CHANNELS + 1, out_channels=CHANNELS, layers_per_block=1,
        block_out_channels=(16, 32), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=16, attention_head_dim=2,
        norm_num_groups=8) | unet_changes).save_pretrained(folder / "unet")
    CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )).save_pretrained(folder / "text_encoder")
    DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                  set_alpha_to_one=False, steps_offset=1, prediction_type=prediction_type,
                  ).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionInpaintPipeline"}))
    return folder


def write_tiny_prepared(folder: Path, checkpoint: Path, frames: int = 12, fps: float = 8.0) -> Path:
    """What the prepare stage leaves, for a clip of noise that drifts."""
    import numpy as np
    from PIL import Image
    from safetensors.torch import save_file

    from lnm import video
    from lnm.checkpoint import open_checkpoint
    from lnm.files import write_json
    from lnm.latents import encode

    picture = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    clip = np.stack([np.roll(picture, i, axis=1) for i in range(frames)])
    vae = open_checkpoint(str(checkpoint)).vae
    folder.mkdir(parents=True)
    save_file({"train": encode(vae, clip[:-3]), "heldout": encode(vae, clip[-3:]), "still": encode(vae, clip[-3:-2])},
              folder / "latents.safetensors")
    video.write_frames(folder / "train", clip[:-3])
    video.write_frames(folder / "heldout", clip[-3:])
    Image.fromarray(clip[-3]).save(folder / "still.png")
    write_json(folder / "clip.json", {"video": "drift", "fps": fps})
    write_json(folder / "prompts.json", {"prompt": "ocean waves"})
    return folder


def tiny_settings(**changes):
    """The fine-tune's settings for a tiny checkpoint, of type Finetune."""
    from lnm.settings import Finetune

    return Finetune(**dict(steps=6, frames=3, checkpoint_every=2, preview_every=0, warmup_steps=2) | changes)


def tiny_finetune(checkpoint: Path, /, **changes) -> dict:
    """The finetune stage's keyword arguments for a tiny checkpoint; `changes` may name these or any of its settings."""
    stage = {"checkpoint": str(checkpoint), "revision": None, "seed": 0, "device": "cpu", "name": "drift",
             "about": {"checkpoint": str(checkpoint)}}
    stage |= {key: changes.pop(key) for key in list(changes) if key in stage}
    return {"settings": tiny_settings(**changes), **stage}


def write_tiny_finetuned(folder: Path, **changes) -> tuple[Path, Path, Path]:
    """A tiny checkpoint, a prepared clip and the temporal layers of a fine-tune on it (folder/out); `changes` as in
    tiny_finetune."""
    from lnm.stages.finetune import finetune

    checkpoint = write_tiny_checkpoint(folder / "checkpoint")
    prepared = write_tiny_prepared(folder / "prepared", checkpoint)
    finetune(prepared, folder / "out", folder / "store", **tiny_finetune(checkpoint, **changes))
    return checkpoint, prepared, folder / "out" / "temporal.safetensors"
