"""Notebooks as stages: strict parameters, clean and repeatable copies, readable failures, nothing left running."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from conftest import PARAMS, REPOSITORY
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lnm import notebook
from lnm.params import UserError, load

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("[0-9]_*.ipynb"))


def write(path, *cells, parameters='video = "ocean"\nsteps = 3'):
    """A notebook with a parameters cell (unless None) and these code cells."""
    book = new_notebook(cells=[new_markdown_cell("prose", id="prose")])
    if parameters is not None:
        cell = new_code_cell(parameters, id="parameters")
        cell.metadata["tags"] = ["parameters"]
        book.cells.append(cell)
    book.cells += [new_code_cell(source, id=f"cell-{n}") for n, source in enumerate(cells)]
    path.parent.mkdir(exist_ok=True)
    nbformat.write(book, path)
    return path


# --- parameters ----------------------------------------------------------------------------------------------------


def test_a_value_takes_the_type_of_its_default(project):
    path = write(project / "a.ipynb", parameters='video = "ocean"\nsteps: int = 3\nnames = None')
    given = {"video": "007", "steps": "7", "names": "['a']"}
    assert notebook.parameters(path, given) == {"video": "007", "steps": 7, "names": ["a"]}


def test_what_papermill_lets_pass_is_an_error(project):
    path = write(project / "a.ipynb")
    with pytest.raises(UserError, match="no parameter is named vdieo; there is video, steps"):
        notebook.parameters(path, {"vdieo": "x"})
    with pytest.raises(UserError, match="steps takes a Python value like its default; got many"):
        notebook.parameters(path, {"steps": "many"})
    with pytest.raises(UserError, match="0 cells are tagged `parameters`; tag exactly one"):
        notebook.parameters(write(project / "b.ipynb", "video = 1", parameters=None), {"video": "x"})
    book = nbformat.read(path, 4)
    book.cells.append(new_code_cell("video = 2", metadata={"tags": ["parameters"]}))
    nbformat.write(book, path)
    with pytest.raises(UserError, match="2 cells are tagged"):
        notebook.parameters(path, {})
    with pytest.raises(UserError, match="there is no such notebook"):
        notebook.parameters(project / "none.ipynb", {})


# --- the code a stage depends on -----------------------------------------------------------------------------------


@pytest.fixture
def sources(project):
    """A notebook over small lnm and eval packages: lnm.a imports lnm.b lazily, and that imports eval.c."""
    files = {
        "lnm/__init__.py": "", "eval/__init__.py": "", "lnm/params.py": "X = 1\n",
        "lnm/a.py": '"""Doc."""\nfrom lnm.params import X\n\n\ndef f():\n    from . import b\n    return b\n'
                    "\n\ndef main():\n    import lnm.other\n",
        "lnm/b.py": "import numpy\nimport eval.c\nPAGE = 'page.html'\n", "lnm/page.html": "<p>",
        "lnm/other.py": "Y = 1\n", "eval/c.py": "Z = 1\n", "eval/d.py": "",
    }
    for name, text in files.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text)
    write(project / "notebooks" / "n.ipynb", "%matplotlib inline\nfrom lnm.a import f\n!ls", "f()")
    return project


def test_imports_are_followed_through_modules_and_functions(sources):
    found = notebook.modules("def g():\n    from lnm.a import f", sources)
    assert list(found) == ["eval", "eval.c", "lnm", "lnm.a", "lnm.b"]


@pytest.mark.parametrize(
    ("name", "text", "differs"),
    [
        ("lnm/a.py", '"""Other words."""\nfrom lnm.params import X\n\n\ndef f():\n    # why\n    from . import b\n'
                     "    return b\n\n\ndef main():\n    pass\n", False),
        ("lnm/a.py", "def f():\n    from . import b\n    return 2\n", True),
        ("lnm/b.py", "import numpy\nimport eval.c\nPAGE = 'page.htm'\n", True),
        ("lnm/page.html", "<b>", True),  # a template beside the module that names it
        ("eval/c.py", "Z = 2\n", True),
        ("eval/d.py", "W = 2\n", False),
        ("lnm/other.py", "Y = 2\n", False),  # imported by a command line only
        ("lnm/params.py", "X = 2\n", False),  # its values come by way of build/resolve
    ],
)
def test_a_module_counts_if_the_notebook_can_reach_its_code(sources, name, text, differs):
    path = sources / "notebooks" / "n.ipynb"
    before = notebook.code(path)
    (sources / name).write_text(text)
    assert (notebook.code(path) != before) == differs


def test_opening_a_notebook_changes_nothing_editing_its_code_does(sources):
    path = sources / "notebooks" / "n.ipynb"
    before = notebook.code(path)
    book = nbformat.read(path, 4)
    book.metadata["kernelspec"] = {"name": "other", "display_name": "Other"}
    book.cells[0].source = "other prose"
    for cell in book.cells[1:]:
        cell.outputs, cell.execution_count = [new_output("stream", text="seen")], 9
        cell.metadata["collapsed"] = True
    nbformat.write(book, path)
    assert notebook.code(path) == before
    book.cells[-1].source += " "
    nbformat.write(book, path)
    assert notebook.code(path) != before


def test_a_stage_of_the_method_does_not_depend_on_the_harness():
    for path in NOTEBOOKS[:3]:
        assert "# eval" not in notebook.code(path), path.name


# --- running -------------------------------------------------------------------------------------------------------



def test_a_copy_is_cleaned_of_paths_addresses_and_overwritten_bars_and_of_nothing_else(project):
    def cleaned(text):
        output = {"output_type": "stream", "name": "stdout", "text": text}
        cell = {"cell_type": "code", "id": "a", "metadata": {"execution": {}}, "outputs": [output]}
        return notebook.clean({"cells": [cell], "metadata": {}}, project)["cells"][0]["outputs"][0]["text"]

    assert cleaned(f"{project}/data in {project}\r\n") == "data in .\n"
    assert cleaned(["<A at 0x7f12345678ab>\n", "1%\r2%\r3%\ndone"]) == ["<A>\n", "3%\ndone"]
    film = "data:video/mp4;base64," + "AAAA" * 1_000_000  # one long line: a film; this must not take minutes
    assert cleaned(film) == film


LIVELY = """
import os, sys, time
from tqdm import tqdm
for _ in tqdm(range(3), desc="training"):
    time.sleep(0.1)
