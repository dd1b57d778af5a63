"""Pseudo-3D layers: a frozen 2D layer followed by a 1D layer in time. Sections 3.2 and 3.3.

Frames ride in the batch, '(b f) c h w', so every 2D layer, GroupNorm included, sees exactly what it saw
in the image model; only the layers here unfold them. Each starts as the identity: a U-Net inflated with
them gives, frame by frame, what its 2D parent gave.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from einops import rearrange
from torch import nn

CONV_PLACEMENTS = ("3x3", "all_but_projections", "all")
LORA = "lora_"  # what peft calls its own parts begins so
# frames up to which attention in time is plain products: with F small and B L large these beat fused kernels on a CPU,
# and their F x F logits are less than queries, keys and values. Beyond, a fused kernel never writes the logits down.
PLAIN_FRAMES = 32
SEQUENCES = 65_535  # heads of sequences at once in a fused kernel: where CUDA's grids end


class FrameCount:
    """How many frames are folded into the batch just now; one object shared by a U-Net's temporal layers."""

    def __init__(self, value: int = 1):
        self.value = value


class TemporalConv(nn.Conv2d):
    """Conv_1D of eq. 3: kernel 3 over frames, channels mixed, each pixel on its own.

    (B F, C, H, W) -> the same. A Conv2d with a (3, 1) kernel on (b, c, f, h w) equals a Conv1d on
    (b h w, c, f) and needs no transpose of the channels. Past the first and last frame stand zeros.
    """

    def __init__(self, channels: int, frames: FrameCount):
        super().__init__(channels, channels, kernel_size=(3, 1), padding=(1, 0))
        self.frames = frames
        nn.init.dirac_(self.weight)  # starts as the identity
        nn.init.zeros_(self.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height = x.shape[-2]
        x = rearrange(x, "(b f) c h w -> b c f (h w)", f=self.frames.value)
        x = super().forward(x)
        return rearrange(x, "b c f (h w) -> (b f) c h w", h=height)


class Condition:
    """Mask and still of the clip that is folded into the batch just now (B F, C+1, H, W), where a U-Net's first layer
    takes noisy latents alone."""

    def __init__(self) -> None:
        self.value: torch.Tensor | None = None


class ConditionedTemporalConv(TemporalConv):
    """The temporal convolution behind the first layer of a text-to-image U-Net, which has no columns for mask and
    still: T(W x + V c), where an inpainting U-Net has T([W V] [x c]).

    V is zero at the start, so that the U-Net gives what its text-to-image parent gives. It trains and travels with the
    temporal layers: frozen, it would stay zero, and the still would reach nothing.
    """

    condition: nn.Conv2d
    given: Condition

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + self.condition(self.given.value))


def take_condition(conv: Any, channels: int) -> Condition:
    """Let the temporal layer behind a U-Net's first convolution take mask and still, of so many channels, in place.

    conv: a Pseudo3DConv. Returns what holds them; to be set before each pass.
    """
    temporal: Any = conv.temporal
    temporal.condition = nn.Conv2d(channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=False)
    nn.init.zeros_(temporal.condition.weight)  # starts as the text-to-image model
    temporal.given = Condition()
    temporal.__class__ = ConditionedTemporalConv
    return temporal.given


class Pseudo3DConv(nn.Conv2d):
    """Conv_P3D(h) = Conv_1D(Conv_2D(h) o T) o T, eq. 3. (B F, C, H, W) -> (B F, C', H', W').

    Made from a Conv2d in place (`inflate`), so the 2D keys keep their names.
    """

    temporal: TemporalConv
    deferred = False  # an adapter stands around this layer and calls `temporal` after its own part

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = super().forward(x)
        return x if self.deferred else self.temporal(x)


