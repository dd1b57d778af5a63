"""Claims of results: what the paper measured, and what this run measures."""

from __future__ import annotations

from eval.claims import spread
from eval.claims.finding import INCOMPARABLE, NOT_RUN, Finding, Run, read_json
from eval.claims.settings import is_sd, settled
from eval.films.read import size_of
from eval.records.run import mean_over_videos
from eval.statistics.crossed import percent, seen_from
from eval.statistics.small import around
from lnm.workflow.params import root


def unlike(run: Run, what: str) -> list[str]:
    """Why this run's number of `what` (clip, fid, films) cannot be read beside the published one."""
    table = next(iter(run.metrics.values()))
    checkpoint = table["backend"]["checkpoint"] or "an unnamed checkpoint"
    said = [] if is_sd(checkpoint) else [f"made with {checkpoint}, not Stable Diffusion"]
    sizes = sorted({f"{width}x{height}" for height, width in (t["size"] for t in run.metrics.values())})
    said += [] if sizes == ["512x512"] else [f"at {', '.join(sizes)} pixels, not 512x512"]
    name = table["backend"]["clip"].get("name", "")
    if what == "clip" and not name.endswith("/openai"):
        said.append(f"by {name}, not OpenAI's CLIP")
    if what == "fid" and "train" in table["reference"]["fid"]:
        floor = table["reference"]["fid"]["train"]
        if (floor["n"], floor["n_reference"]) != (5, 1060):
            said.append(f"{floor['n']} frames against {floor['n_reference']}, not 5 against 1060")
    return said


def _cell(run: Run, metric: str, method: str) -> Finding | dict:
    """A metric of a method, mean over the videos with its range or interval, or the Finding that says why not."""
    if not run.metrics:
        return Finding(None, NOT_RUN, INCOMPARABLE, f"{NOT_RUN}: `make repro`")
    tables = {video: table for video, table in run.metrics.items() if method in table["methods"]}
    if not tables:
        return Finding(None, "no frames", INCOMPARABLE,
                       f"no frames of {method} here: put them into inputs/baselines/{method}/<video>/ and `make repro`")
    only = next(iter(tables))  # of one video the range is over its films
    entry = tables[only]["methods"][method].get(metric, {"refused": f"{metric} was not measured"})
    entry = mean_over_videos(tables, method, metric) if len(tables) > 1 else entry
    if "refused" in entry:
        return Finding(None, "refused", INCOMPARABLE, entry["refused"])
    interval = around(entry, lambda number: f"{number:.4g}")
    count = f"mean of {len(tables)} videos" if len(tables) > 1 else f"{only}, {entry['n']} film{'s'[: entry['n'] > 1]}"
    return entry | {"text": f"{entry['value']:.4g}{interval}, {count}"}


def measured(run: Run, metric: str, what: str, method: str = "ours") -> Finding:
    """A cell of Table 1 as this run measures it. The paper names neither its clips nor its prompts, so that no run can
    be held against it; what else stands between is said too."""
    entry = _cell(run, metric, method)
    if isinstance(entry, Finding):
        return entry
    reason = "; ".join([*unlike(run, what), "the paper names neither its clips nor its prompts"])
    return Finding(entry["value"], entry["text"], INCOMPARABLE, reason)


def ahead(run: Run, metric: str, what: str, less: bool = False) -> Finding:
    """Whether ours is ahead of CogVideo in a metric of one and the same run (less: the smaller value is ahead)."""
    ours, theirs = (_cell(run, metric, method) for method in ("ours", "cogvideo"))
    for entry in (ours, theirs):
        if isinstance(entry, Finding):
            return entry
    text = f"ours {ours['text']}; CogVideo {theirs['text']}"
    value = ours["value"] < theirs["value"] if less else ours["value"] > theirs["value"]
    said = unlike(run, what)
    return Finding(value, text, INCOMPARABLE if said else None, "; ".join(said))


def resolution(run: Run) -> Finding:
    """Width x height of this run's films."""
    ours = {video: f"{table['size'][1]}x{table['size'][0]}" for video, table in run.metrics.items()}
    return settled(run, ours, f"{run.paper.size}x{run.paper.size}")


def resolution_of(run: Run, method: str) -> Finding:
    """Width x height of another method's films, as they lie in inputs/baselines/."""
    sizes = {size_of(folder) for folder in sorted((root() / "inputs" / "baselines" / method).glob("[!.]*"))}
    if not sizes:
        return Finding(None, "no frames", INCOMPARABLE,
                       f"no frames of {method} here: put them into inputs/baselines/{method}/<video>/")
    return Finding(tuple(sorted(sizes)))


def reference_frames(run: Run) -> Finding:
    """How many frames of each clip a FID of this run is measured against."""
    counted = {video: table["reference"]["frames_train"] for video, table in run.metrics.items()}
    if not counted:
        return Finding(None, NOT_RUN, INCOMPARABLE, f"{NOT_RUN}: `make repro`")
    text = ", ".join(f"{count} ({video})" for video, count in counted.items())
    return Finding(tuple(counted.values()), text, INCOMPARABLE, "other clips: the paper names none of its own")


def fid_floor(run: Run, published: float, n: int, n_reference: int) -> Finding:
    """FID of n frames against n_reference when both come from one distribution, as spread out as a real clip is."""
    spectra, whose = spread.spectra(root(), run.results, list(run.metrics))
    floors = {name: spread.fid_floor(spread.power_law(*spectrum), n, n_reference)["value"]
              for name, spectrum in spectra.items()}
    widest = max(floors, key=floors.get)
    trace = spectra[widest][0]
    reason = (f"what Gaussians as spread out as the features of {whose} score against themselves, so a part of any FID "
              f"of {n} frames is there before anything differs; all {published:g} would be at a trace of "
              f"{published / floors[widest] * trace:.0f}, {widest} has {trace:.0f}; the paper gives neither a same-n "
              "value nor an interval")
    text = f"{min(floors.values()):.0f} to {max(floors.values()):.0f} when nothing differs"
    return Finding(tuple(floors.values()), text, INCOMPARABLE, reason)


def voted(run: Run, question: str, method: str = "ours") -> Finding:
    """A method's share of the decided votes between ours and CogVideo, from results/human_study/summary.json."""
    summary = read_json(run.results / "human_study" / "summary.json")
    if summary is None or summary["simulated"] or not summary["votes"]:
        return Finding(None, "no responses yet", INCOMPARABLE, "nobody has been asked: `lnm study build` "
                       "makes the page that asks, and the paper's own votes were never published")
    pairs = summary["questions"].get(question, {}).get("pairs", [])
    pair = next((pair for pair in pairs if {pair["first"], pair["second"]} == {"ours", "cogvideo"}), None)
    if pair is None or "refused" in pair:
        return Finding(None, "no votes", INCOMPARABLE, pair["refused"] if pair else
                       "nobody was asked about CogVideo: its films go into inputs/baselines/cogvideo/<video>/")
    seen = seen_from(pair, method)
    said = unlike(run, "films") if run.metrics else []
    return Finding(100 * seen["share"], f"{percent(seen)} ({pair['n']} votes)", INCOMPARABLE,
                   "; ".join([*said, "other films and other people than the paper's, which gives neither"]))
