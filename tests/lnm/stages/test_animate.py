"""lnm.animate: from a still and a clip to a film in one call, with what was learned kept for the next still."""

import json
import os

import numpy as np
import pytest
from PIL import Image
from tiny import SIZE, write_tiny_checkpoint
from tiny_decoder import wake_decoder

import lnm
from lnm import video
from lnm.checkpoint import open_checkpoint
from lnm.decoder import save_decoder
from lnm.errors import UserError
from lnm.latents import decode, encode, load_latents
from lnm.likeness import match_colours
from lnm.settings import Finetune, Sample, sample_of
from lnm.stages import animate as stage
from lnm.temporal_file import read_temporal

SMALL = dict(prompt="waves", size=SIZE, device="cpu", settings=Finetune(steps=3, frames=3),
             sample=Sample(num_frames=4, num_inference_steps=2))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "checkpoint")


@pytest.fixture
def folder(tmp_path, monkeypatch, checkpoint):
    """A clip of 32 frames at 16 fps that drifts, the same as a folder, two stills like it; the working folder."""
    picture = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    frames = np.stack([np.roll(picture, i, 1) for i in range(32)])
    video.write_mp4(tmp_path / "clip.mp4", frames, 16)
    video.write_frames(tmp_path / "frames", frames)
    for i in range(2):
        Image.fromarray(np.roll(picture, 3 * i, 0)).save(tmp_path / f"still{i}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(SMALL, "checkpoint", str(checkpoint))
    return tmp_path


def test_a_still_becomes_a_film_and_a_second_still_needs_no_training(folder, monkeypatch):
    made = lnm.animate("still0.png", like="clip.mp4", out="film.mp4", fps=6, **SMALL)
    assert made.frames.shape == (4, SIZE, SIZE, 3) and made.fps == 6 and made.path == folder / "film.mp4"
    film = video.read(folder / "film.mp4")
    assert film.frames.shape == made.frames.shape and abs(film.fps - 6) < 0.01
    first = (folder / "film.mp4").read_bytes()
    assert made.temporal.is_relative_to(folder / "cache" / "latentmovies" / "animate")
    with monkeypatch.context() as patch:
        patch.setattr(stage, "finetune", lambda *a, **k: pytest.fail("trained again"))
        again = lnm.animate("still1.png", like="clip.mp4", out="b.gif", fps=6, num_frames=5, **SMALL)
        assert len(again.frames) == 5 and video.read_frames(folder / "b.gif").shape[0] == 5
        patch.setattr(stage, "sample_films", lambda *a, **k: pytest.fail("sampled again"))
        lnm.animate("still0.png", like="clip.mp4", out="film.mp4", fps=6, **SMALL)
    assert (folder / "film.mp4").read_bytes() == first and not list(folder.glob("*.part"))
    assert lnm.animate("still0.png", like="clip.mp4", fps=6, **SMALL).path is None


def test_all_of_the_clip_is_learned_from(folder):
    made = lnm.animate("still0.png", like="clip.mp4", fps=8, store="store", **SMALL)
    prepared = [p.parent for p in (folder / "store").glob("*/prepare/clip.json")]
    assert len(load_latents(prepared[0])["train"]) == 16 == len(video.read("clip.mp4", 8))
    assert made.findings["frames"] == 16


@pytest.mark.parametrize("changes", [{"prompt": "clouds"}, {"seed": 1}, {"steps": 2}, {"size": (48, 32)}, {"fps": 4}])
def test_what_decides_what_is_learned_trains_anew(folder, monkeypatch, changes):
    lnm.animate("still0.png", like="clip.mp4", **{"fps": 8} | SMALL)
    trained, real = [], stage.finetune
    monkeypatch.setattr(stage, "finetune", lambda *a, **k: trained.append(1) or real(*a, **k))
    made = lnm.animate("still0.png", like="clip.mp4", **{"fps": 8} | SMALL | changes)
    assert trained and (made.frames.shape[1:3] == (32, 48) or "size" not in changes)


def test_layers_for_films_that_begin_from_noise_are_told_of_the_still_alone(folder):
    """Those that are told of the carried still alone cannot begin from noise."""
    said, told = [], {"settings": SMALL["settings"].model_copy(update={"carried": 1.0})}
    plain = lnm.animate("still0.png", like="clip.mp4", fps=8, say=said.append, **SMALL | told)
    assert "carried: 0, for films begin from noise" in said
    assert plain.temporal == lnm.animate("still0.png", like="clip.mp4", fps=8, **SMALL).temporal
    flow, said = SMALL["sample"].model_copy(update={"begin": "flow", "strength": 1.0}), []
    made = lnm.animate("still0.png", like="clip.mp4", fps=8, say=said.append, **SMALL | told | {"sample": flow})
    assert made.temporal != plain.temporal and not any("carried" in line for line in said)
    assert (made.temporal.parent / "temporal.safetensors").is_file()
    sharp = lnm.animate("still0.png", like="clip.mp4", fps=8, **SMALL | told | {"sample": flow}).frames[0]
    soft = lnm.animate("still0.png", like="clip.mp4", fps=8, **SMALL | told | {
        "sample": flow.model_copy(update={"restore_detail": False})}).frames[0]
    assert not np.array_equal(sharp, soft), "with the still's own detail, and without"


def test_another_checkpoint_under_the_same_name_trains_anew(folder):
    mine = {"checkpoint": str(folder / "mine")}
    write_tiny_checkpoint(folder / "mine")
    first = lnm.animate("still0.png", like="clip.mp4", fps=8, **SMALL | mine)
    write_tiny_checkpoint(folder / "mine", block_out_channels=(16, 24))
    second = lnm.animate("still0.png", like="clip.mp4", fps=8, **SMALL | mine)
    assert read_temporal(first.temporal).base != read_temporal(second.temporal).base


def test_a_decoder_in_time_is_the_default_s_where_there_is_one_and_another_makes_a_new_film(folder, monkeypatch):
    decoder = folder / "built" / "decoder.safetensors"
    decoder.parent.mkdir()
    vae = open_checkpoint(SMALL["checkpoint"]).vae
    save_decoder(wake_decoder(vae, size=0.2), decoder)
    for module in ("hub", "settings"):
        monkeypatch.setattr(f"lnm.{module}.builtin", {"lnm-mini-decoder": decoder.parent}.get)
    assert sample_of("checkpoints/lnm-mini").temporal_decoder == "lnm-mini-decoder"
    assert sample_of("somebody/else") == Sample()
    timed = SMALL | {"sample": Sample(num_frames=4, num_inference_steps=2, temporal_decoder="lnm-mini-decoder")}
    plain = lnm.animate("still0.png", like="clip.mp4", fps=8, **SMALL)
    first = lnm.animate("still0.png", like="clip.mp4", fps=8, **timed)
    save_decoder(wake_decoder(vae, seed=1, size=0.2), decoder)
    second = lnm.animate("still0.png", like="clip.mp4", fps=8, **timed)
    assert plain.temporal == first.temporal == second.temporal, "nothing is learned anew"
    assert len({film.frames.tobytes() for film in (plain, first, second)}) == 3
    asked = []
    monkeypatch.setattr(stage, "locate_decoder", lambda name: asked.append(name) or decoder)
    monkeypatch.setattr(stage, "finetune_of", lambda checkpoint: SMALL["settings"])
    monkeypatch.setattr(stage, "sample_of", lambda checkpoint: timed["sample"])
    lnm.animate("still0.png", like="clip.mp4", fps=8, **{k: v for k, v in SMALL.items() if k != "sample"})
    assert asked == ["lnm-mini-decoder"]


def test_warnings_about_clip_and_still_are_said_before_the_training(folder, monkeypatch):
    """A pan, and a still of another scene: what the first user met as a plain "film:"."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 60, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    video.write_mp4(folder / "pan.mp4", np.stack([noise[:96, 3 * i:96 + 3 * i] for i in range(32)]), 8)
    Image.fromarray(np.full((64, 64, 3), (250, 120, 10), np.uint8)).save(folder / "orange.png")
    said, real = [], stage.finetune
    monkeypatch.setattr(stage, "finetune", lambda *a, **k: said.append("training") or real(*a, **k))
    made = lnm.animate("orange.png", like="pan.mp4", fps=8, say=said.append, **SMALL)
    before = said[:said.index("training")]
    assert not made.findings["ok"] and all(line.startswith("warning: ") and "\n" not in line for line in before)
    assert any("camera seems to move" in line for line in before)
    assert any("still does not look like the clip" in line for line in before)
    again = []
    lnm.animate("orange.png", like="pan.mp4", fps=8, say=again.append, **SMALL)
    assert again == before, "said again where nothing is trained"
    for camera, refusal in (("refuse", "^The camera seems to move"), ("steady", "^camera: .*steady")):
        with pytest.raises(UserError, match=refusal):
            lnm.animate("orange.png", like="pan.mp4", fps=8, camera=camera, **SMALL)


def test_a_clip_is_stabilised_where_that_is_asked_for(folder, tmp_path):
    import cv2

    noise = cv2.GaussianBlur(np.random.default_rng(1).random((96, 104, 3)).astype(np.float32), (0, 0), 1.5)
    wide = ((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)
    video.write_frames(folder / "shaken", np.stack([wide[:, 6 * (i % 2):][:, :96] for i in range(28)]))
    for camera, done in (("warn", None), ("stabilise", "stabilise")):
        lnm.animate("still0.png", like="shaken", fps=8, camera=camera, store=tmp_path / camera,
                    **SMALL | {"size": 64})
        clip, = (json.loads(path.read_text()) for path in (tmp_path / camera).glob("*/prepare/clip.json"))
        assert clip.get("camera", {}).get("done") == done
    for segment, least in ((None, 24), (12, 12)):
        store = tmp_path / f"segment {least}"
        lnm.animate("still0.png", like="shaken", fps=8, camera="segment", segment=segment, store=store,
                    **SMALL | {"size": 64})
        clip, = (json.loads(path.read_text()) for path in store.glob("*/prepare/clip.json"))
        start, end = clip["camera"]["frames"]
        assert end - start == least


def test_a_still_takes_the_clips_colours_and_nothing_is_learned_anew_for_it(folder, tmp_path, monkeypatch):
    Image.fromarray(np.full((64, 64, 3), (250, 120, 10), np.uint8)).save(folder / "orange.png")
    trained, real = [], stage.finetune
    monkeypatch.setattr(stage, "finetune", lambda *a, **k: trained.append(1) or real(*a, **k))
    for match in (False, True):
        lnm.animate("orange.png", like="clip.mp4", fps=8, match_colours=match, store=tmp_path / "store", **SMALL)
    plain, matched = sorted((tmp_path / "store").glob("*/prepare/still.png"), key=lambda path: path.stat().st_mtime_ns)
    own = video.read_image(plain)
    wanted = match_colours(own, video.read_frames(plain.parent / "train"))
    assert np.abs(video.read_image(matched).astype(int) - wanted).max() <= 1 < np.abs(wanted.astype(int) - own).max()
    assert len(trained) == 1


def test_a_rate_that_is_not_given_is_said(folder):
    said = []
    for like, fps in (("clip.mp4", 8), ("frames", 8)):
        made = lnm.animate("still0.png", like=like, say=said.append, **SMALL)
        assert made.fps == fps
    assert said[0] == "fps: 8, as none is given"
    assert "fps: 8, as none is given and a folder of images has none of its own" in said
    video.write_mp4(folder / "slow.mp4", video.read_frames("frames"), 5)
    assert lnm.animate("still0.png", like="slow.mp4", say=said.append, **SMALL).fps == 5


def test_bars_name_what_is_done_and_nothing_else_is_printed(folder, capsys):
    lnm.animate("still0.png", like="clip.mp4", fps=8, say=lambda line: None, **SMALL)
    out, err = capsys.readouterr()
    assert out == ""
    for words in ("encoding clip: ", "fine-tuning clip: ", "sampling still0: "):
        assert words in err, words
    assert "held out" not in err and "not writable" not in err


@pytest.mark.parametrize("still, like, changes, said", [
    ("none.png", "clip.mp4", {}, "still: none.png does not exist"),
    ("still0.png", "none.mp4", {}, "like: none.mp4 does not exist"),
    ("frames", "clip.mp4", {}, "still: frames is a folder; give one image"),
    ("pipe", "clip.mp4", {}, "still: pipe is not a regular file"),
    ("still0.png", "pipe", {}, "like: pipe is not a regular file"),
    ("still0.png", "clip.mp4", {"out": "film.txt"}, "out: film.txt: the name must end in .mp4 or .gif"),
    ("still0.png", "clip.mp4", {"out": "no/film.mp4"}, "there is no folder"),
    ("still0.png", "clip.mp4", {"fps": 0}, "fps: 0: must be"),
    ("still0.png", "clip.mp4", {"prompt": " "}, "prompt: empty"),
    ("still0.png", "clip.mp4", {"size": 100}, "size: 100 pixels"),
    ("still0.png", "clip.mp4", {"store": "still1.png/x"}, "store: still1.png/x cannot be written to"),
    ("clip.mp4", "clip.mp4", {"fps": 8}, "^clip.mp4: not a readable image|/clip.mp4: not a readable image"),
    ("still0.png", "still0.png", {"fps": 8}, "still0.png"),
    ("still0.png", "clip.mp4", {"fps": 1}, "clip.mp4 gives 2 frames at 1 fps")])
def test_bad_input_is_one_line_and_leaves_no_film(folder, still, like, changes, said):
    os.mkfifo(folder / "pipe")
    with pytest.raises(UserError, match=said) as error:
        lnm.animate(still, like=like, **{"out": "film.mp4"} | SMALL | changes)
    assert "\n" not in str(error.value) and "videos." not in str(error.value)
    assert not (folder / "film.mp4").exists() and not list(folder.glob("*.part"))


def test_a_film_may_end_on_a_second_still(folder, monkeypatch):
    plain = lnm.animate("still0.png", like="clip.mp4", fps=8, **SMALL)
    ends = lnm.animate("still0.png", like="clip.mp4", fps=8, last_still="still1.png", **SMALL)
    assert plain.temporal == ends.temporal and not np.array_equal(plain.frames, ends.frames)
    again = lnm.animate("still0.png", like="clip.mp4", fps=8, **SMALL)
    assert np.array_equal(again.frames, plain.frames), "a film of its own is kept beside the other"
    vae = open_checkpoint(SMALL["checkpoint"]).vae
    through = decode(vae, encode(vae, video.read_image(folder / "still1.png", SIZE)[None]))[0]
    far = [np.abs(made.frames[-1].astype(int) - through).mean() for made in (ends, plain)]
    assert far[0] < 0.5 and far[1] > 5, "the last frame is the still, as the autoencoder gives it back"
    (folder / "text.png").write_text("x")
    monkeypatch.setattr(stage, "finetune", lambda *a, **k: pytest.fail("trained first"))
    for last, changes, said in (("none.png", {}, "last_still: none.png does not exist"),
                                ("frames", {}, "last_still: frames is a folder; give one image"),
                                ("text.png", {}, "text.png"),
                                ("still1.png", {"num_frames": 1}, "num_frames: 1, and that is the still")):
        with pytest.raises(UserError, match=said):
            lnm.animate("still0.png", like="clip.mp4", fps=8, seed=7, last_still=last, **SMALL | changes)
