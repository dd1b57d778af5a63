"""The ablations' own pipeline: its matrix is the plan, `make repro` does not run it, Git sees nothing of its record."""

import shutil
from pathlib import Path

import pytest
from conftest import REPOSITORY

from lnm.ablations.arms import ARMS, BASE
from lnm.ablations.plan import FILE, read_plan
from lnm.cli import main as command
from lnm.errors import UserError
from lnm.workflow import ablations
from lnm.workflow.ablations import HERE, Ablations, own_record


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """DVC's view of the project: {(dvc.yaml's folder, name): stage}, and what `dvc repro` alone would look at."""
    from dvc.repo import Repo

    folder = tmp_path_factory.mktemp("pipeline")
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", "ablations/dvc.yaml", FILE.as_posix()):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    with Repo(str(folder)) as repo:
        yield {(Path(stage.path_in_repo).parent.as_posix(), stage.name): stage for stage in repo.index.stages}


def paths(outs):
    return [Path(out.fs_path).relative_to(Path(out.repo.root_dir)).as_posix() for out in outs]


def test_the_matrix_is_every_arm_of_the_plan_by_every_seed(stages):
    plan = read_plan(REPOSITORY)
    own = {name: stage for (folder, name), stage in stages.items() if folder == "ablations"}
    assert plan.arms[0] == BASE and set(plan.arms) | set(plan.long) == set(ARMS)
    assert {arm for arm in ARMS if ARMS[arm].long} == set(plan.long) and len(plan.seeds) >= 2
    assert set(own) == {"table", *(f"{'long' if arm in plan.long else 'arm'}@{arm}-{seed}"
                                   for arm, seed in plan.runs(long=True))}
    for arm, seed in plan.runs(long=True):
        stage = own[f"{'long' if arm in plan.long else 'arm'}@{arm}-{seed}"]
        assert stage.cmd.startswith(f"lnm ablation {arm} --seed {seed} --video {plan.video}")
        assert paths(stage.outs) == [f"results/ablations/runs/{arm}/seed_{seed}"]
        assert "build/code/arm.py" in paths(stage.deps) and not any(out.can_push for out in stage.outs)
    assert "build/code/ablations.py" in paths(own["table"].deps)


def test_nothing_of_the_default_hangs_on_it(stages):
    hashed = "build/resolve/ablations.json"  # of their result, or null: the ledger and the report tell of it
    for (folder, name), stage in stages.items():
        if folder == ".":
            assert [dep for dep in paths(stage.deps) if "ablations" in dep] == [hashed] * (name in ("audit", "paper"))
    assert {"build/code/ablations.py", "build/code/arm.py"} <= set(paths(stages[".", "code"].outs))


@pytest.mark.parametrize("old, new, said", [
    ("- cosine\n", "- cosin\n", "arms: value error, no arm is called cosin; there is base, linear"),
    ("steps: 60", "steps: 0", "steps: input should be greater than or equal to 1|steps: should be"),
    ("video: ocean", "vido: ocean", "vido: unknown setting; did you mean video?"),
])
def test_a_plan_that_is_wrong_is_one_line(tmp_path, old, new, said):
    (tmp_path / "ablations").mkdir()
    text = (REPOSITORY / FILE).read_text()
    assert old in text
    (tmp_path / FILE).write_text(text.replace(old, new))
    with pytest.raises(UserError) as error:
        read_plan(tmp_path)
    assert any(part in str(error.value) for part in said.split("|")), str(error.value)
    assert str(error.value).startswith("ablations/params.yaml: ") and "\n" not in str(error.value)


@pytest.fixture
def planned(project):
    (project / "ablations").mkdir()
    (project / FILE).write_text("video: ocean\nsteps: 4\nseeds: [0, 1]\narms: [base, cosine, mask_0]\n"
                                "long: [steps_1800]\n")
    return project


def ran(planned, monkeypatch, long=False, jobs=2, fails=()):
    """What `dvc repro` is called with, in the order of the calls' logs."""
    calls = {}

    def dvc(self, log, *targets):
        calls[log] = targets
        return not set(targets) & set(fails)

    monkeypatch.setattr(Ablations, "dvc", dvc)
    fine = Ablations(planned, read_plan(planned), long, jobs, quiet=True).run()
    return calls, fine


def test_arms_are_shared_out_among_workers_and_the_table_comes_last(planned, monkeypatch):
    calls, fine = ran(planned, monkeypatch)
    assert fine and list(calls)[0] == "ablations.log" and list(calls)[-1] == "ablations-table.log"
    assert calls["ablations.log"] == ("code", "footage", "prepare@ocean")
    shared = [calls[f"ablations-{i}.log"] for i in range(2)]
    assert all(one[:2] == ("--single-item", "--keep-going") for one in shared)
    arms = [target for one in shared for target in one[2:]]
    assert sorted(arms) == sorted(f"{HERE}:arm@{arm}-{seed}" for arm in ("base", "cosine", "mask_0") for seed in (0, 1))
    assert calls["ablations-table.log"] == ("--single-item", f"{HERE}:table")
    calls, _ = ran(planned, monkeypatch, long=True, jobs=1)
    assert {f"{HERE}:long@steps_1800-0", f"{HERE}:long@steps_1800-1"} < set(calls["ablations-0.log"])


def test_where_an_arm_fails_the_table_is_made_of_the_others_and_the_run_says_so(planned, monkeypatch):
    calls, fine = ran(planned, monkeypatch, fails=[f"{HERE}:arm@cosine-1"])
    assert not fine and "ablations-table.log" in calls
    calls, fine = ran(planned, monkeypatch, fails=["prepare@ocean"])
    assert not fine and list(calls) == ["ablations.log"]


def test_what_dvc_notes_of_the_arms_lies_in_build_between_runs(planned):
    place, kept = planned / "ablations" / "dvc.lock", planned / "build" / "ablations.lock"
    (planned / "build").mkdir()
    with own_record(planned):
        assert not place.exists()
        place.write_text("first")
    assert not place.exists() and kept.read_text() == "first"
    with pytest.raises(KeyboardInterrupt), own_record(planned):
        assert place.read_text() == "first"
        place.write_text("second")
        raise KeyboardInterrupt
    place.write_text("of a run that was killed")
    with own_record(planned):
        assert place.read_text() == "of a run that was killed"


def test_the_command_says_in_one_line_what_is_wrong(planned, capsys):
    assert command(["ablation", "cosin"]) == 2
    assert "error: ARM: cosin is none; there is base" in capsys.readouterr().err
    assert command(["ablation", "cosine", "--video", "rain"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    (planned / FILE).write_text("video: sea\nsteps: 4\nseeds: [0]\narms: [base]\n")
    assert command(["ablations"]) == 2
    assert "video: sea is none of params.yaml; there is ocean, rain" in capsys.readouterr().err
    (planned / FILE).unlink()
    assert command(["ablations"]) == 2
    error = capsys.readouterr().err
    assert "ablations/params.yaml" in error and error.count("\n") == 1


def test_progress_is_a_line_an_arm(planned, capsys):
    run = Ablations(planned, read_plan(planned), jobs=1)
    target = f"{HERE}:arm@cosine-0"
    run.progress.begin(target)
    run.progress.end(target)
    run.progress.end(f"{HERE}:arm@base-0", "up to date")
    run.progress.end("prepare@ocean")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["cosine-0", "arm"], ["base-0", "arm"]]
    assert ablations.TABLE and run.progress.seconds_left() > 0
