"""Where the films lie that a run has sampled: ours and its arms, and other methods that were trained beside it."""

from __future__ import annotations

import json
from pathlib import Path


def rivals(results: Path) -> dict:
    """results/<video>/rivals/rivals.json: the films of other methods that were trained here; {} where there are none.
    results: results/<video>."""
    path = results / "rivals" / "rivals.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found if found.get("methods") else {}


def sampled(results: Path) -> dict[str, list[Path]]:
    """Every method that was sampled for a video -> the folders of its films, by their seeds: ours first, then other
    methods trained here, then the rest. results: results/<video>."""
    films = json.loads((results / "sample" / "films.json").read_text(encoding="utf-8"))
    own = {method: results / "sample" / method for method in films["methods"]}
    others = {method: results / "rivals" / method for method in rivals(results).get("methods", [])}
    folders = {method: own[method] for method in own if method == "ours"} | others | own
    return {method: _films(folder, films, method) for method, folder in folders.items()}


def decoded(results: Path) -> dict[str, list[Path]]:
    """The methods whose films were given detail that no latent holds -> the folders of these films without it, as they
    were decoded. results: results/<video>."""
    films = json.loads((results / "sample" / "films.json").read_text(encoding="utf-8"))
    return {method: _films(results / "sample" / "decoded" / method, films, method)
            for method in films.get("decoded", [])}


def _films(folder: Path, films: dict, method: str) -> list[Path]:
    """A method's films by their seeds, as many as films.json counts: the folder may hold more, of a run before."""
    found = sorted(folder.glob("seed_*"), key=lambda path: int(path.name[5:]))
    return found[:films.get("films", {}).get(method)]
