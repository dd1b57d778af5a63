"""What a run left of each video: its metrics.json, its films, and means over several videos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from eval.films import baselines
from eval.films.read import read_baseline
from eval.films.sampled import sampled
from eval.metrics.flags import mismatched
from eval.registry import MISMATCHED, UNITS
from eval.statistics.intervals import rounded
from eval.statistics.paired import tested
from eval.statistics.small import summarise
from lnm.errors import UserError
from lnm.project import root


def read_metrics(results: Path, video: str) -> dict:
    """results/<video>/evaluate/metrics.json. Raises UserError for one that is damaged."""
    return _read(results / video / "evaluate" / "metrics.json", "methods")


def _read(path: Path, *keys: str) -> dict:
    """What the evaluation wrote. Raises UserError for what is no JSON any more, or lacks one of `keys`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not found.keys() >= set(keys):
        raise UserError(f"{path}: damaged, or of another version; `dvc checkout --force` brings what was evaluated, or "
                        "delete it and run `make repro`")
    return found


def read_tables(results: Path, videos: list[str]) -> dict[str, dict]:
    """`read_metrics` of each video, and of its real frames the CLIPSIM with the other videos' prompts: the control that
    takes more than one video. A prompt that stood for choice in the video itself is left out: it lost a contest for
    that very clip, by a CLIP."""
    tables = {video: read_metrics(results, video) for video in videos}
    found = {video: _vectors(results / video / "evaluate" / "clip.json") for video in videos}
    for video, table in tables.items():
        own, real = found[video], table["methods"]["heldout"]
        if "refused" in own:
            continue  # so is the entry, with its own reason
        others = {other["prompt"]: other["text"] for other in found.values() if other.get("sha256") == own["sha256"]
                  and other["prompt"] not in (own["prompt"], *own["candidates"])}
        values = [float(np.dot(own["real"], text)) for text in others.values()]
        real["clipsim_mismatched"] = rounded(summarise(values, UNITS["clipsim_mismatched"])) if values else {
            "refused": "no other video has a prompt that did not stand for choice here"}
        table["backend"]["clip"]["other_prompts"] = list(others)
        table["flags"] = [flag for flag in table["flags"] if flag["control"] != MISMATCHED] + mismatched(real)
    return tables


def _vectors(path: Path) -> dict:
    return _read(path) if path.is_file() else {"refused": f"no {path.name}"}


def film(results: Path, video: str, method: str) -> np.ndarray:
    """The first film of any method of metrics.json, uint8 (F, H, W, 3): sampled in this run, under inputs/baselines/,
    the real held-out frames (as many as a film has), or made again from the still."""
    from lnm.video import read_frames, read_image

    folder, table = results / video, read_metrics(results, video)
    count, fps = table["reference"]["frames_film"], table["fps"]
    if method in ("heldout", "heldout_vae"):
        return read_frames(folder / "prepare" / method)[:count]
    if method in (made := sampled(folder)):
        return read_frames(made[method][0])
    if method in baselines.BASELINES:
        return baselines.generate(method, read_image(folder / "prepare" / "still.png"), table["prompt"], count, fps, 0,
                                  train=read_frames(folder / "prepare" / "train"), train_fps=fps)
    path = next(path for path in (root() / "inputs" / "baselines" / method).iterdir()
                if path.name.split(".")[0] == video)
    return read_baseline(path, fps, table["size"][::-1])[0]


def compared(table: dict) -> list[str]:
    """The methods of a metrics.json: ours first, then every baseline, the user's included; no controls."""
    return [name for name in table["labels"] if name not in table["controls"]]


def mean_over_videos(tables: dict[str, dict], method: str, metric: str) -> dict:
    """A metric's mean over the videos, a point each, as `summarise` gives it; refused if any video's is."""
    return _mean([table["methods"].get(method, {}).get(metric, {"refused": "not sampled"})
                  for table in tables.values()])


def beside_ceiling(tables: dict[str, dict], baseline: str, metric: str) -> bool:
    """Whether `difference` is beside the real clip through the autoencoder: where every video has that
    (`eval.metrics.ceiling`)."""
    return all(metric in table.get("differences_vae", {}).get(baseline, {}) for table in tables.values())


def difference(tables: dict[str, dict], baseline: str, metric: str) -> dict:
    """Ours minus a baseline: of one video over its films, of several the mean over them, paired by video; with the test
    of `paired.differences`. Beside the real clip through the autoencoder where that is recorded (`beside_ceiling`),
    else beside the clip."""
    key = "differences_vae" if beside_ceiling(tables, baseline, metric) else "differences"
    entries = [table[key].get(baseline, {}).get(metric, {"refused": "not sampled"}) for table in tables.values()]
    if len(entries) == 1:
        return entries[0]
    gains = [entry["mean_gain"] for entry in entries if "gain" in entry]
    return _mean(entries) | (tested(gains) if len(gains) == len(entries) else {})


def _mean(entries: list[dict]) -> dict:
    """The mean of one entry a video."""
    refused = [entry["refused"] for entry in entries if "refused" in entry]
    return summarise(refused or [entry["value"] for entry in entries], "")
