"""What people answered, as the cells of Table 1."""

from __future__ import annotations

import json
from pathlib import Path

from eval.records.opponents import papers, papers_pair
from eval.records.video import LABELS
from eval.statistics.crossed import percent, seen_from


def cells(summary: dict) -> dict[str, dict[str, str]]:
    """What Table 1 prints of each method of this run, by question: `63% [40, 81] over CogVideo`, the share of the
    decided votes against one opponent, who is named; {} without responses or when simulated.

    The paper asked about itself and CogVideo alone. Where that was asked here, it is all that stands in these two rows;
    else each opponent has its share. Opponents are never pooled: whom one is shown beside decides the share.
    """
    if summary["simulated"]:
        return {}
    table: dict[str, dict[str, str]] = {}
    for question, entry in summary["questions"].items():
        pairs = [pair for pair in entry["pairs"] if "share" in pair]
        asked = any(papers_pair(pair["first"], pair["second"]) for pair in pairs)
        said: dict[str, list[str]] = {}
        for pair in pairs:
            for method, other in ((pair["first"], pair["second"]), (pair["second"], pair["first"])):
                if not (asked and papers(method) and not papers(other)):
                    said.setdefault(method, []).append(
                        f"{percent(seen_from(pair, method))} over {LABELS.get(other, other)}")
        for method, texts in said.items():
            table.setdefault(method, {})[question] = "; ".join(texts)
    return table


def votes_of(results: Path) -> dict[str, dict[str, str]]:
    """`cells` of results/human_study/summary.json; {} where nobody has answered."""
    path = results / "human_study" / "summary.json"
    return cells(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
