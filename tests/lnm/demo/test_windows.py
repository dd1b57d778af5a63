"""lnm-mini's encoder: linear, in overlapping windows, and near to another's where that is asked for."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lnm.demo.mini import autoencoder, loop, windows
from lnm.demo.mini.recipe import GREY, RECIPE
from lnm.demo.mini.windows import Transform, transform_of, windowed_transform, write_encoder
from lnm.latents import encode, encode_pixels, to_tensor

SMALL = RECIPE | {"fit": RECIPE["fit"] | {"steps": 100, "batch": 4, "crop": 48}}


@pytest.fixture(scope="module")
def x(images):
    return to_tensor(images)


@pytest.fixture(scope="module")
def lapped(x):
    return windowed_transform(x, 16).requires_grad_(False)


@pytest.fixture(scope="module")
def vae(lapped):
    vae = autoencoder.new_vae()
    vae.register_to_config(scaling_factor=0.5)
    write_encoder(vae, lapped)
    return vae.eval()


@pytest.fixture(scope="module")
def blocks(x):
    """The Karhunen-Loève transform of blocks of 8x8 that do not overlap, as another checkpoint might have."""
    cells = windows.pixels_last(F.pixel_unshuffle(x, 8))
    basis = torch.linalg.svd(cells - cells.mean(0), full_matrices=False)[2][:16]
    return Transform(0.3 * basis.view(16, 3, 8, 8), torch.linspace(-1, 1, 16)).requires_grad_(False)


def squared_error(a, b):
    return (a - b).square().mean().item()


def test_the_encoder_computes_the_windows_to_half_precision(vae, lapped, x, images):
    z = lapped(x)
    assert (encode(vae, images) - z).abs().max() < 5e-3 * z.abs().max()
    weights = vae.encoder.state_dict().values()
    assert all(torch.equal(w, w.half().float()) for w in weights), "what is saved is what was trained on"


def test_what_the_encoder_computes_is_one_convolution_read_off_its_response(vae, x, images):
    found = transform_of(vae)
    assert found.weight.shape == (16, 3, 24, 24)
    assert (found(x) - encode(vae, images)).abs().max() < 1e-4
    outer = found.weight.detach().clone()
    outer[:, :, 4:20, 4:20] = 0
    assert outer.abs().max() == 0, "windows of 16x16"
    for edge in (found.weight[:, :, 4], found.weight[:, :, 19], found.weight[..., 4], found.weight[..., 19]):
        assert edge.abs().max() > 0


def test_a_pixel_reaches_the_latents_of_the_cell_beside_it_within_four_pixels_of_the_border_and_not_from_five(vae):
    def seen(row, column):
        picture = torch.zeros(1, 3, 40, 40)
        picture[:, :, row, column] = 1
        with torch.no_grad():
            changed = encode_pixels(vae, picture) != encode_pixels(vae, picture * 0)
        return changed.any(1)[0]  # (5, 5)

    for distance in range(1, 9):  # from the border between the cells 1 and 2
        assert seen(20, 16 - distance)[2, 2] == (distance <= 4), distance
        assert seen(20, 15 + distance)[2, 1] == (distance <= 4), distance
        assert seen(16 - distance, 20)[2, 2] == (distance <= 4), distance
        assert seen(15 + distance, 20)[1, 2] == (distance <= 4), distance
    assert seen(20, 20).nonzero().tolist() != [] and seen(20, 20).sum() == 4, "of a cell's 8 each is in 4 windows"


def test_a_masked_box_leaks_one_cell_and_no_further(vae, images):
    hidden = images[:2].copy()
    hidden[:, 16:40, 24:48] = GREY
    changed = (encode(vae, hidden) - encode(vae, images[:2])).abs().amax((0, 1))
    box = torch.zeros(8, 8)
    box[2:5, 3:6] = 1
    beside = F.max_pool2d(box[None], 3, 1, 1)[0]
    assert changed[beside == 0].max() == 0 < changed[beside > box].min()


def test_its_encoder_is_linear(vae, x):
    with torch.no_grad():
        middle = encode_pixels(vae, (x[:4] + x[4:8]) / 2)
        ends = (encode_pixels(vae, x[:4]) + encode_pixels(vae, x[4:8])) / 2
    torch.testing.assert_close(middle, ends, atol=1e-4, rtol=1e-4)


def test_from_nothing_channels_are_those_of_the_windowed_transform_whitened_in_part(lapped, x):
    """The independent way: all windows in one matrix, in numpy."""
    fade = np.sin(np.pi * (np.arange(16) + 0.5) / 16)
    padded = np.pad(x.numpy().astype(float), ((0, 0), (0, 0), (4, 4), (4, 4)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, (16, 16), (2, 3))[:, :, ::8, ::8]
    seen = (seen * np.outer(fade, fade)).transpose(0, 2, 3, 1, 4, 5).reshape(-1, 768)
    _, values, basis = np.linalg.svd(seen, full_matrices=False)
    assert values[15] > 1.01 * values[16]
    z = seen @ basis[:16].T
    z = (z - z.mean(0)) / z.std(0) ** windows.WHITENING
    z = z / np.sqrt(np.square(z).mean())
    ours = lapped(x).permute(0, 2, 3, 1).reshape(-1, 16).numpy()
    signs = np.sign((z * ours).sum(0))
    np.testing.assert_allclose(ours, z * signs, atol=2e-2)
    assert lapped(x).std().item() == pytest.approx(1, rel=1e-3)


def test_mixed_towards_another_each_channel_is_as_near_as_a_linear_map_brings_it(lapped, blocks, x):
    lapped = Transform(lapped.weight.detach(), lapped.bias + torch.linspace(-2, 1, 16))  # its mean is not zero
    near = windows.towards(lapped, blocks, x)
    z, wanted = (windows.pixels_last(t(x)).double() for t in (near, blocks))
    torch.testing.assert_close(z.mean(0), wanted.mean(0), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(z.std(0), wanted.std(0), atol=1e-3, rtol=1e-3)
    ours = windows.pixels_last(lapped(x)).double()
    ours = torch.cat([ours, torch.ones(len(ours), 1)], 1)
    best = ours @ torch.linalg.lstsq(ours, wanted).solution
    for k in range(16):
        mine, theirs = (torch.corrcoef(torch.stack([a[:, k], wanted[:, k]]))[0, 1].item() for a in (z, best))
        assert mine == pytest.approx(theirs, abs=1e-3)


@pytest.mark.parametrize("aligned", [False, True])
def test_the_fit_decodes_better_than_what_it_begins_with_and_stays_near(tmp_path, images, x, blocks, aligned):
    begun = windowed_transform(x[::3], 16)
    target = blocks if aligned else begun
    begun = windows.towards(begun, target, x[::3]) if aligned else begun
    found = windows.fit(tmp_path, SMALL, images, blocks if aligned else None)
    errors = [squared_error(windows.LinearDecoder(t(x), x)(t(x)), x) for t in (begun, found)]
    assert errors[1] < errors[0]
    (tmp_path / "near").mkdir()
    close = SMALL | {"fit": SMALL["fit"] | {"penalty": 10.0}}
    near = windows.fit(tmp_path / "near", close, images, blocks if aligned else None)
    inside = np.s_[..., 1:-1, 1:-1]
    assert squared_error(near(x)[inside], target(x)[inside]) < squared_error(found(x)[inside], target(x)[inside])
    assert not any(p.requires_grad for p in found.parameters())


def test_an_interrupted_fit_gives_the_same_windows(tmp_path, images, blocks, monkeypatch):
    whole = windows.fit(tmp_path, SMALL, images, blocks)
    monkeypatch.setattr(loop, "SAVE_EVERY", 30)
    real, steps = windows.draw_crops, []

    def cut(*args):
        steps.append(0)
        if len(steps) == 41:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(windows, "draw_crops", cut)
    (tmp_path / "b").mkdir()
    with pytest.raises(KeyboardInterrupt):
        windows.fit(tmp_path / "b", SMALL, images, blocks)
    again = windows.fit(tmp_path / "b", SMALL, images, blocks)
    assert len(steps) == 41 + 70, "it goes on at the step after the last save"
    assert torch.equal(again.weight, whole.weight) and torch.equal(again.bias, whole.bias)
    other = windows.fit(tmp_path, SMALL | {"seed": 1}, images, blocks)
    assert torch.equal(other.weight, whole.weight), "what is done is not done again"


def test_crops_are_cut_between_cells_and_half_of_the_times_rolled():
    x = torch.arange(64.0).expand(5, 3, 64, 64).clone()
    x[:, 1] = x[:, 0].mT
    x[:, 2] = torch.arange(5.0)[:, None, None]
    rolled, corners, rows = 0, set(), set()
    for seed in range(200):
        crops = windows.draw_crops(x, 4, 32, torch.Generator().manual_seed(seed))
        assert crops.shape == (4, 3, 32, 32)
        left, top = crops[0, 0, 0].min().item(), crops[0, 1, :, 0].min().item()
        assert left % 8 == top % 8 == 0
        straight = crops[0, 0, 0, 0] == left and crops[0, 1, 0, 0] == top
        rolled += not straight
        corners.add((top, left))
        rows |= set(crops[:, 2, 0, 0].tolist())
    assert rolled / 200 == pytest.approx(0.5, abs=0.1) and rows == set(range(5))
    assert corners == {(8.0 * i, 8.0 * j) for i in range(4) for j in range(4)}
