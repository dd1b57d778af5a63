"""A score as a terminal shows it."""

from __future__ import annotations

import textwrap

from eval.records.score import NOTE
from eval.registry import DIRECTIONS, MISMATCHED, UNITS
from eval.statistics.small import around


def table(result: dict) -> str:
    """What is printed: a line a metric, then reasons of refusals, then what stands behind the numbers."""
    methods, labels = result["methods"], result["labels"]
    own, flagged = methods[result["method"]], {(flag["metric"], flag["control"]) for flag in result["flags"]}
    shown = [metric for metric in UNITS if "value" in own[metric]]
    rows = [["metric", *labels.values(), "good", "parts"]]
    for metric in shown:
        cells = []
        for name in labels:
            entry = methods[name][metric]
            text = "-" if "refused" in entry else f"{entry['value']:.4g}"
            if name == result["method"] and entry["low"] is not None:
                text += f" [{entry['low']:.4g}, {entry['high']:.4g}]"
            cells.append(text + ("†" if (metric, name) in flagged else ""))
        good = DIRECTIONS[metric]
        rows.append([metric, *cells, "" if good is None else f"near {good:g}" if isinstance(good, float) else good,
                     f"{own[metric]['n']} {own[metric]['parts']}{'s' if own[metric]['n'] > 1 else ''}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    film, reference = result["frames"], result["reference"]
    head = f"{result['method']}: {film['n']} frames of {film['size'][1]} x {film['size'][0]}"
    head += f" at {film['fps']:g} fps" if film["fps"] else ""
    head += f", beside {reference['n']} of {reference['path']}" if reference else ", no reference"
    refused: dict[str, list[str]] = {}
    for metric in UNITS:
        if "refused" in own[metric]:
            refused.setdefault(own[metric]["refused"], []).append(metric)
    said = textwrap.wrap(f"[95% interval]. {NOTE}", 110)
    lines = [head, *said, "", *lines]
    if result["flags"]:
        lines += ["", "† a control ranks above the real reference: this metric alone does not tell a good film."]
    lines += [f"clipsim: the reference scores {flag['value']:.4g} with other prompts, {flag['real']:.4g} with its own"
              for flag in result["flags"] if flag["control"] == MISMATCHED]
    if refused:
        lines += ["", "refused:", *(f"  {', '.join(names)}: {reason}" for reason, names in refused.items())]
    lines += ["", "units:"]
    for metric in shown:
        unit = UNITS[metric].replace("held-out's", "the reference's").replace("held-out", "reference")
        lines.append(f"  {metric}: {unit}")
    lines += ["", "backend:"]
    for kind, backend in result["backend"].items():
        if isinstance(backend, str):
            lines.append(f"  {kind}: {backend}")
        elif "refused" not in backend:
            lines.append(f"  {kind}: {backend['name']}, weights {backend['sha256'][:12]}"
                         + (f"; {backend['note']}" if "note" in backend else ""))
    return "\n".join([*lines, *_floors(result)])


def _floors(result: dict) -> list[str]:
    """What FID, KID and FVD say where nothing differs, a line each: consecutive real frames beside others."""
    found = [] if "refused" in result["floors"] else [
        (f"{metric} of {floor['n']} against {floor['n_reference']} frames ({name.replace('heldout', 'reference')})",
         floor[key], f", rank floor {floor['rank_floor']:.4g}" if metric == "FID" else "")
        for name, floor in result["floors"].items() for metric, key in (("FID", "real_vs_real"), ("KID", "kid"))]
    if "value" in result["fvd_floor"]:
        found.append(("FVD", result["fvd_floor"], ""))
    lines = []
    for name, alike, more in found:
        said = f"refused ({alike['refused']})" if "refused" in alike else (
            f"{alike['value']:.4g}{around(alike, lambda x: f'{x:.4g}')}")
        lines.append(f"  {name}: real against real {said}{more}")
    return lines
