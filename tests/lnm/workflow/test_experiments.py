"""DVC's experiments on the pipeline of dvc.yaml, in a repository of its own: the commands of docs/pipeline.md
find what they are to show, and what was fetched stays where it is. A stand-in for `lnm` writes what a stage gives."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from hashlib import md5
from pathlib import Path

import pytest
from conftest import REPOSITORY
from PIL import Image
from ruamel.yaml import YAML

YAML_SAFE = YAML(typ="safe", pure=True)
PARAMS = """\
finetune:
  steps: 12
videos:
  drift:
    path: inputs/drift
"""
# What it writes differs with finetune.steps for all stages but the two that are not asked for it.
LNM = """\
#!{python}
import json, os, re, shutil
from pathlib import Path

stage, outs = os.environ["DVC_STAGE"], json.loads(Path({outs!r}).read_text())
steps = int(re.search(r"steps: (\\d+)", Path("params.yaml").read_text())[1]) if "@" in stage else 0
for name in outs[stage]:
    out = Path(name)
    (out.parent if out.suffix else out).mkdir(parents=True, exist_ok=True)
    if out.suffix == ".png":
        shutil.copy({picture!r}, out)
    elif out.suffix:
        text = "step,loss\\n1,%d\\n" % steps if out.suffix == ".csv" else json.dumps({{"motion_ratio": steps / 10}})
        out.write_text(text)
    else:
        (out / "file").write_text(str(steps))
"""


def run(folder, *words):
    """A command's output. Raises AssertionError with it where the command fails."""
    path = f"{folder.parent / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {k: v for k, v in os.environ.items() if k != "DVC_STAGE"} | {"PATH": path, "COLUMNS": "200"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def dvc(folder, *words):
    return run(folder, sys.executable, "-m", "dvc", *words)


def shared() -> dict:
    """The stages that dvc.lock has in Git."""
    return YAML_SAFE.load((REPOSITORY / "dvc.lock").read_text(encoding="utf-8"))["stages"]


