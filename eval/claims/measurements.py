"""Claims of results: what the paper measured, and what this run measures."""

from __future__ import annotations

import numpy as np

from eval.claims import spread
from eval.claims.finding import INCOMPARABLE, NOT_RUN, Finding, Run
from eval.claims.records import is_sd, read_json
from eval.films.read import size_of
from eval.records.opponents import called, papers, papers_pair
from eval.records.run import mean_over_videos
from eval.registry import quoted
from eval.statistics.crossed import percent, seen_from
from eval.statistics.permutation import LEVEL, least_p, pairs_needed, sign_flip
from eval.statistics.small import around
from lnm.project import root

PAPER_FILM = "512x512"  # figure 3, Table 1
PAPER_CLIP = {"frames": 1060, "size": [1920, 1029]}  # section 5.2: all that tells the paper's clip from others
FID_FRAMES = (5, 1060)  # section 5.2: of a film, of the clip
WIDEST = 20  # points of an interval that a published share may be looked for in: a wider one holds most of them


def unlike(run: Run, what: str) -> list[str]:
    """Why this run's number of `what` (clip, fid, films) cannot be read beside the published one: checkpoint, sizes,
    networks, counts; and the clip, of which the paper gives only how many frames it had, of which size."""
    said = []
    for name in dict.fromkeys(table["backend"]["checkpoint"] for table in run.metrics.values()):
        if not is_sd(name, root()):
            said.append(f"made with {name or 'an unnamed checkpoint'}, not Stable Diffusion")
    sizes = sorted({"{}x{}".format(*film) for film in run.of_run("film").values()} or
                   {f"{width}x{height}" for height, width in (table["size"] for table in run.metrics.values())})
    said += [] if sizes == [PAPER_FILM] else [f"at {', '.join(sizes)} pixels, not {PAPER_FILM}"]
    names = sorted({table["backend"]["clip"].get("name", "no CLIP") for table in run.metrics.values()})
    if what == "clip" and not all(name.endswith("/openai") for name in names):
        said.append(f"by {', '.join(names)}, not OpenAI's CLIP")
    if what == "fid":
        floors = [table["reference"]["fid"].get("train") for table in run.metrics.values()]
        pairs = sorted({(floor["n"], floor["n_reference"]) for floor in floors if floor})
        if pairs and pairs != [FID_FRAMES]:
            said.append(", ".join(f"{n} frames against {reference}" for n, reference in pairs) + ", not 5 against 1060")
    clips = run.of_run("source").values()
    if not clips or any(clip != PAPER_CLIP for clip in clips):
        said.append("of other clips: the paper names neither its clips nor its prompts; one had 1060 frames of "
                    "1920x1029")
    return said


def _rows(table: dict) -> dict[str, dict]:
    """A metrics.json's methods, those that the paper compared by our names for them: "cogvideo" of inputs/baselines/
    CogVideo."""
    return {papers(name) or name: row for name, row in table["methods"].items()}


def _values(run: Run, metric: str, method: str) -> dict[str, float]:
    """video -> a method's mean over its films, of the videos where it was measured."""
    entries = {video: _rows(table).get(method, {}).get(metric, {}) for video, table in run.metrics.items()}
    return {video: entry["value"] for video, entry in entries.items() if "value" in entry}


def _cell(run: Run, metric: str, method: str) -> Finding | dict:
    """A metric of a method, mean over the videos with its range or interval, or the Finding that says why not."""
    if not run.metrics:
        return Finding(None, NOT_RUN, INCOMPARABLE, f"{NOT_RUN}: `make repro`")
    tables = {video: table | {"methods": _rows(table)} for video, table in run.metrics.items()
              if method in _rows(table)}
    if not tables:
        return Finding(None, "no frames", INCOMPARABLE,
                       f"no frames of {method} here: put them into inputs/baselines/{method}/<video>/ and `make repro`")
    only = next(iter(tables))  # of one video the range is over its films
    entry = tables[only]["methods"][method].get(metric, {"refused": f"{quoted(metric)} was not measured"})
    entry = mean_over_videos(tables, method, metric) if len(tables) > 1 else entry
    if "refused" in entry:
        return Finding(None, "refused", INCOMPARABLE, entry["refused"])
    interval = around(entry, lambda number: f"{number:.4g}")
    count = f"mean of {len(tables)} videos" if len(tables) > 1 else f"{only}, {entry['n']} film{'s'[: entry['n'] > 1]}"
    return entry | {"text": f"{entry['value']:.4g}{interval}, {count}"}


