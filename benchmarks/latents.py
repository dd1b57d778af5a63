"""What decides how lnm-mini's latents are laid out: how much of a picture they keep, how they change when it moves.

    python -m benchmarks.latents                        blocks, windows and the shipped encoder (ten minutes on a CPU)
    python -m benchmarks.latents --checkpoint FOLDER    another lnm-mini's encoder as well
    python -m benchmarks.latents --steps 200            a hasty fit of the windows

Transforms and linear decoders are fitted to stills and photographs of the training; all that is printed is of pictures
that no training saw. A table in Markdown:

- PSNR in dB of held-out rendered stills and of the rapids and waves clips, by the best linear map of the 3x3 cells
  around, and by the checkpoint's own decoder;
- R^2 under a shift by 1 to 7 pixels: how much of the variance of the less predictable half of the channels a linear map
  of the 3x3 cells around, of the picture that was not shifted, explains in pictures it was not fitted to;
- R^2 of the next frame: the same from one frame of a clip to the next, 8 a second, all channels, fitted to the first
  half of each clip and measured on the second; real clips, and rendered ones of a seed kept for validation;
- numbers of a picture's latents, seconds to encode 100 pictures, and the time of a fine-tune step of 5 frames with the
  same U-Net on such latents, as a multiple of the first line's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.checkpoint import KNOWN, stills
from eval.metrics.fidelity import psnr
from lnm import video
from lnm.checkpoint import open_checkpoint
from lnm.demo import footage, scenes
from lnm.demo.mini import windows
from lnm.demo.mini.images import crop_photos, render_stills
from lnm.demo.mini.recipe import MOTION, RECIPE, SIZE
from lnm.demo.mini.unet import new_unet
from lnm.latents import encode_pixels, to_tensor
from lnm.project import root
from lnm.unet import UNetPseudo3DConditionModel

SHIFTS = range(1, 8)  # pixels
WIDE = 112  # pixels that are looked at of a picture that is shifted
FPS, FRAMES = 8, 24
REAL = ("rapids", "waves")  # neither was in any training
BLOCKS = ((4, 4), (8, 4), (8, 8), (8, 16))  # pixels a side, channels
WINDOWS = (8, 16)  # channels


@dataclass
class Layout:
    """Latents (N, C, h, w) of pixels (N, 3, H, W) in [-1, 1], one each `cell` pixels; perhaps a decoder of its own."""

    name: str
    cell: int
    encode: Callable[[torch.Tensor], torch.Tensor]
    decode: Callable[[torch.Tensor], torch.Tensor] | None = None


def in_parts(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """`function` of 32 pictures at a time, without gradients."""
    def whole(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([function(part) for part in x.split(32)])

    return whole


# ---------------------------------------------------------------- layouts


def blocks(x: torch.Tensor, cell: int, channels: int) -> Layout:
    """The Karhunen-Loève transform (PCA) of blocks of x (N, 3, H, W) that do not overlap: no linear one keeps more."""
    seen = windows.pixels_last(F.pixel_unshuffle(x, cell)).double()
    seen = seen - seen.mean(0)
    basis = torch.linalg.eigh(seen.T @ seen)[1].flip(1)[:, :channels].T.float()
    weight = basis.reshape(channels, 3, cell, cell)
    name = f"blocks {cell}x{cell}, {channels} channels"
    return Layout(name, cell, in_parts(lambda y: F.conv2d(y, weight, stride=cell)))


def lapped(images: np.ndarray, channels: int, steps: int) -> Layout:
    """lnm-mini's own fit, from nothing, to `images`, uint8 (N, H, W, 3)."""
    recipe = RECIPE | {"fit": RECIPE["fit"] | {"channels": channels, "steps": steps}}
    with tempfile.TemporaryDirectory() as work:
        found = windows.fit(Path(work), recipe, images)
    return Layout(f"windows 16x16, {channels} channels", windows.CELL, in_parts(found))


