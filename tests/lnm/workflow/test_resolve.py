"""What a stage is told: its own choices, the content of its files, and nothing else."""

import ast
import importlib
import inspect
import json
import re

import pytest
from conftest import PARAMS, REPOSITORY
from edited import edit

from lnm.cli import main
from lnm.errors import UserError
from lnm.files import sha256
from lnm.project import STAGES
from lnm.settings import Finetune, Sample
from lnm.workflow.params import load
from lnm.workflow.resolve import resolve, resolve_stage, resolve_study, seal, settings


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


def test_rivals_are_told_as_ours_from_the_identity_but_for_what_they_say_themselves(project):
    assert told("rivals", "ocean") == {"video": "ocean", "size": 128, "device": "auto", "methods": []}
    edit(project, "videos:", "rivals: {videos: first, methods: [dreamix]}\nfinetune: {learning_rate: 0.1, steps: 9, "
                             "identity_steps: 5, noise_steps: 6, carried: 0.5, seeds: 3, init: lnm-mini-motion}\n"
                             "sample: {seeds: 4, temporal_decoder: null}\nvideos:")
    ocean = settings("rivals", "ocean")
    assert ocean.methods == ["dreamix"] and settings("rivals", "rain").methods == []
    assert settings("finetune", "ocean").arguments()["settings"].noise_steps == 0, "ours begin from noise themselves"
    tuned = ocean.finetune
    assert (tuned.steps, tuned.learning_rate, tuned.init, tuned.seeds, ocean.sample.seeds) == (5, 0.1, None, 1, 4)
    assert (tuned.identity_steps, tuned.noise_steps, tuned.carried) == (0, 0, 0.0)
    assert ocean.sample.temporal_decoder is None
    edit(project, "videos: first", "videos: [rain], steps: 7, films: 2")
    rain = settings("rivals", "rain")
    assert (rain.finetune.steps, rain.sample.seeds, settings("rivals", "ocean").methods) == (7, 2, [])
    edit(project, ", init: lnm-mini-motion", "")
    edit(project, "steps: 7, ", "")
    assert settings("rivals", "rain").finetune.steps == 9
    edit(project, "[rain], films", "all, films")
    assert settings("rivals", "ocean").methods == settings("rivals", "rain").methods == ["dreamix"]
    edit(project, "videos: all", "videos: [rian]")
    with pytest.raises(UserError, match="rivals.videos: there is no video rian; there is ocean, rain"):
        load()


def test_changed_content_under_the_same_name_is_seen(project):
    (project / "params.yaml").write_text(PARAMS.replace("prompts: [rain", "still: inputs/ocean.mp4, prompts: [rain"))
    files = {"inputs/rain/0.png": ("prepare", "path_sha256"), "inputs/ocean.mp4": ("prepare", "still_sha256"),
             "checkpoints/lnm-mini/unet/x": ("sample", "checkpoint_sha256"),
             "checkpoints/lnm-mini-clip/x": ("evaluate", "clip_sha256")}
    for name, (stage, key) in files.items():
        before = told(stage, "rain")[key]
        (project / name).write_text("changed")
        assert told(stage, "rain")[key] != before, name


def with_still(project, still, head=""):
    (project / "params.yaml").write_text(head + PARAMS.replace("prompts: [rain", f"still: {still}, prompts: [rain"))
    return told("prepare", "rain")


def test_several_stills_are_told_in_their_order_each_with_its_content(project):
    (project / "inputs" / "a.png").write_text("a")
    found = with_still(project, "[inputs/a.png, heldout]")
    assert found["still"] == ["inputs/a.png", "heldout"]
    assert found["still_sha256"] == [sha256(project / "inputs" / "a.png"), None]
    arguments = settings("prepare", "rain").arguments()
    assert arguments["still"] == [project / "inputs" / "a.png", None] and arguments["stills"] == 1
    (project / "inputs" / "a.png").write_text("changed")
    assert told("prepare", "rain")["still_sha256"] != found["still_sha256"]
    (project / "inputs" / "b.png").write_text("changed")
    with pytest.raises(UserError, match="videos.rain.still: inputs/a.png is the same picture as another of the list"):
        with_still(project, "[inputs/a.png, inputs/b.png]")
    with pytest.raises(UserError, match="videos.rain.still: inputs/no.png does not exist"):
        with_still(project, "[inputs/a.png, inputs/no.png]")


