"""What metrics.json says of a video's films: how many frames, what they share, what their unit is."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from fabricated import COUNT, HELDOUT, SIZE, clip_frames, fabricate, settings

from eval.metrics import ceiling as ceilings
from eval.metrics import dynamics, fidelity, frechet
from eval.metrics.patches import Patches
from eval.metrics.suite import Suite
from eval.publish import nearest, ranking, report_first, table1
from eval.records.video import SCHEMA, evaluate_video, unit_of
from eval.statistics.blocks import window_floor
from eval.statistics.intervals import rounded
from lnm import video
from lnm.errors import UserError


class Means:
    """A network that sees 16 mean colours of a frame."""

    name, sha256, version = "means of blocks", "0" * 64, "none"

    def __init__(self, *args):
        pass

    def __call__(self, frames):
        blocks = frames.reshape(len(frames), 4, SIZE // 4, 4, SIZE // 4, 3).mean((2, 4))
        return blocks.reshape(len(frames), -1).astype(np.float32)


class Windows(Means):
    def __call__(self, clips):
        return clips.mean((2, 3)).reshape(len(clips), -1).astype(np.float32)


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(frechet, "Inception", Means)
    fabricate(tmp_path / "results", "ocean", 0)
    return tmp_path


def evaluated(project, **changes):
    return evaluate_video(settings("ocean", fid=True, **changes), project / "results" / "ocean", project / "out")


def test_a_longer_film_is_cut_to_the_others_frames(project):
    """Review, statistics 5: FID falls with n, so a longer film won by its length alone."""
    film = clip_frames(9, 3 * COUNT)
    baselines = {}
    for name, frames in (("long", film), ("cut", film[:COUNT]), ("short", film[:COUNT - 1])):
        video.write_frames(project / "inputs" / "baselines" / name / "ocean", frames)
        baselines[f"inputs/baselines/{name}/ocean"] = "hash"
    metrics = evaluated(project, baselines=baselines)
    methods = metrics["methods"]
    for metric in ("fid_train", "fid_heldout", "kid_heldout"):
        assert methods["long"][metric] == methods["cut"][metric] and "value" in methods["cut"][metric]
        assert methods["short"][metric] == {"refused": f"{COUNT - 1} frames, the others' are of {COUNT}: distances of "
                                                       "another number of frames do not compare"}
    assert methods["long"] == methods["cut"]  # in all else as well
    assert metrics["backend"]["inception"]["frames_a_film"] == COUNT


def test_films_longer_than_what_was_held_out_have_distances_of_as_many_frames(project):
    for part in ("heldout", "heldout_vae"):
        for frame in sorted((project / "results" / "ocean" / "prepare" / part).iterdir())[4:]:
            frame.unlink()
    methods, reference = (evaluated(project)[key] for key in ("methods", "reference"))
    ours = video.read_frames(project / "results" / "ocean" / "sample" / "ours" / "seed_0")
    train = video.read_frames(project / "results" / "ocean" / "prepare" / "train")
    expected = frechet.fid_from_features(Means()(ours[:4]), Means()(train))
    assert methods["ours"]["fid_train"]["values"][0] == pytest.approx(expected, rel=1e-4)
    assert reference["fid"]["train"]["n"] == 4


def test_fid_and_kid_have_floors_of_consecutive_windows_of_the_same_number(project):
    """Review, statistics 5 and 6."""
    floors = evaluated(project)["reference"]["fid"]
    folder = project / "results" / "ocean" / "prepare"
    pool = Means()(np.concatenate([video.read_frames(folder / part) for part in ("train", "heldout")]))
    for name, count in (("train", 12), ("heldout", HELDOUT)):
        for key, metric in (("real_vs_real", frechet.fid_from_features), ("kid", frechet.kid_from_features)):
            assert floors[name][key]["n"] == COUNT and floors[name][key]["n_reference"] == count
            expected = window_floor(metric, pool, COUNT, count)["value"]
            assert floors[name][key]["value"] == pytest.approx(expected, rel=1e-4)


def test_fvd_has_a_floor_of_windows_that_share_no_frame(project, monkeypatch):
    monkeypatch.setattr(frechet, "I3D", Windows)
    train, real = clip_frames(0, 32)[:18], clip_frames(0, 32)[18:]
    metrics = frechet.VideoMetrics(project, "cpu", real, 12, train)
    floor = metrics.floor()
    features = Windows()(frechet.windows(np.concatenate([train, real])))
    expected = window_floor(frechet.fvd_from_features, features, 3, 5, gap=9)
    assert floor["value"] == pytest.approx(expected["value"]) and floor["windows"] == expected["windows"]
    assert metrics(clip_frames(4, 20))["fvd_heldout"].value == metrics(clip_frames(4, 12))["fvd_heldout"].value
    assert "11 frames, the others' are of 12" in metrics(clip_frames(4, 11))["fvd_heldout"]
    assert "needs 10 frames" in frechet.VideoMetrics(project, "cpu", real[:9], 9).floor()["refused"]


def test_the_ceiling_is_of_the_still_that_the_film_starts_from(project):
    """Review, statistics 9: it was that of the first held-out frame even where a video has its own still."""
    own = clip_frames(7, 1)
    folder = project / "results" / "ocean" / "prepare"
    video.write_frames(project / "still", own)
    (project / "still" / "00000.png").rename(folder / "still.png")
    unknown = evaluated(project)
    assert unknown["reference"]["ceiling_db"] is None and not unknown["reference"]["still_is_first_heldout"]
    assert "still_vae.png is not there" in unknown["methods"]["ours"]["frame0_db_below_ceiling"]["refused"]
    assert "unknown number of dB" in " ".join(table1.notes({"ocean": unknown}))
    blurred = np.uint8(np.clip(own[0] * 0.9, 0, 255))
    video.write_frames(project / "still", blurred[None])
    (project / "still" / "00000.png").rename(folder / "still_vae.png")
    known = evaluated(project)
    ceiling = fidelity.psnr(blurred, own[0])
    assert known["reference"]["ceiling_db"] == pytest.approx(ceiling, rel=1e-5)
    ours = known["methods"]["ours"]
    assert ours["frame0_db_below_ceiling"]["value"] == pytest.approx(ceiling - ours["frame0_db"]["value"], rel=1e-4)
    for name in ("heldout", "heldout_vae", "shuffled"):  # they start from another picture
        assert "do not start from the still" in known["methods"][name]["frame0_db"]["refused"]


def test_the_unit_is_the_fine_tune_where_films_name_theirs_and_what_is_not_covered_is_said(project):
    """Review, statistics 2."""
    alone = evaluated(project)
    assert alone["interval"]["unit"] == "film" and "clusters" not in alone["methods"]["ours"]["flicker"]
    assert alone["interval"]["not_covered"] == "one still, one clip and one fine-tune"
    path = project / "results" / "ocean" / "sample" / "films.json"
    films = json.loads(path.read_text())
    path.write_text(json.dumps(films | {"clusters": {"ours": ["fine-tune 0", "fine-tune 0"]}}))
    named = evaluated(project)
    assert named["methods"]["ours"]["flicker"]["clusters"] == 1 and named["interval"]["unit"] == "fine-tune"
    assert named["differences"]["frame_by_frame"]["flicker"]["pairs"] == 1
    assert "clusters" not in named["methods"]["frame_by_frame"]["flicker"]
    path.write_text(json.dumps(films | {"clusters": {"ours": ["fine-tune 0"]}}))
    with pytest.raises(UserError, match="clusters.ours names 1 films, there are 2"):
        evaluated(project)


@pytest.mark.parametrize("names, unit, shared", [
    ([], "film", "one still, one clip and one fine-tune"),
    (["fine-tune 1", "fine-tune 1"], "fine-tune", "one still, one clip and one fine-tune"),
    (["fine-tune 1", "fine-tune 2"], "fine-tune", "one still and one clip"),
    (["fine-tune 1, still 1", "fine-tune 2, still 2"], "fine-tune and still", "one clip"),
])
def test_what_films_share_follows_from_what_they_were_made_from(names, unit, shared):
    found = unit_of({"clusters": {"ours": names}})
    assert (found["unit"], found["not_covered"]) == (unit, shared) and shared in found["note"]


def test_a_row_s_resolution_is_of_its_films(project):
    """Review, statistics 10: every row had the run's own size."""
    wide = np.repeat(np.repeat(clip_frames(5, COUNT), 2, 1), 3, 2)
    video.write_frames(project / "inputs" / "baselines" / "cogvideo" / "ocean", wide)
    tables = {"ocean": evaluated(project, baselines={"inputs/baselines/cogvideo/ocean": "hash"})}
    header, rows = table1.table1(tables)
    of = {row[0]: row[header.index("Resolution")] for row in rows}
    assert of["cogvideo"] == f"{3 * SIZE}x{2 * SIZE}" and of["LateNtMovies (ours)"] == f"{SIZE}x{SIZE}"


