"""The films ranked against the controls: what is said, of which films, and what a test adds."""

import json

from conftest import REPOSITORY

from eval import registry
from eval.metrics import ceiling
from eval.publish import ranking
from eval.records.markdown import escaped
from eval.records.video import LABELS
from eval.statistics import paired
from eval.statistics.small import summarise


def constructed(films=2, **changes):
    """A metrics.json in which every control but one is worse than real, ours among them, all `films` of which are
    alike but for the fourth digit. changes: values, or a list of one a film, by `metric__method`."""
    values = {"motion_ratio": {"heldout": 1, "ours": 0.8, "static": 0, "static_noise": 0.1, "shuffled": 3},
              "flow_warp": {"heldout": 0.02, "ours": 0.03, "static": 0, "static_noise": 0.05, "shuffled": 0.06},
              "clipsim": {"heldout": 0.3, "ours": 0.29, "static": 0.2, "static_noise": 0.1, "shuffled": 0.3}}
    for key, value in changes.items():
        metric, method = key.split("__")
        values[metric][method] = value
    for row in values.values():
        if not isinstance(row["ours"], list):
            row["ours"] = [row["ours"] * (1 + 1e-4 * k) for k in range(films)]
    names = ("heldout", "ours", "static", "static_noise", "shuffled")
    methods = {name: {metric: {"refused": "not here"} for metric in registry.UNITS} | {
        metric: summarise(row[name] if name == "ours" else [row[name]], "") for metric, row in values.items()}
        for name in names}
    return {
        "labels": {name: LABELS[name] for name in names},
        "controls": [name for name in names if name != "ours"],
        "methods": methods,
        "differences": paired.differences(methods, {"motion_ratio": 0.9, "flow_warp": 0.02, "clipsim": 0.3}),
        "reference": {"train_window": {"motion_ratio": 0.9}},
        "interval": {"not_covered": "one still", "unit": "film"},
    }


def test_the_paragraph_on_ranks_follows_the_numbers():
    said = ranking.paragraph(constructed())
    assert "Of 3 metrics, 1 put the real frames above every control: “motion, x real”." in said
    assert "each of our 2 films is nearer to good than every control by “motion, x real”." in said
    assert "1 metric can be won by what is no film (“flow-warp error”)" in said
    assert "1 metric cannot tell the real clip from some control (“CLIPSIM”)" in said
    assert "above the real frames themselves" not in said and said.endswith("The films share one still.")

    worse = ranking.paragraph(constructed(motion_ratio__ours=0.05))  # under noise, above a still
    assert "than some by “motion, x real”" in worse
    worst = ranking.paragraph(constructed(motion_ratio__ours=9))
    assert "than none by “motion, x real”" in worst
    honest = ranking.paragraph(constructed(flow_warp__static=0.04, clipsim__shuffled=0.25))
    assert "3 put the real frames above every control" in honest and "can be won" not in honest
    assert "than every control by “motion, x real”, “flow-warp error” and “CLIPSIM”" in honest
    mixed = ranking.paragraph(constructed(flow_warp__static=0.025))
    assert "than every control by “motion, x real”, than some by “flow-warp error”" in mixed
    assert "Ours ranks above the real frames themselves by “CLIPSIM”" in (
        ranking.paragraph(constructed(clipsim__ours=0.4)))
    nothing = ranking.paragraph(constructed(motion_ratio__static_noise=1))
    assert "None of 3 metrics puts the real frames above every control" in nothing


def test_from_2_films_nothing_is_said_of_others():
    """Review, statistics 3: an interval over 2 films misses 0 half of the time under the null."""
    said = ranking.paragraph(constructed(films=2))
    assert "above all controls" not in said and "A test" not in said
    assert "9 comparisons by sign flips, corrected by Holm, need 9 films to say more, and here are 2" in said
    assert ranking.ranks(constructed(films=2))["motion_ratio"]["sure"] == []
    many = constructed(films=9)
    assert "A test (sign flips, Holm over 9 comparisons, 5%) says that of every control by “motion, x real”." in (
        ranking.paragraph(many))
    assert ranking.ranks(many)["motion_ratio"]["sure"] == ["static", "static_noise", "shuffled"]
    one = ranking.ranks(many)["motion_ratio"]
    assert ranking.of_film(many, one).endswith("(tested: static repeat, static + noise and real, shuffled)")


