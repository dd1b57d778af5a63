"""`lnm checkpoint`: the frozen model that lends its space."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lnm.cli.options import Revision, Widen, defaults
from lnm.cli.style import App, Quiet, calm, if_interrupted
from lnm.errors import UserError
from lnm.files import sha256
from lnm.project import root
from lnm.workflow.params import load

app = App("The frozen inpainting model: show it, verify the method on it, train the built-in one.")
PAPER = "params.paper.yaml"
Name = Annotated[str | None, typer.Argument(metavar="NAME", help="A folder, a hub name, or lnm-mini. (default: "
                                                                "params.yaml's, or lnm-mini)")]


@app.add("lnm checkpoint show lnm-mini")
def show(name: Name = None, revision: Revision = None, quiet: Quiet = False) -> None:
    """Say what a checkpoint is: its parts, their parameters and hashes, what it predicts."""
    here = defaults()
    from lnm.checkpoint import locate
    from lnm.weights import count, head

    folder = locate(name or here.checkpoint, revision or (None if name else here.revision))
    if folder.is_file():
        raise UserError(f"{folder}: a single file says nothing of its parts before it is opened; give a folder")
    print(f"{name or here.checkpoint}  ({folder})")
    for part in ("unet", "vae", "text_encoder"):
        kind = _json(folder / part / "config.json")
        files = sorted((folder / part).glob("*.safetensors"))
        numbers = sum(count(head(file).values()) for file in files)
        kinds = kind.get("_class_name") or ", ".join(kind.get("architectures") or ["?"])
        print(f"  {part:13} {kinds:22} {numbers / 1e6:9.2f} M parameters   sha256 {sha256(folder / part)[:12]}")
    unet, schedule = _json(folder / "unet" / "config.json"), _json(folder / "scheduler" / "scheduler_config.json")
    print(f"  takes {unet.get('in_channels')} channels, gives {unet.get('out_channels')}; predicts "
          f"{schedule.get('prediction_type', 'epsilon')}; betas {schedule.get('beta_schedule', 'linear')} from "
          f"{schedule.get('beta_start', 1e-4):g} to {schedule.get('beta_end', 0.02):g}")
    print(f"  whole: sha256 {sha256(folder)}")


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); fetch it again") from None


@app.add("lnm checkpoint verify lnm-mini --size 128")
def verify(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A folder or a hub name. "
                                               f"(default: that of {PAPER}, Stable Diffusion inpainting)")] = None,
    revision: Revision = None,
    size: Annotated[int, typer.Option(min=32, help="Pixels.")] = 512,
    widen: Widen = False,
    quiet: Quiet = False,
) -> None:
    """Check the whole method on a real checkpoint, a line a check; exit status 1 if one fails.

    A GPU is used where there is one.
    """
    if name is None:
        try:
            here = root()
        except UserError:
            raise UserError(f"NAME: missing, and there is no project here whose {PAPER} has one; name it") from None
        paper = load(here / PAPER).checkpoint
        name, revision, widen = paper.name, revision or paper.revision, widen or paper.widen
    from lnm.verify import verify_sd

    calm()
    if not verify_sd(name, revision, size, widen):
        raise typer.Exit(1)


@app.add("lnm checkpoint train --out checkpoints")
def train(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Gets lnm-mini and lnm-mini-clip.")] = Path("checkpoints"),
    work: Annotated[Path, typer.Option(metavar="FOLDER", help="Pictures, clips, what an interrupted run goes on "
                                                              "from.")] = Path("store/lnm-mini"),
    downloads: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the photographs' archive "
                                                                   "is kept.")] = Path("store/downloads"),
    start: Annotated[Path | None, typer.Option(metavar="FOLDER", help="An lnm-mini of 16 channels to carry over; its "
                                               "lnm-mini-clip lies beside it. (default: from nothing)")] = None,
    quiet: Quiet = False,
) -> None:
    """Train lnm-mini and lnm-mini-clip, from rendered scenes, clips and open photographs.

    With --start about two hours on two CPU cores, which is how the shipped weights were made. From nothing about eight,
    a guess: it was not run at full length. Every part goes on where it was interrupted.
    """
    from lnm.demo.mini.train import train as train_mini

    calm()
    if_interrupted(f"stopped; the same command goes on from {work}")
    train_mini(out, work, downloads=downloads, start=start)
    print(f"{out}: lnm-mini, lnm-mini-clip")
