"""The human study's numbers: simulated parameters found again, nothing lost."""

import csv
import json

import numpy as np
import pytest

from eval.publish.figures import study
from eval.publish.votes import cells
from eval.statistics.davidson import fit
from eval.statistics.proportions import share
from eval.study.aggregate import aggregate
from eval.study.form import COLUMNS
from eval.study.simulate import simulate
from eval.study.votes import read_votes
from lnm.cli import main as command
from lnm.errors import UserError

HEADER = ",".join(COLUMNS)


def row(observer="p1", scene="ocean", question="preference", a="ours", b="cogvideo", choice="A", session=None, seed=7,
        rt=1200, catch=0):
    return f"{observer},{session or 's-' + observer},{scene},{question},{a},{b},{choice},{seed},{rt},{catch}"


def write(path, *rows, header=HEADER):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def said(path, tmp_path, **options):
    return aggregate([path], tmp_path / "out", resamples=200, **options)


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
    assert summary["catch"] == {"trials": 1200, "observers_asked": 200, "max_failed": 0, "each": 6, "luck": 1 / 64,
                                "observers_left_out": [], "votes_left_out": 0}


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
    assert abs(len(summary["catch"]["observers_left_out"]) - expected) < 3 * np.sqrt(expected)
    assert summary["observers"] == 300 - len(summary["catch"]["observers_left_out"])
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


def test_the_chance_of_passing_the_catch_trials_by_luck_is_said(project):
    """Review, statistics 11."""
    votes = [row("p1")] + [row("p1", b=f"catch-{k}", catch=1) for k in range(6)]
    assert said(write(project / "v.csv", *votes), project)["catch"]["luck"] == pytest.approx(1 / 64, rel=1e-4)
    printed = (project / "out" / "summary.md").read_text()
    assert "6 an observer, which one who clicks at random passes with probability 0.016" in printed


def test_every_row_and_every_output_of_a_simulation_is_marked(project, monkeypatch):
    path = simulate(project / "votes.csv", {"preference": {"ours": 1.0, "frame_by_frame": 0.0, "x": 0.3}}, observers=5)
    with path.open(newline="") as stream:
        assert all(r["observer"].startswith("SIMULATED-") and r["session"].startswith("SIMULATED-")
                   for r in csv.DictReader(stream))
    with path.open("a") as stream:
        stream.write("SIMULATED-1,SIMULATED-1,s,preference,ours,checkpoint,C,1,1,0\n")
    summary = aggregate([path], project / "out")
    assert summary["simulated"] and summary["status"] == "SIMULATED" and cells(summary) == {}
    written = sorted((project / "out").iterdir())
    assert [p.name for p in written] == ["SIMULATED_malformed.csv", "SIMULATED_summary.json", "SIMULATED_summary.md"]
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


def test_who_fails_a_catch_trial_is_left_out_and_counted(project):
    votes = []
    for observer, choice in (("good", "A"), ("bad", "B"), ("unsure", "tie")):
        votes += [row(observer), row(observer, scene="rain"), row(observer, b="catch-1", choice=choice, catch=1),
                  row(observer, a="catch-2", b="ours", choice="B", catch=1)]
    path = write(project / "v.csv", *votes, row("unchecked"))
    summary = said(path, project)
    assert summary["catch"] == {"trials": 6, "observers_asked": 3, "max_failed": 0, "each": 2, "luck": 0.25,
                                "observers_left_out": ["bad", "unsure"], "votes_left_out": 4}
    assert summary["questions"]["preference"]["pairs"][0]["n"] == summary["votes"] == 3 and summary["observers"] == 2
    assert "2 observers with 4 votes (bad, unsure)" in (project / "out" / "summary.md").read_text()
    assert said(path, project, max_failed=1)["votes"] == 7


def test_where_everybody_failed_no_vote_is_left_and_that_is_said(project):
    path = write(project / "v.csv", row(), row(b="catch-1", choice="B", catch=1))
    summary = said(path, project)
    assert summary["votes"] == summary["observers"] == 0 and cells(summary) == {}
    table = (project / "out" / "summary.md").read_text()
    assert "no vote is left" in table and "1 observers with 1 votes (p1)" in table


def test_films_of_several_seeds_are_one_video_to_the_bootstrap(project):
    path = write(project / "v.csv", row("p1", "ocean/seed_0"), row("p2", "ocean/seed_1"),
                 row("p3", "rain/seed_0", choice="B"))
    assert said(path, project)["questions"]["preference"]["pairs"][0]["videos"] == 2


