"""What a stage is told: its own choices, the content of its files, and nothing else."""

import importlib
import inspect
import json

import pytest
from conftest import PARAMS
from edited import edit

from lnm.cli import main
from lnm.errors import UserError
from lnm.files import sha256
from lnm.settings import Finetune, Sample
from lnm.workflow.params import STAGES, load
from lnm.workflow.resolve import resolve, seal, settings


def told(stage, video):
    """A stage's choices as they stand in its json."""
    choices = settings(stage, video)
    return choices if stage == "evaluate" else choices.record()


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("inputs/rain", "inputs/snow", "videos.rain.path: inputs/snow does not exist"),
        ("inputs/rain", "footage:rapdis", "videos.rain.path: no footage is named rapdis; there is "),
        ("inputs/rain", "footage:rapids", "videos.rain.path: footage:rapids is not fetched yet"),
        ("fps: 12.5", "fps: 12.5, still: inputs/no.png", "videos.rain.still: inputs/no.png does not exist"),
        ("videos:", "checkpoint: {name: checkpoints/no}\nvideos:", "checkpoint.name: checkpoints/no does not exist"),
    ],
)
def test_what_does_not_exist_is_named_for_its_own_video_only(project, old, new, line):
    edit(project, old, new)
    with pytest.raises(UserError) as caught:
        settings("prepare", "rain")
    assert str(caught.value).startswith(f"params.yaml: {line}")
    if not line.startswith("checkpoint"):
        assert told("prepare", "ocean")["path"] == "inputs/ocean.mp4"


def test_an_unknown_video_is_answered_with_the_nearest(project):
    with pytest.raises(UserError, match=r"videos\.ocaen: no such video; did you mean ocean\?"):
        settings("sample", "ocaen")


