"""A checkpoint in one file, with the names of the original Stable Diffusion code (CompVis/latent-diffusion)."""

from pathlib import Path

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def write_single_file(path: Path, checkpoint) -> Path:
    """`checkpoint`, of one layer a block as the tiny one, as MODEL.safetensors."""
    from safetensors.torch import save_file

    weights = {f"model.diffusion_model.{unet_name(k)}": v for k, v in checkpoint.unet.state_dict().items()}
    for name, value in checkpoint.vae.state_dict().items():
        new = vae_name(name)
        is_projection = ".attn_1." in new and new.endswith("weight") and value.ndim == 2
        weights[f"first_stage_model.{new}"] = value[..., None, None] if is_projection else value
    for name, value in checkpoint.text_encoder.state_dict().items():
        weights[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = value
    save_file({k: v.contiguous().clone() for k, v in weights.items()}, path)
    return path


def unet_name(name: str) -> str:
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
        if kind in ("downsamplers", "upsamplers"):  # behind attention where the block has some
            last = "0.op" if down else f"{'1' if i == 0 else '2'}.conv"
            return f"{f'input_blocks.{2 * i + 2}' if down else f'output_blocks.{2 * i + 1}'}.{last}.{rest[-1]}"
        place = f"input_blocks.{1 + 2 * i + j}" if down else f"output_blocks.{2 * i + j}"
        place += ".0" if kind == "resnets" else ".1"
    rest = [RESNET.get(rest[0], rest[0]), *rest[1:]] if kind == "resnets" else rest
    return ".".join([place, *rest])


def vae_name(name: str, levels: int = 2) -> str:
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
