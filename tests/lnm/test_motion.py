"""Training on many clips: what is encoded, drawn, held out, learned, resumed; what a fine-tune begins from."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import SIZE, write_tiny_checkpoint

from lnm import clips as many
from lnm import motion, video
from lnm.clips import Source
from lnm.errors import UserError
from lnm.latents import encode
from lnm.pipeline import LateNtMoviesPipeline
from lnm.settings import Finetune, Motion
from lnm.temporal_file import read_temporal
from lnm.validation import GRID

COUNT = 6
QUICK = dict(steps=6, frames=3, warmup_steps=2, checkpoint_every=2, validate_every=3, holdout=0.2, mirror=True, ema=0.9)


def drifting(seed, frames=12):
    picture = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    return np.stack([np.roll(picture, 2 * i, 1) for i in range(frames)])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five videos, one of them in a folder of its own, and one folder of images."""
    folder = tmp_path_factory.mktemp("clips")
    for i in range(COUNT - 1):
        video.write_mp4(folder / ("sea" if i else "sky") / f"{i}.mp4", drifting(i), 8)
    video.write_frames(folder / "frames", drifting(COUNT))
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def pipeline(base):
    torch.manual_seed(torch.seed())
    return LateNtMoviesPipeline.from_pretrained(base)


def encoded(base, folder, cache, **changes):
    """(clips to train on, clips held out) of the folder, encoded."""
    settings, sources = Motion(**QUICK | changes), many.find_clips(folder)
    held = many.held_out(sources, settings.holdout)
    found = many.encode_clips(pipeline(base).vae, "tiny", sources, [s.name for s in sources], cache, SIZE, settings,
                              held, bar=False)
    return [c for c in found if c.content not in held], [c for c in found if c.content in held]


def train(base, folder, cache, pipe=None, **changes):
    pipe = pipe or pipeline(base)
    return pipe, motion.train_motion(pipe, folder, **dict(prompt="waves", cache=cache, size=SIZE) | QUICK | changes)


def learned(pipe):
    return {k: p.detach().clone() for k, p in pipe.unet.temporal_parameters().items()}


# ---------------------------------------------------------------- clips


def test_videos_and_folders_of_images_are_found_at_any_depth(folder, tmp_path):
    found = many.find_clips(folder)
    assert [s.name for s in found] == ["frames", "sea/1.mp4", "sea/2.mp4", "sea/3.mp4", "sea/4.mp4", "sky/0.mp4"]
    with pytest.raises(UserError, match="holds no video"):
        many.find_clips(tmp_path)
    with pytest.raises(UserError, match="nowhere does not exist"):
        many.find_clips(tmp_path / "nowhere")


def test_captions_are_read_by_name_with_or_without_ending(tmp_path):
    names = ["sea/1.mp4", "sky"]
    (tmp_path / "c.csv").write_text("clip,caption\nsea/1,\"waves, far\"\n")
    assert many.read_captions(tmp_path / "c.csv", names, "a film") == ["waves, far", "a film"]
    (tmp_path / "c.json").write_text(json.dumps({"sea/1.mp4": "waves", "sky": "clouds"}))
    assert many.read_captions(tmp_path / "c.json", names, None) == ["waves", "clouds"]
    assert many.read_captions(None, names, "a film") == ["a film"] * 2


@pytest.mark.parametrize("name, text, message", [
    ("c.csv", "clip,text\na,b\n", "must name the columns clip and caption"),
    ("c.csv", "clip,caption\nlake,water\n", "there is no clip 'lake' among the 2 clips"),
    ("c.csv", "clip,caption\nsky\n", "the caption of 'sky' is empty"),
    ("c.json", "{", "cannot be read"), ("c.json", "[]", "should be an object"),
    ("c.json", '{"sky": 3}', "is empty or no text"), ("c.txt", "sky", "must end in .csv or .json"),
    ("c.json", '{"sky": "clouds"}', "sea/1.mp4 has none"), ("c.csv", None, "no such file")])
def test_captions_that_do_not_fit_are_one_line(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message) as error:
        many.read_captions(tmp_path / name, ["sea/1.mp4", "sky"], None)
    assert "\n" not in str(error.value)


