"""LateNtMoviesPipeline: a still, a prompt and an fps in; frames out. In diffusers' form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from einops import rearrange, repeat

from lnm.latents import encode_pixels
from lnm.schedulers import make_scheduler
from lnm.temporal_file import load_temporal, read_temporal
from lnm.unet import UNetPseudo3DConditionModel


@dataclass
class LateNtMoviesPipelineOutput(BaseOutput):
    """`frames`: (B, F, H, W, 3) in [0, 1] for "np", (B, F, 3, H, W) for "pt", B lists of F images for "pil",
    latents (B, C, F, h, w) for "latent"."""

    frames: Any


class LateNtMoviesPipeline(DiffusionPipeline):
    """Animates a still with an inflated Stable-Diffusion-style inpainting model.

    mask_value: what the inpainting mask holds, everywhere: 1 is the paper's fully masked canvas, 0 says
    that the still is given. The still's latents stand beside it unblanked in both cases; use the value
    that the temporal layers were trained with.
    """

    model_cpu_offload_seq = "text_encoder->unet->vae"
    _callback_tensor_inputs = ["latents", "prompt_embeds"]

    def __init__(self, vae, text_encoder, tokenizer, unet: UNetPseudo3DConditionModel, scheduler,
                 mask_value: float = 1.0):
        super().__init__()
        self.register_modules(vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler)
        self.register_to_config(mask_value=mask_value)
        # AutoencoderDC, as the built-in prior has, says it itself; AutoencoderKL, as Stable Diffusion has, does not
        self.vae_scale_factor = getattr(vae, "spatial_compression_ratio", None) or 2 ** (len(vae.config.block_out_channels) - 1)
        self.image_processor = VaeImageProcessor(vae_scale_factor=self.vae_scale_factor)

    # ---------------------------------------------------------------- the pieces

    @torch.no_grad()
    def encode_prompt(self, prompts: list[str]) -> torch.Tensor:
        """Text embeddings (B, L, D); a prompt past the tokenizer's length keeps its end token."""
        ids = self.tokenizer(prompts, padding="max_length", max_length=self.tokenizer.model_max_length,
                             truncation=True, return_tensors="pt").input_ids
        return self.text_encoder(ids.to(self._execution_device))[0].to(self.unet.dtype)

    @torch.no_grad()
    def encode_image(self, image, height: int | None = None, width: int | None = None) -> torch.Tensor:
        """Latents (B, C, h, w) of stills (PIL, arrays or tensors in [0, 1]), times the VAE's scaling factor."""
        pixels = self.image_processor.preprocess(image, height=height, width=width)
        pixels = pixels.to(self._execution_device, self.vae.dtype)
        return encode_pixels(self.vae, pixels) * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode_latents(self, latents: torch.Tensor, chunk_size: int = 8) -> torch.Tensor:
        """(B, C, F, h, w) -> (B, F, 3, H, W) in [0, 1], a few frames at a time, so that memory stays flat."""
        frames = rearrange(latents, "b c f h w -> (b f) c h w") / self.vae.config.scaling_factor
        pixels = torch.cat([self.vae.decode(part.to(self.vae.dtype)).sample.float() for part in frames.split(chunk_size)])
        return rearrange((pixels / 2 + 0.5).clamp(0, 1), "(b f) c h w -> b f c h w", f=latents.shape[2])

    def check_inputs(self, image, prompt, negative_prompt, num_frames, num_inference_steps, first_frame, generator,
                     latents, mask_value, output_type):
        """Raises ValueError, one line naming the argument, for what cannot be sampled."""
        if not isinstance(prompt, (str, list)):
            raise ValueError(f"prompt must be a str or a list of str, got {type(prompt).__name__}")
        n = 1 if isinstance(prompt, str) else len(prompt)
        if isinstance(image, list) and len(image) not in (1, n):
            raise ValueError(f"image: {len(image)} stills for {n} prompts; give one, or one a prompt")
        if isinstance(negative_prompt, list) and len(negative_prompt) != n:
            raise ValueError(f"negative_prompt: {len(negative_prompt)} for {n} prompts; give one, or one a prompt")
        if isinstance(generator, list) and len(generator) != n:
            raise ValueError(f"generator: {len(generator)} for {n} prompts; give one, or one a prompt")
        if num_frames < 1 or num_inference_steps < 1:
            raise ValueError(f"num_frames ({num_frames}) and num_inference_steps ({num_inference_steps}) start at 1")
        if first_frame not in ("free", "clamp"):
            raise ValueError(f"first_frame {first_frame!r}: choose free or clamp")
        if not 0 <= mask_value <= 1:
            raise ValueError(f"mask_value {mask_value}: must lie in [0, 1]")
        if output_type not in ("np", "pt", "pil", "latent"):
            raise ValueError(f"output_type {output_type!r}: choose np, pt, pil or latent")
        if latents is not None and (latents.ndim != 5 or latents.shape[0] != n or latents.shape[2] != num_frames):
            raise ValueError(f"latents: shape {tuple(latents.shape)}, wanted ({n}, C, {num_frames}, h, w)")

    # ---------------------------------------------------------------- the film

    @torch.no_grad()
    def __call__(self, image=None, prompt: str | list[str] = "", negative_prompt: str | list[str] = "",
                 num_frames: int = 5, fps: float | None = None, num_inference_steps: int = 15,
                 guidance_scale: float = 1.0, generator=None, latents: torch.Tensor | None = None,
                 image_latents: torch.Tensor | None = None, mask_value: float | None = None,
                 first_frame: str = "free", height: int | None = None, width: int | None = None, eta: float = 0.0,
                 decode_chunk_size: int = 8, output_type: str = "np", return_dict: bool = True,
                 callback_on_step_end=None, callback_on_step_end_tensor_inputs: list[str] = ["latents"]):
        """Sample films.

        image: a still or one a prompt; or `image_latents` (B or 1, C, h, w), already encoded and scaled.
        prompt: one or a list, a film each. generator: one, or one a film.
        fps: frames a second, or None to say nothing of it. num_frames: any number.
        guidance_scale: 1 is no guidance (Ho & Salimans 2022).
        latents: initial noise (B, C, F, h, w) in place of the generator's.
        mask_value: overrides the pipeline's own. first_frame: "free" samples it like the others; "clamp"
        holds it on the still: at every step its latents are the still's, noised to that step's level.
        callback_on_step_end(pipeline, step, timestep, tensors) -> tensors, as elsewhere in diffusers.
        """
        mask_value = self.config.mask_value if mask_value is None else mask_value
        if image is None and image_latents is None:
            raise ValueError("image: a still is needed (or image_latents)")
        self.check_inputs(image, prompt, negative_prompt, num_frames, num_inference_steps, first_frame, generator,
                          latents, mask_value, output_type)
        device, dtype = self._execution_device, self.unet.dtype
        prompts = [prompt] if isinstance(prompt, str) else prompt
        n, guided = len(prompts), guidance_scale > 1

        # 1. what conditions: words, the still, the mask
        prompt_embeds = self.encode_prompt(prompts)
        if guided:
            negative = [negative_prompt] * n if isinstance(negative_prompt, str) else negative_prompt
            prompt_embeds = torch.cat([self.encode_prompt(negative), prompt_embeds])
        still = self.encode_image(image, height, width) if image_latents is None else image_latents
        still = still.to(device, dtype).expand(n, -1, -1, -1)
        hint = repeat(still, "b c h w -> b c f h w", f=num_frames)
        condition = torch.cat([torch.full_like(hint[:, :1], mask_value), hint], dim=1)

        # 2. noise
        self.scheduler.set_timesteps(num_inference_steps, device=device)
        noise = latents.to(device, dtype) if latents is not None else randn_tensor(hint.shape, generator, device, dtype)
        latents = noise * self.scheduler.init_noise_sigma
        first_noise = noise[:, :, :1]

        # 3. denoise
        extra = {k: v for k, v in (("eta", eta), ("generator", generator)) if k in self._step_arguments()}
        for i, t in enumerate(self.progress_bar(self.scheduler.timesteps)):
            if first_frame == "clamp":
                latents[:, :, :1] = self.scheduler.add_noise(still[:, :, None], first_noise, t[None])
            scaled = self.scheduler.scale_model_input(latents, t)
            sample = torch.cat([scaled, condition], dim=1)
            predicted = self.unet(torch.cat([sample] * 2) if guided else sample, t, prompt_embeds, fps=fps).sample
            if guided:
                unconditional, conditional = predicted.chunk(2)
                predicted = unconditional + guidance_scale * (conditional - unconditional)
            latents = self.scheduler.step(predicted, t, latents, **extra).prev_sample
            if callback_on_step_end is not None:
                known = {"latents": latents, "prompt_embeds": prompt_embeds}
                out = callback_on_step_end(self, i, t, {k: known[k] for k in callback_on_step_end_tensor_inputs})
                latents, prompt_embeds = out.get("latents", latents), out.get("prompt_embeds", prompt_embeds)
        if first_frame == "clamp":
            latents[:, :, :1] = still[:, :, None]

        # 4. frames
        frames = latents
        if output_type != "latent":
            frames = self.decode_latents(latents, decode_chunk_size)  # (B, F, 3, H, W)
        if output_type in ("np", "pil"):
            frames = frames.permute(0, 1, 3, 4, 2).cpu().numpy()
        if output_type == "pil":
            frames = [self.image_processor.numpy_to_pil(film) for film in frames]
        self.maybe_free_model_hooks()
        return LateNtMoviesPipelineOutput(frames=frames) if return_dict else (frames,)

    def _step_arguments(self) -> set[str]:
        import inspect

        return set(inspect.signature(self.scheduler.step).parameters)


def to_uint8(frames: np.ndarray) -> np.ndarray:
    """[0, 1] -> uint8, rounded to nearest."""
    return np.round(frames * 255).astype(np.uint8)


def build(prior, temporal: Path | None, beta_schedule: str = "prior", scheduler: str = "ddim",
          mask_value: float | None = None) -> LateNtMoviesPipeline:
    """A pipeline on an open prior: with the temporal layers of a file, or none (the frozen prior).

    mask_value: None takes what the temporal layers were trained with.
    """
    config = {}
    if temporal is None:
        mask_value = 1.0 if mask_value is None else mask_value
    else:
        metadata, _ = read_temporal(temporal)
        config = {k: metadata[k] for k in ("conv_placement", "temporal_attention")}
        mask_value = metadata["note"]["mask_value"] if mask_value is None else mask_value
    unet = UNetPseudo3DConditionModel.from_unet2d(prior.unet, **config).eval()
    if temporal is not None:
        load_temporal(unet, temporal)
    return LateNtMoviesPipeline(prior.vae, prior.text_encoder, prior.tokenizer, unet,
                                make_scheduler(prior.scheduler, beta_schedule, scheduler), mask_value)