def test_everything_that_compares_with_real_frames_stands_beside_the_autoencoders_too(project, monkeypatch):
    asked, suite = [], Suite.__call__
    monkeypatch.setattr(Suite, "__call__", lambda self, frames, fps, still, name: asked.append((name, fps)) or suite(
        self, frames, fps, still, name))
    metrics = evaluated(project)
    assert {name for name, _ in asked} == set(metrics["methods"])  # not the window of trained frames: nobody reads it
    assert {fps for _, fps in asked} == {8}
    prepared = {name: video.read_frames(project / "results" / "ocean" / "prepare" / name)
                for name in ("heldout", "heldout_vae", "train")}
    ours = video.read_frames(project / "results" / "ocean" / "sample" / "ours" / "seed_0")
    assert metrics["schema"] == SCHEMA
    tracked = {name: [prepared[name][:COUNT]] for name in ("heldout", "heldout_vae")} | {
        "ours": [ours, video.read_frames(project / "results" / "ocean" / "sample" / "ours" / "seed_1")]}
    assert metrics["vectors"] == rounded(dynamics.shares(tracked))  # what a figure draws and nobody tracks again
    assert set(metrics["against_vae"]) == set(metrics["methods"])
    for references, real in ((metrics["methods"], "heldout"), (metrics["against_vae"], "heldout_vae")):
        row, frames = references["ours"], prepared[real]
        assert row["fid_heldout"]["values"][0] == pytest.approx(
            frechet.fid_from_features(Means()(ours), Means()(frames)), rel=1e-4)
        gaps = [dynamics.vector_gap(a, b) for a, b in zip(dynamics.tracks(ours), dynamics.tracks(frames[:COUNT]))]
        found = [row[name]["values"][0] for name in ("velocity_gap", "acceleration_gap")]
        assert found == pytest.approx(gaps, rel=1e-4)
        assert "part of the reference" in references[real]["fid_heldout"]["refused"]
    field = Patches(prepared["train"]).field(ours)
    assert metrics["methods"]["ours"]["nnf_distance"]["values"][0] == pytest.approx(field.distance, rel=1e-4)
    assert "no RIFE weights" in metrics["methods"]["ours"]["flow_warp_rife"]["refused"]
    assert metrics["flow_disagreements"] == {"speed": [], "warp": []}


