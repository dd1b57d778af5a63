"""benchmarks.gains at a tiny size: that every switch switches what it says, and nothing else; not how fast."""

import json

import pytest
import torch
from conftest import REPOSITORY

from benchmarks import gains, speed_models
from lnm import lion, pseudo3d


def one(make, frames=None):
    """The first gain that is made so (of so many frames)."""
    return next(gain for gain in gains.GAINS if gain.make is make and frames in (None, gain.frames))


@pytest.fixture
def arms(monkeypatch):
    """The U-Nets that are made, in their order."""
    made, make = [], speed_models.make
    monkeypatch.setattr(speed_models, "make", lambda *given: made.append(make(*given)) or made[-1])
    return made


def test_every_gain_runs_and_what_this_machine_cannot_tell_is_owed(tmp_path, monkeypatch, capsys):
    path = tmp_path / "gains.json"
    assert gains.main(["--quick", "--json", str(path)]) == 0
    found = json.loads(path.read_text())
    assert capsys.readouterr().out.strip() == gains.markdown(found)
    assert found["machine"]["cpu"] and [row["gain"] for row in found["gains"]] == [gain.what for gain in gains.GAINS]
    for row, gain in zip(found["gains"], gains.GAINS, strict=True):
        assert (row["owed"] is None) == (gain.make is not gains.compiling)
        for kind in ("time", "memory"):
            assert (row[kind] is not None) == (kind in gain.of and row["owed"] is None), row
            assert row[kind] is None or row[kind] > 0

    monkeypatch.setattr(gains, "measured", lambda gain, *_: {**gains._owed(gain), "time": 1.5, "owed": None})
    monkeypatch.setattr(gains, "half_precision", lambda device: "no")
    rows = gains.measure("small", "cpu", 1)["gains"]
    assert [row["gain"] for row in rows if row["owed"]] == [
        one(make).what for make in (gains.half_frozen, gains.half_sampling, gains.waits, gains.compiling)]
    monkeypatch.setattr(gains, "half_precision", lambda device: "bf16")
    assert gains.measure("small", "cpu", 1)["gains"][1]["owed"] is None
    table = gains.markdown({"gains": rows})
    assert "| owed: a CPU is not waited for |" in table and f"| measured in {gains.COMPILED} |" in table


def test_a_few_can_be_measured_anew(tmp_path, monkeypatch, capsys):
    path, asked = tmp_path / "gains.json", []
    monkeypatch.setattr(gains, "measured", lambda gain, *_: asked.append(gain.what) or {
        **gains._owed(gain), "time": float(len(asked)), "owed": None})
    assert gains.main(["--size", "small", "--json", str(path)]) == 0
    before, count = json.loads(path.read_text())["gains"], len(asked)
    assert gains.main(["--size", "small", "--only", "decoding", "--json", str(path)]) == 0
    assert len(asked) == count + 1 and asked[-1].startswith("decoding")
    for old, new in zip(before, json.loads(path.read_text())["gains"], strict=True):
        assert (old == new) != new["gain"].startswith("decoding")
    assert gains.main(["--size", "small", "--rounds", "2", "--only", "decoding", "--json", str(path)]) == 2
    assert "another machine, size or number of rounds" in capsys.readouterr().err


def test_weights_are_held_in_half_precision_where_they_are_frozen(arms):
    for on in (True, False):
        gains.half_frozen("small", "cpu", 3, on)()
        model = arms[-1].model
        assert model.conv_in.weight.dtype == (torch.bfloat16 if on else torch.float32)
        assert {p.dtype for p in arms[-1].trained} == {torch.float32}
        gains.half_sampling("small", "cpu", 3, on)()
        assert {p.dtype for p in arms[-1].model.parameters()} == {torch.bfloat16 if on else torch.float32}


@pytest.mark.parametrize("frames, fused", [(gains.LONG, True), (gains.WINDOW, False)])
def test_attention_is_taken_in_its_other_form(frames, fused, monkeypatch, arms):
    taken = []
    for name, module in (("_fused", pseudo3d), ("written_out", gains)):
        own = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, own=own, name=name: taken.append(name) or own(*given))
    outs = []
    for on in (True, False):
        run = gains.attention("small", "cpu", frames, on)
        call = arms[-1].call
        arms[-1].call = lambda *given, call=call: outs.append(call(*given)) or outs[-1]
        taken.clear()
        run()
        assert set(taken) == ({"_fused"} if on and fused else set() if on else {"written_out"} if fused else {"_fused"})
    assert torch.allclose(*outs, atol=1e-5) and pseudo3d.PLAIN_FRAMES == 32


