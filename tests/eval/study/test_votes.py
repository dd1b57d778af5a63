"""The human study's numbers: simulated parameters found again, nothing lost."""

import csv

import numpy as np
import pytest
from answers import row, said, write

from eval.publish.figures import study
from eval.publish.votes import cells
from eval.statistics.davidson import fit
from eval.statistics.proportions import share
from eval.study.aggregate import aggregate
from eval.study.simulate import simulate
from eval.study.votes import read_votes
from lnm.cli import main as command
from lnm.errors import UserError

# --- simulated votes --------------------------------------------------------------------------------------------------


def logit(p):
    return float(np.log(p / (1 - p)))


def test_simulated_shares_are_found_again_within_their_intervals(project):
    strengths = {"preference": {"ours": logit(0.79), "cogvideo": 0.0}, "realism": {"ours": logit(0.6), "cogvideo": 0.0}}
    path = simulate(project / "build" / "votes.csv", strengths, observers=200, seed=1)
    summary = aggregate([path], project / "out")
    for question, truth in (("preference", 0.79), ("realism", 0.6)):
        pair = summary["questions"][question]["pairs"][0]
        assert (pair["first"], pair["second"], pair["n"], pair["observers"]) == ("ours", "cogvideo", 600, 200)
        assert pair["low"] < truth < pair["high"] and pair["high"] - pair["low"] < 0.1
        assert pair["over"] == "observers" and pair["p_value"] < 0.01  # of 3 videos: for these alone
    assert summary["left_right"]["low"] < 0.5 < summary["left_right"]["high"]
    assert summary["catch"] == {"trials": 1200, "observers_asked": 200, "observers_without": 0, "fewest": 6,
                                "luck": 1 / 64}


def test_of_many_simulations_the_intervals_hold_the_truth_in_about_95_of_100(project):
    strengths = {"preference": {"ours": logit(0.79), "cogvideo": 0.0}, "realism": {"ours": logit(0.6), "cogvideo": 0.0}}
    hits, left = [], []
    for seed in range(40):
        votes, _, _ = read_votes([simulate(project / "votes.csv", strengths, observers=30, catch=0, seed=seed)])
        chose = votes["condition_A"].astype(str).where(votes["choice"] == "A", votes["condition_B"].astype(str))
        for question, truth in (("preference", 0.79), ("realism", 0.6)):
            won = (chose == "ours")[votes["question"] == question]
            low, high = share(won.sum(), len(won))["wilson"]
            hits.append(low < truth < high)
        left.append((votes["condition_A"] == "ours").mean())
    assert 0.88 <= np.mean(hits) <= 1 and 0.47 < np.mean(left) < 0.53  # and no method has a side


def test_simulated_strengths_bias_and_lapses_are_found_again(project):
    strengths = {"ours": 1.0, "cogvideo": 0.2, "frame_by_frame": -1.2}
    path = simulate(project / "votes.csv", {"preference": strengths, "realism": strengths}, observers=300,
                    side_bias=0.4, lapse=0.1, catch=4, seed=1)
    summary = aggregate([path], project / "out", methods=list(strengths), resamples=300)
    # each of 4 catch trials is failed by a random press in 10% of cases
    expected = 300 * (1 - 0.95**4)
    failed = [name for name, why in summary["careless"]["observers"].items() if "catch trials" in " ".join(why)]
    assert abs(len(failed) - expected) < 3 * np.sqrt(expected)
    assert summary["observers"] == 300 - len(summary["careless"]["observers"])
    # what the model says of the left side, over all pairs and both orders
    pairs = [(a, b) for a in strengths.values() for b in strengths.values() if a != b]
    left = np.mean([0.05 + 0.9 / (1 + np.exp(-(a - b + 0.4))) for a, b in pairs])
    assert 0.5 < summary["left_right"]["low"] < left < summary["left_right"]["high"]

    path = simulate(project / "clean.csv", {"preference": strengths}, observers=300, seed=1)
    summary = aggregate([path], project / "out", methods=list(strengths), resamples=300)
    fitted = summary["questions"]["preference"]["davidson"]
    assert fitted["methods"] == list(strengths)
    for low, truth, high in zip(fitted["low"], strengths.values(), fitted["high"]):
        assert low < truth < high and high - low < 0.4  # the strengths above have mean 0, as the fitted ones


def test_an_interval_by_observer_is_honest_where_observers_differ(project):
    path = simulate(project / "votes.csv", {"preference": {"ours": 0.5, "cogvideo": 0.0}}, observers=60, observer_sd=2,
                    scenes=tuple(f"s{k}" for k in range(12)), seed=0)
    pair = aggregate([path], project / "out")["questions"]["preference"]["pairs"][0]
    low, high = share(pair["wins"], pair["n"])["wilson"]  # as if each vote were another person's
    assert pair["high"] - pair["low"] > 1.5 * (high - low) and pair["over"] == "observers and videos"
    assert pair["votes_worth"] < pair["n"] / 2


