"""The command `lnm`, one module a group of commands.

torch, diffusers and transformers are imported by the commands that compute, inside them: they take seconds to load, and
`--help`, completion and what runs before every stage of the pipeline must answer at once.
"""

from __future__ import annotations


def main(argv: list[str] | None = None) -> int:
    """The console script: a command line in, an exit status out."""
    from lnm.cli.app import main as command  # every command; who wants `lnm.cli.style` alone does not wait for them

    return command(argv)
