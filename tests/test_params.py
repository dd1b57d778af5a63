"""params.yaml: strict, and every mistake in it is one line that names the key."""

import json

import pytest

from lnm import params
from lnm.params import UserError, load, resolve, root, settings
from conftest import PARAMS, REPOSITORY


def edit(project, old, new):
    text = (project / "params.yaml").read_text()
    assert old in text
    (project / "params.yaml").write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("fps: 8", "fsp: 8", "videos.ocean.fsp: unknown key; did you mean fps?"),
        ("fps: 8, ", "", "videos.ocean.fps: missing; add it"),
        ("fps: 8", "fps: '8'", 'videos.ocean.fps: should be a valid number; got "8"'),
        ("fps: 8", "fps: -8", "videos.ocean.fps: should be greater than 0; got -8"),
        ("prompts: [waves]", "prompts: waves", 'videos.ocean.prompts: should be a valid list; got "waves"'),
        ("ocean:", "my ocean:", "videos: the name 'my ocean' may hold only"),
        ("ocean:", "paper:", "videos: the name 'paper' is taken"),
        ("ocean:", "7:", "videos: the name 7 is read as a number"),
        ("videos:", "sead: 1\nvideos:", "sead: unknown key; did you mean seed?"),
        ("videos:", "seed: true\nvideos:", "seed: should be a valid integer; got true"),
        ("videos:", "finetune: {stpes: 3}\nvideos:", "finetune.stpes: unknown key; did you mean steps?"),
        ("videos:", "finetune:\nvideos:", "finetune: should be a section of keys and values; got null"),
        ("videos:", "sample: {first_frame: fixed}\nvideos:", "sample.first_frame: should be 'free' or 'clamp'"),
        ("videos:", "size: 100\nvideos:", "size: should be a multiple of 8; got 100"),
        ("fps: 8", "fps: 8, crop: [0, 0, 9]", "videos.ocean.crop: list should have at least 4 items"),
        ("fps: 8", "fps: 8, start: 3, end: 2", "videos.ocean: end must come after start"),
        ("videos:", "videos: [", "line 3 "),
        ("videos:", "seed: 0\nseed: 1\nvideos:", 'line 2 found duplicate key "seed"'),
    ],
)
def test_a_mistake_is_one_line_that_names_file_and_key(project, old, new, line):
    edit(project, old, new)
    with pytest.raises(UserError) as caught:
        load()
    assert str(caught.value).startswith(f"params.yaml: {line}")
    assert "\n" not in str(caught.value)


def test_a_misspelt_key_is_named_before_the_key_it_leaves_missing(project):
    edit(project, "prompts: [waves]", "promts: [waves]")
    with pytest.raises(UserError, match=r"promts: unknown key; did you mean prompts\? \(1 more after it\)"):
        load()


def test_yaml_is_read_as_dvc_reads_it(project):
    edit(project, "videos:", "finetune: {learning_rate: 3e-5, mixed_precision: no}\nvideos:")
    assert load().finetune.learning_rate == 3e-5
    assert load().finetune.mixed_precision == "no"


@pytest.mark.parametrize("name", ["params.yaml", "params.paper.yaml"])
def test_the_files_in_the_repository_are_valid(name):
    assert load(REPOSITORY / name).videos


def test_params_yaml_spells_out_every_default_but_a_video_s(project):
    ours = load(REPOSITORY / "params.yaml")
    for section in (*params.STAGES, "prior"):
        given = getattr(ours, section)
        assert given.model_fields_set == set(type(given).model_fields), section


def test_the_paper_s_setting_is_the_paper_s():
    paper = load(REPOSITORY / "params.paper.yaml")
    tuned = paper.finetune
    assert (paper.size, tuned.steps, tuned.frames, tuned.optimizer, tuned.learning_rate) == (512, 3600, 5, "lion", 3e-5)
    assert (tuned.beta_schedule, tuned.mask_value, paper.sample.num_inference_steps) == ("linear", 1, 15)
    assert paper.prior.revision, "a hub name is pinned"


def test_root_is_found_from_below_and_missed_in_one_line(project, monkeypatch, tmp_path_factory):
    (project / "notebooks").mkdir()
    monkeypatch.chdir(project / "notebooks")
    assert root() == project
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(UserError, match="params.yaml: not in"):
        root()


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("inputs/rain", "inputs/snow", "videos.rain.path: inputs/snow does not exist"),
        ("inputs/rain", "footage:rapdis", "videos.rain.path: no footage is named rapdis; there is "),
        ("inputs/rain", "footage:rapids", "videos.rain.path: footage:rapids is not fetched yet"),
        ("fps: 12.5", "fps: 12.5, still: inputs/no.png", "videos.rain.still: inputs/no.png does not exist"),
        ("videos:", "prior: {name: prior/no}\nvideos:", "prior.name: prior/no does not exist"),
    ],
)
def test_what_does_not_exist_is_named_for_its_own_video_only(project, old, new, line):
    edit(project, old, new)
    with pytest.raises(UserError) as caught:
        settings("prepare", "rain")
    assert str(caught.value).startswith(f"params.yaml: {line}")
    if not line.startswith("prior"):
        assert settings("prepare", "ocean")["path"] == "inputs/ocean.mp4"


