"""Trains lnm-mini and lnm-mini-clip from scratch; an interrupted run goes on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lnm.demo.mini.train import train
from lnm.errors import UserError


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lnm.demo.mini", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("checkpoints"), metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--work", type=Path, default=Path("store/lnm-mini"), metavar="FOLDER",
                        help="images, latents, what an interrupted run goes on from; default: %(default)s")
    parser.add_argument("--downloads", type=Path, default=Path("store/downloads"), metavar="FOLDER",
                        help="the photographs' archive; default: %(default)s")
    args = parser.parse_args(argv)
    try:
        train(args.out, args.work, downloads=args.downloads)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