def test_what_is_written_out_is_what_the_fused_kernel_gives():
    q, k, v = torch.randn(3, 2, 5, 4, 7, 8, generator=torch.Generator().manual_seed(0))
    bias = torch.randn(4, 7, 7, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(gains.written_out(q, k, v, bias), pseudo3d._fused(q, k, v, bias), atol=1e-6)


def test_lion_moves_the_same_weights_at_once_and_one_by_one(monkeypatch, arms):
    blocks, own = [], lion._blocks

    def counted(params):
        for block in own(params):
            blocks.append(len(block))
            yield block

    monkeypatch.setattr(lion, "_blocks", counted)
    for on in (True, False):
        run = gains.optimiser("small", "cpu", 0, on)
        blocks.clear()
        run()
        assert sum(blocks) == len(arms[-1].trained) and (len(blocks) <= 2 if on else set(blocks) == {1})
    assert all(torch.equal(a, b) for a, b in zip(*(arm.trained for arm in arms), strict=True))


def test_a_step_that_waits_once_is_the_step_that_waits_for_each(monkeypatch, arms):
    read = []
    for name in ("item", "tolist"):
        own = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, own=own, name=name: read.append(name) or own(self))
    found = []
    for on in (True, False):
        run = gains.waits("small", "cpu", 3, on)
        with_gradient = len(arms[-1].trained)
        read.clear()
        found.append(run())
        assert read == ["tolist"] if on else len(read) > with_gradient // 2 and set(read) == {"item"}
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*(arm.trained for arm in arms), strict=True))


@pytest.mark.parametrize("make, method", [(gains.decoding, "decode"), (gains.encoding, "encode")])
def test_the_autoencoder_takes_a_few_frames_or_all(make, method, monkeypatch):
    vae, sizes = gains.autoencoder("small", "cpu"), []
    own = getattr(vae, method)
    monkeypatch.setattr(gains, "autoencoder", lambda size, device: vae)
    runs = {on: make("small", "cpu", 20, on) for on in (True, False)}
    setattr(vae, method, lambda batch: sizes.append(len(batch)) or own(batch))
    outs = [runs[True](), runs[False]()]
    assert sizes == [8, 8, 4, 20] and outs[0].shape == outs[1].shape


@pytest.mark.parametrize("make", [gains.decoding, gains.encoding, gains.one_unet, gains.checkpointing])
def test_less_is_held(make):
    with_it, without = (gains.held(lambda on=on: make("small", "cpu", 16, on), "cpu") for on in (True, False))
    assert 0 < 1.2 * with_it < without


def test_a_unet_inflated_in_place_is_the_checkpoint_s():
    base, unet = gains.one_unet("small", "cpu", 0, True)()
    assert unet.conv_in.weight is base.conv_in.weight
    base, unet = gains.one_unet("small", "cpu", 0, False)()
    assert unet.conv_in.weight is not base.conv_in.weight


def test_the_compiled_one_is_compiled(monkeypatch, arms):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: setattr(self, "was_compiled", True))
    for on in (True, False):
        gains.compiling("small", "cpu", 3, on)()
        assert hasattr(arms[-1].model, "was_compiled") == on


def test_rounds_take_turns_and_the_first_is_not_counted():
    order = []
    on, off = gains.alternately(lambda: order.append("on"), lambda: order.append("off"), "cpu", 2)
    assert order == ["on", "off", "off", "on", "on", "off"] and len(on) == len(off) == 2


def test_the_page_shows_the_record():
    name = "benchmarks/results/gains.json"
    page = (REPOSITORY / "docs" / "speed.md").read_text(encoding="utf-8")
    table = page.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- end of {name} -->")[0]
    assert table == gains.markdown(json.loads((REPOSITORY / name).read_text(encoding="utf-8"))), (
        f"python -m benchmarks.gains --table {name} prints it")