print(video, steps, os.environ["LNM_RESOLVED"], sys.executable)
print(os.path.dirname(os.getcwd()) + "/data")
class Thing: pass
Thing()
"""


def test_the_same_run_gives_the_same_bytes_and_shows_its_progress(project, capsys):
    path = write(project / "notebooks" / "n.ipynb", LIVELY)
    copies = [project / "out" / "one.ipynb", project / "out" / "two.ipynb"]
    for copy in copies:
        assert notebook.main([str(path), "-o", str(copy), "-p", "video", "rain"]) == 0
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
    path = write(project / "notebooks" / "n.ipynb", "print('fine')", "def f(x):\n    return 1 / x\n\nf(0)")
    assert notebook.main([str(path), "-o", str(project / "out" / "n.ipynb")]) == 1
    said = capsys.readouterr().err
    assert "n.ipynb failed in cell 3:" in said
    assert "    def f(x):" in said and "ZeroDivisionError: division by zero" in said
    assert "papermill" not in said and "site-packages" not in said and "\x1b" not in said
    assert not (project / "out" / "n.ipynb").exists()
    assert (project / "build" / "failed" / "n.ipynb").exists()


def test_a_user_error_in_a_notebook_is_its_one_line(project, capsys, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    path = write(project / "notebooks" / "n.ipynb", "from lnm.params import UserError\nraise UserError('x: no; do y')")
    assert notebook.main([str(path), "-o", str(project / "out" / "n.ipynb")]) == 2
    assert capsys.readouterr().err == "error: x: no; do y\n"


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("victim", ["runner", "its starter"])
def test_a_sigkill_of_the_runner_or_of_dvc_ends_the_kernel(project, victim):
    write(project / "notebooks" / "n.ipynb", "import os, time\nopen('../pid', 'w').write(str(os.getpid()))",
          "while True: time.sleep(0.1)")
    runner = f"{sys.executable} -m lnm.notebook notebooks/n.ipynb -o out/n.ipynb & echo $! > runner; wait"
    # what DVC does: a stage's command under a shell, with DVC_STAGE in the environment that DVC itself lacks
    starter = ("import os, subprocess; "
               f"subprocess.run(['/bin/sh', '-c', {runner!r}], env=dict(os.environ, DVC_STAGE='n'))")
    environment = {k: v for k, v in os.environ.items() if k != "DVC_STAGE"} | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen([sys.executable, "-c", starter], env=environment, stderr=subprocess.DEVNULL)
    assert wait(lambda: (project / "pid").exists() and (project / "pid").read_text())
    kernel, running = int((project / "pid").read_text()), int((project / "runner").read_text())
    assert not gone(kernel) and not gone(running)
    os.kill(running if victim == "runner" else process.pid, signal.SIGKILL)
    assert wait(lambda: gone(kernel) and gone(running))
    process.kill()
    process.wait()


def test_bars_in_a_file_are_a_line_now_and_then_and_whole_at_the_end():
    stream = io.StringIO()
    live = notebook.Live(stream, every=1e9)
    for text in ("start\n", "\r 10%", "\r 50%", "\r100%", "\n", "end\n"):
        live.write(text)
    assert stream.getvalue() == "start\n100%\nend\n"
    live = notebook.Live(stream := io.StringIO(), every=0.0)
    live.write("\r 10%\r 50%\r")
    assert stream.getvalue() == " 10%\n 50%\n"


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
    notebook.parameters(path, {} if path.stem in ("5_human_study", "6_paper") else {"video": "ocean"})
    assert json.loads(path.read_text())["cells"][0]["id"] == "about-title"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_default_video_is_one_of_params_yaml(path):
    defaults = {}
    cell = next(c for c in nbformat.read(path, 4).cells if "parameters" in c.metadata.get("tags", []))
    exec(cell.source, defaults)
    assert defaults.get("video", "ocean") in load(REPOSITORY / "params.yaml").videos


# --- how much at once ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cores, threads, jobs", [(1, 1, 2), (2, 1, 3), (8, 2, 4), (64, 4, 4)])
def test_videos_side_by_side_as_cores_and_memory_bear(project, monkeypatch, capsys, cores, threads, jobs):
    monkeypatch.setattr(notebook, "cores", lambda: cores)
    monkeypatch.setattr(notebook.os, "sysconf", {"SC_PAGE_SIZE": 2**12, "SC_PHYS_PAGES": 2**22}.get)  # 16 GiB
    (project / "params.yaml").write_text(PARAMS + "device: cpu\n")
    assert notebook.main(["--threads"]) == 0 and notebook.main(["--jobs"]) == 0
    assert capsys.readouterr().out.split() == [str(threads), str(jobs)]
    monkeypatch.setattr(notebook.os, "sysconf", {"SC_PAGE_SIZE": 2**12, "SC_PHYS_PAGES": 2**20}.get)  # 4 GiB
    assert notebook.jobs() == 1


def test_an_accelerator_has_one_video_at_a_time(project, monkeypatch):
    import lnm.prior

    monkeypatch.setattr(lnm.prior, "pick_device", lambda device: "cuda")
    assert notebook.jobs() == 1


def test_a_notebook_has_that_many_threads_unless_told_otherwise(project, monkeypatch):
    path = write(project / "notebooks" / "a.ipynb", "import os\nprint(os.environ['OMP_NUM_THREADS'])")
    monkeypatch.setattr(notebook, "threads", lambda: 7)
    for told, number in ((None, "7"), ("3", "3")):
        if told:
            monkeypatch.setenv("OMP_NUM_THREADS", told)
        else:
            monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        notebook.run(path, project / "done.ipynb", {})
        assert f"{number}\n" in json.dumps(nbformat.read(project / "done.ipynb", 4).cells).replace("\\n", "\n")
        assert os.environ.get("OMP_NUM_THREADS") == told
