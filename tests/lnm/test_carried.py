"""A fine-tune whose frames are told of the carried first one in a share of the steps, as films from the flow are."""

import numpy as np
import pytest
import torch
from tiny import SIZE, tiny_finetune, tiny_settings, write_tiny_checkpoint, write_tiny_prepared

import lnm
from lnm import batches, training, video
from lnm.errors import UserError
from lnm.flow import backward_flow, carried
from lnm.latents import encode, load_latents
from lnm.pipeline import LateNtMoviesPipeline
from lnm.stages import finetune as stage
from lnm.validation import GRID, places


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def pipe(base):
    torch.manual_seed(torch.seed())
    return LateNtMoviesPipeline.from_pretrained(base)


def drift(count=12, seed=0):
    picture = np.random.default_rng(seed).integers(0, 256, (SIZE // 4, SIZE // 4, 3), dtype=np.uint8)
    return np.stack([np.roll(picture.repeat(4, 0).repeat(4, 1), i, axis=1) for i in range(count)])


def test_the_first_frame_is_carried_by_the_frames_own_flow_and_encoded(pipe):
    frames = drift(4)
    told = batches.carried_first(pipe.vae, frames)
    film = np.stack(list(carried(frames[0], backward_flow(frames), frames)))
    assert torch.equal(told, encode(pipe.vae, film, 1).movedim(0, 1)) and np.array_equal(film[0], frames[0])
    away = [np.abs(of[-1].astype(int) - frames[-1]).mean() for of in (film, frames[:1])]
    assert away[0] < 0.5 * away[1], "carried to where the picture has drifted"


def test_a_share_of_the_steps_is_told_of_it_and_nothing_else_changes(pipe):
    frames, asked = [drift(9), drift(7, 1)], []
    latents = [encode(pipe.vae, clip) for clip in frames]

    def told(clip, rows):
        asked.append((clip, rows))
        return batches.carried_first(pipe.vae, frames[clip][rows])

    def batch(share, step):
        return batches.make_batch(latents, tiny_settings(carried=share, batch_size=2), 8.0, pipe.scheduler, 0, step,
                                  told=told)

    channels = latents[0].shape[1]
    for step in range(40):
        plain, changed = batch(0.0, step), batch(1.0, step)
        assert all(torch.equal(plain[key], changed[key]) for key in ("target", "timestep", "fps", "drop"))
        assert torch.equal(plain["sample"][:, :channels + 1], changed["sample"][:, :channels + 1])
        for still, each, (clip, rows) in zip(plain["sample"], changed["sample"], asked[-2:], strict=True):
            assert torch.equal(still[channels + 1:, 0], latents[clip][rows.start])
            assert torch.equal(each[channels + 1:], batches.carried_first(pipe.vae, frames[clip][rows]))
    assert len(asked) == 80 and {clip for clip, _ in asked} == {0, 1}
    asked.clear()
    for step in range(40):
        batch(0.5, step)
    assert 20 <= len(asked) <= 60


@pytest.mark.parametrize("share, told", [(0.0, "s"), (0.5, "sc"), (1.0, "c")])
def test_a_step_is_chosen_as_steps_are_told(pipe, share, told):
    frames, settings = drift(6), tiny_settings(carried=share, strides=[1])
    trainer = training.Trainer(pipe, "waves", settings, training.make_accelerator(settings, "cpu"), "sea")
    held = encode(pipe.vae, frames)
    batched = [batch["sample"] for _, batch in training._held_batches(trainer, held, 8.0, [frames] if share else None)]
    assert len(batched) == 2 * len(told) * GRID
    for number, sample in enumerate(batched):
        place, way = divmod(number // GRID, len(told))
        rows = places(len(held), settings)[place]
        stills = {"s": held[rows][:1].expand(3, -1, -1, -1), "c": batches.carried_first(
            pipe.vae, frames[rows]).movedim(1, 0)}
        assert torch.equal(sample[0, held.shape[1] + 1:].movedim(1, 0), stills[told[way]])


def test_latents_alone_are_refused(pipe):
    settings = tiny_settings(carried=0.5)
    with pytest.raises(UserError, match="sea: carried 0.5 needs the clip's pictures beside its latents; give them, or"):
        training.train(pipe, encode(pipe.vae, drift()), "waves", 8.0, settings,
                       training.make_accelerator(settings, "cpu"), name="sea")


def test_what_is_held_apart_is_not_trained_on(pipe, monkeypatch):
    """Of a clip whose last part differs, only the look at it is told of it."""
    frames, seen, real = drift(12), [], batches.carried_first
    for module in (batches, training):  # the one looks, the other trains
        monkeypatch.setattr(module, "carried_first", lambda vae, rows: seen.append(rows) or real(vae, rows))
    lnm.finetune(pipe, frames, prompt="waves", fps=8, settings=tiny_settings(
        carried=1.0, steps="auto", most_steps=4, validate_every=4, validation=0.25))
    trained, held = ([any(np.array_equal(row, frame) for rows in seen for row in rows) for frame in part]
                     for part in (frames[:9], frames[9:]))
    assert sum(trained) > 3 and all(held)
    for rows in seen:  # none reaches over both
        assert len({int(next(i for i, frame in enumerate(frames) if np.array_equal(row, frame))) >= 9
                    for row in rows}) == 1


def test_the_stage_shows_each_clips_own_pictures_and_the_arms_the_still_alone(base, tmp_path, monkeypatch):
    prepared = write_tiny_prepared(tmp_path / "prepared", base)
    other = drift(7, 3)
    video.write_frames(prepared / "clips" / "2" / "train", other)
    cached = load_latents(prepared)
    pipe = LateNtMoviesPipeline.from_pretrained(base)
    lnm.tensors.write(prepared / "latents.safetensors", {**cached, "train_2": encode(pipe.vae, other)})
    given, real = [], stage.train
    monkeypatch.setattr(stage, "train", lambda *a, pictures=None, **k: given.append((a[4].carried, pictures)) or real(
        *a, pictures=pictures, **k))
    first = tmp_path / "first"
    stage.finetune(prepared, first, tmp_path / "s", **tiny_finetune(base, steps=2))
    stage.finetune(prepared, tmp_path / "out", tmp_path / "store", **tiny_finetune(
        base, steps=2, carried=0.5, seeds=2, identity_steps=2, noise_steps=2,
        init=str(first / "temporal.safetensors")))
    shares, pictures = zip(*given, strict=True)
    assert shares == (0.0, 0.5, 0.5, 0.0, 0.0) and pictures[0] is pictures[3] is pictures[4] is None
    for shown in pictures[1:3]:
        assert len(shown) == 2 and np.array_equal(shown[1], other)
        assert np.array_equal(shown[0], video.read_frames(prepared / "train"))