def test_the_command_line_says_it_in_one_line_and_exits_2(project, capsys):
    edit(project, "fps: 8", "fsp: 8")
    assert main(["params", "resolve", "rain"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def read(project):
    return {path.relative_to(project / "build/resolve").as_posix(): json.loads(path.read_text())
            for path in sorted((project / "build" / "resolve").rglob("*.json"))}


def changed(project, old, new):
    """Which of the resolved files differ after an edit of params.yaml."""
    for video in load().videos:
        resolve(video)
    before = read(project)
    edit(project, old, new)
    written = {path.relative_to(project / "build/resolve").as_posix() for v in load().videos for path in resolve(v)}
    after = read(project)
    assert written == {name for name in after if after[name] != before.get(name)}
    return written


def every(*stages):
    return {f"{video}/{stage}.json" for video in ("ocean", "rain") for stage in stages}


@pytest.mark.parametrize(
    ("old", "new", "files"),
    [
        ("videos:", "seed: 1\nvideos:", every("finetune", "sample")),
        ("videos:", "evaluate: {fid: false}\nvideos:", every("evaluate")),
        ("videos:", "sample: {guidance_scale: 2.0}\nvideos:", every("sample")),
        ("videos:", "finetune: {steps: 7}\nvideos:", every("finetune")),
        ("videos:", "finetune: {mask_value: 0}\nvideos:", every("finetune")),
        ("videos:", "prepare: {holdout: 0.5}\nvideos:", every("prepare")),
        ("videos:", "checkpoint: {clip: null}\nvideos:", every("prepare", "evaluate")),
        ("[rain, snow]", "[rain, hail]", {"rain/prepare.json"}),
        ("videos:", "videos:\n  new: {path: inputs/rain, fps: 1, prompts: [x]}",
         {f"new/{stage}.json" for stage in STAGES}),
    ],
)
def test_a_choice_changes_the_stages_it_belongs_to_and_no_other(project, old, new, files):
    assert changed(project, old, new) == files


def test_no_stage_sees_another_s_choices(project):
    sections = {stage: set(type(getattr(load(), stage)).model_fields) for stage in STAGES}
    for stage in STAGES:
        seen = set(told(stage, "ocean")) - {"seed"}  # said explicitly
        for other in set(STAGES) - {stage}:
            assert not seen & (sections[other] - sections[stage]), (stage, other)
    assert "seed" not in told("prepare", "ocean")


def test_changed_content_under_the_same_name_is_seen(project):
    (project / "params.yaml").write_text(PARAMS.replace("prompts: [rain", "still: inputs/ocean.mp4, prompts: [rain"))
    files = {"inputs/rain/0.png": ("prepare", "path_sha256"), "inputs/ocean.mp4": ("prepare", "still_sha256"),
             "checkpoints/lnm-mini/unet/x": ("sample", "checkpoint_sha256"),
             "checkpoints/lnm-mini-clip/x": ("evaluate", "clip_sha256")}
    for name, (stage, key) in files.items():
        before = told(stage, "rain")[key]
        (project / name).write_text("changed")
        assert told(stage, "rain")[key] != before, name


def test_another_decoder_reruns_the_sampling_and_no_fine_tune(project, monkeypatch):
    """The file by its content, under whichever name; the built-in one as well, which is missed in one line."""
    built = project / "checkpoints" / "lnm-mini-decoder"
    monkeypatch.setattr("lnm.workflow.resolve.builtin",
                        lambda name: built if name == built.name and built.is_dir() else None)
    monkeypatch.setattr("lnm.workflow.choices.builtin", lambda name: built if name == built.name else None)
    edit(project, "videos:", "sample: {temporal_decoder: lnm-mini-decoder}\nvideos:")
    with pytest.raises(UserError) as error:
        told("sample", "rain")
    assert str(error.value) == ("params.yaml: sample.temporal_decoder: lnm-mini-decoder is not here; `dvc pull "
                                "lnm-mini-decoder` brings it, null does without")
    assert told("finetune", "rain")
    built.mkdir()
    (built / "decoder.safetensors").write_text("x")
    before = told("sample", "rain")
    assert before["temporal_decoder"] == "lnm-mini-decoder" and before["decoder_sha256"] == sha256(built)
    assert settings("sample", "rain").arguments()["settings"].temporal_decoder == "lnm-mini-decoder"
    for video in load().videos:
        resolve(video)
    (built / "decoder.safetensors").write_text("other")
    assert {path.stem for path in resolve("rain")} == {"sample"}
    edit(project, "lnm-mini-decoder", "inputs/none.safetensors")
    with pytest.raises(UserError, match="sample.temporal_decoder: inputs/none.safetensors does not exist"):
        told("sample", "rain")


def test_a_folder_s_hash_knows_names_but_not_hidden_files(project):
    folder = project / "inputs" / "rain"
    before = sha256(folder)
    (folder / ".DS_Store").write_text("x")
    assert sha256(folder) == before
    (folder / "0.png").rename(folder / "1.png")
    assert sha256(folder) != before


def test_other_methods_films_are_found_by_video(project):
    film = project / "inputs" / "baselines" / "theirs"
    (film / "rain").mkdir(parents=True)
    (film / "rain" / "0.png").write_text("x")
    (film / "ocean.mp4").write_text("x")
    assert list(told("evaluate", "rain")["baselines"]) == ["inputs/baselines/theirs/rain"]
    assert list(told("evaluate", "ocean")["baselines"]) == ["inputs/baselines/theirs/ocean.mp4"]


def test_under_the_pipeline_the_resolved_file_counts_not_params_yaml(project, monkeypatch):
    resolve("ocean")
    edit(project, "videos:", "finetune: {steps: 7}\nvideos:")
    monkeypatch.setenv("LNM_RESOLVED", "1")
    assert told("finetune", "ocean")["steps"] == 420
    with pytest.raises(UserError, match=r"rain: build/resolve/rain/finetune.json is missing; run `dvc repro"):
        settings("finetune", "rain")
    monkeypatch.delenv("LNM_RESOLVED")
    assert told("finetune", "ocean")["steps"] == 7


def test_a_stage_is_called_with_absolute_paths_and_remembers_the_names_that_were_written(project):
    for name in ("inputs/t.safetensors", "inputs/d.safetensors", "inputs/still.png"):
        (project / name).write_text("x")
    edit(project, "inputs/rain, ", "inputs/rain, steps: 9, still: inputs/still.png, ")
    edit(project, "videos:", "checkpoint: {clip: ViT-L-14/openai}\nfinetune: {init: inputs/t.safetensors}\n"
                             "sample: {temporal_decoder: inputs/d.safetensors}\nvideos:")
    prepare, finetune, sample = (settings(stage, "rain").arguments() for stage in ("prepare", "finetune", "sample"))
    assert set(prepare) == {"path", "fps", "prompts", "size", "crop", "start", "end", "max_frames", "holdout", "still",
                            "checkpoint", "revision", "clip", "device", "name", "about"}
    assert prepare["path"] == project / "inputs/rain" and prepare["still"] == project / "inputs/still.png"
    assert prepare["clip"] == "ViT-L-14/openai", "a hub name stays one"
    assert prepare["about"] == {"source": "inputs/rain", "credit": None, "checkpoint": "checkpoints/lnm-mini",
                                "clip": "ViT-L-14/openai"}
    assert finetune["settings"] == Finetune(steps=9, init=str(project / "inputs/t.safetensors"))
    assert finetune["about"] == {"checkpoint": "checkpoints/lnm-mini"}
    assert sample["about"] == {"checkpoint": "checkpoints/lnm-mini", "temporal_decoder": "inputs/d.safetensors"}
    assert sample["settings"] == Sample(temporal_decoder=str(project / "inputs/d.safetensors"))
    assert {stage["checkpoint"] for stage in (prepare, finetune, sample)} == {str(project / "checkpoints/lnm-mini")}


def test_choices_are_shown_as_they_are_written(project):
    table = settings("prepare", "rain").table()
    assert table.name == "rain" and table["path"] == "inputs/rain" and table["fps"] == "12.5"
    assert list(table.index) == list(told("prepare", "rain"))


@pytest.mark.parametrize(
    "stage, function", [("prepare", "prepare"), ("finetune", "finetune"), ("sample", "sample_films")])
def test_the_stages_take_these_arguments_and_no_default_of_theirs_is_left(project, stage, function):
    taken = inspect.signature(getattr(importlib.import_module(f"lnm.stages.{stage}"), function)).parameters
    given = settings(stage, "rain").arguments()
    assert set(given) <= set(taken)
    assert set(taken) - set(given) <= {"prepared", "out", "store", "temporal", "methods"}


def test_a_seal_changes_when_any_result_does(project):
    for stage in STAGES:
        (project / "results" / "ocean" / stage).mkdir(parents=True)
        (project / "results" / "ocean" / stage / "x").write_text("1")
    before = seal("ocean").read_text()
    (project / "results" / "ocean" / "sample" / "x").write_text("2")
    assert seal("ocean").read_text() != before


def test_a_video_may_have_its_own_number_of_steps_and_only_its_fine_tune_reads_it(project):
    before = told("prepare", "ocean")
    edit(project, "path: inputs/ocean.mp4,", "path: inputs/ocean.mp4, steps: 900,")
    assert told("finetune", "ocean")["steps"] == 900
    assert told("finetune", "rain")["steps"] == load().finetune.steps != 900
    assert told("prepare", "ocean") == before
    edit(project, "steps: 900", "steps: 0")
    with pytest.raises(UserError, match="videos.ocean.steps"):
        load()
