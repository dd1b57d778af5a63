"""Training lnm-mini: its encoder is the best linear transform, its decoder starts as the inverse, and the
whole is one function of its seed, however often it is interrupted."""

import hashlib
import json

import numpy as np
import pytest
import torch

from lnm.checkpoint import open_checkpoint
from lnm.demo import footage, scenes
from lnm.demo.mini import autoencoder, loop
from lnm.demo.mini.batch import draw_batch, half_plane
from lnm.demo.mini.recipe import GREY, MOTION, RECIPE, round_of
from lnm.demo.mini.text import new_text_encoder, train_tokenizer
from lnm.demo.mini.train import save_checkpoint, train
from lnm.demo.mini.unet import coarse_error, new_unet, patch_basis
from lnm.latents import decode, encode, encode_pixels, to_tensor


@pytest.fixture(scope="module")
def images():
    drawn = [scenes.draw(kind, seed) for kind in ("ocean", "clouds") for seed in range(12)]
    return np.stack([scenes.render(scene, [0.0], 64)[0] for scene in drawn])


@pytest.fixture(scope="module")
def started(images):
    torch.manual_seed(0)
    vae = autoencoder.new_vae()
    autoencoder.linear_start(vae, images)
    return vae.eval()


def squared_error(a, b):
    return np.square(a.astype(float) - b).mean()


def test_the_autoencoder_starts_at_least_as_good_as_the_best_linear_transform_of_patches(started, images):
    patches = images.reshape(24, 8, 8, 8, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 192).astype(float)
    mean = patches.mean(0)
    _, _, basis = np.linalg.svd(patches - mean, full_matrices=False)
    basis = basis[:autoencoder.LATENT_CHANNELS]
    pca = squared_error(patches, (patches - mean) @ basis.T @ basis + mean)
    blank = squared_error(patches, mean)
    ours = squared_error(images, decode(started, encode(started, images)))
    assert pca < 0.2 * blank, "the images must be such that there is something to compress"
    assert ours < 1.1 * pca


def test_its_encoder_is_linear(started, images):
    a, b = to_tensor(images[:4]), to_tensor(images[4:8])
    with torch.no_grad():
        middle = encode_pixels(started, (a + b) / 2)
        ends = (encode_pixels(started, a) + encode_pixels(started, b)) / 2
    torch.testing.assert_close(middle, ends, atol=1e-4, rtol=1e-4)


def test_its_channels_are_those_of_the_transform_whitened_in_part_and_scaled_to_a_deviation_of_one(started, images):
    patches = images.reshape(24, 8, 8, 8, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 192) / 127.5 - 1
    values = np.linalg.svd(patches - patches.mean(0), compute_uv=False)[:autoencoder.LATENT_CHANNELS]
    latents = encode(started, images)
    wanted = values ** (1 - autoencoder.WHITENING)
    deviation = latents.std((0, 2, 3)).numpy()
    np.testing.assert_allclose(deviation / deviation[0], wanted / wanted[0], rtol=0.03)
    assert latents.std().item() == pytest.approx(1, rel=1e-3)


def test_a_masked_box_hardly_leaks_into_latents_beside_it(started, images):
    hidden = images[:2].copy()
    hidden[:, 16:40, 24:48] = GREY
    changed = (encode(started, hidden) - encode(started, images[:2])).abs().amax((0, 1))
    inside = changed[2:5, 3:6].clone()
    changed[2:5, 3:6] = 0
    assert changed.max() < 0.01 * inside.min()


def test_the_decoders_residual_branches_start_at_zero_and_still_learn(started, images):
    """Their last norm has a gradient."""
    recipe = RECIPE | {"vae_batch": 2, "vae_crop": 32, "edges": 0.1}
    autoencoder.step(started, images, recipe, 0).backward()
    norms = [m.norm.weight.grad for m in started.decoder.modules() if hasattr(m, "conv2")]
    assert norms and all(g is not None and g.abs().max() > 0 for g in norms)
    started.zero_grad()


