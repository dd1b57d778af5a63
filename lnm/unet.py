"""The inflated U-Net: diffusers' UNet2DConditionModel with temporal layers, 5-D in and out."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from diffusers import ModelMixin, UNet2DConditionModel  # noqa: F401 - loading a pipeline looks for ModelMixin here
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from einops import rearrange
from torch import nn

from lnm.errors import UserError
from lnm.lora import lora_arguments
from lnm.pseudo3d import bare, inflate, take_condition, temporal_after_adapters

OWN_SETTINGS = ("conv_placement", "temporal_attention", "widen")
HUB_ARGUMENTS = ("subfolder", "revision", "cache_dir", "local_files_only", "token", "proxies", "force_download")


def is_temporal(name: str) -> bool:
    """Whether a parameter's name belongs to the layers that LateNtMovies adds and trains."""
    return ".temporal." in name or name.startswith("fps_embedding.")


class UNetPseudo3DConditionModel(UNet2DConditionModel):
    """A UNet2DConditionModel whose convolutions and attention are pseudo-3D. Sections 3.2 to 3.4.

    Takes every argument of UNet2DConditionModel and two more:

    conv_placement: "3x3" | "all_but_projections" | "all", see `lnm.pseudo3d.inflate`.
    temporal_attention: whether temporal attention stands behind the spatial one.

    The 2D keys are those of the parent, so any Stable Diffusion inpainting checkpoint fits; what is added
    has `.temporal.` or `fps_embedding.` in its name. One whose `in_channels` are its `out_channels` is a text-to-image
    model's, widened: it takes mask and still as the others do, by `conv_in.temporal.condition`, which is added too.
    """

    # what compile_repeated_blocks compiles; the second where there is no temporal attention
    _repeated_blocks = ["Pseudo3DTransformerBlock", "BasicTransformerBlock"]

    def __init__(self, *args: Any, conv_placement: str = "all", temporal_attention: bool = True, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._add_temporal(conv_placement, temporal_attention)

    def _add_temporal(self, conv_placement: str, temporal_attention: bool) -> None:
        self.register_to_config(conv_placement=conv_placement, temporal_attention=temporal_attention)
        self.frames = inflate(self, conv_placement, temporal_attention)
        temporal_after_adapters(self)
        width = self.config.block_out_channels[0]
        self.fps_proj = Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.fps_embedding = TimestepEmbedding(width, self.time_embedding.linear_2.out_features)
        nn.init.zeros_(self.fps_embedding.linear_2.weight)  # starts as the identity
        nn.init.zeros_(self.fps_embedding.linear_2.bias)
        if self.widened:
            first = getattr(self.conv_in, "base_layer", self.conv_in)
            self.condition = take_condition(first, self.config.out_channels + 1)

    @property
    def widened(self) -> bool:
        """Whether the parent is a text-to-image model, whose first layer takes noisy latents alone."""
        return self.config.in_channels == self.config.out_channels

    @classmethod
    def from_unet2d(cls, unet: UNet2DConditionModel, *, conv_placement: str = "all", temporal_attention: bool = True,
                    in_place: bool = False, widen: bool = False) -> UNetPseudo3DConditionModel:
        """Inflate a 2D inpainting U-Net; the settings are those of `__init__`.

        widen: take a text-to-image U-Net, of C input channels, as well. It gets weights for mask and still, zero at
        first, which train and travel with the temporal layers.

        in_place: turn `unet` itself into the inflated model, without a second copy of its weights. A LoRA that it
        carries stays. The temporal layers are drawn on the CPU from torch's global generator, so that a seed gives the
        same ones on every device and whatever the 2D weights are. Raises UserError if the input channels are not
        2C + 1 (noisy latents, mask, the still's latents) nor, with `widen`, C, or if `unet` is inflated already.
        """
        if isinstance(unet, cls):
            raise UserError("the checkpoint's U-Net has been inflated already (in_place); open the checkpoint again")
        inputs, outputs = unet.config.in_channels, unet.config.out_channels
        if inputs != 2 * outputs + 1 and not (widen and inputs == outputs):
            raise UserError(f"the checkpoint's U-Net takes {inputs} channels, an inpainting U-Net takes "
                            f"{2 * outputs + 1} (2 x {outputs} + 1): choose an inpainting checkpoint"
                            + (", or widen this one (widen=True)" if inputs == outputs else ""))
        if unet.class_embedding is not None:
            raise UserError("the checkpoint's U-Net has class embeddings, whose place the fps embedding takes: "
                            "choose a checkpoint without")
        model = unet if in_place else copy.deepcopy(unet)
        device, dtype = model.device, model.dtype
        model.__class__ = cls
        model._add_temporal(conv_placement, temporal_attention)
        return nn.Module.to(model, device, dtype)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> UNetPseudo3DConditionModel:
        """Open a saved inflated U-Net, or a 2D inpainting one, which is inflated.

        Arguments as in diffusers (`subfolder="unet"` for a checkpoint's folder or hub name, `torch_dtype`, `revision`
        ...), and `conv_placement` and `temporal_attention` of `__init__`, which a saved inflated U-Net brings itself,
        and `widen` of `from_unet2d`.
        Weights are safetensors: a folder with pickles alone is diffusers' OSError. Raises UserError as `from_unet2d`.
        """
        kwargs.setdefault("use_safetensors", True)
        places = {k: kwargs[k] for k in HUB_ARGUMENTS if k in kwargs}
        config = cls.load_config(pretrained_model_name_or_path, **places)
        if config.get("_class_name") == cls.__name__:
            kwargs.pop("widen", None)
            saved = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
            (saved[0] if isinstance(saved, tuple) else saved).freeze_spatial()  # weights from a file come unfrozen
            return saved
        own = {k: kwargs.pop(k) for k in OWN_SETTINGS if k in kwargs}
        parent = UNet2DConditionModel.from_pretrained(pretrained_model_name_or_path, **kwargs)
        return cls.from_unet2d(parent, in_place=True, **own).eval()

    def get_class_embed(self, sample: torch.Tensor, class_labels: torch.Tensor | None) -> torch.Tensor | None:
        """The fps embedding of section 3.4: diffusers adds what this returns to the time embedding."""
        if class_labels is None:
            return None
        return self.fps_embedding(self.fps_proj(class_labels).to(sample.dtype))

    def forward(self, sample: torch.Tensor, timestep: Any, encoder_hidden_states: torch.Tensor, fps: Any = None,
                return_dict: bool = True, **kwargs: Any) -> Any:
        """Predict the noise of a clip.

        sample: (B, 2C+1, F, H, W), noisy latents, mask and the still's latents; any F.
        timestep: a number, or (B,): one a clip, the same for its frames.
        encoder_hidden_states: (B, L, D).
        fps: frames a second, a number or (B,), or None for no statement.
        Returns UNet2DConditionOutput with `.sample` (B, C, F, H, W).
        """
        b, _, f, _, _ = sample.shape
        self.frames.value = f
        frames = rearrange(sample, "b c f h w -> (b f) c h w")
        if self.widened:
            frames, self.condition.value = frames.tensor_split([self.config.in_channels], dim=1)
        out = super().forward(
            frames,
            per_frame(timestep, b, f, sample.device),
            encoder_hidden_states.repeat_interleave(f, dim=0),
            class_labels=None if fps is None else per_frame(fps, b, f, sample.device).float(),
            return_dict=False, **kwargs)[0]
        if self.widened:
            self.condition.value = None
        out = rearrange(out, "(b f) c h w -> b c f h w", f=f)
        return UNet2DConditionOutput(sample=out) if return_dict else (out,)

    # ---------------------------------------------------------------- what trains

    def temporal_parameters(self) -> dict[str, nn.Parameter]:
        """Name -> parameter of every layer that was added; a LoRA around a convolution does not change its name."""
        return {bare(k): p for k, p in self.named_parameters() if is_temporal(k)}

    def freeze_spatial(self) -> None:
        """Section 4: "the spatial layers are frozen by setting requires_grad to false"."""
        self.requires_grad_(False)
        for parameter in self.temporal_parameters().values():
            parameter.requires_grad_(True)

    # ---------------------------------------------------------------- LoRA on the spatial layers, see pseudo3d

    def add_adapter(self, *args: Any, **kwargs: Any) -> None:
        super().add_adapter(*args, **kwargs)
        temporal_after_adapters(self)

    def load_lora_adapter(self, pretrained_model_name_or_path_or_dict: Any, *args: Any, **kwargs: Any) -> None:
        source = pretrained_model_name_or_path_or_dict
        super().load_lora_adapter(source, *args, **lora_arguments(source, kwargs))
        temporal_after_adapters(self)

    def unload_lora(self) -> None:
        super().unload_lora()
        temporal_after_adapters(self)


class FrameByFrameUNet(UNet2DConditionModel):
    """A 2D U-Net that takes and gives clips, every frame by itself: what the frozen checkpoint makes of a still."""

    @classmethod
    def of(cls, unet: UNet2DConditionModel) -> FrameByFrameUNet:
        """A view of `unet` on the same modules and weights; `unet` itself stays as it is."""
        view = copy.copy(unet)
        view.__class__ = cls
        return view

    def forward(self, sample: torch.Tensor, timestep: Any, encoder_hidden_states: torch.Tensor, fps: Any = None,
                return_dict: bool = True, **kwargs: Any) -> Any:
        """As UNetPseudo3DConditionModel.forward; `fps` says nothing to a 2D model, the still nothing to a text-to-image
        one."""
        b, _, f, _, _ = sample.shape
        sample = sample[:, :self.config.in_channels]
        out = super().forward(rearrange(sample, "b c f h w -> (b f) c h w"), per_frame(timestep, b, f, sample.device),
                              encoder_hidden_states.repeat_interleave(f, dim=0), return_dict=False, **kwargs)[0]
        out = rearrange(out, "(b f) c h w -> b c f h w", f=f)
        return UNet2DConditionOutput(sample=out) if return_dict else (out,)


def per_frame(value: Any, batch: int, frames: int, device: torch.device) -> torch.Tensor:
    """A number, or one a clip (B,) -> one a frame (B F,)."""
    return torch.as_tensor(value, device=device).expand(batch).repeat_interleave(frames)


def _signature() -> inspect.Signature:
    """diffusers reads a model's configuration off its `__init__`: the parent's arguments and ours."""
    parent = list(inspect.signature(UNet2DConditionModel.__init__).parameters.values())
    own = [p for p in inspect.signature(UNetPseudo3DConditionModel.__init__).parameters.values()
           if p.kind is p.KEYWORD_ONLY]
    return inspect.Signature(parent + own)


UNetPseudo3DConditionModel.__init__.__signature__ = _signature()  # type: ignore[attr-defined]
