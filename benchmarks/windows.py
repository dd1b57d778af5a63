"""Films longer than a window: is a seam to be seen, does the place stay, does it go on moving, is memory flat?

    python -m benchmarks.windows CLIP ... [--begin noise flow] [--long windows continue whole] [--stride 4 8 12]
                                 [--noise independent shared] [--temporal FILE ...] [--prompt TEXT ...] [--json FILE]
    python -m benchmarks.windows --memory 16 48 96 240 [--begin noise flow] [--json FILE]
    python -m benchmarks.windows --table FILE      # the docs' table of such a file

The first form animates the first frame of each CLIP, a file or a video of params.yaml, of which it takes the training
part. Films are begun from noise, or from the still carried along by the clip's optical flow as the default makes them
(`lnm.settings.sample_of`), by lnm-mini and the layers of many clips or those of --temporal, in every way that the
options make together, a row each; as decoded, without the still's own detail. Sheets and x-t slices go into --out. Rows
that --json holds already are kept, and their films not made again.

seam: change from frame to frame where a window begins or ends (a continuation: from its known frames to the new ones),
over that elsewhere in the film. 1: no more than within. "of flow": the same of what optical flow leaves unexplained.
Of what has no windows, "whole", the carried still itself ("carried") and the clip where it is long enough ("clip"), it
is taken where the windows' would be: what chance, and the taking up of the still every 16 frames, give.
motion, detail: over the clip's (its frames in so far as there are so many) and over the still's.
late / early: the last 16 frames over the first 16, in motion and in fine detail. Less than 1: it dies out, it blurs.
place: PSNR in dB of frames blurred by 4 pixels against the still, the second 16 frames and the last 16.

The second form makes films of so many frames, each in a process of its own, and says the most memory that each took
(Linux).
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.options import ended, parsed
from benchmarks.speed import machine
from eval.metrics import fidelity, motion
from eval.publish.figures.films import busiest_row, slices
from lnm import video
from lnm.errors import UserError
from lnm.files import write_json
from lnm.flow import carried, played
from lnm.latents import encode
from lnm.pipeline import LateNtMoviesPipeline
from lnm.schedulers import make_scheduler
from lnm.settings import sample_of
from lnm.stages.sample import carried_latents, film_of
from lnm.windows import LONG, NOISE, starts, stride_of
from lnm.workflow.resolve import settings

BEGIN = ("noise", "flow")
KEY = ("clip", "begin", "long", "noise", "stride")
MEASURED = ("seam", "seam of flow", "motion", "detail", "motion, late / early", "detail, late / early", "place early",
            "place late")
PART = 16  # frames of "early" and "late"
BLUR = 4.0  # pixels: what of a picture is its place, and not its waves


def borders(num_frames: int, long: str, window: int, stride: int) -> list[int]:
    """Frames t where the step from t - 1 to t crosses a window's border."""
    begins = starts(num_frames, window, stride)
    ends = [begin + window for begin in begins[:-1]]
    return sorted({*ends} if long == "continue" else {*begins[1:], *ends})


def ratio(steps: np.ndarray, at: list[int]) -> float:
    """Mean of a value a step (F - 1,) at the steps into frames `at`, over its mean at all others."""
    there = np.zeros(len(steps), bool)
    there[np.array(at, int) - 1] = True
    return float(steps[there].mean() / steps[~there].mean())


def seam(frames: np.ndarray, at: list[int]) -> dict[str, float]:
    """How much more a film uint8 (F, H, W, 3) changes at the steps into frames `at` than elsewhere."""
    return {"seam": ratio(motion.energies(frames), at), "seam of flow": ratio(motion.flow_warps(frames)["error"], at)}


def place(frames: np.ndarray, still: np.ndarray) -> float:
    """Mean PSNR in dB of blurred frames against the blurred still."""
    import cv2

    blur = lambda picture: cv2.GaussianBlur(picture, (0, 0), BLUR)  # noqa: E731
    return float(np.mean([fidelity.psnr(blur(frame), blur(still)) for frame in frames]))


def figures(frames: np.ndarray, still: np.ndarray, at: list[int]) -> dict[str, float]:
    """One film's row."""
    early, second, late = frames[:PART], frames[PART:2 * PART], frames[-PART:]
    return {**seam(frames, at),
            "motion": motion.motion_energy(frames), "detail": fidelity.detail(frames) / fidelity.detail(still[None]),
            "motion, late / early": motion.motion_energy(late) / motion.motion_energy(early),
            "detail, late / early": fidelity.detail(late) / fidelity.detail(early),
            "place early": place(second, still), "place late": place(late, still)}


