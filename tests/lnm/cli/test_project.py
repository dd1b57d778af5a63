"""`lnm params`, `notebook`, `checkpoint`, `footage`, `scenes`, `repro`: what they print and hand on."""

import json
import os
import subprocess
from types import SimpleNamespace

import pytest
from edited import edit
from small_notebook import write_notebook
from tiny import SIZE, write_tiny_checkpoint

from lnm.cli import app, checkpoints, demo, main, notebooks, repro
from lnm.demo import footage, networks
from lnm.workflow import reproduce


def out(capsys):
    return capsys.readouterr().out


def test_params_lists_checks_and_shows(project, capsys, monkeypatch):
    monkeypatch.setenv("LNM_RESOLVED", "1")  # inside the pipeline too, params.yaml is what is read here
    edit(project, "fps: 8,", "fps: 8, steps: 10,")
    assert main(["params", "videos"]) == 0
    assert out(capsys) == "ocean\nrain\n"
    assert main(["params", "check"]) == 0
    said = out(capsys).splitlines()
    assert said[0] == "params.yaml: fine; 2 videos: ocean, rain" and said[1].startswith("note: ocean trains 10 steps")
    assert main(["params", "show", "ocean", "finetune"]) == 0
    shown = out(capsys)
    assert "finetune:\n" in shown and "prepare:" not in shown
    assert dict(line.split(maxsplit=1) for line in shown.splitlines()[1:-1])["steps"] == "10"
    assert main(["params", "show", "ocean", "--json"]) == 0
    assert list(json.loads(out(capsys))) == ["prepare", "finetune", "sample", "rivals", "evaluate"]
    assert main(["params", "show", "ocean", "train"]) == 2


def test_params_resolve_writes_what_stages_read(project, capsys):
    edit(project, "fps: 8,", "fps: 8, steps: 10,")
    assert main(["params", "resolve", "ocean"]) == 0
    assert out(capsys).startswith("note: ocean trains 10 steps, its own")
    assert json.loads((project / "build/resolve/ocean/finetune.json").read_text())["steps"] == 10
    for words in (["resolve", "ocean"], ["check"], ["show", "ocean"]):
        assert main(["params", *words, "--quiet"]) == 0 and "note:" not in out(capsys)
    assert main(["params", "resolve", "rain"]) == 0 and out(capsys) == ""
    assert main(["params", "resolve", "--study"]) == 0
    assert (project / "build/resolve/human_study.json").is_file()


def test_notebook_code_prints_or_writes(project, capsys):
    path = write_notebook(project / "notebooks" / "n.ipynb", "print(1)")
    assert main(["notebook", "code", str(path)]) == 0
    assert "print(1)" in out(capsys)
    assert main(["notebook", "code"]) == 0 and out(capsys) == ""
    assert "print(1)" in (project / "build" / "code" / "n.py").read_text()


@pytest.mark.parametrize("user, allowed", [(0, True), (1000, False)])
def test_lab_serves_the_whole_project_as_whoever_it_is_without_asking_for_news(project, monkeypatch, user, allowed):
    given = {}

    def run(command, env, cwd):
        given.update(command=command, env=env, cwd=cwd)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(notebooks.subprocess, "run", run)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(notebooks.machine, "threads", lambda: 3)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (project / "notebooks").mkdir()
    monkeypatch.chdir(project / "notebooks")
    assert main(["notebook", "lab", "--", "--no-browser"]) == 0
    assert f"--ServerApp.root_dir={project}" in given["command"] and "--no-browser" in given["command"]
    assert ("--allow-root" in given["command"]) == allowed
    assert given["env"]["OMP_NUM_THREADS"] == "3" and "LNM_RESOLVED" not in given["env"]
    assert "--LabApp.default_url=/lab/tree/notebooks/1_prepare.ipynb" in given["command"]
    settings = project / "build" / "jupyter" / "labconfig" / "page_config.json"
    assert given["env"]["JUPYTER_CONFIG_PATH"].split(os.pathsep)[0] == str(project / "build" / "jupyter")
    assert json.loads(settings.read_text()) == {"disabledExtensions": {notebooks.NEWS: True}}
    assert json.loads(settings.with_name("default_setting_overrides.json").read_text()) == notebooks.SETTINGS


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny"))


def test_checkpoint_show_counts_by_the_files_heads(tiny, capsys):
    from diffusers import UNet2DConditionModel

    assert main(["checkpoint", "show", tiny]) == 0
    said = out(capsys)
    unet = UNet2DConditionModel.from_pretrained(tiny, subfolder="unet")
    count = sum(p.numel() for p in unet.parameters())
    assert f"unet          UNet2DConditionModel   {count / 1e6:9.2f} M parameters" in said
    assert "takes 9 channels, gives 4; predicts epsilon; betas scaled_linear from 0.00085 to 0.012" in said


def test_checkpoint_verify_tells_by_its_status(tiny, capsys):
    assert main(["checkpoint", "verify", tiny, "--size", str(SIZE)]) == 1  # random weights: no picture comes back
    assert "FAIL  the VAE" in out(capsys)


def test_checkpoint_train_runs_the_recipe(project, monkeypatch, capsys):
    given = []
    monkeypatch.setattr("lnm.demo.mini.train.train",
                        lambda *folders, downloads, start: given.append((*folders, downloads, start)))
    assert main(["checkpoint", "train", "--out", "here"]) == 0
    assert main(["checkpoint", "train", "--start", "there"]) == 0
    assert [str(path) for path in given[0]] == ["here", "store/lnm-mini", "store/downloads", "None"]
    assert str(given[1][-1]) == "there"
    assert checkpoints.PAPER == "params.paper.yaml"


