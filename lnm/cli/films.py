"""`lnm animate`, `finetune`, `sample`, `check`: the method without the pipeline, in any folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lnm.cli.options import (
    AnyBase,
    Base,
    Camera,
    Clip,
    Crop,
    Defaults,
    Device,
    End,
    Fps,
    Frames,
    InferenceSteps,
    LastStill,
    Like,
    Lora,
    LoraScale,
    MatchColours,
    Memory,
    OutBy,
    OutLike,
    Prompt,
    Revision,
    Seed,
    Set,
    Size,
    Start,
    Steps,
    Still,
    Widen,
    by_section,
    changed,
    clip_of,
    defaults,
    film_name,
    film_path,
    finetune_choices,
    local_model,
    memory_of,
    model,
    parse_crop,
    sample_choices,
    write_film,
)
from lnm.cli.style import App, Quiet, calm, if_interrupted, say
from lnm.cli.training import begin, finish, temporal_path
from lnm.errors import UserError, shortened
from lnm.files import BUILT_IN, given_path, writable
from lnm.settings import Prepare, frames_needed

if TYPE_CHECKING:
    import numpy as np

app = App()
FRESH = 8.0  # frames a second of a clip whose frame rate is not given: at most so many, so that its motion can be seen


@app.add('lnm animate photo.jpg --like clip.mp4 --prompt "waves at the beach"')
def animate(
    still: Still,
    like: Annotated[str, typer.Option(metavar="CLIP", help="The video to learn motion from: a file, a folder of "
                                                           "images, or footage:NAME.")],
    prompt: Prompt, out: OutLike = None, frames: Frames = None, fps: Fps = None, steps: Steps = None,
    inference_steps: InferenceSteps = None, size: Size = None, crop: Crop = None, seed: Seed = None,
    checkpoint: Base = None, revision: Revision = None, widen: Widen = False, lora: Lora = None,
    lora_scale: LoraScale = None, any_base: AnyBase = False, device: Device = None, memory: Memory = None,
    last_still: LastStill = None, camera: Camera = None, match_colours: MatchColours = None, setting: Set = None,
    quiet: Quiet = False,
) -> None:
    """Animate a still in the manner of a clip.

    The first film takes a few minutes on two CPU cores at the default 128 pixels; bars show the time left. What was
    learned from a clip is kept, so another still in its manner takes half a minute. Interrupted, the same command goes
    on from its last checkpoint.
    """
    here = defaults()
    called = film_name(still, "like", like)
    film_path(out, called)
    opened = model(here, checkpoint, revision, device, size, widen=widen, lora=lora, lora_scale=lora_scale,
                   any_base=any_base)
    own = finetune_choices(here, opened)
    films = sample_choices(here, opened)
    training, sampling = by_section(setting, own, films)
    settings = changed(own, training, steps=steps)
    sample = changed(films, sampling, num_inference_steps=inference_steps)
    cut = parse_crop(crop)
    clip = clip_of(like, "--like", here.root)
    store = here.root / "store" / "animate" if here.root else None
    from lnm.stages.animate import animate as make

    calm()
    if_interrupted("stopped; the same command goes on from the last checkpoint")
    film = make(still, like=clip, prompt=prompt, fps=fps, num_frames=frames, seed=here.seed if seed is None else seed,
                memory=memory_of(here, memory), settings=settings, sample=sample, store=store, say=say,
                last_still=last_still, crop=cut, camera=camera or here.prepare.camera, segment=here.prepare.segment,
                match_colours=here.prepare.match_colours if match_colours is None else match_colours,
                **opened.keywords("checkpoint", "revision", "device", "size", "widen", "lora", "lora_scale",
                                  "any_base"))
    print(f"film: {write_film(out, called, film.frames, film.fps)}")
    like = f" --like {clip}" if sample.begin == "flow" else ""
    say(f"what was learned, for `lnm sample{like}`: {film.temporal}")


@app.add('lnm finetune clip.mp4 --prompt "waves at the beach" --out waves.safetensors')
def finetune(
    clip: Clip, prompt: Prompt,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The temporal file to write; a small one that travels.")],
    fps: Fps = None, size: Size = None, crop: Crop = None, start: Start = 0.0, end: End = None, steps: Steps = None,
    seed: Seed = None, checkpoint: Base = None, revision: Revision = None, widen: Widen = False, lora: Lora = None,
    lora_scale: LoraScale = None, any_base: AnyBase = False, device: Device = None, setting: Set = None,
    quiet: Quiet = False,
) -> None:
    """Learn the motion of one clip into a temporal file, which `lnm sample` then gives to any still.

    A few minutes on two CPU cores at the default 128 pixels; a bar shows the time left. If it is interrupted, the same
    command goes on from its last checkpoint, which lies beside FILE until it is done.
    """
    here = defaults()
    out = temporal_path(out)
    opened = model(here, checkpoint, revision, device, size, widen=widen, lora=lora, lora_scale=lora_scale,
                   any_base=any_base)
    settings = changed(finetune_choices(here, opened, known=False), setting, steps=steps, preview_every=0,
                       identity_steps=0, noise_steps=0)
    film, _ = _read(clip, "CLIP", here.root, fps, opened.size, parse_crop(crop), start, end)
    from lnm.training import finetune as learn

    pipe, store = begin(opened, out, settings.conv_placement)
    trained = learn(pipe, film.frames, prompt=prompt, fps=film.fps, seed=here.seed if seed is None else seed,
                    store=store, settings=settings, strict=not opened.any_base)
    finish(pipe, out, store, trained, opened, here.root, video=Path(clip).stem)


@app.add("lnm sample photo.jpg --temporal waves.safetensors")
def sample(
    still: Still,
    temporal: Annotated[str, typer.Option(metavar="FILE", help="What a training wrote: a file, or a hub name.")],
    prompt: Annotated[str | None, typer.Option(help="What is seen, in words. (default: the one learned with)")] = None,
    out: OutBy = None, frames: Frames = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second. (default: the one learned at)")] = None,
    inference_steps: InferenceSteps = None, size: Size = None, seed: Seed = None,
    checkpoint: Annotated[str | None, typer.Option(metavar="NAME", help="The frozen inpainting model. (default: the "
                                                                        "one the file was trained on)")] = None,
    revision: Revision = None, widen: Widen = False, lora: Lora = None, lora_scale: LoraScale = None,
    any_base: AnyBase = False, device: Device = None, last_still: LastStill = None, like: Like = None,
    setting: Set = None, quiet: Quiet = False,
) -> None:
    """Give a still the motion that a temporal file holds.

    About half a minute on two CPU cores at the default 128 pixels and 16 frames; a bar shows the time left.
    """
    here = defaults()
    called = film_name(still, "by", temporal)
    film_path(out, called)
    changed(here.sample, setting)  # a misspelt one is refused before anything is opened
    _must_exist(still, "STILL")
    for name, file in (("--last-still", last_still), ("--like", like)):
        if file is not None:
            _must_exist(file, name)
    from lnm.hub import locate_temporal
    from lnm.temporal_file import read_temporal

    path = locate_temporal(temporal)
    notes = read_temporal(path).notes
    base = checkpoint or (_trained_on(notes.checkpoint, here, temporal) if notes.checkpoint else None)
    opened = model(here, base, revision, device, size, widen=widen, lora=lora, lora_scale=lora_scale,
                   any_base=any_base)
    settings = changed(sample_choices(here, opened), setting, num_frames=frames, num_inference_steps=inference_steps)
    text = prompt if prompt is not None else notes.prompt or ""
    calm()
    rate = _rate(fps) or notes.fps or FRESH
    film = _sample(still, path, text, rate, settings, opened, here.seed if seed is None else seed, last_still, like)
    print(f"film: {write_film(out, called, film, rate)}")


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


def _sample(still: Path, temporal: Path, prompt: str, fps: float, settings, opened, seed: int, last: Path | None,
            like: Path | None) -> np.ndarray:
    """A film of a still, uint8 (F, H, W, 3); what the pipeline refuses becomes one line."""
    import torch

    from lnm.detail import with_detail
    from lnm.devices import pick_device, sampling_dtypes
    from lnm.pipeline import LateNtMoviesPipeline
    from lnm.schedulers import make_scheduler
    from lnm.stages.sample import carried_frames, ended, film_seed, latents_of
    from lnm.video import read, read_image, sides

    device = pick_device(opened.device)
    pipe = LateNtMoviesPipeline.from_pretrained(opened.checkpoint, temporal=temporal, strict=not opened.any_base,
                                                temporal_decoder=settings.decoder(like is not None),
                                                **sampling_dtypes(settings.dtype, device),
                                                **opened.keywords("revision", "widen", "lora", "lora_scale"))
    pipe.to(device)
    pipe.scheduler = make_scheduler(pipe.scheduler, kind=settings.scheduler)
    pipe.set_progress_bar_config(desc="sampling")
    width, height = sides(opened.size)
    pictures = None
    if like is not None:
        pictures = carried_frames(read_image(still, opened.size), read(like, fps, opened.size).frames,
                                  settings.num_frames)
    elif settings.begin == "flow":
        print("begun from noise: --like CLIP begins from the still carried along by the clip's optical flow",
              file=sys.stderr)
    try:
        film = pipe(image=str(still), last_image=last, prompt=prompt, width=width, height=height, fps=fps,
                    video_latents=None if pictures is None else latents_of(pipe, pictures), output_type="uint8",
                    **settings.film(pictures is not None),
                    generator=torch.Generator("cpu").manual_seed(film_seed(seed, 0))).frames[0]
    except ValueError as error:
        raise UserError(str(error)) from None
    if pictures is None or not settings.restore_detail:
        return film
    return with_detail(pipe.vae, film, ended(pictures, None if last is None else read_image(last, opened.size)))


@app.add("lnm check clip.mp4 photo.jpg")
def check(
    clip: Clip,
    still: Annotated[Path | None, typer.Argument(metavar="STILL", help="The picture that is to be animated.")] = None,
    fps: Fps = None, size: Size = None, crop: Crop = None, start: Start = 0.0, end: End = None,
    checkpoint: Base = None, revision: Revision = None, device: Device = None, memory: Memory = None,
    setting: Set = None,
    sheet: Annotated[Path | None, typer.Option(
        metavar="FILE", help="A picture to write, FILE.png: what is cut from the clip, drawn on its frames.")] = None,
    forecast: Annotated[bool, typer.Option(help="Say what memory and time it will take, by one step.")] = True,
    quiet: Quiet = False,
) -> None:
    """Look at a clip, and at the still it is to animate, before any training; exit status 1 if something is amiss.

    Length, motion, cuts, a camera that moves, a still that is unlike the clip, and what memory and time a fine-tune and
    a film will take. Seconds; nothing is trained, and nothing written but --sheet.
    """
    here = defaults()
    drawing = writable(sheet, "--sheet") if sheet else None
    if drawing and drawing.suffix != ".png":
        raise UserError(f"--sheet {shortened(drawing)}: the name must end in .png")
    opened = model(here, checkpoint, revision, device, size)
    pixels = opened.size
    own, films = finetune_choices(here, opened), sample_choices(here, opened)
    training, sampling = by_section(setting, own, films)
    settings, films = changed(own, training), changed(films, sampling)
    low = memory_of(here, memory) == "low"
    film, window = _read(clip, "CLIP", here.root, fps, pixels, parse_crop(crop), start, end)
    if still is not None:
        _must_exist(still, "STILL")
    from lnm import camera, preflight
    from lnm.video import read_image

    report = preflight.check(film.frames, film.fps, read_image(still, pixels) if still else None)
    if window.found is not None:
        report = preflight.joined(report, [window.finding()])
    if drawing:
        _draw(clip_of(clip, "CLIP", here.root), film.fps, window, start, end, drawing)
    report["findings"] += camera.findings(film.frames, film.fps, frames_needed(settings, Prepare().holdout))
    if forecast:
        from lnm.devices import pick_device
        from lnm.forecast import findings
        from lnm.video import sides

        calm()
        report = preflight.joined(report, findings(opened.checkpoint, opened.revision, pick_device(opened.device),
                                                   sides(pixels), settings, films, low))
    _table([("ok" if f["ok"] else "WARN", f["name"], f["say"]) for f in report["findings"]])
    if not report["ok"]:
        raise typer.Exit(1)


def _draw(clip: Path, fps: float, window, start: float, end: float | None, out: Path) -> None:
    """A sheet of the clip's frames with what is cut from them drawn on them."""
    from lnm import subject, video

    video.contact_sheet([("what is cut from the clip", subject.drawn(clip, fps, window, start, end))], 4, out)
    say(f"sheet: {out}")


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
    """The clip at `fps`; where that is not given, at 8 or at the clip's own if that is less. And its window."""
    path = clip_of(clip, option, home)
    _rate(fps)
    from lnm import subject, video

    if fps is None:
        fps = FRESH if path.is_dir() else min(FRESH, video.read(path, max_frames=2).source_fps)
        say(f"fps: {fps:g}, as none is given")
    window = subject.find(path, fps, size, crop, start, end)
    if window is not None:
        return subject.read(path, fps, size, window, start, end), window
    film = video.read(path, fps=fps, size=size, crop=crop, start=start, end=end)
    return film, subject.given(film.source_size, size, crop, path)


def _rate(fps: float | None) -> float | None:
    if fps is not None and not 0 < fps < 1000:
        raise UserError(f"--fps {fps:g}: must be a number above 0 and below 1000")
    return fps


def _must_exist(path: Path, option: str) -> None:
    path = given_path(path, option)
    if not path.is_file():
        wrong = "is a folder; give one image" if path.is_dir() else (
            "is not a regular file; give an image" if path.exists() else "does not exist; check the name")
        raise UserError(f"{option}: {shortened(path)} {wrong}")
