"""The report's first screen: three sentences made of the numbers, and a chart of which film is nearest."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from eval.publish import table1
from eval.publish.formats import counted
from eval.publish.nearest import (
    CLIP,
    MEASURES,
    REFERENCES,
    WINDOWS,
    Nearest,
    detailed,
    distances,
    nearest,
    own_of,
    sure,
    values_of,
    videos_of,
    windows,
)
from eval.publish.ranking import listed
from eval.publish.report_cells import Cells
from eval.records.run import mean_over_videos
from eval.registry import heading

SHORT = {  # what a film is, in the words of somebody who has read nothing
    "heldout": ("The real clip", "a part that training never saw"),
    "heldout_vae": ("Real, through the autoencoder", "the ceiling: a perfect film of latents"),
    "ours": ("Ours", "layers in time, tuned on the clip"),
    "from_noise": ("Ours, begun from noise", "told of the still alone, without optical flow, as in the paper"),
    "carried_still": ("Ours without the model", "what ours begin from: the still carried by the clip's flow"),
    "animatediff_style": ("AnimateDiff-style", "its layers, tuned on the clip by our loop"),
    "tune_a_video_style": ("Tune-A-Video-style", "its attention, tuned on the clip by our loop"),
    "dreamix_style": ("Dreamix-style", "its mixed tuning, by our loop; an approximation"),
    "identity": ("Ours, from the identity", "without the layers of many clips, as in the paper"),
    "frame_by_frame": ("Without layers in time", "the checkpoint, each frame by itself"),
    "flow_extrapolation": ("Still carried by optical flow", "no model at all"),
    "static": ("Still, repeated", "a film that does not move"),
    "static_noise": ("Still under noise", "moves as much as the clip, means nothing"),
    "shuffled": ("Real frames, shuffled", "the clip's own frames in a random order"),
}
REFERENCE = {WINDOWS: "Other parts of the real clip", CLIP: "The real clip, no autoencoder"}  # in the chart alone
AMOUNTS = {  # what a film may have too little or too much of
    "motion_energy": "moves {} times as much", "flow_speed": "travels at {} times its speed",
    "flow_warp": "is {} times as unsteady", "detail": "has {} times its fine detail"}
CEILING = "heldout_vae"
BESIDE = {CLIP: "the real clip", CEILING: "the real clip through the autoencoder"}
KINDS = {  # a kind of verdict in the middle of a sentence; one that is not here is said by its own name
    "result reproduced": "{n} {are} reproduced in {its} result", "differs": "{n} {differ}",
    "the paper contradicts itself": "in {n} the paper contradicts itself",
}
RESULT = "result reproduced"
NUMBER = r"\d+(?:\.\d+)?(?:e-?\d+)?"


def label(table: dict, name: str) -> tuple[str, str]:
    """(name, note) of a film as the first screen calls it; a user's method by its own label."""
    return SHORT.get(name, (table["labels"].get(name, name), "films of another program"))


def sentences(tables: dict[str, dict], ledger: dict | None, cells: Cells) -> list[tuple[str, list]]:
    """Three (heading, parts): each part is text, or {"text", "href"}, a number with its link."""
    found = nearest(tables)
    return [("Reproduced?", _reproduced(tables, ledger, cells)),
            ("Nearest to the real clip?", _nearest(tables, found, cells)),
            ("What is missing?", _missing(tables, cells))]


def kinds(counts: dict[str, int]) -> list[str]:
    """`28 are implemented as described`, ... of every kind of verdict that occurs, in the ledger's order."""
    return [KINDS.get(kind, "{n} {are} {kind}").format(n=n, kind=kind, are="is" if n == 1 else "are",
                                                       its="its" if n == 1 else "their",
                                                       differ="differs" if n == 1 else "differ")
            for kind, n in counts.items() if n]


def _reproduced(tables: dict[str, dict], ledger: dict | None, cells: Cells) -> list:
    checkpoint = Path(next(iter(tables.values()))["backend"]["checkpoint"]).name
    said: list = [f"This run is of {checkpoint} at {table1.resolution(tables)} pixels"]
    if ledger is None:
        return [*said, "; the paper's claims were not computed with it."]
    counts, total = ledger["counts"], sum(ledger["counts"].values())
    if RESULT in counts and not counts[RESULT]:
        said.append(": no result of the paper's experiments is reproduced")
    return [*said, f"; of the paper's {total} claims, ",
            {"text": listed(kinds(counts)), "href": cells.of_paper("claims")}, "."]


def _nearest(tables: dict[str, dict], found: Nearest | None, cells: Cells) -> list:
    if found is None:
        return ["That cannot be said: fewer than two films have all four measures of motion."]
    first = next(iter(tables.values()))

    def part(name: str) -> dict:
        return {"text": f"{found.distance[name]:.2f}", "href": cells.of_paper("report")}

    leader, second, *_ = found.order
    said = [f"{label(first, leader)[0]} (", part(leader), " from it), which is nearer than "
            f"{label(first, second)[0].lower()} (", part(second), ") in ",
            *_linked(f"{found.wins} of {videos_of(found.videos)}", cells)]
    if "ours" in found.order[2:]:
        place = found.order.index("ours") + 1
        said += ["; ours (", part("ours"), f") is number {place} of {len(found.order)}"]
    if WINDOWS in found.distance:
        said += ["; other parts of the real clip are ", part(WINDOWS), " from it"]
    return [*said, "."]


