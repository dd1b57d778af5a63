"""The code of a stage: what counts, and what each notebook of this repository depends on."""

import shutil

import nbformat
import pytest
from conftest import REPOSITORY
from nbformat.v4 import new_output
from small_notebook import write_notebook

from lnm.workflow import code

NOTEBOOKS = {path.stem: path for path in (REPOSITORY / "notebooks").glob("*.ipynb")}
EVERY = "lnm lnm.errors lnm.files lnm.video lnm.workflow"
STAGE = f"{EVERY} lnm.checkpoint lnm.devices lnm.latents lnm.stages lnm.workflow.choices"
UNET = "lnm.pseudo3d lnm.unet"
MODEL = f"{UNET} lnm.checkpoint lnm.hub lnm.latents lnm.model lnm.schedulers lnm.temporal_file"
PIPELINE = f"{MODEL} lnm.arguments lnm.decoder lnm.images lnm.pipeline"
EVAL = f"{EVERY} eval"
READ = "eval.films eval.films.read"
INTERVALS = "eval.statistics eval.statistics.blocks eval.statistics.intervals eval.statistics.small"
NETWORKS = """eval.features eval.features.cache eval.features.clip eval.features.devices eval.features.i3d
              eval.features.inception eval.metrics eval.metrics.clip eval.metrics.copying eval.metrics.frechet
              eval.registry"""
SCORES = f"""{EVAL} {READ} {INTERVALS} {NETWORKS} eval.films.baselines eval.films.controls eval.metrics.fidelity
             eval.metrics.film eval.metrics.flags eval.metrics.motion eval.records eval.records.video
             eval.features.flow eval.features.lpips eval.features.once eval.metrics.coverage eval.metrics.dynamics
             eval.metrics.patches eval.metrics.reference eval.metrics.suite
             eval.statistics.paired eval.statistics.permutation"""
LOOK = "eval.publish eval.publish.figures eval.publish.figures.style"
VOTES = f"""{EVAL} {READ} {INTERVALS} eval.films.mp4 eval.records eval.records.opponents eval.records.published
            eval.statistics.agreement
            eval.statistics.catch eval.statistics.crossed eval.statistics.davidson eval.statistics.permutation
            eval.statistics.power eval.study eval.study.aggregate
            eval.records.markdown eval.study.films eval.study.form eval.study.page eval.study.sieve eval.study.simulate
            eval.study.text eval.study.vote eval.study.votes"""
CLAIMS = f"""{EVAL} {READ} {INTERVALS} {NETWORKS} eval.claims eval.claims.conformance eval.claims.finding
             eval.claims.ledger eval.claims.measurements eval.claims.records eval.claims.settings eval.claims.spread
             eval.claims.text eval.films.baselines eval.records eval.records.run eval.films.controls
             eval.features.flow eval.features.once eval.records.markdown eval.records.opponents
             eval.metrics.flags eval.metrics.motion eval.statistics.crossed eval.statistics.paired
             eval.statistics.permutation eval.statistics.proportions"""
PAPER = f"""{SCORES} {CLAIMS} {LOOK} eval.publish.figures.blocks eval.publish.figures.canvas eval.publish.figures.every
            eval.publish.figures.films eval.publish.figures.numbers eval.publish.figures.unet
            eval.publish.figures.vectors eval.publish.formats eval.films.mp4
            eval.publish.nearest eval.publish.ranking eval.publish.report eval.publish.report_cells
            eval.publish.report_films eval.publish.report_first eval.publish.report_provenance
            eval.publish.report_tables eval.publish.table1 eval.publish.table1_notes eval.publish.votes
            eval.records.markdown eval.records.published eval.study eval.study.form lnm.workflow.commit"""
# What each notebook's code is made of. More than before here: a stage would run again for an edit that is not its own.
BEHIND = {
    "1_prepare": f"{STAGE} lnm.preflight lnm.prompts lnm.stages.prepare",
    "2_finetune": f"{STAGE} {MODEL} lnm.training lnm.batches lnm.resume lnm.runs lnm.validation lnm.stages.finetune",
    "3_sample": f"{STAGE} {PIPELINE} lnm.stages.sample",
    "4_evaluate": f"{SCORES} {LOOK} eval.publish.figures.motion eval.publish.figures.vectors eval.publish.formats "
                  "eval.records.run lnm.workflow.choices",
    "5_human_study": f"{VOTES} {LOOK} eval.publish.figures.study lnm.workflow.choices",
    "6_paper": f"{PAPER} {PIPELINE} lnm.describe lnm.workflow.choices",
    "audit": CLAIMS,
}


@pytest.fixture
def sources(project):
    """A notebook over small lnm and eval packages: lnm.a imports lnm.b lazily, and that imports eval.c."""
    files = {
        "lnm/__init__.py": "", "eval/__init__.py": "", "lnm/through.py": "V = 1\n",
        "lnm/settings.py": "from typing import TYPE_CHECKING\n\nimport lnm.through\n\nif TYPE_CHECKING:\n"
                           "    import lnm.other\nX = 1\n",
        "lnm/a.py": '"""Doc."""\nfrom lnm.settings import X\n\n\ndef f():\n    from . import b\n    return b\n'
                    "\n\ndef main():\n    import lnm.other\n",
        "lnm/b.py": "import numpy\nimport eval.c\nPAGE = 'page.html'\n", "lnm/page.html": "<p>",
        "lnm/other.py": "Y = 1\n", "eval/c.py": "Z = 1\n", "eval/d.py": "",
    }
    for name, text in files.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text)
    write_notebook(project / "notebooks" / "n.ipynb", "%matplotlib inline\nfrom lnm.a import f\n!ls", "f()")
    return project


