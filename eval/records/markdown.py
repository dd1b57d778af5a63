"""Markdown tables whose cells are text and nothing else, whoever wrote them."""

from __future__ import annotations

import re

SPECIAL = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "\\|", "\\": "\\\\"}
PAIRED = "*`~$"  # emphasis, code, strikethrough, a formula in Jupyter: one alone means nothing, and stays readable


def escaped(text: str) -> str:
    """Text that Markdown and HTML show as it is: no tag, link, emphasis, code, formula or further cell comes of it.

    Line ends and other controls become a space; what means nothing where it stands ([1, 2], frame_by_frame) is left.
    """
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)
    special = SPECIAL | {mark: f"\\{mark}" for mark in PAIRED if text.count(mark) > 1}
    text = "".join(special.get(letter, letter) for letter in text)
    text = re.sub(r"\](?=[(\[:])", r"]\\", text)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)


def grid(header: list[str], rows: list[list[str]]) -> str:
    """A table of text that also lines up in a terminal; every cell is escaped."""
    return table([escaped(text) for text in header], [[escaped(text) for text in row] for row in rows])


def table(header: list[str], rows: list[list[str]], lined_up: bool = True) -> str:
    """A table of cells that are Markdown already. lined_up: as a terminal shows it; else without padding, for cells of
    sentences.

    Not by pandas' to_markdown: tabulate, which does it, is one more package to install, escapes nothing, makes a column
    two letters wider than its heading at least, trims the cells' own spaces and has no table without padding.
    """
    lines = [header, *rows]
    widths = [max(len(row[i]) for row in lines) if lined_up else 0 for i in range(len(header))]
    lines.insert(1, ["-" * (width or 3) for width in widths])
    return "\n".join("| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |"
                     for line in lines)
