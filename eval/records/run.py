"""What a run left of each video: its metrics.json, its films, and means over several videos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from eval.films import baselines
from eval.films.read import read_baseline
from eval.statistics.intervals import summarise
from lnm.workflow.params import root


def read_metrics(results: Path, video: str) -> dict:
    """results/<video>/evaluate/metrics.json."""
    return json.loads((results / video / "evaluate" / "metrics.json").read_text(encoding="utf-8"))


def methods(results: Path, video: str) -> list[str]:
    """The methods sampled in this run for a video, ours first."""
    return json.loads((results / video / "sample" / "films.json").read_text(encoding="utf-8"))["methods"]


def film(results: Path, video: str, method: str) -> np.ndarray:
    """The first film of any method of metrics.json, uint8 (F, H, W, 3): sampled in this run, under inputs/baselines/,
    the real held-out frames (as many as a film has), or made again from the still."""
    from lnm.video import read_frames, read_image

    folder, table = results / video, read_metrics(results, video)
    count, fps = table["reference"]["frames_film"], table["fps"]
    if method in ("heldout", "heldout_vae"):
        return read_frames(folder / "prepare" / method)[:count]
    if method in methods(results, video):
        return read_frames(min((folder / "sample" / method).glob("seed_*"), key=lambda path: int(path.name[5:])))
    if method in baselines.BASELINES:
        return baselines.generate(method, read_image(folder / "prepare" / "still.png"), count, fps, 0,
                                  train=read_frames(folder / "prepare" / "train"), train_fps=fps)
    path = next(path for path in (root() / "inputs" / "baselines" / method).iterdir()
                if path.name.split(".")[0] == video)
    return read_baseline(path, fps, table["size"][::-1])[0]


def compared(table: dict) -> list[str]:
    """The methods of a metrics.json: ours first, then every baseline, the user's included; no controls."""
    return [name for name in table["labels"] if name not in table["controls"]]


def mean_over_videos(tables: dict[str, dict], method: str, metric: str) -> dict:
    """A metric's mean over the videos, with an interval that resamples videos; refused if any video's is."""
    return _mean([table["methods"].get(method, {}).get(metric, {"refused": "not sampled"})
                  for table in tables.values()], tables)


def difference(tables: dict[str, dict], baseline: str, metric: str) -> dict:
    """Ours minus a baseline: of one video over its seeds, of several the mean over them, paired by video."""
    entries = [table["differences"].get(baseline, {}).get(metric, {"refused": "not sampled"})
               for table in tables.values()]
    return entries[0] if len(entries) == 1 else _mean(entries, tables)


def _mean(entries: list[dict], tables: dict[str, dict]) -> dict:
    """The mean of one entry a video, with an interval that resamples videos."""
    refused = [entry["refused"] for entry in entries if "refused" in entry]
    how = next(iter(tables.values()))["interval"]
    return summarise(refused or [entry["value"] for entry in entries], "", how["resamples"], how["seed"])
