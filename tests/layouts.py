"""Tiny checkpoints with random weights in each layout that Stable Diffusion's public ones have on disk, and the true
configurations of their U-Nets.

The files are as the hub has them, which is not how today's libraries write them: the text encoder's names begin with
`text_model.` and bring position_ids, version 1's autoencoder calls its attention query, key, value, proj_attn, and
version 2's tokenizer pads with "!".
"""

import json
from pathlib import Path

import torch

# unet/config.json of the public checkpoints
SD1 = dict(
    sample_size=64, in_channels=9, out_channels=4, layers_per_block=2, block_out_channels=(320, 640, 1280, 1280),
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3, cross_attention_dim=768, attention_head_dim=8,
    norm_num_groups=32)
SD2 = SD1 | dict(cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True)
SDXL = SD1 | dict(
    sample_size=128, block_out_channels=(320, 640, 1280), cross_attention_dim=2048, attention_head_dim=(5, 10, 20),
    down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
    up_block_types=("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",), use_linear_projection=True,
    transformer_layers_per_block=(1, 2, 10), addition_embed_type="text_time", addition_time_embed_dim=256,
    projection_class_embeddings_input_dim=2816)
TRUE = {
    "sd15-inpainting": SD1, "sd15": SD1 | {"in_channels": 4}, "sd2-inpainting": SD2,
    "sd21": SD2 | {"in_channels": 4, "sample_size": 96, "upcast_attention": True}, "sdxl-inpainting": SDXL}
SMALL = {
    "sd15": dict(block_out_channels=(16, 32, 32, 32), cross_attention_dim=16, norm_num_groups=8, sample_size=8),
    "sd2": dict(block_out_channels=(16, 32, 64, 64), cross_attention_dim=32, norm_num_groups=8, sample_size=8,
                attention_head_dim=(1, 2, 4, 4)),
    "sdxl": dict(block_out_channels=(16, 32, 64), cross_attention_dim=32, norm_num_groups=8, sample_size=8,
                 attention_head_dim=(1, 2, 4), transformer_layers_per_block=(1, 1, 2), addition_time_embed_dim=8,
                 projection_class_embeddings_input_dim=64)}
LAYERS = 23  # of version 2's text encoder: its last of 24 is left off
PIPELINES = {
    "sd15-inpainting": "StableDiffusionInpaintPipeline", "sd15": "StableDiffusionPipeline",
    "sd2-inpainting": "StableDiffusionInpaintPipeline", "sd21": "StableDiffusionPipeline",
    "sdxl-inpainting": "StableDiffusionXLInpaintPipeline"}
PART = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "CLIPTextModel",
        "tokenizer": "CLIPTokenizer", "scheduler": "DDIMScheduler"}


def write_layout(folder: Path, layout: str, seed: int = 0) -> Path:
    """A tiny checkpoint of one of TRUE's layouts, in diffusers' folder."""
    from diffusers import UNet2DConditionModel

    version = layout.split("-")[0].replace("sd21", "sd2")
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(**TRUE[layout] | SMALL[version])
    with torch.no_grad():  # nothing stands at zero, so that nothing is the same by chance
        for p in unet.parameters():
            p += 0.02 * torch.randn(p.shape)
    unet.save_pretrained(folder / "unet")
    _write_autoencoder(folder, old=version == "sd15")
    words = _write_tokenizer(folder / "tokenizer", padding="!" if version == "sd2" else "<|endoftext|>")
    _write_text_encoder(folder, unet.config.cross_attention_dim, words, LAYERS if version == "sd2" else 2,
                        "gelu" if version == "sd2" else "quick_gelu")
    scheduler = {"_class_name": "PNDMScheduler" if version == "sd15" else "DDIMScheduler", "beta_start": 0.00085,
                 "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000, "steps_offset": 1,
                 "set_alpha_to_one": False, "skip_prk_steps": True, "trained_betas": None}
    if layout == "sd21":
        scheduler |= {"prediction_type": "v_prediction"}
    (folder / "scheduler").mkdir()
    _json(folder / "scheduler/scheduler_config.json", scheduler)
    parts = {part: ["diffusers" if part in ("unet", "vae", "scheduler") else "transformers", kind]
             for part, kind in PART.items()}
    if version == "sdxl":
        parts |= {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
                  "tokenizer_2": ["transformers", "CLIPTokenizer"]}
    _json(folder / "model_index.json", {"_class_name": PIPELINES[layout], "_diffusers_version": "0.6.0", **parts})
    return folder


def _write_autoencoder(folder: Path, old: bool) -> None:
    from diffusers import AutoencoderKL

    AutoencoderKL(
        latent_channels=4, sample_size=64, norm_num_groups=4, block_out_channels=(8, 8, 8, 8), layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    ).save_pretrained(folder / "vae")
    if old:
        names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        _rename(folder / "vae/diffusion_pytorch_model.safetensors", names)


def _write_tokenizer(folder: Path, padding: str) -> int:
    """The tokenizer as the public checkpoints have it, of few words. How many tokens it has."""
    from lnm.demo.mini.text import train_tokenizer

    train_tokenizer(folder, ["ocean waves at sunset", "clouds in a blue sky"])
    for file in folder.iterdir():
        if file.name not in ("vocab.json", "merges.txt"):
            file.unlink()
    vocabulary = json.loads((folder / "vocab.json").read_text())
    mark = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    start, end = ({"content": content, **mark} for content in ("<|startoftext|>", "<|endoftext|>"))
    _json(folder / "special_tokens_map.json", {"bos_token": start, "eos_token": end, "pad_token": padding,
                                               "unk_token": end})
    added = {"__type": "AddedToken"}
    _json(folder / "tokenizer_config.json", {
        "add_prefix_space": False, "bos_token": added | start, "eos_token": added | end, "unk_token": added | end,
        "do_lower_case": True, "errors": "replace", "model_max_length": 77, "pad_token": "<|endoftext|>",
        "tokenizer_class": "CLIPTokenizer"})
    return len(vocabulary)


def _write_text_encoder(folder: Path, width: int, words: int, layers: int, act: str) -> None:
    from safetensors.torch import load_file, save_file
    from transformers import CLIPTextConfig, CLIPTextModel

    vocabulary = json.loads((folder / "tokenizer/vocab.json").read_text())
    CLIPTextModel(CLIPTextConfig(
        vocab_size=words, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
        num_attention_heads=2, hidden_act=act, bos_token_id=vocabulary["<|startoftext|>"],
        eos_token_id=vocabulary["<|endoftext|>"], pad_token_id=1)).save_pretrained(folder / "text_encoder")
    path = folder / "text_encoder/model.safetensors"
    weights = {f"text_model.{k.removeprefix('text_model.')}": v for k, v in load_file(path).items()}
    weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(weights, path, metadata={"format": "pt"})


def _rename(path: Path, names: dict[str, str]) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(path)
    for new, old in names.items():
        weights = {k.replace(f".{new}.", f".{old}."): v for k, v in weights.items()}
    save_file(weights, path, metadata={"format": "pt"})


def _json(path: Path, data: dict) -> None:
    path.write_text(json.dumps(data, indent=2))
