"""The code of a stage: what counts, and what each notebook of this repository depends on."""

import shutil

import nbformat
import pytest
from conftest import REPOSITORY
from nbformat.v4 import new_output
from small_notebook import write_notebook

from lnm.workflow import code

NOTEBOOKS = {path.stem: path for path in (REPOSITORY / "notebooks").glob("*.ipynb")}
EVERY = "lnm lnm.colours lnm.errors lnm.files lnm.project lnm.video lnm.workflow"
STAGE = f"{EVERY} lnm.checkpoint lnm.devices lnm.latents lnm.stages lnm.tensors lnm.weights lnm.workflow.choices"
UNET = "lnm.lora lnm.pseudo3d lnm.unet"
MODEL = f"""{UNET} lnm.checkpoint lnm.hub lnm.latents lnm.model lnm.schedulers lnm.temporal_file lnm.tensors
            lnm.weights"""
PIPELINE = f"{MODEL} lnm.arguments lnm.decoder lnm.denoising lnm.images lnm.pipeline lnm.windows"
TRAINING = "lnm.training lnm.batches lnm.flow lnm.lion lnm.precision lnm.resume lnm.runs lnm.validation"
EVAL = f"{EVERY} eval"
READ = "eval.films eval.films.read"
SAMPLED = "eval.films.sampled"
INTERVALS = "eval.statistics eval.statistics.blocks eval.statistics.intervals eval.statistics.small"
NETWORKS = """eval.features eval.features.cache eval.features.clip eval.features.devices eval.features.i3d
              eval.features.inception eval.metrics eval.metrics.clip eval.metrics.copying eval.metrics.frechet
              eval.registry eval.features.weights"""
SCORES = f"""{EVAL} {READ} {SAMPLED} {INTERVALS} {NETWORKS} eval.films.baselines eval.films.controls
             lnm.flow eval.metrics.fidelity eval.metrics.film eval.metrics.flags eval.metrics.motion eval.records
             eval.records.material eval.records.sets eval.records.video
             eval.features.flow eval.features.lpips eval.features.once eval.metrics.ceiling eval.metrics.coverage
             eval.metrics.dynamics
             eval.metrics.patches eval.metrics.reference eval.metrics.suite
             eval.statistics.paired eval.statistics.permutation"""
LOOK = "eval.publish eval.publish.figures eval.publish.figures.style"
VOTES = f"""{EVAL} {READ} {INTERVALS} eval.films.mp4 eval.records eval.records.opponents eval.records.published
            eval.statistics.agreement
            eval.statistics.catch eval.statistics.crossed eval.statistics.davidson eval.statistics.permutation
            eval.statistics.power eval.study eval.study.aggregate
            eval.records.markdown eval.study.films eval.study.form eval.study.page eval.study.sieve eval.study.simulate
            eval.study.text eval.study.vote eval.study.votes"""
CLAIMS = f"""{EVAL} {READ} {SAMPLED} {INTERVALS} {NETWORKS} eval.claims eval.claims.conformance eval.claims.finding
             eval.claims.ledger eval.claims.measurements eval.claims.records eval.claims.settings eval.claims.spread
             eval.claims.text eval.films.baselines lnm.flow eval.records eval.records.run eval.films.controls
             eval.features.flow eval.features.once eval.records.markdown eval.records.opponents
             eval.metrics.flags eval.metrics.motion eval.statistics.crossed eval.statistics.paired
             eval.statistics.permutation eval.statistics.proportions"""
PAPER = f"""{SCORES} {CLAIMS} {LOOK} eval.publish.figures.blocks eval.publish.figures.canvas eval.publish.figures.every
            eval.publish.figures.films eval.publish.figures.numbers eval.publish.figures.unet
            eval.publish.figures.vectors eval.publish.formats eval.films.mp4
            eval.publish.nearest eval.publish.ranking eval.publish.report eval.publish.report_cells
            eval.publish.report_films eval.publish.report_first eval.publish.report_provenance
            eval.publish.report_tables eval.publish.table1 eval.publish.table1_notes eval.publish.votes
            eval.records.latex eval.records.markdown eval.records.published eval.study eval.study.form
            lnm.workflow.commit"""
ARM = """lnm.ablations lnm.ablations.arms lnm.ablations.layers lnm.ablations.loss lnm.ablations.noise
         lnm.ablations.trials lnm.detail lnm.stages.ablation lnm.stages.kept lnm.stages.sample"""
