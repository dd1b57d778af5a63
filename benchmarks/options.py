"""What benchmarks that time libraries take in common."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


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
