"""A score as a terminal shows it."""

from __future__ import annotations

import textwrap

from eval.metrics.suite import FLOWS
from eval.records.score import NOTE
from eval.registry import DIRECTIONS, METRICS, MISMATCHED, TO_HELDOUT, UNITS, reading
from eval.statistics.small import around


def table(result: dict) -> str:
    """What is printed: a line a metric, then reasons of refusals, then what stands behind the numbers."""
    shown = measured(result)
    lines = [*_head(result), "", *columns(rows_of(result))]
    if result["flags"]:
        lines += ["", "† a control ranks above the real reference: this metric alone does not tell a good film."]
    lines += [f"{METRICS[flag['metric']].label}: the reference scores {flag['value']:.4g} with other prompts, "
              f"{flag['real']:.4g} with its own" for flag in result["flags"] if flag["control"] == MISMATCHED]
    if result["against_vae"]:
        compared = [metric for metric in TO_HELDOUT
                    if any("value" in result["against_vae"][name][metric] for name in result["films"])]
        lines += ["", "beside the reference through the VAE, the ceiling of a latent method:",
                  *columns(_rows(result, result["against_vae"], compared))]
    lines += _disagreements(result) + _refused(result)
    lines += ["", "units:"]
    for metric in shown:
        unit = UNITS[metric].replace("held-out's", "the reference's").replace("held-out", "reference")
        lines.append(f"  {METRICS[metric].label}: {unit}")
    return "\n".join(lines + _behind(result))


def measured(result: dict) -> list[str]:
    """The measures that a method has a value of."""
    return [metric for metric in UNITS if any("value" in result["methods"][name][metric] for name in result["films"])]


def rows_of(result: dict) -> list[list[str]]:
    """The header and a row a measure: of each method and control the value, of methods with its interval or range."""
    return _rows(result, result["methods"], measured(result))


def columns(rows: list[list[str]]) -> list[str]:
    """Rows of cells as lines of equal columns, with a rule under the first."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


def cell_of(entry: dict, interval: bool) -> str:
    """A value with its interval or range, if that is wanted and there is one; "-" for a refusal."""
    if "refused" in entry:
        return "-"
    return f"{entry['value']:.4g}" + (around(entry, lambda x: f"{x:.4g}") if interval else "")


def _head(result: dict) -> list[str]:
    lines, reference = [], result["reference"]
    for method, films in result["films"].items():
        film = result["frames"] if method == result["method"] else films[0]
        many = f"{len(films)} films, the first " if len(films) > 1 else ""
        rate = f" at {films[0]['fps']:g} fps" if films[0]["fps"] else ""
        size = result["frames"]["size"]
        lines.append(f"{method}: {many}{film['n']} frames of {size[1]} x {size[0]}{rate}")
    lines[-1] += f", beside {reference['n']} of {reference['path']}" if reference else ", no reference"
    return lines + textwrap.wrap(f"[95% interval]. {NOTE}", 110)


def _rows(result: dict, methods: dict, shown: list[str]) -> list[list[str]]:
    flagged = {(flag["metric"], flag["control"]) for flag in result["flags"]}
    rows = [["metric", *result["labels"].values(), "good", "parts"]]
    for metric in shown:
        cells = [cell_of(methods[name][metric], name in result["films"]) + ("†" if (metric, name) in flagged else "")
                 for name in result["labels"]]
        over = {f"{entry['n']} {entry['parts']}{'s' if entry['n'] > 1 else ''}"
                for entry in (methods[name][metric] for name in result["films"]) if "value" in entry}
        rows.append([METRICS[metric].label, *cells, reading(DIRECTIONS[metric]), ", ".join(sorted(over))])
    return rows


def disagreements_of(result: dict) -> list[str]:
    """A line each: where DIS and RIFE rank two sets of films differently."""
    lines = []
    for what, found in result["flow_disagreements"].items():
        for case in found:
            a, b = (result["labels"][name] for name in case["methods"])
            dis, rife = (values for name, values in case.items() if name != "methods")
            lines.append(f"{METRICS[FLOWS[what][0]].label}: {a} and {b}: by DIS {dis[0]:.4g} and {dis[1]:.4g}, by RIFE "
                         f"{rife[0]:.4g} and {rife[1]:.4g}")
    return lines


def _disagreements(result: dict) -> list[str]:
    lines = [f"  {line}" for line in disagreements_of(result)]
    head = ["", "two optical flows rank these differently, so neither ranking is to be trusted:"]
    return head + lines if lines else []


def refused(result: dict) -> dict[str, list[str]]:
    """Reason -> what the measures are called that a method is refused for it, in the registry's order."""
    reasons: dict[str, list[str]] = {}
    for metric, about in METRICS.items():
        for name in result["films"]:
            entry = result["methods"][name][metric]
            if "refused" in entry and about.label not in reasons.get(entry["refused"], []):
                reasons.setdefault(entry["refused"], []).append(about.label)
    return reasons