@pytest.mark.parametrize("folder, words", [("nowhere", "there is no folder nowhere"), ("empty", "is no lnm-mini: "),
                                           ("tiny", "is no lnm-mini of 16 channels")])
def test_checkpoint_train_takes_an_lnm_mini_alone_to_start_from(tiny, project, capsys, folder, words):
    (project / "empty").mkdir()
    assert main(["checkpoint", "train", "--start", tiny if folder == "tiny" else folder]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "--start" in said[0] and words in said[0], said


def test_footage_lists_and_fetches(project, monkeypatch, capsys):
    assert main(["footage", "--list"]) == 0
    said = out(capsys)
    assert all(name in said and footage.credit(name) in said for name in footage.CATALOGUE)
    given = []
    monkeypatch.setattr(footage, "fetch", lambda *a: given.append(a) or [a[1] / f"{name}.mp4" for name in a[0]])
    monkeypatch.setattr(footage, "fetch_inception", lambda *a: given.append(a) or a[0] / "inception.pt")
    assert main(["footage"]) == 0
    assert out(capsys).split() == [f"footage/{name}.mp4" for name in footage.DEFAULT]
    assert given[0][2] == project / "store" / "downloads"
    assert main(["footage", "--inception"]) == 0 and len(given) == 2, "the weights alone"
    assert main(["footage", "--inception", "rapids", "--folder", "a", "--downloads", "b"]) == 0
    assert [str(x) for x in given[-1][1:]] == ["a", "b"]


def test_networks_that_cannot_be_fetched_are_said_and_stop_nothing(project, monkeypatch, capsys):
    monkeypatch.setattr(networks, "fetch_all", lambda folder, kept: ([folder / "rife"], ["alexnet: no network"]))
    assert main(["footage", "--networks", "--weights", "w"]) == 0
    printed = capsys.readouterr()
    assert printed.out.split() == ["w/rife"] and "warning: alexnet: no network" in printed.err
    assert main(["footage", "--list"]) == 0
    said = out(capsys)
    assert all(net.author in said and net.licence in said for net in networks.NETWORKS)


def test_scenes_renders_clips_or_a_sheet(project, monkeypatch, capsys):
    given = []
    monkeypatch.setattr("lnm.demo.scenes.write.write_clips", lambda *folders, say: given.append(folders))
    monkeypatch.setattr("lnm.demo.scenes.write.write_stills", lambda *what: given.append(what))
    assert main(["scenes"]) == 0 and main(["scenes", "--out", "a", "--sheet", "b.png"]) == 0
    assert [list(map(str, folders)) for folders in given] == [["data", "data/sheet.png"], ["a", "b.png"]]
    assert main(["scenes", "--stills", "6"]) == 0
    assert [str(x) for x in given[-1]] == ["stills.png", "6", str(demo.FIRST_SEED)]
    assert main(["scenes", "--stills", "0"]) == 2


def test_repro_ends_with_table_1_the_verdict_and_the_report(project, monkeypatch, capsys):
    table = project / "results" / "paper" / "table1.md"
    table.parent.mkdir(parents=True)
    table.write_text("## Table 1. X\n\n| a |\n\n## Table 1b. Y\n")
    monkeypatch.setattr(reproduce.Pipeline, "run", lambda self: True)
    monkeypatch.setattr(reproduce, "verdict", lambda *a: "Verdict: fine.")
    assert main(["repro"]) == 0
    said = out(capsys)
    assert "## Table 1. X\n\n| a |\n\nVerdict: fine.\n" in said and "1b" not in said
    assert said.endswith("report: results/paper/report.html\n")
    monkeypatch.setattr(reproduce.Pipeline, "run", lambda self: False)
    assert main(["repro"]) == 1
    assert "what is done is not done again" in capsys.readouterr().err


def test_how_many_videos_run_side_by_side_is_an_option_or_what_make_hands_on(project, monkeypatch):
    given = []
    monkeypatch.setattr(reproduce.Pipeline, "run", lambda self: given.append(self.jobs))
    monkeypatch.setattr(reproduce.machine, "jobs", lambda device: 4)
    for jobs, words in ((None, []), ("1", []), ("1", ["--jobs", "2"])):
        monkeypatch.delenv("JOBS", raising=False)
        if jobs:
            monkeypatch.setenv("JOBS", jobs)
        assert main(["repro", *words]) == 1
    assert given == [2, 1, 2], "no more than there are videos"


def test_repro_of_some_stages_is_dvc_s_with_the_record_kept(project, monkeypatch):
    given = []
    fine = SimpleNamespace(returncode=0)
    monkeypatch.setattr(repro.subprocess, "run", lambda command, cwd, stdout: given.append((command, stdout)) or fine)
    assert main(["repro", "--quiet", "footage"]) == 0 and main(["repro", "footage"]) == 0
    assert given[0][0][1:] == ["-m", "dvc", "--wait-for-lock", "repro", "--quiet", "footage"]
    assert given[0][1] == subprocess.DEVNULL and given[1][1] is None
    monkeypatch.setattr(repro.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 255))
    assert main(["repro", "evaluate@ocean"]) == 1


def test_without_its_harness_the_method_s_commands_are_there(monkeypatch):
    monkeypatch.setattr(app, "entry_points", lambda group: ())
    monkeypatch.setattr(app, "JOINED", {"score": "no_such_package.cli:score"})
    assert app._joined() == {}
    monkeypatch.setattr(app, "JOINED", {"score": "eval.no_such_module:score"})
    with pytest.raises(ModuleNotFoundError):  # it is there and broken: that is worth a word
        app._joined()
