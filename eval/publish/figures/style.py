"""The look of every figure: colours that the colour-blind tell apart, the same bytes for the same input."""

from __future__ import annotations

from pathlib import Path

from lnm.files import whole

COLOURS = {  # Okabe and Ito (2008)
    "ours": "#0072B2", "frame_by_frame": "#D55E00", "heldout": "#000000", "heldout_vae": "#666666", "alike": "#000000",
    "identity": "#F0E442", "static": "#009E73", "static_noise": "#CC79A7", "shuffled": "#E69F00",
    "flow_extrapolation": "#56B4E9",
    # Tol (2018), muted
    "from_noise": "#88CCEE", "carried_still": "#44AA99",
    "animatediff_style": "#332288", "tune_a_video_style": "#117733", "dreamix_style": "#AA4499",
}
OTHER = "#882255"  # a method of the user's
STYLE = {
    "font.size": 10, "font.family": "DejaVu Sans", "axes.titlesize": 10, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd", "axes.axisbelow": True,
    "figure.facecolor": "white", "savefig.dpi": 150, "pdf.fonttype": 42,
}


def save(figure, path: Path, kinds: tuple[str, ...] = ("png", "pdf")) -> list[Path]:
    """Writes `figure` to path, under the suffix of each kind; without dates, so the same figure is the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind in kinds:
        metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None}}[kind]
        target = path.with_suffix(f".{kind}")
        with whole(target) as part:
            figure.savefig(part, format=kind, metadata=metadata)
        paths.append(target)
    return paths


def new_figure(width: float, height: float, rows: int, columns: int, **options):
    """A figure without pyplot: no global state, no backend to choose. axes: (rows, columns)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def styled(function):
    from functools import wraps

    @wraps(function)
    def inner(*args, **kwargs):
        from matplotlib import rc_context

        with rc_context(STYLE):
            return function(*args, **kwargs)

    return inner


def dots(axis, table: dict, metric: str, order: list[str], marker: str, colour_of, shift: float = 0.0) -> bool:
    """Each method's mean as a marker, with its interval as a bar; without one, each film's value as a tick beside it.
    A refused metric leaves its line empty. True if anything was drawn."""
    drawn = False
    for line, name in enumerate(order):
        entry = table.get(name, {}).get(metric, {})
        if "value" not in entry:
            continue
        drawn = True
        if entry["low"] is not None:
            axis.plot([entry["low"], entry["high"]], [line + shift] * 2, color=colour_of(name), linewidth=1.5)
        elif entry["n"] > 1:
            axis.plot(entry["values"], [line + shift] * entry["n"], "|", color=colour_of(name), markersize=9)
        axis.plot(entry["value"], line + shift, marker, color=colour_of(name), markersize=6, markeredgecolor="white")
    return drawn


def colour_of_method(name: str) -> str:
    return COLOURS.get(name, OTHER)
