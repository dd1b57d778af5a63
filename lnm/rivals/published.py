"""Published video models by diffusers, where their weights can be had: a function each, and one interface.

    film("svd", still, prompt, num_frames, fps, seed) -> uint8 (num_frames, height, width, 3)

Weights are opened by `from_pretrained(NAME_OR_FOLDER)`, safetensors only. What each was trained for (size, frames a
second, number of frames) is its default here, and what it sees is said: a film made from words alone does not know the
still that ours animates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from lnm.errors import UserError

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"


@dataclass(frozen=True)
class Published:
    """make: of a model that is open, the arguments of its call -> frames. weights: part -> hub name; "checkpoint" is
    what --checkpoint replaces. size: width and height in pixels. fps: frames a second that it was trained at; None: it
    is told. frames: that it was trained at. sees: what a film is made from."""

    open: Callable[..., Any]
    call: Callable[..., dict[str, Any]]
    weights: dict[str, str]
    size: tuple[int, int]
    fps: float | None
    frames: int
    sees: str


# ---------------------------------------------------------------- one function each


def cogvideox(still: np.ndarray, prompt: str, num_frames: int, fps: float, seed: int, **options: Any) -> np.ndarray:
    """CogVideoX from words alone (Yang et al. 2024): the still is not seen. num_frames: 4 k + 1."""
    return film("cogvideox", still, prompt, num_frames, fps, seed, **options)


def cogvideox_i2v(still: np.ndarray, prompt: str, num_frames: int, fps: float, seed: int, **options: Any) -> np.ndarray:
    """CogVideoX from the still and words. num_frames: 4 k + 1."""
    return film("cogvideox_i2v", still, prompt, num_frames, fps, seed, **options)


def svd(still: np.ndarray, prompt: str, num_frames: int, fps: float, seed: int, **options: Any) -> np.ndarray:
    """Stable Video Diffusion (Blattmann et al. 2023) from the still and `fps`: the prompt is not read."""
    return film("svd", still, prompt, num_frames, fps, seed, **options)


def animatediff_sparsectrl(still: np.ndarray, prompt: str, num_frames: int, fps: float, seed: int,
                           **options: Any) -> np.ndarray:
    """AnimateDiff with SparseCtrl (Guo et al. 2024), which is given the still as frame 0. num_frames: at most 32."""
    return film("animatediff_sparsectrl", still, prompt, num_frames, fps, seed, **options)


def pia(still: np.ndarray, prompt: str, num_frames: int, fps: float, seed: int, **options: Any) -> np.ndarray:
    """PIA (Zhang et al. 2024) from the still and words. num_frames: at most 32."""
    return film("pia", still, prompt, num_frames, fps, seed, **options)


# ---------------------------------------------------------------- what they share


def film(name: str, still: np.ndarray, prompt: str, num_frames: int, fps: float, seed: int, *,
         size: tuple[int, int] | None = None, steps: int | None = None, device: str = "cpu",
         **weights: str | None) -> np.ndarray:
    """A film uint8 (num_frames, height, width, 3) by the published model `name` (a key of PUBLISHED).

    still: uint8 (H, W, 3), cut around its centre to the film's size. fps: told to the models that take it. size: width
    and height; None: what the model was trained at. steps: of denoising; None: the pipeline's own number. weights: a
    hub name or folder in the place of `PUBLISHED[name].weights`, by part. Raises UserError, one line, for weights that
    are not to be had and for what the model cannot film.
    """
    one = PUBLISHED[name]
    unknown = set(weights) - set(one.weights)
    if unknown:
        raise UserError(f"{name}: it has no part {min(unknown)}; there is {', '.join(one.weights)}")
    pipe = _opened(name, one, one.weights | {part: where for part, where in weights.items() if where}, device)
    width, height = size or one.size
    image = ImageOps.fit(Image.fromarray(still), (width, height), Image.Resampling.LANCZOS)
    arguments = {"width": width, "height": height, "num_frames": num_frames, **one.call(image, prompt, fps)}
    if steps is not None:
        arguments["num_inference_steps"] = steps
    return _sampled(pipe, name, num_frames, seed, arguments)


def _opened(name: str, one: Published, weights: dict[str, str], device: str) -> Any:
    """The model's pipeline on a device; on a GPU in half precision, one part there at a time."""
    import torch

    dtype = torch.float32 if device == "cpu" else torch.bfloat16 if name.startswith("cogvideox") else torch.float16
    try:
        pipe = one.open(weights, {"torch_dtype": dtype, "use_safetensors": True})
    except Exception as error:  # the hub client, diffusers and transformers raise many kinds
        reason = (str(error).splitlines() or [""])[0][:100]
        where = ", ".join(f"{part} {place}" for part, place in weights.items())
        raise UserError(f"{name}: its weights are not to be had ({where}): {type(error).__name__}: {reason}; fetch "
                        "them where the model hub is in reach and give their folder (--checkpoint)") from None
    if device == "cpu":
        return pipe
    pipe.enable_model_cpu_offload(device=device)
    return pipe


