"""params.yaml: strict, and every mistake in it is one line that names the key."""

import json

import pytest
from conftest import PARAMS, REPOSITORY
from edited import edit
from unusual import UNUSUAL

from lnm.errors import UserError
from lnm.project import STAGES, root
from lnm.settings import finetune_of
from lnm.workflow.params import load
from lnm.workflow.resolve import settings


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
        ("fps: 8", "fps: 8, crop: [0, 0, 9]", "videos.ocean.crop: should be [x, y, width, height], subject or"),
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


def test_prompts_of_any_length_and_writing_arrive_as_they_were_written(project):
    """Ten thousand characters, from right to left, with markup."""
    text = json.dumps(UNUSUAL, ensure_ascii=False)
    (project / "params.yaml").write_text(PARAMS.replace("[waves]", text), encoding="utf-8")
    assert load(project / "params.yaml").videos["ocean"].prompts == UNUSUAL
    assert settings("prepare", "ocean").prompts == UNUSUAL


def test_films_from_noise_by_layers_that_cannot_begin_there_are_refused(project):
    edited = PARAMS + "finetune: {carried: 1.0}\nsample: {begin: %s}\n"
    (project / "params.yaml").write_text(edited % "noise")
    with pytest.raises(UserError, match="carried: 1 leaves layers that cannot begin from noise, as sample.begin "
                                        "says; set it to 0"):
        load(project / "params.yaml")
    (project / "params.yaml").write_text(edited % "flow")
    assert load(project / "params.yaml").finetune.carried == 1


@pytest.mark.parametrize("name", ["params.yaml", "params.paper.yaml"])
def test_the_files_in_the_repository_are_valid(name):
    assert load(REPOSITORY / name).videos


def test_params_yaml_spells_out_every_default_but_a_video_s(project):
    ours = load(REPOSITORY / "params.yaml")
    for section in (*STAGES, "checkpoint"):
        given = getattr(ours, section)
        assert given.model_fields_set == set(type(given).model_fields), section


def test_the_project_s_fine_tune_is_what_lnm_mini_gets_without_a_project():
    ours, alone = load(REPOSITORY / "params.yaml").finetune, finetune_of("lnm-mini")
    apart = {"preview_every", "identity_steps", "noise_steps", "seeds"}  # what the report shows beside the films
    assert ours.model_dump(exclude=apart) == alone.model_dump(exclude=apart)


def test_the_project_s_films_are_four_of_two_fine_tunes_each():
    ours = load(REPOSITORY / "params.yaml")
    fine_tunes, films = ours.finetune.seeds, ours.sample.seeds
    assert ours.prepare.stills == 2
    assert fine_tunes >= 2 and films >= 4 and films >= 2 * fine_tunes, "else no number says what another one would give"


def test_the_paper_s_setting_is_the_paper_s():
    paper = load(REPOSITORY / "params.paper.yaml")
    tuned = paper.finetune
    assert (paper.size, tuned.steps, tuned.frames, tuned.optimizer, tuned.learning_rate) == (512, 3600, 5, "lion", 3e-5)
    assert (tuned.beta_schedule, tuned.mask_value, paper.sample.num_inference_steps) == ("scaled_linear", 1, 15)
    assert paper.checkpoint.revision, "a hub name is pinned"


def test_root_is_found_from_below_and_missed_in_one_line(project, monkeypatch, tmp_path_factory):
    (project / "notebooks").mkdir()
    monkeypatch.chdir(project / "notebooks")
    assert root() == project
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(UserError, match="params.yaml: not in"):
        root()