def files(folder) -> dict[str, int]:
    """Every file below a folder, and which one it is to the file system."""
    return {path.name: path.stat().st_ino for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone after `make data`: footage is fetched, and dvc.lock has what it has in Git, with this clone's hashes."""
    from dvc.repo import Repo

    top = tmp_path_factory.mktemp("experiments")
    folder = top / "clone"
    folder.mkdir()
    for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(REPOSITORY / name, folder)
    (folder / "params.yaml").write_text(PARAMS)
    for name in ("lnm/demo/footage.py", "lnm/demo/networks.py", "lnm/demo/mini/clips.py", "lnm/demo/mini/recipe.py",
                 "lnm/demo/scenes/x", "eval/x", "notebooks/x", "checkpoints/lnm-mini/x", "checkpoints/lnm-mini-clip/x",
                 "checkpoints/lnm-mini-motion/x", "checkpoints/lnm-mini-decoder/x", "build/evaluated/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    run(folder, "git", "init", "-q", "-b", "main")
    for key, value in {"user.name": "n", "user.email": "e", "commit.gpgsign": "false"}.items():
        run(folder, "git", "config", key, value)
    dvc(folder, "init", "-q")
    dvc(folder, "config", "core.analytics", "false")
    with Repo(str(folder)) as repo:
        outs = {stage.name: {Path(out.fs_path).relative_to(folder) for out in stage.outs}
                for stage in repo.index.stages}
        needed = {Path(dep.fs_path).relative_to(folder) for stage in repo.index.stages for dep in stage.deps}
    parts = {name: own | {path for path in needed if own & set(path.parents)} for name, own in outs.items()}
    (top / "outs.json").write_text(json.dumps({name: sorted(map(str, own)) for name, own in parts.items()}))
    Image.new("RGB", (8, 8), "navy").save(top / "picture.png")
    (top / "bin").mkdir()
    (top / "bin" / "lnm").write_text(LNM.format(python=sys.executable, outs=str(top / "outs.json"),
                                                picture=str(top / "picture.png")))
    (top / "bin" / "lnm").chmod(0o755)
    dvc(folder, "repro", "-q", "footage")
    dvc(folder, "commit", "-q", "-f", "lnm-mini", "lnm-mini-motion", "lnm-mini-decoder")
    lock = YAML_SAFE.load((folder / "dvc.lock").read_text())
    lock["stages"] = {name: stage for name, stage in lock["stages"].items() if name in shared()}
    with (folder / "dvc.lock").open("w") as file:
        YAML_SAFE.dump(lock, file)
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "base")
    return folder


def test_experiments_are_shown_beside_each_other_and_what_was_fetched_stays(clone):
    before = files(clone / "footage"), files(clone / "weights")
    dvc(clone, "exp", "run", "-n", "before", "evaluate@drift")
    dvc(clone, "exp", "run", "-n", "shorter", "-S", "finetune.steps=6", "evaluate@drift")
    assert (files(clone / "footage"), files(clone / "weights")) == before, "`dvc exp run` took away what was fetched"
    assert run(clone, "git", "diff", "-U0", "params.yaml").splitlines()[-1] == "+  steps: 6"

    metrics = json.loads(dvc(clone, "metrics", "diff", "before", "shorter", "--json"))
    assert metrics["results/drift/evaluate/summary.json"]["motion_ratio"] == {
        "old": 1.2, "new": 0.6, "diff": -0.6}
    params = dvc(clone, "params", "diff", "before", "shorter").splitlines()
    assert [line.split() for line in params[1:] if line] == [["params.yaml", "finetune.steps", "12", "6"]]

    table = csv.DictReader(io.StringIO(dvc(clone, "exp", "show", "--csv")))
    rows = {row["Experiment"] or row["rev"]: row for row in table}
    assert {name: (row["motion_ratio"], row["finetune.steps"]) for name, row in rows.items()} == {
        "workspace": ("0.6", "6"), "main": ("!", "12"), "before": ("1.2", "12"), "shorter": ("0.6", "6")}
    command = next(line for line in (REPOSITORY / "docs" / "pipeline.md").read_text(encoding="utf-8").splitlines()
                   if line.startswith("dvc exp show"))
    heads = re.split(r" {2,}", next(line for line in dvc(clone, "exp", "show", "--only-changed", "--drop",
                                                         command.split("'")[1]).splitlines() if "Experiment" in line))
    assert [head.strip() for head in heads if head.strip()] == ["Experiment", "Created", "motion_ratio",
                                                              "finetune.steps"]

    dvc(clone, "plots", "diff", "before", "shorter")
    page = (clone / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    for name in ("before", "shorter"):
        assert f'"rev": "{name}"' in page
        for picture in ("sheet", "motion", "vectors"):
            source = f"static/{name}_results_drift_evaluate_{picture}.png"
            assert source in page and (clone / "dvc_plots" / source).is_file()
    assert run(clone, "git", "status", "--porcelain").split() == ["M", "dvc.lock", "M", "params.yaml"]

    run(clone, "git", "checkout", "-q", "params.yaml", "dvc.lock")
    subprocess.run([sys.executable, "-m", "dvc", "checkout"], cwd=clone, capture_output=True)
    assert (files(clone / "footage"), files(clone / "weights")) == before, "`dvc checkout` took away what was fetched"
    assert "Stage 'evaluate@drift' is cached" in dvc(clone, "repro", "evaluate@drift")
    assert json.loads((clone / "results/drift/evaluate/summary.json").read_text()) == {"motion_ratio": 1.2}


def test_what_git_says_of_the_footage_is_of_the_code_and_the_command_that_fetch_it():
    """An entry that no longer fits would have every run fetch, and every `dvc exp run` take away what was fetched."""
    stage = YAML_SAFE.load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["footage"]
    entry = shared()["footage"]
    assert entry["cmd"] == stage["cmd"], "run `dvc repro footage` and commit dvc.lock"
    assert {dep["path"]: dep["md5"] for dep in entry["deps"]} == {
        name: md5((REPOSITORY / name).read_bytes()).hexdigest() for name in stage["deps"]}
    assert [out["path"] for out in entry["outs"]] == [name for out in stage["outs"] for name in out]
