"""AnimateDiff's motion module on the frozen inpainting U-Net. Guo et al. 2024, "AnimateDiff: Animate Your Personalized
Text-to-Image Diffusion Models without Specific Tuning", section 4.2."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel, Transformer2DModelOutput
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import nn

from lnm.pseudo3d import FrameCount
from lnm.rivals.unet import RivalUNet

HEADS, LONGEST = 8, 32  # those of the published modules (v2 and v3), and of diffusers' MotionAdapter


class _Motion:
    """A 2D layer with a motion module behind it."""

    motion: AnimateDiffTransformer3D
    count: FrameCount

    def after(self, x: torch.Tensor) -> torch.Tensor:  # (B F, C, H, W) -> the same
        return self.motion(x, num_frames=self.count.value)


class MotionTransformer2D(_Motion, Transformer2DModel):
    """A spatial transformer, then the motion module."""

    def forward(self, *args: Any, return_dict: bool = True, **kwargs: Any) -> Any:
        x = self.after(super().forward(*args, return_dict=False, **kwargs)[0])
        return Transformer2DModelOutput(sample=x) if return_dict else (x,)


class MotionResnet2D(_Motion, ResnetBlock2D):
    """A residual block that no transformer follows, then the motion module."""

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return self.after(super().forward(*args, **kwargs))


class AnimateDiffUNet(RivalUNet):
    """diffusers' `AnimateDiffTransformer3D` where its `UNetMotionModel` has one: behind each layer of every down and up
    block, and behind the middle's transformer. Each is two temporal self attentions with sinusoidal positions and a
    feed-forward part. They alone train. diffusers draws `proj_out` at random; it is zero here, as AnimateDiff's own
    code has it, so that the U-Net starts as the 2D one, frame by frame."""

    longest = LONGEST

    def add_time(self) -> None:
        layers: list[nn.Module] = list(self.mid_block.attentions) if self.mid_block is not None else []
        for block in (*self.down_blocks, *self.up_blocks):
            layers += getattr(block, "attentions", None) or block.resnets
        for layer in layers:
            transformer = isinstance(layer, Transformer2DModel)
            channels = layer.proj_out.weight.shape[0] if transformer else layer.out_channels
            layer.motion = self._module(channels)
            layer.count = self.frames
            layer.__class__ = MotionTransformer2D if transformer else MotionResnet2D

    def _module(self, channels: int) -> AnimateDiffTransformer3D:
        module = AnimateDiffTransformer3D(
            num_attention_heads=HEADS, attention_head_dim=channels // HEADS, in_channels=channels, num_layers=1,
            norm_num_groups=self.config.norm_num_groups, positional_embeddings="sinusoidal",
            num_positional_embeddings=LONGEST)
        nn.init.zeros_(module.proj_out.weight)  # starts as the identity, through the residual
        nn.init.zeros_(module.proj_out.bias)
        return module

    def is_trained(self, name: str) -> bool:
        return ".motion." in name
