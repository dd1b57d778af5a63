"""The films of the report: each video's side by side, in the page itself."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from eval.films.mp4 import mp4
from eval.publish import ranking
from eval.publish.report_cells import Cells
from eval.publish.report_first import label
from eval.records.run import compared, film

REAL = ("heldout", "heldout_vae")  # what the films stand beside: the clip, and the best that this autoencoder can give


def encoded(path: Path) -> str:
    """A file as base64 text."""
    return base64.b64encode(path.read_bytes()).decode("ascii")


def films(results: Path, video: str, table: dict) -> list[dict]:
    """The films of one video, the real ones first, cut to the shortest: {"label", "note", "frames", "data"} each."""
    names = [*(name for name in REAL if name in table["labels"]), *compared(table)]
    frames = {name: film(results, video, name) for name in names}
    count = min(map(len, frames.values()))
    said = ((name, *label(table, name)) for name in names)
    data = {name: base64.b64encode(mp4(one[:count], table["fps"])).decode("ascii") for name, one in frames.items()}
    return [{"name": name, "label": called, "note": note, "frames": count, "data": data[name]}
            for name, called, note in said]


def video(results: Path, name: str, table: dict, out: Path, cells: Cells) -> dict:
    """What the templates show of one video beside its tables."""
    clip = json.loads((results / name / "prepare" / "clip.json").read_text(encoding="utf-8"))
    return {
        "name": name, "prompt": table["prompt"], "fps": table["fps"], "films": films(results, name, table),
        "sheet": encoded(results / name / "evaluate" / "sheet.png"),
        "sheet_rows": "; ".join(table["labels"][row] for row in table["sheet"]),
        "stills": len(table["reference"].get("stills", {}).get("used", [])),
        "unseen": table["reference"]["still_is_first_heldout"],
        "ranked": ranking.paragraph(table), "ranked_href": cells.of_paper("ranks"),
        "slices_png": encoded(out / "figures" / f"slices_{name}.png"),
        "vectors_png": encoded(out / "figures" / f"vectors_{name}.png"),
        "controls_png": encoded(out / "figures" / f"controls_{name}.png"),
        "credit": credit(clip),
    }


def credit(clip: dict) -> str:
    """Whose the clip is, or the clips are; what this project renders itself needs none."""
    if clip.get("clips"):
        return "; ".join(dict.fromkeys(credit(one) for one in ({**clip, "clips": []}, *clip["clips"])))
    if clip["credit"]:
        return clip["credit"]
    return ("rendered by this project" if Path(clip["source"]).parts[0] == "data"
            else f"no credit given ({clip['source']})")
