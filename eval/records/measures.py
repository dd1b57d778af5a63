"""Every measure of the registry as text: for a terminal, and for docs/report.md (`python -m eval.records.measures`)."""

from __future__ import annotations

import textwrap

from eval.records.markdown import table
from eval.registry import listing

COLUMNS = ["name", "called", "value", "good", "needs", "measures", "defined by"]


def printed() -> str:
    """What `lnm score --list` prints: every measure with its unit, what is good, what it needs and who defined it."""
    lines = []
    for name, label, unit, good, needs, about, source in listing():
        lines.append(f"{name}: {label}")
        lines += textwrap.wrap(f"{about}. Value: {unit}. Good: {good}. Needs: {needs}. Defined by: {source}.", 110,
                               initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def markdown() -> str:
    """The table of docs/report.md: every measure, a row each."""
    rows = [[f"`{name}`", *(text.replace("|", "\\|") for text in rest)] for name, *rest in listing()]
    return table(COLUMNS, rows, lined_up=False)


if __name__ == "__main__":
    print(markdown())
