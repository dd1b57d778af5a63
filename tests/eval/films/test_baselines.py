"""Baselines without training: one interface, and each does what its name says."""

import json
import shutil

import numpy as np
import pytest
from fabricated import COUNT, PROMPT, fabricate, settings
from networks import tiny_clip
from textures import SIZE, noise, texture, translated

from eval import registry
from eval.features.clip import Clip
from eval.films import baselines, read
from eval.metrics import motion
from eval.metrics.clip import clipsim
from eval.publish import formats, table1
from eval.records import run
from eval.records.video import CONTROLS, evaluate_video
from eval.statistics import paired
from eval.statistics.permutation import pairs_needed
from eval.statistics.small import summarise
from lnm import video
from lnm.errors import UserError


def test_each_baseline_gives_frames_of_the_stills_size(tmp_path):
    train, still = translated(count=8), translated(count=9)[8]
    video.write_frames(tmp_path / "frame_by_frame" / "seed_1", noise(5))
    for name in baselines.BASELINES:
        film = baselines.generate(name, still, "waves", 5, 8, 1, train=train, train_fps=8, sample=tmp_path)
        assert film.shape == (5, SIZE, SIZE, 3) and film.dtype == np.uint8, name


def test_static_repeats_the_still_and_frame_by_frame_is_the_sample_stages_film(tmp_path):
    still = texture(size=SIZE)
    assert (baselines.generate("static", still, "waves", 4, 8, 0) == still).all()
    video.write_frames(tmp_path / "frame_by_frame" / "seed_2", noise(5))
    film = baselines.generate("frame_by_frame", still, "waves", 4, 8, 2, sample=tmp_path)
    np.testing.assert_array_equal(film, noise(5)[:4])
    with pytest.raises(UserError, match="5 frames, 6 are wanted"):
        baselines.generate("frame_by_frame", still, "waves", 6, 8, 2, sample=tmp_path)


def test_flow_extrapolation_goes_on_as_the_training_clip_moved():
    clip = translated(step=2, count=14)
    film = baselines.generate("flow_extrapolation", clip[8], "waves", 6, 8, 0, train=clip[:8], train_fps=8)
    np.testing.assert_array_equal(film[0], clip[8])
    assert motion.flow_warps(film)["speed"].mean() == pytest.approx(2, abs=0.4)
    inside = np.s_[12:-12, 12:-16]  # away from the borders, where the real clip shows what no still holds
    for ours, real in zip(film[1:], clip[9:]):
        error = np.abs(ours[inside].astype(float) - real[inside]).mean()
        assert error < 0.35 * np.abs(clip[8][inside].astype(float) - real[inside]).mean()
    directions = [motion.flow_warps(x)["directions"].mean(0) for x in (film, clip[8:14])]
    assert motion.direction_gap(*directions) < 15


def test_flow_extrapolation_keeps_its_tempo_at_another_frame_rate():
    clip = translated(step=2, count=9)
    speeds = [motion.flow_warps(baselines.generate("flow_extrapolation", clip[8], "waves", 5, fps, 0, train=clip[:8],
                                                   train_fps=8))["speed"].mean() for fps in (8, 16)]
    assert speeds[0] / speeds[1] == pytest.approx(2, rel=0.25)  # twice the frames a second: half the way each


def test_flow_extrapolation_takes_the_pair_nearest_to_the_still_and_the_seed_the_next():
    right, down = translated(count=5), translated(count=5).swapaxes(1, 2)
    train = np.concatenate([right, down])
    for still, axis in ((right[0], 0), (down[0], 4)):
        film = baselines.generate("flow_extrapolation", still, "waves", 4, 8, 0, train=train, train_fps=8)
        pointing = motion.flow_warps(film)["directions"].mean(0)
        opposite = motion.flow_warps(right if axis == 0 else down)["directions"].mean(0)
        assert motion.direction_gap(pointing, opposite) < 20
    films = [baselines.generate("flow_extrapolation", right[0], "waves", 4, 8, seed, train=train, train_fps=8)
             for seed in (0, 1, 0)]
    assert np.array_equal(films[0], films[2]) and not np.array_equal(films[0], films[1])