def measured(run: Run, metric: str, what: str, method: str = "ours") -> Finding:
    """A cell of Table 1 as this run measures it; judged where nothing stands between it and the published one."""
    entry = _cell(run, metric, method)
    if isinstance(entry, Finding):
        return entry
    said = unlike(run, what)
    return Finding(entry["value"], entry["text"], INCOMPARABLE if said else None, "; ".join(said))


def ahead(run: Run, metric: str, what: str, less: bool = False, significantly: bool = False) -> Finding:
    """Whether ours is ahead of CogVideo in a metric, on the videos that both have films of (less: the smaller value is
    ahead). significantly: by the two-sided sign-flip test of the differences, a video each, at LEVEL as well."""
    for method in ("ours", "cogvideo"):
        entry = _cell(run, metric, method)
        if isinstance(entry, Finding):
            return entry
    ours, theirs = (_values(run, metric, method) for method in ("ours", "cogvideo"))
    both = [video for video in ours if video in theirs]
    if not both:
        return Finding(None, "no video of both", INCOMPARABLE, "CogVideo's films are of none of the videos of ours")
    a, b = (np.array([values[video] for video in both]) for values in (ours, theirs))
    p = sign_flip(a - b)
    text = f"ours {a.mean():.4g}; CogVideo {b.mean():.4g}; {len(both)} video{'s'[: len(both) > 1]} of both, p = {p:.2g}"
    value, said = bool(a.mean() < b.mean() if less else a.mean() > b.mean()), unlike(run, what)
    if significantly:
        value = value and p <= LEVEL
        if least_p(len(both)) > LEVEL:
            said.append(f"{len(both)} videos: no test can tell at {LEVEL:.0%}, which takes {pairs_needed()}")
    return Finding(value, text, INCOMPARABLE if said else None, "; ".join(said))


def resolution_of(run: Run, method: str) -> Finding:
    """Width x height of another method's films, as they lie in inputs/baselines/."""
    folders = [folder for folder in (root() / "inputs" / "baselines").glob("[!.]*") if method in (papers(folder.name),
                                                                                                 folder.name)]
    sizes = {size_of(films) for folder in folders for films in sorted(folder.glob("[!.]*"))}
    if not sizes:
        return Finding(None, "no frames", INCOMPARABLE,
                       f"no frames of {method} here: put them into inputs/baselines/{method}/<video>/")
    return Finding(tuple(sorted(sizes)))


def above_floor(run: Run, score: float, n: int, n_reference: int) -> Finding:
    """Whether a published FID of n frames is above what n frames score when both sides come from one distribution, as
    spread out as a real clip's features are. If so, how much of it is the floor hangs on the clip."""
    spectra, whose = spread.spectra(root(), run.results, list(run.metrics))
    floors = {name: spread.fid_floor(spread.power_law(*spectrum), n, n_reference)["value"]
              for name, spectrum in spectra.items()}
    widest = max(floors, key=floors.get)
    trace = spectra[widest][0]
    reason = (f"what Gaussians as spread out as the features of {whose} score against themselves, so a part of any FID "
              f"of {n} frames is there before anything differs; all {score:g} would be at a trace of "
              f"{score / floors[widest] * trace:.0f}, {widest} has {trace:.0f}; the paper gives neither a same-n "
              "value nor an interval")
    above = score > floors[widest]
    return Finding(above, f"{min(floors.values()):.0f} to {floors[widest]:.0f} when nothing differs",
                   INCOMPARABLE if above else None, reason)


