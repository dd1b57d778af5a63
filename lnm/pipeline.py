"""LateNtMoviesPipeline: a still, a prompt and an fps in; frames out. In diffusers' form."""

from __future__ import annotations

import inspect
import json
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

from lnm.checkpoint import Checkpoint, open_checkpoint
from lnm.hub import locate_temporal
from lnm.images import to_pixels
from lnm.latents import encode_pixels
from lnm.schedulers import schedule_of, with_schedule
from lnm.temporal_file import TemporalFile, TemporalNotes, load_temporal, read_temporal, save_temporal
from lnm.unet import FrameByFrameUNet, UNetPseudo3DConditionModel


@dataclass
class LateNtMoviesPipelineOutput(BaseOutput):
    """`frames`: (B, F, H, W, 3) in [0, 1] for "np", (B, F, 3, H, W) for "pt", B lists of F images for "pil",
    latents (B, C, F, h, w) for "latent"."""

    frames: Any


class LateNtMoviesPipeline(DiffusionPipeline, StableDiffusionLoraLoaderMixin):
    """Animates a still with an inflated Stable-Diffusion-style inpainting model.

    mask_value: what the inpainting mask holds, everywhere: 1 is the paper's fully masked canvas, 0 says
    that the still is given. The still's latents stand beside it unblanked in both cases; a temporal file
    says which value it was trained with, and loading it sets this.
    """

    model_cpu_offload_seq = "text_encoder->unet->vae"
    _callback_tensor_inputs = ["latents", "prompt_embeds"]

    def __init__(self, vae, text_encoder, tokenizer, unet, scheduler, mask_value=1.0):
        super().__init__()
        self.register_modules(vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler)
        self.register_to_config(mask_value=mask_value)
        # AutoencoderDC, as lnm-mini has, says it itself; AutoencoderKL, as Stable Diffusion has, does not
        blocks = getattr(vae.config, "block_out_channels", ())
        self.vae_scale_factor = getattr(vae, "spatial_compression_ratio", None) or 2 ** (len(blocks) - 1)
        self._guidance_scale, self._num_timesteps = 1.0, 0

    # ---------------------------------------------------------------- open and save

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, temporal=None, *, conv_placement: str = "all",
                        **kwargs) -> LateNtMoviesPipeline:
        """Open a Stable Diffusion inpainting checkpoint and inflate it, or a pipeline that `save_pretrained` wrote.

        pretrained_model_name_or_path: a folder in diffusers' layout or a hub name. temporal: a temporal file, or the
        hub name of one (`load_temporal`); without it the film is the checkpoint's, frame by frame. conv_placement:
        of a fresh inflation; a temporal file brings its own. kwargs: revision and torch_dtype, or what diffusers
        takes for a saved pipeline. Raises UserError for a checkpoint or file that cannot be opened.
        """
        file = None if temporal is None else read_temporal(locate_temporal(temporal))
        index = Path(pretrained_model_name_or_path).expanduser() / "model_index.json"
        if index.is_file() and json.loads(index.read_text()).get("_class_name") == cls.__name__:
            pipe = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        else:
            base = open_checkpoint(str(pretrained_model_name_or_path), kwargs.pop("revision", None),
                                   dtype=kwargs.pop("torch_dtype", None))
            pipe = cls.from_checkpoint(base, file, conv_placement=conv_placement, in_place=True, **kwargs)
        if file is not None:
            pipe.load_temporal(file)
        return pipe

    @classmethod
    def from_checkpoint(cls, base: Checkpoint, temporal: TemporalFile | Path | str | None = None, *,
                        conv_placement: str = "all", mask_value: float | None = None,
                        in_place: bool = False) -> LateNtMoviesPipeline:
        """A pipeline on an open checkpoint, with the temporal layers of a file or with those that start as the identity.

        mask_value: None takes the temporal file's, or 1, as in the paper. in_place: inflate the checkpoint's own U-Net
        instead of a copy of it.
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
        """The frozen checkpoint itself: its 2D U-Net on every frame, without temporal layers. A baseline."""
        return cls(base.vae, base.text_encoder, base.tokenizer, FrameByFrameUNet(base.unet), base.scheduler, mask_value)

    @classmethod
    def from_pipe(cls, pipeline: DiffusionPipeline, **kwargs) -> LateNtMoviesPipeline:
        """A pipeline on the components of another: one of this class, or any inpainting pipeline, whose U-Net is
        inflated (`unet=`, `scheduler=` and so on replace a component; `torch_dtype` moves all)."""
        parts = {k: kwargs.pop(k, pipeline.components.get(k))
                 for k in ("vae", "text_encoder", "tokenizer", "unet", "scheduler")}
        if not isinstance(parts["unet"], UNetPseudo3DConditionModel | FrameByFrameUNet):
            parts["unet"] = UNetPseudo3DConditionModel.from_unet2d(parts["unet"]).eval()
        dtype = kwargs.pop("torch_dtype", None)
        made = cls(**parts, mask_value=kwargs.pop("mask_value", pipeline.config.get("mask_value", 1.0)), **kwargs)
        return made if dtype is None else made.to(dtype=dtype)

    def load_temporal(self, temporal: TemporalFile | Path | str, strict: bool = True,
                      revision: str | None = None) -> TemporalNotes:
        """Load a temporal file: its layers, its noise schedule (the sampler stays) and its mask value.

        temporal: a path, or a hub name (USER/REPOSITORY). strict: see `lnm.temporal_file.load_temporal`.
        """
        if not isinstance(temporal, TemporalFile):
            temporal = read_temporal(locate_temporal(temporal, revision))
        notes = load_temporal(self.unet, temporal, strict)
        self.scheduler = with_schedule(self.scheduler, notes.schedule)
        self.register_to_config(mask_value=notes.mask_value)
        return notes

    def save_temporal(self, path: Path | str, dtype: torch.dtype | None = None, **notes) -> None:
        """Write the temporal layers, the noise schedule and the mask value into one small file; `notes`: other fields
        of `lnm.temporal_file.TemporalNotes` (prompt, fps, steps ...)."""
        save_temporal(self.unet, path, TemporalNotes(schedule=schedule_of(self.scheduler),
                                                     mask_value=self.config.mask_value, **notes), dtype)

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
        """Text embeddings (B, L, D); a prompt past the tokenizer's length keeps its end token."""
        ids = self.tokenizer(prompts, padding="max_length", max_length=self.tokenizer.model_max_length,
                             truncation=True, return_tensors="pt").input_ids
        return self.text_encoder(ids.to(self._execution_device))[0].to(self.unet.dtype)

    @torch.no_grad()
    def encode_image(self, image, height: int | None = None, width: int | None = None) -> torch.Tensor:
        """Latents (B, C, h, w) of stills, as `lnm.images.to_pixels` takes them, times the VAE's scaling factor."""
        pixels = to_pixels(image, height, width)
        self._check_size(*pixels.shape[-2:])
        return encode_pixels(self.vae, pixels.to(self._execution_device, self.vae.dtype)) * self.vae.config.scaling_factor

    def _check_size(self, height: int, width: int) -> None:
        step = self.vae_scale_factor
        if height % step or width % step:
            raise ValueError(f"height {height}, width {width}: both must be multiples of {step}; the nearest are "
                             f"height={max(step, height // step * step)}, width={max(step, width // step * step)}")

    @torch.no_grad()
    def decode_latents(self, latents: torch.Tensor, chunk_size: int = 8) -> torch.Tensor:
        """(B, C, F, h, w) -> (B, F, 3, H, W) in [0, 1] on the CPU, a few frames at a time, so that memory stays flat."""
        frames = rearrange(latents, "b c f h w -> (b f) c h w") / self.vae.config.scaling_factor
        pixels = [self.vae.decode(part.to(self.vae.dtype)).sample.float().cpu() for part in frames.split(chunk_size)]
        return rearrange((torch.cat(pixels) / 2 + 0.5).clamp(0, 1), "(b f) c h w -> b f c h w", f=latents.shape[2])

    # ---------------------------------------------------------------- the film

    @torch.no_grad()
    def __call__(self, image=None, prompt: str | list[str] | None = None, negative_prompt: str | list[str] = "",
                 num_frames: int = 16, fps: float | list[float] | None = None, num_inference_steps: int = 15,
                 guidance_scale: float = 1.0, guidance_rescale: float = 0.0, num_videos_per_prompt: int = 1,
                 generator=None, latents: torch.Tensor | None = None, prompt_embeds: torch.Tensor | None = None,
                 negative_prompt_embeds: torch.Tensor | None = None, image_latents: torch.Tensor | None = None,
                 mask_value: float | None = None, first_frame: str = "free", height: int | None = None,
                 width: int | None = None, eta: float = 0.0, decode_chunk_size: int = 8, output_type: str = "np",
                 return_dict: bool = True, callback_on_step_end=None,
                 callback_on_step_end_tensor_inputs: list[str] | None = None):
        """Sample films.

        image: a still or one a prompt, see `lnm.images.to_pixels`; or `image_latents` (B or 1, C, h, w), already
        encoded and scaled. height, width: of the films, multiples of 8; the still is cut around its centre and
        resized. None: the still's own.
        prompt: one or a list, a film each; or `prompt_embeds` (B, L, D), with `negative_prompt_embeds` for guidance.
        num_videos_per_prompt: films of each prompt, one after the other in the batch.
        generator: one, or one a film. latents: initial noise (B, C, F, h, w) in its place.
        fps: frames a second, one or one a film, or None to say nothing of it. num_frames: any number.
        guidance_scale: 1 is no guidance (Ho & Salimans 2022). guidance_rescale: 0 to 1, draws the guided prediction's
        deviation to the conditional one's, as zero terminal signal asks for (Lin et al. 2024, section 3.4).
        mask_value: overrides the pipeline's own. first_frame: "free" samples it like the others; "clamp"
        holds it on the still: at every step its latents are the still's, noised to that step's level.
        callback_on_step_end(pipeline, step, timestep, tensors) -> tensors or None, as elsewhere in diffusers.
        Raises ValueError, one line naming the argument, for what cannot be sampled.
        """
        if isinstance(callback_on_step_end, PipelineCallback | MultiPipelineCallbacks):
            callback_on_step_end_tensor_inputs = callback_on_step_end.tensor_inputs
        told = callback_on_step_end_tensor_inputs or ["latents"]
        mask_value = self.config.mask_value if mask_value is None else mask_value
        self.check_inputs(image, prompt, negative_prompt, num_frames, fps, num_inference_steps, guidance_rescale,
                          num_videos_per_prompt, generator, latents, prompt_embeds, negative_prompt_embeds,
                          image_latents, mask_value, first_frame, height, width, output_type, told)
        self._guidance_scale = guidance_scale
        prompts = 1 if isinstance(prompt, str) else len(prompt) if prompt is not None else len(prompt_embeds)
        films = prompts * num_videos_per_prompt

        # 1. what conditions: words, the still, the mask
        words = self._words(prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, prompts,
                            num_videos_per_prompt)
        hint = self._hint(image, image_latents, height, width, films, num_videos_per_prompt, num_frames)
        condition = torch.cat([torch.full_like(hint[:, :1], mask_value), hint], dim=1)

        # 2. noise
        self.scheduler.set_timesteps(num_inference_steps, device=hint.device)
        self._num_timesteps = len(self.scheduler.timesteps)
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
                known = {"latents": latents, "prompt_embeds": words}
                changed = callback_on_step_end(self, i, t, {k: known[k] for k in told}) or {}
                latents, words = changed.get("latents", latents), changed.get("prompt_embeds", words)
        if first_frame == "clamp":
            latents[:, :, :1] = hint[:, :, :1]

        # 4. frames
        frames = self._output(latents, output_type, decode_chunk_size)
        self.maybe_free_model_hooks()
        return LateNtMoviesPipelineOutput(frames=frames) if return_dict else (frames,)

    def _words(self, prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, prompts: int,
               copies: int) -> torch.Tensor:
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

    def _hint(self, image, image_latents, height, width, films: int, copies: int, num_frames: int) -> torch.Tensor:
        """The still's latents, never blanked, repeated over the frames: (B, C, F, h, w)."""
        still = self.encode_image(image, height, width) if image_latents is None else image_latents
        still = still.to(self._execution_device, self.unet.dtype)
        still = still.expand(films, -1, -1, -1) if len(still) == 1 else still.repeat_interleave(copies, dim=0)
        return repeat(still, "b c h w -> b c f h w", f=num_frames)

    def _predict(self, sample: torch.Tensor, t: torch.Tensor, words: torch.Tensor, fps, rescale: float) -> torch.Tensor:
        """What the U-Net predicts for noisy latents, mask and still (B, 2C+1, F, h, w): (B, C, F, h, w), guided."""
        films = len(sample)
        if isinstance(fps, list | tuple):
            fps = torch.tensor(fps, dtype=torch.float32, device=sample.device)
        if not self.do_classifier_free_guidance:
            return self.unet(sample, t, words.expand(films, -1, -1), fps=fps).sample
        if isinstance(fps, torch.Tensor) and fps.ndim:
            fps = torch.cat([fps, fps])
        unconditional, conditional = self.unet(torch.cat([sample, sample]), t, words, fps=fps).sample.chunk(2)
        guided = unconditional + self.guidance_scale * (conditional - unconditional)
        if rescale:
            wanted, found = (x.std(dim=(1, 2, 3, 4), keepdim=True) for x in (conditional, guided))
            guided = guided * (rescale * wanted / found + 1 - rescale)
        return guided

    def _output(self, latents: torch.Tensor, output_type: str, chunk_size: int):
        if output_type == "latent":
            return latents
        frames = self.decode_latents(latents, chunk_size)  # (B, F, 3, H, W)
        if output_type == "pt":
            return frames
        frames = frames.permute(0, 1, 3, 4, 2).numpy()
        return frames if output_type == "np" else [[Image.fromarray(f) for f in to_uint8(film)] for film in frames]

    def check_inputs(self, image, prompt, negative_prompt, num_frames, fps, num_inference_steps, guidance_rescale,
                     num_videos_per_prompt, generator, latents, prompt_embeds, negative_prompt_embeds, image_latents,
                     mask_value, first_frame, height, width, output_type, callback_tensors) -> None:
        """Raises ValueError, one line naming the argument, for what cannot be sampled."""
        if image is None and image_latents is None:
            raise ValueError("image: a still is needed (or image_latents)")
        if (prompt is None) == (prompt_embeds is None):
            raise ValueError("prompt: give it or prompt_embeds, one of the two")
        if prompt is not None and not isinstance(prompt, str | list):
            raise ValueError(f"prompt must be a str or a list of str, got {type(prompt).__name__}")
        for name, value in (("num_frames", num_frames), ("num_inference_steps", num_inference_steps),
                            ("num_videos_per_prompt", num_videos_per_prompt)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} {value}: must be a whole number from 1")
        for name, value, known in (("first_frame", first_frame, ("free", "clamp")),
                                   ("output_type", output_type, ("np", "pt", "pil", "latent"))):
            if value not in known:
                raise ValueError(f"{name} {value!r}: choose {', '.join(known[:-1])} or {known[-1]}")
        for name, value in (("mask_value", mask_value), ("guidance_rescale", guidance_rescale)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} {value}: must lie in [0, 1]")
        unknown = set(callback_tensors) - set(self._callback_tensor_inputs)
        if unknown:
            raise ValueError(f"callback_on_step_end_tensor_inputs: {min(unknown)!r}; choose from "
                             f"{', '.join(self._callback_tensor_inputs)}")
        n = 1 if isinstance(prompt, str) else len(prompt) if prompt is not None else len(prompt_embeds)
        self._check_counts(n, num_videos_per_prompt, image, image_latents, negative_prompt, negative_prompt_embeds,
                           prompt_embeds, generator, fps)
        self._check_shapes(n * num_videos_per_prompt, num_frames, latents, image_latents, height, width)

    @staticmethod
    def _check_counts(n, copies, image, image_latents, negative_prompt, negative_prompt_embeds, prompt_embeds, generator,
                      fps) -> None:
        """What must come once, once a prompt or once a film."""
        stills = len(image) if isinstance(image, list | tuple) else len(image_latents) if image_latents is not None else 1
        if stills not in (1, n):
            raise ValueError(f"image: {stills} stills for {n} prompts; give one, or one a prompt")
        if isinstance(negative_prompt, list) and len(negative_prompt) != n:
            raise ValueError(f"negative_prompt: {len(negative_prompt)} for {n} prompts; give one, or one a prompt")
        if negative_prompt_embeds is not None and prompt_embeds is not None and (
                negative_prompt_embeds.shape != prompt_embeds.shape):
            raise ValueError(f"negative_prompt_embeds: shape {tuple(negative_prompt_embeds.shape)}, prompt_embeds has "
                             f"{tuple(prompt_embeds.shape)}")
        if isinstance(generator, list) and len(generator) != n * copies:
            raise ValueError(f"generator: {len(generator)} for {n * copies} films; give one, or one a film")
        rates = fps.flatten().tolist() if isinstance(fps, torch.Tensor) else fps if isinstance(fps, list | tuple) else [fps]
        if len(rates) not in (1, n * copies):
            raise ValueError(f"fps: {len(rates)} for {n * copies} films; give one, or one a film")
        if any(rate is not None and not 0 < rate < float("inf") for rate in rates):
            raise ValueError(f"fps {fps}: must be a number above 0, frames a second")

    def _check_shapes(self, films, num_frames, latents, image_latents, height, width) -> None:
        """Sizes of the film, and of latents that are given."""
        step = self.vae_scale_factor
        if height is not None or width is not None:
            self._check_size(height or step, width or step)
        if image_latents is not None and any(asked is not None and asked != step * side for asked, side in
                                             zip((height, width), image_latents.shape[-2:], strict=True)):
            raise ValueError(f"height {height}, width {width}: image_latents are of {step * image_latents.shape[-2]} x "
                             f"{step * image_latents.shape[-1]} pixels (height x width); leave height and width out")
        if latents is not None and (latents.ndim != 5 or latents.shape[0] != films or latents.shape[2] != num_frames):
            raise ValueError(f"latents: shape {tuple(latents.shape)}, wanted ({films}, C, {num_frames}, h, w)")


def to_uint8(frames: np.ndarray) -> np.ndarray:
    """[0, 1] -> uint8, rounded to nearest."""
    return np.round(frames * 255).astype(np.uint8)