def test_ties_go_to_davidsons_model_and_not_half_to_each(project):
    """Review, statistics 11."""
    rows = []
    for k in range(8):
        for scene in ("ocean", "rain"):
            rows += [row(f"p{k}", scene, a="ours", b="cogvideo", choice="tie" if k % 2 else "A"),
                     row(f"p{k}", scene, a="ours", b="static", choice="A" if k else "B"),
                     row(f"p{k}", scene, a="cogvideo", b="static", choice="A" if k > 1 else "B")]
    found = said(write(project / "v.csv", *rows), project)["questions"]["preference"]
    ranked = found["davidson"]
    wins, ties = np.zeros((1, 3, 3)), np.zeros((1, 3, 3))
    wins[0, 0, 1], wins[0, 0, 2], wins[0, 2, 0], wins[0, 1, 2], wins[0, 2, 1] = 8, 14, 2, 12, 4
    ties[0, 0, 1] = ties[0, 1, 0] = 8
    expected, nu = fit(wins, ties)
    assert ranked["methods"] == ["ours", "cogvideo", "static"]
    assert ranked["strengths"] == pytest.approx(expected[0], abs=1e-5)
    assert ranked["tie"] == pytest.approx(nu[0], rel=1e-4)
    assert (ranked["observers"], ranked["videos"], ranked["over"]) == (8, 2, "observers")
    printed = (project / "out" / "summary.md").read_text()
    assert "Strengths, Davidson's model" in printed and "for these videos" in printed


def test_p_of_many_pairs_stands_beside_p_corrected_for_all_of_them(project):
    """6 tests, of 3 pairs by two questions: one alone is below 5% in about one study of four where nothing differs."""
    strengths = {"ours": 0.6, "cogvideo": 0.0, "static": -0.6}
    path = simulate(project / "votes.csv", {"preference": strengths, "realism": strengths}, observers=12, seed=3)
    questions = aggregate([path], project / "out", resamples=50)["questions"]
    raw, corrected = zip(*sorted((pair["p_value"], pair["p_holm"]) for entry in questions.values()
                                 for pair in entry["pairs"]))
    steps = np.maximum.accumulate([min(1, (6 - k) * p) for k, p in enumerate(raw)])  # Holm (1979), by hand
    assert len(raw) == 6 and corrected == pytest.approx(steps, rel=1e-4) and raw[0] < corrected[0]
    assert "| p, Holm |" in " ".join((project / "out" / "SIMULATED_summary.md").read_text().split())


def test_the_chance_of_passing_the_catch_trials_by_luck_is_said(project):
    """Review, statistics 11."""
    votes = [row("p1")] + [row("p1", b=f"catch-{k}", catch=1) for k in range(6)]
    assert said(write(project / "v.csv", *votes), project)["catch"]["luck"] == pytest.approx(1 / 64, rel=1e-4)
    printed = (project / "out" / "summary.md").read_text()
    assert "at least 6 to each; who presses at random passes with probability 0.016\n" in printed
    votes += [row("p2"), row("p2", b="catch-1", catch=1)]  # of another study, with one catch trial
    assert said(write(project / "v.csv", *votes), project)["catch"]["luck"] == 0.5
    assert "probability 0.5, **more than 0.02**" in (project / "out" / "summary.md").read_text()


def test_every_row_and_every_output_of_a_simulation_is_marked(project, monkeypatch):
    path = simulate(project / "votes.csv", {"preference": {"ours": 1.0, "frame_by_frame": 0.0, "x": 0.3}}, observers=5)
    with path.open(newline="") as stream:
        assert all(r["observer"].startswith("SIMULATED-") and r["session"].startswith("SIMULATED-")
                   for r in csv.DictReader(stream))
    with path.open("a") as stream:
        stream.write("SIMULATED-1,SIMULATED-1,SIMULATED,s,preference,ours,checkpoint,,,C,1,1,,0\n")
    summary = aggregate([path], project / "out")
    assert summary["simulated"] and summary["status"] == "SIMULATED" and cells(summary) == {}
    written = sorted((project / "out").iterdir())
    assert [p.name for p in written] == ["SIMULATED_left_out.csv", "SIMULATED_summary.json", "SIMULATED_summary.md"]
    assert all("SIMULATED" in p.read_text() for p in written[1:])
    tables = [line for line in (project / "out" / "SIMULATED_summary.md").read_text().splitlines()
              if "this run" in line and line.startswith("|")]
    assert len(tables) == 3 and all(line.startswith("| SIMULATED: ") for line in tables)
    drawn = []
    monkeypatch.setattr(study, "save", lambda figure, path: drawn.append(figure))
    study.figure(summary, project / "figure.png")
    assert "SIMULATED" in drawn[0].get_suptitle()


