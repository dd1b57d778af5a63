"""Training the built-in prior: its encoder is the best linear transform, its decoder starts as the inverse, and the
whole is one function of its seed, however often it is interrupted."""

import hashlib

import numpy as np
import pytest
import torch

from lnm import footage, mini, mini_vae, scenes
from lnm.latents import decode, encode, encode_pixels, to_tensor


@pytest.fixture(scope="module")
def images():
    drawn = [scenes.draw(kind, seed) for kind in ("ocean", "clouds") for seed in range(12)]
    return np.stack([scenes.render(scene, [0.0], 64)[0] for scene in drawn])


@pytest.fixture(scope="module")
def started(images):
    torch.manual_seed(0)
    vae = mini_vae.new_vae()
    mini_vae.linear_start(vae, images)
    return vae.eval()


def squared_error(a, b):
    return np.square(a.astype(float) - b).mean()


def test_the_autoencoder_starts_at_least_as_good_as_the_best_linear_transform_of_patches(started, images):
    patches = images.reshape(24, 8, 8, 8, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 192).astype(float)
    mean = patches.mean(0)
    _, _, basis = np.linalg.svd(patches - mean, full_matrices=False)
    basis = basis[:mini_vae.LATENT_CHANNELS]
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
    values = np.linalg.svd(patches - patches.mean(0), compute_uv=False)[:mini_vae.LATENT_CHANNELS]
    latents = encode(started, images)
    wanted = values ** (1 - mini_vae.WHITENING)
    deviation = latents.std((0, 2, 3)).numpy()
    np.testing.assert_allclose(deviation / deviation[0], wanted / wanted[0], rtol=0.03)
    assert latents.std().item() == pytest.approx(1, rel=1e-3)


def test_a_masked_box_hardly_leaks_into_latents_beside_it(started, images):
    hidden = images[:2].copy()
    hidden[:, 16:40, 24:48] = mini.GREY
    changed = (encode(started, hidden) - encode(started, images[:2])).abs().amax((0, 1))
    inside = changed[2:5, 3:6].clone()
    changed[2:5, 3:6] = 0
    assert changed.max() < 0.01 * inside.min()


def test_the_decoders_residual_branches_start_at_zero_and_still_learn(started, images):
    """Their last norm has a gradient."""
    recipe = mini.RECIPE | {"vae_batch": 2, "vae_crop": 32, "edges": 0.1}
    mini_vae.step(started, images, recipe, 0).backward()
    norms = [m.norm.weight.grad for m in started.decoder.modules() if hasattr(m, "conv2")]
    assert norms and all(g is not None and g.abs().max() > 0 for g in norms)
    started.zero_grad()


def test_whole_patches_may_be_hidden_after_the_encoder_as_well_as_before_it(started, images):
    """What `half` masks rest on."""
    mask = mini.half_plane(np.random.default_rng(0), 8)
    hidden = np.where(mask.numpy().repeat(8, 0).repeat(8, 1)[..., None] > 0, mini.GREY, images[:2]).astype(np.uint8)
    blank = encode(started, np.full_like(images[:1], mini.GREY))[0]
    before = encode(started, hidden)
    after = torch.where(mask > 0, blank, encode(started, images[:2]))
    assert (before - after).abs().max() < 0.01 * before.std()


def test_a_half_plane_hides_a_quarter_to_three_quarters_at_any_edge():
    rng = np.random.default_rng(0)
    masks = torch.stack([mini.half_plane(rng, 16) for _ in range(200)])
    assert set(masks.unique().tolist()) == {0, 1}
    assert masks.mean((1, 2)).min() == 0.25 and masks.mean((1, 2)).max() == 0.75
    corners = masks[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners.sum(1) == 2).all(), "a straight line parts the picture"
    assert len(corners.unique(dim=0)) == 4, "right, left, top and bottom all occur"


def test_the_patch_basis_is_the_encoders_inverse(started, images):
    basis = mini.patch_basis(started)
    latents = encode_pixels(started, to_tensor(images[:2])) - encode_pixels(started, to_tensor(images[:1]) * 0)
    pixels = torch.nn.functional.conv_transpose2d(latents, basis, stride=8)
    again = encode_pixels(started, pixels) - encode_pixels(started, pixels * 0)
    assert (again - latents).abs().max() < 0.02 * latents.std()


