"""Notebooks as stages: strict parameters, clean and repeatable copies, readable failures."""

import io
import json
import os
import sys

import nbformat
import pytest
from conftest import REPOSITORY
from nbformat.v4 import new_code_cell
from small_notebook import write_notebook

from lnm.cli import main
from lnm.errors import UserError
from lnm.workflow import runner
from lnm.workflow.params import load

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("[0-9]_*.ipynb"))


# --- parameters ----------------------------------------------------------------------------------------------------


def test_a_value_takes_the_type_of_its_default(project):
    path = write_notebook(project / "a.ipynb", parameters='video = "ocean"\nsteps: int = 3\nnames = None')
    given = {"video": "007", "steps": "7", "names": "['a']"}
    assert runner.parameters(path, given) == {"video": "007", "steps": 7, "names": ["a"]}


def test_what_papermill_lets_pass_is_an_error(project):
    path = write_notebook(project / "a.ipynb")
    with pytest.raises(UserError, match="no parameter is named vdieo; there is video, steps"):
        runner.parameters(path, {"vdieo": "x"})
    with pytest.raises(UserError, match="steps takes a Python value like its default; got many"):
        runner.parameters(path, {"steps": "many"})
    with pytest.raises(UserError, match="0 cells are tagged `parameters`; tag exactly one"):
        runner.parameters(write_notebook(project / "b.ipynb", "video = 1", parameters=None), {"video": "x"})
    book = nbformat.read(path, 4)
    book.cells.append(new_code_cell("video = 2", metadata={"tags": ["parameters"]}))
    nbformat.write(book, path)
    with pytest.raises(UserError, match="2 cells are tagged"):
        runner.parameters(path, {})
    with pytest.raises(UserError, match="there is no such notebook"):
        runner.parameters(project / "none.ipynb", {})


# --- running -------------------------------------------------------------------------------------------------------


def test_a_copy_is_cleaned_of_paths_addresses_and_overwritten_bars_and_of_nothing_else(project):
    def cleaned(text):
        output = {"output_type": "stream", "name": "stdout", "text": text}
        cell = {"cell_type": "code", "id": "a", "metadata": {"execution": {}}, "outputs": [output]}
        return runner.clean({"cells": [cell], "metadata": {}}, project)["cells"][0]["outputs"][0]["text"]

    assert cleaned(f"{project}/data in {project}\r\n") == "data in .\n"
    assert cleaned(["<A at 0x7f12345678ab>\n", "1%\r2%\r3%\ndone"]) == ["<A>\n", "3%\ndone"]
    film = "data:video/mp4;base64," + "AAAA" * 1_000_000  # one long line: a film; this must not take minutes
    assert cleaned(film) == film


def test_what_a_busy_kernel_prints_in_pieces_is_one_output(project):
    def stream(name, *text):
        return {"output_type": "stream", "name": name, "text": list(text)}

    picture = {"output_type": "display_data", "data": {"image/png": "xyz"}, "metadata": {}}
    pieces = [stream("stdout", "latents"), stream("stderr", "10%"), stream("stdout", " (18, 4)\n", "mean"),
              stream("stdout", " 0.1\n"), picture, stream("stdout", "end\n")]
    cell = {"cell_type": "code", "metadata": {}, "outputs": pieces}
    assert runner.clean({"cells": [cell], "metadata": {}}, project)["cells"][0]["outputs"] == [
        stream("stdout", "latents (18, 4)\n", "mean 0.1\n"), picture, stream("stdout", "end\n")]


LIVELY = """
import os, sys, time
from tqdm.auto import tqdm
for _ in tqdm(range(3), desc="training"):
    time.sleep(0.1)
print(video, steps, os.environ["LNM_RESOLVED"], sys.executable)
print(os.path.dirname(os.getcwd()) + "/data")
class Thing: pass
Thing()
"""


def test_the_same_run_gives_the_same_bytes_and_shows_its_progress(project, capsys):
    path = write_notebook(project / "notebooks" / "n.ipynb", LIVELY)
    copies = [project / "out" / "one.ipynb", project / "out" / "two.ipynb"]
    for copy in copies:
        assert main(["notebook", "run", str(path), "-o", str(copy), "-p", "video=rain"]) == 0
    shown = capsys.readouterr()
    assert "training: 100%" in shown.err, "the kernel's bar is seen while it runs"
    assert shown.out.startswith("-- n · rain\n")
    assert copies[0].read_bytes() == copies[1].read_bytes()
    text = copies[0].read_text()
    book = nbformat.reads(text, 4)
    nbformat.validate(book)
    assert f"rain 3 1 {sys.executable}\\n" in text.replace("\\\\", "\\"), "given, default, pipeline, this Python"
    assert "data\\n" in text
    assert str(project) not in text and " at 0x" not in text and "training" not in book.cells[-1].outputs[0].text
    assert all(set(cell.metadata) <= {"tags"} for cell in book.cells)
    assert set(book.metadata) == {"kernelspec", "language_info"}
    assert sorted(os.listdir(project / "out")) == ["one.ipynb", "two.ipynb"]


