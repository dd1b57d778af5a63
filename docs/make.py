"""The README's pictures, from results/: python docs/make.py (after make repro)."""

from pathlib import Path

import numpy as np
from PIL import Image

from lnm import video
from lnm.project import root
from lnm.workflow.params import load

GAP = 4


def main() -> None:
    docs, results, rows = Path(__file__).parent, root() / "results", []
    names = [name for name in load().videos if (results / name / "sample").is_dir()]
    n = min(len(video.read_frames(results / name / "sample" / "ours" / "seed_0")) for name in names)
    for name in names:
        films = [results / name / part
                 for part in ("prepare/heldout", "sample/ours/seed_0", "sample/frame_by_frame/seed_0")]
        films = [video.read_frames(film)[:n] for film in films]
        pad = [np.pad(film, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255) for film in films]
        rows.append(np.concatenate(pad, axis=2))
        for picture, kept in ((results / name / "evaluate" / "sheet.png", f"sheet-{name}.webp"),
                              (results / "paper" / "figures" / f"slices_{name}.png", f"slices-{name}.png")):
            picture = Image.open(picture).convert("RGB")
            if kept.endswith(".webp"):
                picture.save(docs / kept, quality=85, method=6)
            else:
                picture.quantize(256).save(docs / kept, optimize=True)  # a third of the size; one sees no difference
    video.write_gif(docs / "films.gif", np.concatenate(rows, axis=1), fps=8)


if __name__ == "__main__":
    main()
