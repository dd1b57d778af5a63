"""What people answered, beside what the paper printed."""

from __future__ import annotations

from pathlib import Path

from eval.publish.figures.style import COLOURS, OTHER, STYLE, save
from eval.study.form import MARK, NO_RESPONSES, QUESTIONS
from eval.study.text import PUBLISHED_AS


def figure(summary: dict, path: Path) -> list[Path]:
    """Draws each method's share by question, with Wilson intervals, beside what the paper printed: PNG and PDF."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for entry in summary["questions"].values() for name in entry["methods"]))
    with rc_context(STYLE):
        drawing = Figure(figsize=(7.5, 1.8 + 0.45 * max(len(names), 2)), layout="constrained")
        axes = drawing.subplots(1, len(QUESTIONS), sharey=True, squeeze=False)[0]
        for axis, question in zip(axes, QUESTIONS, strict=True):
            shares = summary["questions"].get(question, {"methods": {}})["methods"]
            axis.axvline(50, color="#666666", linewidth=1)
            for i, name in enumerate(names):
                said = summary["published"].get(PUBLISHED_AS.get(name.lower()), {}).get(question)
                if said:
                    axis.plot(float(said.rstrip("%")), i, marker="|", markersize=14, markeredgewidth=2,
                              color="#000000", linestyle="none",
                              label="published in the paper")
                if name in shares:
                    low, high = shares[name]["wilson"]
                    axis.plot([100 * low, 100 * high], [i, i], color=COLOURS.get(name, OTHER), linewidth=3)
                    axis.plot(100 * shares[name]["share"], i, marker="o", color=COLOURS.get(name, OTHER))
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