def test_what_is_held_out_hangs_on_content_alone():
    clips = [Source(f"{i}", None, f"{i:064x}") for i in range(20)]
    held = many.held_out(clips, 0.1)
    assert len(held) == 2
    copies = [Source(f"copy {c.name}", None, c.content) for c in clips]
    assert many.held_out([*reversed(clips), *copies], 0.1) == held, "copies fall on one side"
    assert many.held_out(clips, 0.0) == set() and len(many.held_out(clips[:3], 0.01)) == 1
    with pytest.raises(UserError, match="of 1 clips none is left"):
        many.held_out(clips[:1], 0.1)


def test_a_mirror_image_is_mirrored_in_pixels(base, tmp_path):
    video.write_frames(tmp_path / "clips" / "one", drifting(3))
    (clip,), _ = encoded(base, tmp_path / "clips", tmp_path / "cache", holdout=0.0)
    frames = video.read(tmp_path / "clips" / "one", 8, SIZE).frames
    from lnm.latents import encode

    vae = pipeline(base).vae
    plain, flipped = (piece[0:12:1] for piece in clip.pieces)
    torch.testing.assert_close(plain, encode(vae, frames), atol=2e-3, rtol=1e-3)  # half precision on disk
    torch.testing.assert_close(flipped, encode(vae, frames[:, :, ::-1]), atol=2e-3, rtol=1e-3)
    assert (flipped - plain.flip(-1)).abs().max() > 0.05, "which is not the mirror image of the latents"


def test_pieces_lie_in_the_picture_have_the_films_shape_and_are_drawn_by_content():
    source = Source("a", None, "ab" * 32)
    crops = [many.crop_of(source, k, (640, 360), (192, 128)) for k in range(1, 40)]
    assert many.crop_of(source, 0, (640, 360), 128) is None
    for x, y, w, h in crops:
        assert 0 <= x <= 640 - w and 0 <= y <= 360 - h and w / h == pytest.approx(1.5, rel=0.01)
        assert many.SMALLEST_CROP * 540 - 1 <= w <= 540
    assert len({tuple(c) for c in crops}) == 39 and crops[0] == many.crop_of(source, 1, (640, 360), (192, 128))
    assert crops[0] != many.crop_of(Source("a", None, "ac" * 32), 1, (640, 360), (192, 128))
    x, y, w, h = many.crop_of(source, 1, (100, 100), 128)
    assert (w, h) == (100, 100), "a source smaller than the film is taken whole"


def test_clips_are_encoded_once_and_what_was_interrupted_goes_on(base, folder, tmp_path, monkeypatch):
    real, seen = many.encode, []

    def dies(vae, frames):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(1)
        return real(vae, frames)

    with monkeypatch.context() as patch:
        patch.setattr(many, "encode", dies)
        with pytest.raises(KeyboardInterrupt):
            encoded(base, folder, tmp_path, crops=2)
    monkeypatch.setattr(many, "encode", lambda vae, frames: seen.append(1) or real(vae, frames))
    train, held = encoded(base, folder, tmp_path, crops=2)
    assert [len(c.pieces) for c in train] == [4] * 4 and [len(c.pieces) for c in held] == [1, 1]
    assert len(seen) == 4 * 4 + 2, "and the three that were there were not encoded again"
    encoded(base, folder, tmp_path, crops=2)
    assert len(seen) == 18
    encoded(base, folder, tmp_path, crops=2, fps=4.0)
    assert len(seen) == 36, "another frame rate is another film"


def test_a_slice_of_encoded_frames_is_that_of_the_tensor(base, folder, cache):
    piece = encoded(base, folder, cache)[0][0].pieces[0]
    whole = piece[0:len(piece):1]
    assert whole.dtype == torch.float32 and len(whole) == len(piece) == 12
    assert torch.equal(piece[2:9:3], whole[2:9:3])


# ---------------------------------------------------------------- a step


