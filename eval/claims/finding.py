"""What a function of the ledger is given (a run) and what it gives (a finding)."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lnm.errors import UserError
from lnm.workflow.params import Params, load, root

REPRODUCED, DIFFERS, INCOMPARABLE, CONTRADICTS = VERDICTS = (
    "reproduced", "differs", "not comparable here", "the paper contradicts itself")
NOT_RUN = "not run yet"


@dataclass
class Finding:
    """What a function found. value: judged by the tolerance, unless `verdict` is given; a tuple: each of several (one
    a video) is judged. text: how it is printed. reason: why it came out so."""

    value: Any
    text: str = ""
    verdict: str | None = None
    reason: str = ""
    promised: bool = False  # a setting that no run has had yet: if it fits, there is nothing to compare so far


@dataclass
class Run:
    """Settings and results to compare with: the paper's own settings as this code can run them, and this run's."""

    results: Path
    paper: Params  # params.paper.yaml
    paper_file: str
    metrics: dict[str, dict] = field(default_factory=dict)  # video -> metrics.json, of the videos that were scored
    settings: dict[str, dict] = field(default_factory=dict)  # stage -> video -> build/resolve/<video>/<stage>.json

    @classmethod
    def read(cls, results: Path, params: Path | None = None) -> Run:
        """Raises UserError for a params file or json that cannot be read."""
        params = params or root() / "params.paper.yaml"
        run = cls(results, load(params), Path(params).name)
        for video in load().videos:
            metrics = read_json(results / video / "evaluate" / "metrics.json")
            if metrics:
                run.metrics[video] = metrics
                for stage in ("prepare", "finetune", "sample"):
                    resolved = read_json(root() / "build" / "resolve" / video / f"{stage}.json")
                    if resolved:
                        run.settings.setdefault(stage, {})[video] = resolved
                if run.settings.get("finetune", {}).get(video, {}).get("steps") == "auto":
                    run.settings["finetune"][video]["steps"] = kept_steps(results / video / "finetune" / "log.csv")
        return run

    def of_paper(self, key: str) -> Any:
        """params.paper.yaml's value of a dotted key such as finetune.steps."""
        value = self.paper
        for part in key.split("."):
            value = getattr(value, part)
        return value

    def of_run(self, key: str) -> dict[str, Any]:
        """This run's value of it for each video that was scored; empty where nothing was run."""
        places = {"size": ("finetune", "size"), "checkpoint.name": ("finetune", "checkpoint"),
                  "checkpoint.clip": ("prepare", "clip")}
        stage, name = places.get(key) or key.split(".")
        return {video: resolved[name] for video, resolved in self.settings.get(stage, {}).items()}


def kept_steps(log: Path) -> int | None:
    """Of a fine-tune that found its steps itself: those whose weights were kept. None without a log."""
    if not log.is_file():
        return None
    with log.open(encoding="utf-8") as stream:
        looks = [(float(row["validation"]), int(row["step"]) + 1) for row in csv.DictReader(stream)
                 if row["validation"]]
    return min(looks)[1] if looks else 0


def read_json(path: Path) -> dict | None:
    """A json file's content, None where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not readable as json ({error}); delete it and run `make repro`") from None


def show(value: Any) -> str:
    """A value as a table prints it."""
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ("x" if isinstance(value, list) else ", ").join(map(show, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
