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
    "mismatched_prompt": entries(clipsim=0.2)}}


def test_figures_are_multiples_of_the_clip_through_the_vae():
    found = bars.figures(METRICS)
    assert set(found) == {"ours", "heldout_vae"}, "what is no film has no figures"
    assert found["ours"]["motion"] == pytest.approx(1.5) and found["ours"]["detail"] == pytest.approx(0.8)
    assert found["ours"]["FID"] is None and found["ours"]["turn, deg"] == 26.0
    assert all(found["heldout_vae"][name] == 1 for name in ("motion", "flow speed", "flow-warp", "detail", "FID"))


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
    assert said[2].startswith("| real, through the VAE | 1.00 ") and len({len(line) for line in said[:4]}) == 1
    assert json.loads((tmp_path / "bars.json").read_text())["sea"]["ours"]["flow speed"] == 1
    monkeypatch.setattr(sys, "argv", ["bars", "pond", "--results", str(tmp_path)])
    with pytest.raises(SystemExit):
        bars.main()
    assert "make repro" in capsys.readouterr().err
