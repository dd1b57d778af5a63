"""The commit that a stage was run at: noted with the run, of that very copy, outside what DVC hashes."""

import subprocess

import pytest
from small_notebook import write_notebook

from lnm.files import write_json
from lnm.workflow import commit, runner


def git(folder, *arguments):
    ran = subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=folder, check=True,
                         capture_output=True, text=True)
    return ran.stdout.strip()


@pytest.fixture
def repository(project):
    """A project under git, with one commit."""
    (project / "lnm").mkdir(exist_ok=True)
    (project / "lnm" / "a.py").write_text("A = 1\n")
    git(project, "init", "-q")
    git(project, "add", "lnm/a.py")
    git(project, "commit", "-q", "-m", "one")
    return project


def test_a_stage_keeps_the_commit_it_was_run_at(repository):
    notebook = write_notebook(repository / "notebooks" / "1_small.ipynb", "print(video)")
    executed = repository / "results" / "ocean" / "notebooks" / "1_small.ipynb"
    runner.run(notebook, executed, {}, quiet=True)
    then, bytes_then = git(repository, "rev-parse", "HEAD"), executed.read_bytes()
    git(repository, "commit", "-q", "--allow-empty", "-m", "two")
    assert commit.noted(repository, executed) == then != git(repository, "rev-parse", "HEAD")
    files = {path.name for path in (repository / "results").rglob("*") if path.is_file()}
    assert files == {"1_small.ipynb"}, "what DVC hashes holds no note"
    runner.run(notebook, executed, {}, quiet=True)  # at the second commit: the same bytes, another note
    assert executed.read_bytes() == bytes_then
    assert commit.noted(repository, executed) == git(repository, "rev-parse", "HEAD")


def test_a_stage_keeps_what_it_was_told_whatever_is_resolved_later(repository):
    notebook = write_notebook(repository / "notebooks" / "1_small.ipynb", "print(video)")
    executed = repository / "results" / "ocean" / "notebooks" / "1_small.ipynb"
    resolved = repository / "build" / "resolve" / "ocean" / "small.json"
    write_json(resolved, {"seed": 7})
    runner.run(notebook, executed, {"video": "ocean"}, quiet=True)
    then = resolved.read_bytes()
    write_json(resolved, {"seed": 8})
    assert commit.told(repository, executed).read_bytes() == then
    executed.write_text("{}")
    assert commit.told(repository, executed) is None, "of another copy"
    commit.note(repository, executed, "c0ffee", commit.resolved(repository, notebook, "rapids"))
    assert commit.told(repository, executed) is None, "a run without choices leaves none of the run before"


def test_a_note_of_another_copy_is_not_believed(repository):
    executed = repository / "results" / "a.ipynb"
    executed.parent.mkdir()
    executed.write_text("{}")
    assert commit.noted(repository, executed) is None, "an older run left none"
    commit.note(repository, executed, "c0ffee")
    assert commit.noted(repository, executed) == "c0ffee"
    executed.write_text('{"another": 1}')
    assert commit.noted(repository, executed) is None
    executed.unlink()
    assert commit.noted(repository, executed) is None


def test_code_that_is_not_as_committed_is_said(repository):
    assert commit.head(repository) == git(repository, "rev-parse", "HEAD")
    (repository / "params.yaml").write_text("seed: 1\n")
    assert "changes" not in commit.head(repository)
    (repository / "lnm" / "a.py").write_text("A = 2\n")
    assert commit.head(repository) == git(repository, "rev-parse", "HEAD") + " and changes"


def test_without_git_it_is_unknown(tmp_path, monkeypatch):
    assert commit.head(tmp_path) == "unknown"
    monkeypatch.setenv("PATH", "")
    assert commit.head(tmp_path) == "unknown"


def test_a_copy_outside_the_project_is_not_noted(repository, tmp_path_factory):
    executed = tmp_path_factory.mktemp("elsewhere") / "a.ipynb"
    executed.write_text("{}")
    commit.note(repository, executed, "c0ffee")
    assert not (repository / "build" / "commits").exists()