def test_an_unknown_baseline_and_a_clip_of_one_frame_are_refused():
    with pytest.raises(UserError, match="no baseline is named oracle: choose one of static, flow_extrapolation"):
        baselines.generate("oracle", texture(size=SIZE), "waves", 4, 8, 0)
    with pytest.raises(UserError, match="got 1"):
        baselines.generate("flow_extrapolation", texture(size=SIZE), "waves", 4, 8, 0, train=noise(1), train_fps=8)


# ---------------------------------------------------------------- among the films that are evaluated


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """The root of a project of two fabricated videos with other prompts listed, scored by a CLIP of random weights."""
    root = tmp_path_factory.mktemp("project")
    (root / "params.yaml").write_text("seed: 0\n")
    tiny_clip(root / "clip")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for seed, (name, prompt) in enumerate({"ocean": PROMPT, "rapids": "a river " * 40}.items()):
            fabricate(root / "results", name, seed, prompt=prompt)
            (root / "results" / name / "prepare" / "prompts.json").write_text(json.dumps(
                {"prompt": prompt, "clip": "clip", "candidates": [{"prompt": text} for text in ("a cat", prompt)]}))
            evaluate_video(settings(name, clip="clip"), root / "results" / name,
                                 root / "results" / name / "evaluate")
        yield root


@pytest.fixture(scope="module")
def tables(scored):
    """metrics.json of the two, each with the other's prompt."""
    return run.read_tables(scored / "results", ["ocean", "rapids"])


def test_flow_extrapolation_is_evaluated_as_a_method_and_goes_on_with_the_clip(tables):
    table = tables["ocean"]
    assert table["labels"]["flow_extrapolation"] == "flow extrapolation"
    assert "flow_extrapolation" not in table["controls"] and "flow_extrapolation" in table["sheet"]
    values = table["methods"]["flow_extrapolation"]
    assert values["frame0_db"]["value"] == 100 and values["flow_speed_ratio"]["value"] == pytest.approx(1, abs=0.2)
    assert values["spectrum_gap"]["value"] < table["methods"]["static_noise"]["spectrum_gap"]["value"]


def test_differences_are_paired_by_film(tables):
    methods, differences = tables["ocean"]["methods"], tables["ocean"]["differences"]
    assert set(differences) == set(methods) - {"ours"}
    for baseline in ("frame_by_frame", "static"):
        ours, theirs = (methods[name]["flicker"]["values"] for name in ("ours", baseline))
        entry = differences[baseline]["flicker"]
        expected = np.subtract(ours, theirs if len(theirs) > 1 else theirs * 2)
        np.testing.assert_allclose(entry["values"], expected, rtol=1e-4)
        assert entry["value"] == pytest.approx(expected.mean(), rel=1e-4) and entry["n"] == 2
        assert entry["low"] is entry["high"] is None and entry["least"] <= entry["value"] <= entry["most"]
        gain = np.subtract(theirs if len(theirs) > 1 else theirs * 2, ours)  # less flicker is read as better
        np.testing.assert_allclose(entry["gain"], gain, rtol=1e-4)
        assert entry["p"] == 0.5 and entry["pairs"] == 2 if (gain[0] > 0) == (gain[1] > 0) else entry["p"] == 1
    assert differences["frame_by_frame"]["fid_train"] == {"refused": "evaluate.fid is false"}
    over = run.difference(tables, "frame_by_frame", "flicker")
    values = [table["differences"]["frame_by_frame"]["flicker"]["value"] for table in tables.values()]
    assert over["values"] == values and over["value"] == pytest.approx(np.mean(values))


def test_over_videos_value_and_gain_are_means_of_one_unit():
    """The value averaged fine-tunes, the gain films: 4 films of which 3 are of one fine-tune weighed it threefold."""
    rows = [{metric: {"refused": "not this one"} for metric in registry.UNITS} | {"flicker": {"values": list(values)}}
            for values in ((1.0, 1.0, 1.0, 5.0), (2.0, 2.0, 2.0, 2.0))]
    found = paired.differences({"ours": rows[0], "static": rows[1]}, {"flicker": 0.0}, ["a", "a", "a", "b"])
    entry = found["static"]["flicker"]
    assert entry["value"] == pytest.approx((-1 + 3) / 2) and entry["mean_gain"] == pytest.approx(-entry["value"])
    over = run.difference({name: {"differences": found} for name in ("ocean", "rapids")}, "static", "flicker")
    assert over["gain"] == pytest.approx([-1, -1]) and over["value"] == pytest.approx(1)


