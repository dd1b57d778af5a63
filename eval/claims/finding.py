"""What a function of the ledger is given (a run) and what it gives (a finding)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.claims import records
from eval.claims.records import read_json
from lnm.project import root
from lnm.workflow.params import Params, load

VERDICTS = IMPLEMENTED, SET, RESULT, DIFFERS, INCOMPARABLE, CONTRADICTS = (
    "implemented as described", "set as in the paper", "result reproduced", "differs", "not comparable here",
    "the paper contradicts itself")
# What a claim is about -> the verdict where what is found fits what the paper says. Of the paper's own numbers beside
# each other nothing is reproduced where they fit.
FITS = {"method": IMPLEMENTED, "setting": SET, "result": RESULT, "text": INCOMPARABLE}
NOT_RUN = "not run yet"


@dataclass
class Finding:
    """What a function found. value: judged by the tolerance, unless `verdict` is given; a tuple: each of several (one
    a video) is judged. text: how it is printed. reason: why it came out so. numbers: what else was measured, as json
    values, for the notebook that shows it."""

    value: Any
    text: str = ""
    verdict: str | None = None
    reason: str = ""
    promised: bool = False  # a setting that no run has had yet: if it fits, there is nothing to compare so far
    numbers: dict = field(default_factory=dict)


@dataclass
class Run:
    """Settings and results to compare with: the paper's own settings as this code can run them, and this run's."""

    results: Path
    paper: Params  # params.paper.yaml
    paper_file: str
    metrics: dict[str, dict] = field(default_factory=dict)  # video -> metrics.json, of the videos that were scored
    settings: dict[str, dict] = field(default_factory=dict)  # video -> key -> what its run had, by its own files

    @classmethod
    def read(cls, results: Path, params: Path | None = None) -> Run:
        """The run that left `results`: nothing is read of the project's present choices. Raises UserError for a params
        file or a json that cannot be read."""
        params = params or root() / "params.paper.yaml"
        run = cls(results, load(params), Path(params).name)
        for path in sorted(results.glob("*/evaluate/metrics.json")):
            video = path.parent.parent.name
            run.metrics[video] = read_json(path) or {}
            run.settings[video] = records.settings(path.parent.parent)
        return run

    def of_paper(self, key: str) -> Any:
        """params.paper.yaml's value of a dotted key such as finetune.steps."""
        value = self.paper
        for part in key.split("."):
            value = getattr(value, part)
        return value

    def of_run(self, key: str) -> dict[str, Any]:
        """This run's value of it for each video whose files say it; empty where nothing was run."""
        return {video: found[key] for video, found in self.settings.items() if found.get(key) is not None}


def show(value: Any) -> str:
    """A value as a table prints it."""
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ("x" if isinstance(value, list) else ", ").join(map(show, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
