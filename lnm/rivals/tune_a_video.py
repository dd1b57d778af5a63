"""Tune-A-Video's attention on the frozen inpainting U-Net. Wu et al. 2023, "Tune-A-Video: One-Shot Tuning of Image
Diffusion Models for Text-to-Video Generation", section 4.

Its DDIM inversion is left out: it hands the structure of a source video to an edit, and here a still is all there is.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import nn

from lnm.pseudo3d import FrameCount
from lnm.rivals.unet import RivalUNet

TRAINED = (".attn1.to_q.", ".attn2.to_q.", ".attn_temp.")  # `trainable_modules` of the authors' configurations


class SparseCausalAttention(Attention):
    """Self attention of a frame to the first frame and the one before it, eq. 5: queries of frame i, keys and values of
    frames 0 and i - 1 side by side. The first frame is its own predecessor, so it sees what it saw in the 2D model."""

    count: FrameCount

    def forward(self, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor | None = None,
                attention_mask: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        frames = rearrange(hidden_states, "(b f) l c -> b f l c", f=self.count.value)
        first = frames[:, :1].expand_as(frames)
        previous = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
        seen = rearrange(torch.cat([first, previous], dim=2), "b f l c -> (b f) l c")  # (B F, 2 L, C)
        return super().forward(hidden_states, encoder_hidden_states=seen, attention_mask=attention_mask, **kwargs)


class TuneAVideoBlock(BasicTransformerBlock):
    """The spatial block, then temporal attention: every position over its own frames, without positions in time."""

    norm_temp: nn.LayerNorm
    attn_temp: Attention
    count: FrameCount

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        x = super().forward(hidden_states, *args, **kwargs)
        f, length = self.count.value, x.shape[1]
        over_time = rearrange(x, "(b f) l c -> (b l) f c", f=f)
        over_time = over_time + self.attn_temp(self.norm_temp(over_time))
        return rearrange(over_time, "(b l) f c -> (b f) l c", l=length)


class TuneAVideoUNet(RivalUNet):
    """Sparse causal attention in the place of spatial self attention, and temporal attention behind each block.

    The queries of both spatial attentions and the temporal attention train, as in the authors' code; all else is
    frozen. The temporal attention starts as the identity (the authors leave its bias at random; it is zero here). The
    sparse attention is in force from the start: all frames but the first differ from the 2D model's.
    """

    def add_time(self) -> None:
        for block in [m for m in self.modules() if type(m) is BasicTransformerBlock]:
            attention = block.attn1
            dim = attention.query_dim
            block.norm_temp = nn.LayerNorm(dim)
            block.attn_temp = Attention(query_dim=dim, heads=attention.heads, dim_head=attention.inner_dim //
                                        attention.heads)
            nn.init.zeros_(block.attn_temp.to_out[0].weight)  # starts as the identity, through the residual
            nn.init.zeros_(block.attn_temp.to_out[0].bias)
            attention.count = block.count = self.frames
            attention.__class__, block.__class__ = SparseCausalAttention, TuneAVideoBlock

    def is_trained(self, name: str) -> bool:
        return any(part in name for part in TRAINED)
