"""Mutation testing of the method: changes the code in one place at a time and sees whether a test notices.

    make mutants                                  all rooms; the table and the survivors
    python tests/mutants.py pseudo3d resume       some of them
    python tests/mutants.py --sample 25           at most 25 mutants a room, drawn by a fixed seed

cosmic-ray finds the places and makes the changes. Running them is ours: importing torch and diffusers costs ten
seconds, so they are imported once, and each mutant is a fork of that process which imports `lnm` with one module
changed and runs the tests of that room until the first failure. A mutant that survives is written to
build/mutants.json with its difference; those that change nothing that can be seen stand in tests/mutants.yaml with the
reason.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.abc
import importlib.util
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# a room: the files that state its facts, the quickest first
ROOMS = {
    "pseudo3d": ["lnm/test_pseudo3d.py", "lnm/test_unet.py"],
    "unet": ["lnm/test_model.py", "lnm/test_unet.py", "lnm/test_pseudo3d.py", "lnm/test_temporal_file.py"],
    "schedulers": ["lnm/test_schedulers.py", "lnm/test_pipeline.py"],
    "latents": ["lnm/test_latents.py", "lnm/test_model.py"],
    "prompts": ["lnm/test_prompts.py"],
    "resume": ["lnm/test_resume.py", "lnm/test_training.py"],
    "batches": ["lnm/test_training.py", "lnm/test_validation.py", "lnm/stages/test_finetune.py"],
    "validation": ["lnm/test_validation.py"],
    "training": ["lnm/test_training.py", "lnm/stages/test_finetune.py", "lnm/test_training_script.py"],
    "model": ["lnm/test_model.py", "lnm/test_pipeline_opening.py", "lnm/test_pipeline.py"],
    "windows": ["lnm/test_windows.py", "lnm/test_pipeline_long.py"],
    "denoising": ["lnm/test_pipeline.py", "lnm/test_pipeline_long.py", "lnm/test_pipeline_callbacks.py"],
    "pipeline": ["lnm/test_model.py", "lnm/test_pipeline.py", "lnm/test_pipeline_opening.py",
                 "lnm/test_pipeline_long.py"],
}
# one change a place: what a slip of the hand would write
OPERATORS = [f"core/{name}" for name in (
    "NumberReplacer", "AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd",
    "ReplaceUnaryOperator_USub_UAdd", "ZeroIterationForLoop", "RemoveDecorator",
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "Mod_Mul", "Pow_Mul",
                                                   "FloorDiv_Mul")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Eq_NotEq", "NotEq_Eq",
                                                       "Is_IsNot", "IsNot_Is")))]
LIMIT = 300  # seconds for one mutant; one that takes longer hangs, and that is noticed


class OneChanged(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a source given as text, and leaves all others alone."""

    def __init__(self, name: str, path: Path, source: str):
        self.name, self.path, self.source = name, path, source

    def find_spec(self, fullname, path=None, target=None):
        if fullname == self.name:
            return importlib.util.spec_from_file_location(fullname, self.path, loader=self)
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(compile(self.source, str(self.path), "exec"), module.__dict__)


def mutants(path: Path) -> list[tuple[str, str]]:
    """(what was changed, the changed source) for every place of a file at which an operator of OPERATORS fits."""
    from cosmic_ray import plugins
    from cosmic_ray.mutating import MutationVisitor

    source, found = path.read_text(encoding="utf-8"), []
    for name in OPERATORS:
        for occurrence in range(10_000):
            changed = MutationVisitor.mutate_code(source, plugins.get_operator(name)(), occurrence)
            if changed is None:
                break
            if changed != source:
                found.append((name.removeprefix("core/"), changed))
    return found


def run(module: str, source: str | None) -> int:
    """Fork, and run the tests of a module with `source` in its place: the child's process number."""
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    if source is not None:
        sys.meta_path.insert(0, OneChanged(f"lnm.{module}", ROOT / "lnm" / f"{module}.py", source))
    import pytest

    files = [str(ROOT / "tests" / file) for file in ROOMS[module]]
    code = 3
    try:
        # a process that a test starts by itself does not see the change
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-k", "not two_processes", *files])
    finally:
        os._exit(int(code))


def wait(running: dict[int, tuple]) -> tuple[tuple, bool]:
    """The next mutant that is done, and whether its tests passed; one that is over its time is ended."""
    while True:
        for child, (started, mutant) in list(running.items()):
            if time.monotonic() - started > LIMIT:
                os.killpg(child, signal.SIGKILL)
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                del running[child]
                return mutant, os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
        time.sleep(0.05)


def warm_up() -> None:
    """Import what every test imports, but not the project."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    os.chdir(ROOT)
    for name in ("torch", "diffusers", "transformers", "accelerate", "safetensors.torch", "open_clip", "lion_pytorch",
                 "pandas", "cv2", "av", "pytest", "diffusers.models.unets.unet_2d_condition", "diffusers.callbacks"):
        importlib.import_module(name)
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionInpaintPipeline  # noqa: F401 - lazily loaded
    from transformers import CLIPTextModel, CLIPTokenizer  # noqa: F401

    torch.set_num_threads(1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of {', '.join(ROOMS)} (default: all)")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--jobs", type=int, default=cores, help="mutants at once (default: cores)")
    parser.add_argument("--sample", type=int, metavar="N", help="at most N mutants a room (default: all)")
    args = parser.parse_args()
    rooms = args.rooms or list(ROOMS)
    if set(rooms) - set(ROOMS):
        parser.error(f"{min(set(rooms) - set(ROOMS))}: no such room; there are {', '.join(ROOMS)}")
    import yaml
    from tqdm import tqdm

    warm_up()
    known = yaml.safe_load((ROOT / "tests" / "mutants.yaml").read_text()) or {}
    report = {}
    for room in rooms:
        _, status = os.waitpid(run(room, None), 0)
        if status:
            print(f"error: {room}: its tests fail without a change; mend them first", file=sys.stderr)
            return 2
        path = ROOT / "lnm" / f"{room}.py"
        original, running, survivors = path.read_text().splitlines(), {}, []
        todo = mutants(path)
        if args.sample and args.sample < len(todo):
            todo = random.Random(0).sample(todo, args.sample)

        def reap(running=running, survivors=survivors, original=original):
            (what, source), passed = wait(running)
            if passed:
                lines = difflib.unified_diff(original, source.splitlines(), lineterm="", n=0)
                survivors.append({"operator": what, "diff": [line for line in lines][2:]})

        for what, source in tqdm(todo, desc=room):
            if len(running) >= args.jobs:
                reap()
            running[run(room, source)] = (time.monotonic(), (what, source))
        while running:
            reap()
        for survivor in survivors:
            # a line that was taken out has no new one
            written = [line[1:].strip() for line in survivor["diff"] if line.startswith("+")]
            line = written[0] if written else survivor["diff"][-1][1:].strip()
            survivor["reason"] = known.get(room, {}).get(line)
        report[room] = {"mutants": len(todo), "killed": len(todo) - len(survivors), "survivors": survivors}
        (ROOT / "build").mkdir(exist_ok=True)
        (ROOT / "build" / "mutants.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    total = {key: sum(room[key] for room in report.values()) for key in ("mutants", "killed")}
    for room, counts in {**report, "all": total}.items():
        killed, count = counts["killed"], counts["mutants"]
        print(f"{room:12} {killed:4} of {count:4} killed, {killed / count:.0%}")
    print("survivors: build/mutants.json; with a reason: tests/mutants.yaml")
    return 0


if __name__ == "__main__":
    sys.exit(main())
