"""Clip by still: how far each clip's own held-out frames are from it, and those of every other clip.

    python -m benchmarks.stills

Reads the clips of data/ and footage/ at 128 pixels (`lnm footage NAME` fetches the latter), and prints a matrix of
`lnm.preflight.still_distance` for the first and the last held-out frame, and what parts own pairs from foreign ones.
"""

from __future__ import annotations

import math

import numpy as np

from lnm import preflight, video
from lnm.demo.footage import CATALOGUE
from lnm.project import root

HOLDOUT = 0.25


def clips() -> dict[str, np.ndarray]:
    """{name: uint8 (F, 128, 128, 3)} of all clips that are there."""
    wanted = {f"data/{name}.mp4": (name, 8.0, None) for name in ("ocean", "clouds")}
    wanted |= {f"footage/{name}.mp4": (name, 12.5, clip.crop) for name, clip in CATALOGUE.items()}
    return {name: video.read(root() / path, fps, 128, crop).frames
            for path, (name, fps, crop) in wanted.items() if (root() / path).is_file()}


def main() -> None:
    found = clips()
    own, foreign = [], []
    for which in ("first", "last"):
        stills = {name: frames[-max(2, math.ceil(len(frames) * HOLDOUT)):][0 if which == "first" else -1]
                  for name, frames in found.items()}
        print(f"\n| clip, and the {which} held-out frame of | {' | '.join(found)} |\n| --- |{' --- |' * len(found)}")
        for name, frames in found.items():
            train = frames[:-max(2, math.ceil(len(frames) * HOLDOUT))]
            row = {other: preflight.still_distance(train, still) for other, still in stills.items()}
            print(f"| {name} | {' | '.join(f'{value:.1f}' for value in row.values())} |")
            own.append(row.pop(name))
            foreign += row.values()
    print(f"\n{len(own)} own pairs: at most {max(own):.2f}; {len(foreign)} foreign ones: at least {min(foreign):.2f}; "
          f"the warning comes from {preflight.STILL:g} on")


if __name__ == "__main__":
    main()
