"""`python -m lnm animate STILL --like CLIP --prompt "..."`: from a still and a clip to a film, in one command.

The same code and the same settings (params.yaml) as the pipeline's stages. What was learned from a clip is kept in
store/animate, so another still in its manner takes seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

from lnm.params import UserError, Video, load, resolve_stage, root


def animate(args: argparse.Namespace) -> Path:
    """Prepare, fine-tune (or find what was learned before), sample; returns the film's path."""
    params = load()
    out = Path(args.out or f"{Path(args.still).stem}_film.mp4").expanduser().absolute()
    if out.suffix not in (".mp4", ".gif"):
        raise UserError(f"--out {args.out}: the name must end in .mp4 or .gif")
    if not out.parent.is_dir():
        raise UserError(f"--out {args.out}: there is no folder {out.parent}; make it first")
    for flag, file in (("STILL", args.still), ("--like", args.like)):
        if not file.startswith("footage:") and not Path(file).expanduser().exists():
            raise UserError(f"{flag}: {file} does not exist")
    for flag, value in (("--frames", args.frames), ("--fps", args.fps), ("--steps", args.steps),
                        ("--inference-steps", args.inference_steps)):
        if value is not None and not 0 < value < float("inf"):
            raise UserError(f"{flag} {value}: must be a number above 0")
    if not args.prompt.strip():
        raise UserError('--prompt "": say in words what is seen')
    if args.seed is not None and args.seed < 0:
        raise UserError(f"--seed {args.seed}: must be 0 or more")

    def absolute(file: str) -> str:
        return file if file.startswith("footage:") else str(Path(file).expanduser().absolute())

    from lnm import video as video_  # the imports below cost seconds: after the arguments are known to be good

    fps = args.fps or min(8.0, video_.read(_file(absolute(args.like)), max_frames=2).source_fps)
    params.videos = {"film": Video(path=absolute(args.like), fps=float(fps), prompts=[args.prompt],
                                   still=absolute(args.still))}
    params.sample.seeds = 1
    params.sample.num_frames = args.frames or params.sample.num_frames
    params.sample.num_inference_steps = args.inference_steps or params.sample.num_inference_steps
    params.seed = params.seed if args.seed is None else args.seed
    params.finetune.steps = args.steps or params.finetune.steps
    params.finetune.preview_every = 0
    stages = {stage: resolve_stage(params, stage, "film") for stage in ("prepare", "finetune", "sample")}

    from lnm import finetune, latents, pipeline

    store = root() / "store" / "animate"
    prepared = store / _key(stages["prepare"]) / "prepare"
    if not (prepared / "clip.json").exists():  # the last file that the stage writes
        latents.prepare(stages["prepare"], prepared)
    motion = {k: v for k, v in stages["prepare"].items() if not k.startswith(("still", "clip"))}
    learned = store / _key([motion, stages["finetune"]]) / "finetune"
    if not (learned / "temporal.safetensors").exists():
        finetune.finetune(stages["finetune"], prepared, learned, learned.parent / "store")
    films = store / _key([stages["sample"], prepared.parent.name, learned.parent.name]) / "sample"
    pipeline.sample_films(stages["sample"], prepared, learned, films, methods=("ours",))
    made = films / "ours" / "seed_0" / f"film{out.suffix}"
    part = out.with_name(out.name + ".part")
    part.write_bytes(made.read_bytes())
    os.replace(part, out)
    return out


def _file(path: str) -> Path:
    from lnm import footage

    return root() / footage.path(path.removeprefix("footage:")) if path.startswith("footage:") else Path(path)


def _key(what) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lnm", description="LateNtMovies: a still becomes a short film.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("animate", help="animate a still in the manner of a clip",
                                  description=__doc__.split("\n\n")[0] + " Settings that are not given come from "
                                  "params.yaml.")
    command.add_argument("still", help="the picture to animate (any size; the centre square is used)")
    command.add_argument("--like", required=True, metavar="CLIP",
                         help="the video to learn motion from: a file, a folder of images, or footage:NAME")
    command.add_argument("--prompt", required=True, help="what is seen, in words")
    command.add_argument("--out", help="FILE.mp4 or FILE.gif (default: STILL's name + _film.mp4, here)")
    command.add_argument("--frames", type=int, help="frames of the film")
    command.add_argument("--fps", type=float, help="frames a second, of the film and of the clip as it is learned from "
                         "(default: 8, or the clip's own if that is less)")
    command.add_argument("--steps", type=int, help="fine-tuning steps (the paper: 1800 to 3600)")
    command.add_argument("--inference-steps", type=int, help="sampling steps (the paper: 15)")
    command.add_argument("--seed", type=int)
    args = parser.parse_args(argv)
    try:
        print(f"film: {animate(args)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
