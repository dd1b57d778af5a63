"""LateNtMoviesPipeline: a still, a prompt and an fps in; frames out. In diffusers' form."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.utils import BaseOutput
from einops import rearrange
from PIL import Image

from lnm.arguments import check_choices, check_film, check_size
from lnm.checkpoint import HUB
from lnm.decoder import (
    decode_chunks,
    has_temporal_decoder,
    load_decoder,
    plain_decoder,
    remove_temporal_decoder,
    save_decoder,
)
from lnm.denoising import Asked, Denoising
from lnm.hub import DECODER_FILE, locate_decoder
from lnm.images import to_pixels
from lnm.latents import encode_pixels
from lnm.settings import steps_of
from lnm.windows import stride_of


@dataclass
class LateNtMoviesPipelineOutput(BaseOutput):
    """`frames`: (B, F, H, W, 3) in [0, 1] for "np", (B, F, 3, H, W) for "pt", B lists of F images for "pil",
    latents (B, C, F, h, w) for "latent"; float32, on the CPU but for latents. For "uint8" (B, F, H, W, 3) of 0 to 255,
    rounded to nearest: a quarter of the memory, and floats of a few frames at a time alone."""

    frames: Any


class LateNtMoviesPipeline(Denoising):
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

    # the parameters of `InflatedModel`, which diffusers reads here, and the name of a file beside the autoencoder's
    # folder that `save_pretrained` left: only so it is found by whichever way a saved pipeline is opened
    def __init__(self, vae, text_encoder, tokenizer, unet, scheduler, mask_value=1.0,  # type: ignore[no-untyped-def]
                 learned=None, temporal_decoder=None):
        super().__init__(vae, text_encoder, tokenizer, unet, scheduler, mask_value, learned)
        self.register_to_config(temporal_decoder=temporal_decoder)
        if temporal_decoder is not None:
            load_decoder(vae, Path(vae.config._name_or_path).parent / temporal_decoder)

    # ---------------------------------------------------------------- a decoder in time

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, temporal: Path | str | None = None, *,
                        temporal_decoder: Path | str | None = None, conv_placement: str = "all",
                        widen: bool = False, lora: Path | str | None = None, lora_scale: float = 1.0,
                        strict: bool = True, **kwargs: Any) -> Self:
        """As `InflatedModel.from_pretrained`, with a decoder in time.

        temporal_decoder: a file, "lnm-mini-decoder" or a hub name (`load_temporal_decoder`); without it frames are
        decoded one by one, or, of a saved pipeline, as it was saved. Raises UserError, before anything is opened, for
        one that is not to be had.
        """
        hub = {name: kwargs[name] for name in HUB if name in kwargs}
        decoder = None if temporal_decoder is None else locate_decoder(temporal_decoder, **hub)
        pipe = super().from_pretrained(pretrained_model_name_or_path, temporal, conv_placement=conv_placement,
                                       widen=widen, lora=lora, lora_scale=lora_scale, strict=strict, **kwargs)
        if decoder is not None:
            pipe.load_temporal_decoder(decoder)
        return pipe

    @classmethod
    def _open_saved(cls, name: Any, **kwargs: Any) -> Self:
        hub = {k: kwargs[k] for k in (*HUB, "revision") if k in kwargs}
        if "vae" in kwargs:  # the saved decoder in time is not for another autoencoder
            kwargs.setdefault("temporal_decoder", None)
        elif cls.load_config(name, **hub).get("temporal_decoder") and not Path(name).is_dir():
            locate_decoder(name, **hub)  # into the cache, beside what diffusers fetches
        return super()._open_saved(name, **kwargs)

    def save_pretrained(self, save_directory: Path | str, *args: Any, **kwargs: Any) -> None:
        """As `InflatedModel.save_pretrained`. The autoencoder is saved as diffusers knows it; a decoder in time lies
        beside it, in a file of its own."""
        file, has = Path(save_directory) / DECODER_FILE, has_temporal_decoder(self.vae)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        if has:
            save_decoder(self.vae, file)
        self.register_to_config(temporal_decoder=DECODER_FILE if has else None)
        with plain_decoder(self.vae):
            super().save_pretrained(save_directory, *args, **kwargs)

    def load_temporal_decoder(self, temporal_decoder: Path | str, revision: str | None = None,
                              **hub: Any) -> dict[str, Any]:
        """Decode films by a decoder in time from now on: its temporal layers go into the pipeline's autoencoder.

        temporal_decoder: a path, "lnm-mini-decoder", or a hub name (USER/REPOSITORY; revision, hub: as
        `lnm.hub.locate_decoder` takes them). Returns the file's notes. Raises UserError for a file that cannot be had,
        is none or was trained on another autoencoder; nothing is changed then.
        """
        return load_decoder(self.vae, locate_decoder(temporal_decoder, revision, **hub))

    def unload_temporal_decoder(self) -> None:
        """Decode each frame by itself again; the autoencoder is what it was before `load_temporal_decoder`."""
        remove_temporal_decoder(self.vae)

    # ---------------------------------------------------------------- the pieces

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
        """(B, C, F, h, w) -> (B, F, 3, H, W) in [0, 1], float32 on the CPU; film by film, `chunk_size` frames at a
        time (`lnm.decoder.decode_chunks`), so that memory stays flat."""
        return torch.stack([torch.cat(list(self._decoded(film, chunk_size))) for film in latents])

    @torch.no_grad()
    def _decoded(self, film: torch.Tensor, chunk_size: int) -> Iterator[torch.Tensor]:
        """One film's latents (C, F, h, w) -> its frames, some at a time: (n, 3, H, W) in [0, 1], float32 on the CPU."""
        frames = (rearrange(film, "c f h w -> f c h w") / self.vae.config.scaling_factor).to(self.vae.dtype)
        for part in decode_chunks(self.vae, frames, chunk_size):
            yield (part.float().cpu() / 2 + 0.5).clamp(0, 1)

    # ---------------------------------------------------------------- the film

    @torch.no_grad()
    def __call__(self, image: Any = None, prompt: str | list[str] | None = None,
                 negative_prompt: str | list[str] | None = "",
                 num_frames: int = 16, fps: float | list[float] | None = None, num_inference_steps: int = 15,
                 guidance_scale: float = 1.0, guidance_rescale: float = 0.0, num_videos_per_prompt: int = 1,
                 generator: Any = None, latents: torch.Tensor | None = None, prompt_embeds: torch.Tensor | None = None,
                 negative_prompt_embeds: torch.Tensor | None = None, image_latents: torch.Tensor | None = None,
                 mask_value: float | None = None, first_frame: str = "free", height: int | None = None,
                 width: int | None = None, eta: float = 0.0, decode_chunk_size: int = 8, output_type: str = "np",
                 return_dict: bool = True, callback_on_step_end: Any = None,
                 callback_on_step_end_tensor_inputs: list[str] | None = None,
                 stills: dict[int, Any] | None = None, last_image: Any = None, long: str = "windows", window: int = 16,
                 window_stride: int | None = None, noise: str = "independent", video: Any = None,
                 video_latents: torch.Tensor | None = None, strength: float = 0.4, condition: str = "still") -> Any:
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
        stills: {frame: image}, further stills, at any frame; last_image: one at the last. They are held: the frame is
        the still. So is a frame 0 among them, which stands in image's place. Between two, a frame is told of both.
        window: frames that the U-Net sees at once, what it was trained on or a little more. A longer film is made by
        long: "windows" that begin `window_stride` frames apart, blended at every step; "continue", each window begun
        from the frames that it has in common with the one before (a callback sees one at a time); or "whole", all at
        once. window_stride: None, see `lnm.windows.stride_of`. noise: "independent", or "shared", the first window's
        again and again in another order (FreeNoise).
        video: a film that this one is begun from in place of noise alone (SDEdit, Meng et al. 2022): frames as
        `lnm.images.to_pixels` takes stills; or `video_latents` (1 or B, C, F, h, w), scaled. strength: in (0, 1], the
        share of the steps that is taken; its frames are noised to the first of those. 1 leaves nothing of them.
        condition: what each frame is told of, the "still" (where there are several, those beside it), or the frame of
        the "video" that it is begun from; stills are held all the same.
        Between the models latents are float32, so that a seed gives much the same film in every precision.
        Returns LateNtMoviesPipelineOutput, or a tuple. Raises ValueError, one line naming the argument, for what cannot
        be sampled.
        """
        if isinstance(callback_on_step_end, PipelineCallback | MultiPipelineCallbacks):
            callback_on_step_end_tensor_inputs = callback_on_step_end.tensor_inputs
        tensor_names = callback_on_step_end_tensor_inputs or ["latents"]
        mask_value = self.config.mask_value if mask_value is None else mask_value
        prompts = check_film(
            image=image, image_latents=image_latents, height=height, width=width, step=self.vae_scale_factor,
            channels=self.unet.config.out_channels, prompt=prompt, prompt_embeds=prompt_embeds,
            negative_prompt=negative_prompt, negative_prompt_embeds=negative_prompt_embeds, generator=generator,
            fps=fps, num_frames=num_frames, num_inference_steps=num_inference_steps,
            num_videos_per_prompt=num_videos_per_prompt,
            guidance_rescale=guidance_rescale, mask_value=mask_value, first_frame=first_frame, output_type=output_type,
            stills=stills, last_image=last_image, long=long, window=window, window_stride=window_stride, noise=noise,
            video=video, video_latents=video_latents, strength=strength, condition=condition)
        check_choices("callback_on_step_end_tensor_inputs", tensor_names, self._callback_tensor_inputs)
        self._guidance_scale = guidance_scale
        films = prompts * num_videos_per_prompt

        # 1. what conditions: prompt and stills
        embeds = self._prepare_embeds(prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, prompts,
                                      num_videos_per_prompt)
        told = self._prepare_stills(image, image_latents, {**(stills or {}), **(
            {} if last_image is None else {num_frames - 1: last_image})}, height, width, films, num_videos_per_prompt)
        held = {frame: still for frame, still in told.items()
                if first_frame == "clamp" or frame or frame in (stills or {})}
        first = next(iter(told.values()))
        fps = None if fps is None else torch.as_tensor(fps, dtype=torch.float32, device=first.device).flatten()

        # 2. noise
        stride = stride_of(long, window, window_stride)
        drawn = self._prepare_noise(latents, first, num_frames, window if noise == "shared" else num_frames, stride,
                                    generator)

        # 3. denoise, all frames together or continuation by continuation
        taken = inspect.signature(self.scheduler.step).parameters
        extra = {k: v for k, v in (("eta", eta), ("generator", generator)) if k in taken}
        film = self._prepare_film(video, video_latents, drawn)
        asked = Asked(num_inference_steps, fps, guidance_scale, guidance_rescale, extra, callback_on_step_end,
                      tensor_names, mask_value, num_frames if long == "whole" else window, stride, film,
                      0 if film is None else num_inference_steps - steps_of(num_inference_steps, strength), condition)
        latents = (self._continue if long == "continue" else self._at_once)(drawn, told, held, embeds, asked)

        # 4. frames
        frames = self._output(latents, output_type, decode_chunk_size)
        self.maybe_free_model_hooks()
        return LateNtMoviesPipelineOutput(frames=frames) if return_dict else (frames,)

    def _prepare_embeds(self, prompt: Any, negative_prompt: Any, prompt_embeds: torch.Tensor | None,
                        negative_prompt_embeds: torch.Tensor | None, prompts: int, copies: int) -> torch.Tensor:
        """Text embeddings of the films (B, L, D); under guidance the negative ones stand before them (2B, L, D)."""
        def ready(embeds: torch.Tensor) -> torch.Tensor:
            return embeds.to(self._execution_device, self.unet.dtype).repeat_interleave(copies, dim=0)

        if prompt_embeds is None:
            prompt_embeds = self.encode_prompt([prompt] if isinstance(prompt, str) else prompt)
        if not self.do_classifier_free_guidance:
            return ready(prompt_embeds)
        if negative_prompt_embeds is None:
            alike = isinstance(negative_prompt, str | None)  # None is diffusers' own default: an empty prompt
            negative = [negative_prompt or ""] * prompts if alike else negative_prompt
            negative_prompt_embeds = self.encode_prompt(negative)
        return torch.cat([ready(negative_prompt_embeds), ready(prompt_embeds)])

    def _prepare_stills(self, image: Any, image_latents: torch.Tensor | None, more: dict[int, Any], height: int | None,
                        width: int | None, films: int, copies: int) -> dict[int, torch.Tensor]:
        """{frame: its still's latents, never blanked (B, C, h, w)}, the first one's size for all of them."""
        given = dict(sorted(more.items())) if image is None and image_latents is None else {0: image, **more}
        found: dict[int, torch.Tensor] = {}
        for frame, picture in given.items():
            name = f"stills: frame {frame}" if frame in more else "image"
            if found:
                height, width = (side * self.vae_scale_factor for side in next(iter(found.values())).shape[-2:])
            still = self.encode_image(picture, height, width) if name != "image" or image_latents is None else (
                image_latents)
            still = still.to(self._execution_device, torch.float32)
            if len(still) not in (1, films // copies):
                raise ValueError(f"{name}: {len(still)} stills for {films // copies} prompts; give one, or one a "
                                 "prompt")
            found[frame] = (still.expand(films, -1, -1, -1) if len(still) == 1
                            else still.repeat_interleave(copies, dim=0))
        return found

    def _prepare_film(self, video: Any, video_latents: torch.Tensor | None, noise: torch.Tensor) -> torch.Tensor | None:
        """Latents of the film that is begun from, of the noise's shape; None where there is none."""
        if video is None and video_latents is None:
            return None
        if video_latents is None:
            height, width = (side * self.vae_scale_factor for side in noise.shape[-2:])
            video_latents = rearrange(self.encode_image(video, height, width), "f c h w -> 1 c f h w")
        if video_latents.shape[1:] != noise.shape[1:] or len(video_latents) not in (1, len(noise)):
            raise ValueError(f"video: latents of shape {tuple(video_latents.shape)}, wanted {tuple(noise.shape)}; give "
                             f"{noise.shape[2]} frames of the film's size")
        return video_latents.to(noise).expand_as(noise)

    def _output(self, latents: torch.Tensor, output_type: str, chunk_size: int) -> Any:
        if output_type == "latent":
            return latents
        if output_type == "uint8":
            return self._bytes(latents, chunk_size)
        frames = self.decode_latents(latents, chunk_size)  # (B, F, 3, H, W)
        if output_type == "pt":
            return frames
        frames = frames.permute(0, 1, 3, 4, 2).numpy()
        return frames if output_type == "np" else [[Image.fromarray(f) for f in to_uint8(film)] for film in frames]

    def _bytes(self, latents: torch.Tensor, chunk_size: int) -> np.ndarray:
        """Latents -> uint8 (B, F, H, W, 3), a chunk of frames in floats at a time."""
        films, _, count, height, width = latents.shape
        step = self.vae_scale_factor
        out = np.empty((films, count, height * step, width * step, 3), np.uint8)
        for film, own in zip(out, latents, strict=True):
            done = 0
            for part in self._decoded(own, chunk_size):
                film[done:done + len(part)] = to_uint8(part.permute(0, 2, 3, 1).numpy())
                done += len(part)
        return out


def to_uint8(frames: np.ndarray) -> np.ndarray:
    """[0, 1] -> uint8, rounded to nearest."""
    return np.round(frames * 255).astype(np.uint8)
