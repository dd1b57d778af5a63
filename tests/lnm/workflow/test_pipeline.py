"""dvc.yaml: what depends on what, and what it never touches."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PARAMS, REPOSITORY

from lnm.project import NOTEBOOKS, STAGES
from lnm.workflow.params import load


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """DVC's own view of dvc.yaml for two videos: {name: stage} and the graph (an edge goes to what is needed)."""
    from dvc.repo import Repo

    folder = tmp_path_factory.mktemp("pipeline")
    shutil.copy(REPOSITORY / "dvc.yaml", folder)
    shutil.copy(REPOSITORY / ".dvcignore", folder)
    (folder / "params.yaml").write_text(PARAMS)
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    with Repo(str(folder)) as repo:
        yield {stage.name: stage for stage in repo.index.stages}, repo.index.graph


def paths(outs):
    return [Path(out.fs_path).relative_to(Path(out.repo.root_dir)).as_posix() for out in outs]


def needs(pipeline, name):
    """The names of all stages that must run before a stage."""
    stages, graph = pipeline
    found, todo = set(), [stages[name]]
    while todo:
        new = {stage.name for stage in graph.successors(todo.pop())} - found
        found |= new
        todo += [stages[other] for other in new]
    return found


def test_every_video_has_its_own_stages(pipeline):
    stages, _ = pipeline
    own = {f"{stage}@{video}" for stage in ("resolve", *STAGES) for video in ("ocean", "rain")}
    assert set(stages) == own | {"code", "footage", "lnm-mini", "lnm-mini-motion", "lnm-mini-decoder", "resolve_study",
                                "conformance", "human_study", "audit", "paper"}


def test_the_stages_of_a_video_follow_each_other_and_need_no_other_video(pipeline):
    for order in (["resolve", "prepare", "finetune", "sample", "evaluate"], ["prepare", "rivals", "evaluate"]):
        for later, earlier in zip(order[1:], order, strict=False):
            assert f"{earlier}@ocean" in needs(pipeline, f"{later}@ocean")
    assert not {"finetune@ocean", "sample@ocean"} & needs(pipeline, "rivals@ocean"), "they are trained by themselves"
    assert not any(name.endswith("@rain") for name in needs(pipeline, "evaluate@ocean"))


def test_the_paper_waits_for_every_video_s_evaluation(pipeline):
    assert {"evaluate@ocean", "evaluate@rain"} <= needs(pipeline, "paper")


def test_whoever_reads_the_ledger_waits_for_the_votes_the_checks_and_the_films(pipeline):
    stages, _ = pipeline
    for name in ("audit", "paper"):
        assert {"human_study", "conformance", "evaluate@ocean", "evaluate@rain"} <= needs(pipeline, name), name
        assert {"claims.yaml", "params.paper.yaml"} <= set(paths(stages[name].deps)), name


def test_whoever_reads_the_ledger_runs_again_after_the_ablations_and_runs_without_them(pipeline):
    """DVC refuses a dependency that is missing, as what they measured is in most clones: a hash of it is never."""
    stages, _ = pipeline
    told = "build/resolve/ablations.json"
    assert stages["resolve_study"].always_changed and told in paths(stages["resolve_study"].outs)
    for name, stage in stages.items():
        assert not any(path.startswith("results/ablations") for path in paths(stage.deps)), name
        assert (told in paths(stage.deps)) == (name in ("audit", "paper")), name
    assert {"audit", "paper"} == {name for name, stage in stages.items() if "claims.yaml" in paths(stage.deps)}


def test_training_depends_on_its_own_choices_and_code_alone(pipeline):
    stages, _ = pipeline
    assert paths(stages["finetune@ocean"].deps) == [
        "build/code/2_finetune.py", "build/resolve/ocean/finetune.json", *(
            f"results/ocean/prepare/{name}" for name in ("latents.safetensors", "train", "prompts.json", "clip.json"))]
    for stage in STAGES:
        own = [path for path in paths(stages[f"{stage}@ocean"].deps) if path.startswith("build/")]
        assert [Path(path).stem for path in own] == [NOTEBOOKS[stage], stage]


def test_only_resolve_reads_params_yaml_and_it_does_so_always(pipeline):
    stages, _ = pipeline
    for name, stage in stages.items():
        assert stage.always_changed == name.startswith("resolve")
        read = [dep.params for dep in stage.params]
        assert read == ([["videos"]] if name == "paper" else []), name


def test_nothing_of_the_user_s_or_of_the_resume_store_is_an_out(pipeline):
    stages, _ = pipeline
    outs = [path for stage in stages.values() for path in paths(stage.outs)]
    assert {path.split("/")[0] for path in outs} == {"build", "footage", "checkpoints", "results", "weights"}


def test_a_clone_computes_everything_but_the_checkpoint(pipeline):
    stages, _ = pipeline
    assert {path for stage in stages.values() for out in stage.outs if out.can_push for path in paths([out])} == {
        "checkpoints/lnm-mini", "checkpoints/lnm-mini-clip", "checkpoints/lnm-mini-motion",
        "checkpoints/lnm-mini-decoder"}
    assert [name for name, stage in stages.items() if stage.frozen] == ["lnm-mini", "lnm-mini-motion",
                                                                        "lnm-mini-decoder"]


def test_metrics_and_plots_are_declared_for_every_video(pipeline):
    stages, _ = pipeline
    for video in load(REPOSITORY / "params.yaml").videos.keys() & {"ocean"}:
        outs = [out for stage in stages.values() for out in stage.outs]
        assert f"results/{video}/evaluate/summary.json" in paths(out for out in outs if out.metric)
        assert set(paths(out for out in outs if out.plot)) >= {
            f"results/{video}/finetune/log.csv", f"results/{video}/evaluate/sheet.png"}


def test_what_git_and_dvc_leave_alone():
    def ignored(path):
        return subprocess.run(["git", "check-ignore", "-q", path], cwd=REPOSITORY).returncode == 0

    assert all(map(ignored, ("inputs/mine.mp4", "footage/x", "results/x", "store/x", "build/x", "data/x", ".venv/x")))
    assert not any(map(ignored, ("inputs/README.md", "dvcstore/files/md5/00/x", "data.dvc", "dvc.lock")))


@pytest.mark.parametrize("module", ["lnm.cli", "lnm.cli.params", "lnm.workflow.runner", "lnm.demo.footage"])
def test_the_stages_that_always_run_are_light(module):
    heavy = "{'torch', 'diffusers', 'transformers', 'papermill', 'pandas'}"
    code = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_every_direct_dependency_is_pinned_to_what_is_installed():
    from importlib.metadata import version

    lines = [line for line in (REPOSITORY / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    pins = dict(line.split("==") for line in lines)
    assert {name: version(name).partition("+")[0] for name in pins} == pins
