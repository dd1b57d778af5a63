"""Beside which real frames a metric is read: the real clip through the autoencoder, the ceiling of a latent method, or,
where that was not recorded, the clip itself.

What an autoencoder cannot hold no film of it can have. Beside the clip itself every latent method is as far off as its
autoencoder is, and one that is too much by as much looks right. Beside the ceiling the same would hold of what is made
of the clip's own frames, so controls stand there as made of these through the autoencoder ("methods_vae").
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence

from eval.metrics.flags import real_value
from eval.registry import TO_HELDOUT, UNITS
from eval.statistics.paired import differences

CLIP, CEILING = "heldout", "heldout_vae"  # the real clip, and the same through the autoencoder


def recorded(metric: str, table: dict) -> bool:
    """Whether a metrics.json has what it takes to read a metric beside the ceiling: of one that compares with real
    frames the value of ours beside them through the autoencoder, of any other that clip's own value."""
    entry = (table.get("against_vae", {}).get("ours", {}) if metric in TO_HELDOUT
             else table["methods"].get(CEILING, {})).get(metric, {})
    return "value" in entry


def entries(metric: str, table: dict) -> dict[str, dict]:
    """method -> its entry in a metric, all beside the ceiling where that is `recorded`, else all beside the clip. Of a
    metric that compares with real frames what they get beside themselves is a refusal or left out."""
    if not recorded(metric, table):
        rows = {name: row for name, row in table["methods"].items() if not (metric in TO_HELDOUT and name == CLIP)}
    else:
        rows = table["against_vae"] if metric in TO_HELDOUT else table["methods"] | table.get("methods_vae", {})
    return {name: row[metric] for name, row in rows.items() if metric in row}


def real(metric: str, table: dict) -> float | None:
    """What real frames get: the ceiling's value where it is `recorded`, else the clip's. Of a metric that compares with
    real frames other real frames', beside the clip's and both without the autoencoder: how far real is from real."""
    if metric not in TO_HELDOUT and recorded(metric, table):
        return table["methods"][CEILING][metric]["value"]
    return real_value(metric, table["methods"][CLIP], table["reference"].get("train_window", {}))


def differences_vae(table: dict, clusters: Sequence[Hashable] | None = None, started_alike: Collection[str] = (),
                    begun: Mapping[str, Sequence[int]] | None = None) -> dict:
    """`eval.statistics.paired.differences` beside the ceiling, of those metrics that are `recorded` there."""
    metrics = [metric for metric in UNITS if recorded(metric, table)]
    methods = {name: row | {metric: entries(metric, table)[name] for metric in metrics}
               for name, row in table["methods"].items()}
    values = {metric: value for metric in metrics if (value := real(metric, table)) is not None}
    return differences(methods, values, clusters, started_alike, begun, metrics)
