"""Writes docs/commands.md from the commands' own help: python docs/commands.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import typer

HEAD = """# Commands

Written by `python docs/commands.py` from `lnm ... --help`; a test compares the two.

`make setup` puts `lnm` into `.venv/bin`: run `source .venv/bin/activate` once in a shell, or write `.venv/bin/lnm`.
`python -m lnm` is the same. `lnm --install-completion` teaches your shell to complete it. An error that you can put
right is one line, with exit status 2; 1 means that something was looked at and found wanting, 130 that you stopped it.
`--quiet` leaves results, warnings and errors.

`animate`, `finetune`, `sample`, `check` and `score` work in any folder. Inside a project they take their defaults from
its `params.yaml`.
"""


def commands(command=None, words: tuple[str, ...] = ("lnm",)) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every command of `lnm` that is no group and not hidden: its words, and typer's object."""
    if command is None:
        from lnm.cli.app import build

        command = typer.main.get_command(build())
    for name, part in command.commands.items():
        if part.hidden:
            continue
        if hasattr(part, "commands"):
            yield from commands(part, (*words, name))
        else:
            yield (*words, name), part


def section(words: tuple[str, ...], command) -> str:
    """One command: what it does, an example, a table of what it takes."""
    context = typer.Context(command, info_name=words[-1])
    records = [parameter.get_help_record(context) for parameter in command.params]
    rows = "\n".join(f"| `{' '.join(taken.split())}` | {_cell(text)} |"
                     for taken, text in filter(None, records) if not taken.startswith("--help"))
    parts = [f"## {' '.join(words)}", "\n".join(line.strip() for line in (command.help or "").strip().splitlines())]
    if command.epilog:
        parts.append(f"```bash\n{command.epilog.removeprefix('Example:').strip()}\n```")
    return "\n\n".join([*parts, f"| takes | |\n| --- | --- |\n{rows}"] if rows else parts)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def page() -> str:
    return "\n\n".join([HEAD.rstrip(), *(section(*one) for one in commands())]) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "commands.md").write_text(page(), encoding="utf-8")
