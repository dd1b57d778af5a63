"""Where a run's films lie: ours, then other methods trained here, then the rest; in the order of their seeds."""

import json

from eval.films.sampled import rivals, sampled


def test_methods_trained_here_stand_behind_ours_and_films_in_the_order_of_their_seeds(tmp_path):
    for method, count in (("ours", 11), ("identity", 1)):
        for k in range(count):
            (tmp_path / "sample" / method / f"seed_{k}").mkdir(parents=True)
    (tmp_path / "sample" / "films.json").write_text(json.dumps({"methods": ["ours", "identity"]}))
    assert rivals(tmp_path) == {} and list(sampled(tmp_path)) == ["ours", "identity"]
    assert [path.name for path in sampled(tmp_path)["ours"]] == [f"seed_{k}" for k in range(11)]
    (tmp_path / "rivals" / "x_style" / "seed_0").mkdir(parents=True)
    (tmp_path / "rivals" / "rivals.json").write_text(json.dumps({"methods": []}))
    assert rivals(tmp_path) == {}, "none were asked for"
    (tmp_path / "rivals" / "rivals.json").write_text(json.dumps({"methods": ["x_style"]}))
    assert list(sampled(tmp_path)) == ["ours", "x_style", "identity"]
    assert sampled(tmp_path)["x_style"] == [tmp_path / "rivals" / "x_style" / "seed_0"]
