"""The clips that lnm-mini-motion learns from: what is cut and rendered, what is kept for validation."""

import csv

import numpy as np
import pytest

from lnm import video
from lnm.clips import find_clips, held_out, read_captions
from lnm.demo import scenes
from lnm.demo.mini import clips as many
from lnm.demo.mini.recipe import MOTION, RECIPE

SMALL = MOTION | {"clips": {"clouds": 2, "ocean": 1}, "frames": 5, "validation": 1, "real": {"sea": "a sea"},
                  "pieces": 3, "real_seconds": 2.0, "held_seconds": 0.5}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The small recipe, made once, from a clip of two seconds whose frames are told apart by their brightness."""
    home = tmp_path_factory.mktemp("clips")
    frames = np.full((50, 192, 256, 3), 20, np.uint8) + 4 * np.arange(50, dtype=np.uint8)[:, None, None, None]
    frames[:, :, :128] += 25  # bright on the left: a mirror image shows
    video.write_mp4(home / "footage" / "sea.mp4", frames, 25, crf=4)
    many.SIZE, size = 32, many.SIZE
    many.make_clips(home / "out", home / "footage", SMALL)
    yield home
    many.SIZE = size


def test_every_clip_has_a_caption_and_validation_is_apart(made):
    sources = find_clips(made / "out")
    captions = read_captions(made / "out" / "captions.csv", [s.name for s in sources], None)
    names = [s.name for s in sources]
    assert len(names) == 2 + 1 + 2 + 3 + 1 and sum(n.startswith("validation/") for n in names) == 3
    assert held_out(sources, 0.0) == {s.content for s in sources if s.name.startswith("validation/")}
    said = dict(zip(names, captions, strict=True))
    assert said["real/sea-001.mp4"] == said["validation/sea.mp4"] == "a sea"
    assert said["ocean/200000.mp4"] == scenes.draw("ocean", 200000).caption


def test_pieces_end_before_what_is_held_out_and_every_second_is_mirrored(made):
    for number in range(3):
        piece = video.read(made / "out" / "real" / f"sea-{number:03d}.mp4")
        grey = piece.frames.mean((1, 2, 3))
        assert len(piece.frames) == 5 and (np.diff(grey) > 2).all() and piece.fps in (12.5, 25 / 3, 6.25)
        assert grey.max() < 20 + 25 + 4 * 38, "a frame of the last half second"
    held = video.read(made / "out" / "validation" / "sea.mp4")
    assert held.frames.mean() > 20 + 4 * 37 and held.fps == 12.5
    recipe, mirrored = SMALL | {"smallest_piece": 1.0}, []
    for number in (0, 1):
        many.cut_piece(made / "footage" / "sea.mp4", number, recipe | {"pieces": 2}, made / "one.mp4")
        frames = video.read(made / "one.mp4").frames.astype(int)
        mirrored.append(frames[..., :8, :].mean() - frames[..., -8:, :].mean())
    assert mirrored[0] >= 0 >= mirrored[1] and mirrored[0] > mirrored[1]


def test_what_is_there_is_not_made_again(made, monkeypatch):
    def refuse(*_):
        raise AssertionError("made again")

    for job in many._jobs(SMALL):
        monkeypatch.setattr(many, "render_clip", refuse)
        monkeypatch.setattr(many, "cut_piece", refuse)
        many._make(made / "out", made / "footage", SMALL, *job)
    rows = list(csv.reader((made / "out" / "captions.csv").open()))
    assert rows[0] == ["clip", "caption"] and len(rows) == 10


def test_the_recipe_sees_neither_the_built_in_clips_nor_the_checkpoint_s_stills():
    seeds = range(MOTION["first_seed"], MOTION["first_seed"] + max(MOTION["clips"].values()))
    held = range(MOTION["validation_seed"], MOTION["validation_seed"] + MOTION["validation"])
    assert set(MOTION["clips"]) == set(scenes.KINDS) and not set(seeds) & set(held)
    for clip in scenes.CLIPS.values():
        assert clip["seed"] not in seeds and clip["seed"] not in held
    assert max(RECIPE["stills"].values()) < seeds[0]
    assert sum(MOTION["clips"].values()) + len(MOTION["real"]) * MOTION["pieces"] >= 2000
    assert "rapids" not in MOTION["real"]
