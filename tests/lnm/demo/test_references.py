"""The round that gives another frame as reference: what a step sees of it, and that it goes on where it was cut."""

import numpy as np
import pytest
import torch

from lnm.demo.mini import loop, references
from lnm.demo.mini.references import HIDDEN, box_mask, draw_reference_batch, hide, train_references
from lnm.demo.mini.text import new_text_encoder, train_tokenizer

SIDE, CHANNELS, FRAMES = 8, 16, 30
ROUND = dict(steps=5, period=5, cooldown=2, lr=3e-3, edge_lr=1.5e-3, photos=0.4, reach=0.5, noisiest_of=2,
             masks={"reference": 0.4, "everything": 0.1, "box": 0.15, "half": 0.2})
RECIPE = dict(seed=0, unet_batch=300, prompt_dropout=0.1, ema=0.9, reference_rounds=[ROUND])
BLANK = torch.full((CHANNELS, SIDE, SIDE), -5.0)
EMPTY = torch.full((77,), 99)
SHAPE = (CHANNELS, SIDE, SIDE)


def numbered(scene, piece, frames=FRAMES):
    """Latents that say which scene, piece and frame they are, in their first three channels."""
    found = torch.randn(frames, *SHAPE, generator=torch.Generator().manual_seed(10 * scene + piece))
    found[:, 0], found[:, 1] = scene, piece
    found[:, 2] = torch.arange(frames, dtype=torch.float32)[:, None, None]
    return found


def clips():
    return [{"pieces": [numbered(scene, piece) for piece in range(2)], "fps": fps, "ids": torch.full((77,), scene)}
            for scene, fps in enumerate((8.0, 16.0))]


def photos(count=6):
    """Photographs are scene 7."""
    found = torch.stack([numbered(7, 0)[k] for k in range(count)])
    return {"latents": found.half(), "ids": torch.full((count, 77), 7)}


def draw(step=0, recipe=RECIPE, **changes):
    given = dict(clips=clips(), photos=photos(), blank=BLANK, empty=EMPTY) | changes
    return draw_reference_batch(recipe, step, **given)


def tags(latents):
    """(scene, piece, frame) of each, of the last cell."""
    return latents[:, :3, -1, -1].round().int().tolist()


def kinds(batch):
    """Which of HIDDEN each row is, by what can be seen of it."""
    found = []
    for hint, mask, clean in zip(batch.hint, batch.mask, batch.latents):
        if mask.min() == 1:
            found.append("everything" if torch.equal(hint, BLANK) else "reference")
        elif mask.max() == 0:
            found.append("nothing")
        else:
            rows, columns = mask[0].amax(1), mask[0].amax(0)  # beyond a line: all of one side
            found.append("half" if rows.min() == 1 or columns.min() == 1 else "box")
        assert torch.isfinite(hint).all() and torch.isfinite(clean).all()
    return np.array(found)


def test_a_batch_is_a_function_of_seed_and_step():
    one, again, later, other = draw(3), draw(3), draw(4), draw(3, RECIPE | {"seed": 1})
    assert all(torch.equal(getattr(one, k), getattr(again, k)) for k in vars(one))
    for batch in (later, other):
        assert not torch.equal(batch.noise, one.noise) and not torch.equal(batch.latents, one.latents)
    assert one.latents.shape == one.hint.shape == one.noise.shape == (300, *SHAPE)
    assert one.mask.shape == (300, 1, SIDE, SIDE) and one.ids.shape == (300, 77) and one.timesteps.shape == (300,)
    assert one.latents.dtype == torch.float32 and one.timesteps.min() >= 0 and one.timesteps.max() <= 999


def test_a_reference_is_another_frame_of_the_same_piece_within_reach_and_hides_everything():
    distances, words = {0: set(), 1: set()}, set()
    for step in range(5):
        batch = draw(step)
        for clean, hint, mask, ids in zip(tags(batch.latents), tags(batch.hint), batch.mask, batch.ids[:, 0].tolist()):
            if mask.min() < 1 or hint[0] < 0:
                continue
            assert hint[:2] == clean[:2] and clean[0] in (0, 1), "no photograph is a reference"
            distances[clean[0]].add(hint[2] - clean[2])
            words.add((clean[0], ids))
    # reach is half a second: 4 frames at 8 a second, 8 at 16; either side, and the frame itself
    assert distances == {0: set(range(-4, 5)), 1: set(range(-8, 9))}
    assert words == {(0, 0), (1, 1), (0, 99), (1, 99)}, "the caption is the clip's own, or none"


