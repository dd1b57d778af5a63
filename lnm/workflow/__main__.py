"""What dvc.yaml and the Makefile call.

    python -m lnm.workflow videos           the names of the videos, one a line; also checks params.yaml
    python -m lnm.workflow resolve VIDEO    writes build/resolve/VIDEO/{prepare,finetune,sample,evaluate}.json
    python -m lnm.workflow resolve-study    writes build/resolve/human_study.json
    python -m lnm.workflow seal VIDEO       writes build/evaluated/VIDEO.json: hashes of all that was made for it
    python -m lnm.workflow code             writes build/code/<notebook>.py, what the stages depend on
    python -m lnm.workflow run notebooks/1_prepare.ipynb -o results/ocean/notebooks/1_prepare.ipynb -p video ocean
    python -m lnm.workflow jobs             how many videos `make repro` runs side by side
    python -m lnm.workflow threads          how many CPU threads a notebook has
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from lnm.errors import UserError
from lnm.workflow import code, guard, machine, resolve, runner
from lnm.workflow.params import load, root


def _run(notebook: Path, executed: Path, given: dict[str, str]) -> None:
    title = " · ".join([notebook.stem, *given.values()])
    print(f"-- {title}", flush=True)
    started = time.monotonic()
    guard.follow_dvc()
    runner.run(notebook.resolve(), executed.resolve(), given)
    print(f"-- {title}: done in {time.monotonic() - started:.0f} s", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lnm.workflow", description="The pipeline's own commands.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("videos", help="check params.yaml and print the videos' names")
    command = commands.add_parser("resolve", help="write build/resolve/VIDEO/*.json")
    command.add_argument("video")
    commands.add_parser("resolve-study", help="write build/resolve/human_study.json")
    command = commands.add_parser("seal", help="write build/evaluated/VIDEO.json")
    command.add_argument("video")
    commands.add_parser("code", help="write build/code/*.py")
    command = commands.add_parser("run", help="run a notebook as a stage")
    command.add_argument("notebook", type=Path)
    command.add_argument("-o", "--output", type=Path, required=True, metavar="EXECUTED",
                         help="where the executed copy goes")
    command.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    commands.add_parser("jobs", help="print how many videos `make repro` runs side by side")
    commands.add_parser("threads", help="print how many CPU threads a notebook has")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if args.command != "run":
        os.environ.pop("LNM_RESOLVED", None)  # here params.yaml is the source
    actions = {
        "videos": lambda: print("\n".join(load().videos)),
        "resolve": lambda: resolve.resolve(args.video),
        "resolve-study": resolve.resolve_study,
        "seal": lambda: resolve.seal(args.video),
        "code": lambda: code.write_code(root()),
        "run": lambda: _run(args.notebook, args.output, dict(args.parameter)),
        "jobs": lambda: print(machine.jobs(load().device)),
        "threads": lambda: print(machine.threads()),
    }
    try:
        actions[args.command]()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except runner.NotebookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
