"""`lnm rival`: a film of a still by a published model, to stand beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lnm.cli.options import parse_size
from lnm.cli.style import App, Quiet, calm, say
from lnm.errors import UserError
from lnm.files import writable

app = App()
NAMES = ("cogvideox", "cogvideox_i2v", "svd", "animatediff_sparsectrl", "pia")


@app.add("lnm rival svd --still photo.jpg --prompt waves --out inputs/baselines/svd/ocean.mp4")
def rival(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"{', '.join(NAMES)}.")],
    still: Annotated[Path, typer.Option(metavar="STILL", help="The picture that ours animates.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="FILE.mp4 or FILE.gif; in inputs/baselines/NAME/VIDEO.mp4 "
                                                           "it is measured beside ours.")],
    prompt: Annotated[str, typer.Option(help="What is seen, in words.")] = "",
    frames: Annotated[int | None, typer.Option(min=2, help="(default: those it was trained at)")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second. (default: those it was trained at, or 7)")] = None,
    size: Annotated[str | None, typer.Option(metavar="SIZE", help="512, or 720x480 for width x height. (default: what "
                                                                  "it was trained at)")] = None,
    inference_steps: Annotated[int | None, typer.Option(min=1, help="(default: diffusers')")] = None,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    checkpoint: Annotated[str | None, typer.Option(metavar="NAME", help="Its weights: a folder or hub name.")] = None,
    adapter: Annotated[str | None, typer.Option(metavar="NAME", help="Of AnimateDiff and PIA: the motion "
                                                                     "adapter.")] = None,
    controlnet: Annotated[str | None, typer.Option(metavar="NAME", help="Of SparseCtrl.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    quiet: Quiet = False,
) -> None:
    """Film a still by a published model: CogVideoX, Stable Video Diffusion, AnimateDiff with SparseCtrl, PIA.

    Their weights are gigabytes and want a GPU. docs/rivals.md says what each is given, and what is fair.
    """
    if name not in NAMES:
        raise UserError(f"NAME: {name} is none; there is {', '.join(NAMES)}")
    if not still.is_file():
        raise UserError(f"--still: {still} {'is a folder; give one image' if still.is_dir() else 'does not exist'}")
    if fps is not None and not 0 < fps < 1000:
        raise UserError(f"--fps {fps:g}: must be a number above 0 and below 1000")
    if out.suffix not in (".mp4", ".gif"):
        raise UserError(f"--out {out}: the name must end in .mp4 or .gif")
    path, pixels = writable(out, "--out"), parse_size(size)
    from lnm.devices import pick_device
    from lnm.rivals.published import PUBLISHED, film
    from lnm.video import read_image, write_gif, write_mp4

    one = PUBLISHED[name]
    rate = fps or one.fps or 7.0
    if one.fps and rate != one.fps:
        say(f"note: {name} was trained at {one.fps:g} frames a second; at {rate:g} its motion has another speed")
    if "the still" not in one.sees:
        say(f"note: {name} is made from {one.sees} alone: it never sees the still")
    calm()
    parts = {"checkpoint": checkpoint, "adapter": adapter, "controlnet": controlnet}
    made = film(name, read_image(still), prompt, frames or one.frames, rate, seed,
                size=(pixels, pixels) if isinstance(pixels, int) else pixels, steps=inference_steps,
                device=pick_device(device), **{part: where for part, where in parts.items() if where})
    (write_gif if path.suffix == ".gif" else write_mp4)(path, made, rate)
    print(f"film: {path}")
