"""Ways to fine-tune and to film, tried on the end of what a clip gives to train on, which no report looks at.

    python -m benchmarks.choosing VIDEO ... [--steps 60 120] [--film scheduler=ddim,strength=0.6 ...] [--filmed]
        [--json FILE]

VIDEO: one of params.yaml, prepared (`dvc repro prepare@VIDEO`); the frames that are held out there are not read. The
last 16 frames of its training part are set apart. The layers are tuned on what lies before them, as params.yaml says,
once for each of --steps; films begin from the first of the 16, and what carries it along is the flow of what lies
before. The first row is params.yaml's own way to film; each --film is one more, changes of its section `sample`.

A row a way, means over films, as multiples of those 16 frames through the autoencoder: motion, flow speed, flow-warp
error, detail; FID of the 16 frames as they are (--fid); turn in degrees; frame 0, dB below the still through the
autoencoder; spectrum in dB; distance, as the report has it. Films stand there as they are decoded; --filmed: with the
still's own detail (`sample.restore_detail`), beside the 16 frames as they were filmed. What was tuned is kept in
--cache.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import yaml

from eval.features.inception import INCEPTION_FILE, Inception
from eval.metrics import fidelity
from eval.metrics.film import alone, beside
from eval.metrics.frechet import fid_from_features
from eval.publish.nearest import parts
from eval.records.markdown import grid
from lnm import video
from lnm.detail import with_detail
from lnm.errors import UserError
from lnm.hub import locate_temporal
from lnm.latents import decode, load_latents
from lnm.pipeline import LateNtMoviesPipeline
from lnm.project import read_yaml
from lnm.runs import make_accelerator
from lnm.schedulers import make_scheduler
from lnm.settings import Finetune, Sample, validated
from lnm.stages.sample import carried_frames, film_of, film_seed, latents_of
from lnm.temporal_file import load_temporal
from lnm.training import train

APART = 16  # frames: a film of the default


class Material:
    """A prepared clip without what is held out: `before`, which may be learned from, and `real`, what comes next."""

    def __init__(self, folder: Path):
        self.frames = video.read_frames(folder / "train")
        self.latents = load_latents(folder)["train"]
        self.fps = json.loads((folder / "clip.json").read_text())["fps"]
        self.prompt = json.loads((folder / "prompts.json").read_text())["prompt"]
        self.before, self.real = self.frames[:-APART], self.frames[-APART:]


def changes(text: str) -> dict:
    """KEY=VALUE,KEY=VALUE as a mapping, each value as YAML has it."""
    return {key: yaml.safe_load(value) for key, _, value in (part.partition("=") for part in text.split(",") if part)}


class Measures:
    """What a film is beside a clip's last frames through the autoencoder, or, `filmed`, beside these as they are."""

    def __init__(self, pipe: LateNtMoviesPipeline, clip: Material, inception: Inception | None, filmed: bool = False):
        self.clip, self.inception = clip, inception
        through = decode(pipe.vae, clip.latents[-APART:])
        self.real = clip.real if filmed else through
        self.row = alone(self.real)
        self.ceiling = fidelity.psnr(through[0], clip.real[0])
        if inception:
            self.features = inception(clip.real)
            self.fid = fid_from_features(inception(through), self.features)

    def __call__(self, film: np.ndarray) -> dict[str, float]:
        """A row of numbers by name."""
        own = alone(film)
        found = own | beside(film, own, self.real, self.row)
        change, speed, decibels, turn = (found[name].value for name in (
            "motion_ratio", "flow_speed_ratio", "spectrum_gap", "flow_direction_gap"))
        (warp, detail), (real, most) = ([row[name].value for name in ("flow_warp", "detail")]
                                        for row in (own, self.row))
        row = {"motion": change, "speed": speed, "flow-warp": warp / real, "detail": detail / most, "turn": turn,
               "frame 0": self.ceiling - fidelity.psnr(film[0], self.clip.real[0]), "spectrum": decibels,
               "distance": float(np.mean(parts(warp, real, speed, decibels, turn)))}
        if self.inception:
            row["FID"] = fid_from_features(self.inception(film), self.features) / self.fid
        return row