def test_a_failure_shows_the_cell_and_the_error_and_keeps_the_copy_elsewhere(project, capsys):
    path = write_notebook(project / "notebooks" / "n.ipynb", "print('fine')", "def f(x):\n    return 1 / x\n\nf(0)")
    assert main(["notebook", "run", str(path), "-o", str(project / "out" / "n.ipynb")]) == 1
    said = capsys.readouterr().err
    assert "n.ipynb failed in cell 3:" in said
    assert "    def f(x):" in said and "ZeroDivisionError: division by zero" in said
    assert "papermill" not in said and "site-packages" not in said and "\x1b" not in said
    assert not (project / "out" / "n.ipynb").exists()
    assert (project / "build" / "failed" / "n.ipynb").exists()


def test_a_user_error_in_a_notebook_is_its_one_line(project, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    path = write_notebook(project / "notebooks" / "n.ipynb",
                          "from lnm.errors import UserError\nraise UserError('x: no; do y')")
    assert main(["notebook", "run", str(path), "-o", str(project / "out" / "n.ipynb")]) == 2
    assert capsys.readouterr().err == "error: x: no; do y\n"


def test_bars_in_a_file_are_a_line_now_and_then_and_whole_at_the_end():
    stream = io.StringIO()
    live = runner.Live(stream, every=1e9)
    for text in ("start\n", "\r 10%", "\r 50%", "\r100%", "\n", "end\n"):
        live.write(text)
    assert stream.getvalue() == "start\n100%\nend\n"
    live = runner.Live(stream := io.StringIO(), every=0.0)
    live.write("\r 10%\r 50%\r")
    assert stream.getvalue() == " 10%\n 50%\n"


def test_quiet_leaves_what_a_kernel_warns_of(project, capsys):
    path = write_notebook(project / "notebooks" / "n.ipynb",
                          LIVELY + "time.sleep(0.5)\nprint('warning: beware', file=sys.stderr)")
    assert main(["notebook", "run", str(path), "-o", str(project / "out" / "n.ipynb"), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "warning: beware\n")
    assert "ocean 3 1" in (project / "out" / "n.ipynb").read_text(), "the copy has it all"


# --- the notebooks of the repository -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stripped_and_have_what_a_stage_needs(path):
    book = nbformat.read(path, 4)
    nbformat.validate(book)
    assert book.metadata.kernelspec.name == "python3"
    assert book.cells[0].cell_type == "markdown", "prose before code"
    for cell in book.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None, cell.id
            assert cell.source.count("\n") < 14, f"{cell.id}: a cell of a dozen lines"
            compile(cell.source, cell.id, "exec")
    runner.parameters(path, {} if path.stem in ("5_human_study", "6_paper") else {"video": "ocean"})
    assert json.loads(path.read_text())["cells"][0]["id"] == "about-title"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_default_video_is_one_of_params_yaml(path):
    defaults = {}
    cell = next(c for c in nbformat.read(path, 4).cells if "parameters" in c.metadata.get("tags", []))
    exec(cell.source, defaults)
    assert defaults.get("video", "ocean") in load(REPOSITORY / "params.yaml").videos


def test_a_notebook_has_that_many_threads_unless_told_otherwise(project, monkeypatch):
    path = write_notebook(project / "notebooks" / "a.ipynb", "import os\nprint(os.environ['OMP_NUM_THREADS'])")
    monkeypatch.setattr(runner, "threads", lambda: 7)
    for told, number in ((None, "7"), ("3", "3")):
        if told:
            monkeypatch.setenv("OMP_NUM_THREADS", told)
        else:
            monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        runner.run(path, project / "done.ipynb", {})
        assert f"{number}\n" in json.dumps(nbformat.read(project / "done.ipynb", 4).cells).replace("\\n", "\n")
        assert os.environ.get("OMP_NUM_THREADS") == told
