"""What benchmarks that time libraries take in common."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from lnm.errors import UserError
from lnm.files import write_json


def parsed(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """The command line of a benchmark that runs libraries side by side, `--threads` and `--json` among its options;
    from here on this process computes with that many threads. Numpy reads the number on import, so import it later."""
    parser.add_argument("--threads", type=int, default=1, help="of every library")
    parser.add_argument("--json", type=Path, help="a file for what is printed")
    args = parser.parse_args(argv)
    for name in ("OMP", "OPENBLAS", "MKL"):
        os.environ[f"{name}_NUM_THREADS"] = str(args.threads)
    import torch

    torch.set_num_threads(args.threads)
    return args


def ended(args: argparse.Namespace, markdown: Callable[[dict], str], measure: Callable[[], dict],
          failed: Callable[[dict], bool] = lambda record: False) -> int:
    """Measures, prints the table and, with --json, keeps the record; with --table it prints that file's table alone.
    The exit status: 2 and one line where it cannot be measured, 1 where the record says that it `failed`."""
    if args.table:
        print(markdown(json.loads(args.table.read_text(encoding="utf-8"))))
        return 0
    try:
        record = measure()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(markdown(record))
    if args.json:
        write_json(args.json, record)
    return int(failed(record))
