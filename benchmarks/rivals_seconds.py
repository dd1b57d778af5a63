"""Table 1's trained rivals at equal steps and at equal seconds, on one video of a run.

    python -m benchmarks.rivals_seconds VIDEO [--results results] [--rounds 24] [--json FILE]
    python -m benchmarks.rivals_seconds --table FILE      # the docs' table of such a file

First the seconds that a training step takes by each rival and by "ours, from the identity", on the video's own latents:
rounds go through all in turn, step k of each draws what step k of the others draws, and a figure is the sum over rounds
(of Dreamix-style half of the steps are of another kind). With one thread the clock is the process's own. Then every
rival is trained twice as the rivals stage does it: for as many steps as ours, from the identity, and for as many as fit
into its seconds; filmed; and measured beside the films of the run (`make repro` first) by the same code as Table 1.
Training goes on from store/rivals_seconds after an interruption; the seconds are measured once and kept there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.options import ended, parsed
from lnm.errors import UserError
from lnm.files import write_json

OURS = "ours, from the identity"
WAYS = ("steps", "seconds")  # what a rival has as much of as ours
# name in the table -> (table of metrics.json, metric, decimals); less is better, but in the last two 1 is best
FIGURES: dict[str, tuple[str, str, int]] = {
    "flow-warp gap, x 1000": ("methods", "flow_warp_gap", 2),
    "the same to the clip through the autoencoder": ("against_vae", "flow_warp_gap", 2),
    "spectrum gap, dB": ("methods", "spectrum_gap", 2),
    "first frame, dB": ("methods", "frame0_db_below_ceiling", 2),
    "FID": ("methods", "fid_heldout", 1),
    "motion, x": ("against_vae", "motion_ratio", 2),
    "flow speed, x": ("against_vae", "flow_speed_ratio", 2),
}
JUDGED = ("flow-warp gap, x 1000", "spectrum gap, dB", "first frame, dB", "FID")  # of which "ahead" is said


# ---------------------------------------------------------------- seconds and steps


def seconds_a_step(methods: list[str], clips: Any, prompt: str, fps: float, choices: Any, rounds: int,
                   device: str) -> dict[str, float]:
    """Seconds of a training step of OURS and of each of `methods`, the mean over `rounds`. clips: latents to train on,
    as `lnm.latents.training_clips` gives them; choices: `lnm.workflow.choices.RivalsChoices`."""
    import torch

    from benchmarks.speed import stopwatch
    from lnm.checkpoint import open_checkpoint
    from lnm.lora import fuse_lora
    from lnm.model import InflatedModel
    from lnm.rivals.methods import RIVALS, rival_pipeline
    from lnm.runs import make_accelerator
    from lnm.training import Trainer

    settings, base = choices.finetune, choices.base()
    trainers: dict[str, Trainer] = {}
    for name in (OURS, *methods):
        opened = open_checkpoint(base["checkpoint"], base["revision"], device, widen=base["widen"])
        if base["lora"]:
            fuse_lora(opened, base["lora"], base["lora_scale"])
        torch.manual_seed(choices.seed)
        pipe = rival_pipeline(name, opened, settings, choices.seed) if name != OURS else InflatedModel.from_checkpoint(
            opened, conv_placement=settings.conv_placement, mask_value=settings.mask_value, in_place=True)
        kind = RIVALS[name].trainer if name != OURS else Trainer
        trainers[name] = kind(pipe, prompt, settings, make_accelerator(settings, device), name)
        trainers[name].restore(None)
    _, clock = stopwatch(device)
    taken = dict.fromkeys(trainers, 0.0)
    for step in range(-2, rounds):  # the first two are not counted
        names = list(trainers)[step % len(trainers):] + list(trainers)[:step % len(trainers)]
        for name in names:
            start = clock()
            trainers[name].step(clips, fps, choices.seed, max(step, 0))
            taken[name] += clock() - start if step >= 0 else 0.0
    return {name: total / rounds for name, total in taken.items()}


def steps_that_fit(steps: int, seconds: dict[str, float]) -> dict[str, int]:
    """How many steps of each rival take no longer than `steps` of OURS; at least one. seconds: of a step."""
    return {name: max(1, int(steps * seconds[OURS] / own + 1e-9)) for name, own in seconds.items() if name != OURS}


# ---------------------------------------------------------------- films and figures


def trained(video: str, prepared: Path, out: Path, store: Path, choices: Any, steps: dict[str, int]) -> dict[str, Any]:
    """Each rival of `steps` {method: how many}, trained and filmed into `out`; rivals.json's content of all."""
    from lnm.stages.rivals import film_rivals

    told = choices.arguments() | {"name": video}
    notes = []
    for method, count in steps.items():
        told |= {"methods": [method], "settings": choices.finetune.model_copy(update={"steps": count})}
        notes.append(film_rivals(prepared, out, store, **told))
    together = dict(notes[0])
    for key in ("trained", "clusters"):
        together[key] = {name: value for note in notes for name, value in note[key].items()}
    return together | {"methods": [name for note in notes for name in note["methods"]]}


