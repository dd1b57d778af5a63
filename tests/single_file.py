"""A checkpoint in one file, with the names of the original Stable Diffusion code (CompVis/latent-diffusion)."""

from pathlib import Path

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}

OPEN_CLIP = {"embeddings.token_embedding": "token_embedding", "embeddings.position_embedding.weight":
             "positional_embedding", "encoder.layers": "transformer.resblocks", "layer_norm1": "ln_1",
             "layer_norm2": "ln_2", "self_attn": "attn", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
             "final_layer_norm": "ln_final"}


def write_single_file(path: Path, checkpoint, open_clip: bool = False) -> Path:
    """`checkpoint` as MODEL.safetensors. open_clip: with the text encoder as version 2 has it."""
    import torch
    from safetensors.torch import save_file

    layers, levels = checkpoint.unet.config.layers_per_block, len(checkpoint.vae.config.block_out_channels)
    weights = {f"model.diffusion_model.{unet_name(k, layers)}": v for k, v in checkpoint.unet.state_dict().items()}
    for name, value in checkpoint.vae.state_dict().items():
        new = vae_name(name, levels)
        is_projection = ".attn_1." in new and new.endswith("weight") and value.ndim == 2
        weights[f"first_stage_model.{new}"] = value[..., None, None] if is_projection else value
    words = {k.removeprefix("text_model."): v for k, v in checkpoint.text_encoder.state_dict().items()}
    if open_clip:
        weights |= {f"cond_stage_model.model.{k}": v for k, v in open_clip_names(words).items()}
    else:
        weights |= {f"cond_stage_model.transformer.text_model.{k}": v for k, v in words.items()}
        weights["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    weights["alphas_cumprod"] = torch.ones(1000)  # of the training code, as the public files have it
    save_file({k: v.contiguous().clone() for k, v in weights.items()}, path)
    return path


def open_clip_names(words: dict) -> dict:
    """A text encoder of transformers under open_clip's names, with a last layer more, which is not read."""
    import torch

    last = 1 + max(int(k.split(".")[2]) for k in words if k.startswith("encoder.layers."))
    words = words | {k.replace(".0.", f".{last}.", 1): v + 1 for k, v in words.items()
                     if k.startswith("encoder.layers.0.")}
    found, joined = {}, {}
    for name, value in words.items():
        for old, new in OPEN_CLIP.items():
            name = name.replace(old, new)
        if ".attn." in name and name.split(".")[-2] in ("q_proj", "k_proj", "v_proj"):
            place, part, kind = name.rsplit(".", 2)
            joined.setdefault(f"{place}.in_proj_{kind}", {})[part] = value
        else:
            found[name] = value
    found |= {k: torch.cat([parts[p] for p in ("q_proj", "k_proj", "v_proj")]) for k, parts in joined.items()}
    width = found["token_embedding.weight"].shape[1]
    return found | {"text_projection": torch.eye(width), "logit_scale": torch.tensor(4.6)}


def unet_name(name: str, layers: int) -> str:
    parts = name.split(".")
    top = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
           "conv_norm_out": "out.0", "conv_out": "out.2", "conv_in": "input_blocks.0.0"}
    for old, new in top.items():
        if name.startswith(f"{old}."):
            return name.replace(old, new)
    if parts[0] == "mid_block":
        kind, j, rest = parts[1], int(parts[2]), parts[3:]
        place = "middle_block.1" if kind == "attentions" else f"middle_block.{2 * j}"
    else:
        i, kind, j, rest = int(parts[1]), parts[2], int(parts[3]), parts[4:]
        down = parts[0] == "down_blocks"
        each = layers + 1  # of input_blocks a level: its layers, and what halves the picture; of output_blocks as well
        if kind in ("downsamplers", "upsamplers"):  # behind attention where the block has some
            last = "0.op" if down else f"{'1' if i == 0 else '2'}.conv"
            place = f"input_blocks.{each * (i + 1)}" if down else f"output_blocks.{each * i + layers}"
            return f"{place}.{last}.{rest[-1]}"
        place = f"input_blocks.{1 + each * i + j}" if down else f"output_blocks.{each * i + j}"
        place += ".0" if kind == "resnets" else ".1"
    rest = [RESNET.get(rest[0], rest[0]), *rest[1:]] if kind == "resnets" else rest
    return ".".join([place, *rest])


def vae_name(name: str, levels: int) -> str:
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    name = name.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
    name = name.replace("mid_block.attentions.0", "mid.attn_1")
    if ".attn_1." in name:
        for old, new in ATTENTION.items():
            name = name.replace(f".{old}.", f".{new}.")
    for i in range(levels):
        for old, new in ((f"down_blocks.{i}", f"down.{i}"), (f"up_blocks.{i}", f"up.{levels - 1 - i}")):
            name = name.replace(f".{old}.", f".{new}.")
    name = name.replace(".resnets.", ".block.")
    return name.replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")