def voted(run: Run, published: float, question: str, method: str = "ours") -> Finding:
    """A method's share of the decided votes between ours and CogVideo, from results/human_study/summary.json; judged,
    where the films are as the paper's, by whether its interval holds the published share. Few observers have a wide
    one, which holds whatever was published: past WIDEST it judges nothing."""
    summary = read_json(run.results / "human_study" / "summary.json")
    if summary is None or summary["simulated"] or not summary["votes"]:
        return Finding(None, "no responses yet", INCOMPARABLE, "nobody has been asked: `lnm study build` "
                       "makes the page that asks, and the paper's own votes were never published")
    pairs = summary["questions"].get(question, {}).get("pairs", [])
    pair = next((pair for pair in pairs if papers_pair(pair["first"], pair["second"])), None)
    if pair is None or "refused" in pair:
        return Finding(None, "no votes", INCOMPARABLE, pair["refused"] if pair else
                       "nobody was asked about CogVideo: its films go into inputs/baselines/cogvideo/<video>/")
    seen = seen_from(pair, called((pair["first"], pair["second"]), method))
    said = unlike(run, "films")
    if seen["low"] is None:
        said.append("too few observers for an interval to hold the published share against")
    elif 100 * (seen["high"] - seen["low"]) > WIDEST:
        said.append(f"an interval of {100 * (seen['high'] - seen['low']):.0f} points, past {WIDEST}, would fit nearly "
                    "any share: it takes more observers")
    share = 100 * seen["share"]
    held = seen["low"] is not None and 100 * seen["low"] <= published <= 100 * seen["high"]
    return Finding(published if held else share, f"{percent(seen)} ({pair['n']} votes)",
                   INCOMPARABLE if said else None,
                   "; ".join([*said, "other people than the paper's, which does not say how many they were"]))


def tried(run: Run, arms: list[str], measure: str, less: bool | None = None) -> Finding:
    """What a choice that the paper argues for, or leaves open, does in results/ablations/ablations.json: the base and
    each of `arms` in a measure. less: whether the base is to have less (or more) of it than every arm, by more than
    seeds differ; None where the paper states nothing to hold it against. Never judged on another checkpoint than Stable
    Diffusion's, nor where an arm is missing."""
    table = read_json(run.results / "ablations" / "ablations.json")
    trained = (table or {}).get("arms", {})
    lacking = [arm for arm in ("base", *arms) if "values" not in trained.get(arm, {})]
    if table is None or lacking:
        why = f"the arms {', '.join(lacking)} are not trained" if table else "the ablations are not trained"
        return Finding(None, NOT_RUN, INCOMPARABLE, f"{why}: `make ablations`")
    values = {arm: trained[arm]["values"][measure] for arm in ("base", *arms)}
    compared = [trained[arm]["compared"][measure] for arm in arms]
    p = ["" if one["p"] is None else f", p = {one['p']:.2g}" for one in compared]
    text = "; ".join([f"base {np.mean(values['base']):.4f}"] + [
        f"{trained[arm]['value']} {np.mean(values[arm]):.4f}{said}" for arm, said in zip(arms, p, strict=True)])
    said = [] if is_sd(table["checkpoint"], root()) else [f"of {table['checkpoint']}, not Stable Diffusion"]
    told = [one["p"] is not None and one["p"] <= LEVEL for one in compared]
    said += [] if any(told) else ["no difference larger than between seeds"]
    said += ["the paper gives no number of it"] if less is None else []
    ahead_of = [far and (one["difference"] > 0) == bool(less) for far, one in zip(told, compared, strict=True)]
    return Finding(None if less is None else all(ahead_of), text, INCOMPARABLE if said else None, "; ".join(
        [*said, f"{table['steps']} steps of one clip, {len(values['base'])} seeds"]))