def test_several_sessions_of_one_observer_all_count_and_are_named(project):
    path = write(project / "v.csv", row("p1", session="a"), row("p1", session="b", choice="B"), row("p2"))
    summary = said(path, project)
    assert summary["votes"] == 3 and summary["observers"] == 2 and summary["observers_of_several_sessions"] == ["p1"]


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
    assert one["catch"]["observers_left_out"] == ["p2"]
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
    assert changed["questions"] == plain["questions"] and changed["rows_left_out"] == 0


# --- nothing is lost in silence ---------------------------------------------------------------------------------------


MALFORMED = [
    (row() + ",more", "11 fields, the header has 10"), ("only,three,fields", "3 fields, the header has 10"),
    (row(observer="", session="s"), "observer is empty"), (row(scene=" "), "scene is empty"),
    (row(question="realizm"), "question 'realizm' is none of preference, realism"),
    (row(choice="left"), "choice 'left' is none of A, B, tie"), (row(choice=""), "choice is empty"),
    (row(b="ours"), "condition_A 'ours' is both films"), (row(catch=2), "is_catch '2' is neither 0 nor 1"),
    (row(catch=1), "is_catch '1' does not fit"), (row(b="catch-1"), "is_catch '0' does not fit"),
    (row(rt=-1), "rt_ms '-1' is no time"), (row(rt="soon"), "rt_ms 'soon' is no time"), (row(rt="inf"), "is no time"),
    (row(rt="nan"), "is no time"), (row(seed="x"), "side_seed 'x' is no whole number"),
    (row(a="sora"), "condition_A 'sora' is not among the methods ours, cogvideo"),
    (row(b="Ours"), "condition_B 'Ours' is not among"),
]


@pytest.mark.parametrize(("bad", "reason"), MALFORMED, ids=[reason for _, reason in MALFORMED])
def test_a_malformed_row_is_listed_with_its_file_and_line(project, capsys, bad, reason):
    write(project / "inputs" / "human_study" / "v.csv", row("p1"), bad, row("p2"))
    assert command(["study", "aggregate", "--methods", "ours,cogvideo"]) == 0
    said = capsys.readouterr()
    assert said.err.startswith("inputs/human_study/v.csv: line 3: ") and reason in said.err
    assert said.err.count("\n") == 1 and "2 votes of 2 observers" in said.out
    listed = (project / "results" / "human_study" / "malformed.csv").read_text().splitlines()
    assert len(listed) == 2 and listed[1].startswith("inputs/human_study/v.csv,3,")
    assert command(["study", "aggregate", "--methods", "ours,cogvideo", "--strict"]) == 2
    assert capsys.readouterr().err.startswith("error: inputs/human_study/v.csv: line 3: ")


def test_lines_are_the_files_own_even_after_a_field_of_several_lines(project):
    path = write(project / "v.csv", row("p1", scene='"a\nscene"'), "", row(choice="C"), row("p2"))
    votes, problems, _ = read_votes([path])
    assert votes["line"].tolist() == [2, 6] and votes["scene"].tolist() == ["a\nscene", "ocean"]
    assert problems.values.tolist() == [["v.csv", 5, "choice 'C' is none of A, B, tie, nor a method of the pair"]]


def test_every_row_is_a_vote_or_is_listed(project):
    rng = np.random.default_rng(0)
    good = [row(f"p{k}") for k in range(300)]
    rows = good + [bad for bad, _ in MALFORMED] * 3 + good[:20]
    rng.shuffle(rows)
    votes, problems, _ = read_votes([write(project / "v.csv", *rows)], ["ours", "cogvideo"])
    assert sorted([*votes["line"], *problems["line"]]) == list(range(2, len(rows) + 2))
    assert len(votes) == 300


def test_more_malformed_rows_than_fit_a_screen_are_all_in_the_file(project, capsys):
    path = write(project / "v.csv", row("p"), *[row(f"p{k}", choice="C") for k in range(30)])
    assert command(["study", "aggregate", str(path), "--out", str(project / "out")]) == 0
    assert "... and 10 more" in capsys.readouterr().err
    assert len((project / "out" / "malformed.csv").read_text().splitlines()) == 31
    write(path, row("p"))
    assert command(["study", "aggregate", str(path), "--out", str(project / "out")]) == 0
    assert not (project / "out" / "malformed.csv").exists()


def test_a_session_given_twice_counts_once_and_one_that_contradicts_itself_is_an_error(project):
    first = write(project / "a.csv", row("p1"), row("p1", "rain"), row("p2"))
    again = write(project / "b.csv", row("p1", a="cogvideo", b="ours", choice="B"), row("p3"))  # sides swapped
    votes, problems, _ = read_votes([first, again])
    assert len(votes) == 4
    assert problems.values.tolist() == [["b.csv", 2, "session s-p1: the same vote as a.csv, line 2"]]
    write(again, row("p3"), row("p1", choice="B"))
    with pytest.raises(UserError, match="b.csv: line 3: session s-p1 answers ocean, preference otherwise than in "
                                        "a.csv, line 2; keep one of them"):
        read_votes([first, again])


