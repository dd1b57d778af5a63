"""`lnm doctor`: a sound tree has nothing that fails; of a broken one each fault is named, with its fix."""

import dataclasses
import hashlib
import json
import re
import shutil

import pytest
from conftest import REPOSITORY
from small_notebook import write_notebook
from tiny_unet import tiny_unet2d

from lnm.cli import main
from lnm.demo import footage
from lnm.files import write_sums
from lnm.temporal_file import save_temporal
from lnm.unet import UNetPseudo3DConditionModel
from lnm.workflow import health

TEMPORAL = "results/ocean/finetune/seeds/1/temporal.safetensors"


@pytest.fixture
def tree(project, layers, monkeypatch):
    """A project that is all right: two clips, no GPU, weights as dvc.lock names them, a notebook, a pin, a run."""
    monkeypatch.setattr(health, "gpu", lambda: iter([health.Line("GPU", health.OK, "none")]))
    monkeypatch.setattr(health, "MEMORY", (0, 0))
    monkeypatch.setattr(health, "DISK", (0, 0))
    files = {"rapids": b"a clip", "waves": b"another"}
    clips = {name: footage.CATALOGUE[name].__class__(**{**vars(footage.CATALOGUE[name]), "sha256": sha(data)})
             for name, data in files.items()}
    monkeypatch.setattr(footage, "CATALOGUE", clips)
    monkeypatch.setattr(footage, "INCEPTION_SHA256", sha(b"inception"))
    networks = [dataclasses.replace(network, sha256=sha(b"weights")) for network in health.networks.NETWORKS]
    monkeypatch.setattr(health.networks, "NETWORKS", networks)
    for name, data in {"footage/rapids.mp4": files["rapids"], "footage/waves.mp4": files["waves"],
                       "weights/" + footage.INCEPTION_FILE: b"inception", "data/ocean.mp4": b"rendered",
                       **{f"weights/{network.file}": b"weights" for network in networks},
                       "dvcstore/files/md5/00/11": b"x", TEMPORAL: layers,
                       "requirements.txt": b"pytest==" + pytest.__version__.encode(),
                       ".dvc/config": b"[core]\n    remote = r\n['remote \"r\"']\n    url = ../dvcstore\n"}.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(data)
    outs = "".join(f"    - {{path: {name}, md5: {health.dvc_hash(project / name)}}}\n"
                   for name in ("checkpoints/lnm-mini", "checkpoints/lnm-mini-clip"))
    (project / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n  lnm-mini:\n    cmd: x\n    outs:\n{outs}")
    (project / "data.dvc").write_text(f"outs:\n- {{path: data, md5: {health.dvc_hash(project / 'data')}}}\n")
    write_notebook(project / "notebooks" / "1_prepare.ipynb", "f()")
    return project


@pytest.fixture(scope="module")
def layers(tmp_path_factory):
    """A temporal file, whole."""
    unet = UNetPseudo3DConditionModel.from_unet2d(tiny_unet2d())
    save_temporal(unet, path := tmp_path_factory.mktemp("layers") / "temporal.safetensors")
    return path.read_bytes()


def sha(data):
    return hashlib.sha256(data).hexdigest()


def lines(root):
    return {line.what: line for line in health.examine(root)}


def test_a_sound_tree_has_nothing_that_fails(tree, capsys):
    assert {line.status for line in lines(tree).values()} == {"ok", "warn"}  # warn: no repository
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("ok    Python: 3.") and said[-1].endswith("0 fail, 1 warn")
    assert main(["doctor", "--quiet"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["warn  git", "      fix"]


def flip(file):
    """Turn one bit of its last tensor."""
    data = bytearray(file.read_bytes())
    data[-3] ^= 4
    file.write_bytes(bytes(data))


def spoil_notebook(tree):
    write_notebook(tree / "notebooks" / "1_prepare.ipynb", "f()", parameters=None)


def with_outputs(tree):
    path = tree / "notebooks" / "1_prepare.ipynb"
    book = json.loads(path.read_text())
    book["cells"][-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x"}]
    path.write_text(json.dumps(book))


FAULTS = {
    "another version than pinned": (lambda t: (t / "requirements.txt").write_text("pytest==1.0\nnosuchthing==2\n"),
                                    "packages", "FAIL", "nosuchthing missing (pinned 2)", "make setup"),
    "no pins": (lambda t: (t / "requirements.txt").unlink(), "packages", "FAIL", "missing or empty", "git checkout"),
    "a key that is none": (lambda t: (t / "params.yaml").write_text("vidoes: {}\n"), "params.yaml", "FAIL",
                           "did you mean videos?", "correct it"),
    "a torn lock of DVC": (lambda t: [(t / ".dvc" / "tmp").mkdir(), (t / ".dvc" / "tmp" / "rwlock").touch()], "DVC",
                           "FAIL", "killed while it wrote", "rm "),
    "no remote": (lambda t: shutil.rmtree(t / "dvcstore"), "DVC remote", "FAIL", "not there or empty", "git checkout"),
    "a weight changed": (lambda t: (t / "checkpoints" / "lnm-mini" / "unet" / "x").write_text("other"),
                         "checkpoints/lnm-mini", "FAIL", "not those that git names", "make data"),
    "weights gone": (lambda t: shutil.rmtree(t / "checkpoints" / "lnm-mini-clip"), "checkpoints/lnm-mini-clip", "FAIL",
                     "not there", "make data"),
    "clips gone": (lambda t: shutil.rmtree(t / "data"), "data", "FAIL", "not there", "make data"),
    "footage torn": (lambda t: (t / "footage" / "waves.mp4").write_bytes(b"half"), "footage", "FAIL", "waves.mp4",
                     "make data"),
    "footage not fetched": (lambda t: (t / "footage" / "waves.mp4").unlink(), "footage", "warn", "waves.mp4",
                            "make data"),
    "a place where nothing can be written": (lambda t: (t / "store").symlink_to("/proc"), "results", "FAIL",
                                             "store: not allowed", "permissions"),
    "temporal layers damaged": (lambda t: flip(t / TEMPORAL), "results", "FAIL", TEMPORAL, f"rm {TEMPORAL}; make"),
    "a notebook without its tag": (spoil_notebook, "notebooks", "FAIL", "0 cells are tagged", "git checkout"),
    "a notebook with outputs": (with_outputs, "notebooks", "warn", "holds outputs", "make strip"),
    "a notebook that is none": (lambda t: (t / "notebooks" / "1_prepare.ipynb").write_text("{"), "notebooks", "FAIL",
                                "not a notebook", "git checkout"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_with_its_fix_and_no_other(tree, fault):
    spoil, what, status, says, fix = FAULTS[fault]
    before = lines(tree)
    spoil(tree)
    after = lines(tree)
    assert after[what].status == status and says in after[what].says and fix in after[what].fix
    assert {name for name in after if after[name] != before[name]} == {what}
    assert main(["doctor"]) == (1 if status == "FAIL" else 0)


@pytest.mark.parametrize("what, name, limits, status", [
    ("memory", "MEMORY", (10**6, 10**6), "FAIL"), ("memory", "MEMORY", (0, 10**6), "warn"),
    ("disk", "DISK", (10**9, 10**9), "FAIL"), ("disk", "DISK", (0, 10**9), "warn"),
    ("Python", "PYTHONS", ((2, 6), (2, 7)), "FAIL")])
def test_too_little_of_the_machine_is_said(tree, monkeypatch, what, name, limits, status):
    monkeypatch.setattr(health, name, limits)
    line = lines(tree)[what]
    assert line.status == status and line.fix


def test_outside_a_project_it_looks_at_the_installation(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(health, "gpu", lambda: iter(()))
    monkeypatch.setattr(health, "builtin", lambda name: None)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "FAIL  lnm-mini: not in this installation" in said and "params.yaml" not in said
    assert "project: none here or above" in said
    monkeypatch.setattr(health, "builtin", lambda name: tmp_path)
    assert main(["doctor"]) == 0
    weights = tmp_path / "weights" / "lnm-mini"
    weights.mkdir(parents=True)
    (weights / "a").write_text("x")
    write_sums(weights.parent, ("lnm-mini",))
    (weights / "a").write_text("y")
    monkeypatch.setattr(health, "builtin", lambda name: weights)
    capsys.readouterr()
    assert main(["doctor"]) == 1
    assert "FAIL  lnm-mini: lnm-mini/a is not the file that SHA256SUMS beside it names" in capsys.readouterr().out


def test_a_folder_s_hash_is_dvc_s():
    data = REPOSITORY / "data"
    if not data.is_dir():
        pytest.skip("no data/: `make data` brings it")
    assert f"md5: {health.dvc_hash(data)}" in (REPOSITORY / "data.dvc").read_text()


def test_what_troubleshooting_shows_is_what_it_prints(tree, capsys):
    """Of a sound tree every line, of a broken one the faults and fixes themselves; nothing of where it was run."""
    page = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    sound, broken = re.findall(r"```text\n((?:ok|FAIL|warn) .*?)\n```", page, re.S)
    carried = health._recorded(REPOSITORY)
    own = [line.what for line in health.examine(tree)]
    first, last = own.index("data"), own.index("footage")
    shown = dict(line[6:].split(": ", 1) for line in sound.splitlines()[:-1])
    assert list(shown) == [*own[:first], *carried, *own[last:]]
    assert {name: shown[name] for name in carried} == {
        name: f"as git has it (md5 {found[:12]})" for name, found in carried.items()}
    assert sound.splitlines()[-1] == f"{len(shown)} lines: 0 fail, 0 warn" and ".../.venv" in shown["Python"]
    (tree / "params.yaml").write_text((tree / "params.yaml").read_text() + "finetun: {}\n")
    (tree / "checkpoints" / "lnm-mini" / "unet" / "x").write_text("cut")
    (tree / "footage" / "rapids.mp4").unlink()
    assert main(["doctor", "--quiet"]) == 1
    said, of_git, _ = capsys.readouterr().out.partition("warn  git: ")
    assert of_git and said and said == broken.partition(of_git)[0]
