"""Which film is nearest to the real clip, how sure that is, and the three sentences of the report's first screen."""

import json
import re

import numpy as np
import pytest
from fabricated import clip_frames, fabricate, settings

from eval.films import controls
from eval.publish import report_first
from eval.publish.nearest import distances, nearest, parts, relative, sure, windows
from eval.publish.report_cells import Cells
from eval.records.video import evaluate_video
from lnm import video

REAL = {"motion_energy": 0.02, "flow_speed": 0.9, "flow_warp": 0.01, "detail": 0.0006}


def entry(values):
    return {"value": sum(values) / len(values), "values": values, "n": len(values)}


def table(windows=(), **films):
    """A metrics.json of films that have that multiple of the flow-warp error, flow speed and power of the real clip
    through the autoencoder, and turn by 180 degrees times that multiple's relative difference: so all four parts of the
    distance are that difference."""
    films = {"heldout": [1.0], "heldout_vae": [1.0], **films}

    def decibels(x):
        return abs(10 * np.log10(x))

    beside = {name: {"flow_speed_ratio": entry(x), "spectrum_gap": entry([decibels(one) for one in x]),
                     "flow_direction_gap": entry([180 * relative(one, 1) for one in x])} for name, x in films.items()}
    beside["heldout_vae"] = {name: {"refused": "its own"} for name in beside["heldout"]}
    return {
        "interval": {"unit": "film"},
        "sizes": dict.fromkeys(films, "128x128"), "labels": {name: name for name in films},
        "controls": ["heldout", "heldout_vae", "shuffled"],
        "backend": {"checkpoint": "checkpoints/lnm-mini"}, "against_vae": beside,
        "windows": [{"flow_warp": REAL["flow_warp"] * x, "flow_speed_ratio": x, "spectrum_gap": decibels(x),
                     "flow_direction_gap": 180 * relative(x, 1)} for x in windows],
        "methods": {name: {metric: entry([multiple * real for multiple in multiples])
                           for metric, real in REAL.items()} for name, multiples in films.items()},
    }


def text(parts):
    return "".join(part if isinstance(part, str) else part["text"] for part in parts)


@pytest.fixture
def cells(tmp_path):
    return Cells(tmp_path, tmp_path / "paper")


def test_the_distance_is_0_of_equals_1_of_nothing_and_the_same_both_ways():
    assert relative(3, 3) == 0 == relative(0, 0)
    assert relative(0, 5) == 1 == relative(5, 0)
    assert relative(2, 1) == relative(1, 2) == pytest.approx(1 / 3)


def test_a_factor_of_two_and_a_turn_of_60_degrees_count_alike():
    decibels = 10 * np.log10(2)
    assert parts(0.02, 0.01, 0.5, decibels, 60) == pytest.approx([1 / 3] * 4)
    assert parts(0.0, 0.01, 0.0, 300.0, None) == pytest.approx([1] * 4)  # a still has nothing of it
    assert parts(0.01, 0.01, 1.0, 0.0, 0.0) == [0] * 4


def test_each_film_has_the_mean_of_its_four_parts_beside_the_clip_through_the_autoencoder():
    one = table(ours=[1.0, 3.0])
    one["methods"]["ours"]["flow_warp"]["values"][0] = 0  # alike in three of four
    assert distances(one) == {"heldout": [0], "ours": [pytest.approx(1 / 4), pytest.approx(0.5)]}
    one["methods"]["heldout_vae"]["flow_warp"]["value"] *= 3
    assert distances(one)["ours"][1] == pytest.approx(3 / 8), "not the clip's own error"
    one["against_vae"]["ours"]["spectrum_gap"] = {"refused": "too short"}
    assert "ours" not in distances(one)


def test_a_film_that_does_not_move_has_no_direction_and_is_as_far_as_can_be():
    one = table(static=[1.0])
    one["methods"]["static"]["flow_warp"] = entry([0.0])
    one["against_vae"]["static"] |= {"flow_speed_ratio": entry([0.0]), "spectrum_gap": entry([200.0]),
                                     "flow_direction_gap": {"refused": "a film that does not move has no direction"}}
    assert distances(one)["static"] == [pytest.approx(1)]
    one["against_vae"]["static"]["flow_speed_ratio"] = entry([0.1])
    assert "static" not in distances(one), "refused for another reason"


