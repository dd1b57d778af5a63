"""Films longer than a window: is a seam to be seen, does the place stay, does it go on moving, is memory flat?

    python -m benchmarks.windows CLIP ... [--prompt TEXT ...] [--frames 96] [--long windows continue whole] [--out DIR]
    python -m benchmarks.windows --memory 48 240 [--begin noise flow]

The first form animates the first frame of each clip by lnm-mini and the layers of many clips, in each of the ways to
make a long film, and prints a row a film. Sheets, x-t slices and figures (windows.json) go into DIR.

seam: change from frame to frame where a window begins or ends (a continuation: from its known frames to the new ones),
over that elsewhere in the film. 1: no more than within. "of flow": the same of what optical flow leaves unexplained.
Of "whole", which has no windows, it is taken where the others' would be: what chance gives.
late / early: the last 16 frames over the first 16, in motion and in fine detail. Less than 1: it dies out, it blurs.
place: PSNR in dB of frames blurred by 4 pixels against the still, the second 16 frames and the last 16.

The second form makes films of so many frames and prints the most memory that each took (Linux), by --begin from noise
or from the still carried along by a clip's optical flow. Give one length a run: what one film leaves in the allocator,
the next finds.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from eval.metrics import fidelity, motion
from eval.publish.figures.films import busiest_row, slices
from lnm import video
from lnm.pipeline import LateNtMoviesPipeline
from lnm.schedulers import make_scheduler
from lnm.stages.sample import carried_latents
from lnm.windows import LONG, starts, stride_of

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
            "motion": motion.motion_energy(frames),
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


def films(args: argparse.Namespace) -> None:
    pipe = open_pipeline(args.bf16)
    args.out.mkdir(parents=True, exist_ok=True)
    prompts, found = args.prompt or ["ocean waves"], []
    for path, prompt in zip(args.clips, prompts * len(args.clips) if len(prompts) == 1 else prompts, strict=True):
        clip = video.read(path, size=128)
        rows = []
        for long in args.long:
            stride = stride_of(long, args.window, args.stride)
            began = time.perf_counter()
            film = pipe(clip.frames[0], prompt=prompt, num_frames=args.frames, fps=clip.fps, long=long,
                        window=args.window, window_stride=args.stride, noise=args.noise, output_type="uint8",
                        num_inference_steps=args.steps, generator=torch.Generator().manual_seed(args.seed)).frames[0]
            at = borders(args.frames, long, args.window, stride_of("windows", args.window, args.stride)
                         if long == "whole" else stride)
            found.append({"clip": path.stem, "long": long, "stride": stride, "noise": args.noise, "steps": args.steps,
                          **figures(film, clip.frames[0], at), "seconds": time.perf_counter() - began})
            print("  ".join(f"{v:.3f}" if isinstance(v, float) else f"{v}" for v in found[-1].values()), flush=True)
            rows.append((f"{path.stem}: {long}", film))
            video.write_mp4(args.out / f"{path.stem}-{long}.mp4", film, clip.fps)
        video.contact_sheet(rows, columns=12, path=args.out / f"{path.stem}.png")
        slices(rows, busiest_row(rows[0][1]), args.out / f"{path.stem}-slices")
    (args.out / "windows.json").write_text(json.dumps(found, indent=1) + "\n")


def most_resident(reset: bool = False) -> float:
    """The most resident memory of this process in MiB since the last reset (Linux: proc(5), clear_refs)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def memory(lengths: list[int], ways: list[str], begins: list[str]) -> None:
    """Films in one step, the peak of each; the first one, which is not counted, loads what is loaded once."""
    pipe = open_pipeline(False)
    pipe.set_progress_bar_config(disable=True)
    side = pipe.unet.config.sample_size * pipe.vae_scale_factor
    picture = np.random.default_rng(0).integers(0, 256, (side // 4, side // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    clip = np.stack([np.roll(picture, shift, 1) for shift in range(60)])
    for begin in begins:
        if begin == "flow":
            pipe.unload_temporal_decoder()  # as such films are decoded
        for frames, long in [(PART, "windows"), *((frames, long) for long in ways for frames in lengths)]:
            before = most_resident(reset=True)
            begun = carried_latents(pipe, picture, clip, frames) if begin == "flow" else None
            pipe(picture, prompt="ocean waves", num_frames=frames, fps=8, num_inference_steps=1, long=long,
                 output_type="uint8", video_latents=begun, strength=1.0)
            print(f"from {begin}, {long}, {frames} frames: {most_resident():.0f} MiB at most, {before:.0f} before the "
                  "film", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.windows", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path, metavar="CLIP")
    parser.add_argument("--prompt", nargs="+", help="one, or one a clip (default: ocean waves)")
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--long", nargs="+", choices=LONG, default=list(LONG))
    parser.add_argument("--window", type=int, default=16)
    parser.add_argument("--stride", type=int, help="default: the pipeline's own")
    parser.add_argument("--noise", default="independent")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true", help="the U-Net in bfloat16")
    parser.add_argument("--out", type=Path, default=Path("build/windows"))
    parser.add_argument("--memory", type=int, nargs="+", metavar="FRAMES")
    parser.add_argument("--begin", nargs="+", choices=["noise", "flow"], default=["noise"], help="of --memory")
    args = parser.parse_args()
    if args.memory:
        memory(args.memory, args.long, args.begin)
    elif args.clips:
        films(args)
    else:
        parser.error("give a CLIP, or --memory")


if __name__ == "__main__":
    main()