def _refused(result: dict) -> list[str]:
    lines = [f"  {'; '.join(names)}: {reason}" for reason, names in refused(result).items()]
    return ["", "refused:", *lines] if lines else []


def _behind(result: dict) -> list[str]:
    return ["", "backend:", *(f"  {line}" for line in [*behind(result), *floors(result)])]


def behind(result: dict) -> list[str]:
    """A line each: what networks and programs the numbers are by."""
    lines = []
    for kind, backend in result["backend"].items():
        if isinstance(backend, str):
            lines.append(f"{kind}: {backend}")
        elif "refused" not in backend:
            lines.append(f"{kind}: {backend['name']}, weights {backend['sha256'][:12]}"
                         + (f"; {backend['note']}" if "note" in backend else ""))
    return lines


def floors(result: dict) -> list[str]:
    """What FID, KID and FVD say where nothing differs, a line each: consecutive real frames beside others."""
    known = {} if "refused" in result["floors"] else dict(result["floors"])
    if "refused" not in result["floors_vae"]:
        known["reference through the VAE"] = result["floors_vae"]
    found = [(f"{metric} of {floor['n']} against {floor['n_reference']} frames "
              f"({name.replace('heldout', 'reference')})", floor[key], _taken(floor, floor[key]) + (
                  f", rank floor {floor['rank_floor']:.4g}" if metric == "FID" and floor["rank_floor"] is not None else
                  ""))
             for name, floor in known.items() for metric, key in (("FID", "real_vs_real"), ("KID", "kid"))]
    if "value" in result["fvd_floor"]:
        found.append(("FVD", result["fvd_floor"], ""))
    lines = []
    for name, alike, more in found:
        said = f"refused ({alike['refused']})" if "refused" in alike else (
            f"{alike['value']:.4g}{around(alike, lambda x: f'{x:.4g}')}")
        lines.append(f"{name}: real against real {said}{more}")
    return lines


def _taken(floor: dict, alike: dict) -> str:
    """What a floor was taken against, where that is not what the value is against: it is then higher than for as many
    frames as the value has."""
    if "refused" in alike or alike["n_reference"] == floor["n_reference"]:
        return ""
    return f", taken against {alike['n_reference']} frames, not {floor['n_reference']}: no more are beside a window"


def in_short(result: dict) -> list[str]:
    """A sentence a method of its telling numbers, each beside what it is to be compared with."""
    real = result["methods"].get("reference", {})

    def value(row: dict, metric: str) -> float | None:
        return row.get(metric, {}).get("value")

    lines = []
    for name in result["films"]:
        own, says = result["methods"][name], []
        if (moves := value(own, "motion_ratio")) is not None:
            ceiling = value(result.get("against_vae", {}).get(name, {}), "motion_ratio")
            says.append(f"it moves {moves:.2f} times as far as the reference"
                        + ("" if ceiling is None else f", {ceiling:.2f} times as far as that through the VAE"))
        if (error := value(own, "flow_warp")) is not None:
            beside = value(real, "flow_warp")
            says.append(f"its flow-warp error is {error:.4f}" + (f", the reference's {beside:.4f}" if beside else ""))
        if (distance := value(own, "fid_heldout")) is not None:
            says.append(f"its FID to the reference is {distance:.0f}")
        if (words := value(own, "clipsim")) is not None:
            other = value(own, "clipsim_mismatched")
            beside = f", {other:.2f} with other prompts" if other is not None else ""
            says.append(f"its CLIPSIM is {words:.2f}{beside}")
        of = f"{name}: " if len(result["films"]) > 1 else ""
        lines.append(of + ("; ".join(says) + "." if says else "nothing could be measured; the reasons are listed."))
    return lines
