"""Remakes the built-in clips in data/, or draws a sheet of stills."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from lnm import video
from lnm.demo.scenes.clips import CLIP_CRF, CLIP_FPS, CLIP_FRAMES, CLIP_SIZE, CLIPS, render_clip
from lnm.demo.scenes.renderer import render
from lnm.demo.scenes.scene import KINDS, draw


def write_stills(sheet: Path, count: int, seed: int) -> None:
    """A contact sheet of `count` stills, every kind in turn, seeds from `seed`, shuffled."""
    drawn = [draw(KINDS[i % len(KINDS)], seed + i) for i in range(count)]
    drawn = [drawn[i] for i in np.random.default_rng(seed).permutation(len(drawn))]
    stills = np.stack([render(scene, [0.0])[0] for scene in drawn])
    rows = [(" | ".join(scene.kind for scene in drawn[i:i + 8]), stills[i:i + 8]) for i in range(0, len(drawn), 8)]
    video.contact_sheet(rows, path=sheet)


def write_clips(out: Path, sheet: Path, frames: int = CLIP_FRAMES, size: int = CLIP_SIZE) -> None:
    """The built-in clips as `out`/NAME.mp4, scenes.json that describes them, and a contact sheet."""
    rows, described = [], {}
    for name, clip in CLIPS.items():
        print(f"{name}: rendering {frames} frames", flush=True)
        film = render_clip(name, frames, size)
        file = video.write_mp4(out / f"{name}.mp4", film, CLIP_FPS, crf=CLIP_CRF)
        scene = draw(clip["kind"], clip["seed"])
        rows += [(f"{name}: {scene.caption}", film), (f"{name}: eight consecutive frames", film[:8])]
        described[name] = {"file": file.name, "fps": CLIP_FPS, "frames": frames, "size": size,
                           "speed": clip["speed"], "prompts": clip["prompts"], **scene.describe()}
    (out / "scenes.json").write_text(json.dumps(described, indent=2) + "\n")
    video.contact_sheet(rows, path=sheet)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m lnm.demo.scenes", description="Renders the built-in clips.")
    parser.add_argument("--out", type=Path, default=Path("data"), metavar="FOLDER", help="where to (default: data)")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="contact sheet (default: FOLDER/sheet.png)")
    parser.add_argument("--stills", type=int, metavar="N", help="only a sheet of N stills of every scene, shuffled")
    parser.add_argument("--seed", type=int, default=500_000, help="first seed of those stills (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.stills is not None:
        if args.stills < 1:
            parser.error(f"--stills {args.stills}: must be 1 or more")
        sheet = args.sheet or Path("stills.png")
        write_stills(sheet, args.stills, args.seed)
        print(f"{sheet}: {args.stills} stills")
        return
    sheet = args.sheet or args.out / "sheet.png"
    write_clips(args.out, sheet)
    print(f"{args.out}: {', '.join(CLIPS)}, scenes.json; look at {sheet}")


if __name__ == "__main__":
    main()
