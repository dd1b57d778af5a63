"""Whatever is put in: one line that names it and the fix, the exit status, nothing half-written, no traceback."""

import os
import signal
from importlib import import_module

import pytest
from bad_input.materials import make
from bad_input.rows import COMMANDS, FILES, PARAMS, TAKEN_PARAMS, TAKEN_REFERENCES, counts
from conftest import REPOSITORY

from lnm.cli import main


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    for name in ("eval.records.score", "eval.study.aggregate", "lnm.motion", "lnm.stages.animate", "papermill"):
        import_module(name)  # half a minute on a busy machine, which is no hang
    folder = tmp_path_factory.mktemp("bench")
    make(folder)
    return folder


@pytest.fixture(autouse=True)
def _there(bench, monkeypatch):
    monkeypatch.chdir(bench)
    monkeypatch.setenv("XDG_CACHE_HOME", str(bench / "cache"))


@pytest.fixture(autouse=True)
def _no_hang():
    """What waits for ever, as a pipe does that nobody writes to, fails."""
    def stop(*_):
        raise RuntimeError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def listing(folder) -> dict[str, tuple]:
    """Every file below a folder, with its size and when it was written."""
    return {str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
            for path in folder.rglob("*") if not path.is_dir()}


def refused(capsys, bench, words: list[str], status: int, part: str) -> None:
    """Run a command line; compare its answer, and what lies on the disk before and after."""
    before = listing(bench)
    assert main(words) == status
    said = capsys.readouterr().err
    lines = said.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1 and errors[0] == lines[-1], said[-2000:]
    assert part in errors[0] and "Traceback" not in said and len(errors[0]) < 500, errors[0]
    assert all(line.startswith(("error: ", "fps: ", "warning: ")) or ".csv: line" in line for line in lines), said
    assert listing(bench) == before


@pytest.mark.parametrize("words, status, part", COMMANDS, ids=[" ".join(words)[:70] for words, *_ in COMMANDS])
def test_a_command_is_refused_in_one_line(capsys, bench, words, status, part):
    refused(capsys, bench, words, status, part)


@pytest.mark.parametrize("text, part", PARAMS, ids=[text[:50] for text, _ in PARAMS])
def test_a_params_file_is_refused_in_one_line(capsys, bench, tmp_path, text, part):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    refused(capsys, bench, ["params", "check", str(path)], 2, part)


@pytest.mark.parametrize("key, value, part", FILES, ids=[f"{key}: {value[:40]}" for key, value, _ in FILES])
def test_a_file_that_params_names_is_refused_in_one_line(capsys, bench, monkeypatch, key, value, part):
    entry = {"path": "clip.mp4", "fps": 8, "prompts": ["waves"], key: value}
    before = (bench / "params.yaml").read_text()
    (bench / "params.yaml").write_text(f"checkpoint: {{name: some/hub, clip: null}}\nvideos: {{ocean: {entry}}}\n")
    try:
        refused(capsys, bench, ["params", "resolve", "ocean"], 2, part)
    finally:
        (bench / "params.yaml").write_text(before)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_where_nothing_may_be_written_is_refused_before_the_work(capsys, bench):
    (bench / "locked").mkdir(mode=0o500)
    refused(capsys, bench, ["score", "--frames", "images", "--method", "mine", "--json", "locked/score.json"], 2,
            "not allowed to write there")


def test_the_table_is_as_long_as_it_is_said_to_be():
    assert len(COMMANDS) + len(PARAMS) + len(FILES) >= 120
    page = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    shown = page.split("<!-- tests/bad_input/rows.py -->\n")[1].split("\n<!-- end of tests/bad_input/rows.py -->")[0]
    assert shown == counts(), counts()


@pytest.mark.parametrize("text", TAKEN_PARAMS, ids=[text[:50] for text in TAKEN_PARAMS])
def test_a_params_file_that_may_look_amiss_is_taken(capsys, tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    assert main(["params", "check", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{path}: fine; ") and err == ""


@pytest.mark.parametrize("reference", TAKEN_REFERENCES)
def test_a_reference_that_says_little_is_scored_without_a_warning_of_numpy_s(capsys, reference):
    """A black one, and ones of a single frame: a number or a reason for each measure, never nan."""
    assert main(["score", "--frames", "images", "--method", "mine", "--clip", "none", "--reference", reference, "--fps",
                 "8", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and " nan" not in out and "inf " not in out
