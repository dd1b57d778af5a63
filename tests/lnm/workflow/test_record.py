"""dvc.lock between runs: as Git has it, with the record of the run kept beside."""

import subprocess

import pytest
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from filelock import FileLock
from ruamel.yaml import YAML

from lnm.errors import UserError
from lnm.workflow.record import kept, unlock

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


def test_a_record_that_dvc_was_killed_in_the_middle_of_is_that_of_before(repository):
    """dvc.lock is cut off at every byte: what dvc refuses to work with is put right."""
    with kept(repository):
        (repository / "dvc.lock").write_text(RUN)
    entry = "    deps:\n    - path: a\n      hash: md5\n      md5: d41d8cd98f00b204e9800998ecf8427e\n" \
            "    params:\n      params.yaml:\n        videos:\n          ocean:\n            still: null\n"
    running = (RUN + entry).replace("stages:\n", "stages:\n  audit:\n    cmd: audit\n").encode()
    left = []
    for end in range(len(running) + 1):
        (repository / "build" / "dvc.lock.running").touch()
        (repository / "dvc.lock").write_bytes(running[:end])
        with kept(repository):
            found = stages(repository / "dvc.lock")
            COMPILED_LOCKFILE_SCHEMA({"schema": "2.0", "stages": found})
            assert found["lnm-mini"] == {"cmd": "train"}
            left += [end] * ((repository / "dvc.lock").read_bytes() == running[:end])
            (repository / "dvc.lock").write_text(RUN)
        assert git("status", "--porcelain", cwd=repository) == ""
    assert left[-1] == len(running) and set(left) <= {k + 1 for k, byte in enumerate(running) if byte == ord("\n")}


@pytest.mark.parametrize("text, gone", [("", True), ('{"write": {"/a": {"pid": 12, "cm', True), ("{", True),
                                        ('{"write": {}, "read": {}}', False)])
def test_a_file_of_dvc_s_locks_that_is_cut_off_is_removed(tmp_path, text, gone):
    path = tmp_path / ".dvc" / "tmp" / "rwlock"
    unlock(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    unlock(tmp_path)
    assert path.exists() != gone


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