def test_other_windows_of_the_clip_stand_beside_the_films_and_have_no_place(cells):
    one = table(windows=[1.0, 3.0], ours=[3.0], static=[9.0])
    assert distances(one)["windows"] == [0, pytest.approx(0.5)]
    assert nearest({"a": one}).order == ["ours", "static"]
    said = report_first.sentences({"a": one}, None, cells)[1][1]
    assert "other parts of the real clip are 0.25 from it" in text(said)
    one["windows"][0].pop("flow_direction_gap")
    assert distances(one)["windows"] == [pytest.approx(0.5)]
    one.pop("windows")
    assert "windows" not in distances(one)


def test_each_other_window_stands_beside_each_held_out_one_and_its_own_flow_warp_error(cells):
    one = table(windows=[1.0, 1.0, 2.0, 2.0], ours=[3.0], static=[9.0])
    for window, still in zip(one["windows"], (2, 5, 2, 5)):
        window["beside"] = still
    one["methods"]["heldout"]["flow_warp"] = entry([REAL["flow_warp"], 3 * REAL["flow_warp"]])
    found = windows(one)
    assert list(found) == [(1, 2), (1, 5), (2, 2), (2, 5)], "the stills by their numbers"
    third, fifth = 1 / 3, 1 / 5
    assert list(found.values()) == pytest.approx([0, 0.5 / 4, third, (3 * third + fifth) / 4])
    one["windows"][1].pop("spectrum_gap")
    assert list(windows(one)) == [(1, 2), (2, 2), (2, 5)]
    row = report_first.chart({"a": one}, cells)["rows"][0]
    assert row["name"] == "windows" and float(row["value"]) == round(np.mean(distances(one)["windows"]), 2)
    assert [dot["say"].split(":")[0] for dot in row["dots"]] == [
        f"a, window {k} beside that of still {still}" for k, still in ((1, 2), (2, 2), (2, 5))]
    plain = report_first.chart({"a": table(windows=[1.0, 2.0], ours=[3.0], static=[9.0])}, cells)["rows"][0]
    assert [dot["say"].split(":")[0] for dot in plain["dots"]] == ["a, window 1", "a, window 2"]


def test_a_still_noise_and_shuffled_frames_are_farther_than_other_windows_of_the_clip(tmp_path, monkeypatch):
    """A still under noise that moves as many pixels as the clip was nearer to it than films, by amounts of motion."""
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    monkeypatch.chdir(tmp_path)
    fabricate(tmp_path / "results", "ocean", 0)
    folder = tmp_path / "results" / "ocean"
    jumps = np.concatenate([clip_frames(seed, 3) for seed in range(3)])  # other pictures, the same slide
    video.write_frames(folder / "sample" / "ours" / "seed_0", controls.shuffled(jumps, 0)[:6])
    metrics = evaluate_video(settings("ocean"), folder, tmp_path / "out")
    assert [(window["part"], window["beside"]) for window in metrics["windows"]] == [
        ("train", 1), ("train", 1)]  # of 9 held out 6 are compared
    far = {name: np.mean(values) for name, values in distances(metrics).items()}
    assert far["windows"] < 0.15 and max(distances(metrics)["windows"]) < min(
        far[name] for name in ("static", "static_noise", "shuffled"))
    assert far["static"] > 0.9
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["windows"] == metrics["windows"]


def test_the_order_is_over_the_videos_that_all_have_and_the_clip_stands_apart():
    videos = {"a": table(ours=[1.5], static=[3.0], other=[1.0]), "b": table(ours=[1.2, 1.2], static=[1.1])}
    found = nearest(videos)
    assert found.order == ["ours", "static"] and "heldout" in found.distance and "other" not in found.distance
    assert (found.wins, found.videos, found.p) == (1, 2, None)
    assert "nearer than the second in 1 of 2 videos: too few" in sure(found)
    assert nearest({"a": table(ours=[1.5])}) is None


def test_few_videos_prove_nothing_and_many_do_after_holm():
    def videos(count, wins=None):
        return {str(k): table(ours=[1.1 if k < (wins or count) else 9.0], x=[2.0], y=[3.0]) for k in range(count)}

    assert nearest(videos(6)).p is None  # two tests of 6 pairs: at best 2 x 2 / 2^6 > 5%
    found = nearest(videos(7))
    assert found.p == pytest.approx(2 * 2 / 2 ** 7) and "told from chance (sign test" in sure(found)
    divided = nearest(videos(9, wins=8))
    assert divided.wins == 8 and divided.p > 0.05 and "not told from chance" in sure(divided)


