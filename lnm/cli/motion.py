"""`lnm motion`: temporal layers, and a decoder in time, that have seen many clips before the one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from lnm.cli.options import (
    Base,
    Device,
    Lora,
    LoraScale,
    Revision,
    Seed,
    Set,
    Size,
    Widen,
    changed,
    defaults,
    model,
)
from lnm.cli.style import App, Quiet, calm, if_interrupted, say
from lnm.cli.training import begin, finish, own_device, temporal_path, unfinished
from lnm.demo import footage
from lnm.demo.mini.recipe import MOTION
from lnm.errors import UserError
from lnm.files import cache_folder, folder_there
from lnm.project import root
from lnm.settings import Decoder, Motion

app = App("Temporal layers that have seen many clips: what a fine-tune can begin from (finetune.init), and what "
          "decodes the frames of a film together (sample.temporal_decoder).")


@app.add("lnm motion clips --out store/motion/clips")
def clips(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Gets the clips, and captions.csv.")],
    quiet: Quiet = False,
) -> None:
    """Make the clips that lnm-mini-motion learns from: rendered scenes, and pieces of real water under open licences.

    About 20 to 40 minutes on two CPU cores. What is there already is not made again.
    """
    home = root()
    from lnm.demo.mini.clips import make_clips

    calm()
    if_interrupted(f"stopped; the same command goes on from what is in {out}")
    footage.fetch(list(MOTION["real"]), home / "footage")
    print(f"captions: {make_clips(out, home / 'footage', MOTION)}")


@app.add("lnm motion train --clips timelapses --captions captions.csv --out motion.safetensors")
def train(
    clips: Annotated[Path, typer.Option(metavar="FOLDER", help="Videos, and folders of images, at any depth; those in "
                                                                "validation/ are never trained on.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The temporal file to write; its log lies beside it.")],
    captions: Annotated[Path | None, typer.Option(metavar="FILE", help="A .csv with the columns clip and caption, or a "
                                                                       ".json {clip: caption}.")] = None,
    prompt: Annotated[str | None, typer.Option(help="The caption of clips that have none of their own.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of training. (default: 6000)")] = None,
    cache: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where encoded clips are kept. (default: the "
                                                                      "user's cache)")] = None,
    half: Annotated[bool, typer.Option("--half", help="Write half precision, half the size.")] = False,
    size: Size = None, seed: Seed = None, checkpoint: Base = None, revision: Revision = None, widen: Widen = False,
    lora: Lora = None, lora_scale: LoraScale = None, device: Device = None, setting: Set = None, quiet: Quiet = False,
) -> None:
    """Teach temporal layers the motion of many clips, for any checkpoint; its space stays frozen.

    Clips are encoded once and kept. A tenth of them is held out: the log has the loss on it. Hours without a GPU; a bar
    shows the time left. If it is interrupted, the same command goes on from its last checkpoint, which lies beside FILE
    until it is done. `lnm finetune --set init=FILE` begins from what comes out.
    """
    here = defaults()
    out = temporal_path(out)
    opened = model(here, checkpoint, revision, device, size, widen=widen, lora=lora, lora_scale=lora_scale)
    settings = changed(Motion(), setting, steps=steps)
    clips = folder_there(clips, "--clips")
    import torch

    from lnm.motion import train_motion

    pipe, store = begin(opened, out, settings.conv_placement)
    trained = train_motion(pipe, clips, captions=captions, prompt=prompt, cache=cache or cache_folder() / "motion",
                           size=opened.size, seed=here.seed if seed is None else seed, store=store,
                           log=out.with_suffix(".csv"), settings=settings)
    say(f"clips: {len(trained.clips)} trained on, {len(trained.held_out)} held out")
    for done, loss in list(trained.validation.items())[-1:]:
        say(f"validation: {loss:.4f} after {done} steps")
    finish(pipe, out, store, trained, opened, here.root, torch.float16 if half else None)


@app.add("lnm motion decoder --clips timelapses --out decoder.safetensors")
def decoder(
    clips: Annotated[Path, typer.Option(metavar="FOLDER", help="Videos, and folders of images, at any depth; those in "
                                                                "validation/ are never trained on.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The decoder file to write; its log lies beside it.")],
    steps: Annotated[int | None, typer.Option(min=1, help="Of training. (default: 1200)")] = None,
    half: Annotated[bool, typer.Option("--half", help="Write half precision, half the size.")] = False,
    size: Size = None, seed: Seed = None, checkpoint: Base = None, revision: Revision = None, widen: Widen = False,
    device: Device = None, setting: Set = None, quiet: Quiet = False,
) -> None:
    """Teach the decoder of a checkpoint's autoencoder to decode the frames of a film together, so that less boils.

    Temporal layers are added to it and they alone train, on the clips' pixels; neither captions nor the U-Net are
    needed. A tenth of the clips is held out: the log has what is missed on it. A bar shows the time left. If it is
    interrupted, the same command goes on from its last checkpoint, which lies beside FILE until it is done.
    `lnm sample --set temporal_decoder=FILE` films with it.
    """
    here = defaults()
    out = temporal_path(out)
    opened = model(here, checkpoint, revision, device, size, widen=widen)
    settings = changed(Decoder(), setting, steps=steps)
    clips = folder_there(clips, "--clips")
    if not isinstance(opened.size, int):
        raise UserError(f"--size {'x'.join(map(str, opened.size))}: a step sees a square; give its side, such as 128")
    import torch

    from lnm.checkpoint import open_checkpoint
    from lnm.decoder import save_decoder
    from lnm.decoder_training import train_decoder
    from lnm.devices import pick_device

    store = unfinished(out)
    vae = open_checkpoint(opened.checkpoint, opened.revision, own_device(pick_device(opened.device)),
                          widen=opened.widen).vae
    trained = train_decoder(vae, clips, size=opened.size, seed=here.seed if seed is None else seed, store=store,
                            log=out.with_suffix(".csv"), settings=settings)
    save_decoder(vae, out, dtype=torch.float16 if half else None)
    shutil.rmtree(store, ignore_errors=True)
    say(f"clips: {len(trained.clips)} trained on, {len(trained.held_out)} held out")
    for done, found in trained.validation.items():
        if done in (0, trained.steps):
            say(f"held out, after {done} steps: " + ", ".join(f"{k} {v:.5f}" for k, v in found.items()))
    say(f"loss: {trained.loss_first_tenth:.4f} over the first tenth of the steps, {trained.loss_last_tenth:.4f} over "
        "the last")
    print(f"decoder file: {out}")