def test_five_films_of_one_fine_tune_from_the_identity_have_no_interval():
    values = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert summarise(values, "")["low"] is not None  # as if they were five fine-tunes
    entry = summarise(values, "", ["fine-tune 1"] * 5)
    assert entry["low"] is None and (entry["clusters"], entry["least"], entry["most"]) == (1, 0.1, 0.5)


def test_a_paired_interval_is_narrower_than_what_the_seeds_share_and_covers():
    rng = np.random.default_rng(3)
    hits, widths = 0, []
    for _ in range(120):
        shared = rng.normal(0, 10, 25)  # what a still or a seed does to both methods alike
        rows = [{metric: {"refused": "not this one"} for metric in registry.UNITS}
                | {"flicker": {"values": list(shared + shift + rng.normal(0, 1, 25))}} for shift in (2, 0)]
        entry = paired.differences({"ours": rows[0], "frame_by_frame": rows[1]}, {})["frame_by_frame"]["flicker"]
        hits += entry["low"] <= 2 <= entry["high"]
        widths.append(entry["high"] - entry["low"])
    assert 0.86 <= hits / 120 <= 0.99
    assert np.mean(widths) < 2  # unpaired it would be near 2 x 1.96 x 10 x sqrt(2 / 25) = 11


def test_films_that_have_no_partner_are_not_paired():
    def row(n):
        return {metric: {"values": [1.0] * n} for metric in registry.UNITS}

    found = paired.differences({"ours": row(3), "cogvideo": row(2), "static": row(1)}, {})
    assert found["cogvideo"]["flicker"] == {"refused": "3 films against 2: no pairs"}
    assert found["static"]["flicker"]["n"] == 3


def test_films_that_start_from_our_noise_are_paired_however_few():
    rows = [{metric: {"values": list(values)} for metric in registry.UNITS} for values in ((5.0, 7.0, 9.0), (1.0, 2.0))]
    methods = {"ours": rows[0], "dreamix_style": rows[1]}
    found = paired.differences(methods, {}, ["a", "b", "a"], {"dreamix_style"})["dreamix_style"]["flicker"]
    assert found["values"] == [4.0, 5.0] and found["clusters"] == 2
    stills = {"ours": [0, 1, 0], "dreamix_style": [0, 1]}
    methods |= {"static": rows[1]}
    found = paired.differences(methods, {}, None, {"dreamix_style"}, stills | {"static": [0, 1]})
    assert found["dreamix_style"]["flicker"]["values"] == [4.0, 5.0], "our third film has another noise"
    assert found["static"]["flicker"]["values"] == [4.0, 5.0, 8.0], "a still has none"


def test_a_control_above_real_frames_is_flagged_and_has_a_dagger(tables):
    flags = {(flag["metric"], flag["control"]) for flag in tables["ocean"]["flags"]}
    assert {("flicker", "static"), ("flow_warp", "static"), ("detail_kept", "static_noise")} <= flags
    assert {control for _, control in flags} <= {*CONTROLS, "mismatched_prompt"} - {"heldout"}
    assert not any(metric == "clipsim" and control == "shuffled" for metric, control in flags)  # the same pictures
    header, rows = table1.table1b({"ocean": tables["ocean"]})
    cells = {row[0]: dict(zip(header, row)) for row in rows}
    assert cells["static repeat"]["flow-warp error"].endswith("†")
    assert cells["static + noise"]["detail kept"].endswith("†")
    assert not cells["real, held out"]["flow-warp error"].endswith("†")
    assert not cells["LateNtMovies (ours)"]["flow-warp error"].endswith("†")  # a control is flagged, a method is not
    assert any(note.startswith("†") for note in table1.notes(tables))