def test_the_reference_is_given_whole():
    batch = draw()
    pieces = [piece for clip in clips() for piece in clip["pieces"]]
    for i in np.flatnonzero(kinds(batch) == "reference"):
        scene, piece, frame = tags(batch.hint[i:i + 1])[0]
        assert torch.equal(batch.hint[i], pieces[2 * scene + piece][frame])


def test_at_the_ends_of_a_piece_the_reference_stays_inside_it():
    short = [{"pieces": [numbered(0, 0, 2)], "fps": 8.0, "ids": torch.zeros(77, dtype=torch.long)}]
    batch = draw(clips=short)
    pairs = {(clean[2], hint[2]) for clean, hint, kind in zip(tags(batch.latents), tags(batch.hint), kinds(batch))
             if kind == "reference"}
    assert pairs == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_a_clip_of_few_frames_a_second_still_has_another_frame_in_reach():
    slow = [{"pieces": [numbered(0, 0)], "fps": 0.5, "ids": torch.zeros(77, dtype=torch.long)}]
    batch = draw(clips=slow)
    moved = {hint[2] - clean[2] for clean, hint, kind in zip(tags(batch.latents), tags(batch.hint), kinds(batch))
             if kind == "reference"}
    assert moved == {-1, 0, 1}


def test_what_is_hidden_is_whole_cells_and_blank_and_the_rest_is_the_picture_itself():
    batch = draw()
    seen = kinds(batch)
    for kind in ("box", "half", "everything", "nothing"):
        rows = np.flatnonzero(seen == kind)
        assert len(rows)
        mask = batch.mask[rows]
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
        assert torch.equal(batch.hint[rows], torch.where(mask > 0, BLANK, batch.latents[rows])), kind


def test_a_kind_comes_as_often_as_the_round_says_and_photographs_as_well():
    batches = [draw(step) for step in range(5)]
    seen = np.concatenate([kinds(batch) for batch in batches])
    # a box of the whole picture is everything, one of full height is as half a picture looks
    wanted = {"reference": 0.4, "nothing": 0.15}
    for kind, share in wanted.items():
        assert np.mean(seen == kind) == pytest.approx(share, abs=0.04), kind
    assert np.mean(np.isin(seen, ("everything", "box", "half"))) == pytest.approx(0.45, abs=0.04)
    scenes = np.array([tag[0] for batch in batches for tag in tags(batch.latents)])
    assert np.mean(scenes[seen != "reference"] == 7) == pytest.approx(0.4, abs=0.05)
    assert not (scenes[seen == "reference"] == 7).any()
    words = torch.cat([batch.ids[:, 0] for batch in batches]).numpy()
    assert np.mean(words == 99) == pytest.approx(0.1, abs=0.03)
    assert (words[words != 99] == scenes[words != 99]).all(), "a picture goes with its own caption"
    times = torch.cat([batch.timesteps for batch in batches]).float().numpy()
    assert times[seen == "reference"].mean() == pytest.approx(500, abs=45), "one timestep, evenly drawn"
    assert times[seen != "reference"].mean() == pytest.approx(2000 / 3, abs=45), "the noisier of two"


@pytest.mark.parametrize("kind", HIDDEN)
def test_each_kind_alone(kind):
    masks = {k: float(k == kind) for k in HIDDEN[:-1]}
    batch = draw(recipe=RECIPE | {"reference_rounds": [ROUND | {"masks": masks, "photos": 0.0}], "unet_batch": 40})
    x, other = batch.latents[0], torch.zeros(SHAPE)
    hint, mask = hide(kind, x, other, BLANK, np.random.default_rng(0))
    assert mask.shape == (1, SIDE, SIDE) and hint.shape == SHAPE
    if kind == "reference":
        assert torch.equal(hint, other) and mask.min() == 1
    shares = batch.mask.mean((1, 2, 3))
    low, high = {"reference": (1, 1), "everything": (1, 1), "nothing": (0, 0), "half": (0.25, 0.75),
                 "box": (1 / 16, 1)}[kind]
    assert low <= shares.min() and shares.max() <= high