def open_pipeline(bf16: bool) -> LateNtMoviesPipeline:
    """lnm-mini with the layers of many clips and the decoder in time."""
    pipe = LateNtMoviesPipeline.from_pretrained("lnm-mini", temporal="lnm-mini-motion",
                                                temporal_decoder="lnm-mini-decoder")
    pipe.scheduler = make_scheduler(pipe.scheduler, kind="dpm++")
    if bf16:
        pipe.unet.to(torch.bfloat16)
        pipe.text_encoder.to(torch.bfloat16)
    return pipe


# ---------------------------------------------------------------- films


@dataclass(frozen=True)
class Source:
    """What is animated: a clip's frames uint8 (N, H, W, 3), the first one the still; its frame rate; a prompt."""

    name: str
    frames: np.ndarray
    fps: float
    prompt: str


@dataclass(frozen=True)
class Way:
    """One way to make a long film; a stride and noise say nothing to a film that has no windows."""

    begin: str
    long: str
    stride: int | None
    noise: str | None

    def __str__(self) -> str:
        return " ".join(str(part) for part in (f"from {self.begin}", self.long, self.stride, self.noise) if part)


def ways(args: argparse.Namespace) -> list[Way]:
    """Every combination of the options, once."""
    found = [Way(begin, long, *((None, None) if long == "whole" else (stride_of(long, args.window, stride), noise)))
             for begin, long, noise, stride in product(args.begin, args.long, args.noise, args.stride)]
    return list(dict.fromkeys(found))


def source(clip: str, prompt: str | None, size: int) -> Source:
    """A video file, or the training part of a video of params.yaml with its own fps, cut and first prompt."""
    if Path(clip).exists():
        film = video.read(clip, size=size)
        return Source(Path(clip).stem, film.frames, film.fps, prompt or "ocean waves")
    told = settings("prepare", clip)
    frames = video.read(told.path, told.fps, size, told.crop, told.start, told.end).frames
    held = max(2, math.ceil(len(frames) * told.holdout)) if told.holdout else 0  # as lnm.stages.prepare cuts it
    return Source(clip, frames[:len(frames) - held], told.fps, prompt or told.prompts[0])


def film(pipe: LateNtMoviesPipeline, of: Source, way: Way, args: argparse.Namespace) -> np.ndarray:
    """One film uint8 (F, H, W, 3), as lnm.stages.sample makes it, as decoded."""
    told = sample_of("lnm-mini").model_copy(update={
        "num_frames": args.frames, "window": args.window, "window_stride": way.stride, "long": way.long,
        "noise": way.noise or "independent", "num_inference_steps": args.steps, "begin": way.begin})
    if name := told.decoder():
        pipe.load_temporal_decoder(name)
    else:
        pipe.unload_temporal_decoder()
    begun = carried_latents(pipe, of.frames[0], of.frames, args.frames) if way.begin == "flow" else None
    return film_of(pipe, encode(pipe.vae, of.frames[:1]), of.prompt, of.fps, told, args.seed, begun=begun)


def beside(of: Source, begins: list[str], frames: int) -> Iterator[tuple[Way, np.ndarray]]:
    """What films are held against: the carried still as it is, and the clip where it is long enough."""
    if "flow" in begins:
        yield Way("flow", "carried", None, None), np.stack(list(carried(
            of.frames[0], *played(of.frames[0], of.frames, frames))))
    if len(of.frames) >= frames:
        yield Way("the clip", "clip", None, None), of.frames[:frames]


def measured_at(way: Way, args: argparse.Namespace) -> list[int]:
    """The strides whose borders a film is looked at: its own; without windows those that windows have in this run."""
    strides = [way.stride] if way.stride else [stride_of("windows", args.window, stride) for stride in args.stride]
    return list(dict.fromkeys(strides))