def _sampled(pipe: Any, name: str, num_frames: int, seed: int, arguments: dict[str, Any]) -> np.ndarray:
    import torch

    pipe.set_progress_bar_config(desc=f"sampling {name}")
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)  # some draw the still's latents without the generator
            frames = pipe(**arguments, output_type="np", generator=torch.Generator("cpu").manual_seed(seed)).frames[0]
    except (ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [""])[0][:160]
        raise UserError(f"{name}: it cannot film this ({reason}); it was trained at {PUBLISHED[name].frames} frames of "
                        f"{'x'.join(map(str, PUBLISHED[name].size))} pixels") from None
    return np.round(np.asarray(frames)[:num_frames] * 255).astype(np.uint8)


def _whole(pipeline: str) -> Callable[..., Any]:
    """Opens a pipeline that is one folder."""
    def opened(weights: dict[str, str], options: dict[str, Any]) -> Any:
        import diffusers

        return getattr(diffusers, pipeline).from_pretrained(weights["checkpoint"], **options)

    return opened


def _with_motion(pipeline: str, controlled: bool) -> Callable[..., Any]:
    """Opens a motion adapter, and a control network, on a Stable Diffusion checkpoint, with AnimateDiff's schedule."""
    def opened(weights: dict[str, str], options: dict[str, Any]) -> Any:
        import diffusers

        parts = {"motion_adapter": diffusers.MotionAdapter.from_pretrained(weights["adapter"], **options)}
        if controlled:
            parts["controlnet"] = diffusers.SparseControlNetModel.from_pretrained(weights["controlnet"], **options)
        pipe = getattr(diffusers, pipeline).from_pretrained(weights["checkpoint"], **parts, **options)
        pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config, beta_schedule="linear",
                                                             clip_sample=False, timestep_spacing="linspace")
        return pipe

    return opened


def _svd(image: Any, prompt: str, fps: float) -> dict[str, Any]:
    return {"image": image, "fps": round(fps), "decode_chunk_size": 4}


def _given(image: Any, prompt: str, fps: float) -> dict[str, Any]:
    return {"image": image, "prompt": prompt}


def _words(image: Any, prompt: str, fps: float) -> dict[str, Any]:
    return {"prompt": prompt}


def _sparse(image: Any, prompt: str, fps: float) -> dict[str, Any]:
    return {"prompt": prompt, "conditioning_frames": [image], "controlnet_frame_indices": [0]}


PUBLISHED = {
    "cogvideox": Published(_whole("CogVideoXPipeline"), _words, {"checkpoint": "THUDM/CogVideoX-5b"}, (720, 480), 8.0,
                           49, "words"),
    "cogvideox_i2v": Published(_whole("CogVideoXImageToVideoPipeline"), _given,
                               {"checkpoint": "THUDM/CogVideoX-5b-I2V"}, (720, 480), 8.0, 49, "the still, words"),
    "svd": Published(_whole("StableVideoDiffusionPipeline"), _svd,
                     {"checkpoint": "stabilityai/stable-video-diffusion-img2vid-xt"}, (1024, 576), None, 25,
                     "the still, frames a second"),
    "animatediff_sparsectrl": Published(
        _with_motion("AnimateDiffSparseControlNetPipeline", True), _sparse,
        {"checkpoint": SD15, "adapter": "guoyww/animatediff-motion-adapter-v1-5-3",
         "controlnet": "guoyww/animatediff-sparsectrl-rgb"}, (512, 512), 8.0, 16, "the still, words"),
    "pia": Published(_with_motion("PIAPipeline", False), _given,
                     {"checkpoint": SD15, "adapter": "openmmlab/PIA-condition-adapter"}, (512, 512), 8.0, 16,
                     "the still, words"),
}