def shipped(name: str) -> Layout:
    """The encoder and the decoder of a checkpoint."""
    vae = open_checkpoint(name).vae
    factor = vae.config.scaling_factor
    return Layout(name, SIZE // encode_pixels(vae, torch.zeros(1, 3, SIZE, SIZE)).shape[-1],
                  in_parts(lambda x: encode_pixels(vae, x) * factor), in_parts(lambda z: vae.decode(z / factor).sample))


# ---------------------------------------------------------------- pictures


def training_pictures() -> np.ndarray:
    """Stills of the training's seeds and crops of its photographs, mixed, uint8 (N, SIZE, SIZE, 3)."""
    photographs = footage.photos(root() / "store" / "lnm-mini" / "photos", root() / "store" / "downloads")
    drawn = [render_stills(kind, 20, 0)[0] for kind in KNOWN]
    found = np.concatenate([*drawn, crop_photos(photographs[::3], 1, 0)[0]])
    return found[np.random.default_rng(0).permutation(len(found))]


@cache
def real(name: str) -> np.ndarray:
    file = footage.path(name, root() / "footage")
    return video.read(file, fps=FPS, size=SIZE, crop=footage.CATALOGUE[name].crop).frames


@cache
def rendered() -> list[np.ndarray]:
    """A clip of each kind of scene, of the first seed that is kept for validation."""
    times = 5 + np.arange(FRAMES) / FPS
    return [scenes.render(scenes.draw(kind, MOTION["validation_seed"]), times, SIZE) for kind in MOTION["clips"]]


# ---------------------------------------------------------------- measures


