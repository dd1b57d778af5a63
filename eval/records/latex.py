"""Tables as LaTeX tabulars that need no package."""

from __future__ import annotations

SPECIAL = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "†": r"$\dagger$",
    "↓": r"$\downarrow$", "↑": r"$\uparrow$", "<": "$<$", ">": "$>$"}


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(SPECIAL.get(char, char) for char in text)


def tabular(header: list[str], rows: list[list[str]]) -> str:
    """A tabular of text, every cell escaped: the first column to the left, the others to the right."""
    import pandas as pd  # takes a while to load

    lines = [{"selector": rule, "props": ":hline;"} for rule in ("toprule", "midrule", "bottomrule")]
    table = pd.DataFrame(rows, columns=header).style.hide(axis="index").format(escaped).format_index(escaped, axis=1)
    return table.set_table_styles(lines).to_latex(column_format="l" + "r" * (len(header) - 1))
