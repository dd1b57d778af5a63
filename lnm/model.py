"""What films are made with: autoencoder, text encoder, inflated U-Net and noise schedule, opened, saved, adapted.

`lnm.pipeline` adds the sampling to it. Training needs no more than this, so that a fine-tune does not hang on
how films are sampled.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Self

import torch
from diffusers import DiffusionPipeline
from diffusers.loaders import StableDiffusionLoraLoaderMixin

from lnm.checkpoint import COMPONENTS, HUB, Checkpoint, open_checkpoint, saved_class
from lnm.errors import UserError, shortened
from lnm.hub import locate_temporal
from lnm.lora import fuse_lora, lora_arguments
from lnm.schedulers import schedule_of, with_schedule
from lnm.temporal_file import (
    TemporalFile,
    TemporalNotes,
    load_temporal,
    portable_name,
    read_temporal,
    save_temporal,
)
from lnm.unet import FrameByFrameUNet, UNetPseudo3DConditionModel
from lnm.weights import aligned

# what Stable Diffusion's own pipelines take and what is so here anyway: safetensors only, in whichever variant there
# is, and no safety checker
TAKEN_FOR_GRANTED = ("use_safetensors", "variant", "safety_checker", "requires_safety_checker", "feature_extractor")


class InflatedModel(DiffusionPipeline, StableDiffusionLoraLoaderMixin):
    """An inflated Stable-Diffusion-style inpainting model, in the form of a diffusers pipeline that cannot sample yet:
    see `lnm.pipeline.LateNtMoviesPipeline`, which is this and can."""

    scheduler: Any

    # without annotations: diffusers would compare each component with them, and warn
    def __init__(self, vae, text_encoder, tokenizer, unet, scheduler, mask_value=1.0,  # type: ignore[no-untyped-def]
                 learned=None):
        super().__init__()
        if scheduler.config.get("clip_sample"):  # diffusers' default, which would clamp latents to [-1, 1]
            scheduler = with_schedule(scheduler, {})
        self.register_modules(vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler)
        self.register_to_config(mask_value=mask_value)
        # AutoencoderDC, as lnm-mini has, says it itself; AutoencoderKL, as Stable Diffusion has, does not
        blocks = getattr(vae.config, "block_out_channels", ())
        self.vae_scale_factor = getattr(vae, "spatial_compression_ratio", None) or 2 ** (len(blocks) - 1)
        # notes of the temporal layers, as a fine-tune, a temporal file or `save_pretrained` left them
        self.learned: dict[str, Any] = dict(learned or {})
        self.encoded: dict[str, torch.Tensor] | None = None  # what `drop_text_encoder` left of the text encoder

    # ---------------------------------------------------------------- open and save

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, temporal: Path | str | None = None, *,
                        conv_placement: str = "all", widen: bool = False, lora: Path | str | None = None,
                        lora_scale: float = 1.0, strict: bool = True, **kwargs: Any) -> Self:
        """Open a Stable Diffusion inpainting checkpoint and inflate it, or a pipeline that `save_pretrained` wrote.

        pretrained_model_name_or_path: what `lnm.open_checkpoint` takes ("lnm-mini", a folder in diffusers' layout, a
        hub name, a single .safetensors file), or a saved pipeline's folder or hub name. temporal: a temporal file, or
        the hub name of one (`load_temporal`); without it the film is the checkpoint's, frame by frame. conv_placement:
        of a fresh inflation; a temporal file and a saved pipeline bring their own. widen: take a text-to-image
        checkpoint as well (`lnm.open_checkpoint`); a temporal file of one says so itself. lora, lora_scale: of the
        base, fused into it before it is inflated (`lnm.lora.fuse_lora`). strict: see `load_temporal`.
        kwargs: `revision`, `torch_dtype`, `vae_dtype` (of the autoencoder, where it has another), `config` (of a single
        file), `mask_value`, how hub names are fetched (`cache_dir`, `local_files_only`, `token`, `force_download`) and
        components in the place of the checkpoint's own (`scheduler=`, `vae=` ...); for a saved pipeline all that
        diffusers takes, and `vae_dtype`.
        Raises UserError for a checkpoint or file that cannot be opened.
        """
        hub = {name: kwargs[name] for name in HUB if name in kwargs}
        file = None if temporal is None else read_temporal(locate_temporal(temporal, **hub))
        if saved_class(pretrained_model_name_or_path, kwargs.get("revision"), **hub) == cls.__name__:
            if lora is not None:
                raise UserError(f"lora: {pretrained_model_name_or_path} is inflated already; use load_lora_weights, or "
                                "open the base")
            pipe = cls._open_saved(pretrained_model_name_or_path, **kwargs)
            if file is not None:
                pipe.load_temporal(file, strict)
            return pipe
        for name in (*TAKEN_FOR_GRANTED, *HUB):
            kwargs.pop(name, None)
        dtype = kwargs.pop("torch_dtype", None) or kwargs.pop("dtype", None)  # the name in diffusers, and its new one
        base = open_checkpoint(str(pretrained_model_name_or_path), kwargs.pop("revision", None), dtype=dtype,
                               config=kwargs.pop("config", None), vae_dtype=kwargs.pop("vae_dtype", None),
                               widen=widen or bool(file and file.widened), **hub)
        for name in set(kwargs) & set(COMPONENTS):
            setattr(base, name, kwargs.pop(name))
        if lora is not None:
            fuse_lora(base, lora, lora_scale)
        return cls.from_checkpoint(base, file, conv_placement=conv_placement, in_place=True, strict=strict, **kwargs)

    @classmethod
    def _open_saved(cls, name: Any, **kwargs: Any) -> Self:
        """What `save_pretrained` wrote, as diffusers opens it, the base frozen as `open_checkpoint` has it."""
        dtype, vae_dtype = kwargs.pop("dtype", None) or kwargs.pop("torch_dtype", None), kwargs.pop("vae_dtype", None)
        if dtype or vae_dtype:
            dtype = dtype or torch.float32
            kwargs["torch_dtype"] = {"default": dtype, "vae": vae_dtype} if vae_dtype else dtype
        pipe = super().from_pretrained(name, **kwargs)
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                inflated = isinstance(part, UNetPseudo3DConditionModel)  # opens with its spatial layers frozen
                aligned(part if inflated else part.requires_grad_(False))
        return pipe

    @classmethod
    def from_single_file(cls, pretrained_model_link_or_path: Any, **kwargs: Any) -> Self:
        """`from_pretrained` under the name that diffusers has for a single .safetensors file."""
        return cls.from_pretrained(pretrained_model_link_or_path, **kwargs)

    def save_pretrained(self, save_directory: Path | str, *args: Any, **kwargs: Any) -> None:
        """Write the whole pipeline, base, temporal layers and their notes, in diffusers' layout; see the class for how
        it opens."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pipeline.py").write_text("from lnm.pipeline import LateNtMoviesPipeline  # noqa: F401\n")
        self.register_to_config(learned={k: portable_name(v) if k == "checkpoint" else v
                                         for k, v in self.learned.items()})
        super().save_pretrained(save_directory, *args, **kwargs)

    @classmethod
    def from_checkpoint(cls, base: Checkpoint, temporal: TemporalFile | Path | str | None = None, *,
                        conv_placement: str = "all", mask_value: float | None = None,
                        in_place: bool = False, strict: bool = True) -> Self:
        """A pipeline on an open checkpoint, with the temporal layers of a file, or with new ones: the identity.

        mask_value: in [0, 1]; None takes the temporal file's, or 1, as in the paper. in_place: inflate the checkpoint's
        own U-Net instead of a copy of it. strict: see `load_temporal`.
        """
        if temporal is not None and not isinstance(temporal, TemporalFile):
            temporal = read_temporal(temporal)
        own = {"conv_placement": conv_placement} if temporal is None else {
            "conv_placement": temporal.conv_placement, "temporal_attention": temporal.temporal_attention}
        unet = UNetPseudo3DConditionModel.from_unet2d(base.unet, in_place=in_place, widen=base.widen, **own).eval()
        pipe = cls(base.vae, base.text_encoder, base.tokenizer, unet, base.scheduler,
                   1.0 if mask_value is None else mask_value)
        pipe.learned = {"checkpoint": base.name} | ({"extra": {"lora": base.lora}} if base.lora else {})
        if temporal is not None:
            pipe.load_temporal(temporal, strict)
            if mask_value is not None:
                pipe.register_to_config(mask_value=mask_value)
        return pipe

    @classmethod
    def frame_by_frame(cls, base: Checkpoint, mask_value: float = 1.0) -> Self:
        """The frozen checkpoint itself: its 2D U-Net on every frame, without temporal layers. A baseline.

        The same generator gives it the same noise as it gives an inflated pipeline.
        """
        unet = FrameByFrameUNet.of(base.unet)
        return cls(base.vae, base.text_encoder, base.tokenizer, unet, base.scheduler, mask_value)

    @classmethod
    def from_pipe(cls, pipeline: DiffusionPipeline, **kwargs: Any) -> Self:
        """A pipeline on the components of another, shared and not copied: one of this class, or any inpainting pipeline
        of Stable Diffusion's kind, whose 2D U-Net is copied and inflated.

        kwargs: a component in the place of the other's (`scheduler=`, `unet=` ...), `mask_value`, `torch_dtype`,
        which moves all of them, and `widen=True` for a text-to-image pipeline. Raises UserError for a U-Net that is
        not for inpainting.
        """
        parts = {k: kwargs.pop(k, pipeline.components.get(k)) for k in COMPONENTS}
        widen = kwargs.pop("widen", False)
        if not isinstance(parts["unet"], UNetPseudo3DConditionModel | FrameByFrameUNet):
            parts["unet"] = UNetPseudo3DConditionModel.from_unet2d(parts["unet"], widen=widen).eval()
        dtype = kwargs.pop("torch_dtype", None)
        made = cls(**parts, mask_value=kwargs.pop("mask_value", pipeline.config.get("mask_value", 1.0)), **kwargs)
        made.learned, made.encoded = dict(getattr(pipeline, "learned", {})), getattr(pipeline, "encoded", None)
        return made if dtype is None else made.to(dtype=dtype)

    def load_temporal(self, temporal: TemporalFile | Path | str, strict: bool = True,
                      revision: str | None = None, **hub: Any) -> TemporalNotes:
        """Load a temporal file: its layers, its noise schedule (the sampler stays) and its mask value.

        temporal: a path, or a hub name (USER/REPOSITORY; revision, hub: as `lnm.hub.locate_temporal` takes them).
        strict: see `lnm.temporal_file.load_temporal`. Returns what the file says of itself. Raises UserError for a file
        that cannot be had, is none or does not fit, and for a sampler that cannot keep its noise schedule; nothing is
        changed then.
        """
        if not isinstance(self.unet, UNetPseudo3DConditionModel):
            raise UserError("this pipeline films frame by frame and has no temporal layers; open by from_pretrained")
        if not isinstance(temporal, TemporalFile):
            temporal = read_temporal(locate_temporal(temporal, revision, **hub))
        scheduler = with_schedule(self.scheduler, temporal.notes.schedule)
        notes = load_temporal(self.unet, temporal, strict)
        self.scheduler = scheduler
        self.register_to_config(mask_value=notes.mask_value)
        self.learned = {k: v for k, v in vars(notes).items() if k not in ("schedule", "mask_value")}
        return notes

    def save_temporal(self, path: Path | str, dtype: torch.dtype | None = None, **notes: Any) -> None:
        """Write the temporal layers, the noise schedule and the mask value into one small file. notes: other fields of
        `lnm.temporal_file.TemporalNotes`, in the place of what a fine-tune or a loaded file left (prompt, fps ...).
        dtype: None keeps the layers' own. `lnm.hub.push_temporal` uploads the file."""
        own = {"schedule": schedule_of(self.scheduler), "mask_value": self.config.mask_value}
        save_temporal(self.unet, path, TemporalNotes(**(self.learned | notes | own)), dtype)

    def load_lora_weights(self, pretrained_model_name_or_path_or_dict: Any, *args: Any, **kwargs: Any) -> None:
        """A LoRA of the base: a folder, a safetensors file, a hub name or tensors by name, as diffusers has it."""
        source = pretrained_model_name_or_path_or_dict
        super().load_lora_weights(source, *args, **lora_arguments(source, kwargs))

    def drop_text_encoder(self, prompts: list[str]) -> None:
        """Encode all the prompts that will be asked for and let the text encoder go; for `memory: low`.

        From then on `encode_prompt` knows these alone, and the pipeline cannot be saved.
        """
        self.encoded = dict(zip(prompts, self.encode_prompt(prompts), strict=True))
        self.register_modules(text_encoder=None)

    @torch.no_grad()
    def encode_prompt(self, prompts: list[str]) -> torch.Tensor:
        """Text embeddings (B, L, D) in the U-Net's dtype; a prompt past the tokenizer's length keeps its end token, and
        a warning says how much of it is read.

        Raises UserError where the text encoder was dropped and a prompt is none of those that were encoded before.
        """
        if self.encoded is not None:
            if unknown := [prompt for prompt in prompts if prompt not in self.encoded]:
                raise UserError(f"prompt: {unknown[0]!r} was not encoded before the text encoder was dropped; open the "
                                "pipeline again, or set memory: auto")
            return torch.stack([self.encoded[prompt] for prompt in prompts]).to(self._execution_device, self.unet.dtype)
        self._warn_of_long(prompts)
        ids = self.tokenizer(prompts, padding="max_length", max_length=self.tokenizer.model_max_length,
                             truncation=True, return_tensors="pt").input_ids
        return self.text_encoder(ids.to(self._execution_device))[0].to(self.unet.dtype)

    def _warn_of_long(self, prompts: list[str]) -> None:
        """Warn of each prompt that has more tokens than the text encoder reads."""
        marks = self.tokenizer.num_special_tokens_to_add()
        kept = self.tokenizer.model_max_length - marks
        for prompt, ids in zip(prompts, self.tokenizer(prompts, verbose=False).input_ids, strict=True):
            if len(ids) - marks > kept:
                warnings.warn(f"prompt: {shortened(prompt)}: the text encoder reads the first {kept} of its "
                              f"{len(ids) - marks} tokens; say what counts at its beginning", stacklevel=2)
