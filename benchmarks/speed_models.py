"""The U-Nets that benchmarks.speed sets side by side, at one width, each with its temporal layers training alone.

Weights are random: speed and memory do not hang on them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel, UNet3DConditionModel, UNetMotionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

from lnm.errors import UserError
from lnm.files import builtin
from lnm.unet import FrameByFrameUNet, UNetPseudo3DConditionModel

TOKENS, FPS = 77, 8.0
SMALL = dict(sample_size=8, in_channels=9, out_channels=4, layers_per_block=1, block_out_channels=(16, 32),
             down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), cross_attention_dim=16, attention_head_dim=2,
             up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), norm_num_groups=8)
SD15 = dict(sample_size=64, in_channels=9, out_channels=4, cross_attention_dim=768)  # the rest is diffusers' default


def unet_config(size: str) -> dict[str, Any]:
    """The 2D U-Net's configuration: "default" (lnm-mini's), "sd15" (Stable Diffusion 1.5, inpainting) or "small"."""
    if size != "default":
        return {"sd15": SD15, "small": SMALL}[size]
    folder = builtin("lnm-mini")
    if folder is None:
        raise UserError("lnm-mini is not here; `make data` brings it")
    config = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
    return {k: v for k, v in config.items() if not k.startswith("_")}


@dataclass
class Arm:
    """One U-Net: what it is called, what of it trains, and how it is called on noisy latents (1, C, F, h, w), a
    timestep and text (1, L, D)."""

    name: str
    model: nn.Module
    call: Callable[..., torch.Tensor]
    trained: list[nn.Parameter] = field(default_factory=list)

    @property
    def to_input(self) -> bool:
        """Nothing trains: the gradient is that of the input."""
        return not self.trained


def only(model: nn.Module, wanted: Callable[[str], bool]) -> list[nn.Parameter]:
    """Freeze all of a model but the parameters whose name is wanted; those."""
    model.requires_grad_(False)
    chosen = [p for name, p in model.named_parameters() if wanted(name)]
    for p in chosen:
        p.requires_grad_(True)
    return chosen


def ours(config: dict[str, Any]) -> Arm:
    model = UNetPseudo3DConditionModel(**config)
    model.freeze_spatial()
    return Arm("ours", model, lambda m, x, t, text: m(x, t, text, fps=FPS).sample,
               list(model.temporal_parameters().values()))


def floor(config: dict[str, Any]) -> Arm:
    """The frozen 2D U-Net on every frame: what no temporal layer can be cheaper than."""
    model = FrameByFrameUNet.of(UNet2DConditionModel(**config).requires_grad_(False))
    return Arm("frozen 2D", model, lambda m, x, t, text: m(x, t, text).sample)


def animatediff(config: dict[str, Any]) -> Arm:
    """diffusers' UNetMotionModel on the same 2D U-Net; its motion modules train."""
    unet = UNet2DConditionModel(**config)
    model = UNetMotionModel.from_unet2d(unet)
    model.freeze_unet2d_params()
    return Arm("AnimateDiff", model, lambda m, x, t, text: m(x, t, text.repeat_interleave(x.shape[2], 0)).sample,
               [p for p in model.parameters() if p.requires_grad])


