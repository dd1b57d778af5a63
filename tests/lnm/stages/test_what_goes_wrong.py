"""Stages that train, interrupted between their trainings, after them, in the middle of tidying up; numbers that are not
finite; a log that was lost. Nothing that a checkpoint holds is done again, and nothing damaged is gone on from."""

import pytest
import torch
from tiny import tiny_finetune, tiny_settings, write_tiny_finetuned

from lnm import resume, training
from lnm.errors import UserError
from lnm.resume import ResumeStore
from lnm.settings import Sample
from lnm.stages import rivals
from lnm.stages.finetune import finetune

STEPS = 6  # of a fine-tune; a checkpoint every second


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny checkpoint, a prepared clip, and temporal layers to start from."""
    return write_tiny_finetuned(tmp_path_factory.mktemp("tiny"), steps=1)


def tune(tiny, folder, **changes):
    """Two fine-tunes and one from the identity: every file that they leave."""
    checkpoint, prepared, init = tiny
    finetune(prepared, folder / "out", folder / "store",
             **tiny_finetune(checkpoint, init=str(init), seeds=2, identity_steps=4, **changes))
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in (folder / "out").rglob("*") if path.is_file()}


def watched(monkeypatch, stop=None, spoil=None):
    """The steps that are begun from now on. Counted from 0 over all: number `stop` is interrupted, the target of number
    `spoil[0]` is multiplied by `spoil[1]`."""
    begun, real = [], training.make_batch

    def watch(latents, settings, fps, scheduler, seed, step, *rest, **told):
        if len(begun) == stop:
            raise KeyboardInterrupt
        begun.append(step)
        batch = real(latents, settings, fps, scheduler, seed, step, *rest, **told)
        if spoil and len(begun) - 1 == spoil[0]:
            batch["target"] = batch["target"] * spoil[1]
        return batch

    monkeypatch.setattr(training, "make_batch", watch)
    return begun


# of 6 + 6 + 4 steps: in the second fine-tune before and after a checkpoint, in the one from the identity
@pytest.mark.parametrize("stop, goes_on", [(7, [*range(6), *range(4)]), (11, [4, 5, *range(4)]), (15, [2, 3])])
def test_interrupted_in_a_later_fine_tune_it_takes_no_step_of_an_earlier_one_again(tiny, tmp_path, monkeypatch, stop,
                                                                                   goes_on):
    whole = tune(tiny, tmp_path / "whole")
    with monkeypatch.context() as patch:
        begun = watched(patch, stop)
        with pytest.raises(KeyboardInterrupt):
            tune(tiny, tmp_path / "cut")
    assert begun == [*range(STEPS), *range(STEPS), *range(4)][:stop]
    begun = watched(monkeypatch)
    assert tune(tiny, tmp_path / "cut") == whole and begun == goes_on
    assert not list((tmp_path / "cut" / "store").rglob("*.safetensors")), "nothing is left to resume"


def test_steps_that_a_held_out_loss_chose_are_kept_as_well(tiny, tmp_path, monkeypatch):
    """The loss is here how far the weights have come, on any machine alike: each look is worse than the one before the
    first step, so two are enough."""
    auto = {"steps": "auto", "most_steps": 40, "validate_every": 3, "patience": 2, "checkpoint_every": 100}

    def distance(trainer, batches):
        first = trainer.__dict__.setdefault("first", {k: p.detach().clone() for k, p in trainer.trained.items()})
        return sum(float((p.detach() - first[k]).abs().sum()) for k, p in trainer.trained.items())

    monkeypatch.setattr(training.Trainer, "held_out_loss", distance)
    whole = tune(tiny, tmp_path / "whole", **auto)
    taken = len(whole["out/log.csv"].splitlines()) - 1
    assert taken == 6
    with monkeypatch.context() as patch:
        watched(patch, taken + 1)
        with pytest.raises(KeyboardInterrupt):
            tune(tiny, tmp_path / "cut", **auto)
    begun = watched(monkeypatch)
    assert tune(tiny, tmp_path / "cut", **auto) == whole
    again = len(whole["out/seeds/1/log.csv"].splitlines()) - 1 + 4
    assert len(begun) == again, "none of the first fine-tune's"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_number_that_is_not_finite_stops_at_a_sound_checkpoint(tiny, tmp_path, monkeypatch, value):
    """1e30, squared, is more than float32 holds."""
    whole = tune(tiny, tmp_path / "whole")
    with monkeypatch.context() as patch:
        watched(patch, spoil=(5, value))
        with pytest.raises(UserError, match="drift: the loss is not finite at step 5; lower finetune.learning_rate .*"
                                            "the last checkpoint is sound") as error:
            tune(tiny, tmp_path / "cut")
    assert "\n" not in str(error.value) and not (tmp_path / "cut" / "out" / "temporal.safetensors").exists()
    begun = watched(monkeypatch)
    assert tune(tiny, tmp_path / "cut") == whole and begun[:2] == [4, 5]


def test_a_rival_that_is_trained_is_not_trained_again_for_its_films(tiny, tmp_path, monkeypatch):
    checkpoint, prepared, _ = tiny

    def film(folder):
        return rivals.film_rivals(prepared, folder / "out", folder / "store", methods=("animatediff", "dreamix"),
                                  settings=tiny_settings(), sample=Sample(num_frames=3, num_inference_steps=1, seeds=1),
                                  checkpoint=str(checkpoint), device="cpu", name="drift")

    whole, taken, step = film(tmp_path / "whole"), [], training.Trainer.step
    monkeypatch.setattr(training.Trainer, "step", lambda *given: taken.append(given[-1]) or step(*given))
    with monkeypatch.context() as patch:
        patch.setattr(rivals, "write_film", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            film(tmp_path / "cut")
    assert taken == list(range(STEPS))
    taken.clear()
    assert film(tmp_path / "cut") == whole and taken == list(range(STEPS)), "those of the second alone"
    assert not list((tmp_path / "cut" / "store").rglob("*.safetensors"))


def layers():
    return {"a": torch.nn.Parameter(torch.ones(3))}


def stored(folder, rows=2):
    store, trained = ResumeStore(folder, {}), layers()
    store.resume({}, torch.optim.AdamW(trained.values()))
    for step in range(rows):
        store.write(step, 1.0, 1.0, 1.0)
    store.save(2, {"temporal": trained}, torch.optim.AdamW(trained.values()))
    return store


@pytest.mark.parametrize("lose", [lambda path: path.unlink(), lambda path: path.write_text(""),
                                  lambda path: path.write_text(path.read_text().rpartition("1,")[0])])
def test_a_checkpoint_without_its_log_is_refused_in_one_line(tmp_path, lose):
    store, fresh = stored(tmp_path), layers()
    lose(store.log)
    with pytest.raises(UserError, match=f"lacks steps.*delete {store.folder}") as error:
        store.resume({"temporal": fresh}, torch.optim.AdamW(fresh.values()))
    assert "\n" not in str(error.value)


def test_the_log_is_cut_back_whole_or_not_at_all(tmp_path, monkeypatch):
    store, fresh = stored(tmp_path, rows=4), layers()
    monkeypatch.setattr("lnm.files.os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    before = store.log.read_text()
    with pytest.raises(KeyboardInterrupt):
        store.resume({"temporal": fresh}, torch.optim.AdamW(fresh.values()))
    assert store.log.read_text() == before


def test_a_kill_while_a_finished_store_is_removed_leaves_none_to_go_on_from(tmp_path, monkeypatch):
    store, fresh = stored(tmp_path), layers()
    with monkeypatch.context() as patch:
        patch.setattr(resume.shutil, "rmtree", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            store.close(finished=True)
    store.log.unlink()  # of what is left, whatever was removed
    store.lock.release()
    again = ResumeStore(tmp_path, {})
    assert again.resume({"temporal": fresh}, torch.optim.AdamW(fresh.values())) == (0, None)