def merged(run: Path, arms: dict[str, tuple[Path, dict[str, Any]]], out: Path) -> Path:
    """A folder like results/VIDEO: what the run left, and as rivals all films of `arms` {way: (folder, rivals.json)},
    each method by the name "METHOD_style, equal WAY". Returns it."""
    from lnm.files import made

    shutil.rmtree(out, ignore_errors=True)
    made(out / "rivals")
    for name in ("prepare", "sample"):
        (out / name).symlink_to((run / name).resolve())
    note: dict[str, Any] = dict(next(iter(arms.values()))[1])
    for key in ("trained", "clusters"):
        note[key] = {named(name, way): value for way, (_, own) in arms.items() for name, value in own[key].items()}
    note["methods"] = []
    for way, (folder, own) in arms.items():
        for name in own["methods"]:
            note["methods"].append(named(name, way))
            (out / "rivals" / named(name, way)).symlink_to((folder / name).resolve())
    write_json(out / "rivals" / "rivals.json", note)
    return out


def named(method: str, way: str) -> str:
    """A trained rival's name in the tables of this benchmark."""
    return f"{method}_equal_{way}"


def figures(metrics: dict[str, Any], method: str) -> dict[str, float | None]:
    """FIGURES of one method of a metrics.json; None where one was refused."""
    found = {name: metrics[table].get(method, {}).get(metric, {}).get("value")
             for name, (table, metric, _) in FIGURES.items()}
    return {name: 1000 * value if value is not None and name in list(FIGURES)[:2] else value
            for name, value in found.items()}


