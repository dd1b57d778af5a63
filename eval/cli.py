"""The harness's part of the command `lnm`: `lnm score`, `lnm study build | aggregate | simulate`, `lnm claims`.

pyproject.toml names these apps under "lnm.commands", by which `lnm` joins them without knowing the harness. What a
command computes with is imported inside it: the help must answer at once.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from lnm.cli.style import App, Quiet, calm, say
from lnm.errors import UserError
from lnm.files import write_json
from lnm.workflow.params import NAME, load, root

score = App()
study = App("The human study: the page that asks, the votes it collects, votes from a model.")
claims = App()


def commas(given: list[str] | None) -> list[str] | None:
    """["a,b", "c"] -> ["a", "b", "c"]; None for none."""
    return [part.strip() for text in given for part in text.split(",") if part.strip()] if given else None


# --- score --------------------------------------------------------------------------------------------------------


def _list(asked: bool) -> None:
    if asked:
        from eval.records.score_text import measures

        print(measures())
        raise typer.Exit


@score.add('lnm score --frames film/ --method mine --reference real.mp4 --fps 8 --prompt "ocean waves"', name="score")
def score_(
    frames: Annotated[list[str] | None, typer.Option(metavar="DIR_OR_VIDEO", help="A film: a folder of images or a "
                                                     "video file; or a folder of such. May be repeated.")] = None,
    method: Annotated[str | None, typer.Option(metavar="NAME",
                                               help="What to call it: letters, digits, _ and -.")] = None,
    methods: Annotated[str | None, typer.Option(metavar="DIR", help="Many methods at once: a folder of folders of "
                                                "films, by the methods' names.")] = None,
    reference: Annotated[str | None, typer.Option(metavar="DIR_OR_VIDEO", help="Real frames to compare with, or a file "
                                                  "of --cache-reference.")] = None,
    vae_reference: Annotated[str | None, typer.Option(metavar="DIR_OR_VIDEO", help="The same frames through an "
                                                      "autoencoder: the ceiling of a latent method.")] = None,
    train: Annotated[str | None, typer.Option(metavar="DIR_OR_VIDEO", help="Frames the method was "
                                              "trained on: FID to them, memorisation.")] = None,
    still: Annotated[str | None, typer.Option(metavar="IMAGE", help="What the film starts from. "
                                              "(default: the reference's first frame)")] = None,
    prompt: Annotated[str | None, typer.Option(metavar="TEXT", help="What the film should show; "
                                               "without it nothing is compared with a text.")] = None,
    other_prompt: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="A prompt of something else, CLIPSIM's "
                                                           "control; may be repeated.")] = None,
    images: Annotated[str | None, typer.Option(metavar="DIR", help="Natural images for image-to-"
                                               "image. (default: the reference's frames)")] = None,
    clip: Annotated[str | None, typer.Option(metavar="NAME", help="An open_clip folder, ViT-L-14/"
                                             "openai, or none. (default: params.yaml's, or lnm-mini-clip)")] = None,
    size: Annotated[int | None, typer.Option(min=16, metavar="PIXELS",
                                             help="Centre squares of this size. (default: as the frames are)")] = None,
    fps: Annotated[float | None, typer.Option(help="Resample videos to it; images in a folder are "
                                                                       "taken to be at it.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the noise and the shuffling.")] = 0,
    json_: Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write everything there.")] = None,
    html: Annotated[str | None, typer.Option(metavar="FILE", help="Write a page with the films playing.")] = None,
    cache_reference: Annotated[str | None, typer.Option(metavar="FILE", help="Keep the reference's Inception features "
                                                        "(.safetensors) for another --reference.")] = None,
    list_: Annotated[bool, typer.Option("--list", callback=_list, is_eager=True,
                                        help="Say what is measured, how and against what, and end.")] = False,
    quiet: Quiet = False,
) -> None:
    """Score anybody's films: every metric with its interval, controls beside it, refusals with their reasons.

    The metrics are those of the pipeline; nothing is known of a method but its frames, and no project is needed. Twenty
    seconds to two minutes for a short film on a CPU; FID takes most of it. In Python: `from eval import score`.
    """
    _check(frames, method, methods, cache_reference)
    for option, path in (("--json", json_), ("--html", html), ("--cache-reference", cache_reference)):
        _writable(option, path)
    from eval.records.given import methods_in
    from eval.records.score import score as score_films
    from eval.records.score_text import in_short, table

    calm()
    given = methods_in(methods) if methods else {method: frames}
    result = score_films(given, reference, train=train, vae_reference=vae_reference, still=still, prompt=prompt,
                         other_prompts=other_prompt, images=images, clip=clip, size=size, fps=fps, device=device,
                         seed=seed, cache_reference=cache_reference, progress=not quiet)
    print(table(result))
    print("\n" + "\n".join(f"In short: {line}" for line in in_short(result)))
    for option, path in (("--json", json_), ("--html", html)):
        if path:
            _write(option, path, result, given, reference)


def _write(option: str, path: str, result: dict, given: dict, reference: str | None) -> None:
    """The score's JSON, or its page."""
    from eval.records.score_page import write_page

    try:
        if option == "--json":
            write_json(Path(path), result)
        else:
            write_page(Path(path), result, given, reference)
    except OSError as error:  # a full disk, say: what can be known before is asked before
        raise UserError(f"{option} {path}: {error.strerror}: choose another file") from None
    say(f"\nwritten: {path}")


