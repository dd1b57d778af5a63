"""Several stills of one video, from the prepare stage to metrics.json: each film knows which one it began from."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import SIZE, tiny_finetune, write_tiny_checkpoint

from eval.metrics import fidelity
from eval.publish import ranking, table1
from eval.records.video import evaluate_video
from lnm import video
from lnm.errors import UserError
from lnm.files import still_files
from lnm.latents import load_latents
from lnm.settings import Sample
from lnm.stages import sample
from lnm.stages.finetune import finetune
from lnm.stages.prepare import prepare
from lnm.stages.rivals import film_rivals
from lnm.stages.sample import made_from, origins, sample_films


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A folder of 24 images, each another, and two pictures of its own."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("clip")
    picture = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    video.write_frames(folder / "frames", np.stack([np.roll(picture, i, axis=1) for i in range(24)]))
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


def prepared(tiny, clip, out, **changes):
    return prepare(clip / "frames", out, **{"fps": 8, "prompts": ["waves"], "checkpoint": str(tiny), "size": SIZE,
                                            "device": "cpu", "name": "sea"} | changes)


@pytest.fixture(scope="module")
def run(tiny, clip, tmp_path_factory):
    """A video of two stills, the held-out frame and a photo, two fine-tunes and 4 films, scored; its root."""
    root = tmp_path_factory.mktemp("run")
    results = root / "results" / "sea"
    prepared(tiny, clip, results / "prepare", still=[None, clip / "a.png"])
    tuned = tiny_finetune(tiny, seeds=2, learning_rate=3e-3)
    finetune(results / "prepare", results / "finetune", root / "store", **tuned)
    chosen = Sample(num_frames=4, num_inference_steps=2, seeds=4)
    common = {"checkpoint": str(tiny), "device": "cpu"}
    sample_films(results / "prepare", results / "finetune" / "temporal.safetensors", results / "sample",
                 settings=chosen, **common)
    film_rivals(results / "prepare", results / "rivals", root / "store", methods=["tune_a_video"],
                settings=tuned["settings"].model_copy(update={"seeds": 1}),
                sample=chosen.model_copy(update={"seeds": 3}), **common)
    with pytest.MonkeyPatch.context() as patch:
        (root / "params.yaml").write_text("")
        patch.chdir(root)
        evaluate_video({"video": "sea", "seed": 0, "clip": None, "fid": False, "device": "cpu"}, results,
                       results / "evaluate")
    return results


@pytest.mark.parametrize("fine_tunes, stills", [(1, 1), (2, 1), (2, 2), (1, 3), (2, 3), (4, 2), (6, 4)])
def test_each_pair_of_fine_tune_and_still_has_a_film_before_any_has_two(fine_tunes, stills):
    pairs = [made_from(k, fine_tunes, stills) for k in range(2 * fine_tunes * stills)]
    assert len(set(pairs[:fine_tunes * stills])) == fine_tunes * stills
    assert pairs[fine_tunes * stills:] == pairs[:fine_tunes * stills]
    assert [still for _, still in pairs] == [k % stills for k in range(len(pairs))], "of every method the same"
    few = pairs[:max(fine_tunes, stills)]  # none waits until the other has been through all
    assert {tune for tune, _ in few} == set(range(fine_tunes)) and {still for _, still in few} == set(range(stills))


def test_of_one_still_the_records_say_what_they_said_before_there_were_several():
    methods = {"ours": 2, "identity": 1, "frame_by_frame": 1}
    assert origins(methods, dict.fromkeys(methods, 3), 1) == {
        "clusters": {"ours": ["fine-tune 1", "fine-tune 2", "fine-tune 1"], "identity": ["fine-tune 1"] * 3}}


def test_an_arm_with_fewer_films_has_those_that_start_as_the_first_of_ours():
    found = origins({"ours": 2, "identity": 1}, {"ours": 4, "identity": 2}, 2)
    assert found["stills"] == [1, 2, 1, 2] and found["clusters"]["identity"] == ["fine-tune 1, still 1",
                                                                                "fine-tune 1, still 2"]
    assert len(found["clusters"]["ours"]) == 4


def test_each_still_is_encoded_as_if_it_were_alone(tiny, clip, tmp_path):
    facts = prepared(tiny, clip, tmp_path / "all", still=[clip / "a.png", None, clip / "b.png"])
    assert facts["stills"] == ["a.png", "held out, frame 0", "b.png"]
    files, cached = still_files(tmp_path / "all"), load_latents(tmp_path / "all")
    assert [still.name for still, _ in files] == ["still.png", "still_2.png", "still_3.png"]
    for k, still in enumerate((clip / "a.png", None, clip / "b.png")):
        alone = tmp_path / f"{k}"
        assert "stills" not in prepared(tiny, clip, alone, still=still)
        assert files[k][0].read_bytes() == (alone / "still.png").read_bytes()
        assert files[k][1].is_file() == (alone / "still_vae.png").is_file() == (still is not None)
        if still:
            assert files[k][1].read_bytes() == (alone / "still_vae.png").read_bytes()
        assert torch.equal(cached["still"][k:k + 1], load_latents(alone)["still"])
    names = [found["name"] for found in json.loads((tmp_path / "all" / "preflight.json").read_text())["findings"]]
    assert names[-3:] == ["still", "still 2", "still 3"]
    prepared(tiny, clip, tmp_path / "all")  # once more, with one
    assert sorted(path.name for path in (tmp_path / "all").glob("still*")) == ["still.png"]


def test_held_out_frames_far_apart_serve_as_stills(tiny, clip, tmp_path):
    facts = prepared(tiny, clip, tmp_path, stills=2)
    held = video.read_frames(tmp_path / "heldout")
    assert len(held) == 6 and facts["stills"] == ["held out, frame 0", "held out, frame 3"]
    assert [np.array_equal(video.read_image(path), held[at]) for (path, _), at in zip(still_files(tmp_path), (0, 3))]
    assert [vae.name for _, vae in still_files(tmp_path) if vae.is_file()] == ["still_2_vae.png"]
    with pytest.raises(UserError, match="videos.sea: prepare.stills: 7, but 6 frames are held out; give a smaller"):
        prepared(tiny, clip, tmp_path, stills=7)


@pytest.mark.parametrize("still, words", [([], "videos.sea.still: an empty list"), (["none.png"], "none.png: no such")])
def test_stills_that_are_none_are_one_line(tiny, clip, tmp_path, still, words):
    with pytest.raises(UserError, match=words):
        prepared(tiny, clip, tmp_path / "out", still=still)
    assert not (tmp_path / "out").exists()


def test_four_films_of_two_fine_tunes_and_two_stills_have_a_pair_each(run):
    note = json.loads((run / "sample" / "films.json").read_text())
    assert note["stills"] == [1, 2, 1, 2]
    assert note["clusters"] == {
        "ours": ["fine-tune 1, still 1", "fine-tune 2, still 2", "fine-tune 2, still 1", "fine-tune 1, still 2"],
        "frame_by_frame": ["still 1", "still 2", "still 1", "still 2"]}
    others = json.loads((run / "rivals" / "rivals.json").read_text())
    assert others["stills"] == [1, 2, 1]
    assert others["clusters"]["tune_a_video_style"][1] == "fine-tune 1, still 2"


def test_a_film_is_that_of_its_fine_tune_and_its_still_alone(run, tiny, tmp_path):
    chosen = Sample(num_frames=4, num_inference_steps=2, seeds=4)
    for k, tune in enumerate((0, 1, 1, 0)):
        alone = tmp_path / str(k)
        (alone / "prepare").mkdir(parents=True)
        cached = load_latents(run / "prepare")
        from safetensors.torch import save_file

        save_file(cached | {"still": cached["still"][k % 2:k % 2 + 1].clone()},
                  alone / "prepare" / "latents.safetensors")
        for name in ("clip.json", "prompts.json"):
            (alone / "prepare" / name).write_bytes((run / "prepare" / name).read_bytes())
        temporal = alone / "temporal.safetensors"
        source = run / "finetune" / ("seeds/1" if tune else "") / "temporal.safetensors"
        temporal.write_bytes(source.read_bytes())
        sample_films(alone / "prepare", temporal, alone / "films", settings=chosen, checkpoint=str(tiny), device="cpu",
                     methods=("ours",))
        film = video.read_frames(run / "sample" / "ours" / f"seed_{k}")
        assert np.array_equal(film, video.read_frames(alone / "films" / "ours" / f"seed_{k}"))


def test_a_film_begun_from_flow_carries_its_own_still(run, monkeypatch):
    monkeypatch.setattr(sample, "carried_frames", lambda still, clip, count, place: (still, clip, place))
    stills = [video.read_image(path) for path, _ in still_files(run / "prepare")]
    for k in range(4):
        still, clip, place = sample.pictures_of(run / "prepare", Sample(begin="flow"), k)
        assert np.array_equal(still, stills[k % 2]) and place == k // 2 and len(clip) == 18


def test_a_first_frame_is_held_against_its_own_still_and_that_still_s_ceiling(run):
    found = json.loads((run / "evaluate" / "metrics.json").read_text())
    stills = [video.read_image(path) for path, _ in still_files(run / "prepare")]
    through = [video.read_frames(run / "prepare" / "heldout_vae")[0], video.read_image(run / "prepare" /
                                                                                     "still_2_vae.png")]
    ceilings = [fidelity.psnr(vae, still) for vae, still in zip(through, stills)]
    assert found["reference"]["stills"]["ceiling_db"] == pytest.approx(ceilings, rel=1e-5)
    for method, folder in (("ours", "sample"), ("frame_by_frame", "sample"), ("tune_a_video_style", "rivals")):
        first = [video.read_frames(run / folder / method / f"seed_{k}")[0]
                 for k in range(found["methods"][method]["frame0_db"]["n"])]
        expected = [fidelity.psnr(frame, stills[k % 2]) for k, frame in enumerate(first)]
        assert found["methods"][method]["frame0_db"]["values"] == pytest.approx(expected, rel=1e-5)
        assert found["methods"][method]["frame0_db_below_ceiling"]["values"] == pytest.approx(
            [ceilings[k % 2] - db for k, db in enumerate(expected)], abs=1e-3)
    assert found["methods"]["heldout"]["frame0_db"]["values"] == [100.0], "the real clip begins from still 1"


def test_a_control_is_made_of_each_still_and_paired_with_the_films_of_it(run):
    found = json.loads((run / "evaluate" / "metrics.json").read_text())
    for name in ("static", "static_noise", "flow_extrapolation"):
        entry = found["methods"][name]["detail"]
        assert (entry["n"], entry["clusters"], entry["counted"]) == (2, 2, "still"), name
        ours, paired = found["methods"]["ours"]["detail"]["values"], found["differences"][name]["detail"]["values"]
        assert paired == pytest.approx([own - entry["values"][k % 2] for k, own in enumerate(ours)], abs=1e-6)
    assert len({round(db, 3) for db in found["methods"]["static"]["frame0_db"]["values"]}) == 1, "each is its own still"
    for name in ("heldout", "shuffled"):
        assert "clusters" not in found["methods"][name]["detail"]


def test_beside_the_autoencoder_a_control_is_made_of_each_still_through_it(run):
    found = json.loads((run / "evaluate" / "metrics.json").read_text())
    began = json.loads((run / "sample" / "films.json").read_text())["stills"]
    ceilings = found["reference"]["stills"]["ceiling_db"]
    assert found["methods_vae"]["static"]["frame0_db"]["values"] == pytest.approx(ceilings, rel=1e-4)
    gaps = [value - ceilings[still - 1]
            for still, value in zip(began, found["methods"]["ours"]["frame0_db"]["values"], strict=True)]
    assert found["differences_vae"]["static"]["frame0_db"]["values"] == pytest.approx(gaps, abs=1e-3)
    assert len(found["against_vae"]["flow_extrapolation"]["motion_ratio"]["values"]) == 2
    said = ranking.paragraph(found)
    assert "each of our 4 films" in said or "None of" in said
    assert "The films share one clip." in said
    header, rows = table1.table1c({"sea": found})
    assert {row[0]: row[1] for row in rows}["static repeat"] == (
        "4 pairs of films, one a pair of fine-tune and still")


def test_what_the_numbers_are_counted_over_is_said(run):
    found = json.loads((run / "evaluate" / "metrics.json").read_text())
    assert found["interval"]["unit"] == "fine-tune and still" and found["interval"]["not_covered"] == "one clip"
    assert "share fine-tunes and stills" in found["interval"]["crossed"]
    said = " ".join(table1.notes({"sea": found}))
    assert "Of each video ours are 4 films, one a pair of fine-tune and still. All" in said and "still by still" in said
    rows = {row[0]: row[1] for row in table1.table1b({"sea": found})[1]}
    assert rows["static repeat"] == "2 films, 2 stills"
    assert rows["checkpoint, frame by frame"] == "4 films, 2 stills"
    entry = found["differences"]["frame_by_frame"]["flow_warp"]
    assert entry["pairs"] == 2 and entry["clusters"] == 4 and entry["p"] >= 0.5, "2 fine-tunes and 2 stills"
