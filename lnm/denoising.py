"""How noise becomes a film's latents: guided predictions, frames that are held, windows and continuations.

`lnm.pipeline` says what conditions a film and decodes it; here are the steps in between.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor

from lnm.model import InflatedModel
from lnm.windows import blended, conditions, shared_noise, starts


@dataclass
class Asked:
    """What holds at every step of a call, whichever frames are denoised."""

    steps: int
    fps: torch.Tensor | None
    guidance_scale: float
    rescale: float
    extra: dict[str, Any]  # what the sampler's step takes beside latents
    callback: Any
    tensor_names: list[str]
    mask_value: float
    window: int
    stride: int
    film: torch.Tensor | None = None  # latents (B, C, F, h, w) that the film is begun from in place of noise alone
    begin: int = 0                    # steps that are left out then, from the noisiest on
    condition: str = "still"          # "video": each frame is told of that film's frame, not of the still


class Denoising(InflatedModel):
    """An inflated model that samples latents."""

    _guidance_scale, _num_timesteps = 1.0, 0

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

    # ---------------------------------------------------------------- noise in, latents out

    def _prepare_noise(self, given: torch.Tensor | None, still: torch.Tensor, num_frames: int, drawn: int, stride: int,
                       generator: Any) -> torch.Tensor:
        """Noise of the film (B, C, F, h, w): as given, or drawn for the first `drawn` frames and shared by the rest."""
        films, channels, *size = still.shape
        if given is not None:
            if given.shape != (films, channels, num_frames, *size):
                raise ValueError(f"latents: shape {tuple(given.shape)}, wanted "
                                 f"{(films, channels, num_frames, *size)}")
            return given.to(still)
        drawn = min(drawn, num_frames)
        noise = randn_tensor((films, channels, drawn, *size), generator, still.device, still.dtype)
        return noise if drawn == num_frames else shared_noise(noise, num_frames, stride, generator)

    def _at_once(self, noise: torch.Tensor, stills: dict[int, torch.Tensor], held: dict[int, torch.Tensor],
                 embeds: torch.Tensor, asked: Asked) -> torch.Tensor:
        """Denoise all frames together, by windows that are blended at every step."""
        self._num_timesteps = self._set_timesteps(asked.steps, noise) - asked.begin
        with self.progress_bar(total=self._num_timesteps) as bar:
            return self._denoise(noise, self._told(stills, range(noise.shape[2]), asked), held, embeds, asked, bar)

    def _continue(self, noise: torch.Tensor, stills: dict[int, torch.Tensor], held: dict[int, torch.Tensor],
                  embeds: torch.Tensor, asked: Asked) -> torch.Tensor:
        """Denoise a window after the other; the frames of it that are there already are held as they are."""
        film, done = torch.zeros_like(noise), 0
        begins = starts(noise.shape[2], asked.window, asked.stride)
        self._num_timesteps = self._set_timesteps(asked.steps, noise) - asked.begin
        with self.progress_bar(total=self._num_timesteps * len(begins)) as bar:
            for start in begins:
                frames = range(start, min(start + asked.window, noise.shape[2]))
                known = {f - start: still for f, still in held.items() if f in frames}
                known |= {f - start: film[:, :, f] for f in range(start, done)}
                told = self._told(stills, frames, asked)
                part = asked if asked.film is None else replace(asked, film=asked.film[:, :, start:frames.stop])
                film[:, :, start:frames.stop] = self._denoise(noise[:, :, start:frames.stop], told, known, embeds,
                                                              part, bar)
                done = frames.stop
        return film

    def _told(self, stills: dict[int, torch.Tensor], frames: range, asked: Asked) -> torch.Tensor:
        """What each of `frames` is told of: (B, C, F, h, w)."""
        if asked.film is not None and asked.condition == "video":
            return asked.film[:, :, frames.start:frames.stop]
        return conditions(stills, frames)

    def _set_timesteps(self, steps: int, like: torch.Tensor) -> int:
        """Begin the sampler anew; how many timesteps it has."""
        self.scheduler.set_timesteps(steps, device=like.device)
        return len(self.scheduler.timesteps)

    def _denoise(self, noise: torch.Tensor, stills: torch.Tensor, known: dict[int, torch.Tensor], embeds: torch.Tensor,
                 asked: Asked, bar: Any) -> torch.Tensor:
        """Noise (B, C, F, h, w) -> latents of that shape.

        stills: of that shape, what each frame is told of. known: {frame: its latents (B, C, h, w)}, held: at every step
        they are noised to that step's level, and at the end they are themselves.
        """
        self._guidance_scale = asked.guidance_scale  # a callback may have ended it in a part before
        self._set_timesteps(asked.steps, noise)
        mask = torch.full_like(stills[:, :1], asked.mask_value)
        index = sorted(known)
        fixed = torch.stack([known[f] for f in index], dim=2) if index else noise[:, :, :0]
        timesteps, latents = self.scheduler.timesteps[asked.begin:], noise * self.scheduler.init_noise_sigma
        if asked.film is not None:
            if hasattr(self.scheduler, "set_begin_index"):  # those that count their steps
                self.scheduler.set_begin_index(asked.begin)
            latents = self.scheduler.add_noise(asked.film, noise, timesteps[:1])
        for i, t in enumerate(timesteps):
            if index:
                latents[:, :, index] = self.scheduler.add_noise(fixed, noise[:, :, index], t[None])
            sample = torch.cat([self.scheduler.scale_model_input(latents, t), mask, stills], dim=1)
            predicted = blended(partial(self._predict, t=t, embeds=embeds, fps=asked.fps, rescale=asked.rescale),
                                sample, asked.window, asked.stride)
            latents = self.scheduler.step(predicted, t, latents, **asked.extra).prev_sample
            if asked.callback is not None:
                latents, embeds = self._call_back(asked.callback, asked.tensor_names, i, t, latents, embeds)
            bar.update()
        if index:
            latents[:, :, index] = fixed
        return latents

    def _call_back(self, callback: Any, tensor_names: list[str], i: int, t: torch.Tensor, latents: torch.Tensor,
                   embeds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Show the callback what it asked for, and take what it changed: (latents, text embeddings)."""
        known = {"latents": latents, "prompt_embeds": embeds}
        changed = callback(self, i, t, {k: known[k] for k in tensor_names}) or {}
        given, films = changed.get("prompt_embeds", embeds), len(latents)
        # diffusers' SDCFGCutoffCallback ends guidance and leaves the last film's embeddings: each film keeps its own
        if len(given) == 1 and len(embeds) > films > 1 and torch.equal(given, embeds[-1:]):
            given = embeds[-films:]
        return changed.get("latents", latents), given

    def _predict(self, sample: torch.Tensor, t: torch.Tensor, embeds: torch.Tensor, fps: torch.Tensor | None,
                 rescale: float) -> torch.Tensor:
        """What the U-Net predicts for noisy latents, mask and still (B, 2C+1, F, h, w): (B, C, F, h, w), guided."""
        films, sample = len(sample), sample.to(self.unet.dtype)
        if not self.do_classifier_free_guidance:
            return self.unet(sample, t, embeds.expand(films, -1, -1), fps=fps).sample.float()
        fps = fps if fps is None or len(fps) == 1 else fps.repeat(2)
        both = self.unet(torch.cat([sample, sample]), t, embeds, fps=fps).sample.float()
        unconditional, conditional = both.chunk(2)
        guided = unconditional + self.guidance_scale * (conditional - unconditional)
        if rescale:
            wanted, found = (x.std(dim=(1, 2, 3, 4), keepdim=True) for x in (conditional, guided))
            guided = guided * (rescale * wanted / found + 1 - rescale)
        return guided