def test_a_list_of_one_still_and_the_held_out_frame_s_name_are_what_they_were_before_there_were_lists(project):
    (project / "inputs" / "a.png").write_text("a")
    assert with_still(project, "[inputs/a.png]") == with_still(project, "inputs/a.png")
    assert with_still(project, "heldout") == with_still(project, "[heldout]") == with_still(project, "null")
    assert "stills" not in told("prepare", "rain")


def test_held_out_stills_are_told_to_videos_that_name_none(project):
    (project / "inputs" / "a.png").write_text("a")
    assert "stills" not in with_still(project, "inputs/a.png", "prepare: {stills: 2}\n")
    assert told("prepare", "ocean")["stills"] == 2 == settings("prepare", "ocean").arguments()["stills"]


def with_path(project, path):
    (project / "params.yaml").write_text(PARAMS.replace("path: inputs/rain", f"path: {path}"))
    return told("prepare", "rain")


def test_several_clips_are_told_each_with_its_cut_and_its_content(project):
    found = with_path(project, "[{path: inputs/rain, start: 1, end: 3}, inputs/ocean.mp4]")
    assert (found["path"], found["source"], found["start"], found["end"]) == ("inputs/rain", "inputs/rain", 1, 3)
    assert found["clips"] == [{"path": "inputs/ocean.mp4", "crop": None, "start": 0, "end": None, "credit": None,
                               "source": "inputs/ocean.mp4", "path_sha256": sha256(project / "inputs" / "ocean.mp4")}]
    (clip,) = settings("prepare", "rain").arguments()["clips"]
    assert clip["path"] == project / "inputs" / "ocean.mp4" and clip["source"] == "inputs/ocean.mp4"
    (project / "inputs" / "ocean.mp4").write_text("changed")
    assert told("prepare", "rain")["clips"] != found["clips"]
    with pytest.raises(UserError, match="videos.rain.path, clip 2: inputs/no.mp4 does not exist"):
        with_path(project, "[inputs/rain, inputs/no.mp4]")


@pytest.mark.parametrize("crop", ["subject", ["subject", 96, 96], [0, 8, 96, 96]])
def test_a_crop_is_told_as_it_is_written(project, crop):
    assert with_path(project, f"inputs/rain, crop: {crop}")["crop"] == crop
    found = with_path(project, f"[inputs/rain, {{path: inputs/ocean.mp4, crop: {crop}}}]")
    assert found["crop"] is None and found["clips"][0]["crop"] == crop
    arguments = settings("prepare", "rain").arguments()
    assert arguments["crop"] is None and arguments["clips"][0]["crop"] == crop


def test_a_list_of_one_clip_is_told_as_that_clip(project):
    assert with_path(project, "[inputs/rain]") == with_path(project, "inputs/rain") and "clips" not in told("prepare",
                                                                                                              "rain")
    cut = with_path(project, "[{path: inputs/rain, start: 1}]")
    assert cut == with_path(project, "inputs/rain, start: 1")


def test_two_clips_of_one_file_may_not_overlap(project):
    (project / "inputs" / "copy.mp4").write_bytes((project / "inputs" / "ocean.mp4").read_bytes())
    with_path(project, "[{path: inputs/ocean.mp4, end: 3}, {path: inputs/copy.mp4, start: 3}]")
    for second in ("inputs/copy.mp4", "{path: inputs/ocean.mp4, start: 2.5, end: 4}"):
        with pytest.raises(UserError, match="path, clip 2: inputs/.* overlaps another clip of the list in time"):
            with_path(project, f"[{{path: inputs/ocean.mp4, end: 3}}, {second}]")


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
                            "stills", "clips", "checkpoint", "revision", "widen", "clip", "device", "memory", "name",
                            "about"}
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


def by_notebook(function):
    """What the notebook that calls a stage's function gives from its choices by name, beside `arguments()`."""
    found = set()
    for path in (REPOSITORY / "notebooks").glob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = re.sub(r"(?m)^\s*[%!].*$", "", "".join(cell["source"])) if cell["cell_type"] == "code" else ""
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == function:
                    found |= {k.arg for k in node.keywords if ast.unparse(k.value).startswith("choices.") and k.arg}
    return found


