"""The method's time and memory beside what a user would pick instead: ratios within one run, each with its goal.

    python -m benchmarks.speed [--quick] [--device cpu|cuda] [--size default|sd15] [--rounds 9] [--json FILE]
    python -m benchmarks.speed --compile [--precision no] [--json FILE]      # ours beside ours by torch.compile
    python -m benchmarks.speed --table FILE      # the docs' table of such a file

Arms: ours; the frozen 2D U-Net, forward and backward to its input (what no temporal layer can be cheaper than);
diffusers' UNetMotionModel (AnimateDiff) and UNet3DConditionModel; make-a-video-pytorch. All at one width with random
weights, in all of them the temporal layers alone train, by the same optimiser. A fine-tuning step is forward, backward,
clipping and optimiser; a sampling step one forward pass. Rounds go through all arms in turn, so that whatever else the
machine does falls on each; a figure is the median over rounds of the ratio within a round. With one thread the clock is
the process's own, which other programs do not move. Memory is what a step adds to the model, in a process of its own.
On a GPU at Stable Diffusion's size the absolute figures are added (benchmarks.speed_gpu).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.options import ended, parsed

FRAMES = (5, 16, 25)
ALLOWANCE = 1.1  # of the ideal, 1 + 1.5 x the temporal layers' share: they alone have gradients of their weights
FASTER = 1.4  # than AnimateDiff


def machine(device: str) -> dict[str, Any]:
    """The machine by its parts: nobody is told apart by it."""
    import torch

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    return {"cpu": cpu, "instructions": torch.backends.cpu.get_cpu_capability(), "cores": os.cpu_count(),
            "threads": torch.get_num_threads(), "torch": torch.__version__.partition("+")[0],
            "python": platform.python_version(),
            "gpu": torch.cuda.get_device_name(0) if device == "cuda" else None}


def stopwatch(device: str) -> tuple[str, Callable[[], float]]:
    """The clock and its name: of the process where it has one thread, else the wall's."""
    import torch

    if device == "cuda":
        def clock() -> float:
            torch.cuda.synchronize()
            return time.perf_counter()
        return "wall, synchronised", clock
    return ("process", time.process_time) if torch.get_num_threads() == 1 else ("wall", time.perf_counter)


# ---------------------------------------------------------------- what is measured


def macs(size: str, frames: int, device: str) -> dict[str, int]:
    """Multiply-accumulates of a forward pass of every arm that is installed."""
    from diffusers.models.attention_processor import AttnProcessor
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks import speed_models as models

    found = {}
    for name in models.ARMS:
        arm = models.make(name, size, device, "no")
        if arm is not None:
            if hasattr(arm.model, "set_attn_processor"):
                arm.model.set_attn_processor(AttnProcessor())  # in its parts, all of which are counted
            with FlopCounterMode(display=False) as counter:
                models.sample(arm, models.batch(size, frames, device), device, "no")
            found[name] = counter.get_total_flops() // 2
    return found


def matrix_peak(device: str, precision: str, side: int = 2048) -> float:
    """Multiply-accumulates a second of a matrix product: the best of five."""
    import torch

    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
            for _ in range(2))
    _, clock = stopwatch(device)
    best = float("inf")
    for _ in range(6):
        start = clock()
        a @ b
        best = min(best, clock() - start)
    return side ** 3 / best


