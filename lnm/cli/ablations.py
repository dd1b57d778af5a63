"""`lnm ablations` and `lnm ablation`: what the paper leaves open, tried both ways."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lnm.cli.style import App, Quiet, calm, if_interrupted, say
from lnm.errors import UserError
from lnm.project import root
from lnm.workflow import machine
from lnm.workflow.record import kept

app = App()
ON = "stopped; the same command goes on from the last checkpoints"


@app.add("lnm ablations --jobs 2")
def ablations(
    jobs: Annotated[int | None, typer.Option(min=1, envvar="JOBS", help="Arms side by side. (default: one a core, at "
                                                                        "most 4; 1 on a GPU)")] = None,
    long: Annotated[bool | None, typer.Option("--long/--no-long", help="The arms of 1800 and 3600 steps too. (default: "
                                                                       "where there is a GPU)")] = None,
    quiet: Quiet = False,
) -> None:
    """Train every arm of ablations/params.yaml by every seed, and print what each choice does.

    An arm differs from what it stands beside in one choice: schedule, optimiser, mask, layers, noise, loss. A run
    takes about a minute of a CPU core, of 16 frames two. Arms that are done are not done again. Logs are in build/logs;
    docs/ablations.md says more.
    """
    here = root()
    if_interrupted(ON)
    from lnm.ablations.plan import read_plan
    from lnm.devices import pick_device
    from lnm.workflow.ablations import Ablations, own_record
    from lnm.workflow.progress import duration

    plan = read_plan(here)
    with kept(here), own_record(here):
        run = Ablations(here, plan, pick_device("auto") == "cuda" if long is None else long, jobs, quiet)
        fine = run.run()
    table = here / "results" / "ablations" / "ablations.md"
    if table.is_file():
        print(f"\n{table.read_text(encoding='utf-8').strip()}\n")
    if not fine:
        print("error: an arm stopped there; mend that and run the same command: what is done is not done again",
              file=sys.stderr)
        raise typer.Exit(1)
    print(f"done in {duration(run.progress.elapsed())}; the figure: results/ablations/ablations.png")


@app.add("lnm ablation cosine --seed 0")
def ablation(
    arm: Annotated[str, typer.Argument(metavar="ARM", help="Of lnm/ablations/arms.py, like base, cosine or mask_0.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the steps, the layers drawn and the film's noise.")] = 0,
    video: Annotated[str | None, typer.Option(metavar="VIDEO", help="Of params.yaml, prepared. (default: that of "
                                                                    "ablations/params.yaml)")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="(default: those of ablations/params.yaml)")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="(default: results/ablations/runs/ARM/seed_SEED)"
                                             )] = None,
    quiet: Quiet = False,
) -> None:
    """Train one arm by one seed, look at it on the frames kept apart, and film it.

    Prints the held-out loss. Interrupted, the same command goes on from its last checkpoint, in store/ablations.
    """
    here = root()
    if_interrupted("stopped; the same command goes on from the last checkpoint")
    from lnm.ablations.arms import arm_of
    from lnm.ablations.plan import read_plan
    from lnm.workflow.resolve import settings

    arm_of(arm)
    plan = read_plan(here)
    name = video or plan.video
    if "DVC_STAGE" in os.environ:
        os.environ["LNM_RESOLVED"] = "1"
    told = settings("prepare", name).arguments()
    prepared = here / "results" / name / "prepare"
    if not (prepared / "clip.json").is_file():
        raise UserError(f"{name}: it is not prepared; run `lnm repro prepare@{name}`")
    calm()
    import torch

    from lnm.stages.ablation import run_arm

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(machine.threads())  # fixed: the last digits of a sum depend on it
    note = run_arm(prepared, out or here / "results" / "ablations" / "runs" / arm / f"seed_{seed}",
                   here / "store" / "ablations" / f"{arm}-{seed}", arm=arm, seed=seed, steps=steps or plan.steps,
                   name=name, **{key: told[key] for key in ("checkpoint", "revision", "widen", "device")})
    if same := note.get("same_as"):
        say(f"{arm}: on this checkpoint it is {same}; nothing was trained")
    else:
        print(f"{arm}, seed {seed}: held-out loss {note['loss']['5']:.4f} after {note['steps']} steps")