def test_a_box_has_sides_from_a_quarter_to_the_whole_and_lies_anywhere():
    boxes = [box_mask(np.random.default_rng(seed), SIDE) for seed in range(400)]
    for mask in boxes:
        rows, columns = mask.amax(1).nonzero().flatten(), mask.amax(0).nonzero().flatten()
        height, width = len(rows), len(columns)
        assert 2 <= height <= 8 and 2 <= width <= 8 and mask.sum() == height * width
        assert rows.diff().eq(1).all() and columns.diff().eq(1).all(), "one rectangle"
    assert (torch.stack(boxes).sum(0) > 0).all()
    assert {int(mask.amax(1).sum()) for mask in boxes} == set(range(2, 9))


# ---------------------------------------------------------------- training


def tiny_unet():
    from diffusers import UNet2DConditionModel

    torch.manual_seed(1)
    return UNet2DConditionModel(
        sample_size=SIDE, in_channels=2 * CHANNELS + 1, out_channels=CHANNELS, layers_per_block=1,
        block_out_channels=(16, 32), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=128, attention_head_dim=4,
        norm_num_groups=8)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return train_tokenizer(tmp_path_factory.mktemp("tokenizer"), ["ocean waves"])


SMALL = RECIPE | {"unet_batch": 2, "reference_rounds": [ROUND | {"steps": 4, "coarse": 1, "seams": 10}]}


def train(work, tokenizer):
    work.mkdir(exist_ok=True)
    torch.manual_seed(0)
    unet, text = tiny_unet(), new_text_encoder(tokenizer)
    words = {k: p.clone() for k, p in text.state_dict().items()}
    basis = torch.randn(CHANNELS, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    given = [clip | {"ids": torch.zeros(77, dtype=torch.long)} for clip in clips()]
    found = train_references(work, SMALL, unet, text, tokenizer, given,
                             photos() | {"ids": torch.zeros(6, 77, dtype=torch.long)}, BLANK, basis)
    assert all(torch.equal(text.state_dict()[k], p) for k, p in words.items()), "the text encoder stands still"
    assert not any(p.requires_grad for p in text.parameters())
    return unet, found


def test_an_interrupted_round_gives_the_same_bytes(tmp_path, tokenizer, monkeypatch):
    _, whole = train(tmp_path / "a", tokenizer)
    monkeypatch.setattr(loop, "SAVE_EVERY", 2)
    real, steps = references.draw_reference_batch, []

    def draw_once(recipe, step, *rest):
        steps.append(step)
        if steps == [0, 1, 2, 3]:
            raise KeyboardInterrupt
        return real(recipe, step, *rest)

    monkeypatch.setattr(references, "draw_reference_batch", draw_once)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b", tokenizer)
    _, again = train(tmp_path / "b", tokenizer)
    assert steps == [0, 1, 2, 3, 2, 3], "it goes on at the step after the last save"
    assert all(torch.equal(p, again.state_dict()[k]) for k, p in whole.state_dict().items())


def test_the_average_over_steps_is_returned(tmp_path, tokenizer, monkeypatch):
    weights, real = [], references.update_in_round

    def note(loss, optimizers, rounds, step):
        value = real(loss, optimizers, rounds, step)
        weights.append([p.detach().clone() for group in optimizers[0].param_groups for p in group["params"]])
        return value

    monkeypatch.setattr(references, "update_in_round", note)
    fast, found = train(tmp_path, tokenizer)
    names = {id(p): k for k, p in fast.named_parameters()}
    assert not found.training and found is not fast
    start, kept = tiny_unet().state_dict(), found.state_dict()
    matrices = [k for k, p in fast.named_parameters() if any(
        p.shape == w.shape and torch.equal(p, w) for w in weights[-1])]
    assert len(matrices) == len(weights[-1]) and set(names.values()) >= set(matrices)
    for i, name in enumerate(matrices):
        slow = start[name]
        for step, seen in enumerate(weights):
            decay = min(0.9, (1 + step) / (10 + step))
            slow = decay * slow + (1 - decay) * seen[i]
        torch.testing.assert_close(kept[name], slow, atol=1e-5, rtol=1e-4)
        assert not torch.equal(kept[name], fast.state_dict()[name])