@pytest.mark.parametrize(
    "stage, function", [("prepare", "prepare"), ("finetune", "finetune"), ("sample", "sample_films"),
                        ("rivals", "film_rivals")])
def test_the_stages_take_these_arguments_and_no_default_of_theirs_is_left(project, stage, function):
    taken = inspect.signature(getattr(importlib.import_module(f"lnm.stages.{stage}"), function)).parameters
    given = settings(stage, "rain").arguments()
    assert set(given) <= set(taken)
    left = set(taken) - set(given) - by_notebook(function)
    assert left <= {"prepared", "out", "store", "temporal", "methods", "last_still"}  # the last two: of lnm animate


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


def test_what_is_chosen_for_a_checkpoint_of_others_is_recorded_where_it_is_chosen_and_reaches_the_stages(project):
    plain = {stage: settings(stage, "ocean").record() for stage in ("prepare", "finetune", "sample")}
    told = {"widen", "lora", "lora_scale", "lora_sha256", "any_base"}
    assert not any(told & set(record) for record in plain.values()), "a run without them is what it was before them"
    for name in ("style", "layers"):
        (project / f"inputs/{name}.safetensors").write_text(name)
    edit(project, "videos:", "checkpoint: {widen: true, lora: inputs/style.safetensors, lora_scale: 0.5, "
                             "any_base: true}\nfinetune: {init: inputs/layers.safetensors}\nvideos:")
    chosen = {stage: settings(stage, "ocean") for stage in plain}
    assert told & set(chosen["prepare"].record()) == {"widen"}, "a LoRA changes nothing there"
    assert told & set(chosen["finetune"].record()) == told
    assert told & set(chosen["sample"].record()) == told - {"any_base"}
    before = chosen["sample"].record()["lora_sha256"]
    (project / "inputs/style.safetensors").write_text("other")
    assert settings("sample", "ocean").record()["lora_sha256"] != before, "known by its content"
    arguments = chosen["finetune"].arguments()
    assert arguments["lora"] == str(project / "inputs/style.safetensors")
    assert (arguments["widen"], arguments["lora_scale"], arguments["any_base"]) == (True, 0.5, True)
    assert chosen["prepare"].arguments()["widen"] is True and "lora" not in chosen["prepare"].arguments()
    (project / "inputs/style.safetensors").unlink()
    with pytest.raises(UserError, match="checkpoint.lora: inputs/style.safetensors does not exist"):
        settings("sample", "ocean")


def test_little_memory_is_told_to_the_stages_that_open_the_checkpoint(project):
    params = load()
    low = params.model_copy(update={"memory": "low"})
    video = next(iter(params.videos))
    for stage in ("prepare", "finetune", "sample"):
        assert "memory" not in resolve_stage(params, stage, video).record()
        told = resolve_stage(low, stage, video)
        assert told.record()["memory"] == "low" == told.arguments()["memory"]
    assert resolve_stage(low, "evaluate", video) == resolve_stage(params, "evaluate", video)


def test_prepare_is_told_of_the_camera_only_where_it_is_to_do_something(project):
    assert not {"camera", "segment"} & set(told("prepare", "rain"))
    edit(project, "videos:", "prepare: {camera: segment, holdout: 0.5}\n"
                             "finetune: {frames: 9, strides: [2, 4], steps: 7}\nvideos:")
    chosen = settings("prepare", "rain")
    assert (chosen.camera, chosen.segment) == ("segment", 66), "33 are trained on: the reach of 9 frames at stride 4"
    edit(project, "camera: segment", "camera: segment, segment: 30")
    assert settings("prepare", "rain").segment == 30


def test_what_the_ablations_measured_is_told_by_its_hash_and_before_them_as_none(project):
    told, table = (project / path for path in ("build/resolve/ablations.json", "results/ablations/ablations.json"))
    assert resolve_study() and json.loads(told.read_text()) == {"sha256": None}
    assert not resolve_study(), "nothing changed"
    table.parent.mkdir(parents=True)
    table.write_text("{}")
    others = {path: content for path, content in read(project).items() if path != told.name}
    assert resolve_study() and json.loads(told.read_text()) == {"sha256": sha256(table)}
    assert {path: content for path, content in read(project).items() if path != told.name} == others
    table.unlink()
    assert resolve_study() and json.loads(told.read_text()) == {"sha256": None}