def _missing(tables: dict[str, dict], cells: Cells) -> list:
    """Ours beside the ceiling, or, where they hold detail that no latent does, beside the clip; what is worst first.
    Ratios and means over videos are made here, by the cell that writes the report; of one video FID is as its
    evaluation has it."""
    link = cells.of_paper("report")
    measured = cells.of_video(next(iter(tables)), "4_evaluate", "run") if len(tables) == 1 else link
    real = CLIP if detailed(tables.values()) else CEILING
    ratios = {}
    for metric in AMOUNTS:
        pairs = [[row.get(metric, {}).get("value") for row in (
            table["methods"]["ours"] if real == CLIP else own_of(table, "ours"), table["methods"].get(real, {}))]
                 for table in tables.values()]
        if all(value for pair in pairs for value in pair):
            ratios[metric] = float(np.exp(np.mean([np.log(ours / ceiling) for ours, ceiling in pairs])))
    worst = sorted(ratios, key=lambda metric: -abs(np.log(ratios[metric])))
    if not worst:
        return [f"Nothing was measured of both our films and {BESIDE[real]}."]
    said: list = [f"Beside {BESIDE[real]}, our film "]
    for position, metric in enumerate(worst):
        before, after = AMOUNTS[metric].split("{}")
        said += ["" if not position else " and " if position == len(worst) - 1 else ", ", before,
                 {"text": f"{ratios[metric]:.2f}", "href": link}, after]
    fid = {name: mean_over_videos(tables, name, "fid_heldout") for name in ("ours", CEILING, "static")}
    if all("value" in entry for entry in fid.values()):
        values = [{"text": f"{entry['value']:.0f}", "href": measured} for entry in fid.values()]
        said += ["; its frames are at FID ", values[0], ", the autoencoder's at ", values[1],
                 ", the still's, repeated, at ", values[2]]
    return [*said, "."]


def chart(tables: dict[str, dict], cells: Cells) -> dict | None:
    """The chart's rows, nearest first under what is real, with one dot a film; None where nothing can be compared.

    Positions are in % of the axis, which goes from 0 (alike) to the next tenth past the farthest film.
    """
    found = nearest(tables)
    if found is None:
        return None
    first, films = next(iter(tables.values())), {video: distances(table) for video, table in tables.items()}
    top = np.ceil(10 * max(d for video in films.values() for name in found.distance for d in video[name]) + 1e-9) / 10
    names = [*(name for name in REFERENCES if name in found.distance), *found.order]
    rows = []
    for name in names:
        dots = [{"at": f"{100 * d / top:.2f}", "mark": index % 6,
                 "say": f"{video}, {what}: {d:.3f}"}
                for index, (video, by_name) in enumerate(films.items())
                for what, d in zip(_dots(tables[video], name, len(by_name[name])), by_name[name], strict=True)]
        rows.append({"name": name, "label": REFERENCE.get(name) or label(first, name)[0],
                     "value": f"{found.distance[name]:.2f}",
                     "at": f"{100 * found.distance[name] / top:.2f}", "dots": dots,
                     "kind": "ceiling" if name in REFERENCES else "ours" if name == "ours" else "other"})
    ticks = [{"at": f"{100 * tick / top:.2f}", "text": f"{tick:g}"} for tick in np.linspace(0, top, 3).round(3)]
    return {"rows": rows, "ticks": ticks, "href": cells.of_paper("report"), "answer": sure(found),
            "sure": _linked(f"{sure(found)[0].upper()}{sure(found)[1:]}", cells),
            "videos": [{"name": video, "mark": index % 6} for index, video in enumerate(tables)],
            "windows": WINDOWS in found.distance, "detailed": detailed(tables.values())}


def _dots(table: dict, name: str, count: int) -> list[str]:
    """What each of the chart's `count` dots of a row stands for: a film, or another window of the clip and, where films
    are compared with several held-out ones, of which still's films that is beside which it stands."""
    if name != WINDOWS:
        return [f"film {k + 1}" for k in range(count)]
    pairs = list(windows(table))
    several = len({still for _, still in pairs}) > 1
    return [f"window {window}" + (f" beside that of still {still}" if several else "") for window, still in pairs]


def _linked(said: str, cells: Cells) -> list:
    """The words on how sure the order is, its counts and its p with their link."""
    return [{"text": part, "href": cells.of_paper("report")} if re.fullmatch(NUMBER, part) else part
            for part in re.split(f"({NUMBER})", said) if part]


def measures(tables: dict[str, dict], cells: Cells) -> list[tuple[str, list[str], list[list]]]:
    """(video, header, rows): each film's four measures of motion beside the real clip through the autoencoder, and its
    distance."""
    found = []
    for video, table in tables.items():
        href, methods, rows = cells.of_video(video, "4_evaluate", "run"), table["methods"], []
        for name, far in sorted(distances(table).items(), key=lambda item: np.mean(item[1])):
            if name == WINDOWS:
                continue
            own = own_of(table, name)
            warp, speed, decibels, turn = values_of(own, table["against_vae"][name])
            cell = [f"{np.mean(warp) / real:.2f}" if (real := methods[CEILING]["flow_warp"]["value"]) else "-",
                    f"{np.mean(speed):.2f}", f"{np.mean(decibels):.1f}",
                    "none" if None in turn else f"{np.mean(turn):.0f}"]
            rows.append([REFERENCE.get(name) or label(table, name)[0], *({"text": text, "href": href} for text in cell),
                         {"text": f"{np.mean(far):.2f}", "href": cells.of_paper("report")},
                         {"text": counted(own["flow_warp"], table["interval"]["unit"]), "href": href}])
        heads = [heading(metric) + (", x real" if metric == "flow_warp" else "") for metric in MEASURES]
        header = ["Film", *(f"{name[0].upper()}{name[1:]}" for name in heads), "Distance", "n"]
        found.append((video, header, rows))
    return found