def test_what_is_ordered_is_what_is_tested():
    """Review, statistics 3: motion 1.2 against a control's 0.8 "lost" and 1.19 was "beaten", by raw differences of 0.4
    that are not what is ordered."""
    for ours in (1.19, 1.2):
        one = ranking.rank(constructed(motion_ratio__ours=[ours] * 3, motion_ratio__static=0.8), "motion_ratio")
        assert ("static" in one["beaten"]) == (ours < 1.2) and "static" not in one["lost"]
    both = constructed(films=10, motion_ratio__ours=[1.19, 1.21] * 5, motion_ratio__static=0.8)
    assert both["differences"]["static"]["motion_ratio"]["least"] > 0.3  # every raw difference is far above 0
    assert "static" in ranking.rank(both, "motion_ratio")["level"]
    assert both["differences"]["static"]["motion_ratio"]["p"] == 1
    assert [round(gain, 6) for gain in both["differences"]["static"]["motion_ratio"]["gain"][:2]] == [0.01, -0.01]


def test_the_order_is_best_first_by_each_metrics_own_reading():
    table = constructed()
    one = ranking.rank(table, "motion_ratio")
    assert [name for name, _ in one["order"]] == [ranking.ALIKE, "ours", "static_noise", "static", "shuffled"]
    assert ranking.order(table, "clipsim", ranking.rank(table, "clipsim")) == (
        "real, held out 0.3 = real, shuffled 0.3 > LateNtMovies (ours) 0.29 > static repeat 0.2 > static + noise 0.1")
    assert ranking.rank(table, "flow_warp")["order"][0] == ("static", 0)
    assert ranking.of_metric(table, ranking.rank(table, "flow_warp")) == "can be won by static repeat"


def test_the_mismatched_prompt_counts_as_a_control_and_refusals_are_left_out():
    table = constructed(clipsim__shuffled=0.25)
    table["flags"] = [{"metric": "clipsim", "control": registry.MISMATCHED, "value": 0.4, "real": 0.3, "good": "high"}]
    table["methods"]["ours"]["flow_warp"] = {"refused": "too short"}
    assert list(ranking.ranks(table)) == ["motion_ratio", "clipsim"]
    assert ranking.ranks(table)["clipsim"]["fools"] == [registry.MISMATCHED]
    del table["methods"]["ours"]["clipsim"], table["methods"]["ours"]["motion_ratio"]
    assert "nothing can be ranked" in ranking.paragraph(table)


def through(table, ours=0.8, real=1.25, **others):
    """`table` with motion beside the clip through the autoencoder, beside which the clip itself moves `real` times as
    far and ours `ours`, the autoencoder's own detail and the differences that follow."""
    films = len(table["methods"]["ours"]["clipsim"]["values"])
    values = {"heldout": real, "static": 0, "static_noise": 0.125, "shuffled": 3.75} | others
    own = {"ours": [ours * (1 + 1e-4 * k) for k in range(films)]} | {name: [one] for name, one in values.items()}
    table["against_vae"] = {name: {"motion_ratio": summarise(one, "")} for name, one in own.items()}
    for name, value in {"heldout": 0.03, "heldout_vae": 0.01, "ours": 0.012, "static": 0.025, "static_noise": 0.04,
                        "shuffled": 0.03}.items():
        row = table["methods"].setdefault(name, {metric: {"refused": "not here"} for metric in registry.UNITS})
        row["detail"] = summarise([value] * (films if name == "ours" else 1), "")
        table["against_vae"].setdefault(name, {"motion_ratio": {"refused": "itself"}})
    table["labels"]["heldout_vae"] = LABELS["heldout_vae"]
    table["controls"].append("heldout_vae")
    table["differences_vae"] = ceiling.differences_vae(table)
    return table


