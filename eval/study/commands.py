"""`lnm study build | aggregate | simulate`. What a command computes with is imported inside it: the help must answer at
once.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from eval.study.form import MARK, NO_RESPONSES, shown
from lnm.cli.style import App, Quiet, say
from lnm.errors import UserError, shortened
from lnm.files import given_path, regular_file, writable, writable_folder
from lnm.project import NAME, root

study = App("The human study: the page that asks, the votes it collects, votes from a model.")

FASTEST = 240  # frames a second: no film is faster


def commas(given: list[str] | None) -> list[str] | None:
    """["a,b", "c"] -> ["a", "b", "c"]; None for none."""
    if not given:
        return None
    parts = [part.strip() for text in given for part in text.split(",") if part.strip()]
    names = [part.partition("=")[0].strip() for part in parts]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{shortened(name)} is named twice; name it once")
    return parts


@study.add("lnm study build --methods ours,heldout --catch 8")
def build(
    videos: Annotated[list[str] | None, typer.Option(metavar="NAME,...",
                                                     help="(default: every video of params.yaml)")] = None,
    methods: Annotated[list[str] | None, typer.Option(metavar="NAME,...", help="Two or more; also: heldout. (default: "
                                                      "the run's and all of inputs/baselines)")] = None,
    films: Annotated[int, typer.Option(min=1, help="Films a method and video, from the first seed on.")] = 1,
    catch: Annotated[int, typer.Option(min=0, help="Trials that show a film beside its broken version: so "
                                       "many that 0.02 or less pass at random.")] = 6,
    ties: Annotated[bool, typer.Option("--ties", help="Allow 'no difference'.")] = False,
    max_failed: Annotated[int, typer.Option(min=0, help="Catch trials an observer may fail.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the catch trials.")] = 0,
    consent: Annotated[Path | None, typer.Option(metavar="FILE",
                                                 help="A text file to show first instead of ours.")] = None,
    title: Annotated[str, typer.Option(help="Of the page.")] = "Which film is better?",
    fps: Annotated[float | None, typer.Option(help="For videos without films in results/.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE",
                                             help="(default: results/human_study/study.html)")] = None,
    quiet: Quiet = False,
) -> None:
    """Write the page that asks which film is better, with the films inside it."""
    from eval.study.films import collect
    from eval.study.page import in_short, write_page
    from lnm.workflow.params import load

    if fps is not None and not 0 < fps <= FASTEST:
        raise UserError(f"--fps {fps:g}: must be above 0 and at most {FASTEST}")
    words = None
    if consent:
        try:
            words = regular_file(consent, "--consent").read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise UserError(f"{consent}: not UTF-8; give a UTF-8 text file") from None
    target = out or root() / "results" / "human_study" / "study.html"
    target = writable(target, "--out") if out else target
    asked = commas(methods)
    if asked is not None and len(asked) < 2:
        raise UserError(f"--methods {asked[0]}: give two or more, such as ours,heldout")
    scenes = collect(root() / "results", commas(videos) or list(load().videos), asked, films, fps)
    for scene, found in scenes.items():
        if len(found) < 2:
            print(f"{scene}: films of {', '.join(found) or 'no method'} only; not asked about", file=sys.stderr)
    page = write_page(scenes, target, catch, ties, seed, words, title, max_failed)
    print(f"{shown(target)}: study {page['id']}, {in_short(page)}; {target.stat().st_size / 1e6:.1f} MB. Open it in a "
          "browser, or send it; answers go into inputs/human_study/. Keep the .json beside it: it says whose films the "
          "answers are about.")


@study.add("lnm study aggregate answers/*.csv --out counted")
def aggregate(
    csv: Annotated[list[Path] | None, typer.Argument(metavar="CSV...", help="Files, or folders of "
                                                     "them. (default: inputs/human_study)")] = None,
    study: Annotated[str | None, typer.Option(metavar="FILE", help="The page whose films count, or the .json beside "
                                              "it; none: any. (default: results/human_study/study.json)")] = None,
    methods: Annotated[list[str] | None, typer.Option(metavar="NAME,...", help="Names that may "
                                                      "occur; a row with another is left out and listed.")] = None,
    max_failed: Annotated[int | None, typer.Option(min=0, help="Catch trials an observer may fail.")] = None,
    min_rt_ms: Annotated[float | None, typer.Option(min=0, help="The least median reaction time of an observer who "
                                                    "looks.")] = None,
    one_side_p: Annotated[float | None, typer.Option(min=0, max=1, help="An observer whose sides a coin would give "
                                                     "this rarely did not look.")] = None,
    flag: Annotated[bool | None, typer.Option("--flag", help="Count who did not look, and say so.")] = None,
    bootstrap: Annotated[int | None, typer.Option(min=1, help="Resamples.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the bootstrap.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A row that is not counted is an error.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Never below results/. (default: none, or "
                                             "results/human_study for inputs/human_study by params.yaml)")] = None,
    quiet: Quiet = False,
) -> None:
    """Say what people answered: shares, intervals, tests, who was not looking.

    What is not given is params.yaml's, or the default of its section human_study.
    """
    from eval.study.aggregate import aggregate as aggregate_votes
    from eval.study.sieve import FLAG, Rule
    from eval.study.text import markdown

    given = {"methods": commas(methods), "max_failed": max_failed, "min_rt_ms": min_rt_ms, "one_side_p": one_side_p,
             "careless": FLAG if flag else None, "bootstrap": bootstrap, "seed": seed}
    chosen = _chosen() | {key: value for key, value in given.items() if value is not None}
    paths = _answers(csv)
    own = not csv and not study and all(value is None for value in given.values())
    if out and _home() and out.resolve().is_relative_to((root() / "results").resolve()):
        raise UserError(f"--out {out}: results/ is written by the pipeline alone; choose a folder outside it")
    out = writable_folder(out, "--out") if out else None
    target = out or (root() / "results" / "human_study" if own else None)
    summary = aggregate_votes(paths, target, chosen["methods"], chosen["bootstrap"], chosen["seed"],
                              Rule(*(chosen[key] for key in ("max_failed", "min_rt_ms", "one_side_p", "careless"))),
                              strict, _study(study))
    for file, line, _, reason in summary["problems"][:20]:
        print(f"{file}: line {line}: {reason}", file=sys.stderr)
    if len(summary["problems"]) > 20:
        where = f"all in {shown(target)}/left_out.csv" if target else "--out FOLDER lists them all"
        print(f"... and {len(summary['problems']) - 20} more, {where}", file=sys.stderr)
    if summary["status"] == NO_RESPONSES and summary["problems"]:
        of = f" of the study {summary['study']['id']}; --study FILE names the page that they were given on" if summary[
            "study"] else " that may occur: --methods"
        raise UserError(f"none of the {len(summary['problems'])} answers above is about the films{of}")
    if summary["status"] == NO_RESPONSES:
        print("\n".join([NO_RESPONSES, *summary.get("notes", [])]) + "\n")
    print(markdown(summary))
    say(f"written: {shown(target)}" if target else "nothing is written; --out FOLDER keeps it")


def _home() -> Path | None:
    """The project's root, or None outside of one."""
    try:
        return root()
    except UserError:
        return None