def test_of_two_errors_as_large_the_coarse_one_and_the_one_with_an_edge_weigh_more(started):
    basis = mini.patch_basis(started)
    white = torch.randn(2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    even = torch.ones_like(white)
    mask = torch.zeros_like(white[:, :1])
    assert mini.coarse_error(white * 0, basis, mask) == 0
    assert mini.coarse_error(even, basis, mask) > 2 * mini.coarse_error(white, basis, mask)
    halves = torch.zeros_like(white)
    halves[:, :1] = 1
    whole = mini.coarse_error(halves, basis, mask).item()
    halves[..., 8:] = -halves[..., 8:]  # as large everywhere, in whole cells of 8: only the line between is new
    parted = mini.coarse_error(halves, basis, mask).item()
    assert parted > whole

    mask[..., 8:] = 1
    assert mini.coarse_error(halves, basis, mask, 0) == parted
    assert mini.coarse_error(halves, basis, mask, 10).item() - parted == pytest.approx(10 * (parted - whole), rel=0.05)


def test_only_a_step_at_a_patch_s_edge_unlike_those_beside_it_counts():
    ramp = torch.arange(32.0).expand(1, 3, 32, 32)
    assert mini_vae.patch_edges(ramp) == 0
    for column, counts in ((8, 1 / 3), (16, 1 / 3), (4, 0)):  # three edges across; one of them steps by 1 more
        stepped = ramp + (torch.arange(32) >= column)
        assert mini_vae.patch_edges(stepped).item() == pytest.approx(counts)
        assert mini_vae.patch_edges(stepped.transpose(2, 3)).item() == pytest.approx(counts)


def test_a_step_falls_into_one_round_of_training():
    rounds = [dict(steps=3), dict(steps=2)]
    found = [mini._round(rounds, step) for step in range(5)]
    assert [(rounds.index(part), step) for part, step in found] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    with pytest.raises(IndexError):
        mini._round(rounds, 5)


TINY = mini.RECIPE | {
    "stills": {"ocean": 4, "pond": 3}, "photo_crops": 2, "vae_start": 4, "vae_batch": 2, "vae_crop": 32,
    "vae_rounds": [dict(part, steps=2) for part in mini.RECIPE["vae_rounds"]],
    "unet_rounds": [dict(part, steps=2, period=2, cooldown=1) for part in mini.RECIPE["unet_rounds"]], "unet_batch": 8,
    "clip_rounds": [dict(part, steps=2, period=2, cooldown=1) for part in mini.RECIPE["clip_rounds"]], "clip_batch": 4,
}


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
    monkeypatch.setattr(footage, "photos", lambda into: found)


def hashes(folder):
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest()
            for f in sorted(folder.rglob("*")) if f.is_file()}


class Cut(Exception):
    pass


def test_the_whole_recipe_runs_and_an_interrupted_run_gives_the_same_bytes(tmp_path, photographs, monkeypatch):
    mini.train(tmp_path / "a", tmp_path / "work_a", TINY)
    made = hashes(tmp_path / "a")
    assert {"lnm-mini/vae/config.json", "lnm-mini/unet/config.json",
            "lnm-mini-clip/open_clip_model.safetensors"} <= set(made)

    monkeypatch.setattr(mini, "SAVE_EVERY", 1)
    real, calls = mini_vae.step, []

    def cut_once(*args):
        calls.append(args[-1])
        if len(calls) == 3:
            raise Cut
        return real(*args)

    monkeypatch.setattr(mini_vae, "step", cut_once)
    with pytest.raises(Cut):
        mini.train(tmp_path / "b", tmp_path / "work_b", TINY)
    mini.train(tmp_path / "b", tmp_path / "work_b", TINY)
    assert calls == [0, 1, 2, 2, 3], "it goes on at the step where it was cut"
    assert hashes(tmp_path / "b") == made
