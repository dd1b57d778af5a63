"""The harness's part of the command `lnm`: `lnm score`, `lnm study build | aggregate | simulate`, `lnm claims`.

pyproject.toml names these apps under "lnm.commands", by which `lnm` joins them without knowing the harness. What a
command computes with is imported inside it: the help must answer at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import typer

from lnm.cli.style import App, Quiet, calm, say
from lnm.errors import UserError
from lnm.files import builtin, write_json
from lnm.workflow.params import NAME, load, root

score = App()
study = App("The human study: the page that asks, the votes it collects, votes from a model.")
claims = App()


def commas(given: list[str] | None) -> list[str] | None:
    """["a,b", "c"] -> ["a", "b", "c"]; None for none."""
    return [part.strip() for text in given for part in text.split(",") if part.strip()] if given else None


# --- score --------------------------------------------------------------------------------------------------------


@score.add('lnm score --frames film/ --method mine --reference real.mp4 --fps 8 --prompt "ocean waves"', name="score")
def score_(
    frames: Annotated[str, typer.Option(metavar="DIR_OR_VIDEO", help="The film: a folder of images or a video file.")],
    method: Annotated[str, typer.Option(metavar="NAME", help="What to call it: letters, digits, _ and -.")],
    reference: Annotated[str | None, typer.Option(metavar="DIR_OR_VIDEO",
                                                  help="Real frames to compare with.")] = None,
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
    json_: Annotated[str | None, typer.Option("--json", metavar="FILE",
                                              help="Write everything there.")] = None,
    quiet: Quiet = False,
) -> None:
    """Score anybody's frames: every metric with its interval, controls beside it, refusals with their reasons.

    The metrics are those of the pipeline; nothing is known of the method but its frames. Ten seconds to a minute for a
    short film on a CPU; FID takes most of it.
    """
    request = SimpleNamespace(frames=frames, method=method, reference=reference, train=train, still=still,
                              prompt=prompt, other_prompt=other_prompt or [], images=images, clip=_clip(clip),
                              size=size, fps=fps, device=device, seed=seed)
    _check(request, json_)
    from eval.records.score import score as score_film
    from eval.records.score_text import table

    calm()
    result = score_film(request)
    print(table(result))
    print(f"\nIn short: {in_short(result)}")
    if json_:
        try:
            write_json(Path(json_), result)
        except OSError as error:
            raise UserError(f"--json {json_}: {error.strerror}: choose another file") from None
        say(f"\nwritten: {json_}")


def in_short(result: dict) -> str:
    """One sentence of a score's telling numbers, each beside what it is to be compared with."""
    own, real = result["methods"][result["method"]], result["methods"].get("reference", {})

    def value(row: dict, metric: str) -> float | None:
        return row.get(metric, {}).get("value")

    says = []
    if (motion := value(own, "motion_ratio")) is not None:
        says.append(f"it moves {motion:.2f} times as far as the reference")
    if (error := value(own, "flow_warp")) is not None:
        beside = value(real, "flow_warp")
        says.append(f"its flow-warp error is {error:.4f}" + (f", the reference's {beside:.4f}" if beside else ""))
    if (fid := value(own, "fid_heldout")) is not None:
        says.append(f"its FID to the reference is {fid:.0f}")
    if (words := value(own, "clipsim")) is not None:
        other = value(own, "clipsim_mismatched")
        says.append(f"its CLIPSIM is {words:.2f}" + (f", {other:.2f} with other prompts" if other is not None else ""))
    return "; ".join(says) + "." if says else "nothing could be measured; the reasons are above."


def _clip(name: str | None) -> str | None:
    """The CLIP that was asked for, the project's, or outside of one the built-in."""
    if name is not None:
        return name
    try:
        root()
    except UserError:
        return str(builtin("lnm-mini-clip") or "none")
    return None


def _check(request: SimpleNamespace, json_: str | None) -> None:
    from eval.records.score import LABELS

    if not NAME.fullmatch(request.method):
        raise UserError(f"--method {request.method!r}: a name may hold only letters, digits, _ and -")
    if request.method in LABELS:
        raise UserError(f"--method {request.method}: a control is called so; choose another name")
    for option, texts in (("--prompt", [request.prompt]), ("--other-prompt", request.other_prompt)):
        if any(text is not None and not text.strip() for text in texts):
            raise UserError(f"{option}: the text is empty; give what the film should show, or leave {option} out")
    if request.fps is not None and not request.fps > 0:
        raise UserError(f"--fps {request.fps:g}: must be above 0")
    if json_ and Path(json_).is_dir():
        raise UserError(f"--json {json_}: this is a folder; name a file")


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
    quiet: Quiet = False,
) -> None:
    """Compute every number and checkable claim of the paper, and print the verdict on each.

    Half a minute; some claims take a look at a run's results, where there are any.
    """
    home = results or root() / "results"
    if results and not results.is_dir():
        raise UserError(f"--results {results}: there is no such folder")
    from eval.claims import ledger

    target = out or home / "paper"
    table = ledger.run(home, target, params)
    if json_:
        write_json(json_, json.loads((target / "claims.json").read_text(encoding="utf-8")))
    print(ledger.short(table))
    print(f"\n{len(table)} claims: {ledger.counts_line(table)}\n{target / 'claims.md'} has the paper's words and the "
          "reasons")