def test_films_stand_beside_the_clip_through_the_autoencoder_and_the_clip_itself_is_in_the_order():
    table = through(constructed())
    one = ranking.rank(table, "motion_ratio")
    assert one["beside_vae"] and [name for name, _ in one["order"]] == [
        ranking.ALIKE, "ours", "heldout", "static_noise", "static", "shuffled"]
    assert dict(one["order"])["heldout"] == 1.25
    detail = ranking.rank(table, "detail")  # good when as the real clip's, which is what the autoencoder leaves of it
    assert detail["order"][0] == ("heldout_vae", 0.01) and detail["order"][1][0] == "ours"
    assert set(detail["beaten"]) == {"static", "static_noise", "shuffled"}
    raw = constructed()
    raw["methods"] = table["methods"]
    assert ranking.rank(raw | {"methods": {name: row for name, row in table["methods"].items()
                                           if name != "heldout_vae"}}, "detail")["order"][0][0] == "heldout"


def test_what_is_ordered_beside_the_autoencoder_is_tested_there():
    """Ours moves 0.9 times as far as the clip and 1.3 times as far as the autoencoder lets it; frames that move 0.7
    and 1.1 times as far are nearer to that, and farther from the clip itself."""
    table = through(constructed(motion_ratio__ours=0.9, motion_ratio__shuffled=0.7), ours=1.3, shuffled=1.1)
    one = ranking.rank(table, "motion_ratio")
    assert "shuffled" in one["lost"]
    assert "shuffled" in ranking.rank(constructed(motion_ratio__ours=0.9, motion_ratio__shuffled=0.7),
                                      "motion_ratio")["beaten"]
    mixed = constructed(films=10, motion_ratio__ours=[1.19, 1.21] * 5, motion_ratio__static=0.8)
    assert ranking.corrected(mixed)["motion_ratio", "static"] == 1
    assert ranking.corrected(through(mixed, ours=0.9, static=0.8))["motion_ratio", "static"] < 0.05


def test_noise_that_is_made_to_move_as_the_clip_fools_motion_beside_either():
    table = through(constructed(motion_ratio__static_noise=1), static_noise=1.25)
    one = ranking.rank(table, "motion_ratio")
    assert one["fools"] == one["by_clip"] == ["static_noise"]
    assert ranking.of_metric(table, one) == "beside the clip itself can be won by static + noise"
    both = ranking.rank(through(constructed(), static_noise=1), "motion_ratio")
    assert both["fools"] == ["static_noise"] and both["by_clip"] == []


def test_beside_what_is_said_and_where_the_autoencoder_is_not_recorded_it_is_the_clip():
    assert ranking.paragraph(constructed()).startswith("Ranked beside the clip itself: these numbers have nothing")
    table = through(constructed())
    assert ranking.paragraph(table).startswith(
        "Ranked beside the real clip through the autoencoder, by “flow-warp error” and “CLIPSIM” beside the clip ")
    assert ranking.rank(table, "clipsim") == ranking.rank(constructed(), "clipsim")
    for name in table["methods"]:
        for metric in ("flow_warp", "clipsim"):
            table["methods"][name][metric] = {"refused": "not here"}
    assert ranking.paragraph(table).startswith("Ranked beside the real clip through the autoencoder. Of 2 metrics")


def test_to_be_nearer_to_the_clip_than_other_frames_of_it_is_no_fault_of_the_metric():
    said = ranking.paragraph(through(constructed(), ours=0.99))
    assert "By “motion, x real” ours is nearer to the held-out clip than other real frames are" in said
    assert "above the real frames themselves" not in said


def test_of_crossed_films_the_sentence_counts_fine_tunes_and_stills():
    table = constructed()
    table["interval"]["unit"] = "fine-tune and still"
    assert "need 9 fine-tunes and 9 stills to say more, and here are 2." in ranking.paragraph(table)


def test_notebook_6_shows_a_user_s_names_as_text():
    cells = json.loads((REPOSITORY / "notebooks" / "6_paper.ipynb").read_text(encoding="utf-8"))["cells"]
    source = {cell["id"]: "".join(cell["source"]) for cell in cells}
    table, shown = constructed(flow_warp__ours=0.9), []
    table["labels"]["static"] = "**<img src=x>**"
    assert "from eval.records.markdown import escaped" in source["imports"]
    exec(source["ranks"], {"read_tables": lambda *of: {"<b>": table}, "ranking": ranking, "escaped": escaped,
                           "results": None, "names": None, "display": shown.append, "Markdown": str})
    assert "<" not in shown[0] and shown[0].startswith("**&lt;b&gt;.** Ranked beside")
