"""What a U-Net is made of, layer by layer: where the 1D layers stand, their shapes, what is frozen and what trains."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from lnm.pseudo3d import ConditionedTemporalConv, Pseudo3DTransformerBlock, TemporalAttention, TemporalConv
from lnm.unet import UNetPseudo3DConditionModel, is_temporal

KINDS = ("conv2d", "temporal conv", "spatial attention", "temporal attention", "fps", "other")


def layers(unet: UNetPseudo3DConditionModel, num_frames: int, height: int, width: int) -> list[dict]:
    """Every layer of `unet` in the order of its use, for one clip of `num_frames` latents of (height, width).

    Each is {"name", "kind" (one of KINDS), "block" ("time", "in", "down 0", ..., "mid", "up 0", ..., "out"),
    "input" and "output" (shapes as the layer takes and gives them, frames folded into the batch), "parameters"
    (its own, without the temporal layer behind it), "trained" (whether they take a gradient: `freeze_spatial` first)}.
    A convolution has "kernel" too, and temporal attention "heads", "unfolded" (what `to_out` takes, (B, C, F, L)) and
    "parts" {name: parameters}. What is none of the first five kinds (norms, time embedding and its projections) comes
    at the end, one "other" a block, without shapes: the parameters of all are the model's.

    The shapes are measured on a twin without weights (torch's meta device): it costs neither memory nor time.
    """
    with torch.device("meta"):
        twin = UNetPseudo3DConditionModel(**{k: v for k, v in unet.config.items() if not k.startswith("_")})
        found = _run(twin, num_frames, height, width)
    own = dict(unet.named_modules())
    rows, counted = [], set()
    for name, (kind, shapes) in found.items():
        module = own[name]
        added = is_temporal(f"{name}.")  # the frozen block that holds a temporal layer is counted without it
        parameters = {f"{name}.{k}": p for k, p in module.named_parameters() if is_temporal(f"{name}.{k}") == added}
        counted |= set(parameters)
        row = {"name": name, "kind": kind, "block": _block(name), **shapes,
               "parameters": sum(p.numel() for p in parameters.values()),
               "trained": all(p.requires_grad for p in parameters.values())}
        if isinstance(module, nn.Conv2d):
            row["kernel"] = list(module.kernel_size)
        if kind == "temporal attention":
            parts: dict[str, int] = {}
            for k, p in module.named_parameters():
                parts[k.split(".")[0]] = parts.get(k.split(".")[0], 0) + p.numel()
            row |= {"heads": module.heads, "parts": parts}
        rows.append(row)
    rest: dict[str, list[nn.Parameter]] = {}
    for k, p in unet.named_parameters():
        if k not in counted:
            rest.setdefault(_block(k), []).append(p)
    return rows + [{"name": f"{block}: norms and projections", "kind": "other", "block": block,
                    "parameters": sum(p.numel() for p in others), "trained": all(p.requires_grad for p in others)}
                   for block, others in rest.items()]


def _run(unet: UNetPseudo3DConditionModel, num_frames: int, height: int, width: int) -> dict[str, tuple[str, dict]]:
    """One forward pass of a U-Net on the meta device: name -> (kind, shapes), in the order in which layers ran."""
    found: dict[str, tuple[str, dict]] = {}
    kinds = {TemporalConv: "temporal conv", ConditionedTemporalConv: "temporal conv",
             TemporalAttention: "temporal attention", Pseudo3DTransformerBlock: "spatial attention"}

    def listen(name: str, kind: str, module: nn.Module) -> None:
        def before(_: Any, args: tuple) -> None:  # a layer stands where it begins, before what is inside it
            found[name] = (kind, {"input": list(args[0].shape)})

        def after(_: Any, args: tuple, output: torch.Tensor) -> None:
            found[name][1]["output"] = list(output.shape)

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)
        if kind == "temporal attention":
            module.to_out.register_forward_pre_hook(
                lambda _, args: found[name][1].update(unfolded=list(args[0].shape)))

    for name, module in unet.named_modules():
        if name == "fps_embedding":
            listen(name, "fps", module)
        elif type(module) in kinds:
            listen(name, kinds[type(module)], module)
        elif isinstance(module, nn.Conv2d) and ".temporal." not in name:  # to_out is a part of its attention
            listen(name, "conv2d", module)
    sample = torch.empty(1, 2 * unet.config.out_channels + 1, num_frames, height, width)
    prompt_embeds = torch.empty(1, 1, unet.config.cross_attention_dim)
    unet(sample, 0, prompt_embeds, fps=1.0)
    return found


def _block(name: str) -> str:
    """'down_blocks.0.resnets.1.conv1' -> 'down 0'."""
    place = re.match(r"(down|up)_blocks\.(\d+)", name)
    if place:
        return f"{place[1]} {place[2]}"
    head = name.split(".")[0]
    return {"conv_in": "in", "mid_block": "mid", "conv_norm_out": "out", "conv_out": "out"}.get(head, "time")