def unet3d(config: dict[str, Any]) -> Arm:
    """diffusers' UNet3DConditionModel (ModelScope's) at the same widths; its temporal layers train."""
    full = dict(UNet2DConditionModel(**config).config) if config is SD15 else config
    names = ("in_channels", "out_channels", "layers_per_block", "block_out_channels", "cross_attention_dim",
             "norm_num_groups", "sample_size")
    widths = full["block_out_channels"]
    heads = {"attention_head_dim": max(d for d in range(1, widths[0] // full["attention_head_dim"] + 1)
                                       if not any(w % d for w in widths))}  # a width in this class, not a number
    blocks = {side: tuple(name.replace("2D", "3D") for name in full[side])
              for side in ("down_block_types", "up_block_types")}
    model = UNet3DConditionModel(**{k: full[k] for k in names}, **heads, **blocks)
    return Arm("UNet3D", model, lambda m, x, t, text: m(x, t, text).sample,
               only(model, lambda name: "temp_" in name or "transformer_in" in name))


def make_a_video(config: dict[str, Any]) -> Arm | None:
    """make-a-video-pytorch's SpaceTimeUnet; None where the package is not installed. Its widths are whole multiples of
    the first one (80, 160, 160 beside the default's 80, 128, 160); it sees no text; its temporal layers train."""
    try:
        from make_a_video_pytorch import SpaceTimeUnet
    except ImportError:
        return None
    full = dict(UNet2DConditionModel(**config).config) if config is SD15 else config
    widths, depth = full["block_out_channels"], full["layers_per_block"]
    count, heads = len(widths), full["attention_head_dim"]
    model = SpaceTimeUnet(
        dim=widths[0], channels=full["in_channels"], dim_mult=tuple(round(w / widths[0]) for w in widths),
        self_attns=tuple("CrossAttn" in name for name in full["down_block_types"]), attn_heads=heads,
        attn_dim_head=widths[0] // heads, temporal_compression=(False,) * count, resnet_block_depths=(depth,) * count)
    return Arm("make-a-video-pytorch", model, lambda m, x, t, text: m(x, t.float())[:, :full["out_channels"]],
               only(model, lambda name: "temporal" in name))


ARMS: dict[str, Callable[[dict[str, Any]], Arm | None]] = {
    "ours": ours, "frozen 2D": floor, "AnimateDiff": animatediff, "UNet3D": unet3d,
    "make-a-video-pytorch": make_a_video}


COMPILED = "ours, torch.compile"  # none of ARMS: `python -m benchmarks.speed --compile` tries it


def compile_refusal(device: str) -> str | None:
    """Why torch.compile does not work here, one line; None where it does. On a CPU it wants a C++ compiler."""
    try:
        torch.compile(torch.sin)(torch.zeros(1, device=device))
    except Exception as error:  # whatever the compilers of the machine raise
        return f"torch.compile: {next(iter(str(error).splitlines()), type(error).__name__)}"
    return None


def make(name: str, size: str, device: str, precision: str) -> Arm | None:
    """An arm on its device; None for one that is not installed. In bfloat16 on a CPU attention is taken in its parts,
    which is faster there, by all."""
    torch.manual_seed(0)
    arm = ARMS["ours" if name == COMPILED else name](unet_config(size))
    if arm is None:
        return None
    arm.model.to(device)
    if device == "cpu" and precision == "bf16" and hasattr(arm.model, "set_attn_processor"):
        arm.model.set_attn_processor(AttnProcessor())
    if name == COMPILED:
        arm.model.compile()
    return arm


def batch(size: str, frames: int, device: str) -> dict[str, torch.Tensor]:
    """One clip of noise: sample (1, 2C+1, F, h, w), target, timestep and text."""
    config = {"cross_attention_dim": 768, **unet_config(size)}
    side, channels = config["sample_size"], config["out_channels"]
    g = torch.Generator().manual_seed(0)
    sample = torch.randn(1, config["in_channels"], frames, side, side, generator=g)
    return {"sample": sample.to(device), "target": sample[:, :channels].to(device),
            "timestep": torch.tensor([500], device=device),
            "text": torch.randn(1, TOKENS, config["cross_attention_dim"], generator=g).to(device)}


def autocast(device: str, precision: str) -> Any:
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")


def train(arm: Arm, clip: dict[str, torch.Tensor], optimizer: Any, device: str, precision: str) -> None:
    """One step: forward, backward, clipping, optimiser. Where nothing trains: forward and backward to the input."""
    sample = clip["sample"].detach().requires_grad_(arm.to_input)
    with autocast(device, precision):
        predicted = arm.call(arm.model, sample, clip["timestep"], clip["text"])
    F.mse_loss(predicted.float(), clip["target"]).backward()
    if optimizer is not None:
        nn.utils.clip_grad_norm_(arm.trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def sample(arm: Arm, clip: dict[str, torch.Tensor], device: str, precision: str) -> None:
    """One denoising step: a forward pass."""
    with autocast(device, precision):
        arm.call(arm.model, clip["sample"], clip["timestep"], clip["text"])
