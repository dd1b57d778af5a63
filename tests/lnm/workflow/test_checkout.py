"""Checkouts of the project: what is copied, linked and its own; cells of a grid; results that travel by the cache."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lnm.errors import UserError
from lnm.workflow import checkout
from lnm.workflow.checkout import Cell, grid
from lnm.workflow.params import load

STAGES = """
stages:
  prepare:
    foreach: ${{videos}}
    do:
      cmd: >-
        echo ran >> {runs} && mkdir -p results/${{key}} &&
        cat lnm/code.txt inputs/rain/0.png > results/${{key}}/out
      deps: [lnm, inputs/rain]
      params: [seed]
      outs:
        - results/${{key}}: {{push: false}}
"""


def dvc(folder, *words):
    run = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture
def head(project, tmp_path_factory):
    """The project with one stage a video, which counts its runs in a file elsewhere."""
    (project / "dvc.yaml").write_text(STAGES.format(runs=tmp_path_factory.mktemp("runs") / "runs"))
    (project / "params.yaml").write_text((project / "params.yaml").read_text() + "seed: 0\nfinetune: {steps: 5}\n")
    for name in ("lnm/code.txt", "eval/x", "notebooks/x", "build/code/1.py", "results/x", "store/x", ".git/x"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)
    dvc(project, "init", "--no-scm", "-q")
    return project


PLAIN = Cell()


def made(head, name="w", cell=PLAIN):
    return checkout.make(head, head / "build" / "fan-out" / name, cell, "ocean", checkout.cache_of(head))


def runs(head):
    path = (head / "dvc.yaml").read_text().split(">> ")[1].split()[0]
    return len(Path(path).read_text().splitlines())


def test_code_is_copied_data_is_linked_and_results_are_its_own(head):
    there = made(head)
    assert all((there / name).is_dir() and not (there / name).is_symlink() for name in checkout.CODE)
    assert (there / "inputs").is_symlink() and (there / "inputs").resolve() == (head / "inputs").resolve()
    assert (there / "checkpoints").is_symlink() and (there / "build" / "code" / "1.py").is_file()
    assert not any((there / name).exists() for name in ("results", "store", ".git"))
    (head / "lnm" / "code.txt").write_text("edited")
    assert (there / "lnm" / "code.txt").read_text() == "lnm/code.txt", "an edit does not reach a run that has begun"
    made(head)
    assert (there / "lnm" / "code.txt").read_text() == "edited", "the next call takes it in"


def test_what_a_checkout_computed_is_restored_in_the_project_and_in_other_checkouts(head):
    there = made(head)
    assert "Running stage" in dvc(there, "repro", "--single-item", "prepare@ocean")
    assert "is cached" in dvc(head, "repro", "prepare@ocean")
    assert (head / "results" / "ocean" / "out").read_text() == "lnm/code.txtinputs/rain/0.png"
    other = made(head, "other")
    assert "didn't change" not in dvc(other, "repro", "prepare@ocean") and runs(head) == 1
    assert "Running stage" in dvc(made(head, "cell", Cell(("seed=1",))), "repro", "prepare@ocean")
    assert runs(head) == 2, "another setting is another result"


def test_a_checkout_brought_up_to_date_keeps_what_it_has_computed(head):
    there = made(head)
    dvc(there, "repro", "prepare@ocean")
    (there / "store").mkdir()
    (there / "store" / "checkpoint").touch()
    lock = (there / "dvc.lock").read_text()
    made(head)
    assert (there / "dvc.lock").read_text() == lock and (there / "store" / "checkpoint").exists()
    assert "didn't change" in dvc(there, "repro", "prepare@ocean")


def test_a_grid_is_every_value_with_every_other(head):
    cells = grid(head, ["seed=1,2", "finetune.steps=10,20", "+finetune.strides=[1,3]"])
    assert [(params.seed, params.finetune.steps) for params in cells.values()] == [(1, 10), (1, 20), (2, 10), (2, 20)]
    assert all(params.finetune.strides == [1, 3] for params in cells.values())
    assert list(cells)[0].settings == {"seed": "1", "finetune.steps": "10", "finetune.strides": "[1,3]"}
    assert len({cell.name for cell in cells}) == 4 and "seed=1,finetune.steps=10" in list(cells)[0].name
    there = made(head, "cell", list(cells)[3])
    own, wanted = load(there / "params.yaml"), list(cells.values())[3]
    assert own.videos == {"ocean": wanted.videos["ocean"]}, "DVC looks at the stages of all videos that are there"
    assert own.model_dump(exclude={"videos"}) == wanted.model_dump(exclude={"videos"})
    assert load(head / "params.yaml").seed == 0
    assert list(grid(head, [])) == [PLAIN] and grid(head, [])[PLAIN] == load(head / "params.yaml")


@pytest.mark.parametrize("given, words", [
    ("seed", "--set seed: give KEY=VALUE,VALUE"), ("seed=1,-2", "--set seed=-2: params.yaml: seed: .*greater"),
    ("sede=1", "--set sede=1: Could not override 'sede'.*added by .KEY=VALUE"),
    ("+finetune.stpes=1", "finetune.stpes: unknown key; did you mean steps"), ("seed=[1", "--set seed=.1: ")])
def test_what_is_no_grid_is_one_line(head, given, words):
    with pytest.raises(UserError, match=words) as error:
        grid(head, [given])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seen, said", [("unknown", "0123abc and changes"), ("0123abc", "0123abc and changes"),
                                        ("fedcba9", "fedcba9")])
def test_the_commit_of_what_a_checkout_ran_is_noted_in_the_project(head, seen, said):
    from lnm.workflow import commit

    there = made(head)
    executed = there / "results" / "ocean" / "1_prepare.ipynb"
    executed.parent.mkdir(parents=True)
    executed.write_text("{}")
    commit.note(there, executed, seen, {"steps": 5})
    checkout.take_notes(there, head, "0123abc and changes")
    mine = head / "results" / "ocean" / "1_prepare.ipynb"
    assert commit.noted(head, mine) is None, "of a file that is not here"
    mine.parent.mkdir(parents=True)
    mine.write_text("{}")
    assert commit.noted(head, mine) == said and json.loads(commit.told(head, mine).read_text()) == {"steps": 5}