def times(size: str, frames: int, device: str, precision: str, rounds: int,
          names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """A row a task and arm: {"task", "arm", "frames", "precision", "seconds" (median), "ratio" (to ours; median over
    rounds), "first" (of the first step, which is not counted, by the wall's clock)}; an arm that is not installed has
    {"missing": why}. names: of arms; none: all of ARMS."""
    from benchmarks import speed_models as models
    from lnm.batches import make_optimizer
    from lnm.settings import Finetune

    clip = models.batch(size, frames, device)
    arms = {name: models.make(name, size, device, precision) for name in names or models.ARMS}
    there = {name: arm for name, arm in arms.items() if arm is not None}
    optimizers = {name: make_optimizer({str(i): p for i, p in enumerate(arm.trained)}, Finetune()) if arm.trained else
                  None for name, arm in there.items()}
    _, clock = stopwatch(device)
    rows: list[dict[str, Any]] = []
    for task in ("train", "sample"):
        taken: dict[str, list[float]] = {name: [] for name in there}
        first: dict[str, float] = {}
        for i in range(-1, rounds):  # the first is not counted
            names = list(there)[i % len(there):] + list(there)[:i % len(there)]
            for name in names:
                arm = there[name]
                arm.model.train(task == "train")
                began, start = time.perf_counter(), clock()
                if task == "train":
                    models.train(arm, clip, optimizers[name], device, precision)
                else:
                    models.sample(arm, clip, device, precision)
                if i >= 0:
                    taken[name].append(clock() - start)
                else:
                    first[name] = time.perf_counter() - began
        for name in arms:
            row: dict[str, Any] = {"task": task, "arm": name, "frames": frames, "precision": precision}
            if name in there:
                ratios = [t / own for t, own in zip(taken[name], taken["ours"], strict=True)]
                row |= {"seconds": statistics.median(taken[name]), "ratio": statistics.median(ratios),
                        "first": first[name]}
            else:
                row["missing"] = "not installed"
            rows.append(row)
    return rows


def compiled(size: str, device: str, precisions: list[str], frames: int, rounds: int) -> dict[str, Any]:
    """Ours as it is and by torch.compile; {"missing": why} where the machine cannot compile."""
    from benchmarks import speed_models as models

    record: dict[str, Any] = {"size": size, "device": device, "machine": machine(device), "rounds": rounds,
                              "clock": stopwatch(device)[0], "frames": frames}
    if why := models.compile_refusal(device):
        return record | {"missing": why}
    names = ("ours", models.COMPILED)
    return record | {"times": [row for precision in precisions
                               for row in times(size, frames, device, precision, rounds, names)]}


def compiled_markdown(record: dict[str, Any]) -> str:
    """docs/speed.md's table of `compiled`."""
    if "missing" in record:
        return record["missing"]
    lines = [["step", "precision", "ours, s", "compiled, s", "compiled over ours", "first step, s", "compiled, s"],
             ["---", "---", *["--:"] * 5]]
    for plain, other in zip(record["times"][::2], record["times"][1::2], strict=True):
        lines.append([plain["task"], "float32" if plain["precision"] == "no" else plain["precision"],
                      f"{plain['seconds']:.3f}", f"{other['seconds']:.3f}", f"{other['ratio']:.2f}",
                      f"{plain['first']:.1f}", f"{other['first']:.0f}"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def memory(name: str, size: str, frames: int, device: str, precision: str) -> float | None:
    """MB that a training step adds to the model, its optimiser's state there already; in this process. None where it is
    not installed, or where Linux does not count."""
    import torch

    from benchmarks import speed_models as models
    from lnm.batches import make_optimizer
    from lnm.meter import Peak
    from lnm.settings import Finetune

    arm = models.make(name, size, device, precision)
    if arm is None:
        return None
    clip = models.batch(size, frames, device)
    optimizer = make_optimizer({str(i): p for i, p in enumerate(arm.trained)}, Finetune()) if arm.trained else None
    arm.model.train()
    models.train(arm, clip, optimizer, device, precision)
    with Peak(torch.device(device)) as peak:
        models.train(arm, clip, optimizer, device, precision)
    return None if peak.bytes is None else peak.bytes / 1e6


def memories(size: str, frames: int, device: str, precision: str) -> list[dict[str, Any]]:
    """A row an arm: {"arm", "frames", "precision", "mb"}; on a CPU each in a process of its own, forked off this one.
    None for an arm that is not installed."""
    from benchmarks import speed_models as models

    rows = []
    for name in models.ARMS:
        where = (name, size, frames, device, precision)
        if device == "cpu":
            with multiprocessing.get_context("fork").Pool(1) as alone:
                found = alone.apply(memory, where)
        else:
            found = memory(*where)
        rows.append({"arm": name, "frames": frames, "precision": precision, "mb": found})
    return rows


# ---------------------------------------------------------------- what is made of it


def ratio(rows: list[dict], task: str, arm: str, frames: int, precision: str) -> float | None:
    """Of an arm's time to ours, or None."""
    return next((row.get("ratio") for row in rows if (row["task"], row["arm"], row["frames"], row["precision"]) ==
                 (task, arm, frames, precision)), None)


def goals(record: dict[str, Any]) -> list[dict[str, Any]]:
    """A line a goal: {"what", "goal", "found", "holds"}; found is None where a library was missing."""
    lines = []

    def line(what: str, goal: str, found: float | None, holds: bool) -> None:
        lines.append({"what": what, "goal": goal, "found": found, "holds": found is not None and holds})

    for precision in record["precisions"]:
        for frames in record["frames"]:
            where = f"{frames} frames, {'float32' if precision == 'no' else precision}"
            most = ALLOWANCE * (1 + 1.5 * record["share"])
            of_floor = ratio(record["times"], "train", "frozen 2D", frames, precision)
            if frames == record["frames"][0]:
                found = 1 / of_floor if of_floor else None
                line(f"training step over the frozen 2D U-Net's, {where}", f"at most {most:.2f}", found,
                     found is not None and found <= most)
                found = ratio(record["times"], "train", "AnimateDiff", frames, precision)
                line(f"AnimateDiff's training step over ours, {where}", f"at least {FASTER}", found,
                     found is not None and found >= FASTER)
            for arm in ("UNet3D", "make-a-video-pytorch"):
                found = ratio(record["times"], "train", arm, frames, precision)
                line(f"{arm}'s training step over ours, {where}", "above 1", found, found is not None and found > 1)
        for frames in dict.fromkeys(row["frames"] for row in record["memory"]):
            mb = {row["arm"]: row["mb"] for row in record["memory"]
                  if (row["frames"], row["precision"]) == (frames, precision)}
            for arm in ("UNet3D", "make-a-video-pytorch"):
                found = mb[arm] / mb["ours"] if mb.get(arm) and mb.get("ours") else None
                line(f"{arm}'s memory of a step over ours, {frames} frames, "
                     f"{'float32' if precision == 'no' else precision}", "above 1", found,
                     found is not None and found > 1)
    return lines + record.get("absolute", [])


def used(record: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a precision and number of frames: the fraction of the measured matrix peak that our training step reaches.
    Its MACs: twice the 2D U-Net's and three times the temporal layers'."""
    rows = []
    for row in record["times"]:
        if (row["task"], row["arm"]) == ("train", "ours"):
            macs = record["macs_a_frame"] * row["frames"] * (2 + 3 * record["share"])
            rows.append({"frames": row["frames"], "precision": row["precision"],
                         "fraction": macs / row["seconds"] / record["peak"][row["precision"]]})
    return rows


def measure(size: str, device: str, precisions: list[str], frames: list[int], rounds: int,
            owed: bool = True) -> dict[str, Any]:
    """All figures of one run. owed: name those that a GPU alone gives, where this is none."""
    counted = macs(size, frames[0], device)
    record: dict[str, Any] = {
        "size": size, "device": device, "machine": machine(device), "clock": stopwatch(device)[0], "rounds": rounds,
        "precisions": precisions, "frames": frames, "macs": counted,
        "share": counted["ours"] / counted["frozen 2D"] - 1, "macs_a_frame": counted["frozen 2D"] // frames[0],
        "peak": {precision: matrix_peak(device, precision) for precision in precisions}, "times": [], "memory": []}
    for precision in precisions:
        for count in frames:
            print(f"{precision}, {count} frames: times", file=sys.stderr)
            # as long for more frames as for few
            record["times"] += times(size, count, device, precision, max(min(rounds, 3), rounds * frames[0] // count))
        print(f"{precision}, {frames[0]} frames: memory", file=sys.stderr)
        record["memory"] += memories(size, frames[0], device, precision)
    record["fraction_of_peak"] = used(record)
    from benchmarks import speed_gpu

    record["absolute"] = speed_gpu.figures() if (device, size) == ("cuda", "sd15") else speed_gpu.owed() if owed else []
    record["goals"] = goals(record)
    return record


def markdown(record: dict[str, Any]) -> str:
    """docs/speed.md's tables of a record: goals, then all ratios."""
    rows = [["figure", "goal", "found", ""], ["---", "---", "--:", "---"]]
    for line in record["goals"]:
        owed = line["holds"] is None
        found = "owed" if owed else "not installed" if line["found"] is None else f"{line['found']:.2f}"
        rows.append([line["what"], line["goal"], found, "-" if owed else "yes" if line["holds"] else "no"])
    parts = ["\n".join("| " + " | ".join(row) + " |" for row in rows)]
    arms = list(dict.fromkeys(row["arm"] for row in record["times"]))
    rows = [["step", "precision", "frames", *arms, "ours, s", "of the matrix peak"], ["---"] * 3 + ["--:"] * (
        len(arms) + 2)]
    fractions = {(row["precision"], row["frames"]): row["fraction"] for row in record["fraction_of_peak"]}
    for task, precision, frames in dict.fromkeys((r["task"], r["precision"], r["frames"]) for r in record["times"]):
        own = {r["arm"]: r for r in record["times"]
               if (r["task"], r["precision"], r["frames"]) == (task, precision, frames)}
        cells = [f"{own[arm]['ratio']:.2f}" if "ratio" in own[arm] else "-" for arm in arms]
        part = f"{fractions[precision, frames]:.0%}" if task == "train" else ""
        rows.append([task, "float32" if precision == "no" else precision, str(frames), *cells,
                     f"{own['ours']['seconds']:.3f}", part])
    for precision, frames in dict.fromkeys((r["precision"], r["frames"]) for r in record["memory"]):
        mb = {r["arm"]: r["mb"] for r in record["memory"] if (r["precision"], r["frames"]) == (precision, frames)}
        cells = [f"{mb[arm]:.0f} MB" if mb.get(arm) is not None else "-" for arm in arms]
        rows.append(["memory of train", "float32" if precision == "no" else precision, str(frames), *cells, "", ""])
    counted = [f"{record['macs'][arm] / record['macs']['ours']:.2f}" if arm in record["macs"] else "-" for arm in arms]
    rows.append(["multiply-accumulates, forward", "", str(record["frames"][0]), *counted, "", ""])
    parts.append("\n".join("| " + " | ".join(row) + " |" for row in rows))
    return "\n\n".join(parts)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny U-Net, two rounds: that it runs, not how fast")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--size", choices=["default", "sd15", "small"], default="default")
    parser.add_argument("--precision", choices=["no", "bf16"], action="append", help="may be repeated (default: both "
                        "where the machine computes in bfloat16)")
    parser.add_argument("--frames", type=int, action="append", help="may be repeated (default: 5, 16 and 25)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="ours beside ours by torch.compile, and nothing else")
    parser.add_argument("--here", action="store_true", help="do not name what is owed by a GPU")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the tables of such a file, and end")
    args = parsed(parser, argv)
    if args.size == "sd15" and args.device != "cuda":
        parser.error("--size sd15 needs --device cuda")
    from lnm.devices import half_precision, pick_device

    def measured() -> dict:
        pick_device(args.device)
        precisions = args.precision or list(dict.fromkeys(["no", half_precision(args.device)]))
        frames, rounds, size = args.frames or list(FRAMES), args.rounds, args.size
        if args.quick:
            frames, rounds, size, precisions = [3], 2, "small", ["no"]
        if args.compile:
            return compiled(size, args.device, precisions, frames[0], rounds)
        return measure(size, args.device, precisions, frames, rounds, not args.here)

    return ended(args, lambda record: markdown(record) if "goals" in record else compiled_markdown(record), measured)


if __name__ == "__main__":
    sys.exit(main())