def test_a_batch_is_a_function_of_seed_step_and_rank_and_shows_every_clip_and_piece(base, folder, cache):
    pipe, (train_on, _) = pipeline(base), encoded(base, folder, cache)
    settings = Motion(**QUICK | dict(most_frames=5, batch_size=2, strides=[1, 2]))

    def batch(*key):
        return motion.make_motion_batch(train_on, settings, pipe.scheduler, *key)

    (first, which), (again, _) = batch(3, 4, 5), batch(3, 4, 5)
    assert len(which) == 2 and all(torch.equal(first[k], again[k]) for k in first)
    for other in ((4, 4, 5), (3, 5, 5), (3, 4, 6)):
        target = batch(*other)[0]["target"]
        assert target.shape != first["target"].shape or not torch.equal(target, first["target"])
    many_steps = [batch(0, step) for step in range(40)]
    assert {b["target"].shape[2] for b, _ in many_steps} == {3, 4, 5}, "frames are drawn"
    assert {rate for b, _ in many_steps for rate in b["fps"].tolist()} == {8.0, 4.0}
    assert {i for _, chosen in many_steps for i in chosen} == set(range(4))


def test_the_validation_looks_at_the_same_noise_and_timesteps_every_time(base, folder, cache):
    pipe, (_, held) = pipeline(base), encoded(base, folder, cache)
    one, two = (list(motion.validation_batches(held, Motion(**QUICK), pipe.scheduler)) for _ in range(2))
    assert len(one) == GRID * len(held)
    assert [int(b["timestep"]) for _, b in one[:9]] == [55, 166, 277, 388, 500, 611, 722, 833, 944]
    assert all(torch.equal(a["sample"], b["sample"]) for (_, a), (_, b) in zip(one, two, strict=True))


# ---------------------------------------------------------------- the training


def test_it_learns_from_many_clips_and_the_space_stands_still(base, folder, cache, tmp_path):
    before = {k: p.clone() for k, p in pipeline(base).unet.named_parameters()}
    pipe, trained = train(base, folder, cache, steps=60, validate_every=20, store=tmp_path / "store",
                          log=tmp_path / "log.csv", learning_rate=3e-3)
    assert trained.loss_last_tenth < 0.9 * trained.loss_first_tenth
    losses = list(trained.validation.values())
    assert list(trained.validation) == [20, 40, 60] and losses[2] < losses[0]
    spatial = {k: p for k, p in pipe.unet.named_parameters() if k not in pipe.unet.temporal_parameters()}
    assert spatial and all(torch.equal(before[k], p) for k, p in spatial.items())
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [int(r["step"]) for r in rows if r["validation"]] == [19, 39, 59] and len(rows) == 60
    assert float(rows[-1]["lr"]) == pytest.approx(3e-3 * 0.02, rel=0.2), "a cosine to 2%"
    assert not list((tmp_path / "store").glob("*/*"))


def test_a_folder_validation_is_what_is_held_out():
    clips = [Source(name, None, name[-1] * 8) for name in ("a/1", "validation/2", "3", "a/validation/4")]
    assert many.held_out(clips, 0.5) == {"2" * 8} == many.held_out(clips, 0.0)
    with pytest.raises(UserError, match="all lie in validation/"):
        many.held_out(clips[1:2], 0.1)


def test_without_a_rate_each_clip_keeps_its_own(base, tmp_path):
    for fps in (5, 12):
        video.write_mp4(tmp_path / "clips" / f"{fps}.mp4", drifting(fps), fps)
    pipe = pipeline(base)
    trained, held = encoded(base, tmp_path / "clips", tmp_path / "cache", fps=None, holdout=0.0, strides=[1])
    assert sorted(clip.fps for clip in trained) == [5, 12] and not held
    motion.train_motion(pipe, tmp_path / "clips", prompt="x", cache=tmp_path / "cache",
                        settings=Motion(**QUICK | {"fps": None, "holdout": 0.0, "steps": 1}))
    assert pipe.learned["fps"] == 8.5
    video.write_frames(tmp_path / "clips" / "pictures", drifting(1))
    with pytest.raises(UserError, match="pictures is a folder of images, which has no frame rate; give fps"):
        encoded(base, tmp_path / "clips", tmp_path / "cache", fps=None, holdout=0.0)


def test_clips_that_are_held_out_are_never_trained_on(base, folder, cache, monkeypatch):
    real, seen = motion.draw_clips, set()
    monkeypatch.setattr(motion, "draw_clips", lambda piece, *rest: seen.add(piece.path) or real(piece, *rest))
    _, trained = train(base, folder, cache, steps=40)
    held = {c.pieces[0].path for c in encoded(base, folder, cache)[1]}
    assert len(trained.held_out) == 2 and not set(trained.clips) & set(trained.held_out)
    assert len(seen) == 2 * len(trained.clips), "of the others every piece, mirrored or not"
    assert not seen & held