def tuned(clip: Material, checkpoint: str, settings: Finetune, seed: int, cache: Path,
          name: str) -> LateNtMoviesPipeline:
    """A pipeline whose layers have learned what lies before the clip's last frames; from `cache` where they lie."""
    pipe = LateNtMoviesPipeline.from_pretrained(checkpoint, conv_placement=settings.conv_placement)
    pipe.register_to_config(mask_value=float(settings.mask_value))
    latents = clip.latents[:-APART]
    about = [settings.model_dump_json(), clip.prompt, clip.fps, seed, checkpoint]
    key = hashlib.sha256(json.dumps(about).encode() + latents.numpy().tobytes()).hexdigest()[:16]
    kept = cache / f"{name}-{key}" / "temporal.safetensors"
    if settings.init and not kept.is_file():
        load_temporal(pipe.unet, locate_temporal(settings.init))
    if kept.is_file():
        pipe.load_temporal(kept)
    else:
        train(pipe, latents, clip.prompt, clip.fps, settings, make_accelerator(settings, "cpu"), seed, name=name,
              pictures=clip.before)
        kept.parent.mkdir(parents=True, exist_ok=True)
        pipe.save_temporal(kept)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def films(pipe: LateNtMoviesPipeline, clip: Material, settings: Sample, seed: int,
          filmed: bool = False) -> list[np.ndarray]:
    """`settings.seeds` films of the first of the clip's last frames, each by its own noise and from its own place of
    the clip's flow, as decoded or, `filmed`, with the still's own detail where `settings.restores` it."""
    trained = pipe.scheduler
    pipe.scheduler = make_scheduler(trained, kind=settings.scheduler)
    still, made = clip.real[0], []
    for k in range(settings.seeds):
        pictures = carried_frames(still, clip.before, APART, k) if settings.begin == "flow" else None
        film = film_of(pipe, clip.latents[-APART:-APART + 1], clip.prompt, clip.fps, settings, film_seed(seed, k),
                       begun=None if pictures is None else latents_of(pipe, pictures))
        made.append(with_detail(pipe.vae, film, pictures) if filmed and settings.restores else film)
    pipe.scheduler = trained
    return made


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choosing", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", metavar="VIDEO")
    parser.add_argument("--steps", type=int, nargs="+", metavar="N", help="(default: as params.yaml has it)")
    parser.add_argument("--tune", default="", metavar="KEY=VALUE,...", help="changes of the section finetune")
    parser.add_argument("--film", action="append", default=[], metavar="KEY=VALUE,...")
    parser.add_argument("--films", type=int, default=2, help="of a way (default: 2)")
    parser.add_argument("--filmed", action="store_true", help="with the still's detail, beside the clip as filmed")
    parser.add_argument("--fid", action="store_true", help="half a minute of a core more a way")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--cache", type=Path, default=Path("build/choosing"))
    parser.add_argument("--out", type=Path, metavar="DIR", help="films and a sheet of them as well")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    params = read_yaml(Path("params.yaml"))
    seed, made_as = params["seed"], {**params["sample"], "num_frames": APART, "seeds": args.films}
    try:  # all of them before the first is trained
        tune = validated(Finetune, {**params["finetune"], "preview_every": 0, **changes(args.tune)})
        ways = {way: validated(Sample, {**made_as, **changes(way)}) for way in ["", *args.film]}
    except UserError as error:
        parser.error(str(error))
    inception = Inception(Path("weights") / INCEPTION_FILE) if args.fid else None
    found = []
    for name in args.videos:
        if not (folder := args.results / name / "prepare").is_dir():
            parser.error(f"{folder}: no such folder; run `dvc repro prepare@{name}` first")
        clip = Material(folder)
        for steps in args.steps or [tune.ceiling]:
            own = tune.model_copy(update={"steps": steps})
            pipe = tuned(clip, params["checkpoint"]["name"], own, seed, args.cache, f"{name}-{steps}")
            measured = Measures(pipe, clip, inception, args.filmed)
            sheet = [("real" if args.filmed else "real, through the autoencoder", measured.real)]
            for way, sample in ways.items():
                made = films(pipe, clip, sample, seed, args.filmed)
                rows = [measured(film) for film in made]
                found.append({"video": name, "steps": steps, "way": way or "params.yaml"}
                             | {key: float(np.mean([row[key] for row in rows])) for key in rows[0]})
                print(*(f"{value:.2f}" if isinstance(value, float) else value for value in found[-1].values()),
                      flush=True)
                sheet.append((way or "params.yaml", made[0]))
            if args.out:
                args.out.mkdir(parents=True, exist_ok=True)
                video.contact_sheet(sheet, path=args.out / f"{name}-{steps}.png")
    print(grid(list(found[0]), [[f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()]
                                for row in found]))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