def test_the_first_screen_says_what_the_numbers_say(cells):
    videos = {"a": table(ours=[2.0, 2.0], static=[4.0])}
    counts = {"implemented as described": 20, "result reproduced": 0, "differs": 1, "not comparable here": 3}
    said = dict(report_first.sentences(videos, {"counts": counts}, cells))
    assert text(said["Reproduced?"]) == (
        "This run is of lnm-mini at 128x128 pixels: no result of the paper's experiments is reproduced; of the paper's "
        "24 claims, 20 are implemented as described, 1 differs and 3 are not comparable here.")
    assert text(said["Nearest to the real clip?"]).startswith(
        "Ours (0.33 from it), which is nearer than still, repeated (0.60) in 1 of 1 video.")
    assert text(said["What is missing?"]).count("2.00") == len(report_first.AMOUNTS)

    behind = dict(report_first.sentences({"a": table(ours=[5.0], static=[1.1], x=[1.2])}, None, cells))
    assert "ours (0.67) is number 3 of 3" in text(behind["Nearest to the real clip?"])
    assert "were not computed" in text(behind["Reproduced?"])


def test_a_kind_of_verdict_that_nobody_foresaw_is_counted_by_its_own_name():
    assert report_first.kinds({"half true": 2, "differs": 3, "result reproduced": 1, "unheard of": 0}) == [
        "2 are half true", "3 differ", "1 is reproduced in its result"]


def test_the_chart_has_a_dot_a_film_within_its_axis(cells):
    chart = report_first.chart({"a": table(ours=[1.1, 3.0], static=[9.0]), "b": table(ours=[1.2], static=[2.0])}, cells)
    assert [(row["name"], row["kind"], len(row["dots"])) for row in chart["rows"]] == [
        ("heldout", "ceiling", 2), ("ours", "ours", 3), ("static", "other", 2)]
    assert all(0 <= float(dot["at"]) <= 100 for row in chart["rows"] for dot in row["dots"])
    assert float(chart["rows"][2]["dots"][0]["at"]) == pytest.approx(100 * 0.8 / 0.9, abs=0.01)
    assert re.search("a, film 2: 0.500", chart["rows"][1]["dots"][1]["say"])
    assert [tick["text"] for tick in chart["ticks"]] == ["0", "0.45", "0.9"]


def test_the_counts_and_the_p_of_how_sure_it_is_are_linked(tmp_path):
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "6_paper.ipynb").write_text("{}")
    cells = Cells(tmp_path, tmp_path / "paper")
    chart = report_first.chart({str(k): table(ours=[1.1], x=[2.0], y=[3.0]) for k in range(7)}, cells)
    said = text(chart["sure"])
    assert said.startswith("The first is nearer") and said[1:] == chart["answer"][1:]
    assert [part["text"] for part in chart["sure"] if not isinstance(part, str)] == ["7", "7", "0.031"]
    assert all(part["href"] == "#cell-paper-6_paper-report" for part in chart["sure"] if not isinstance(part, str))


def test_what_is_missing_links_each_number_to_the_cell_that_made_it(tmp_path):
    """Ratios are the report's own; FID of one video is its evaluation's, and a mean over videos the report's again."""
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "6_paper.ipynb").write_text("{}")
    tables = {"a": table(ours=[2.0], static=[4.0]), "b": table(ours=[2.0], static=[4.0])}
    for name, one in tables.items():
        (tmp_path / name / "notebooks").mkdir(parents=True)
        (tmp_path / name / "notebooks" / "4_evaluate.ipynb").write_text("{}")
        for method in ("ours", "heldout_vae", "static"):
            one["methods"][method]["fid_heldout"] = entry([7.0])

    def links(videos):
        said = dict(report_first.sentences(videos, None, Cells(tmp_path, tmp_path / "paper")))["What is missing?"]
        numbers = [part for part in said if not isinstance(part, str)]
        return [{part["href"] for part in numbers if (part["text"] == "7") == fid} for fid in (False, True)]

    report = {"#cell-paper-6_paper-report"}
    assert links({"a": tables["a"]}) == [report, {"#cell-a-notebooks-4_evaluate-run"}]
    assert links(tables) == [report, report]
