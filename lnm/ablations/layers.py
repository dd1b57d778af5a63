"""Switches that the inflated U-Net does not have, as only an ablation wants them: parts taken out of its layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lnm.pseudo3d import TemporalAttention
from lnm.unet import UNetPseudo3DConditionModel, per_frame

FADE = (100, 300)  # timesteps of 1000: no temporal layers up to the first, all of them from the second on


class UNetWithoutFps(UNetPseudo3DConditionModel):
    """The inflated U-Net that is never told its frames a second (section 3.4 left out). The embedding of the frame rate
    stays where it is, frozen, and nothing comes of it."""

    def forward(self, sample: torch.Tensor, timestep: Any, encoder_hidden_states: torch.Tensor, fps: Any = None,
                return_dict: bool = True, **kwargs: Any) -> Any:
        return super().forward(sample, timestep, encoder_hidden_states, None, return_dict, **kwargs)

    def temporal_parameters(self) -> dict[str, nn.Parameter]:
        own = super().temporal_parameters()
        return {name: parameter for name, parameter in own.items() if not name.startswith("fps_embedding.")}


def without_fps(unet: UNetPseudo3DConditionModel) -> None:
    """Make an inflated U-Net one that is told no frame rate, in place."""
    unet.__class__ = UNetWithoutFps


def without_position(unet: UNetPseudo3DConditionModel) -> None:
    """Take the learned bias of a distance in frames out of every temporal attention, in place: its logits then say
    nothing of when a frame is (eq. 4 alone). The temporal convolutions still know what is next to what."""
    for attention in _attentions(unet):
        zero = attention.distance_bias.detach().clone()
        del attention.distance_bias
        attention.register_buffer("distance_bias", zero, persistent=False)  # no parameter: it does not train


def pointwise_projection(unet: UNetPseudo3DConditionModel) -> None:
    """Give every temporal attention an output projection of kernel 1 in the place of 3x1x1 (section 3.3), in place: a
    frame's answer is no longer mixed with its neighbours'. Zero at the start, as the other is."""
    for attention in _attentions(unet):
        old = attention.to_out
        attention.to_out = nn.Conv2d(old.in_channels, old.out_channels, kernel_size=1).to(old.weight)
        nn.init.zeros_(attention.to_out.weight)  # starts as the identity, through the residual
        nn.init.zeros_(attention.to_out.bias)


class UNetFaded(UNetPseudo3DConditionModel):
    """The inflated U-Net whose temporal layers, the embedding of the frame rate among them, are faded out where little
    noise is left: there it is its 2D parent, frame by frame."""

    share: torch.Tensor  # of the temporal layers, one number a frame of the batch just now (B F,)

    def forward(self, sample: torch.Tensor, timestep: Any, encoder_hidden_states: torch.Tensor, fps: Any = None,
                return_dict: bool = True, **kwargs: Any) -> Any:
        low, high = FADE
        t = per_frame(timestep, sample.shape[0], sample.shape[2], sample.device)
        self.share = ((t - low) / (high - low)).clamp(0, 1)
        return super().forward(sample, timestep, encoder_hidden_states, fps, return_dict, **kwargs)

    def get_class_embed(self, sample: torch.Tensor, class_labels: torch.Tensor | None) -> torch.Tensor | None:
        embedded = super().get_class_embed(sample, class_labels)
        return None if embedded is None else embedded * self.share[:, None].to(embedded)


def faded(unet: UNetPseudo3DConditionModel) -> None:
    """Make an inflated U-Net one whose temporal layers are faded out at low noise, in place: what each gives is drawn
    to what it was given. In training, in the held-out loss and in the film alike."""
    def fade(_: nn.Module, given: tuple[torch.Tensor], out: torch.Tensor) -> torch.Tensor:
        share = unet.share.view(-1, *[1] * (out.ndim - 1))
        return torch.lerp(given[0].to(out), out, share.to(out))

    unet.__class__ = UNetFaded
    for name, layer in unet.named_modules():
        if name.endswith(".temporal"):
            layer.register_forward_hook(fade)


def _attentions(unet: UNetPseudo3DConditionModel) -> list[TemporalAttention]:
    return [module for module in unet.modules() if isinstance(module, TemporalAttention)]
