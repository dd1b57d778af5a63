"""What a fine-tune and its films will take, before anything starts: memory and time.

Memory is first counted, not allocated: U-Net and autoencoder are run on tensors without content (torch's
FakeTensorMode), forward and backward, and the bytes of all that is alive are added up. What libraries and the allocator
take for themselves, on a CPU as much again, is not seen so; where the count fits, a step of training and one of
sampling are taken there and then with random weights, and time and highest mark are theirs.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC, AutoencoderKL
from diffusers.models.attention_processor import AttnProcessor
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lnm.batches import make_optimizer
from lnm.checkpoint import WEIGHTS, locate
from lnm.decoder import CONTEXT, add_temporal_decoder
from lnm.devices import sampling_dtypes
from lnm.errors import UserError
from lnm.latents import encode_pixels
from lnm.meter import Live, Peak
from lnm.precision import HALF, HalfFrozen
from lnm.runs import precision
from lnm.settings import Finetune, Sample
from lnm.unet import UNetPseudo3DConditionModel
from lnm.validation import GRID, POSITIONS
from lnm.weights import count, free_memory, head
from lnm.windows import starts, stride_of

CHUNK = 8  # frames that the autoencoder takes at once, where memory is not low


@dataclass
class Memory:
    """Bytes at the worst moment of each step, weights of all models included."""

    prepare: int
    finetune: int
    sample: int

    @property
    def most(self) -> int:
        return max(self.prepare, self.finetune, self.sample)


@dataclass
class Taken:
    """Seconds and bytes of a whole fine-tune and film, by steps that were taken; bytes are None where they cannot be
    measured."""

    finetune_seconds: float
    film_seconds: float
    finetune_bytes: int | None
    film_bytes: int | None


class Forecast:
    """Of one checkpoint, device and size: `memory`, counted, and what `take` measures of a fine-tune and a film.

    checkpoint, revision: as `lnm.open_checkpoint` takes them, but for a single file, which says too little of itself.
    size: of the film, pixels, (width, height). low: as `memory: low` has it. Raises UserError for a checkpoint that is
    not here.
    """

    def __init__(self, checkpoint: str, revision: str | None, device: str, size: tuple[int, int], settings: Finetune,
                 sample: Sample, low: bool = False):
        self.folder = locate(checkpoint, revision, local_files_only=True)  # a forecast downloads nothing
        self.device, self.size, self.sample, self.low = torch.device(device), size, sample, low
        of_films = sampling_dtypes(sample.dtype, self.device)
        self.dtype, self.vae_dtype = of_films["dtype"], of_films["vae_dtype"]
        self.begun, self.in_time = sample.begin == "flow", sample.decoder() is not None  # the film, and how decoded
        self.settings = settings.model_copy(update={"gradient_checkpointing": True}) if low else settings
        self.unet = {k: v for k, v in _config(self.folder, "unet").items() if not k.startswith("_")}
        self.tokens = _config(self.folder, "text_encoder")["max_position_embeddings"]
        self.weights = {part: _numbers(self.folder, part) for part in WEIGHTS}
        self.half = HALF.get(precision(settings, self.device))
        with torch.device("meta"):
            step = self._vae().spatial_compression_ratio if self._deep() else 2 ** (
                len(_config(self.folder, "vae")["block_out_channels"]) - 1)
        self.latents = (size[1] // step, size[0] // step)  # height, width

    def findings(self) -> list[dict[str, Any]]:
        """Memory and time as `lnm.preflight.check` has its findings: {"name", "ok", "value", "say"}. What would not fit
        is not tried. value: bytes at most; seconds of (a fine-tune, a film)."""
        memory, free = self.memory(), free_memory(str(self.device))
        taken = self.take() if memory.most < free else None
        if taken:
            memory = Memory(memory.prepare, taken.finetune_bytes or memory.finetune, taken.film_bytes or memory.sample)
        fits = memory.most < free
        each = ", ".join(f"{name} {getattr(memory, name) / 1e9:.2f}" for name in ("prepare", "finetune", "sample"))
        said = (f"{memory.most / 1e9:.2f} GB at most on {self.device} ({each}), beside the program's own; "
                f"{free / 1e9:.1f} GB are free")
        fix = "" if fits else (": a smaller size or fewer frames are needed." if self.low else ": try --memory low.")
        found = [{"name": "memory", "ok": fits, "value": memory.most, "say": said + (fix or ".")}]
        if taken:
            most = "At most" if self.settings.steps == "auto" else "About"
            training, film = _duration(taken.finetune_seconds), _duration(taken.film_seconds)
            found.append({"name": "time", "ok": True, "value": (taken.finetune_seconds, taken.film_seconds),
                          "say": f"{most} {training} for a fine-tune of {self.settings.ceiling} steps and about {film} "
                                 f"for a film of {self.sample.num_frames} frames, by a step of each taken now."})
        return found

    # ---------------------------------------------------------------- memory

    def memory(self) -> Memory:
        """Counted; nothing is allocated."""
        whole, vae = sum(self.weights.values()), self.weights["vae"]
        films = self.dtype.itemsize * (whole - vae) + self.vae_dtype.itemsize * vae
        pixels = torch.Size((1 if self.low else CHUNK, 3, self.size[1], self.size[0]))
        encoding = self._of_vae(lambda vae: vae.encode(torch.randn(pixels)), torch.float32)
        decoding = self._of_vae(self._decode, self.vae_dtype)
        if self.begun:
            decoding = max(decoding, self._of_vae(self._encode, self.vae_dtype))
        step, temporal = self._of_unet(train=True)
        film, _ = self._of_unet(train=False)
        settings = self.settings
        states = (1 if settings.optimizer == "lion" else 2) + (settings.ema is not None) + (settings.steps == "auto")
        beside = self.weights["vae"] + (0 if self.low else self.weights["text_encoder"])
        on_gpu = self.half is not None and self.device.type != "cpu"
        frozen = self.weights["unet"] * (2 if on_gpu else 4)
        return Memory(prepare=4 * whole + encoding,
                      finetune=4 * beside + frozen + temporal * (1 + states) + step,
                      sample=films + self.dtype.itemsize * temporal // 4 + max(film, decoding))

    def _of_unet(self, train: bool) -> tuple[int, int]:
        """(bytes that one step adds to the weights, bytes of the temporal layers in float32)."""
        settings = self.settings
        clips = settings.batch_size if train else 2 if self.sample.guidance_scale > 1 else 1
        frames = settings.frames if train else self.sample.at_once
        half = self.half if train else None
        dtype = torch.float32 if train else self.dtype
        with torch.device("meta"):
            unet = self._inflated()
        temporal = 4 * sum(p.numel() for p in unet.temporal_parameters().values())
        with FakeTensorMode(), torch.device(self.device):
            unet = _filled(unet, dtype).train(train)
            self._as_trained(unet) if train else unet.requires_grad_(False)
            if half and self.device.type != "cpu":
                HalfFrozen(unet, half)
            with Live() as live, torch.set_grad_enabled(train):
                sample, text = self._clip(clips, frames, dtype)
                with torch.autocast(self.device.type, half, enabled=half is not None):
                    predicted = unet(sample, torch.full((clips,), 500), text, fps=torch.full((clips,), 8.0)).sample
                if train:
                    F.mse_loss(predicted.float(), torch.zeros_like(predicted, dtype=torch.float32)).backward()
        return live.most, temporal

    def _inflated(self) -> UNetPseudo3DConditionModel:
        return UNetPseudo3DConditionModel(**self.unet, conv_placement=self.settings.conv_placement)

    def _as_trained(self, unet: UNetPseudo3DConditionModel) -> None:
        """As `lnm.training.Trainer` sets a U-Net up."""
        unet.freeze_spatial()
        if self.settings.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        if self.device.type == "cpu" and self.half == torch.bfloat16:
            unet.set_attn_processor(AttnProcessor())

    def _clip(self, clips: int, frames: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
        """Noise in the place of latents, mask and still, and of text."""
        channels, width = 2 * self.unet["out_channels"] + 1, self.unet["cross_attention_dim"]
        return (torch.randn(clips, channels, frames, *self.latents, dtype=dtype, device=self.device),
                torch.randn(clips, self.tokens, width, dtype=dtype, device=self.device))

    def _deep(self) -> bool:
        return _config(self.folder, "vae").get("_class_name") == "AutoencoderDC"

    def _vae(self) -> Any:
        config = {k: v for k, v in _config(self.folder, "vae").items() if not k.startswith("_")}
        return (AutoencoderDC if self._deep() else AutoencoderKL)(**config).eval()

    def _of_vae(self, run: Any, dtype: torch.dtype) -> int:
        """Bytes that one call of the autoencoder adds."""
        with torch.device("meta"):
            vae = self._decoder()
        with FakeTensorMode(), torch.device(self.device), torch.no_grad():
            vae = _filled(vae, dtype)
            with Live() as live:
                run(vae)
        return live.most

    def _decode(self, vae: Any) -> torch.Tensor:
        """The longest chunk of a film, decoded; with a decoder in time, between the frames beside it."""
        frames = self.sample.num_frames
        length = 1 if self.low else min(CHUNK, frames)
        if self.in_time:
            length = max(min(frames, start + CHUNK + CONTEXT) - max(0, start - CONTEXT)
                         for start in range(0, frames, CHUNK))
            vae.decoder.frames.value, vae.use_slicing = length, False
        latents = torch.randn(length, self.unet["out_channels"], *self.latents, dtype=vae.dtype, device=self.device)
        return vae.decode(latents).sample

    def _encode(self, vae: Any) -> torch.Tensor:
        """The longest chunk of a film that another is begun from, encoded."""
        length = 1 if self.low else min(CHUNK, self.sample.num_frames)
        pixels = torch.randn(length, 3, self.size[1], self.size[0], dtype=vae.dtype, device=self.device)
        return encode_pixels(vae, pixels)

    # ---------------------------------------------------------------- time

    def take(self) -> Taken:
        """A step of training, one of sampling, and a chunk of a film decoded, or of the film that it is begun from
        encoded, here and now, with random weights. A fine-tune by `steps: auto` may end sooner."""
        film_seconds, film = self._take_film()
        seconds, training = self._take_training()
        beside = self.weights["vae"] + (0 if self.low else self.weights["text_encoder"])
        text = self.dtype.itemsize * self.weights["text_encoder"]
        return Taken(seconds, film_seconds, training and training + 4 * beside, film and film + text)

    def _take_film(self) -> tuple[float, int | None]:
        """Seconds of a film, and bytes held at most, the text encoder left out."""
        sample = self.sample
        with Peak(self.device) as peak, torch.no_grad():
            unet = self._random(self._inflated, self.dtype).eval()
            vae = self._random(self._decoder, self.vae_dtype)
            clip = self._clip(2 if sample.guidance_scale > 1 else 1, sample.at_once, self.dtype)
            for _ in range(2):  # the second as a second film is: on a heap that the first has left
                step = self._time(lambda: unet(clip[0], 500, clip[1], fps=8.0))
                decoded = self._time(lambda: self._decode(vae))
                encoded = self._time(lambda: self._encode(vae)) if self.begun else 0.0
        singly = -(-sample.num_frames // (1 if self.low else CHUNK))
        chunks = -(-sample.num_frames // CHUNK) if self.in_time else singly
        stride = stride_of(sample.long, sample.window, sample.window_stride)
        windows = len(starts(sample.num_frames, sample.at_once, stride))
        again = singly * (encoded + decoded) if sample.restores else 0.0  # what it is begun from, for its detail
        return windows * step * sample.steps_taken + chunks * decoded + singly * encoded + again, peak.bytes

    def _take_training(self) -> tuple[float, int | None]:
        """Seconds of a fine-tune, and bytes held at most, text encoder and autoencoder left out."""
        settings = self.settings
        with Peak(self.device) as peak:
            unet = self._random(self._inflated, torch.float32).train()
            self._as_trained(unet)
            step, look = self._time_training(unet)
        looks = settings.ceiling // settings.validate_every + 1 if settings.steps == "auto" else 0
        ways = 2 if 0 < settings.carried < 1 else 1  # in which a frame is told, and looked at
        return settings.ceiling * (step + self._time_carried()) + looks * GRID * POSITIONS * ways * look, peak.bytes

    def _time_carried(self) -> float:
        """Seconds that encoding what frames are told of adds to a step; the flow is not counted."""
        settings = self.settings
        if not settings.carried:
            return 0.0
        vae = self._random(self._vae, torch.float32)
        pixels = torch.randn(1, 3, self.size[1], self.size[0], device=self.device)
        with torch.no_grad():
            taken = self._time(lambda: encode_pixels(vae, pixels))
        return settings.carried * settings.batch_size * settings.frames * taken

    def _decoder(self) -> Any:
        """The autoencoder, with temporal layers where the film's decoder has them."""
        vae = self._vae()
        if self.in_time:
            add_temporal_decoder(vae)
        if self.low:
            vae.enable_slicing()
            vae.enable_tiling()
        return vae

    def _random(self, make: Any, dtype: torch.dtype) -> Any:
        """A model with small random weights on the device."""
        with torch.device("meta"):
            model = make()
        with torch.device(self.device), torch.no_grad():
            for p in _filled(model, dtype).parameters():
                p.normal_(0, 0.02)
        return model

    def _time_training(self, unet: UNetPseudo3DConditionModel) -> tuple[float, float]:
        """Seconds of a step of training, and of a look at one held-out sample."""
        settings = self.settings
        trained = unet.temporal_parameters()
        if self.half and self.device.type != "cpu":
            HalfFrozen(unet, self.half)
        averages = {k: p.detach().clone() for k, p in trained.items()} if settings.ema is not None else {}
        best = {k: p.detach().clone() for k, p in trained.items()} if settings.steps == "auto" else {}
        optimizer = make_optimizer(trained, settings)
        sample, text = self._clip(settings.batch_size, settings.frames)

        def forward(clips: int) -> torch.Tensor:
            with torch.autocast(self.device.type, self.half, enabled=self.half is not None):
                return unet(sample[:clips], 500, text[:clips], fps=8.0).sample.float()

        def step() -> None:
            forward(settings.batch_size).square().mean().backward()
            nn.utils.clip_grad_norm_(trained.values(), settings.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        taken = self._time(step, 5)
        with torch.no_grad():
            look = self._time(lambda: forward(1)) if settings.steps == "auto" else 0.0
        del averages, best  # held as the fine-tune holds them
        return taken, look

    def _time(self, run: Any, times: int = 2) -> float:
        """The median of the seconds of some calls, after one that is not counted."""
        taken = []
        for _ in range(times + 1):
            self._wait()
            start = time.perf_counter()
            run()
            self._wait()
            taken.append(time.perf_counter() - start)
        return statistics.median(taken[1:])

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def findings(checkpoint: str, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
    """`Forecast(...).findings()`; of a checkpoint that is not here, one finding that says so."""
    try:
        ahead = Forecast(checkpoint, *args, **kwargs)
    except UserError as error:
        return [{"name": "memory", "ok": True, "value": None, "say": f"Not forecast: {error}."}]
    return ahead.findings()


def _duration(seconds: float) -> str:
    """Seconds in words a person would use."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _config(folder: Path, part: str) -> dict[str, Any]:
    return json.loads((folder / part / "config.json").read_text(encoding="utf-8"))


def _numbers(folder: Path, part: str) -> int:
    """How many numbers a model's weights are: of plain files, or of the half-precision ones where there are no others;
    nothing is read but the heads."""
    files = sorted((folder / part).glob("*.safetensors"))
    plain = [file for file in files if ".fp16." not in file.name] or files
    return sum(count(head(file).values()) for file in plain)


def _filled(model: Any, dtype: torch.dtype) -> Any:
    """A model of the meta device with tensors of the mode and device that are on now, of no content."""
    for module in model.modules():
        for store in (module._parameters, module._buffers):
            for name, value in store.items():
                if value is not None:
                    kind = dtype if value.is_floating_point() else value.dtype
                    fresh = torch.empty(value.shape, dtype=kind)
                    store[name] = nn.Parameter(fresh) if isinstance(value, nn.Parameter) else fresh
    return model
