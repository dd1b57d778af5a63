"""`lnm animate`, `finetune`, `sample`, `check`: the method without the pipeline, in any folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lnm.cli.options import (
    Base,
    Clip,
    Crop,
    Defaults,
    Device,
    End,
    Fps,
    Frames,
    InferenceSteps,
    Out,
    Prompt,
    Revision,
    Seed,
    Set,
    Size,
    Start,
    Steps,
    Still,
    by_section,
    changed,
    clip_of,
    defaults,
    film_path,
    finetune_choices,
    local_model,
    model,
    parse_crop,
    parse_size,
    sample_choices,
)
from lnm.cli.style import App, Quiet, calm, if_interrupted, say
from lnm.cli.training import begin, finish, temporal_path
from lnm.errors import UserError
from lnm.files import BUILT_IN

app = App()
FRESH = 8.0  # frames a second of a clip whose frame rate is not given: at most so many, so that its motion can be seen


@app.add('lnm animate photo.jpg --like clip.mp4 --prompt "waves at the beach"')
def animate(
    still: Still,
    like: Annotated[str, typer.Option(metavar="CLIP", help="The video to learn motion from: a file, a folder of "
                                                           "images, or footage:NAME.")],
    prompt: Prompt, out: Out = None, frames: Frames = None, fps: Fps = None, steps: Steps = None,
    inference_steps: InferenceSteps = None, size: Size = None, seed: Seed = None, checkpoint: Base = None,
    revision: Revision = None, device: Device = None, setting: Set = None, quiet: Quiet = False,
) -> None:
    """Animate a still in the manner of a clip.

    The first film takes a few minutes on two CPU cores at the default 128 pixels; bars show the time left. What was
    learned from a clip is kept, so another still in its manner takes half a minute. Interrupted, the same command goes
    on from its last checkpoint.
    """
    here = defaults()
    target = film_path(out, still)
    opened = model(here, checkpoint, revision, device, size)
    own = finetune_choices(here, opened)
    films = sample_choices(here, opened)
    training, sampling = by_section(setting, own, films)
    settings = changed(own, training, steps=steps)
    sample = changed(films, sampling, num_inference_steps=inference_steps)
    clip = clip_of(like, "--like", here.root)
    store = here.root / "store" / "animate" if here.root else None
    from lnm.stages.animate import animate as make

    calm()
    if_interrupted("stopped; the same command goes on from the last checkpoint")
    film = make(still, like=clip, prompt=prompt, out=target, fps=fps, num_frames=frames,
                seed=here.seed if seed is None else seed, settings=settings, sample=sample, store=store, say=say,
                **opened.keywords("checkpoint", "revision", "device", "size"))
    print(f"film: {film.path}")
    say(f"what was learned, for `lnm sample`: {film.temporal}")


@app.add('lnm finetune clip.mp4 --prompt "waves at the beach" --out waves.safetensors')
def finetune(
    clip: Clip, prompt: Prompt,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The temporal file to write; a small one that travels.")],
    fps: Fps = None, size: Size = None, crop: Crop = None, start: Start = 0.0, end: End = None, steps: Steps = None,
    seed: Seed = None, checkpoint: Base = None, revision: Revision = None, device: Device = None, setting: Set = None,
    quiet: Quiet = False,
) -> None:
    """Learn the motion of one clip into a temporal file, which `lnm sample` then gives to any still.

    A few minutes on two CPU cores at the default 128 pixels; a bar shows the time left. If it is interrupted, the same
    command goes on from its last checkpoint, which lies beside FILE until it is done.
    """
    here = defaults()
    out = temporal_path(out)
    opened = model(here, checkpoint, revision, device, size)
    settings = changed(finetune_choices(here, opened), setting, steps=steps, preview_every=0, identity_steps=0)
    film = _read(clip, "CLIP", here.root, fps, opened.size, parse_crop(crop), start, end)
    from lnm.training import finetune as learn

    pipe, store = begin(opened, out, settings.conv_placement)
    trained = learn(pipe, film.frames, prompt=prompt, fps=film.fps, seed=here.seed if seed is None else seed,
                    store=store, settings=settings)
    finish(pipe, out, store, trained, opened, here.root, video=Path(clip).stem)


@app.add("lnm sample photo.jpg --temporal waves.safetensors")
def sample(
    still: Still,
    temporal: Annotated[str, typer.Option(metavar="FILE", help="What a training wrote: a file, or a hub name.")],
    prompt: Annotated[str | None, typer.Option(help="What is seen, in words. (default: the one learned with)")] = None,
    out: Out = None, frames: Frames = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second. (default: the one learned at)")] = None,
    inference_steps: InferenceSteps = None, size: Size = None, seed: Seed = None,
    checkpoint: Annotated[str | None, typer.Option(metavar="NAME", help="The frozen inpainting model. (default: the "
                                                                        "one the file was trained on)")] = None,
    revision: Revision = None, device: Device = None, setting: Set = None, quiet: Quiet = False,
) -> None:
    """Give a still the motion that a temporal file holds.

    About half a minute on two CPU cores at the default 128 pixels and 16 frames; a bar shows the time left.
    """
    here = defaults()
    target = film_path(out, still)
    changed(here.sample, setting)  # a misspelt one is refused before anything is opened
    _must_exist(still, "STILL")
    from lnm.hub import locate_temporal
    from lnm.temporal_file import read_temporal

    path = locate_temporal(temporal)
    notes = read_temporal(path).notes
    base = checkpoint or (_trained_on(notes.checkpoint, here, temporal) if notes.checkpoint else None)
    opened = model(here, base, revision, device, size)
    settings = changed(sample_choices(here, opened), setting, num_frames=frames, num_inference_steps=inference_steps)
    text = prompt if prompt is not None else notes.prompt or ""
    calm()
    rate = _rate(fps) or notes.fps or FRESH
    _sample(still, path, target, text, rate, settings, opened, here.seed if seed is None else seed)
    print(f"film: {target}")


def _trained_on(recorded: str, here: Defaults, temporal: str) -> str:
    """The model that a temporal file was trained on, by the name that it records."""
    name = local_model(recorded, here.root)
    if recorded in BUILT_IN or Path(name).expanduser().exists():
        return name
    if Path(here.checkpoint).name == recorded:  # of a folder elsewhere, the file records the name alone
        return here.checkpoint
    from lnm.checkpoint import locate

    try:
        locate(name)
    except UserError:
        raise UserError(f"--temporal {temporal}: the model that it was trained on, {recorded}, is not here; give "
                        "--checkpoint") from None
    return name


def _sample(still: Path, temporal: Path, out: Path, prompt: str, fps: float, settings, opened, seed: int) -> None:
    """A film of a still into a file; what the pipeline refuses becomes one line."""
    import torch

    from lnm.devices import pick_device
    from lnm.pipeline import LateNtMoviesPipeline, to_uint8
    from lnm.schedulers import make_scheduler
    from lnm.stages.sample import film_seed
    from lnm.video import sides, write_gif, write_mp4

    pipe = LateNtMoviesPipeline.from_pretrained(opened.checkpoint, temporal=temporal, revision=opened.revision,
                                                temporal_decoder=settings.temporal_decoder)
    pipe.to(pick_device(opened.device))
    pipe.scheduler = make_scheduler(pipe.scheduler, kind=settings.scheduler)
    pipe.set_progress_bar_config(desc="sampling")
    width, height = sides(opened.size)
    try:
        film = pipe(image=str(still), prompt=prompt, negative_prompt=settings.negative_prompt, width=width,
                    height=height, num_frames=settings.num_frames, fps=fps,
                    num_inference_steps=settings.num_inference_steps, guidance_scale=settings.guidance_scale,
                    first_frame=settings.first_frame,
                    generator=torch.Generator("cpu").manual_seed(film_seed(seed, 0))).frames[0]
    except ValueError as error:
        raise UserError(str(error)) from None
    (write_gif if out.suffix == ".gif" else write_mp4)(out, to_uint8(film), fps)


@app.add("lnm check clip.mp4 photo.jpg")
def check(
    clip: Clip,
    still: Annotated[Path | None, typer.Argument(metavar="STILL", help="The picture that is to be animated.")] = None,
    fps: Fps = None, size: Size = None, crop: Crop = None, start: Start = 0.0, end: End = None, quiet: Quiet = False,
) -> None:
    """Look at a clip, and at the still it is to animate, before any training; exit status 1 if something is amiss.

    Length, motion, cuts, a camera that moves, a still that is unlike the clip. Seconds; nothing is trained or written.
    """
    here = defaults()
    pixels = parse_size(size) or here.size or 128
    film = _read(clip, "CLIP", here.root, fps, pixels, parse_crop(crop), start, end)
    if still is not None:
        _must_exist(still, "STILL")
    from lnm import preflight
    from lnm.video import read_image

    report = preflight.check(film.frames, film.fps, read_image(still, pixels) if still else None)
    _table([("ok" if f["ok"] else "WARN", f["name"], f["say"]) for f in report["findings"]])
    if not report["ok"]:
        raise typer.Exit(1)


def _table(rows: list[tuple[str, str, str]]) -> None:
    """Findings, a line each, in columns as wide as the screen allows."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    for column in ({"style": "bold", "no_wrap": True}, {"no_wrap": True}, {}):
        table.add_column(**column)
    for row in rows:
        table.add_row(*row, style="yellow" if row[0] != "ok" else "")
    Console(highlight=False).print(table)


def _read(clip: str, option: str, home: Path | None, fps: float | None, size, crop, start: float, end: float | None):
    """The clip's frames at `fps`; where that is not given, at 8 or at the clip's own if that is less."""
    path = clip_of(clip, option, home)
    _rate(fps)
    from lnm import video

    if fps is None:
        fps = FRESH if path.is_dir() else min(FRESH, video.read(path, max_frames=2).source_fps)
        say(f"fps: {fps:g}, as none is given")
    return video.read(path, fps=fps, size=size, crop=crop, start=start, end=end)


def _rate(fps: float | None) -> float | None:
    if fps is not None and not 0 < fps < 1000:
        raise UserError(f"--fps {fps:g}: must be a number above 0 and below 1000")
    return fps


def _must_exist(path: Path, option: str) -> None:
    if not path.is_file():
        raise UserError(f"{option}: {path} {'is a folder; give one image' if path.is_dir() else 'does not exist'}")