def test_differences_beside_the_autoencoder_are_of_the_values_beside_it(project):
    """Ours repeats the clip in its first film and the autoencoder's in its second, which is as near as can be."""
    metrics = evaluated(project)
    beside, itself = metrics["differences_vae"]["static"], metrics["differences"]["static"]
    against = metrics["against_vae"]
    assert against["ours"]["motion_ratio"]["values"][1] == 1 != metrics["methods"]["ours"]["motion_ratio"]["values"][1]
    assert beside["motion_ratio"]["values"] == pytest.approx(
        [value - against["static"]["motion_ratio"]["value"] for value in against["ours"]["motion_ratio"]["values"]])
    assert beside["motion_ratio"]["value"] != itself["motion_ratio"]["value"]
    ceiling, still = metrics["methods"]["heldout_vae"]["detail"], metrics["methods_vae"]["static"]["detail"]
    ceiling, still = ceiling["value"], still["value"]
    gain = [abs(still - ceiling) - abs(value - ceiling) for value in metrics["methods"]["ours"]["detail"]["values"]]
    assert beside["detail"]["gain"] == pytest.approx(gain, abs=1e-6) and gain != pytest.approx(itself["detail"]["gain"])
    assert "frame0_db" in beside and "clipsim" not in beside, "of these films there is no CLIP"
    assert "refused" in metrics["differences_vae"]["heldout_vae"]["motion_ratio"]
    assert metrics["differences_vae"]["heldout"]["motion_ratio"]["value"] != 0


