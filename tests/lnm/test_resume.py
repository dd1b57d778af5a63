"""The resume store: one trainer at a time, checkpoints whole and exact, the log cut back to them."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open

from lnm.errors import UserError
from lnm.resume import LOG_HEADER, ResumeStore


def weights(value=1.0):
    return {"a.weight": torch.nn.Parameter(torch.full((2, 3), value)), "b": torch.nn.Parameter(torch.full((4,), value))}


def optimizer_of(parameters, steps=0):
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.1)
    for i in range(steps):
        for p in parameters.values():
            p.grad = torch.full_like(p, i + 1.0)
        optimizer.step()
    return optimizer


def test_never_two_trainers_on_one_store(tmp_path):
    first = ResumeStore(tmp_path, {"a": 1})
    for identity in ({"a": 1}, {"a": 2}):
        with pytest.raises(UserError, match="another training uses this folder"):
            ResumeStore(tmp_path, identity, patience=0.1)
    first.close(finished=False)
    ResumeStore(tmp_path, {"a": 1}, patience=0.1).close(finished=True)


def test_checkpoints_of_other_settings_go_and_a_users_own_folders_stay(tmp_path):
    ResumeStore(tmp_path, {"a": 1}).close(finished=False)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.txt").write_text("mine")
    store = ResumeStore(tmp_path, {"a": 2})
    assert {p.name for p in tmp_path.iterdir() if p.is_dir()} == {"photos", store.folder.name}
    assert (tmp_path / "photos" / "mine.txt").read_text() == "mine"


def test_a_trainer_that_was_killed_leaves_no_lock(tmp_path):
    code = f"import os; from lnm.resume import ResumeStore; ResumeStore({str(tmp_path)!r} and __import__('pathlib')" \
           f".Path({str(tmp_path)!r}), {{}}); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    ResumeStore(tmp_path, {}, patience=0.1).close(finished=True)


def test_what_was_saved_is_restored_to_the_bit(tmp_path):
    store, trained = ResumeStore(tmp_path, {"a": 1}), weights()
    optimizer = optimizer_of(trained, steps=3)
    store.save(3, {"temporal": trained, "ema": weights(5.0)}, optimizer, {"scale": 1024.0, "_growth_tracker": 2})
    store.log.write_text(LOG_HEADER + "0,1,1,1\n1,1,1,1\n2,1,1,1\n")
    fresh, slow = weights(0.0), weights(0.0)
    again = optimizer_of(fresh)
    step, scaler = store.resume({"temporal": fresh, "ema": slow}, again)
    assert step == 3 and scaler == {"scale": 1024.0, "_growth_tracker": 2}
    assert all(torch.equal(fresh[k], trained[k]) for k in trained) and (slow["b"] == 5).all()
    for parameters, one in ((trained, optimizer), (fresh, again)):
        for p in parameters.values():
            p.grad = torch.full_like(p, 0.3)
        one.step()
    assert all(torch.equal(fresh[k], trained[k]) for k in trained), "the optimiser goes on where it stood"


@pytest.mark.parametrize("step", [0, 1, 4, 6])
def test_the_log_is_cut_back_to_exactly_the_steps_that_the_checkpoint_holds(tmp_path, step):
    store = ResumeStore(tmp_path, {})
    assert store.resume({}, optimizer_of(weights())) == (0, None)
    for i in range(6):
        store.write(i, 10.0 + i, 1e-4, 0.5)
    whole = store.log.read_text().splitlines()
    assert whole[0] + "\n" == LOG_HEADER and whole[3] == "2,12.000000,1.000e-04,0.5000"
    store.save(step, {"temporal": weights()}, optimizer_of(weights()))
    store.resume({"temporal": weights()}, optimizer_of(weights()))
    assert store.log.read_text().splitlines() == whole[:1 + step]
    assert store.losses() == [10.0 + i for i in range(step)]


@pytest.mark.parametrize("old, new", [(b"1,11.0", b"3,11.0"), (b"11.0", b"11:0"), (b"10.0", b"\xff0.0"),
                                      (b"0.5000\n1,", b"0.50001,"), (b"1.000e-04,", b"1.000e-04.")])
def test_a_damaged_line_of_the_log_is_refused_and_one_behind_the_checkpoint_is_cut_off(tmp_path, old, new):
    store = ResumeStore(tmp_path, {})
    store.resume({}, optimizer_of(weights()))
    for i in range(3):
        store.write(i, 10.0 + i, 1e-4, 0.5)
    store.save(2, {"temporal": weights()}, optimizer_of(weights()))
    sound = store.log.read_bytes()
    store.log.write_bytes(sound.replace(b"12.0", b"\xff"))
    assert store.resume({"temporal": weights()}, optimizer_of(weights())) == (2, None)
    assert sound.startswith(store.log.read_bytes()) and store.losses() == [10.0, 11.0]
    store.log.write_bytes(store.log.read_bytes().replace(old, new, 1))
    with pytest.raises(UserError, match="log.csv: (damaged: line [23] is no step's|lacks steps).*; delete "):
        store.resume({"temporal": weights()}, optimizer_of(weights()))


def test_a_checkpoint_that_names_another_step_than_it_was_saved_at_is_refused(tmp_path):
    """The step stands beside the tensors, where their checksum alone would not see a bit turn."""
    store = ResumeStore(tmp_path, {})
    store.resume({}, optimizer_of(weights()))
    for i in range(6):
        store.write(i, 1.0, 1e-4, 0.5)
    store.save(6, {"temporal": weights()}, optimizer_of(weights()))
    data = store.path.read_bytes()
    assert data.count(b'"step":"6"') == 1
    store.path.write_bytes(data.replace(b'"step":"6"', b'"step":"4"'))
    with pytest.raises(UserError, match="checkpoint.safetensors: damaged: the step that it names .*; delete "):
        store.resume({"temporal": weights()}, optimizer_of(weights()))


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    store = ResumeStore(tmp_path, {})
    store.save(1, {"temporal": weights(1.0)}, optimizer_of(weights()))
    monkeypatch.setattr("lnm.resume.os.replace", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        store.save(2, {"temporal": weights(2.0)}, optimizer_of(weights()))
    with safe_open(store.path, "pt") as f:
        assert f.metadata()["step"] == "1" and json.loads(f.metadata()["scaler"]) is None
        assert (f.get_tensor("temporal/b") == 1).all()


def test_other_settings_leave_nothing_and_a_finished_run_neither(tmp_path):
    first = ResumeStore(tmp_path / "deep" / "down", {"rate": 1, "steps": 2})
    first.save(1, {"temporal": weights()}, optimizer_of(weights()))
    first.close(finished=False)
    again = ResumeStore(tmp_path / "deep" / "down", {"steps": 2, "rate": 1})
    assert again.path.exists(), "an interrupted run is found again by the same settings"
    again.close(finished=False)
    second = ResumeStore(tmp_path / "deep" / "down", {"rate": 2, "steps": 2})
    assert not first.folder.exists() and not second.path.exists()
    second.close(finished=True)
    assert not second.folder.exists()


def test_of_several_processes_one_writes_and_all_read(tmp_path):
    main = ResumeStore(tmp_path, {})
    other = ResumeStore(tmp_path, {}, patience=0.1, main=False)
    other.save(7, {"temporal": weights(7.0)}, optimizer_of(weights()))
    other.write(0, 1.0, 1.0, 1.0)
    assert not main.path.exists() and not main.log.exists()
    main.log.write_text(LOG_HEADER)
    main.write(0, 1.0, 1.0, 1.0)
    main.save(1, {"temporal": weights(3.0)}, optimizer_of(weights()))
    mine = weights()
    assert other.resume({"temporal": mine}, optimizer_of(mine))[0] == 1 and (mine["b"] == 3).all()
    other.close(finished=True)
    assert main.path.exists() and len(main.losses()) == 1
    main.close(finished=True)
