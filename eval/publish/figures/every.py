"""Every figure of a run, PNG and PDF."""

from __future__ import annotations

from pathlib import Path

from eval.publish.figures.blocks import figure2
from eval.publish.figures.films import figure3, figure4, time_slices
from eval.publish.figures.numbers import controls, loss, metrics
from eval.publish.figures.unet import figure1
from eval.publish.figures.vectors import vectors
from eval.records.run import read_metrics


def write_all(results: Path, videos: list[str], out: Path, layers: list[dict] | None = None) -> list[Path]:
    """Writes out/figures/{figure1,figure2,figure3,figure4,loss,metrics,controls_<video>,slices_<video>,
    vectors_<video>}.{png,pdf} from results/<video>/; returns their paths.

    layers: what `lnm.describe.layers` says of the run's model, for figures 1 and 2; without it there are none.
    """
    folder = out / "figures"
    paths = figure1(layers, folder / "figure1.png") + figure2(layers, folder / "figure2.png") if layers else []
    paths += figure3(results, videos, folder / "figure3.png") + figure4(results, videos, folder / "figure4.png")
    paths += loss(results, videos, folder / "loss.png") + metrics(results, videos, folder / "metrics.png")
    for video in videos:
        paths += controls(read_metrics(results, video), folder / f"controls_{video}.png")
        paths += time_slices(results, video, folder / f"slices_{video}.png")
        paths += vectors(read_metrics(results, video), folder / f"vectors_{video}.png")
    return paths