# What each notebook's code is made of. More than before here: a stage would run again for an edit that is not its own.
BEHIND = {
    "1_prepare": f"{STAGE} lnm.camera lnm.flow lnm.likeness lnm.preflight lnm.prompts lnm.stages.prepare lnm.subject",
    "2_finetune": f"{STAGE} {MODEL} {TRAINING} lnm.stages.finetune",
    "3_sample": f"{STAGE} {PIPELINE} lnm.detail lnm.flow lnm.player lnm.stages.kept lnm.stages.sample",
    "4_evaluate": f"{SCORES} {LOOK} eval.publish.figures.motion eval.publish.figures.vectors eval.publish.formats "
                  "lnm.workflow.choices",
    "5_human_study": f"{VOTES} {LOOK} eval.publish.figures.study lnm.workflow.choices",
    "6_paper": f"{PAPER} {PIPELINE} lnm.describe lnm.workflow.choices",
    "audit": CLAIMS,
    "rivals": f"{STAGE} {PIPELINE} {TRAINING} lnm.detail lnm.rivals lnm.rivals.animatediff lnm.rivals.dreamix "
              "lnm.rivals.methods lnm.rivals.tune_a_video lnm.rivals.unet lnm.stages.kept lnm.stages.rivals "
              "lnm.stages.sample",
    "ablations": f"""{STAGE} {PIPELINE} {TRAINING} {ARM} {EVAL} {LOOK} lnm.ablations.plan eval.features
                 eval.features.flow eval.features.once eval.features.weights eval.metrics eval.metrics.motion
                 eval.publish.figures.ablations eval.records eval.records.ablations eval.records.markdown eval.registry
                 eval.statistics eval.statistics.many_to_one""",
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
FILMING = {"3_sample", "6_paper", "rivals", "ablations"}


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
        ("lnm/stages/sample.py", {"3_sample", "rivals", "ablations"}),
        ("lnm/stages/rivals.py", {"rivals"}),
        ("lnm/rivals/animatediff.py", {"rivals"}),
        ("lnm/ablations/layers.py", {"ablations"}),
        ("lnm/ablations/trials.py", {"ablations"}),
        ("eval/records/ablations.py", {"ablations"}),
        ("lnm/describe.py", {"6_paper"}),
        ("lnm/training.py", {"2_finetune", "rivals", "ablations"}),
        ("lnm/batches.py", {"2_finetune", "rivals", "ablations"}),
        ("lnm/motion.py", set()),
        ("lnm/clips.py", set()),
        ("lnm/decoder.py", FILMING),  # how films are decoded: no fine-tune runs again
        ("lnm/decoder_training.py", set()),
        ("lnm/pipeline.py", FILMING),  # how films are sampled: no fine-tune runs again
        ("lnm/denoising.py", FILMING),
        ("lnm/windows.py", FILMING),
        ("lnm/stages/preview.py", set()),
        ("lnm/player.py", {"3_sample"}),
        ("lnm/player.html", {"3_sample"}),
        ("lnm/workflow/live.py", set()),
        ("lnm/preflight.py", {"1_prepare"}),
        ("lnm/camera.py", {"1_prepare"}),
        ("lnm/subject.py", {"1_prepare"}),
        ("eval/publish/report.py", {"6_paper"}),
        ("eval/publish/templates/report.html", {"6_paper"}),
        ("eval/publish/templates/report.js", {"6_paper"}),
        ("lnm/workflow/commit.py", {"6_paper"}),
        ("eval/study/aggregate.py", {"5_human_study"}),
        ("eval/study/page.js", {"5_human_study"}),
        ("eval/study/text.py", {"5_human_study"}),
        ("eval/claims/settings.py", {"6_paper", "audit"}),
        ("eval/publish/figures/films.py", {"6_paper"}),
        ("eval/publish/figures/style.py", {"4_evaluate", "5_human_study", "6_paper", "ablations"}),
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


def test_an_arm_of_the_ablations_hangs_on_how_it_is_trained_and_filmed_not_on_how_it_is_measured(project):
    shutil.copytree(REPOSITORY / "lnm", project / "lnm", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "eval", project / "eval", ignore=shutil.ignore_patterns("__pycache__"))

    def arm():
        (written,) = code.write_code(project)  # of a project without notebooks
        return written.read_text()

    before = arm()
    behind = {line.split()[1] for line in before.split("\n\n")[0].splitlines()}
    assert behind == set(f"{PIPELINE} {TRAINING} {ARM} lnm lnm.colours lnm.devices lnm.errors lnm.files lnm.stages "
                         "lnm.video".split())
    for edited, differs in (("eval/records/ablations.py", False), ("lnm/ablations/plan.py", False),
                            ("lnm/ablations/layers.py", True), ("lnm/validation.py", True)):
        text = (project / edited).read_text()
        (project / edited).write_text(text + "\nEDITED = 1\n")
        assert (arm() != before) == differs, edited
        (project / edited).write_text(text)
