"""Which conditioning: mask 0 or mask 1, with or without noise on the still in training. Decided by looking.

    python -m benchmarks.conditioning VIDEO [--steps N] [--out docs/conditioning]

Fine-tunes the temporal layers four times on a prepared video (`dvc repro prepare@VIDEO` first), samples two films of
each with frame 0 left free, prints a table and writes a contact sheet and conditioning-VIDEO.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from eval.metrics import fidelity, motion
from lnm import video
from lnm.project import root
from lnm.stages.finetune import finetune
from lnm.stages.sample import sample_films
from lnm.workflow.resolve import settings

CHOICES = [(0, 0.0), (0, 0.1), (1, 0.0), (1, 0.1)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conditioning", description=__doc__.split("\n\n")[0])
    parser.add_argument("video")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    args = parser.parse_args()
    prepared = root() / "results" / args.video / "prepare"
    real, through = (video.read_frames(prepared / name) for name in ("heldout", "heldout_vae"))
    training, sampling = (settings(stage, args.video).arguments() for stage in ("finetune", "sample"))
    sampling["settings"] = sampling["settings"].model_copy(update={"restore_detail": False})  # within the ceiling
    n, seeds = min(sampling["settings"].num_frames, len(real)), sampling["settings"].seeds
    real, through = real[:n], through[:n]
    ceiling = fidelity.psnr(through[0], real[0])
    rows, table = [("held out, through the VAE", through)], []
    for mask, noise in CHOICES:
        changes = {"mask_value": mask, "still_noise": noise, "steps": args.steps, "preview_every": 0, "seeds": 1,
                   "identity_steps": 0, "noise_steps": 0}
        training["settings"] = training["settings"].model_copy(update=changes)
        work = root() / "store" / "conditioning" / args.video / f"mask{mask}_noise{noise}_steps{args.steps}"
        temporal = work / "finetune" / "temporal.safetensors"
        if not temporal.exists():
            finetune(prepared, temporal.parent, work / "store", **training)
        sample_films(prepared, temporal, work / "sample", **sampling)
        for method in ("ours", "frame_by_frame"):
            films = [video.read_frames(work / "sample" / method / f"seed_{k}") for k in range(seeds)]
            if method == "frame_by_frame" and noise:
                continue  # the frozen checkpoint was not trained: the same film as without noise
            mean = lambda f, films=films: float(np.mean([f(x) for x in films]))  # noqa: E731
            table.append({
                "mask": mask, "still_noise": noise, "method": method,
                "motion": round(mean(motion.motion_energy) / motion.motion_energy(real), 3),
                "flow_warp": round(mean(lambda x: motion.flow_warp(x)["error"]), 4),
                "detail": round(mean(fidelity.detail) / fidelity.detail(through), 3),
                "frame0_below_ceiling_db": round(ceiling - mean(lambda x: fidelity.psnr(x[0], real[0])), 2),
                "drift": round(mean(fidelity.colour_drift), 4)})
            label = f"mask {mask}, still noise {noise}" if method == "ours" else f"mask {mask}: the checkpoint alone"
            rows.append((label, films[0][:n]))
    args.out.mkdir(parents=True, exist_ok=True)
    video.contact_sheet(rows, columns=8, path=args.out / f"conditioning-{args.video}.png")
    about = {"video": args.video, "steps": args.steps, "seed": sampling["seed"], "flow_warp_real":
             round(motion.flow_warp(real)["error"], 4), "rows": table}
    (args.out / f"conditioning-{args.video}.json").write_text(json.dumps(about, indent=2) + "\n")
    print("  ".join(f"{k:>12}" for k in table[0]))
    for row in table:
        print("  ".join(f"{v!s:>12}" for v in row.values()))


if __name__ == "__main__":
    main()
