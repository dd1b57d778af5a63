"""The inflated U-Net: diffusers' UNet2DConditionModel with temporal layers, 5-D in and out."""

from __future__ import annotations

import inspect

import torch
from diffusers import ModelMixin, UNet2DConditionModel  # noqa: F401 - loading a pipeline looks for ModelMixin here
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from einops import rearrange
from torch import nn

from lnm.errors import UserError
from lnm.pseudo3d import inflate


def is_temporal(name: str) -> bool:
    """Whether a parameter's name belongs to the layers that LateNtMovies adds and trains."""
    return ".temporal." in name or name.startswith("fps_embedding.")


class UNetPseudo3DConditionModel(UNet2DConditionModel):
    """A UNet2DConditionModel whose convolutions and attention are pseudo-3D. Sections 3.2 to 3.4.

    Takes every argument of UNet2DConditionModel and two more:

    conv_placement: "3x3" | "all_but_projections" | "all", see `lnm.pseudo3d.inflate`.
    temporal_attention: whether temporal attention stands behind the spatial one.

    The 2D keys are those of the parent, so any Stable Diffusion inpainting checkpoint fits; what is added
    has `.temporal.` or `fps_embedding.` in its name.
    """

    def __init__(self, *args, conv_placement: str = "all", temporal_attention: bool = True, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_to_config(conv_placement=conv_placement, temporal_attention=temporal_attention)
        self.frames = inflate(self, conv_placement, temporal_attention)
        width = self.config.block_out_channels[0]
        self.fps_proj = Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.fps_embedding = TimestepEmbedding(width, self.time_embedding.linear_2.out_features)
        nn.init.zeros_(self.fps_embedding.linear_2.weight)  # starts as the identity
        nn.init.zeros_(self.fps_embedding.linear_2.bias)

    @classmethod
    def from_unet2d(cls, unet: UNet2DConditionModel, **kwargs) -> UNetPseudo3DConditionModel:
        """Inflate a 2D inpainting U-Net; `kwargs` as in `__init__`. The parent's weights are copied.

        Raises UserError if its input channels are not 2C + 1 (noisy latents, mask, the still's latents).
        """
        inputs, outputs = unet.config.in_channels, unet.config.out_channels
        if inputs != 2 * outputs + 1:
            raise UserError(f"the prior's U-Net takes {inputs} channels, an inpainting U-Net takes "
                            f"{2 * outputs + 1} (2 x {outputs} + 1): choose an inpainting checkpoint")
        if unet.class_embedding is not None:
            raise UserError("the prior's U-Net has class embeddings, whose place the fps embedding takes: "
                            "choose a checkpoint without")
        config = {k: v for k, v in unet.config.items() if not k.startswith("_")}
        device = next(unet.parameters()).device
        with torch.device(device):
            model = cls(**config, **kwargs)
        left = model.load_state_dict(unet.state_dict(), strict=False)
        assert not left.unexpected_keys and all(is_temporal(k) for k in left.missing_keys)
        return nn.Module.to(model, unet.dtype)

    def get_class_embed(self, sample: torch.Tensor, class_labels: torch.Tensor | None) -> torch.Tensor | None:
        """The fps embedding of section 3.4: diffusers adds what this returns to the time embedding."""
        if class_labels is None:
            return None
        return self.fps_embedding(self.fps_proj(class_labels).to(sample.dtype))

    def forward(self, sample: torch.Tensor, timestep, encoder_hidden_states: torch.Tensor, fps=None,
                return_dict: bool = True, **kwargs):
        """Predict the noise of a clip.

        sample: (B, 2C+1, F, H, W), noisy latents, mask and the still's latents; any F.
        timestep: a number, or (B,): one a clip, the same for its frames.
        encoder_hidden_states: (B, L, D).
        fps: frames a second, a number or (B,), or None for no statement.
        Returns UNet2DConditionOutput with `.sample` (B, C, F, H, W).
        """
        b, _, f, _, _ = sample.shape
        self.frames.value = f

        def per_frame(value):  # a number or (B,) -> (B F,)
            value = torch.as_tensor(value, device=sample.device)
            return value.expand(b).repeat_interleave(f)

        out = super().forward(
            rearrange(sample, "b c f h w -> (b f) c h w"),
            per_frame(timestep),
            encoder_hidden_states.repeat_interleave(f, dim=0),
            class_labels=None if fps is None else per_frame(fps).float(),
            return_dict=False, **kwargs)[0]
        out = rearrange(out, "(b f) c h w -> b c f h w", f=f)
        return UNet2DConditionOutput(sample=out) if return_dict else (out,)

    # ---------------------------------------------------------------- what trains

    def temporal_parameters(self) -> dict[str, nn.Parameter]:
        """Name -> parameter of every layer that was added."""
        return {k: p for k, p in self.named_parameters() if is_temporal(k)}

    def freeze_spatial(self) -> None:
        """Section 4: "the spatial layers are frozen by setting requires_grad to false"."""
        self.requires_grad_(False)
        for parameter in self.temporal_parameters().values():
            parameter.requires_grad_(True)


def _signature() -> inspect.Signature:
    """diffusers reads a model's configuration off its `__init__`: the parent's arguments and ours."""
    parent = list(inspect.signature(UNet2DConditionModel.__init__).parameters.values())
    own = [p for p in inspect.signature(UNetPseudo3DConditionModel.__init__).parameters.values()
           if p.kind is p.KEYWORD_ONLY]
    return inspect.Signature(parent + own)


UNetPseudo3DConditionModel.__init__.__signature__ = _signature()