def test_the_mismatched_prompts_are_other_videos_and_no_losers_of_a_contest(scored, tables):
    """Review, statistics 8: the other prompts of the same contest lost it to the same CLIP on the same clip."""
    model = Clip("clip", scored)
    for name, other in (("ocean", "rapids"), ("rapids", "ocean")):
        table, prompt = tables[name], tables[other]["prompt"]
        assert table["backend"]["clip"]["other_prompts"] == [prompt]
        real = table["methods"]["heldout"]
        frames = video.read_frames(scored / "results" / name / "prepare" / "heldout")[:COUNT]
        expected = clipsim(model.text(prompt), model(frames))
        assert real["clipsim_mismatched"]["value"] == pytest.approx(expected, abs=1e-5)
        flagged = [flag for flag in table["flags"] if flag["control"] == "mismatched_prompt"]
        assert bool(flagged) == (real["clipsim_mismatched"]["value"] > real["clipsim"]["value"])
    _, rows = table1.table1(tables)
    mismatched = next(row for row in rows if row[0] == "real, mismatched prompt")
    mean = run.mean_over_videos(tables, "heldout", "clipsim_mismatched")
    assert mismatched[4].removesuffix("†") == formats.cell(mean)


def test_a_prompt_of_another_video_that_stood_for_choice_here_is_left_out(scored, tmp_path):
    alone = run.read_tables(scored / "results", ["ocean"])["ocean"]["methods"]["heldout"]["clipsim_mismatched"]
    assert alone == {"refused": "no other video has a prompt that did not stand for choice here"}
    shutil.copytree(scored / "results", tmp_path / "results")
    path = tmp_path / "results" / "ocean" / "evaluate" / "clip.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"candidates": [*said["candidates"], "a river " * 40]}))
    tables = run.read_tables(tmp_path / "results", ["ocean", "rapids"])
    assert "refused" in tables["ocean"]["methods"]["heldout"]["clipsim_mismatched"]
    assert "value" in tables["rapids"]["methods"]["heldout"]["clipsim_mismatched"]


def test_which_clip_chose_the_prompt_is_said(tables):
    """Review, statistics 8."""
    assert tables["ocean"]["backend"]["clip"]["chosen_by"] == "clip" and tables["ocean"]["backend"]["clip"]["circular"]
    said = " ".join(table1.notes(tables))
    assert "The prompt was chosen by clip" in said and "the very CLIP that scores here" in said
    assert "end token" in tables["rapids"]["backend"]["clip"]["note"]


def test_table_1c_prints_a_p_only_where_a_test_of_all_cells_has_one(tables):
    """Review, statistics 4: in place of stars a sign-flip permutation test with Holm's correction."""
    header, rows = table1.table1c(tables)
    assert [row[0] for row in rows] == ["checkpoint, frame by frame", "flow extrapolation", "static repeat",
                                        "static + noise", "real, held out"]
    assert (header[2], header[-1]) == ("flow-warp error, off real ↓", "CLIPSIM ↑")
    assert {row[1] for row in rows} == {"2 videos"}
    assert not any("p " in text for row in rows for text in row[1:])  # two videos prove nothing
    assert "No p is printed: a sign-flip test of 2 pairs has none below 0.5" in " ".join(table1.notes(tables))
    tests = table1.tests(tables)
    needed = pairs_needed(len(tests))
    many = {f"v{k}": tables["ocean"] for k in range(needed)}
    assert ", p " in table1.table1c(many)[1][0][2]
    assert table1.tests(many)["frame_by_frame", "flow_warp_gap"] <= 0.05
    fewer = {f"v{k}": tables["ocean"] for k in range(needed - 1)}  # each cell alone would be significant
    assert fewer["v0"] and not any(", p " in text for row in table1.table1c(fewer)[1] for text in row)


def test_images_of_any_size_are_read_as_squares_and_none_is_an_error(tmp_path):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for k, size in enumerate(((40, 30), (64, 80))):
        Image.new("RGB", size, (k, 2, 3)).save(tmp_path / "photos" / f"{k}.png")
    assert read.read_images(tmp_path / "photos", 32).shape == (2, 32, 32, 3)
    assert read.read_images(None, 32) is None
    with pytest.raises(UserError, match="none: no such folder"):
        read.read_images(tmp_path / "none", 32)
