"""Which film is nearest to the real clip, how sure that is, and the three sentences of the report's first screen."""

import re

import pytest

from eval.publish import report_first
from eval.publish.nearest import AMOUNTS, distances, nearest, relative, sure
from eval.publish.report_cells import Cells

REAL = {"motion_energy": 0.02, "flow_speed": 0.9, "flow_warp": 0.01, "detail": 0.0006}


def table(**films):
    """A metrics.json in which each film has every amount as that multiple of the real clip's."""
    films = {"heldout": [1.0], "heldout_vae": [0.8], "shuffled": [1.0], **films}
    return {
        "sizes": dict.fromkeys(films, "128x128"), "labels": {name: name for name in films},
        "controls": ["heldout", "heldout_vae", "shuffled"],
        "backend": {"checkpoint": "checkpoints/lnm-mini"},
        "methods": {name: {metric: {"value": sum(multiples) / len(multiples) * real,
                                    "values": [multiple * real for multiple in multiples], "n": len(multiples)}
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


def test_each_film_has_the_mean_of_its_four_amounts_and_the_clip_itself_is_no_film():
    one = table(ours=[1.0, 3.0])
    one["methods"]["ours"]["detail"]["values"][0] = 0  # alike in three of four
    assert distances(one) == {"heldout_vae": [pytest.approx(1 / 9)], "ours": [pytest.approx(1 / 4), pytest.approx(0.5)]}
    del one["methods"]["ours"]["flow_speed"]["values"]  # refused
    assert "ours" not in distances(one)
    del one["methods"]["heldout"]["flow_warp"]
    assert distances(one) == {}


def test_the_order_is_over_the_videos_that_all_have_and_the_ceiling_stands_apart():
    videos = {"a": table(ours=[1.5], static=[3.0], other=[1.0]), "b": table(ours=[1.2, 1.2], static=[1.1])}
    found = nearest(videos)
    assert found.order == ["ours", "static"] and "heldout_vae" in found.distance and "other" not in found.distance
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
        "Ours (0.33 from it), which is nearer than still, repeated (0.60) in 1 of 1 video; what the autoencoder alone "
        "does to the real clip is 0.11.")
    assert text(said["What is missing?"]).count("2.50") == len(AMOUNTS)  # twice the real clip's, which lost a fifth

    behind = dict(report_first.sentences({"a": table(ours=[5.0], static=[1.1], x=[1.2])}, None, cells))
    assert "ours (0.67) is number 3 of 3" in text(behind["Nearest to the real clip?"])
    assert "were not computed" in text(behind["Reproduced?"])


def test_a_kind_of_verdict_that_nobody_foresaw_is_counted_by_its_own_name():
    assert report_first.kinds({"half true": 2, "differs": 3, "result reproduced": 1, "unheard of": 0}) == [
        "2 are half true", "3 differ", "1 is reproduced in its result"]


def test_the_chart_has_a_dot_a_film_within_its_axis(cells):
    chart = report_first.chart({"a": table(ours=[1.1, 3.0], static=[9.0]), "b": table(ours=[1.2], static=[2.0])}, cells)
    assert [(row["name"], row["kind"], len(row["dots"])) for row in chart["rows"]] == [
        ("heldout_vae", "ceiling", 2), ("ours", "ours", 3), ("static", "other", 2)]
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