def test_whole_patches_may_be_hidden_after_the_encoder_as_well_as_before_it(started, images):
    """What `half` masks rest on."""
    mask = half_plane(np.random.default_rng(0), 8)
    hidden = np.where(mask.numpy().repeat(8, 0).repeat(8, 1)[..., None] > 0, GREY, images[:2]).astype(np.uint8)
    blank = encode(started, np.full_like(images[:1], GREY))[0]
    before = encode(started, hidden)
    after = torch.where(mask > 0, blank, encode(started, images[:2]))
    assert (before - after).abs().max() < 0.01 * before.std()


def test_a_half_plane_hides_a_quarter_to_three_quarters_at_any_edge():
    rng = np.random.default_rng(0)
    masks = torch.stack([half_plane(rng, 16) for _ in range(200)])
    assert set(masks.unique().tolist()) == {0, 1}
    assert masks.mean((1, 2)).min() == 0.25 and masks.mean((1, 2)).max() == 0.75
    corners = masks[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners.sum(1) == 2).all(), "a straight line parts the picture"
    assert len(corners.unique(dim=0)) == 4, "right, left, top and bottom all occur"


def test_the_patch_basis_is_the_encoders_inverse(started, images):
    basis = patch_basis(started)
    latents = encode_pixels(started, to_tensor(images[:2])) - encode_pixels(started, to_tensor(images[:1]) * 0)
    pixels = torch.nn.functional.conv_transpose2d(latents, basis, stride=8)
    again = encode_pixels(started, pixels) - encode_pixels(started, pixels * 0)
    assert (again - latents).abs().max() < 0.02 * latents.std()


