"""A 2D U-Net with another method's temporal part, in the form that training and sampling know ours in."""

from __future__ import annotations

import copy
from typing import Any, Self

from diffusers import UNet2DConditionModel
from torch import nn

from lnm.errors import UserError
from lnm.pseudo3d import FrameCount
from lnm.unet import FrameByFrameUNet


class RivalUNet(FrameByFrameUNet):
    """A U-Net of clips, 5-D in and out, as UNetPseudo3DConditionModel is; frames ride in the batch here too.

    A method says what it puts in (`add_time`) and what of it trains (`is_trained`). The names `temporal_parameters`
    and `freeze_spatial` are those by which `lnm.training.Trainer` asks.
    """

    longest: int | None = None  # frames that the method can tell apart; None: any number
    frames: FrameCount

    @classmethod
    def of(cls, unet: UNet2DConditionModel) -> Self:
        """A copy of `unet`, in evaluation, with the method's layers in it, on the same device and in the same
        precision. New layers are drawn from torch's global generator."""
        model = copy.deepcopy(unet)
        device, dtype = model.device, model.dtype
        model.__class__ = cls
        model.frames = FrameCount()
        model.add_time()
        return nn.Module.to(model, device, dtype).eval()

    def add_time(self) -> None:
        """Put the method's layers into the 2D U-Net, in place; they share `self.frames`."""
        raise NotImplementedError

    def is_trained(self, name: str) -> bool:
        """Whether the method trains the parameter of this name."""
        raise NotImplementedError

    def temporal_parameters(self) -> dict[str, nn.Parameter]:
        """Name -> parameter of all that the method trains, spatial ones included where it trains such."""
        return {k: p for k, p in self.named_parameters() if self.is_trained(k)}

    def freeze_spatial(self) -> None:
        """Everything but `temporal_parameters` stands still."""
        self.requires_grad_(False)
        for parameter in self.temporal_parameters().values():
            parameter.requires_grad_(True)

    def forward(self, sample: Any, timestep: Any, encoder_hidden_states: Any, fps: Any = None,
                return_dict: bool = True, **kwargs: Any) -> Any:
        """As UNetPseudo3DConditionModel.forward: sample (B, 2C+1, F, H, W) -> (B, C, F, H, W). `fps` says nothing
        here. Raises UserError for more frames than the method knows."""
        count = sample.shape[2]
        if self.longest is not None and count > self.longest:
            raise UserError(f"{type(self).__name__}: {count} frames; its positional encoding ends at {self.longest}: "
                            "set sample.num_frames to that or less, or leave the method out of rivals.methods")
        self.frames.value = count
        return super().forward(sample, timestep, encoder_hidden_states, fps=None, return_dict=return_dict, **kwargs)
