"""The films of a run against the real clip through the VAE, which no film of latents can beat, or as it was filmed.

    python -m benchmarks.bars [VIDEO ...] [--filmed] [--results results] [--json FILE]

Reads results/<video>/evaluate/metrics.json and prints, for every method, each figure as a multiple of the held-out
clip's through the VAE, with the bounds that a film should keep; * marks one outside. What holds detail that no latent
does stands there as it was decoded. --filmed: films as they are, beside the clip as it was filmed; FID alone is over
that of the clip through the VAE, for the clip's own is 0. The last row is the clip's other windows beside the held-out
ones, least to most, and how many of them keep the bounds: how far the real clip is from itself. ~ marks a figure
outside the bounds that is no further out than one of these. Nothing is computed anew.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd

from eval.publish.nearest import beside, own_of
from eval.records.markdown import grid

# name -> (metric, how it is read, least, most)
BOUNDS: dict[str, tuple[str, str, float, float]] = {
    "motion": ("motion_energy", "ratio", 0.85, 1.2),
    "flow speed": ("flow_speed", "ratio", 0.75, 1.3),
    "flow-warp": ("flow_warp", "ratio", 0.0, 1.3),
    "detail": ("detail", "ratio", 0.85, 1.15),
    "FID": ("fid_heldout", "ratio", 0.0, 1.15),
    "turn, deg": ("flow_direction_gap", "value", 0.0, 25.0),
    "frame 0, dB": ("frame0_db_below_ceiling", "value", float("-inf"), 0.5),
    "spectrum, dB": ("spectrum_gap", "value", float("-inf"), float("inf")),
}
# name -> what a window of metrics.json says of it
WINDOWS = {"motion": "motion_ratio", "flow speed": "flow_speed_ratio", "flow-warp": "flow_warp",
           "detail": "detail_ratio", "turn, deg": "flow_direction_gap", "spectrum, dB": "spectrum_gap"}
OTHERS = "the clip's other windows"
GAPS = ("flow_direction_gap", "spectrum_gap")  # to the real clip, so another number through the VAE


def figures(metrics: dict, filmed: bool = False) -> dict[str, dict[str, float | None]]:
    """{method: {name: figure}} of a metrics.json, beside the clip through the VAE or as it was filmed; None where a
    metric was refused, or the real clip's is 0."""
    def value(method: str, metric: str) -> float | None:
        row = (metrics["methods"][method] if filmed
               else metrics.get("against_vae", {}).get(method, {}) if metric in GAPS else own_of(metrics, method))
        return row.get(metric, {}).get("value")

    found: dict[str, dict[str, float | None]] = {}
    for method in metrics["methods"]:
        if "detail" not in metrics["methods"][method]:
            continue
        found[method] = {}
        for name, (metric, kind, _, _) in BOUNDS.items():
            own, real = value(method, metric), value("heldout" if filmed and name != "FID" else "heldout_vae", metric)
            if kind == "ratio":
                own = own / real if own is not None and real else None
            found[method][name] = own
    return found


def others(metrics: dict) -> dict[str, list[float]]:
    """{name: figures} of the clip's other windows, each beside each held-out one, without the autoencoder; what no
    window says is left out."""
    found = {}
    for name, metric in WINDOWS.items():
        said = [window[metric] / (real if metric == "flow_warp" else 1)
                for _, _, window, real in beside(metrics) if metric in window]
        if said:
            found[name] = said
    return found


def within(name: str, figure: float | None) -> bool:
    """Whether a figure keeps its bounds; one that is missing does not."""
    _, _, least, most = BOUNDS[name]
    return figure is not None and least <= figure <= most


def table(video: str, metrics: dict, filmed: bool = False) -> pd.DataFrame:
    """A row a method, and one of the clip's other windows, figures as text. filmed: as `figures` takes it."""
    clip = others(metrics)

    def mark(name: str, figure: float) -> str:
        if within(name, figure):
            return ""
        said, (*_, least, most) = clip.get(name, []), BOUNDS[name]
        as_far = any(one <= figure < least or most < figure <= one for one in said)
        return " ~" if as_far else " *"

    def range_of(name: str) -> str:
        said = clip[name]
        kept = sum(within(name, figure) for figure in said)
        return f"{min(said):.2f} to {max(said):.2f}, {kept} of {len(said)}"

    rows = {metrics["labels"].get(method, method): {
        name: "-" if figure is None else f"{figure:.2f}{mark(name, figure)}"
        for name, figure in row.items()} for method, row in figures(metrics, filmed).items()}
    rows[OTHERS] = {name: range_of(name) if name in clip else "-" for name in BOUNDS}
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.index.name = video
    return frame


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bars", description=__doc__.split("\n\n")[0])
    parser.add_argument("videos", nargs="*", metavar="VIDEO", help="default: every video with a metrics.json")
    parser.add_argument("--filmed", action="store_true", help="films as they are, beside the clip as it was filmed")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures as JSON as well")
    args = parser.parse_args()
    videos = args.videos or sorted(path.parent.parent.name for path in args.results.glob("*/evaluate/metrics.json"))
    if not videos:
        parser.error(f"{args.results}: no video has an evaluate/metrics.json; run `make repro` first")
    found = {}
    for video in videos:
        path = args.results / video / "evaluate" / "metrics.json"
        if not path.is_file():
            parser.error(f"{path}: no such file; run `make repro` first")
        metrics = json.loads(path.read_text(encoding="utf-8"))
        found[video] = figures(metrics, args.filmed)
        rows = table(video, metrics, args.filmed).reset_index()
        print(grid(list(rows.columns), rows.to_numpy().tolist()), end="\n\n")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
