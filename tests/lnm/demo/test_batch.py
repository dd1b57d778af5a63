"""What a step of the U-Net's training sees: pictures, references and what is hidden; and what it is told to mind."""

import json

import numpy as np
import pytest
import torch

from lnm import video
from lnm.demo.mini.batch import Film, Pictures, box_mask, draw_batch, half_plane, hide, read_films
from lnm.demo.mini.recipe import GREY, RECIPE, schedule
from lnm.demo.mini.unet import weighed
from lnm.demo.mini.windows import Transform

SIDE, FRAMES = 8, 30  # cells, frames
PIXELS = 8 * SIDE
SMALL = RECIPE | dict(unet_batch=300, photos=0.4, reach=0.5,
                      masks={"reference": 0.4, "everything": 0.1, "box": 0.15, "half": 0.2, "nothing": 0.15})
EMPTY = torch.full((77,), 99)
# latents that are the mean of a cell's first channel, its second, its third: what pictures say can be read from them
MEANS = Transform(torch.eye(3)[:, :, None, None].expand(-1, -1, 8, 8) / 64, torch.zeros(3))


def numbered(scene, frames=FRAMES, left=100):
    """Pictures that say in red which scene, in green which frame they are, and in blue which side is left."""
    found = np.zeros((frames, PIXELS, PIXELS, 3), np.uint8)
    found[..., 0], found[..., 1] = 10 * scene, 2 * np.arange(frames)[:, None, None]
    found[:, :, :PIXELS // 2, 2] = left
    return found


def pictures(films=None):
    """Two clips, scenes 0 and 1, and photographs, which are scene 7."""
    films = films or [Film(numbered(scene), fps, "") for scene, fps in enumerate((8.0, 16.0))]
    ids = torch.arange(len(films))[:, None].expand(-1, 77)
    return Pictures(numbered(7, 6), torch.full((6, 77), 7), films, ids, EMPTY)


def draw(step=0, recipe=SMALL, films=None):
    return draw_batch(recipe, step, pictures(films), MEANS)


def levels(latents):
    """Grey levels (B, 3, h, w) of latents that are means."""
    return ((latents + 1) * 127.5).round().int()


def tags(latents):
    """(scene, frame) of each picture."""
    seen = levels(latents)[:, :2].flatten(2)
    assert (seen == seen[..., :1]).all(), "a picture, whole"
    return [(red // 10, green // 2) for red, green in seen[..., 0].tolist()]


def kinds(batch):
    """Which kind each row is, by what can be seen of it."""
    found = []
    for hint, mask in zip(levels(batch.hint), batch.mask):
        if mask.min() == 1:
            found.append("everything" if (hint == GREY).all() else "reference")
        elif mask.max() == 0:
            found.append("nothing")
        else:
            rows, columns = mask[0].amax(1), mask[0].amax(0)  # beyond a line: all of one side
            found.append("half" if rows.min() == 1 or columns.min() == 1 else "box")
    return np.array(found)


def references(batch):
    """(what is to be painted, what is given beside it, its caption) of each row with a reference, by (scene, frame)."""
    rows = np.flatnonzero(kinds(batch) == "reference")
    return list(zip(tags(batch.latents[rows]), tags(batch.hint[rows]), batch.ids[rows, 0].tolist(), strict=True))


def test_a_batch_is_a_function_of_seed_and_step():
    one, again, later, other = draw(3), draw(3), draw(4), draw(3, SMALL | {"seed": 1})
    assert all(torch.equal(getattr(one, k), getattr(again, k)) for k in vars(one))
    for batch in (later, other):
        assert not torch.equal(batch.noise, one.noise) and not torch.equal(batch.latents, one.latents)
    assert one.latents.shape == one.hint.shape == one.noise.shape == (300, 3, SIDE, SIDE)
    assert one.mask.shape == (300, 1, SIDE, SIDE) and one.ids.shape == (300, 77) and one.timesteps.shape == (300,)
    assert one.latents.dtype == torch.float32 and one.timesteps.min() >= 0 and one.timesteps.max() <= 999


def test_a_reference_is_another_frame_of_the_same_clip_within_reach_given_whole():
    distances, words = {0: set(), 1: set()}, set()
    for step in range(5):
        for clean, given, caption in references(draw(step)):
            assert given[0] == clean[0] and clean[0] in (0, 1), "no photograph is a reference"
            distances[clean[0]].add(given[1] - clean[1])
            words.add((clean[0], caption))
    # reach is half a second: 4 frames at 8 a second, 8 at 16; either side, and the frame itself
    assert distances == {0: set(range(-4, 5)), 1: set(range(-8, 9))}
    assert words == {(0, 0), (1, 1), (0, 99), (1, 99)}, "the caption is the clip's own, or none"


def test_at_the_ends_of_a_clip_the_reference_stays_inside_it_and_a_slow_one_has_one_in_reach():
    short = references(draw(films=[Film(numbered(0, 2), 8.0, "")]))
    assert {(clean[1], given[1]) for clean, given, _ in short} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    slow = references(draw(films=[Film(numbered(0), 0.5, "")]))
    assert {given[1] - clean[1] for clean, given, _ in slow} == {-1, 0, 1}


def test_what_is_hidden_is_whole_cells_and_blank_before_the_encoder_and_the_rest_is_the_picture_itself():
    batch = draw()
    seen = kinds(batch)
    clean, given = levels(batch.latents), levels(batch.hint)
    for kind in ("box", "half", "everything", "nothing"):
        rows = np.flatnonzero(seen == kind)
        assert len(rows)
        mask = batch.mask[rows]
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
        assert torch.equal(given[rows], torch.where(mask > 0, GREY, clean[rows])), kind
    # an encoder that looks beyond a cell sees grey there: the pixels were blanked, and not the latents
    wide = Transform(torch.ones(1, 3, 16, 16) / 768, torch.zeros(1))
    beside = draw_batch(SMALL, 0, pictures(), wide)
    half = int(np.flatnonzero(seen == "half")[0])
    assert (beside.hint[half] != beside.latents[half])[beside.mask[half] == 0].any()


def test_half_of_the_pictures_are_mirrored_with_what_is_given_beside_them():
    clean, given = levels(draw().latents)[:, 2], levels(draw().hint)[:, 2]
    left = clean[:, 0, 0] == 100
    assert left.float().mean().item() == pytest.approx(0.5, abs=0.07)
    reference = kinds(draw()) == "reference"
    assert torch.equal((given[:, 0, 0] == 100)[reference], left[reference])


def test_a_kind_comes_as_often_as_the_recipe_says_and_photographs_as_well():
    batches = [draw(step) for step in range(5)]
    seen = np.concatenate([kinds(batch) for batch in batches])
    # a box of the whole picture is everything, one of full height is as half a picture looks
    for kind, share in {"reference": 0.4, "nothing": 0.15}.items():
        assert np.mean(seen == kind) == pytest.approx(share, abs=0.04), kind
    assert np.mean(np.isin(seen, ("everything", "box", "half"))) == pytest.approx(0.45, abs=0.04)
    scenes = np.array([scene for batch in batches for scene, _ in tags(batch.latents)])
    assert np.mean(scenes[seen != "reference"] == 7) == pytest.approx(0.4, abs=0.05)
    assert not (scenes[seen == "reference"] == 7).any()
    words = torch.cat([batch.ids[:, 0] for batch in batches]).numpy()
    assert np.mean(words == 99) == pytest.approx(0.1, abs=0.03)
    assert (words[words != 99] == scenes[words != 99]).all(), "a picture goes with its own caption"
    times = torch.cat([batch.timesteps for batch in batches]).float().numpy()
    assert times[seen == "reference"].mean() == pytest.approx(500, abs=45), "one timestep, evenly drawn"
    assert times[seen != "reference"].mean() == pytest.approx(2000 / 3, abs=45), "the noisier of two"


@pytest.mark.parametrize("kind", RECIPE["masks"])
def test_each_kind_alone(kind):
    x, other = numbered(0)[5], numbered(1)[3]
    given, mask = hide(kind, x, other, np.random.default_rng(0))
    assert mask.shape == (SIDE, SIDE) and given.shape == x.shape and given.dtype == np.uint8
    if kind == "reference":
        assert np.array_equal(given, other) and mask.min() == 1
    low, high = {"reference": (1, 1), "everything": (1, 1), "nothing": (0, 0), "half": (0.25, 0.75),
                 "box": (1 / 16, 1)}[kind]
    assert low <= mask.mean() <= high


def test_a_box_has_sides_from_a_quarter_to_the_whole_and_lies_anywhere():
    boxes = np.stack([box_mask(np.random.default_rng(seed), SIDE) for seed in range(400)])
    for mask in boxes:
        rows, columns = np.flatnonzero(mask.max(1)), np.flatnonzero(mask.max(0))
        assert 2 <= len(rows) <= 8 and 2 <= len(columns) <= 8 and mask.sum() == len(rows) * len(columns)
        assert (np.diff(rows) == 1).all() and (np.diff(columns) == 1).all(), "one rectangle"
    assert (boxes.sum(0) > 0).all()
    assert {int(mask.max(1).sum()) for mask in boxes} == set(range(2, 9))


def test_a_half_plane_hides_a_quarter_to_three_quarters_at_any_edge():
    rng = np.random.default_rng(0)
    masks = np.stack([half_plane(rng, 16) for _ in range(200)])
    assert set(np.unique(masks)) == {0, 1}
    assert masks.mean((1, 2)).min() == 0.25 and masks.mean((1, 2)).max() == 0.75
    corners = masks[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners.sum(1) == 2).all(), "a straight line parts the picture"
    assert len(np.unique(corners, axis=0)) == 4, "right, left, top and bottom all occur"


def test_clips_are_read_once_and_those_for_validation_are_left_out(tmp_path, monkeypatch):
    folder, work = tmp_path / "clips", tmp_path / "work"
    work.mkdir()
    for name, count in (("a/1", 5), ("b/2", 3), ("validation/a", 4)):
        path = folder / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        video.write_mp4(path, np.full((count, 128, 128, 3), 20 * count, np.uint8), 4 + count)
    (folder / "captions.csv").write_text("clip,caption\na/1,one\nb/2,two\nvalidation/a,three\n")
    for _ in range(2):
        films = read_films(folder, work)
        assert [(len(f.frames), f.fps, f.caption) for f in films] == [(5, 9.0, "one"), (3, 7.0, "two")]
        assert all(abs(int(f.frames[-1, 5, 5, 0]) - 20 * len(f.frames)) < 5 for f in films)
        monkeypatch.setattr(video, "read", None)  # the second time nothing is decoded
    assert len(json.loads((work / "frames.json").read_text())["clips"]) == 2


def test_of_two_errors_as_large_the_coarse_one_and_the_one_beside_an_edge_weigh_more():
    white = torch.randn(2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    even, none = torch.ones_like(white), torch.zeros_like(white[:, :1])
    assert weighed(white * 0, none) == 0
    assert weighed(even, none).item() == pytest.approx(1 + 2 + 4 + 8)
    assert weighed(white, none).item() == pytest.approx(1 + 3 / 4 + 1 / 8, rel=0.3)  # 2/4 + 4/16 + 8/64
    mask = none.clone()
    mask[..., 8:] = 1
    near, far = torch.zeros_like(white), torch.zeros_like(white)
    near[..., 7:9], far[..., 2:4] = white[..., 7:9], white[..., 7:9]
    assert (weighed(near, mask) - weighed(near, none)).item() == pytest.approx(3 * near.square().mean().item())
    assert weighed(far, mask) == weighed(far, none)
    assert weighed(even, torch.ones_like(none)) == weighed(even, none), "a mask of everything has no edge"


def test_a_schedule_is_one_round_with_a_cool_down_over_the_last_three_tenths():
    assert schedule(RECIPE["carried"]) == dict(steps=1900, period=1900, cooldown=570, lr=2.5e-3, edge_lr=1.5e-3)
    assert schedule(dict(steps=1))["cooldown"] == 1