def _chosen() -> dict:
    """The section human_study of params.yaml, or its defaults outside a project."""
    from lnm.workflow.params import HumanStudy, load

    return (load().human_study if _home() else HumanStudy()).model_dump()


def _answers(csv: list[Path] | None) -> list[Path]:
    """The CSV files that were given, those of the folders given, or of inputs/human_study."""
    from eval.study.votes import find_responses

    home = root() / "inputs" / "human_study" if not csv else Path()
    paths: list[Path] = []
    for path in [given_path(path, "CSV") for path in csv or []] or [home]:
        paths += find_responses(path) if path.is_dir() or not csv else [path]
    for path in () if csv else home.glob("[!.]*"):
        if path not in paths:
            print(f"{shown(path)}: not a .csv file, not read", file=sys.stderr)
    if len({path.resolve() for path in paths}) < len(paths):
        raise UserError("the same file is given twice; give it once")
    return paths


def _study(given: str | None) -> dict | None:
    """The study whose films count: the one that is named, or the pipeline's where there is one."""
    from eval.study.page import read_study

    if given == "none":
        return None
    if given:
        return read_study(Path(given))
    home = _home()
    path = home / "results" / "human_study" / "study.json" if home else None
    return read_study(path) if path and path.is_file() else None


@study.add("lnm study simulate --preference ours=1.3,cogvideo=0 --observers 40")
def simulate(
    preference: Annotated[list[str], typer.Option(metavar="METHOD=LOG_ODDS,...", help="How well each is liked.")],
    realism: Annotated[list[str] | None, typer.Option(metavar="METHOD=LOG_ODDS,...",
                                                      help="(default: as --preference)")] = None,
    observers: Annotated[int, typer.Option(min=1, help="How many vote.")] = 40,
    scenes: Annotated[list[str] | None, typer.Option(metavar="NAME,...",
                                                     help="(default: scene-1,scene-2,scene-3)")] = None,
    observer_sd: Annotated[float, typer.Option(min=0, help="Of an observer's own liking of a method.")] = 0.0,
    scene_sd: Annotated[float, typer.Option(min=0, help="The same for a scene.")] = 0.0,
    lapse: Annotated[float, typer.Option(min=0, max=1, help="Share of answers at random.")] = 0.0,
    side_bias: Annotated[float, typer.Option(help="Log odds for the left film.")] = 0.0,
    catch: Annotated[int, typer.Option(min=0, help="Trials that show a film beside its broken version.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="(default: build/"
                                             "SIMULATED_votes.csv); never below inputs/")] = None,
    quiet: Quiet = False,
) -> None:
    """Write votes from a stated model, marked SIMULATED in every row, to try the analysis on."""
    from eval.study.simulate import simulate as simulate_votes

    liked = dict(_strength(text) for text in commas(preference) or ())
    strengths = {"preference": liked, "realism": dict(_strength(text) for text in commas(realism) or ()) or liked}
    if any(len(one) < 2 for one in strengths.values()):
        raise UserError("--preference: give two or more methods, such as ours=1.3,cogvideo=0")
    named = tuple(commas(scenes) or ("scene-1", "scene-2", "scene-3"))
    target = writable(out, "--out") if out else root() / "build" / f"{MARK}_votes.csv"
    path = simulate_votes(target, strengths, observers, named, observer_sd, scene_sd, lapse, side_bias, catch, seed)
    print(f"{shown(path)}: {MARK} votes of {observers} observers; no person was asked")


def _strength(text: str) -> tuple[str, float]:
    name, found, value = text.rpartition("=")
    if found and NAME.fullmatch(name):
        try:
            if math.isfinite(float(value)):
                return name, float(value)
        except ValueError:
            pass
    raise UserError(f"{shortened(text)!r} is not METHOD=NUMBER, such as ours=1.3")
