"""Each gain of the method by itself: as it is beside the same without it, with the gain measured or owed.

    python -m benchmarks.gains [--quick] [--device cpu|cuda] [--size default|sd15] [--rounds 7] [--json FILE]
    python -m benchmarks.gains --only decoding encoding --json FILE      # these anew; FILE's other rows stay
    python -m benchmarks.gains --table FILE      # the docs' table of such a file

One thing is switched off at a time. Time: rounds take turns, a figure is the median over rounds of the ratio within a
round, without over with; with one thread the clock is the process's own. Memory: without over with of what is held at
most, weights included; on a CPU the bytes of all tensors that are alive at once, on a GPU what it counts itself. What a
CPU cannot tell (it is not waited for, it launches nothing, many compute in no half precision) is owed there.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderDC, AutoencoderKL, UNet2DConditionModel
from torch import nn

from benchmarks import speed_models as models
from benchmarks.options import ended, parsed
from benchmarks.speed import machine, stopwatch
from benchmarks.speed_gpu import FRAMES, VAE, trainer
from lnm import latents, lion, pseudo3d
from lnm.batches import make_optimizer
from lnm.devices import half_precision, pick_device
from lnm.errors import UserError
from lnm.files import builtin
from lnm.meter import Live
from lnm.settings import Finetune
from lnm.unet import UNetPseudo3DConditionModel

WINDOW, LONG = 16, 48  # frames: what the U-Net sees at once; more than attention in time takes in plain products
SMALL_VAE = dict(latent_channels=4, block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2,
                 up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, norm_num_groups=4, sample_size=32)
Run = Callable[[], Any]
COMPILED = "benchmarks/results/compile.json"


@dataclass(frozen=True)
class Gain:
    """One gain. what, without: the method as it is, and what stands in its place. make(size, device, frames, on): what
    is run with it (on) and without. of: "time", "memory" or both. owed: why a CPU cannot tell, if so."""

    what: str
    without: str
    make: Callable[[str, str, int, bool], Run]
    frames: int
    of: tuple[str, ...] = ("time",)
    owed: str | None = None


# ---------------------------------------------------------------- what is switched


def half_frozen(size: str, device: str, frames: int, on: bool) -> Run:
    """A step under autocast: frozen weights held in bfloat16, the temporal ones in float32; or all in float32."""
    return trainer(size, frames, device, checkpointing=False, half=on)


def half_sampling(size: str, device: str, frames: int, on: bool) -> Run:
    """A sampling step with all weights in bfloat16, or in float32."""
    return sampler(size, device, frames, torch.bfloat16 if on else torch.float32)


def sampler(size: str, device: str, frames: int, dtype: torch.dtype = torch.float32, name: str = "ours") -> Run:
    """A sampling step, one forward pass, in a precision."""
    arm = models.make(name, size, device, "bf16" if dtype == torch.bfloat16 else "no")
    assert arm is not None
    arm.model.eval()
    if dtype != torch.float32:
        arm.model.to(dtype)
    clip = {k: v.to(dtype) if v.is_floating_point() else v for k, v in models.batch(size, frames, device).items()}
    return lambda: models.sample(arm, clip, device, "no")


def attention(size: str, device: str, frames: int, on: bool) -> Run:
    """A sampling step with attention in time as it is taken there, or by the other of its two forms."""
    run = sampler(size, device, frames)

    def other() -> None:
        with other_attention(frames, device):
            run()
    return run if on else other


@contextmanager
def other_attention(frames: int, device: str) -> Iterator[None]:
    """Where sampling takes the fused kernel the logits are written out, elsewhere the fused kernel is taken."""
    fused = frames > pseudo3d.PLAIN_FRAMES or device == "cuda"
    own = pseudo3d.PLAIN_FRAMES, pseudo3d._fused
    pseudo3d.PLAIN_FRAMES = 0
    if fused:
        pseudo3d._fused = written_out
    try:
        yield
    finally:
        pseudo3d.PLAIN_FRAMES, pseudo3d._fused = own


def written_out(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """What `lnm.pseudo3d._fused` gives, by logits that are written down."""
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias.to(q.dtype)).softmax(-1) @ v


def optimiser(size: str, device: str, frames: int, on: bool) -> Run:
    """Lion's step alone, on all tensors at once or on one after the other."""
    arm = models.make("ours", size, device, "no")
    assert arm is not None
    optimizer = make_optimizer({str(i): p for i, p in enumerate(arm.trained)}, Finetune())
    generator = torch.Generator().manual_seed(0)
    for p in arm.trained:
        p.grad = torch.randn(p.shape, generator=generator).to(p)

    def run() -> None:
        own = lion.BLOCK
        lion.BLOCK = own if on else 0  # numbers at once: every tensor is more than that
        try:
            optimizer.step()
        finally:
            lion.BLOCK = own
    return run