def explained(z: torch.Tensor, target: torch.Tensor, fitted: int) -> np.ndarray:
    """R^2 of each channel of `target` (N, C, h, w) by a linear map of the 3x3 cells around in z, fitted to the first
    `fitted` of N and measured on the others; cells at the edge are left out."""
    def rows(part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        seen = F.unfold(z[part], 3).transpose(1, 2).flatten(0, 1)
        return seen, windows.pixels_last(target[part, :, 1:-1, 1:-1])

    weight, bias = windows.least_squares(*rows(slice(0, fitted)))
    seen, wanted = rows(slice(fitted, None))
    return (1 - (seen @ weight + bias - wanted).square().mean(0) / wanted.var(0)).numpy()


def under_shift(layout: Layout, x: torch.Tensor, shift: int) -> float:
    """Mean R^2 of the less predictable half of the channels of x (N, 3, SIZE, SIZE), moved left by `shift` pixels; what
    moves in was in the picture, and no window that is looked at reaches beyond it."""
    inner = slice(windows.CELL // layout.cell, -(windows.CELL // layout.cell))
    here, there = (layout.encode(x[..., left:left + WIDE])[..., inner, inner] for left in (0, shift))
    found = np.sort(explained(here, there, len(x) // 2))
    return float(found[:len(found) // 2].mean())


def next_frame(layout: Layout, clips: list[np.ndarray]) -> float:
    """Mean R^2 of all channels of the next frame, mean over clips, uint8 (F, H, W, 3) each."""
    found = []
    for clip in clips:
        z = layout.encode(to_tensor(clip))
        found.append(explained(z[:-1], z[1:], (len(z) - 1) // 2).mean())
    return float(np.mean(found))


def linear_decoder(layout: Layout, x: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Pixels of latents by the linear map of the 3x3 cells around that is best on x (N, 3, H, W)."""
    weight, bias = windows.least_squares(windows.around(layout.encode(x)),
                                         windows.pixels_last(F.pixel_unshuffle(x, layout.cell)))

    def decode(z: torch.Tensor) -> torch.Tensor:
        made = (windows.around(z) @ weight + bias).view(len(z), *z.shape[2:], -1).permute(0, 3, 1, 2)
        return F.pixel_shuffle(made, layout.cell)

    return in_parts(decode)


def quality(layout: Layout, decode: Callable[[torch.Tensor], torch.Tensor], images: np.ndarray) -> float:
    """Mean PSNR in dB of `images`, uint8 (N, H, W, 3), through `layout` and `decode`."""
    made = (decode(layout.encode(to_tensor(images))).clamp(-1, 1) + 1) * 127.5
    again = made.round().byte().permute(0, 2, 3, 1).numpy()
    return float(np.mean([psnr(a, b) for a, b in zip(images, again, strict=True)]))


@cache
def step_seconds(channels: int, side: int) -> float:
    """Seconds of a fine-tune step of 5 frames with lnm-mini's U-Net on latents of `side` x `side` cells."""
    unet = UNetPseudo3DConditionModel.from_unet2d(type(new_unet()).from_config(dict(new_unet().config) | {
        "sample_size": side, "in_channels": 2 * channels + 1, "out_channels": channels}))
    unet.freeze_spatial()
    clip, words = torch.randn(1, 2 * channels + 1, 5, side, side), torch.randn(1, 77, 128)
    return best_of_three(lambda: unet(clip, 500, words, fps=8).sample.square().mean().backward())


def best_of_three(function: Callable[[], object]) -> float:
    spent = []
    for _ in range(3):
        start = time.perf_counter()
        function()
        spent.append(time.perf_counter() - start)
    return min(spent)


def measured(layout: Layout, train: np.ndarray, held: np.ndarray) -> dict[str, float]:
    """A line of the table, by the names of its columns. train: what linear decoders are fitted to; held: held-out
    stills; both uint8 (N, SIZE, SIZE, 3)."""
    frames = np.concatenate([real(name)[::4] for name in REAL])
    decoders = {"linear": linear_decoder(layout, to_tensor(train))} | ({"own": layout.decode} if layout.decode else {})
    line = {f"{pictures}, {how}": quality(layout, decode, images) for how, decode in decoders.items()
            for pictures, images in (("stills", held), ("real", frames))}
    x = to_tensor(np.concatenate([held, frames])[np.random.default_rng(0).permutation(len(held) + len(frames))])
    line |= {f"shift {shift}": under_shift(layout, x, shift) for shift in SHIFTS}
    line["next, real"] = next_frame(layout, [real(name) for name in REAL])
    line["next, rendered"] = next_frame(layout, rendered())
    z = layout.encode(x[:1])
    line["numbers"] = z.numel()
    hundred = x[torch.arange(100) % len(x)]
    line["encode, s"] = best_of_three(lambda: layout.encode(hundred))
    line["step"] = step_seconds(*z.shape[1:3])
    return line


def table(lines: dict[str, dict[str, float]]) -> str:
    """Markdown; what a layout does not have is empty."""
    columns = list(dict.fromkeys(column for line in lines.values() for column in line))
    columns.sort(key=lambda column: (not column.startswith(("stills", "real")), column.endswith("own")))
    first = next(iter(lines.values()))["step"]

    def cell(column: str, value: float | None) -> str:
        if value is None:
            return ""
        if column == "step":
            return f"{value / first:.2f}"
        if column == "numbers":
            return f"{value:,}"
        return f"{value:.1f}" if column.startswith(("stills", "real")) else f"{value:.3f}"

    rows = [["latents", *columns], ["---"] * (1 + len(columns))]
    rows += [[name, *(cell(column, line.get(column)) for column in columns)] for name, line in lines.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latents", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", action="append", default=["checkpoints/lnm-mini"], metavar="FOLDER",
                        help="an lnm-mini to measure beside checkpoints/lnm-mini; may be given more than once")
    parser.add_argument("--steps", type=int, default=RECIPE["fit"]["steps"], help="of the windows' fit")
    args = parser.parse_args()
    train, held = training_pictures(), stills(50)[0]
    layouts = [blocks(to_tensor(train), *form) for form in BLOCKS]
    layouts += [lapped(train, channels, args.steps) for channels in WINDOWS]
    layouts += [shipped(name) for name in args.checkpoint]
    lines = {}
    for layout in layouts:
        lines[layout.name] = line = measured(layout, train, held)
        print(f"{layout.name}: " + ", ".join(f"{what} {value:.3f}" for what, value in line.items()), flush=True)
    print(f"\n{table(lines)}")


if __name__ == "__main__":
    main()