NOT_READ = {
    "latin1": (HEADER + "\n" + row("Ren\u00e9") + "\n").encode("latin-1"),
    "utf16": (HEADER + "\n" + row()).encode("utf-16"),
    "empty": b"", "blank": b"\n \n",
    "missing": (HEADER.replace(",choice", "") + "\n" + row()).encode(),
    "prose": b"Dear all,\nhere are my answers.\n",
    "no observer": b"name,ocean|preference|ours vs cogvideo\np1,ours\n",
    "twice": (HEADER + ",choice\n" + row() + ",A\n").encode(),
    "quote": (HEADER + "\n" + row() + '\np2,s2,"ocean,preference\n' + row("p3") + "\n").encode(),
    "spreadsheet": b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00\xff\xfe",
    "all malformed": (HEADER + "\n" + row(choice="C") + "\n" + row(choice="D")).encode(),
}
SAYS = {
    "latin1": "line 2: not UTF-8 (byte 0xe9); save it as CSV UTF-8", "utf16": "line 1: not UTF-8",
    "empty": "empty;", "blank": "empty;", "missing": "no column choice;", "prose": "no column observer, session",
    "no observer": "no column observer;", "twice": "the column choice stands twice",
    "quote": "line 3: unexpected end of data", "spreadsheet": "not UTF-8",
    "all malformed": "line 2: choice 'C' is none of A, B, tie, nor a method of the pair (1 more rows after it); not "
    "one row is a vote"}


@pytest.mark.parametrize("name", NOT_READ)
def test_a_file_that_cannot_be_read_is_one_clear_line_and_nothing_is_written(project, capsys, name):
    path = project / "inputs" / "human_study" / "v.csv"
    path.parent.mkdir()
    path.write_bytes(NOT_READ[name])
    assert command(["study", "aggregate"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: inputs/human_study/v.csv: ") and SAYS[name] in error and error.count("\n") == 1
    assert not (project / "results").exists()


def test_a_file_that_is_not_there_or_given_twice_is_one_clear_line(project, capsys):
    assert command(["study", "aggregate", "none.csv"]) == 2
    assert capsys.readouterr().err == "error: none.csv: No such file or directory; give a CSV file\n"
    path = write(project / "v.csv", row())
    assert command(["study", "aggregate", str(path), str(project / "." / "v.csv")]) == 2
    assert "given twice" in capsys.readouterr().err


def test_without_responses_it_says_so(project, capsys):
    for given in ([], [str(write(project / "inputs" / "human_study" / "v.csv"))]):
        assert command(["study", "aggregate", *given]) == 0
        assert capsys.readouterr().out.startswith("no responses yet\n")
        summary = json.loads((project / "results" / "human_study" / "summary.json").read_text())
        assert summary["status"] == "no responses yet" and summary["questions"] == {} and not summary["simulated"]
        assert summary["published"]["CogVideo"] == {"preference": "21%", "realism": "24%"}
        table = (project / "results" / "human_study" / "summary.md").read_text()
        assert "| 79%              | 76%              |" in table and "| no responses yet | no responses yet |" in table
        assert cells(summary) == {}
    (project / "inputs" / "human_study" / "answers.xlsx").write_bytes(b"PK")
    assert command(["study", "aggregate"]) == 0
    assert "answers.xlsx: not a .csv file, not read" in capsys.readouterr().err


def test_two_hundred_thousand_rows(project):
    lines = [f"p{k % 5000},s{k % 5000},scene{k // 5000},preference,ours,cogvideo,{'AAAB'[k % 4]},7,{900 + k % 999},0"
             for k in range(200_000)]
    path = write(project / "v.csv", *lines, row(choice="C"))
    summary = aggregate([path], project / "out", resamples=20)
    pair, = summary["questions"]["preference"]["pairs"]
    assert (pair["wins"], pair["n"], summary["observers"], summary["rows_left_out"]) == (150_000, 200_000, 5000, 1)
    assert summary["problems"][0][1] == 200_002


@pytest.mark.parametrize("arguments", [
    ["--preference", "ours"], ["--preference", "ours=much"], ["--preference", "ours=1"], [],
    ["--preference", "ours=1,b=0", "--lapse", "2"], ["--preference", "ours=1,b=0", "--observers", "0"],
    ["--preference", "catch=1,b=0"]])
def test_a_model_that_is_none_is_refused(project, capsys, arguments):
    assert command(["study", "simulate", *arguments]) == 2
    assert "error: " in capsys.readouterr().err and not (project / "build").exists()