def waits(size: str, device: str, frames: int, on: bool) -> Run:
    """A step that reads loss and gradient norm once, or loss and each tensor's norm by themselves."""
    arm = models.make("ours", size, device, "no")
    assert arm is not None
    arm.model.train()
    optimizer = make_optimizer({str(i): p for i, p in enumerate(arm.trained)}, Finetune())
    clip = models.batch(size, frames, device)

    def run() -> tuple[float, float]:
        predicted = arm.call(arm.model, clip["sample"], clip["timestep"], clip["text"])
        loss = F.mse_loss(predicted, clip["target"])
        loss.backward()
        if on:
            found = torch.stack([loss.detach(), nn.utils.clip_grad_norm_(arm.trained, 1.0)]).tolist()
        else:
            found = [loss.item(), math.sqrt(sum(p.grad.norm().item() ** 2 for p in arm.trained if p.grad is not None))]
            for p in arm.trained:
                if p.grad is not None:
                    p.grad.mul_(min(1.0, 1 / (found[1] + 1e-6)))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return tuple(found)
    return run


def autoencoder(size: str, device: str) -> Any:
    """lnm-mini's, Stable Diffusion's with random weights, or a tiny one."""
    folder = builtin("lnm-mini") if size == "default" else None
    vae = AutoencoderDC.from_pretrained(folder / "vae") if folder else AutoencoderKL(
        **(VAE if size == "sd15" else SMALL_VAE))
    if device == "cuda":
        vae.to(device, torch.bfloat16)
    return vae.eval().requires_grad_(False)


def decoding(size: str, device: str, frames: int, on: bool) -> Run:
    """A film decoded 8 frames at a time, each of which leaves the device as bytes, or all frames at once."""
    vae = autoencoder(size, device)
    side = models.batch(size, 1, device)["sample"].shape[-1]
    film = torch.randn(frames, vae.config.latent_channels, side, side, generator=torch.Generator().manual_seed(0))
    return lambda: latents.decode(vae, film, 8 if on else frames)


def encoding(size: str, device: str, frames: int, on: bool) -> Run:
    """A clip encoded 8 frames at a time, the latents of which leave the device, or all frames at once."""
    vae = autoencoder(size, device)
    pictures = decoding(size, device, 1, True)().repeat(frames, 0)
    return lambda: latents.encode(vae, pictures, 8 if on else frames)


def one_unet(size: str, device: str, frames: int, on: bool) -> Run:
    """A checkpoint's U-Net inflated in place, or a copy of it beside it."""
    def run() -> tuple[nn.Module, nn.Module]:
        base = UNet2DConditionModel(**models.unet_config(size)).to(device)
        return base, UNetPseudo3DConditionModel.from_unet2d(base, in_place=on)
    return run


def checkpointing(size: str, device: str, frames: int, on: bool) -> Run:
    """A step that computes activations again in the backward pass, or holds them."""
    half = device == "cuda"
    return trainer(size, frames, device, checkpointing=on, half=half, precision="bf16" if half else "no")


def compiling(size: str, device: str, frames: int, on: bool) -> Run:
    """A sampling step by torch.compile, or as it is."""
    return sampler(size, device, frames, name=models.COMPILED if on else "ours")


GAINS = (
    Gain("frozen weights in half precision, temporal ones in float32", "all in float32, under autocast", half_frozen,
         FRAMES, ("time", "memory"), "it is for a GPU: on a CPU the weights are cast at each step"),
    Gain("sampling in half precision", "in float32", half_sampling, WINDOW, ("time", "memory"),
         "this processor computes in no half precision"),
    Gain("attention by the fused kernel, with the bias", "its logits written out", attention, LONG,
         ("time", "memory")),
    Gain("attention in the form that is taken for a window", "the other: on a CPU fused, on a GPU written out",
         attention, WINDOW, ("time", "memory")),
    Gain("Lion on all tensors at once", "one tensor after the other", optimiser, 0),
    Gain("one wait a step", "a wait for the loss and for each gradient", waits, FRAMES, ("time",),
         "a CPU is not waited for"),
    Gain("decoding 8 frames at a time, each off the device", "all at once", decoding, LONG, ("time", "memory")),
    Gain("encoding 8 frames at a time, each off the device", "all at once", encoding, LONG, ("time", "memory")),
    Gain("one U-Net, inflated in place", "a copy beside the checkpoint's", one_unet, 0, ("memory",)),
    Gain("activations computed again (`memory: low`)", "held", checkpointing, WINDOW, ("time", "memory")),
    Gain("torch.compile (not taken)", "without", compiling, FRAMES, ("time",), f"measured in {COMPILED}"),
)