def test_of_two_errors_as_large_the_coarse_one_and_the_one_with_an_edge_weigh_more(started):
    basis = patch_basis(started)
    white = torch.randn(2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    even = torch.ones_like(white)
    mask = torch.zeros_like(white[:, :1])
    assert coarse_error(white * 0, basis, mask) == 0
    assert coarse_error(even, basis, mask) > 2 * coarse_error(white, basis, mask)
    halves = torch.zeros_like(white)
    halves[:, :1] = 1
    whole = coarse_error(halves, basis, mask).item()
    halves[..., 8:] = -halves[..., 8:]  # as large everywhere, in whole cells of 8: only the line between is new
    parted = coarse_error(halves, basis, mask).item()
    assert parted > whole

    mask[..., 8:] = 1
    assert coarse_error(halves, basis, mask, 0) == parted
    assert coarse_error(halves, basis, mask, 10).item() - parted == pytest.approx(10 * (parted - whole), rel=0.05)


def test_only_a_step_at_a_patch_s_edge_unlike_those_beside_it_counts():
    ramp = torch.arange(32.0).expand(1, 3, 32, 32)
    assert autoencoder.patch_edges(ramp) == 0
    for column, counts in ((8, 1 / 3), (16, 1 / 3), (4, 0)):  # three edges across; one of them steps by 1 more
        stepped = ramp + (torch.arange(32) >= column)
        assert autoencoder.patch_edges(stepped).item() == pytest.approx(counts)
        assert autoencoder.patch_edges(stepped.transpose(2, 3)).item() == pytest.approx(counts)


def test_a_step_falls_into_one_round_of_training():
    rounds = [dict(steps=3), dict(steps=2)]
    found = [round_of(rounds, step) for step in range(5)]
    assert [(rounds.index(part), step) for part, step in found] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    with pytest.raises(IndexError):
        round_of(rounds, 5)


TINY = RECIPE | {
    "stills": {"ocean": 4, "pond": 3}, "photo_crops": 2, "vae_start": 4, "vae_batch": 2, "vae_crop": 32,
    "vae_rounds": [dict(part, steps=2) for part in RECIPE["vae_rounds"]],
    "unet_rounds": [dict(part, steps=2, period=2, cooldown=1) for part in RECIPE["unet_rounds"]], "unet_batch": 8,
    "clip_rounds": [dict(part, steps=2, period=2, cooldown=1) for part in RECIPE["clip_rounds"]], "clip_batch": 4,
    "reference_rounds": [dict(part, steps=2, period=2, cooldown=1) for part in RECIPE["reference_rounds"]],
    "clips": MOTION | {"clips": {"clouds": 2}, "real": {}, "frames": 3, "validation": 1},
}


def test_what_is_saved_opens_in_half_the_bytes(tmp_path):
    tokenizer = train_tokenizer(tmp_path / "tokenizer", ["ocean waves"])
    torch.manual_seed(0)
    vae, unet, text = autoencoder.new_vae(), new_unet(), new_text_encoder(tokenizer)
    vae.register_to_config(scaling_factor=0.7)
    save_checkpoint(tmp_path / "lnm-mini", vae, unet, text, tmp_path / "tokenizer")
    files = list((tmp_path / "lnm-mini").rglob("*.safetensors"))
    assert max(f.stat().st_size for f in files) < 15e6 and sum(f.stat().st_size for f in files) <= 24e6
    opened = open_checkpoint(str(tmp_path / "lnm-mini"))
    assert opened.vae.config.scaling_factor == 0.7
    torch.testing.assert_close(opened.unet.conv_in.weight, unet.conv_in.weight.float(), atol=1e-3, rtol=1e-3)
    index = json.loads((tmp_path / "lnm-mini" / "model_index.json").read_text())
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"]


def test_a_step_hides_as_much_as_its_round_says_and_its_hint_shows_nothing_of_it():
    recipe = TINY | {"unet_batch": 300, "unet_rounds": [dict(steps=9, photos=0.5, noisiest_of=2, masks={
        "everything": 0.2, "box": 0.3, "half": 0.4})]}
    clean = torch.randn(12, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    blank = torch.full((1, 16, 16, 16), 7.0)
    masked, boxes = clean[::3].clone(), torch.tensor([[16, 32, 64, 120]] * 4)  # pixels
    masked[:, :, 4:15, 2:8] = 7
    latents = {"latents": clean, "masked": masked, "boxes": boxes, "blank": blank}
    tokens, empty = torch.arange(12)[:, None].expand(12, 77), torch.full((77,), 99)
    one, again, next_ = (draw_batch(recipe, step, latents, tokens, empty) for step in (5, 5, 6))
    assert all(torch.equal(getattr(one, k), getattr(again, k)) for k in vars(one)), "a function of (seed, step)"
    assert not torch.equal(one.noise, next_.noise)

    for batch in (draw_batch(recipe, step, latents, tokens, empty) for step in range(9)):  # some are mirrored
        assert torch.equal(batch.hint, torch.where(batch.mask > 0, blank, batch.latents))
    share = one.mask.mean((1, 2, 3))
    assert (share == 1).float().mean() == pytest.approx(0.2, abs=0.07)
    assert (share == 0).float().mean() == pytest.approx(0.1, abs=0.07)
    assert (share == 66 / 256).float().mean() == pytest.approx(0.3, abs=0.07)
    assert (one.ids == 99).all(1).float().mean() == pytest.approx(recipe["prompt_dropout"], abs=0.05)
    assert one.timesteps.float().mean() == pytest.approx(2000 / 3, abs=50), "the noisier of two"


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    from PIL import Image

    folder = tmp_path / "photographs"
    folder.mkdir()
    found = []
    for i, words in enumerate(["a ferry", "Værøy"]):
        pixels = np.random.default_rng(i).integers(0, 256, (150, 200, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        found.append((folder / f"{i}.png", words))
    monkeypatch.setattr(footage, "photos", lambda into, downloads: found)


def hashes(folder):
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest()
            for f in sorted(folder.rglob("*")) if f.is_file()}


class Cut(Exception):
    pass


def test_the_whole_recipe_runs_and_an_interrupted_run_gives_the_same_bytes(tmp_path, photographs, monkeypatch):
    train(tmp_path / "a", tmp_path / "work_a", TINY)
    made = hashes(tmp_path / "a")
    assert {"lnm-mini/vae/config.json", "lnm-mini/unet/config.json",
            "lnm-mini-clip/open_clip_model.safetensors"} <= set(made)

    monkeypatch.setattr(loop, "SAVE_EVERY", 1)
    real, calls = autoencoder.step, []

    def cut_once(*args):
        calls.append(args[-1])
        if len(calls) == 3:
            raise Cut
        return real(*args)

    monkeypatch.setattr(autoencoder, "step", cut_once)
    with pytest.raises(Cut):
        train(tmp_path / "b", tmp_path / "work_b", TINY)
    train(tmp_path / "b", tmp_path / "work_b", TINY)
    assert calls == [0, 1, 2, 2, 3], "it goes on at the step where it was cut"
    assert hashes(tmp_path / "b") == made