def test_an_unknown_video_is_answered_with_the_nearest(project):
    with pytest.raises(UserError, match=r"videos\.ocaen: no such video; did you mean ocean\?"):
        settings("sample", "ocaen")


def test_the_command_line_says_it_in_one_line_and_exits_2(project, capsys):
    edit(project, "fps: 8", "fsp: 8")
    assert params.main(["resolve", "rain"]) == 2
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
        ("videos:", "finetune: {mask_value: 1}\nvideos:", every("finetune", "sample")),
        ("videos:", "prepare: {holdout: 0.5}\nvideos:", every("prepare")),
        ("videos:", "prior: {clip: null}\nvideos:", every("prepare", "evaluate")),
        ("[rain, snow]", "[rain, hail]", {"rain/prepare.json"}),
        ("videos:", "videos:\n  new: {path: inputs/rain, fps: 1, prompts: [x]}",
         {f"new/{stage}.json" for stage in params.STAGES}),
    ],
)
def test_a_choice_changes_the_stages_it_belongs_to_and_no_other(project, old, new, files):
    assert changed(project, old, new) == files


def test_no_stage_sees_another_s_choices(project):
    sections = {stage: set(type(getattr(load(), stage)).model_fields) for stage in params.STAGES}
    for stage in params.STAGES:
        seen = set(settings(stage, "ocean")) - {"seed", "finetune"}  # both said explicitly
        for other in set(params.STAGES) - {stage}:
            assert not seen & (sections[other] - sections[stage]), (stage, other)
    assert "seed" not in settings("prepare", "ocean")
    assert settings("sample", "ocean")["finetune"] == {"mask_value": 0, "beta_schedule": "prior"}


def test_changed_content_under_the_same_name_is_seen(project):
    (project / "params.yaml").write_text(PARAMS.replace("prompts: [rain", "still: inputs/ocean.mp4, prompts: [rain"))
    files = {"inputs/rain/0.png": ("prepare", "path_sha256"), "inputs/ocean.mp4": ("prepare", "still_sha256"),
             "prior/lnm-mini/unet/x": ("sample", "prior_sha256"), "prior/lnm-mini-clip/x": ("evaluate", "clip_sha256")}
    for name, (stage, key) in files.items():
        before = settings(stage, "rain")[key]
        (project / name).write_text("changed")
        assert settings(stage, "rain")[key] != before, name


def test_a_folder_s_hash_knows_names_but_not_hidden_files(project):
    folder = project / "inputs" / "rain"
    before = params.sha256(folder)
    (folder / ".DS_Store").write_text("x")
    assert params.sha256(folder) == before
    (folder / "0.png").rename(folder / "1.png")
    assert params.sha256(folder) != before


def test_other_methods_films_are_found_by_video(project):
    film = project / "inputs" / "baselines" / "theirs"
    (film / "rain").mkdir(parents=True)
    (film / "rain" / "0.png").write_text("x")
    (film / "ocean.mp4").write_text("x")
    assert list(settings("evaluate", "rain")["baselines"]) == ["inputs/baselines/theirs/rain"]
    assert list(settings("evaluate", "ocean")["baselines"]) == ["inputs/baselines/theirs/ocean.mp4"]


def test_under_the_pipeline_the_resolved_file_counts_not_params_yaml(project, monkeypatch):
    resolve("ocean")
    edit(project, "videos:", "finetune: {steps: 7}\nvideos:")
    monkeypatch.setenv("LNM_RESOLVED", "1")
    assert settings("finetune", "ocean")["steps"] == 420
    with pytest.raises(UserError, match=r"rain: build/resolve/rain/finetune.json is missing; run `dvc repro"):
        settings("finetune", "rain")
    monkeypatch.delenv("LNM_RESOLVED")
    assert settings("finetune", "ocean")["steps"] == 7


def test_a_seal_changes_when_any_result_does(project):
    for stage in params.STAGES:
        (project / "results" / "ocean" / stage).mkdir(parents=True)
        (project / "results" / "ocean" / stage / "x").write_text("1")
    before = params.seal("ocean").read_text()
    (project / "results" / "ocean" / "sample" / "x").write_text("2")
    assert params.seal("ocean").read_text() != before


def test_a_video_may_have_its_own_number_of_steps_and_only_its_fine_tune_reads_it(project):
    before = settings("prepare", "ocean")
    edit(project, "path: inputs/ocean.mp4,", "path: inputs/ocean.mp4, steps: 900,")
    assert settings("finetune", "ocean")["steps"] == 900
    assert settings("finetune", "rain")["steps"] == load().finetune.steps != 900
    assert settings("prepare", "ocean") == before
    edit(project, "steps: 900", "steps: 0")
    with pytest.raises(UserError, match="videos.ocean.steps"):
        load()