class TemporalAttention(nn.Module):
    """ATTN_1D of eq. 4: every spatial position attends over its own frames. (B F, L, C) -> the same.

    Time enters as a learned bias on the attention logits, one number a head and a signed distance in frames,
    clipped at `max_distance`, the farthest two frames of a film of 16 are apart: any number of frames may be given,
    and far frames count as far. A stack of 5 teaches distances up to 4.
    The output projection is the 3x1x1 convolution of section 3.3, over adjacent frames.
    """

    def __init__(self, dim: int, heads: int, frames: FrameCount, max_distance: int = 15):
        super().__init__()
        self.heads, self.frames, self.max_distance = heads, frames, max_distance
        self.norm = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.distance_bias = nn.Parameter(torch.zeros(heads, 2 * max_distance + 1))
        self.to_out = nn.Conv2d(dim, dim, kernel_size=(3, 1), padding=(1, 0))
        nn.init.zeros_(self.to_out.weight)  # starts as the identity, through the residual
        nn.init.zeros_(self.to_out.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        f = self.frames.value
        q, k, v = rearrange(self.to_qkv(self.norm(x)), "(b f) l (n h d) -> n b l h f d", f=f, n=3, h=self.heads)
        time = torch.arange(f, device=x.device)
        distance = (time[:, None] - time[None]).clamp(-self.max_distance, self.max_distance) + self.max_distance
        bias = self.distance_bias[:, distance]  # (heads, F, F)
        # the gradient of a bias that all sequences share is what a fused kernel does badly: training stays plain
        if f > PLAIN_FRAMES or (x.is_cuda and not torch.is_grad_enabled()):
            seen = _fused(q, k, v, bias)
        else:
            logits = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias  # (B, L, heads, F, F)
            seen = logits.softmax(-1) @ v
        out = rearrange(seen, "b l h f d -> b (h d) f l")
        return x + rearrange(self.to_out(out), "b c f l -> (b f) l c")


def _fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Attention over F by torch's fused kernels, as many sequences at once as their grids take.

    q, k, v: (B, L, heads, F, d). bias: on the logits, (heads, F, F). Returns (B, L, heads, F, d).
    """
    b, length, heads, _, _ = q.shape
    each = max(1, SEQUENCES // heads)
    mask = bias.to(q.dtype)[None]
    parts = zip(*(x.flatten(0, 1).split(each) for x in (q, k, v)), strict=True)
    seen = [nn.functional.scaled_dot_product_attention(*part, attn_mask=mask) for part in parts]
    return torch.cat(seen).unflatten(0, (b, length)) if len(seen) > 1 else seen[0].unflatten(0, (b, length))


class Pseudo3DTransformerBlock(BasicTransformerBlock):
    """ATTN_P3D of eq. 4: the frozen spatial block (self and cross attention), then temporal attention."""

    temporal: TemporalAttention

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return self.temporal(super().forward(hidden_states, *args, **kwargs))


def inflate(model: nn.Module, conv_placement: str = "all", temporal_attention: bool = True) -> FrameCount:
    """Turn a 2D model's layers into pseudo-3D ones, in place, and return their shared frame count.

    conv_placement: which 2D convolutions get a temporal one: "3x3" (kernel 3 only), "all_but_projections"
    (all but the transformers' proj_in and proj_out) or "all". temporal_attention: whether one stands behind every
    spatial attention block. A LoRA's own convolutions stay as they are. Raises ValueError for another placement.
    """
    if conv_placement not in CONV_PLACEMENTS:
        raise ValueError(f"conv_placement {conv_placement!r}: choose one of {', '.join(CONV_PLACEMENTS)}")
    frames = FrameCount()
    # a list first (a module reachable under two names comes once): what is added must not be inflated again
    for name, module in list(model.named_modules()):
        if type(module) is nn.Conv2d and LORA not in name:
            projection = bare(name).endswith(("proj_in", "proj_out"))
            if (conv_placement == "3x3" and module.kernel_size != (3, 3)) or (
                    conv_placement == "all_but_projections" and projection):
                continue
            module.temporal = TemporalConv(module.out_channels, frames)
            module.__class__ = Pseudo3DConv
        elif type(module) is BasicTransformerBlock and temporal_attention:
            module.temporal = TemporalAttention(module.attn1.query_dim, module.attn1.heads, frames)
            module.__class__ = Pseudo3DTransformerBlock
    return frames


def temporal_after_adapters(model: nn.Module) -> None:
    """Let the temporal convolution follow the adapted 2D one: T((W + dW) x), whether a LoRA is fused or not.

    peft wraps a convolution and adds its own part to what that gives, which alone would be T(W x) + dW x. To be called
    whenever wrappers have come or gone.
    """
    for module in model.modules():
        if isinstance(module, Pseudo3DConv) and "temporal" not in module._modules:
            module.__class__ = nn.Conv2d  # peft makes its own convolutions of the class that it wraps
    wrappers = [m for m in model.modules() if isinstance(getattr(m, "base_layer", None), Pseudo3DConv)]
    wrapped = {id(m.base_layer) for m in wrappers}
    for module in model.modules():
        if isinstance(module, Pseudo3DConv):
            module.deferred = id(module) in wrapped
    for wrapper in wrappers:
        if _then_temporal not in wrapper._forward_hooks.values():
            wrapper.register_forward_hook(_then_temporal)


def _then_temporal(wrapper: nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor:
    return wrapper.base_layer.temporal(output)


def bare(name: str) -> str:
    """A parameter's or layer's name without the `base_layer` that a LoRA around it puts in."""
    return name.replace(".base_layer", "")
