"""benchmarks.speed at a tiny size: that every arm runs, what is made of the times, and the page; not how fast."""

import json

import pytest
from conftest import REPOSITORY

from benchmarks import forecast, speed, speed_gpu, speed_models
from lnm.batches import make_optimizer
from lnm.settings import Finetune

SMALL_VAE = dict(latent_channels=4, block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2,
                 up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, norm_num_groups=4, sample_size=32)


def record(**ratios):
    """A record of one run with these times over ours, all else fixed."""
    times = [{"task": "train", "arm": arm, "frames": 5, "precision": "no", "seconds": 0.5, "ratio": ratio}
             for arm, ratio in {"ours": 1.0, **ratios}.items()]
    return {"precisions": ["no"], "frames": [5], "share": 0.4, "macs_a_frame": 100, "peak": {"no": 1000.0},
            "times": times, "memory": [{"arm": arm, "frames": 5, "precision": "no", "mb": mb}
                                       for arm, mb in (("ours", 100.0), ("UNet3D", 150.0))]}


def test_every_arm_runs_and_every_figure_has_its_goal(tmp_path, capsys):
    path = tmp_path / "speed.json"
    assert speed.main(["--quick", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    assert capsys.readouterr().out.strip() == speed.markdown(found).strip()
    assert found["machine"]["cpu"] and found["machine"]["threads"] >= 1 and found["clock"] == "process"
    for task in ("train", "sample"):
        rows = {row["arm"]: row for row in found["times"] if row["task"] == task}
        assert list(rows) == list(speed_models.ARMS) and rows["ours"]["ratio"] == 1
        assert all(row["seconds"] > 0 for row in rows.values() if "missing" not in row)
    assert {row["arm"] for row in found["memory"]} == set(speed_models.ARMS)
    assert all(row["mb"] >= 0 for row in found["memory"] if row["mb"] is not None)
    assert 0 < found["fraction_of_peak"][0]["fraction"] < 1 and 0.1 < found["share"] < 1
    assert sum(line["found"] is None and line["holds"] is None for line in found["goals"]) == 5, "owed by a GPU"


def test_what_a_gpu_owes_can_be_left_out(monkeypatch):
    monkeypatch.setattr(speed, "measure", lambda *given: record(**{"frozen 2D": 0.6}) | {
        "goals": [], "owed": given[-1], "macs": {"ours": 1}, "fraction_of_peak": [
            {"precision": "no", "frames": 5, "fraction": 0.1}]})
    asked = []
    monkeypatch.setattr(speed, "markdown", lambda found: asked.append(found["owed"]) or "")
    assert speed.main(["--quick"]) == speed.main(["--quick", "--here"]) == 0 and asked == [True, False]


def test_torch_compile_is_tried_beside_ours_or_refused_in_a_line(tmp_path, monkeypatch, capsys):
    path = tmp_path / "compile.json"
    words = ["--quick", "--compile", "--json", str(path)]
    monkeypatch.setattr(speed_models.torch.nn.Module, "compile", lambda self: setattr(self, "was_compiled", True))
    monkeypatch.setattr(speed_models.torch, "compile", lambda function: function)
    assert speed.main(words) == 0
    found = json.loads(path.read_text())
    assert capsys.readouterr().out.strip() == speed.compiled_markdown(found)
    assert [(row["task"], row["arm"]) for row in found["times"]] == [
        (task, arm) for task in ("train", "sample") for arm in ("ours", speed_models.COMPILED)]
    assert all(row["seconds"] > 0 and row["first"] > 0 for row in found["times"])
    assert hasattr(speed_models.make(speed_models.COMPILED, "small", "cpu", "no").model, "was_compiled")
    assert not hasattr(speed_models.make("ours", "small", "cpu", "no").model, "was_compiled")

    def without_compiler(function):
        raise RuntimeError("no working C++ compiler found\nand a long story")

    monkeypatch.setattr(speed_models.torch, "compile", without_compiler)
    assert speed.main(words) == 0
    assert capsys.readouterr().out == "torch.compile: no working C++ compiler found\n"


def test_goals_are_of_the_ideal_that_the_share_gives():
    most = 1.1 * (1 + 1.5 * 0.4)  # 1.76
    lines = {line["what"]: line for line in speed.goals(record(**{"frozen 2D": 1 / 1.7, "AnimateDiff": 1.3,
                                                                  "UNet3D": 2.0}))}
    floor = lines["training step over the frozen 2D U-Net's, 5 frames, float32"]
    assert floor["goal"] == f"at most {most:.2f}" and floor["found"] == pytest.approx(1.7) and floor["holds"]
    assert not lines["AnimateDiff's training step over ours, 5 frames, float32"]["holds"]
    assert lines["UNet3D's training step over ours, 5 frames, float32"]["holds"]
    missing = lines["make-a-video-pytorch's training step over ours, 5 frames, float32"]
    assert missing["found"] is None and not missing["holds"]
    assert lines["UNet3D's memory of a step over ours, 5 frames, float32"]["found"] == 1.5
    worse = speed.goals(record(**{"frozen 2D": 1 / 1.8}))[0]
    assert worse["found"] == pytest.approx(1.8) and not worse["holds"]


def test_the_fraction_of_the_peak_counts_two_passes_of_what_is_frozen_and_three_of_what_trains():
    [row] = speed.used(record())
    assert row["fraction"] == pytest.approx(100 * 5 * (2 + 3 * 0.4) / 0.5 / 1000)


def test_all_train_their_temporal_layers_alone():
    for name in speed_models.ARMS:
        arm = speed_models.make(name, "small", "cpu", "no")
        if arm is None:
            continue
        trained = {id(p) for p in arm.trained}
        assert trained == {id(p) for p in arm.model.parameters() if p.requires_grad}
        assert bool(trained) == (name != "frozen 2D") == (not arm.to_input)
        if trained:
            assert sum(p.numel() for p in arm.trained) < 0.6 * sum(p.numel() for p in arm.model.parameters()), name


def test_a_step_moves_what_trains(monkeypatch):
    arm = speed_models.make("ours", "small", "cpu", "no")
    before = [p.detach().clone() for p in arm.trained]
    optimizer = make_optimizer({str(i): p for i, p in enumerate(arm.trained)}, Finetune())
    speed_models.train(arm, speed_models.batch("small", 3, "cpu"), optimizer, "cpu", "no")
    assert any(not (a == b).all() for a, b in zip(before, arm.trained, strict=True))


def test_the_gpu_s_figures_run_on_a_cpu_at_a_tiny_size():
    lines = speed_gpu.figures("small", "cpu", repeats=1, count=4, height=72, side=32, vae=SMALL_VAE,
                              longest=20)
    assert [line["found"] is None for line in lines] == [False, True, False, False, True]
    owed = speed_gpu.owed()
    assert [line["goal"] for line in owed] == [line["goal"] for line in lines]
    assert all(line["holds"] is None for line in owed)


def recorded(name):
    """A record under benchmarks/results/, and the table of docs/speed.md between its marks."""
    page = (REPOSITORY / "docs" / "speed.md").read_text(encoding="utf-8")
    table = page.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- end of {name} -->")[0]
    return json.loads((REPOSITORY / name).read_text(encoding="utf-8")), table


def test_the_page_shows_the_records():
    found, table = recorded("benchmarks/results/speed.json")
    assert table == speed.markdown(found), "python -m benchmarks.speed --table benchmarks/results/speed.json prints it"
    assert found["goals"][-5:] == speed_gpu.owed() or found["device"] == "cuda"
    longer, table = recorded("benchmarks/results/speed-25.json")
    assert table == speed.markdown(longer) and longer["frames"] == [25] and longer["machine"]["cpu"]
    assert not [line for line in longer["goals"] if line["holds"] is None], "the page names what is owed once"
    found, table = recorded("benchmarks/results/compile.json")
    assert table == speed.compiled_markdown(found)
    found, table = recorded("benchmarks/results/forecast.json")
    assert table == forecast.markdown(found["rows"])
    assert all(row["holds"] == (0.8 <= row["ratio"] <= 1.2) for row in found["rows"])