def test_simulated_votes_stay_out_of_inputs_and_apart_from_real_ones(project, capsys):
    strengths = {"preference": {"ours": 1.0, "cogvideo": 0.0}}
    for path in (project / "inputs" / "human_study" / "v.csv", project / "inputs" / ".." / "inputs" / "v.csv"):
        with pytest.raises(UserError, match="never written below inputs/"):
            simulate(path, strengths)
        assert not path.exists()
    (project / "link").symlink_to(project / "inputs")
    with pytest.raises(UserError, match="never written below inputs/"):
        simulate(project / "link" / "v.csv", strengths)
    path = simulate(project / "votes.csv", strengths, observers=3)
    real = write(project / "real.csv", row())
    for both in ([path, real], [real, path]):
        with pytest.raises(UserError, match="votes.csv: holds simulated votes and real.csv real ones"):
            aggregate(both, project / "out")
    moved = project / "inputs" / "human_study" / "v.csv"
    moved.parent.mkdir()
    moved.write_text(path.read_text())
    assert command(["study", "aggregate"]) == 2
    said = "error: inputs/human_study/v.csv: simulated votes do not belong below inputs/; move it\n"
    assert capsys.readouterr().err == said
    assert not (project / "out").exists() and not (project / "results").exists()


# --- from votes to shares ---------------------------------------------------------------------------------------------


def test_a_share_counts_what_was_chosen_whatever_its_side(project):
    path = write(project / "v.csv",
                 row("p1"), row("p2", a="cogvideo", b="ours", choice="B"), row("p3", a="cogvideo", b="ours"),
                 row("p4", choice="tie"), row("p5", scene="rain"), row("p5", question="realism", choice="B"),
                 row("p6", a="cogvideo", b="ours", choice="B"))
    summary = said(path, project)
    pair, = summary["questions"]["preference"]["pairs"]
    assert (pair["first"], pair["wins"], pair["n"], pair["ties"], pair["observers"], pair["videos"]) == (
        "ours", 4, 5, 1, 6, 2)
    realism, = summary["questions"]["realism"]["pairs"]
    assert (realism["share"], realism["low"]) == (0, None)  # of one observer
    assert (summary["left_right"]["wins"], summary["left_right"]["n"]) == (3, 6)
    found = cells(summary)
    assert found["ours"]["preference"].startswith("80% [")
    assert found["cogvideo"]["realism"] == "100% of 1 votes over LateNtMovies (ours)"
    assert summary == said(path, project)  # the bootstrap is seeded


def test_films_of_several_seeds_are_one_video_to_the_bootstrap(project):
    path = write(project / "v.csv", row("p1", "ocean/seed_0"), row("p2", "ocean/seed_1"),
                 row("p3", "rain/seed_0", choice="B"))
    assert said(path, project)["questions"]["preference"]["pairs"][0]["videos"] == 2


def test_only_ties_give_no_share(project):
    summary = said(write(project / "v.csv", row(choice="tie")), project)
    assert summary["questions"]["preference"]["pairs"][0]["refused"] == "every vote is a tie"
    assert "refused" in summary["left_right"] and cells(summary) == {}
    assert "100%" not in (project / "out" / "summary.md").read_text()


def test_a_wide_csv_gives_the_shares_of_the_same_votes_in_rows(project):
    wide = write(project / "wide.csv",
                 "09:00,p1,ours,Tie,A,ours", "09:05,p2,cogvideo,b,,catch-1", "09:10,p3,OURS,cogvideo,ours,ours",
                 header="Timestamp,observer,ocean|preference|ours vs cogvideo, rain|preference|cogvideo vs ours ,"
                        "ocean|realism|ours vs cogvideo,ocean|realism|ours vs catch-1")
    rows = write(project / "rows.csv",
                 row("p1"), row("p1", "rain", a="cogvideo", b="ours", choice="tie"), row("p1", question="realism"),
                 row("p2", choice="B"), row("p2", "rain", a="cogvideo", b="ours", choice="B"), row("p3"),
                 row("p3", "rain", a="cogvideo", b="ours"), row("p3", question="realism"),
                 row("p1", question="realism", b="catch-1", catch=1),
                 row("p2", question="realism", b="catch-1", choice="B", catch=1),
                 row("p3", question="realism", b="catch-1", catch=1))
    one, other = said(wide, project), said(rows, project)
    assert one["questions"] == other["questions"] and one["catch"] == other["catch"]
    assert list(one["careless"]["observers"]) == ["p2"]
    assert "refused" in one["left_right"] and "n" in other["left_right"]  # a form does not say what was left
    assert one["notes"] == ["wide.csv: columns not read: Timestamp", "wide.csv: 1 cells are blank: not answered"]


@pytest.mark.parametrize("change", [
    lambda text: "\ufeff" + text, lambda text: text.replace("\n", "\r\n"), lambda text: text.replace(",", ";"),
    lambda text: text.replace(",", "\t"), lambda text: text + "\n\n", lambda text: text.replace("ocean", '"ocean"'),
    lambda text: text.replace(",0\n", ",FALSE\n"), lambda text: text.replace("1200", "")])
def test_what_spreadsheets_make_of_it_is_read_the_same(project, change):
    rows = [row("p1"), row("p2", choice="B"), row("p3", question="realism")]
    plain = said(write(project / "v.csv", *rows), project)
    (project / "v.csv").write_bytes(change((project / "v.csv").read_text()).encode())
    changed = said(project / "v.csv", project)
    assert changed["questions"] == plain["questions"] and changed["left_out"] == {}