def rows_of(frames: np.ndarray, of: Source, way: Way, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row a film and stride that it is measured at."""
    moving = motion.motion_energy(of.frames[:args.frames])
    for stride in measured_at(way, args):
        long = way.long if way.stride else "windows"
        found = figures(frames, of.frames[0], borders(args.frames, long, args.window, stride))
        found["motion"] /= moving
        yield {"clip": of.name, **asdict(way), "stride": stride, **found}


def films(args: argparse.Namespace) -> dict[str, Any]:
    """All rows, written to --json after every film."""
    record = {"machine": machine("cpu"), "frames": args.frames, "window": args.window, "steps": args.steps,
              "seed": args.seed, "precision": "bf16" if args.bf16 else "float32", "layers": {}, "rows": []}
    if args.json and args.json.is_file():
        before = json.loads(args.json.read_text(encoding="utf-8"))
        if any(before[key] != record[key] for key in record if key not in ("rows", "layers")):
            raise UserError(f"{args.json}: of another machine or other options; give another file")
        record = before
    pipe = open_pipeline(args.bf16)
    args.out.mkdir(parents=True, exist_ok=True)
    prompts, layers = (given * len(args.clips) if given and len(given) == 1 else given or [None] * len(args.clips)
                       for given in (args.prompt, args.temporal))
    for name, prompt, temporal in zip(args.clips, prompts, layers, strict=True):
        of, rows = source(name, prompt, args.size), []
        if temporal:
            pipe.load_temporal(temporal)
        record["layers"][of.name] = "fine-tuned" if temporal else "of many clips"
        done = {tuple(row[name] for name in KEY) for row in record["rows"]}
        for way, made in [*beside(of, args.begin, args.frames), *((way, None) for way in ways(args))]:
            if all((of.name, way.begin, way.long, way.noise, stride) in done for stride in measured_at(way, args)):
                continue
            began = time.perf_counter()
            made = film(pipe, of, way, args) if made is None else made
            seconds = time.perf_counter() - began
            found = [row | {"seconds": seconds} for row in rows_of(made, of, way, args)]
            record["rows"] += [row for row in found if tuple(row[name] for name in KEY) not in done]
            for row in found:
                print("  ".join(f"{v:.3f}" if isinstance(v, float) else f"{v}" for v in row.values()), flush=True)
            rows.append((f"{of.name}: {way}", made))
            video.write_mp4(args.out / f"{of.name} {way}.mp4".replace(" ", "-"), made, of.fps)
            if args.json:
                write_json(args.json, record)
        if rows:
            video.contact_sheet(rows, columns=12, path=args.out / f"{of.name}.png")
            slices(rows, busiest_row(rows[0][1]), args.out / f"{of.name}-slices")
    return record


def films_markdown(record: dict[str, Any]) -> str:
    """docs/choices.md's table: a row a way, means over clips, the least and the most seam."""
    lines = [["begun from", "how", "stride", "noise", "films", "seam", "seam of flow", "motion", "detail",
              "motion, late / early", "detail, late / early", "place, dB: frames 16 to 31, last 16"],
             ["---"] * 4 + ["--:"] * 8]
    order = ("windows", "continue", "whole", "carried", "clip")
    keys = dict.fromkeys((row["begin"], row["long"], row["stride"], row["noise"]) for row in record["rows"])
    for begin, long, stride, noise in sorted(keys, key=lambda key: (
            ("noise", "flow", "the clip").index(key[0]), order.index(key[1]), key[3] or "", key[2])):
        own = [row for row in record["rows"]
               if (row["begin"], row["long"], row["stride"], row["noise"]) == (begin, long, stride, noise)]
        mean = {name: float(np.mean([row[name] for row in own])) for name in MEASURED}
        spread = [f"{mean[name]:.3f} ({min(row[name] for row in own):.2f} to {max(row[name] for row in own):.2f})"
                  for name in ("seam", "seam of flow")]
        lines.append([begin, long, str(stride), noise or "", str(len(own)), *spread,
                      *(f"{mean[name]:.2f}" for name in MEASURED[2:6]),
                      f"{mean['place early']:.1f}, {mean['place late']:.1f}"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# ---------------------------------------------------------------- memory


def most_resident(reset: bool = False) -> float:
    """The most resident memory of this process in MiB since the last reset (Linux: proc(5), clear_refs)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def memory(lengths: list[int], longs: list[str], begins: list[str]) -> list[dict[str, Any]]:
    """Films in one step, the peak of each in MiB; the first one, which is not counted, loads what is loaded once."""
    pipe = open_pipeline(False)
    pipe.set_progress_bar_config(disable=True)
    side = pipe.unet.config.sample_size * pipe.vae_scale_factor
    picture = np.random.default_rng(0).integers(0, 256, (side // 4, side // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    clip = np.stack([np.roll(picture, shift, 1) for shift in range(60)])
    rows = []
    for begin in begins:
        if begin == "flow":
            pipe.unload_temporal_decoder()  # as such films are decoded
        for frames, long in [(PART, "windows"), *((frames, long) for long in longs for frames in lengths)]:
            before = most_resident(reset=True)
            begun = carried_latents(pipe, picture, clip, frames) if begin == "flow" else None
            pipe(picture, prompt="ocean waves", num_frames=frames, fps=8, num_inference_steps=1, long=long,
                 output_type="uint8", video_latents=begun, strength=1.0)
            rows.append({"begin": begin, "long": long, "frames": frames, "most": most_resident(), "before": before})
            print(f"from {begin}, {long}, {frames} frames: {rows[-1]['most']:.0f} MiB at most, {before:.0f} before the "
                  "film", flush=True)
    return rows


def memories(args: argparse.Namespace) -> dict[str, Any]:
    """`memory` of each length and way in a process of its own: what one film leaves in the allocator, the next finds.
    Medians over --rounds. Rows of this machine that --json holds already are kept."""
    record: dict[str, Any] = {"machine": machine("cpu"), "window": PART, "rounds": args.rounds, "memory": []}
    rows = record["memory"]
    if args.json and args.json.is_file():
        before = json.loads(args.json.read_text(encoding="utf-8"))
        rows += [row for row in before["memory"] if all(before[key] == record[key] for key in ("machine", "rounds"))]
    done = {(row["begin"], row["long"], row["frames"]) for row in rows}
    for begin, long, frames in product(args.begin, args.long, args.memory):
        if (begin, long, frames) in done:
            continue
        taken = []
        for _ in range(args.rounds):
            with multiprocessing.get_context("spawn").Pool(1) as alone:
                taken.append(alone.apply(memory, ([frames], [long], [begin]))[-1])
        rows.append(taken[0] | {key: float(np.median([row[key] for row in taken])) for key in ("most", "before")}
                    | {"least": min(row["most"] for row in taken), "greatest": max(row["most"] for row in taken)})
        if args.json:
            write_json(args.json, record)
    return record


def memory_markdown(record: dict[str, Any]) -> str:
    """docs/choices.md's table: MiB by the number of frames, and the most over 48 frames."""
    lengths = sorted({row["frames"] for row in record["memory"]})
    last = f"{lengths[-1]} over {48 if 48 in lengths else lengths[0]}"
    lines = [["begun from", "how", *(f"{frames} frames" for frames in lengths), last],
             ["---", "---"] + ["--:"] * (len(lengths) + 1)]
    for begin, long in dict.fromkeys((row["begin"], row["long"]) for row in record["memory"]):
        most = {row["frames"]: row["most"] for row in record["memory"] if (row["begin"], row["long"]) == (begin, long)}
        lines.append([{"flow": "the carried still"}.get(begin, begin), long,
                      *(f"{most[frames]:.0f}" for frames in lengths),
                      f"{most[lengths[-1]] / most[48 if 48 in most else lengths[0]]:.2f}"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown(record: dict[str, Any]) -> str:
    """The table of either kind of record."""
    return memory_markdown(record) if "memory" in record else films_markdown(record)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.windows", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", metavar="CLIP", help="a video file, or the name of a video in params.yaml")
    parser.add_argument("--prompt", nargs="+", help="one, or one a clip (default: ocean waves; of a video its first)")
    parser.add_argument("--temporal", nargs="+", metavar="FILE", help="temporal layers, one file, or one a clip")
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--begin", nargs="+", choices=BEGIN, default=["noise"])
    parser.add_argument("--long", nargs="+", choices=LONG, help="default: all; of --memory those that are flat")
    parser.add_argument("--window", type=int, default=16)
    parser.add_argument("--stride", type=int, nargs="+", default=[None], help="default: the pipeline's own")
    parser.add_argument("--noise", nargs="+", choices=NOISE, default=["independent"])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true", help="the U-Net in bfloat16")
    parser.add_argument("--out", type=Path, default=Path("build/windows"))
    parser.add_argument("--memory", type=int, nargs="+", metavar="FRAMES")
    parser.add_argument("--rounds", type=int, default=1, help="of --memory: the median is said")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the table of such a file, and end")
    args = parsed(parser, argv)
    if not args.table and not args.memory and not args.clips:
        parser.error("give a CLIP, or --memory")
    args.long = args.long or list(LONG[:2] if args.memory else LONG)
    return ended(args, markdown, lambda: memories(args) if args.memory else films(args))


if __name__ == "__main__":
    sys.exit(main())