def test_controls_stand_beside_the_autoencoder_as_made_of_its_frames(project):
    """Made of the clip's own they would be worse than a film there by the autoencoder alone."""
    metrics = evaluated(project)
    made, raw, against = metrics["methods_vae"], metrics["methods"], metrics["against_vae"]
    assert set(made) == {"flow_extrapolation", "static", "static_noise", "shuffled"}
    ceiling = raw["heldout_vae"]["detail"]["value"]
    assert made["shuffled"]["detail"]["value"] == pytest.approx(ceiling) != raw["shuffled"]["detail"]["value"]
    assert against["static_noise"]["motion_ratio"]["value"] == pytest.approx(1, rel=0.05), "as far as it moves there"
    assert made["static"]["frame0_db"]["value"] == raw["heldout_vae"]["frame0_db"]["value"] < 100
    assert raw["static"]["frame0_db"]["value"] == 100, "and beside the clip itself it is the clip's"
    for metric in ("fid_heldout", "kid_heldout", "image_image", "precision_inception"):
        assert "refused" in against["shuffled"][metric], "those are frames of what they would be compared with"
    assert "value" in against["shuffled"]["flow_speed_ratio"] and "value" in against["static"]["fid_heldout"]
    entries = ceilings.entries("detail", metrics)
    assert entries["shuffled"] == made["shuffled"]["detail"] and entries["ours"] == raw["ours"]["detail"]
    own = metrics["differences_vae"]["shuffled"]["detail"]["value"]
    assert own == pytest.approx(raw["ours"]["detail"]["value"] - ceiling, abs=1e-6)


def test_where_a_still_through_the_autoencoder_is_not_known_what_is_made_of_it_is_refused_there(project):
    video.write_frames(project / "own", clip_frames(5, 1))
    (project / "own" / "00000.png").rename(project / "results" / "ocean" / "prepare" / "still.png")
    metrics = evaluated(project)
    for table in ("methods_vae", "against_vae"):
        assert "prepare it anew" in metrics[table]["static"]["motion_ratio"]["refused"], table
        assert "value" in metrics[table]["shuffled"]["flow_speed" + "_ratio" * (table == "against_vae")], table
    assert "value" in metrics["methods"]["static"]["motion_ratio"]
    one = ranking.rank(metrics, "flow_warp")
    assert "static" not in dict(one["order"]) and one["fools"] == one["by_clip"] == ["static"]


def test_films_with_the_still_s_detail_stand_beside_the_clip_as_they_are_and_beside_the_ceiling_as_decoded(project):
    sample = project / "results" / "ocean" / "sample"
    decoded = video.read_frames(project / "results" / "ocean" / "prepare" / "heldout_vae")[:COUNT]
    before = evaluated(project)
    for k in range(2):
        video.write_frames(sample / "decoded" / "ours" / f"seed_{k}", decoded)
        video.write_frames(sample / "ours" / f"seed_{k}", clip_frames(0, 12 + HELDOUT)[12:12 + COUNT])
    note = json.loads((sample / "films.json").read_text())
    (sample / "films.json").write_text(json.dumps(note | {"decoded": ["ours"]}))
    found = evaluated(project)
    filmed, made, against = (found[table]["ours"] for table in ("methods", "methods_vae", "against_vae"))
    assert filmed["detail_ratio"]["values"] == [1, 1] and filmed["frame0_db"]["value"] == 100
    assert made["detail_kept"]["values"] == [1, 1] and made["frame0_db_below_ceiling"]["value"] == 0
    assert against["motion_ratio"]["values"] == against["detail_ratio"]["values"] == [1, 1]
    assert ceilings.entries("flow_warp", found)["ours"] == made["flow_warp"]
    assert nearest.distances(found)["ours"] == [0, 0], "as decoded it is the clip through the autoencoder"
    summary = json.loads((project / "out" / "summary.json").read_text())
    assert summary["detail_ratio"] == 1 and summary["frame0_db"] == 100 and summary["motion_ratio_vae"] == 1
    assert "ours" not in before["methods_vae"]

    def missing(table):
        cells = SimpleNamespace(of_paper=lambda cell: cell, of_video=lambda *cell: cell)
        return "".join(part if isinstance(part, str) else part["text"]
                       for part in dict(report_first.sentences({"ocean": table}, None, cells))["What is missing?"])

    assert missing(found).startswith("Beside the real clip, our film ") and "has 1.00 times its fine detail" in missing(
        found)
    assert missing(before).startswith("Beside the real clip through the autoencoder, our film ")
    note = " ".join(table1.notes({"ocean": found}))
    assert "stand as they were decoded" in note and "stand as they were decoded" not in " ".join(
        table1.notes({"ocean": before}))