def rows(metrics: dict[str, Any], record: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a method: {"method", "way", "steps", "step" (seconds of a step over ours), "figures"}."""
    from eval.records.video import LABELS
    from lnm.stages.rivals import STYLE

    own = record["seconds"][OURS]
    found = [{"method": LABELS[name], "way": "", "steps": steps, "step": None, "figures": figures(metrics, name)}
             for name, steps in (("heldout_vae", None), ("ours", None), ("identity", record["steps"][OURS]))]
    found[-1]["step"] = 1.0
    for method, seconds in record["seconds"].items():
        for way in WAYS if method != OURS else ():
            steps = record["steps"][OURS] if way == "steps" else record["steps"][method]
            found.append({"method": LABELS[f"{method}{STYLE}"], "way": way, "steps": steps, "step": seconds / own,
                          "figures": figures(metrics, named(f"{method}{STYLE}", way))})
    return found


def ahead(record: dict[str, Any]) -> list[str]:
    """A sentence a way and rival: in which of JUDGED ours, from the identity, has less, and in which the rival."""
    ours = next(row for row in record["rows"] if row["method"] == OURS)["figures"]
    said = []
    for row in record["rows"]:
        if not row["way"]:
            continue
        near = {name: ours[name] - row["figures"][name] for name in JUDGED
                if None not in (ours[name], row["figures"][name])}
        lists = [", ".join(name.split(",")[0] for name, gap in near.items() if side * gap > 0) or "nothing"
                 for side in (-1, 1)]
        said.append(f"- Beside {row['method']} at equal {row['way']} ({row['steps']} steps) ours, from the identity, "
                    f"is ahead in {lists[0]}; behind in {lists[1]}.")
    return said


def markdown(record: dict[str, Any]) -> str:
    """docs/rivals.md's table of a record, and who is ahead in what."""
    head = ["", "equal", "steps", "a step, x ours", *FIGURES]
    lines = [head, ["---", "---", *["--:"] * (len(head) - 2)]]
    for row in record["rows"]:
        cells = ["-" if row["figures"][name] is None else f"{row['figures'][name]:.{digits}f}"
                 for name, (_, _, digits) in FIGURES.items()]
        lines.append([row["method"], row["way"], str(row["steps"] or ""),
                      "" if row["step"] is None else f"{row['step']:.2f}", *cells])
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return table + "\n\n" + "\n".join(ahead(record))


# ---------------------------------------------------------------- the whole


def measure(video: str, results: Path, store: Path, rounds: int) -> dict[str, Any]:
    """All of one video. Raises UserError where the run of it is not there."""
    from benchmarks.speed import machine
    from eval.records.video import evaluate_video
    from lnm.latents import load_latents, training_clips
    from lnm.workflow.params import load
    from lnm.workflow.resolve import resolve_stage, settings

    run, params = results / video, load()
    if not (run / "sample" / "identity").is_dir():
        raise UserError(f"{run / 'sample' / 'identity'}: no such folder; run `make repro` first, with an init and "
                        "identity_steps in finetune")
    params.rivals.videos = [video]
    choices = resolve_stage(params, "rivals", video)
    if choices.finetune.steps == "auto" or not choices.methods:
        raise UserError("rivals: name methods, and a number in rivals.steps or finetune.identity_steps")
    prepared = run / "prepare"
    prompt = json.loads((prepared / "prompts.json").read_text())["prompt"]
    fps = json.loads((prepared / "clip.json").read_text())["fps"]
    kept = store / "seconds.json"
    if not kept.is_file():
        print("seconds of a step", file=sys.stderr)
        from lnm.devices import pick_device

        write_json(kept, seconds_a_step(choices.methods, training_clips(load_latents(prepared)), prompt, fps, choices,
                                        rounds, pick_device(choices.device)))
    seconds = json.loads(kept.read_text())
    steps = {OURS: choices.finetune.steps} | steps_that_fit(choices.finetune.steps, seconds)
    arms = {}
    for way in WAYS:
        count = {name: steps[name] if way == "seconds" else steps[OURS] for name in choices.methods}
        arms[way] = store / way, trained(video, prepared, store / way, store / f"resume_{way}", choices, count)
    folder = merged(run, arms, store / "all")
    told = settings("evaluate", video)
    metrics = evaluate_video(told, folder, folder / "evaluate")
    record = {"video": video, "machine": machine("cpu"), "rounds": rounds, "seed": choices.seed,
              "films": choices.sample.seeds, "seconds": seconds, "steps": steps}
    return record | {"rows": rows(metrics, record)}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rivals_seconds", description=__doc__.split("\n\n")[0])
    parser.add_argument("video", nargs="?", metavar="VIDEO")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the table of such a file, and end")
    args = parsed(parser, argv)
    if not args.table and not args.video:
        parser.error("name a VIDEO of the run")
    kept = Path("store") / "rivals_seconds" / str(args.video)
    return ended(args, markdown, lambda: measure(args.video, args.results, kept, args.rounds))


if __name__ == "__main__":
    sys.exit(main())