def _check(frames: list[str] | None, method: str | None, methods: str | None, cache_reference: str | None) -> None:
    """What can be known to be wrong before anything is read."""
    if (frames is None) == (methods is None) or (method is None) == (methods is None):
        raise UserError("give either --frames with --method NAME, or --methods DIR")
    if cache_reference and not cache_reference.endswith(".safetensors"):
        raise UserError(f"--cache-reference {cache_reference}: the name must end in .safetensors")


def _writable(option: str, path: str | None) -> None:
    """Whether a file can be written there, asked before the long work and without leaving one."""
    if path is None:
        return
    target = Path(path).absolute()
    folder = next(parent for parent in target.parents if parent.exists())
    if target.is_dir():
        raise UserError(f"{option} {path}: this is a folder; name a file")
    if not folder.is_dir():
        raise UserError(f"{option} {path}: {folder.name} is a file, not a folder; choose another place")
    if not os.access(target if target.exists() else folder, os.W_OK):
        raise UserError(f"{option} {path}: not allowed to write there; choose another place")


# --- study --------------------------------------------------------------------------------------------------------


@study.add("lnm study build --methods ours,heldout --catch 3")
def build(
    videos: Annotated[list[str] | None, typer.Option(metavar="NAME,...",
                                                     help="(default: every video of params.yaml)")] = None,
    methods: Annotated[list[str] | None, typer.Option(metavar="NAME,...", help="Two or more; also: heldout. (default: "
                                                      "the run's and all of inputs/baselines)")] = None,
    films: Annotated[int, typer.Option(min=1, help="Films a method and video, from the first seed on.")] = 1,
    catch: Annotated[int, typer.Option(min=0, help="Trials that show a film beside its broken version.")] = 6,
    ties: Annotated[bool, typer.Option("--ties", help="Allow 'no difference'.")] = False,
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
    from eval.study.page import write_page

    words = None
    if consent:
        try:
            words = consent.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8"
            raise UserError(f"{consent}: {reason}; give a UTF-8 text file") from None
    target = out or root() / "results" / "human_study" / "study.html"
    asked = commas(methods)
    if asked is not None and len(asked) < 2:
        raise UserError(f"--methods {asked[0]}: give two or more, such as ours,heldout")
    scenes = collect(root() / "results", commas(videos) or list(load().videos), asked, films, fps)
    for scene, found in scenes.items():
        if len(found) < 2:
            print(f"{scene}: films of {', '.join(found) or 'no method'} only; not asked about", file=sys.stderr)
    page = write_page(scenes, target, catch, ties, seed, words, title)
    caught = sum(trial["is_catch"] for trial in page["trials"])
    print(f"{_shown(target)}: {len(page['trials'])} trials, {caught} of them catch trials; "
          f"{target.stat().st_size / 1e6:.1f} MB. Open it in a browser, or send it; answers go into "
          "inputs/human_study/.")


@study.add("lnm study aggregate answers/*.csv")
def aggregate(
    csv: Annotated[list[Path] | None, typer.Argument(metavar="CSV...", help="Files, or folders of "
                                                     "them. (default: inputs/human_study)")] = None,
    methods: Annotated[list[str] | None, typer.Option(metavar="NAME,...", help="Names that may "
                                                      "occur; a row with another is left out and listed.")] = None,
    max_failed: Annotated[int, typer.Option(min=0, help="Catch trials an observer may fail.")] = 0,
    bootstrap: Annotated[int, typer.Option(min=1, help="Resamples.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="A malformed or repeated row is an error.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER",
                                             help="(default: results/human_study)")] = None,
    quiet: Quiet = False,
) -> None:
    """Say what people answered: shares, intervals, tests, who failed the catch trials."""
    from eval.study.aggregate import aggregate as aggregate_votes
    from eval.study.form import NO_RESPONSES
    from eval.study.text import markdown
    from eval.study.votes import find_responses

    home = root() / "inputs" / "human_study"
    paths: list[Path] = []
    for path in csv or [home]:
        paths += find_responses(path) if path.is_dir() or not csv else [path]
    for path in () if csv else home.glob("[!.]*"):
        if path not in paths:
            print(f"{_shown(path)}: not a .csv file, not read", file=sys.stderr)
    if len({path.resolve() for path in paths}) < len(paths):
        raise UserError("the same file is given twice; give it once")
    target = out or root() / "results" / "human_study"
    summary = aggregate_votes(paths, target, commas(methods), bootstrap, seed, max_failed, strict)
    for file, line, reason in summary["problems"][:20]:
        print(f"{file}: line {line}: {reason}", file=sys.stderr)
    if len(summary["problems"]) > 20:
        print(f"... and {len(summary['problems']) - 20} more, all in {_shown(target)}", file=sys.stderr)
    if summary["status"] == NO_RESPONSES:
        print("\n".join([NO_RESPONSES, *summary.get("notes", [])]) + "\n")
    print(markdown(summary))


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
    from eval.study.form import MARK
    from eval.study.simulate import simulate as simulate_votes

    liked = dict(_strength(text) for text in commas(preference) or ())
    strengths = {"preference": liked, "realism": dict(_strength(text) for text in commas(realism) or ()) or liked}
    if any(len(one) < 2 for one in strengths.values()):
        raise UserError("--preference: give two or more methods, such as ours=1.3,cogvideo=0")
    shown = tuple(commas(scenes) or ("scene-1", "scene-2", "scene-3"))
    path = simulate_votes(out or root() / "build" / f"{MARK}_votes.csv", strengths, observers, shown,
                          observer_sd, scene_sd, lapse, side_bias, catch, seed)
    print(f"{_shown(path)}: {MARK} votes of {observers} observers; no person was asked")


def _strength(text: str) -> tuple[str, float]:
    name, found, value = text.rpartition("=")
    if found and NAME.fullmatch(name):
        try:
            return name, float(value)
        except ValueError:
            pass
    raise UserError(f"{text!r} is not METHOD=NUMBER, such as ours=1.3")


def _shown(path: Path) -> str:
    """A path as it is told: relative to the project where it lies inside."""
    path = path.absolute()
    return path.relative_to(root()).as_posix() if path.is_relative_to(root()) else str(path)


# --- claims -------------------------------------------------------------------------------------------------------


@claims.add("lnm claims --json claims.json", name="claims")
def claims_(
    results: Annotated[Path | None, typer.Option(metavar="FOLDER",
                                                 help="(default: results/ in the project)")] = None,
    params: Annotated[Path | None, typer.Option(metavar="FILE",
                                                help="The paper's settings. (default: params.paper.yaml)")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Of claims.json and claims.md. (default: paper/ in "
                                                                    "the results)")] = None,
    json_: Annotated[Path | None, typer.Option("--json", metavar="FILE",
                                               help="A second copy of claims.json.")] = None,
    check: Annotated[bool, typer.Option("--check", help="First check the method on small models: tests/conformance/, "
                                                        "half a minute.")] = False,
    quiet: Quiet = False,
) -> None:
    """Compute every number and checkable claim of the paper, and print the verdict on each.

    Settings and scores are those of the run that left the results; claims of the method are as `--check` or `make test`
    last found them.
    """
    home = results or root() / "results"
    if results and not results.is_dir():
        raise UserError(f"--results {results}: there is no such folder")
    from eval.claims import conformance, ledger

    target = out or home / "paper"
    if check:
        say("checking the method on small models")
        if failed := conformance.run():
            say(f"warning: {conformance.TESTS.as_posix()}: {failed}")
    table = ledger.run(home, target, params, strict=True)
    if json_:
        write_json(json_, json.loads((target / "claims.json").read_text(encoding="utf-8")))
    print(ledger.short(table))
    print("\n" + textwrap.fill(f"{len(table)} claims: {ledger.counts_line(table)}", 120))
    print(f"{target / 'claims.md'} has the paper's words and the "
          "reasons")
