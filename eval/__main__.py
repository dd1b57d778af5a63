"""`python -m eval score | study | claims`: anybody's frames scored, the human study, the paper's claims."""

from __future__ import annotations

import importlib
import sys

from lnm.errors import UserError

COMMANDS = {  # name -> (module with main(argv), what it does)
    "score": ("eval.score", "score a folder of frames or a video, of any program"),
    "study": ("eval.human_study", "build the human study's page, aggregate its votes, simulate"),
    "claims": ("eval.claims", "compute every claim of the paper and compare"),
}


def main(argv: list[str] | None = None) -> int:
    """Runs a command; 2 and one line on bad input."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python -m eval COMMAND ... (each has --help)\n")
        print("\n".join(f"  {name:8} {about}" for name, (_, about) in COMMANDS.items()))
        return 0
    try:
        if argv[0] not in COMMANDS:
            raise UserError(f"unknown command {argv[0]!r}: choose one of {', '.join(COMMANDS)}")
        return importlib.import_module(COMMANDS[argv[0]][0]).main(argv[1:]) or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
