"""Frames of films side by side, and rows of pixels over time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eval.metrics.motion import busiest_row
from eval.publish.figures.style import new_figure, save, styled
from eval.records.run import compared, film, read_metrics


def _grid(rows: list[tuple[str, np.ndarray]], path: Path, columns: int = 5) -> list[Path]:
    """Rows of `columns` frames evenly spread over each film, labelled at the left, numbered from 0 above; a row has
    its numbers where they are not those of the row above."""
    import textwrap

    figure, axes = new_figure(1.2 * columns + 1.6, 1.22 * len(rows) + 0.3, len(rows), columns)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
    above = None
    for line, (label, frames) in zip(axes, rows):
        indices = np.linspace(0, len(frames) - 1, columns).round().astype(int).tolist()
        for axis, index in zip(line, indices):
            axis.imshow(frames[index], interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            axis.spines[:].set_visible(False)
            if indices != above:
                axis.set_title(f"frame {index}", fontsize=8)
        above = indices
        line[0].set_ylabel("\n".join(textwrap.wrap(label, 20)[:5]), rotation=0, ha="right", va="center", fontsize=8)
    return save(figure, path)


@styled
def figure3(results: Path, videos: list[str], path: Path) -> list[Path]:
    """The paper's figure 3: five sampled frames of each video."""
    rows = [(f"{video}: {read_metrics(results, video)['prompt']}", film(results, video, "ours")) for video in videos]
    return _grid(rows, path)


@styled
def figure4(results: Path, videos: list[str], path: Path) -> list[Path]:
    """The paper's figure 4: ours against each baseline and the still repeated, frame by frame at the same times, under
    the real clip."""
    rows = []
    for video in videos:
        table = read_metrics(results, video)
        films = {name: film(results, video, name) for name in ("heldout", *compared(table), "static")}
        count = min(map(len, films.values()))
        rows += [(f"{video}: {table['labels'][name]}", frames[:count]) for name, frames in films.items()]
    return _grid(rows, path)


@styled
def slices(rows: list[tuple[str, np.ndarray]], row: int, path: Path) -> list[Path]:
    """x-t slices: one row of pixels of each film over time, downwards; what moves steadily draws slanted lines, what
    boils draws specks, what stands still draws upright lines. Li et al., "Generative Image Dynamics" (2024), 7.2."""
    columns = 4
    lines = -(-len(rows) // columns)
    figure, axes = new_figure(11, 1.9 * lines + 0.3, lines, columns)
    for axis, (label, frames) in zip(axes.flat, rows):
        axis.imshow(frames[:, row], interpolation="nearest", aspect="auto")
        axis.set_title(label, fontsize=9)
        axis.set(xticks=[], yticks=[0, len(frames) - 1])
        axis.set_ylabel("frame", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(False)
    for axis in axes.flat[len(rows):]:
        axis.set_axis_off()
    return save(figure, path)


def time_slices(results: Path, video: str, path: Path) -> list[Path]:
    """x-t slices of one video: the real clip, the real one through the VAE, every method and a still repeated, along
    the row where the real clip changes most."""
    table = read_metrics(results, video)
    names = ["heldout", *(["heldout_vae"] if "heldout_vae" in table["labels"] else []), *compared(table), "static"]
    films = [(table["labels"][name], film(results, video, name)) for name in names]
    return slices(films, busiest_row(films[0][1]), path)
