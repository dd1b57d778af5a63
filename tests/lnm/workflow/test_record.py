"""dvc.lock between runs: as Git has it, with the record of the run kept beside."""

import subprocess

import pytest
from filelock import FileLock
from ruamel.yaml import YAML

from lnm.errors import UserError
from lnm.workflow.record import kept

COMMITTED = "schema: '2.0'\nstages:\n  lnm-mini:\n    cmd: train\n"
RUN = COMMITTED + "  paper:\n    cmd: paper\n"


def git(*words, cwd):
    return subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e", *words], cwd=cwd, check=True,
                          capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "dvc.lock").write_text(COMMITTED)
    (tmp_path / ".gitignore").write_text("/build/\n")
    git("init", "-q", cwd=tmp_path)
    git("add", "-A", cwd=tmp_path)
    git("commit", "-qm", "base", cwd=tmp_path)
    return tmp_path


def stages(path):
    return YAML(typ="safe").load(path.read_text())["stages"]


def test_a_run_leaves_git_clean_and_the_next_one_finds_its_record(repository):
    with kept(repository):
        (repository / "dvc.lock").write_text(RUN)
    assert git("status", "--porcelain", cwd=repository) == ""
    with kept(repository):
        assert stages(repository / "dvc.lock") == {"lnm-mini": {"cmd": "train"}, "paper": {"cmd": "paper"}}
    assert git("status", "--porcelain", cwd=repository) == ""


def test_what_git_has_of_a_shared_stage_goes_before_the_record(repository):
    with kept(repository):
        (repository / "dvc.lock").write_text(RUN)
    (repository / "dvc.lock").write_text(COMMITTED.replace("train", "train better"))
    git("commit", "-qam", "new", cwd=repository)
    with kept(repository):
        assert stages(repository / "dvc.lock") == {"lnm-mini": {"cmd": "train better"}, "paper": {"cmd": "paper"}}


def test_an_error_or_an_interruption_leaves_it_clean_too(repository):
    with pytest.raises(KeyboardInterrupt), kept(repository):
        (repository / "dvc.lock").write_text(RUN)
        raise KeyboardInterrupt
    assert git("status", "--porcelain", cwd=repository) == ""
    assert "paper" in stages(repository / "build" / "dvc.lock")


def test_what_a_killed_run_left_is_gone_on_with_and_put_away(repository):
    (repository / "build").mkdir()
    (repository / "build" / "dvc.lock.running").touch()
    (repository / "dvc.lock").write_text(RUN)
    with kept(repository):
        assert (repository / "dvc.lock").read_text() == RUN
    assert git("status", "--porcelain", cwd=repository) == "" and "paper" in stages(repository / "build" / "dvc.lock")


@pytest.mark.parametrize("scm", [True, False])
def test_a_lock_of_somebody_s_own_is_left_alone(repository, tmp_path_factory, scm):
    folder = repository if scm else tmp_path_factory.mktemp("plain")
    (folder / "dvc.lock").write_text(RUN)  # `dvc repro` by hand, or no Git at all
    with kept(folder):
        (folder / "dvc.lock").write_text(RUN + "  more:\n    cmd: x\n")
    assert "more" in stages(folder / "dvc.lock") and not (folder / "build" / "dvc.lock").exists()


def test_two_runs_at_once_are_one_clear_line(repository):
    (repository / "build").mkdir()
    taken, told = FileLock(repository / "build" / "repro.lock"), "another `lnm repro` is running"
    with taken, pytest.raises(UserError, match=told), kept(repository):
        pass
