"""What people answered, beside what the paper printed."""

from __future__ import annotations

from pathlib import Path

from eval.publish.figures.style import COLOURS, OTHER, STYLE, save
from eval.records.opponents import PUBLISHED_AS, papers, papers_pair
from eval.study.form import MARK, NO_RESPONSES, QUESTIONS


def figure(summary: dict, path: Path) -> list[Path]:
    """Draws the share of each pair of methods by question, with its clustered interval where there is one, beside what
    the paper printed: PNG and PDF."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    pairs = list(dict.fromkeys((pair["first"], pair["second"]) for entry in summary["questions"].values()
                               for pair in entry["pairs"]))
    names = [f"{first} over {second}" for first, second in pairs]
    with rc_context(STYLE):
        drawing = Figure(figsize=(7.5, 1.8 + 0.45 * max(len(names), 2)), layout="constrained")
        axes = drawing.subplots(1, len(QUESTIONS), sharey=True, squeeze=False)[0]
        for axis, question in zip(axes, QUESTIONS, strict=True):
            shares = {(pair["first"], pair["second"]): pair for pair in
                      summary["questions"].get(question, {"pairs": []})["pairs"] if "share" in pair}
            axis.axvline(50, color="#666666", linewidth=1)
            for i, (first, second) in enumerate(pairs):
                if papers_pair(first, second):
                    said = summary["published"][PUBLISHED_AS[papers(first)]][question]
                    axis.plot(float(said.rstrip("%")), i, marker="|", markersize=14, markeredgewidth=2,
                              color="#000000", linestyle="none",
                              label="published in the paper")
                if one := shares.get((first, second)):
                    colour = COLOURS.get(first, OTHER)
                    if one["low"] is not None:
                        axis.plot([100 * one["low"], 100 * one["high"]], [i, i], color=colour, linewidth=3)
                    axis.plot(100 * one["share"], i, marker="o", color=colour)
            axis.set(title=question, xlim=(-2, 102), xlabel="% of decided votes", yticks=range(len(names)),
                     yticklabels=names, ylim=(max(len(names), 1) - 0.5, -0.5))
        handles = {label: handle for axis in axes
                   for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        if handles:
            drawing.legend(handles.values(), handles, loc="outside lower center", fontsize=8, frameon=False)
        if not names:
            drawing.suptitle(NO_RESPONSES)
        if summary["simulated"]:
            drawing.suptitle(f"{MARK}: no person was asked", color="#b00020", fontweight="bold")
            drawing.text(0.5, 0.45, MARK, fontsize=44, color="#b00020", alpha=0.15, ha="center", va="center",
                         rotation=12)
        return save(drawing, path)
