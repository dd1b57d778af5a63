"""Links from a number of the report to the notebook's cell that made it.

A link leads to a copy of the cell's code at the end of the report, which any browser shows; from there another opens
the executed notebook at that cell, in JupyterLab.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from urllib.parse import quote

from lnm.project import root


class Cells:
    """The cells that numbers of one report link to, collected as links are asked for."""

    def __init__(self, results: Path, out: Path):
        self.results, self.out = results, out
        self._shown: dict[str, dict] = {}

    def notebook(self, path: Path) -> str:
        """The link from out/report.html to an executed notebook, "" where there is none (a run by hand leaves none).
        The one that is writing this report comes to stand beside it."""
        if not path.is_file() and not (path == self.out / "6_paper.ipynb" and os.environ.get("LNM_RESOLVED") == "1"):
            return ""
        return quote(os.path.relpath(path, self.out).replace(os.sep, "/"))

    def of_video(self, video: str, notebook: str, cell: str) -> str:
        """The link to a cell of one video's notebook, such as 4_evaluate."""
        return self.link(self.results / video / "notebooks" / f"{notebook}.ipynb", cell)

    def of_paper(self, cell: str) -> str:
        """The link to a cell of the notebook that writes the report."""
        return self.link(self.out / "6_paper.ipynb", cell)

    def of_claim(self, place: str, videos: list[str]) -> str:
        """The link to what a claim names: `4_evaluate.ipynb#table`, of the first video where each has one."""
        name, _, cell = place.partition("#")
        folders = (self.out, self.results, self.results / "human_study", self.results / videos[0] / "notebooks")
        return next(filter(None, (self.link(folder / name, cell) for folder in folders)), "")

    def link(self, path: Path, cell: str) -> str:
        """The link within the page to a cell of an executed notebook; "" where there is no such notebook."""
        href = self.notebook(path)
        if not href:
            return ""
        name = os.path.relpath(path.with_suffix(""), self.results).replace(os.sep, "/")
        anchor = "cell-" + re.sub(r"[^\w-]+", "-", f"{name}-{cell}")
        self._shown[anchor] = {"id": anchor, "notebook": name, "cell": cell, "href": f"{href}#cell-id={quote(cell)}",
                               "source": _source(path, cell)}
        return f"#{anchor}"

    def shown(self) -> list[dict]:
        """What was linked to, in the notebooks' order: {"id", "notebook", "cell", "href", "source"}."""
        return sorted(self._shown.values(), key=lambda cell: (cell["notebook"], cell["cell"]))


def _source(path: Path, cell: str) -> str:
    """A cell's code; of the notebook that is running, which is not written yet, as it stands in notebooks/."""
    path = path if path.is_file() else root() / "notebooks" / path.name
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError):
        return ""
    return next(("".join(one["source"]) for one in cells if one.get("id") == cell), "")
