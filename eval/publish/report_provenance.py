"""Which code, choices, weights and seeds stand behind the report, stage by stage."""

from __future__ import annotations

import json
from pathlib import Path

from eval.claims import conformance
from eval.claims.records import read_json
from eval.films.sampled import rivals
from eval.publish.report_cells import Cells
from lnm.files import sha256
from lnm.project import NOTEBOOKS
from lnm.workflow import commit

NOT_RECORDED = "not recorded"


def stages(results: Path, tables: dict[str, dict], now: str, cells: Cells) -> tuple[list[str], list[list]]:
    """(header, rows): of each stage of each video its notebook, the hash of its settings, weights, seed, and the
    commit that it was run at, which is not the one that writes this report (`now`). Settings, and what they name, are
    those that the stage was run with; of a stage that left no note of them nothing is said."""
    rows = []
    for video, table in tables.items():
        films = json.loads((results / video / "sample" / "films.json").read_text(encoding="utf-8"))
        for stage, notebook in NOTEBOOKS.items():
            path = results / video / "notebooks" / f"{notebook}.ipynb"
            if stage == "rivals" and not rivals(results / video):
                continue  # it has made nothing
            told = commit.told(results.parent, path)
            choices = json.loads(told.read_text(encoding="utf-8")) if told else {}
            more = choices.get("seeds", 1) - 1 if stage == "finetune" else 0
            tuned = f"{choices.get('seed', NOT_RECORDED)}{f', {more} drawn from it' * (more > 0)}"
            seed = {"prepare": "-", "finetune": tuned,
                    "sample": ", ".join(map(str, films["seeds"])), "evaluate": str(table["seed"]),
                    "rivals": str(choices.get("seed", NOT_RECORDED))}
            rows.append([f"{video}: {stage}", _notebook(path, cells),
                         sha256(told)[:12] if told else NOT_RECORDED,
                         _weights(stage, choices, films, table["backend"]), seed[stage], made_at(results, path)])
    others = [("human study", results / "human_study" / "5_human_study.ipynb"), ("audit", results / "audit.ipynb")]
    for what, path in others:
        if path.is_file():
            told = commit.told(results.parent, path)
            rows.append([what, _notebook(path, cells), sha256(told)[:12] if told else "-", "-", "-",
                         made_at(results, path)])
    rows += _ablations(results, cells) + _checks(results)
    params = results.parent / "params.yaml"
    rows.append(["Table 1, figures, this report", _notebook(cells.out / "6_paper.ipynb", cells),
                 sha256(params)[:12] if params.is_file() else "-", "-", "-", short(now)])
    return ["What", "Notebook", "Params", "Weights", "Seed", "Run at commit"], rows


def _ablations(results: Path, cells: Cells) -> list[list]:
    """The row of the ablations, whose p values the ledger prints; none where their table is not there. Their table
    names the checkpoint, and neither its hash nor the settings'."""
    table = read_json(results / "ablations" / "ablations.json")
    if table is None:
        return []
    notebook = results / "ablations" / "ablations.ipynb"
    seeds = sorted({seed for arm in table["arms"].values() for seed in arm.get("seeds", [])})
    return [[f"ablations: {table['done']} of {table['wanted']} runs of {table['video']}", _notebook(notebook, cells),
             NOT_RECORDED, f"checkpoint {table['checkpoint']}, hash {NOT_RECORDED}", ", ".join(map(str, seeds)),
             made_at(results, notebook)]]


def _checks(results: Path) -> list[list]:
    """The row of the checks of the method, on which the ledger's verdicts of it rest; none where they were not run.
    What is recorded of them is a hash of the code that they checked."""
    found = read_json(results.parent / conformance.FILE)
    if found is None:
        return []
    code = found.get("code")
    hashed = f"; code {code[:12]}" + (", not as it is now" if code != conformance.code(results.parent) else "")
    at = made_at(results, results.parent / conformance.FILE) + (hashed if code else "")
    return [["the method, checked on small models", conformance.FILE.name, "-", "-", "-", at]]


def made_at(results: Path, notebook: Path) -> str:
    """The commit a stage was run at, in short; "not recorded" of runs that left no note."""
    found = commit.noted(results.parent, notebook)
    return short(found) if found else NOT_RECORDED


def short(name: str) -> str:
    """A commit's first 12 digits, with what is said after it."""
    first, space, rest = name.partition(" ")
    return first[:12] + space + rest


def _notebook(path: Path, cells: Cells) -> dict:
    return {"text": path.name, "href": cells.notebook(path), "focus": True}


def _weights(stage: str, choices: dict, films: dict, backend: dict) -> str:
    """The hashes of the files that a stage opens, in short; `choices`: {} where they are not known."""
    if stage in ("prepare", "finetune", "rivals") and not choices:
        return NOT_RECORDED
    found = {"checkpoint": choices.get("checkpoint_sha256"), "CLIP": choices.get("clip_sha256")}
    if stage == "sample":
        found["temporal layers"] = films["temporal_sha256"]
    if stage == "evaluate":
        found = {name: backend[kind].get("sha256") for name, kind in
                 (("CLIP", "clip"), ("Inception", "inception"), ("I3D", "i3d"), ("LPIPS", "lpips")) if kind in backend}
    return "; ".join(f"{name} {sha[:12]}" for name, sha in found.items() if sha) or "-"


def whole(results: Path, tables: dict[str, dict], now: str) -> list[tuple[str, str]]:
    """(what, value) pairs: the hashes in full."""
    params = results.parent / "params.yaml"
    rows = [("this report's code, git commit", now)]
    rows += [("params.yaml as this report was written, sha256", sha256(params))] if params.is_file() else []
    for video in tables:
        films = json.loads((results / video / "sample" / "films.json").read_text(encoding="utf-8"))
        rows.append((f"{video}: temporal layers, sha256", str(films["temporal_sha256"])))
    checks, ablations = results.parent / conformance.FILE, results / "ablations" / "ablations.json"
    rows += [("code that the checks of the method were of, sha256", code)] if (
        code := (read_json(checks) or {}).get("code")) else []
    rows += [("ablations.json, sha256", sha256(ablations))] if ablations.is_file() else []
    backend = next(iter(tables.values()))["backend"]
    rows.append(("checkpoint", str(backend["checkpoint"])))
    for kind in ("inception", "clip"):
        entry = backend[kind]
        rows.append((f"{kind}, sha256", entry.get("sha256") or f"refused: {entry['refused']}"))
    rows.append(("optical flow", str(backend["flow"])))
    return rows