# ---------------------------------------------------------------- how it is measured


def alternately(on: Run, off: Run, device: str, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each round with and without, in turns; a round before them is not counted."""
    _, clock = stopwatch(device)
    taken: tuple[list[float], list[float]] = ([], [])
    for i in range(-1, rounds):
        for which in (0, 1) if i % 2 else (1, 0):
            start = clock()
            (on, off)[which]()
            if i >= 0:
                taken[which].append(clock() - start)
    return taken


def held(make: Callable[[], Run], device: str) -> int:
    """Bytes at the worst moment of making what is run and running it twice: an optimiser's states are there then."""
    def through() -> None:
        run = make()
        for _ in range(2):
            kept = run()  # what it returns is alive
            del kept

    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        through()
        return torch.cuda.max_memory_allocated() - before
    with Live() as live:
        through()
    return live.most


def told(gain: Gain, device: str) -> bool:
    """Whether this device can tell it."""
    return device == "cuda" or gain.owed is None or (
        gain.make is half_sampling and half_precision(device) != "no")


def measured(gain: Gain, size: str, device: str, rounds: int) -> dict[str, Any]:
    """A row: {"gain", "without", "frames", "time", "memory", "seconds", "mb", "owed"}; time and memory are ratios,
    without over with; seconds and mb are [with, without]."""
    row: dict[str, Any] = {"gain": gain.what, "without": gain.without, "frames": gain.frames or None, "time": None,
                           "memory": None, "owed": None}
    if "time" in gain.of:
        on, off = alternately(*(gain.make(size, device, gain.frames, switch) for switch in (True, False)), device,
                              rounds)
        row["time"] = statistics.median(b / a for a, b in zip(on, off, strict=True))
        row["seconds"] = [statistics.median(on), statistics.median(off)]
    if "memory" in gain.of:
        most = [held(partial(gain.make, size, device, gain.frames, switch), device) for switch in (True, False)]
        row["memory"], row["mb"] = most[1] / most[0], [part / 1e6 for part in most]
    return row


def measure(size: str, device: str, rounds: int, everything: bool = False,
            before: list[dict[str, Any]] | None = None, only: list[str] | None = None) -> dict[str, Any]:
    """All rows; those that the device cannot tell are owed, unless `everything` is run to see that it runs. only: of
    the gains that begin so, the others are those of `before`."""
    rows = []
    for number, gain in enumerate(GAINS):
        if before and not gain.what.startswith(tuple(only or ())):
            rows.append(before[number])
        elif gain.make is compiling and (device == "cpu" or models.compile_refusal(device)):
            rows.append(_owed(gain))
        elif everything or told(gain, device):
            print(gain.what, file=sys.stderr)
            rows.append(measured(gain, size, device, rounds))
        else:
            rows.append(_owed(gain))
    return {"size": size, "device": device, "machine": machine(device), "clock": stopwatch(device)[0],
            "rounds": rounds, "gains": rows}


def _owed(gain: Gain) -> dict[str, Any]:
    return {"gain": gain.what, "without": gain.without, "frames": gain.frames or None, "time": None, "memory": None,
            "owed": gain.owed}


def markdown(record: dict[str, Any]) -> str:
    """docs/speed.md's table of a record."""
    lines = [["gain", "without it", "frames", "time without / with", "memory without / with", "MB with, without"],
             ["---", "---", *["--:"] * 4]]
    for row in record["gains"]:
        cells = [f"{row[name]:.2f}" if row[name] is not None else "" for name in ("time", "memory")]
        if row["owed"]:
            cells = [row["owed"] if COMPILED in row["owed"] else f"owed: {row['owed']}", ""]
        lines.append([row["gain"], row["without"], str(row["frames"] or ""), *cells,
                      "{:.0f}, {:.0f}".format(*row["mb"]) if "mb" in row else ""])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gains", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny U-Net, two rounds, everything: that it runs")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--size", choices=["default", "sd15", "small"], default="default")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", metavar="BEGINNING", help="the gains that begin so; --json has the others")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the table of such a file, and end")
    args = parsed(parser, argv)
    if args.size == "sd15" and args.device != "cuda":
        parser.error("--size sd15 needs --device cuda")

    def measured() -> dict:
        pick_device(args.device)
        size, rounds = ("small", 2) if args.quick else (args.size, args.rounds)
        before = json.loads(args.json.read_text(encoding="utf-8")) if args.only else None
        if before and (before["machine"], before["size"], before["rounds"]) != (machine(args.device), size, rounds):
            raise UserError(f"{args.json}: of another machine, size or number of rounds; measure all anew")
        return measure(size, args.device, rounds, args.quick, before and before["gains"], args.only)

    return ended(args, markdown, measured)


if __name__ == "__main__":
    sys.exit(main())
