"""Methods trained beside ours, from their folder of films to metrics.json, Table 1, its notes and figure 4."""

import json

import pytest
from fabricated import COUNT, clip_frames, fabricate, settings

from eval.publish import table1
from eval.publish.figures import films
from eval.records.run import compared, film, read_tables
from eval.records.video import evaluate_video
from lnm import video

METHODS = ("animatediff_style", "tune_a_video_style")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two videos, scored; other methods were trained on the first alone."""
    results = tmp_path_factory.mktemp("rivals") / "results"
    for seed, name in enumerate(("ocean", "rain"), 1):
        fabricate(results, name, seed)
        if name == "ocean":
            for n, method in enumerate(METHODS):
                for k in range(2 if n else 3):
                    video.write_frames(results / name / "rivals" / method / f"seed_{k}", clip_frames(9 + n + k, COUNT))
            trained = {m: {"steps": 7, "learning_rate": 2e-4} for m in METHODS}
            (results / name / "rivals" / "rivals.json").write_text(json.dumps({
                "methods": METHODS, "trained": trained,
                "clusters": {m: ["fine-tune 1"] * (3 - n) for n, m in enumerate(METHODS)}}))
        evaluate_video(settings(name), results / name, results / name / "evaluate")
    return results, read_tables(results, ["ocean", "rain"])


def test_they_are_measured_and_compared_as_any_method_under_their_names(run):
    results, tables = run
    assert compared(tables["ocean"])[:4] == ["ours", *METHODS, "frame_by_frame"]
    assert [tables["ocean"]["labels"][m] for m in METHODS] == ["AnimateDiff-style", "Tune-A-Video-style"]
    entry = tables["ocean"]["methods"][METHODS[0]]["motion_ratio"]
    assert entry["n"] == 3 and entry["clusters"] == 1
    assert tables["ocean"]["differences"][METHODS[0]]["flow_warp"]["n"] == 2, "as many pairs as there are"
    assert METHODS[0] not in tables["rain"]["methods"]
    assert tables["ocean"]["backend"]["trained"][METHODS[0]]["steps"] == 7
    assert "trained" not in tables["rain"]["backend"]
    assert (film(results, "ocean", METHODS[1]) == clip_frames(10, COUNT)).all()


def test_table_1_shows_them_over_the_videos_that_have_them_and_says_so(run):
    _, tables = run
    names = [row[0] for row in table1.table1(tables)[1]]
    assert "AnimateDiff-style (ocean alone)" in names and "LateNtMovies (ours)" in names
    alone = {row[0]: row for row in table1.table1b({"ocean": tables["ocean"]})[1]}
    assert alone["Tune-A-Video-style"][1].startswith("2 films")
    said = " ".join(table1.notes(tables))
    assert "AnimateDiff-style 7 steps at a rate of 0.0002, Tune-A-Video-style 7 steps" in said
    assert "-style" not in " ".join(table1.notes({"rain": tables["rain"]}))


def test_figure_4_has_a_row_of_each(run, tmp_path, monkeypatch):
    results, _ = run
    seen = []
    monkeypatch.setattr(films, "_grid", lambda rows, path: seen.extend(label for label, _ in rows) or [path])
    films.figure4(results, ["ocean", "rain"], tmp_path / "figure4.png")
    assert "ocean: AnimateDiff-style" in seen and "ocean: Tune-A-Video-style" in seen
    assert "ocean: static repeat" in seen and "rain: static repeat" in seen
    assert not any(label.startswith("rain: Anim") for label in seen)
