"""benchmarks.bars: figures as multiples of the clip through the VAE, and what keeps its bounds."""

import json
import sys

import pytest

from benchmarks import bars


def entries(**values):
    return {metric: {"value": value} for metric, value in values.items()}


METRICS = {"labels": {"ours": "LateNtMovies (ours)", "heldout_vae": "real, through the VAE"}, "methods": {
    "heldout_vae": entries(motion_energy=0.02, flow_speed=2.0, flow_warp=0.01, detail=0.5, fid_heldout=50.0,
                           flow_direction_gap=1.0, frame0_db_below_ceiling=0.0, spectrum_gap=2.0),
    "ours": entries(motion_energy=0.03, flow_speed=2.0, flow_warp=0.012, detail=0.4, flow_direction_gap=26.0,
                    frame0_db_below_ceiling=0.4, spectrum_gap=3.0) | {"fid_heldout": {"refused": "too few"}},
    "mismatched_prompt": entries(clipsim=0.2)},
    "against_vae": {"ours": entries(flow_direction_gap=26.0, spectrum_gap=3.0)}}


def test_figures_are_multiples_of_the_clip_through_the_vae():
    found = bars.figures(METRICS)
    assert set(found) == {"ours", "heldout_vae"}, "what is no film has no figures"
    assert found["ours"]["motion"] == pytest.approx(1.5) and found["ours"]["detail"] == pytest.approx(0.8)
    assert found["ours"]["FID"] is None and found["ours"]["turn, deg"] == 26.0
    assert all(found["heldout_vae"][name] == 1 for name in ("motion", "flow speed", "flow-warp", "detail", "FID"))


def test_films_with_detail_that_no_latent_holds_stand_as_decoded_or_as_they_are_beside_the_clip_as_it_was_filmed():
    own = METRICS["methods"] | {"heldout": entries(motion_energy=0.04, flow_speed=4.0, flow_warp=0.02, detail=2.0)}
    own["ours"] = own["ours"] | entries(motion_energy=0.05, detail=1.9, flow_direction_gap=9.0, fid_heldout=20.0,
                                        frame0_db_below_ceiling=-18.0, spectrum_gap=1.0)
    table = METRICS | {"methods": own, "methods_vae": {
        "ours": METRICS["methods"]["ours"], "static": {"detail": {"refused": "no VAE"}}, "shuffled": {}}}
    assert bars.figures(table)["ours"] == bars.figures(METRICS)["ours"]
    found = bars.figures(table, filmed=True)
    assert found["ours"]["motion"] == pytest.approx(1.25) and found["ours"]["detail"] == pytest.approx(0.95)
    assert found["ours"]["turn, deg"] == 9 and found["ours"]["spectrum, dB"] == 1
    assert found["ours"]["FID"] == pytest.approx(0.4) and found["ours"]["frame 0, dB"] == -18
    assert all(found["heldout"][name] == 1 for name in ("motion", "flow speed", "flow-warp", "detail"))
    assert bars.table("sea", table, filmed=True).loc["LateNtMovies (ours)", "motion"] == "1.25 *"


def window(still, **values):
    return {"part": "train", "beside": still} | values


WINDOWS = METRICS | {
    "windows": [window(2, motion_ratio=1.2, flow_warp=0.02, detail_ratio=0.9, flow_direction_gap=3.0),
                window(5, motion_ratio=1.6, flow_warp=0.02, detail_ratio=1.1, flow_direction_gap=90.0)],
    "methods": METRICS["methods"] | {"heldout": {"flow_warp": {"value": 0.03, "values": [0.04, 0.02]}}}}


def test_the_last_row_is_how_far_the_clip_is_from_itself():
    assert bars.others(METRICS) == {} and set(bars.table("sea", METRICS).loc[bars.OTHERS]) == {"-"}
    assert bars.others(WINDOWS) == {"motion": [1.2, 1.6], "flow-warp": [0.5, 1.0], "detail": [0.9, 1.1],
                                    "turn, deg": [3, 90]}, "flow-warp: each beside its own held-out window"
    shown = bars.table("sea", WINDOWS)
    assert shown.index[-1] == bars.OTHERS and shown.loc[bars.OTHERS, "motion"] == "1.20 to 1.60, 1 of 2"
    assert shown.loc[bars.OTHERS, "FID"] == shown.loc[bars.OTHERS, "flow speed"] == "-"
    ours = shown.loc["LateNtMovies (ours)"]
    assert ours["motion"] == "1.50 ~" and ours["turn, deg"] == "26.00 ~", "outside, and no further than the clip is"
    assert ours["detail"] == "0.80 *", "further out than any window"
    assert ours["flow-warp"] == "1.20", "within the bounds"


def test_what_is_outside_its_bounds_or_missing_is_marked(tmp_path, monkeypatch, capsys):
    shown = bars.table("sea", METRICS).loc["LateNtMovies (ours)"]
    assert shown["motion"] == "1.50 *" and shown["flow-warp"] == "1.20" and shown["FID"] == "-"
    assert shown["turn, deg"] == "26.00 *" and shown["frame 0, dB"] == "0.40" and shown["detail"] == "0.80 *"
    path = tmp_path / "sea" / "evaluate" / "metrics.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(METRICS))
    monkeypatch.setattr(sys, "argv", ["bars", "--results", str(tmp_path), "--json", str(tmp_path / "bars.json")])
    bars.main()
    said = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in said[0].strip("|").split("|")] == ["sea", *bars.BOUNDS]
    assert [cell.strip() for cell in said[2].split("|")][1:3] == ["real, through the VAE", "1.00"]
    assert len({len(line) for line in said[:5]}) == 1
    assert json.loads((tmp_path / "bars.json").read_text())["sea"]["ours"]["flow speed"] == 1
    monkeypatch.setattr(sys, "argv", ["bars", "pond", "--results", str(tmp_path)])
    with pytest.raises(SystemExit):
        bars.main()
    assert "make repro" in capsys.readouterr().err
