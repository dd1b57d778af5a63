"""LateNtMoviesPipeline: a still, a prompt and an fps in; frames out. In diffusers' form."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from einops import rearrange, repeat
from PIL import Image

from lnm.arguments import check_choices, check_film, check_size
from lnm.checkpoint import COMPONENTS, Checkpoint, open_checkpoint, saved_class
from lnm.errors import UserError
from lnm.hub import locate_temporal
from lnm.images import to_pixels
from lnm.latents import encode_pixels
from lnm.schedulers import schedule_of, with_schedule
from lnm.temporal_file import TemporalFile, TemporalNotes, load_temporal, read_temporal, save_temporal
from lnm.unet import FrameByFrameUNet, UNetPseudo3DConditionModel, lora_arguments

# what Stable Diffusion's own pipelines take and what is so here anyway: safetensors only, in whichever variant there
# is, and no safety checker
TAKEN_FOR_GRANTED = ("use_safetensors", "variant", "safety_checker", "requires_safety_checker", "feature_extractor")


@dataclass
class LateNtMoviesPipelineOutput(BaseOutput):
    """`frames`: (B, F, H, W, 3) in [0, 1] for "np", (B, F, 3, H, W) for "pt", B lists of F images for "pil",
    latents (B, C, F, h, w) for "latent"; float32, on the CPU but for latents."""

    frames: Any


class LateNtMoviesPipeline(DiffusionPipeline, StableDiffusionLoraLoaderMixin):
    """Animates a still with an inflated Stable-Diffusion-style inpainting model.

    mask_value: what the inpainting mask holds, everywhere: 1 is the paper's fully masked canvas, 0 says
    that the still is given. The still's latents stand beside it unblanked in both cases; a temporal file
    says which value it was trained with, and loading it sets this.

    What `save_pretrained` wrote is opened by `LateNtMoviesPipeline.from_pretrained(FOLDER)`. Where only diffusers' own
    name is at hand, `DiffusionPipeline.from_pretrained(FOLDER, custom_pipeline=FOLDER, trust_remote_code=True)` gives
    the same: diffusers wants to be told that it may run the folder's pipeline.py, whose one line imports this class
    from the installed package. `DiffusionPipeline.from_pretrained(FOLDER)` alone finds classes of diffusers only.

    A LoRA of the base (`load_lora_weights`, `set_adapters`, `fuse_lora` ...; needs peft) acts on the spatial layers,
    with the temporal ones behind it. A saved inflated U-Net holds no LoRA that is not fused.
    """

    model_cpu_offload_seq = "text_encoder->unet->vae"
    _callback_tensor_inputs = ["latents", "prompt_embeds"]
    scheduler: Any

    # without annotations: diffusers would compare each component with them, and warn
    def __init__(self, vae, text_encoder, tokenizer, unet, scheduler, mask_value=1.0):  # type: ignore[no-untyped-def]
        super().__init__()
        if scheduler.config.get("clip_sample"):  # diffusers' default, which would clamp latents to [-1, 1]
            scheduler = with_schedule(scheduler, {})
        self.register_modules(vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler)
        self.register_to_config(mask_value=mask_value)
        # AutoencoderDC, as lnm-mini has, says it itself; AutoencoderKL, as Stable Diffusion has, does not
        blocks = getattr(vae.config, "block_out_channels", ())
        self.vae_scale_factor = getattr(vae, "spatial_compression_ratio", None) or 2 ** (len(blocks) - 1)
        self.learned: dict[str, Any] = {}  # notes of the temporal layers, as a fine-tune or a temporal file left them
        self._guidance_scale, self._num_timesteps = 1.0, 0

    # ---------------------------------------------------------------- open and save

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, temporal: Path | str | None = None, *,
                        conv_placement: str = "all", **kwargs: Any) -> LateNtMoviesPipeline:
        """Open a Stable Diffusion inpainting checkpoint and inflate it, or a pipeline that `save_pretrained` wrote.

        pretrained_model_name_or_path: what `lnm.open_checkpoint` takes ("lnm-mini", a folder in diffusers' layout, a
        hub name, a single .safetensors file), or a saved pipeline's folder or hub name. temporal: a temporal file, or
        the hub name of one (`load_temporal`); without it the film is the checkpoint's, frame by frame. conv_placement:
        of a fresh inflation; a temporal file and a saved pipeline bring their own. kwargs: `revision`, `torch_dtype`,
        `config` (of a single file), `mask_value` and components in the place of the checkpoint's own (`scheduler=`,
        `vae=` ...); for a saved pipeline all that diffusers takes.
        Raises UserError for a checkpoint or file that cannot be opened.
        """
        file = None if temporal is None else read_temporal(locate_temporal(temporal))
        if saved_class(pretrained_model_name_or_path, kwargs.get("revision")) == cls.__name__:
            pipe = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
            if file is not None:
                pipe.load_temporal(file)
            return pipe
        for name in TAKEN_FOR_GRANTED:
            kwargs.pop(name, None)
        base = open_checkpoint(str(pretrained_model_name_or_path), kwargs.pop("revision", None),
                               dtype=kwargs.pop("torch_dtype", None), config=kwargs.pop("config", None))
        for name in set(kwargs) & set(COMPONENTS):
            setattr(base, name, kwargs.pop(name))
        return cls.from_checkpoint(base, file, conv_placement=conv_placement, in_place=True, **kwargs)

    @classmethod
    def from_single_file(cls, pretrained_model_link_or_path: Any, **kwargs: Any) -> LateNtMoviesPipeline:
        """`from_pretrained` under the name that diffusers has for a single .safetensors file."""
        return cls.from_pretrained(pretrained_model_link_or_path, **kwargs)

    def save_pretrained(self, save_directory: Path | str, *args: Any, **kwargs: Any) -> None:
        """Write the whole pipeline, base and temporal layers, in diffusers' layout; see the class for how it opens."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pipeline.py").write_text("from lnm.pipeline import LateNtMoviesPipeline  # noqa: F401\n")
        super().save_pretrained(save_directory, *args, **kwargs)

    @classmethod
    def from_checkpoint(cls, base: Checkpoint, temporal: TemporalFile | Path | str | None = None, *,
                        conv_placement: str = "all", mask_value: float | None = None,
                        in_place: bool = False) -> LateNtMoviesPipeline:
        """A pipeline on an open checkpoint, with the temporal layers of a file, or with new ones: the identity.

        mask_value: in [0, 1]; None takes the temporal file's, or 1, as in the paper. in_place: inflate the checkpoint's
        own U-Net instead of a copy of it.
        """
        if temporal is not None and not isinstance(temporal, TemporalFile):
            temporal = read_temporal(temporal)
        own = {"conv_placement": conv_placement} if temporal is None else {
            "conv_placement": temporal.conv_placement, "temporal_attention": temporal.temporal_attention}
        unet = UNetPseudo3DConditionModel.from_unet2d(base.unet, in_place=in_place, **own).eval()
        pipe = cls(base.vae, base.text_encoder, base.tokenizer, unet, base.scheduler,
                   1.0 if mask_value is None else mask_value)
        if temporal is not None:
            pipe.load_temporal(temporal)
            if mask_value is not None:
                pipe.register_to_config(mask_value=mask_value)
        return pipe

    @classmethod
    def frame_by_frame(cls, base: Checkpoint, mask_value: float = 1.0) -> LateNtMoviesPipeline:
        """The frozen checkpoint itself: its 2D U-Net on every frame, without temporal layers. A baseline.

        The same generator gives it the same noise as it gives an inflated pipeline.
        """
        unet = FrameByFrameUNet.of(base.unet)
        return cls(base.vae, base.text_encoder, base.tokenizer, unet, base.scheduler, mask_value)

    @classmethod
    def from_pipe(cls, pipeline: DiffusionPipeline, **kwargs: Any) -> LateNtMoviesPipeline:
        """A pipeline on the components of another, shared and not copied: one of this class, or any inpainting pipeline
        of Stable Diffusion's kind, whose 2D U-Net is copied and inflated.

        kwargs: a component in the place of the other's (`scheduler=`, `unet=` ...), `mask_value`, and `torch_dtype`,
        which moves all of them. Raises UserError for a U-Net that is not for inpainting.
        """
        parts = {k: kwargs.pop(k, pipeline.components.get(k)) for k in COMPONENTS}
        if not isinstance(parts["unet"], UNetPseudo3DConditionModel | FrameByFrameUNet):
            parts["unet"] = UNetPseudo3DConditionModel.from_unet2d(parts["unet"]).eval()
        dtype = kwargs.pop("torch_dtype", None)
        made = cls(**parts, mask_value=kwargs.pop("mask_value", pipeline.config.get("mask_value", 1.0)), **kwargs)
        made.learned = dict(getattr(pipeline, "learned", {}))
        return made if dtype is None else made.to(dtype=dtype)

    def load_temporal(self, temporal: TemporalFile | Path | str, strict: bool = True,
                      revision: str | None = None) -> TemporalNotes:
        """Load a temporal file: its layers, its noise schedule (the sampler stays) and its mask value.

        temporal: a path, or a hub name (USER/REPOSITORY). strict: see `lnm.temporal_file.load_temporal`. Returns what
        the file says of itself. Raises UserError for a file that cannot be had, is none or does not fit, and for a
        sampler that cannot keep its noise schedule; nothing is changed then.
        """
        if not isinstance(self.unet, UNetPseudo3DConditionModel):
            raise UserError("this pipeline films frame by frame and has no temporal layers; open by from_pretrained")
        if not isinstance(temporal, TemporalFile):
            temporal = read_temporal(locate_temporal(temporal, revision))
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

    # ---------------------------------------------------------------- what diffusers' callbacks look at

    @property
    def guidance_scale(self) -> float:
        return self._guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        return self._guidance_scale > 1

    @property
    def num_timesteps(self) -> int:
        return self._num_timesteps

    # ---------------------------------------------------------------- the pieces

    @torch.no_grad()
    def encode_prompt(self, prompts: list[str]) -> torch.Tensor:
        """Text embeddings (B, L, D) in the U-Net's dtype; a prompt past the tokenizer's length keeps its end token."""
        ids = self.tokenizer(prompts, padding="max_length", max_length=self.tokenizer.model_max_length,
                             truncation=True, return_tensors="pt").input_ids
        return self.text_encoder(ids.to(self._execution_device))[0].to(self.unet.dtype)

    @torch.no_grad()
    def encode_image(self, image: Any, height: int | None = None, width: int | None = None) -> torch.Tensor:
        """Stills, as `lnm.images.to_pixels` takes them -> latents (B, C, h, w), float32, times the scaling factor.

        Raises ValueError for what is no still and for a size that is no multiple of the VAE's step.
        """
        pixels = to_pixels(image, height, width)
        check_size(pixels.shape[-2], pixels.shape[-1], self.vae_scale_factor)
        latents = encode_pixels(self.vae, pixels.to(self._execution_device, self.vae.dtype))
        return latents.float() * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode_latents(self, latents: torch.Tensor, chunk_size: int = 8) -> torch.Tensor:
        """(B, C, F, h, w) -> (B, F, 3, H, W) in [0, 1], float32 on the CPU; `chunk_size` frames at a time, so that
        memory stays flat."""
        frames = rearrange(latents, "b c f h w -> (b f) c h w") / self.vae.config.scaling_factor
        pixels = [self.vae.decode(part.to(self.vae.dtype)).sample.float().cpu() for part in frames.split(chunk_size)]
        return rearrange((torch.cat(pixels) / 2 + 0.5).clamp(0, 1), "(b f) c h w -> b f c h w", f=latents.shape[2])

    # ---------------------------------------------------------------- the film

    @torch.no_grad()
    def __call__(self, image: Any = None, prompt: str | list[str] | None = None, negative_prompt: str | list[str] = "",
                 num_frames: int = 16, fps: float | list[float] | None = None, num_inference_steps: int = 15,
                 guidance_scale: float = 1.0, guidance_rescale: float = 0.0, num_videos_per_prompt: int = 1,
                 generator: Any = None, latents: torch.Tensor | None = None, prompt_embeds: torch.Tensor | None = None,
                 negative_prompt_embeds: torch.Tensor | None = None, image_latents: torch.Tensor | None = None,
                 mask_value: float | None = None, first_frame: str = "free", height: int | None = None,
                 width: int | None = None, eta: float = 0.0, decode_chunk_size: int = 8, output_type: str = "np",
                 return_dict: bool = True, callback_on_step_end: Any = None,
                 callback_on_step_end_tensor_inputs: list[str] | None = None) -> Any:
        """Sample films.

        image: a still or one a prompt, see `lnm.images.to_pixels`; or `image_latents` (B or 1, C, h, w), already
        encoded and scaled, whose size is the film's. height, width: of the films in pixels, multiples of the VAE's
        step (8 for Stable Diffusion); the still is cut around its centre and resized. None: the still's own.
        prompt: one or a list, a film each; or `prompt_embeds` (B, L, D), as `encode_prompt` gives them.
        negative_prompt: one or one a prompt, for guidance alone; or `negative_prompt_embeds`, as `prompt_embeds`.
        num_videos_per_prompt: films of each prompt, one after the other in the batch.
        generator: one, or one a film. latents: initial noise (B, C, F, h, w) of deviation 1 in its place.
        fps: frames a second, above 0, one or one a film, or None to say nothing of it. num_frames: any number.
        guidance_scale: 1 is no guidance (Ho & Salimans 2022). guidance_rescale: 0 to 1, draws the guided prediction's
        deviation to the conditional one's, as zero terminal signal asks for (Lin et al. 2024, section 3.4).
        mask_value: in [0, 1], overrides the pipeline's own. first_frame: "free" samples it like the others; "clamp"
        holds it on the still: at every step its latents are the still's, noised to that step's level. eta: of DDIM.
        callback_on_step_end(pipeline, step, timestep, tensors) -> tensors or None, or one of `diffusers.callbacks`;
        it may change "latents" and "prompt_embeds" (under guidance the negative ones stand before them).
        Between the models latents are float32, so that a seed gives much the same film in every precision.
        Returns LateNtMoviesPipelineOutput, or a tuple. Raises ValueError, one line naming the argument, for what cannot
        be sampled.
        """
        if isinstance(callback_on_step_end, PipelineCallback | MultiPipelineCallbacks):
            callback_on_step_end_tensor_inputs = callback_on_step_end.tensor_inputs
        told = callback_on_step_end_tensor_inputs or ["latents"]
        mask_value = self.config.mask_value if mask_value is None else mask_value
        prompts = check_film(
            image=image, image_latents=image_latents, height=height, width=width, step=self.vae_scale_factor,
            channels=self.unet.config.out_channels, prompt=prompt, prompt_embeds=prompt_embeds,
            negative_prompt=negative_prompt, negative_prompt_embeds=negative_prompt_embeds, generator=generator,
            fps=fps, num_frames=num_frames, num_inference_steps=num_inference_steps,
            num_videos_per_prompt=num_videos_per_prompt,
            guidance_rescale=guidance_rescale, mask_value=mask_value, first_frame=first_frame, output_type=output_type)
        check_choices("callback_on_step_end_tensor_inputs", told, self._callback_tensor_inputs)
        self._guidance_scale = guidance_scale
        films = prompts * num_videos_per_prompt

        # 1. what conditions: words, the still, the mask
        words = self._words(prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, prompts,
                            num_videos_per_prompt)
        hint = self._hint(image, image_latents, height, width, films, num_videos_per_prompt, num_frames)
        condition = torch.cat([torch.full_like(hint[:, :1], mask_value), hint], dim=1)
        fps = None if fps is None else torch.as_tensor(fps, dtype=torch.float32, device=hint.device).flatten()

        # 2. noise
        self.scheduler.set_timesteps(num_inference_steps, device=hint.device)
        self._num_timesteps = len(self.scheduler.timesteps)
        if latents is not None and latents.shape != hint.shape:
            raise ValueError(f"latents: shape {tuple(latents.shape)}, wanted {tuple(hint.shape)}")
        noise = randn_tensor(hint.shape, generator, hint.device, hint.dtype) if latents is None else latents.to(hint)
        latents = noise * self.scheduler.init_noise_sigma

        # 3. denoise
        taken = inspect.signature(self.scheduler.step).parameters
        extra = {k: v for k, v in (("eta", eta), ("generator", generator)) if k in taken}
        for i, t in enumerate(self.progress_bar(self.scheduler.timesteps)):
            if first_frame == "clamp":
                latents[:, :, :1] = self.scheduler.add_noise(hint[:, :, :1], noise[:, :, :1], t[None])
            sample = torch.cat([self.scheduler.scale_model_input(latents, t), condition], dim=1)
            predicted = self._predict(sample, t, words, fps, guidance_rescale)
            latents = self.scheduler.step(predicted, t, latents, **extra).prev_sample
            if callback_on_step_end is not None:
                latents, words = self._call_back(callback_on_step_end, told, i, t, latents, words)
        if first_frame == "clamp":
            latents[:, :, :1] = hint[:, :, :1]

        # 4. frames
        frames = self._output(latents, output_type, decode_chunk_size)
        self.maybe_free_model_hooks()
        return LateNtMoviesPipelineOutput(frames=frames) if return_dict else (frames,)

    def _call_back(self, callback: Any, told: list[str], i: int, t: torch.Tensor, latents: torch.Tensor,
                   words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Show the callback what it asked for, and take what it changed: (latents, text embeddings)."""
        known = {"latents": latents, "prompt_embeds": words}
        changed = callback(self, i, t, {k: known[k] for k in told}) or {}
        given, films = changed.get("prompt_embeds", words), len(latents)
        # diffusers' SDCFGCutoffCallback ends guidance and leaves the last film's words: each film keeps its own
        if len(given) == 1 and len(words) > films > 1 and torch.equal(given, words[-1:]):
            given = words[-films:]
        return changed.get("latents", latents), given

    def _words(self, prompt: Any, negative_prompt: Any, prompt_embeds: torch.Tensor | None,
               negative_prompt_embeds: torch.Tensor | None, prompts: int, copies: int) -> torch.Tensor:
        """Text embeddings of the films (B, L, D); under guidance the negative ones stand before them (2B, L, D)."""
        def ready(embeds: torch.Tensor) -> torch.Tensor:
            return embeds.to(self._execution_device, self.unet.dtype).repeat_interleave(copies, dim=0)

        if prompt_embeds is None:
            prompt_embeds = self.encode_prompt([prompt] if isinstance(prompt, str) else prompt)
        if not self.do_classifier_free_guidance:
            return ready(prompt_embeds)
        if negative_prompt_embeds is None:
            negative = [negative_prompt] * prompts if isinstance(negative_prompt, str) else negative_prompt
            negative_prompt_embeds = self.encode_prompt(negative)
        return torch.cat([ready(negative_prompt_embeds), ready(prompt_embeds)])

    def _hint(self, image: Any, image_latents: torch.Tensor | None, height: int | None, width: int | None, films: int,
              copies: int, num_frames: int) -> torch.Tensor:
        """The still's latents, never blanked, repeated over the frames: (B, C, F, h, w)."""
        still = self.encode_image(image, height, width) if image_latents is None else image_latents
        still = still.to(self._execution_device, torch.float32)
        if len(still) not in (1, films // copies):
            raise ValueError(f"image: {len(still)} stills for {films // copies} prompts; give one, or one a prompt")
        still = still.expand(films, -1, -1, -1) if len(still) == 1 else still.repeat_interleave(copies, dim=0)
        return repeat(still, "b c h w -> b c f h w", f=num_frames)

    def _predict(self, sample: torch.Tensor, t: torch.Tensor, words: torch.Tensor, fps: torch.Tensor | None,
                 rescale: float) -> torch.Tensor:
        """What the U-Net predicts for noisy latents, mask and still (B, 2C+1, F, h, w): (B, C, F, h, w), guided."""
        films, sample = len(sample), sample.to(self.unet.dtype)
        if not self.do_classifier_free_guidance:
            return self.unet(sample, t, words.expand(films, -1, -1), fps=fps).sample.float()
        fps = fps if fps is None or len(fps) == 1 else fps.repeat(2)
        both = self.unet(torch.cat([sample, sample]), t, words, fps=fps).sample.float()
        unconditional, conditional = both.chunk(2)
        guided = unconditional + self.guidance_scale * (conditional - unconditional)
        if rescale:
            wanted, found = (x.std(dim=(1, 2, 3, 4), keepdim=True) for x in (conditional, guided))
            guided = guided * (rescale * wanted / found + 1 - rescale)
        return guided

    def _output(self, latents: torch.Tensor, output_type: str, chunk_size: int) -> Any:
        if output_type == "latent":
            return latents
        frames = self.decode_latents(latents, chunk_size)  # (B, F, 3, H, W)
        if output_type == "pt":
            return frames
        frames = frames.permute(0, 1, 3, 4, 2).numpy()
        return frames if output_type == "np" else [[Image.fromarray(f) for f in to_uint8(film)] for film in frames]


def to_uint8(frames: np.ndarray) -> np.ndarray:
    """[0, 1] -> uint8, rounded to nearest."""
    return np.round(frames * 255).astype(np.uint8)