@pytest.mark.parametrize("cut", [3, 4])
def test_interrupted_and_resumed_gives_the_same_bytes(base, folder, cache, tmp_path, monkeypatch, cut):
    whole, _ = train(base, folder, cache, store=tmp_path / "whole", log=tmp_path / "whole.csv")
    real, begun = motion.make_motion_batch, []

    def dies(clips, settings, scheduler, seed, step, *rest):
        if step == cut and cut not in begun:
            begun.append(step)
            raise KeyboardInterrupt
        begun.append(step)
        return real(clips, settings, scheduler, seed, step, *rest)

    monkeypatch.setattr(motion, "make_motion_batch", dies)
    pipe = pipeline(base)
    with pytest.raises(KeyboardInterrupt):
        train(base, folder, cache, pipe, store=tmp_path / "cut", log=tmp_path / "cut.csv")
    del begun[:]
    begun.append(cut)  # which does not die again
    other = pipeline(base) if cut == 3 else pipe  # in a new process, or called again in the same
    train(base, folder, cache, other, store=tmp_path / "cut", log=tmp_path / "cut.csv")
    assert begun[1:] == list(range(cut // 2 * 2, 6))
    assert all(torch.equal(p, learned(whole)[k]) for k, p in learned(other).items())
    assert (tmp_path / "cut.csv").read_text() == (tmp_path / "whole.csv").read_text()


def test_the_pictures_behind_a_piece_are_those_that_were_encoded(base, folder, cache):
    pipe = pipeline(base)
    for clip in encoded(base, folder, cache, crops=2, max_frames=10)[0]:
        assert len(clip.pieces) == 4
        for piece in clip.pieces:
            rows = slice(2, 9, 3)
            assert piece.frames(rows).shape == (3, SIZE, SIZE, 3)
            assert torch.equal(encode(pipe.vae, piece.frames(rows)).half().float(), piece[rows])


def test_in_a_share_of_the_steps_each_frame_is_told_of_the_carried_first_one(base, folder, cache):
    """What the batch holds but for the condition is the same; a picture that drifts is carried to where it drifts."""
    pipe = pipeline(base)
    train_on, _ = encoded(base, folder, cache)
    settings = {share: Motion(**QUICK | {"carried": share, "strides": [1]}) for share in (0.0, 0.5, 1.0)}
    told = {share: [motion.make_motion_batch(train_on, own, pipe.scheduler, 0, step, vae=pipe.vae)[0]
                    for step in range(30)] for share, own in settings.items()}
    channels = told[0.0][0]["target"].shape[1]
    of = {share: [batch["sample"][:, channels + 1:] for batch in batches] for share, batches in told.items()}
    changed = {share: [not torch.equal(a, b) for a, b in zip(of[share], of[0.0])] for share in (0.5, 1.0)}
    assert all(changed[1.0]) and 8 <= sum(changed[0.5]) <= 22
    for plain, carried in zip(told[0.0], told[1.0]):
        assert torch.equal(plain["sample"][:, :channels + 1], carried["sample"][:, :channels + 1])
        assert all(torch.equal(plain[key], carried[key]) for key in ("target", "timestep", "fps", "drop"))
    _, piece = next((clip, piece) for clip in train_on for piece in clip.pieces)
    rows = slice(0, 4)
    clean, carried = piece[rows].movedim(0, 1), motion.carried_first(pipe.vae, piece.frames(rows))
    torch.testing.assert_close(carried[:, 0], clean[:, 0], atol=1e-2, rtol=1e-2)  # the cache is in half precision
    still = clean[:, :1].expand_as(clean)
    assert (carried - clean)[:, 1:].square().mean() < 0.5 * (still - clean)[:, 1:].square().mean()


def test_looking_at_held_out_clips_changes_nothing_that_is_learned(base, folder, cache):
    often, _ = train(base, folder, cache, validate_every=1, ema=0.3)
    seldom, _ = train(base, folder, cache, validate_every=6, ema=0.3)
    assert all(torch.equal(p, learned(seldom)[k]) for k, p in learned(often).items())


def test_each_clip_goes_with_its_own_caption(base, folder, cache, tmp_path, monkeypatch):
    names = [s.name for s in many.find_clips(folder)]
    (tmp_path / "c.json").write_text(json.dumps({name: f"ocean {i}" for i, name in enumerate(names)}))
    given, chosen = [], []
    real, draw = motion.MotionTrainer.descend, motion.make_motion_batch
    monkeypatch.setattr(motion.MotionTrainer, "descend", lambda self, batch, embeds, step: given.append(embeds) or real(
        self, batch, embeds, step))
    monkeypatch.setattr(motion, "make_motion_batch", lambda clips, *rest: [
        drawn := draw(clips, *rest), chosen.extend(clips[i].caption for i in drawn[1])][0])
    pipe, _ = train(base, folder, cache, captions=tmp_path / "c.json", batch_size=2)
    assert len(set(chosen)) > 1
    torch.testing.assert_close(torch.cat(given), pipe.encode_prompt(chosen))


def test_a_fine_tune_begins_from_what_it_writes(base, folder, cache, tmp_path):
    import lnm

    pipe, _ = train(base, folder, cache)
    pipe.save_temporal(tmp_path / "motion.safetensors", torch.float16, checkpoint="tiny")
    notes = read_temporal(tmp_path / "motion.safetensors").notes
    assert (notes.steps, notes.frames, notes.strides, notes.fps, notes.mask_value) == (6, 3, [1, 2], 8.0, 1.0)
    assert (notes.extra["clips"], notes.extra["held_out"]) == (4, 2) and notes.schedule and notes.extra["validation"]
    began, real = [], lnm.training.train
    fresh = pipeline(base)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lnm.training, "train", lambda pipe, *rest, **more: began.append(learned(pipe)) or real(
            pipe, *rest, **more))
        lnm.finetune(fresh, drifting(9)[:, :SIZE, :SIZE], prompt="sea", fps=8, settings=Finetune(
            steps=1, frames=3, init=str(tmp_path / "motion.safetensors")))
    for k, p in learned(pipe).items():
        torch.testing.assert_close(began[0][k], p, atol=1e-3, rtol=1e-3)
    assert not torch.equal(learned(fresh)["fps_embedding.linear_2.weight"], began[0]["fps_embedding.linear_2.weight"])


def test_it_begins_from_a_file_itself(base, folder, cache, tmp_path):
    pipe, _ = train(base, folder, cache)
    pipe.save_temporal(tmp_path / "first.safetensors")
    again, _ = train(base, folder, cache, init=str(tmp_path / "first.safetensors"), learning_rate=1e-12)
    for k, p in learned(pipe).items():
        torch.testing.assert_close(learned(again)[k], p, atol=1e-6, rtol=1e-5)


def test_clips_that_are_too_short_are_left_out_with_a_word_and_an_error_if_all_are(base, folder, cache, tmp_path):
    shutil.copytree(folder, tmp_path / "clips")
    for k in range(3):
        Image.fromarray(drifting(k)[0]).save((tmp_path / "clips" / "frames") / f"0000{k}.png")
    for path in sorted((tmp_path / "clips" / "frames").glob("*.png"))[4:]:
        path.unlink()
    with pytest.warns(UserWarning, match="1 clips have fewer than 5 frames and are left out: frames"):
        _, trained = train(base, tmp_path / "clips", cache, frames=5, steps=2, holdout=0.0)
    assert len(trained.clips) == 5 and trained.validation == {}
    with pytest.raises(UserError, match="none has the 13 frames that motion.frames and motion.strides need"):
        train(base, folder, cache, frames=13)


def test_the_settings_are_checked():
    with pytest.raises(ValueError, match="most_frames 4 is less than frames 8"):
        Motion(most_frames=4)
    with pytest.raises(ValueError):
        Motion(preview_every=3)


def test_layers_of_another_base_are_a_start_with_a_warning(base, folder, cache, tmp_path):
    """A checkpoint that was trained on goes on with the layers of the one before it."""
    before = pipeline(base)
    with torch.no_grad():
        before.unet.conv_in.weight.mul_(1.1)
    train(base, folder, cache, before)
    before.save_temporal(tmp_path / "before.safetensors")
    with pytest.warns(UserWarning, match="another checkpoint"):
        after, _ = train(base, folder, cache, init=str(tmp_path / "before.safetensors"), learning_rate=1e-12)
    for name, layer in learned(after).items():
        torch.testing.assert_close(layer, learned(before)[name], atol=1e-6, rtol=1e-5)