def test_imports_are_followed_through_modules_and_functions(sources):
    found = code.modules("def g():\n    from lnm.a import f", sources)
    assert list(found) == ["eval", "eval.c", "lnm", "lnm.a", "lnm.b", "lnm.through"]


@pytest.mark.parametrize(
    ("name", "text", "differs"),
    [
        ("lnm/a.py", '"""Other words."""\nfrom lnm.settings import X\n\n\ndef f():\n    # why\n    from . import b\n'
                     "    return b\n\n\ndef main():\n    pass\n", False),
        ("lnm/a.py", "def f():\n    from . import b\n    return 2\n", True),
        ("lnm/b.py", "import numpy\nimport eval.c\nPAGE = 'page.htm'\n", True),
        ("lnm/page.html", "<b>", True),  # a template beside the module that names it
        ("eval/c.py", "Z = 2\n", True),
        ("eval/d.py", "W = 2\n", False),
        ("lnm/other.py", "Y = 2\n", False),  # imported by a command line and for a type checker only
        ("lnm/settings.py", "import lnm.through\nX = 2\n", False),  # its values come as json
        ("lnm/through.py", "V = 2\n", True),  # what it imports may be code
    ],
)
def test_a_module_counts_if_the_notebook_can_reach_its_code(sources, name, text, differs):
    path = sources / "notebooks" / "n.ipynb"
    before = code.code(path)
    (sources / name).write_text(text)
    assert (code.code(path) != before) == differs


def test_opening_a_notebook_changes_nothing_editing_its_code_does(sources):
    path = sources / "notebooks" / "n.ipynb"
    before = code.code(path)
    book = nbformat.read(path, 4)
    book.metadata["kernelspec"] = {"name": "other", "display_name": "Other"}
    book.cells[0].source = "other prose"
    for cell in book.cells[1:]:
        cell.outputs, cell.execution_count = [new_output("stream", text="seen")], 9
        cell.metadata["collapsed"] = True
    nbformat.write(book, path)
    assert code.code(path) == before
    book.cells[-1].source += " "
    nbformat.write(book, path)
    assert code.code(path) != before


# --- the notebooks of this repository ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(NOTEBOOKS))
def test_a_notebook_depends_on_these_modules_and_no_other(name):
    behind = [line.split()[1] for line in code.code(NOTEBOOKS[name]).split("\n\n")[0].splitlines()]
    assert set(behind) == set(BEHIND[name].split())


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of our code and notebooks, for edits, and the code of each notebook as it is."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("lnm", "eval", "notebooks"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder, {path.stem: code.code(path) for path in (folder / "notebooks").glob("*.ipynb")}


SCORING = {"4_evaluate", "5_human_study", "6_paper", "audit"}


@pytest.mark.parametrize(
    ("edited", "rerun"),
    [
        ("lnm/demo/scenes/sea.py", set()),
        ("lnm/demo/footage.py", set()),
        ("lnm/demo/mini/train.py", set()),
        ("lnm/settings.py", set()),
        ("lnm/workflow/resolve.py", set()),
        ("lnm/workflow/runner.py", set()),
        ("lnm/workflow/reproduce.py", set()),
        ("lnm/cli/films.py", set()),
        ("eval/cli.py", set()),
        ("lnm/stages/sample.py", {"3_sample"}),
        ("lnm/describe.py", {"6_paper"}),
        ("lnm/training.py", {"2_finetune"}),
        ("lnm/batches.py", {"2_finetune"}),
        ("lnm/motion.py", set()),
        ("lnm/clips.py", set()),
        ("lnm/decoder.py", {"3_sample", "6_paper"}),  # how films are decoded: no fine-tune runs again
        ("lnm/decoder_training.py", set()),
        ("lnm/pipeline.py", {"3_sample", "6_paper"}),  # how films are sampled: no fine-tune runs again
        ("lnm/stages/preview.py", set()),
        ("lnm/preflight.py", {"1_prepare"}),
        ("eval/publish/report.py", {"6_paper"}),
        ("eval/publish/templates/report.html", {"6_paper"}),
        ("eval/publish/templates/report.js", {"6_paper"}),
        ("lnm/workflow/commit.py", {"6_paper"}),
        ("eval/study/aggregate.py", {"5_human_study"}),
        ("eval/study/page.js", {"5_human_study"}),
        ("eval/study/text.py", {"5_human_study"}),
        ("eval/claims/settings.py", {"6_paper", "audit"}),
        ("eval/publish/figures/films.py", {"6_paper"}),
        ("eval/publish/figures/style.py", {"4_evaluate", "5_human_study", "6_paper"}),
        ("eval/metrics/flags.py", {"4_evaluate", "6_paper", "audit"}),
        ("eval/statistics/intervals.py", SCORING),
    ],
)
def test_an_edit_reruns_what_runs_the_code_and_no_fine_tune_else(copy, edited, rerun):
    folder, before = copy
    path = folder / edited
    text = path.read_text()
    path.write_text(text + "\nEDITED = 1\n")
    after = {path.stem: code.code(path) for path in (folder / "notebooks").glob("*.ipynb")}
    path.write_text(text)
    assert {name for name in after if after[name] != before[name]} == rerun
