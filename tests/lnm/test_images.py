"""Stills in: whatever form they come in, the same pixels; what is none is named."""

import numpy as np
import pytest
import torch
from PIL import Image

from lnm.errors import UserError
from lnm.images import to_pixels
from lnm.video import read_image

H, W = 6, 9


def still(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (H, W, 3), dtype=np.uint8)


def pixels(array):
    """uint8 (H, W, 3) -> (1, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(array).permute(2, 0, 1)[None].float() / 127.5 - 1


def forms():
    array = still()
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    return {"PIL": Image.fromarray(array), "uint8 array": array, "a batch": array[None],
            "float array": array.astype(np.float32) / 255, "float64 array": array / 255.0,
            "uint8 tensor": tensor, "float tensor": tensor / 255, "a batch of tensors": tensor[None] / 255,
            "RGBA array": np.dstack([array, np.full((H, W), 255, np.uint8)]),
            "RGBA image": Image.fromarray(array).convert("RGBA"), "a list": [array],
            "a tuple": (Image.fromarray(array),)}


@pytest.mark.parametrize("form", forms())
def test_every_form_gives_the_same_pixels(form):
    got = to_pixels(forms()[form])
    assert got.dtype == torch.float32 and got.shape == (1, 3, H, W)
    torch.testing.assert_close(got, pixels(still()), atol=1e-6, rtol=0)


@pytest.mark.parametrize("as_text", [True, False])
def test_a_path_is_read_as_the_rest_of_the_package_reads_it(tmp_path, as_text):
    path = tmp_path / "still.png"
    Image.fromarray(still()).convert("RGBA").save(path)
    torch.testing.assert_close(to_pixels(str(path) if as_text else path), pixels(still()), atol=1e-6, rtol=0)
    torch.testing.assert_close(to_pixels(path), pixels(read_image(path)), atol=1e-6, rtol=0)
    with pytest.raises(UserError, match="no such file"):
        to_pixels(tmp_path / "none.png")


def test_transparency_is_laid_on_white_and_grey_becomes_three_channels():
    clear = np.zeros((H, W, 4), np.uint8)
    assert (to_pixels(clear) == 1).all() and (to_pixels(Image.fromarray(clear)) == 1).all()
    grey = np.full((H, W), 51, np.uint8)
    for form in (grey, Image.fromarray(grey)):
        torch.testing.assert_close(to_pixels(form), torch.full((1, 3, H, W), 51 / 127.5 - 1))


def test_black_and_white_are_the_ends_of_the_range():
    for dark, light in ((np.uint8(0), np.uint8(255)), (np.float32(0), np.float32(1))):
        assert (to_pixels(np.full((H, W, 3), dark)) == -1).all() and (to_pixels(np.full((H, W, 3), light)) == 1).all()


def test_half_precision_tensors_and_views_that_are_not_contiguous():
    tensor = torch.from_numpy(still()).permute(2, 0, 1) / 255
    torch.testing.assert_close(to_pixels(tensor.bfloat16()), pixels(still()), atol=0.01, rtol=0)
    mirrored = still()[:, ::-1]
    torch.testing.assert_close(to_pixels(mirrored), pixels(np.ascontiguousarray(mirrored)), atol=1e-6, rtol=0)


def test_a_list_is_a_batch_in_its_order():
    got = to_pixels([still(1), Image.fromarray(still(2))])
    torch.testing.assert_close(got, torch.cat([pixels(still(1)), pixels(still(2))]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("bad, words", [
    ([], "empty"), (None, "NoneType"), (3, "int"), (np.zeros((3, H, W), np.uint8), r"shape \(3, 6, 9\)"),
    (np.zeros((H, W, 4), np.float32), r"shape \(6, 9, 4\)"), (torch.zeros(H, W, 3), r"shape \(1, 6, 9, 3\)"),
    (torch.zeros(H, W), "shape"), (np.full((H, W, 3), 200.0), "from 200 to 200"),
    (torch.full((3, H, W), -0.5), "from -0.5 to -0.5"), (torch.full((3, H, W), float("nan")), "nan"),
    (np.full((H, W, 3), 200, np.int64), "give uint8"), ([still(), still()[:4]], "different sizes.*9 x 6, 9 x 4")])
def test_what_is_no_still_is_named(bad, words):
    with pytest.raises(ValueError, match=f"image: .*{words}") as error:
        to_pixels(bad)
    assert "\n" not in str(error.value)


def test_a_rounding_error_past_the_range_is_no_mistake():
    assert to_pixels(torch.full((3, H, W), 1.0005)).max() == 1


def test_resizing_cuts_around_the_centre_to_the_shape_asked_for():
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 255  # the middle third
    assert (to_pixels(wide, 8, 8) == 1).all()
    assert (to_pixels(wide, 4, 4) == 1).all()
    tall = np.ascontiguousarray(wide.transpose(1, 0, 2))
    assert (to_pixels(tall, 8, 8) == 1).all()
    assert to_pixels(wide, 16, 48).shape == (1, 3, 16, 48)
    assert to_pixels(wide, height=4).shape == (1, 3, 4, 24) and to_pixels(wide, width=8).shape == (1, 3, 8, 8)
    both = to_pixels([wide, tall], 8, 8)
    assert both.shape == (2, 3, 8, 8) and (both == 1).all()


def test_making_smaller_averages_and_stays_in_range():
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2] = 255
    assert to_pixels(stripes, 4, 4).abs().max() < 0.1  # sampling points would give black or white
    noise = to_pixels(np.random.default_rng(0).integers(0, 2, (16, 16, 3), dtype=np.uint8) * 255, 24, 24)
    assert noise.min() >= -1 and noise.max() <= 1


def test_a_still_of_the_size_asked_for_is_left_as_it_is():
    assert torch.equal(to_pixels(still(), H, W), to_pixels(still()))
