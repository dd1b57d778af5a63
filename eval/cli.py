"""The harness's part of the command `lnm`: `lnm score`, `lnm study build | aggregate | simulate`, `lnm claims`.

pyproject.toml names these apps under "lnm.commands", by which `lnm` joins them without knowing the harness. What a
command computes with is imported inside it: the help must answer at once.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from eval.study.commands import study
from lnm.cli.style import App, Quiet, calm, say
from lnm.errors import UserError
from lnm.files import writable, writable_folder, write_json
from lnm.project import LARGEST, root

score = App()
claims = App()
__all__ = ["claims", "score", "study"]  # study: its commands stand in eval/study/commands.py


# --- score --------------------------------------------------------------------------------------------------------


def _list(asked: bool) -> None:
    if asked:
        from eval.records.measures import printed

        print(printed())
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
    size: Annotated[int | None, typer.Option(min=16, max=LARGEST, metavar="PIXELS",
                                             help="Centre squares of this size. (default: as the frames are)")] = None,
    fps: Annotated[float | None, typer.Option(help="Resample videos to it; images in a folder are "
                                                                       "taken to be at it.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the noise and the shuffling.")] = 0,
    json_: Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write everything there.")] = None,
    html: Annotated[str | None, typer.Option(metavar="FILE", help="Write a page with the films playing.")] = None,
    table: Annotated[str | None, typer.Option(metavar="FILE", help="Write the numbers as a table: a name in .md, .tex "
                                              "or .csv.")] = None,
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
    _check(frames, method, methods, cache_reference, table)
    written = {"--json": json_, "--html": html, "--table": table}
    for option, path in (written | {"--cache-reference": cache_reference}).items():
        if path is not None:
            writable(Path(path), option)
    from eval.records.given import methods_in
    from eval.records.score import score as score_films
    from eval.records.score_text import in_short
    from eval.records.score_text import table as printed

    calm()
    given = methods_in(methods) if methods else {method: frames}
    result = score_films(given, reference, train=train, vae_reference=vae_reference, still=still, prompt=prompt,
                         other_prompts=other_prompt, images=images, clip=clip, size=size, fps=fps, device=device,
                         seed=seed, cache_reference=cache_reference, progress=not quiet)
    print(printed(result))
    print("\n" + "\n".join(f"In short: {line}" for line in in_short(result)))
    for option, path in written.items():
        if path:
            _write(option, path, result, given, reference)


def _write(option: str, path: str, result: dict, given: dict, reference: str | None) -> None:
    """The score's JSON, its table or its page."""
    from eval.records.score_page import write_page
    from eval.records.score_table import write_table

    if option == "--json":
        write_json(Path(path).expanduser(), result)
    elif option == "--table":
        write_table(Path(path).expanduser(), result)
    else:
        write_page(Path(path).expanduser(), result, given, reference)
    say(f"\nwritten: {path}")


def _check(frames: list[str] | None, method: str | None, methods: str | None, cache_reference: str | None,
           table: str | None) -> None:
    """What can be known to be wrong before anything is read."""
    if (frames is None) == (methods is None) or (method is None) == (methods is None):
        raise UserError("give either --frames with --method NAME, or --methods DIR")
    if cache_reference and not cache_reference.endswith(".safetensors"):
        raise UserError(f"--cache-reference {cache_reference}: the name must end in .safetensors")
    if table is not None and Path(table).suffix not in (".md", ".tex", ".csv"):
        raise UserError(f"--table {table}: the name must end in .md, .tex or .csv")


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

    target = writable_folder(out or home / "paper", "--out")
    if json_:
        writable(json_, "--json")
    if check:
        say("checking the method on small models")
        if failed := conformance.run():
            say(f"warning: {conformance.TESTS.as_posix()}: {failed}")
    table = ledger.run(home, target, params, strict=True)
    if json_:
        write_json(json_, json.loads((target / "claims.json").read_text(encoding="utf-8")))
    print(ledger.short(table))
    print("\n" + textwrap.fill(f"{len(table)} claims: {ledger.counts_line(table)}", 120))
    if isinstance(unknown := conformance.outcomes(), str):
        print(f"claims of the method: {unknown}")
    print(f"{target / 'claims.md'} has the paper's words and the "
          "reasons")
