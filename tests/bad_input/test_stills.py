"""Stills of every kind look as they were meant to: their pixels beside an sRGB reference."""

import numpy as np
import pytest
from PIL import Image, ImageCms

from lnm.video import read_image

RED, GREEN, BLUE, GREY = (220, 30, 40), (30, 200, 60), (40, 60, 210), (128, 128, 128)


def quarters(side: int = 32) -> np.ndarray:
    """Red, green, blue and grey: uint8 (side, side, 3)."""
    half, picture = side // 2, np.zeros((side, side, 3), np.uint8)
    picture[:half, :half], picture[:half, half:] = RED, GREEN
    picture[half:, :half], picture[half:, half:] = BLUE, GREY
    return picture


def far(path, reference: np.ndarray) -> float:
    """The largest difference in the middle of a quarter, away from its edges, where JPEG rings."""
    found, part = read_image(path), slice(4, 12)
    assert found.shape == reference.shape and found.dtype == np.uint8
    return max(np.abs(found[y:y + 16][part, x:x + 16][:, part].astype(int)
                      - reference[y:y + 16][part, x:x + 16][:, part]).max() for y in (0, 16) for x in (0, 16))


def test_a_plain_png_is_itself_to_the_bit(tmp_path):
    Image.fromarray(quarters()).save(tmp_path / "a.png")
    assert far(tmp_path / "a.png", quarters()) == 0


@pytest.mark.parametrize("kind, most", [("jpg", 6), ("tif", 2)])
def test_a_cmyk_still_has_the_colours_of_its_rgb(tmp_path, kind, most):
    path = tmp_path / f"a.{kind}"
    Image.fromarray(quarters()).convert("CMYK").save(path, quality=98)
    assert far(path, quarters()) <= most


def test_16_bits_a_pixel_are_scaled_and_not_clipped(tmp_path):
    grey = np.repeat(np.linspace(0, 65535, 32).astype(np.uint16)[None], 32, 0)
    Image.fromarray(grey).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png").astype(int)
    assert np.abs(found - np.round(grey / 257)[..., None]).max() <= 1 and (found[..., 0] == found[..., 2]).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_16_bits_a_colour_are_scaled(tmp_path, bits):
    import cv2

    picture = quarters().astype(np.uint16) * 257 if bits == 16 else quarters()
    assert cv2.imwrite(str(tmp_path / "a.png"), picture[..., ::-1])
    assert far(tmp_path / "a.png", quarters()) <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_exif_orientation_stands_upright(tmp_path, orientation):
    picture = Image.fromarray(quarters())
    how = {1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
           4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
           7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270}[orientation]
    stored = picture if how is None else picture.transpose(how)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert far(tmp_path / "a.png", quarters()) == 0


def test_a_palette_and_a_transparent_palette_are_their_colours(tmp_path):
    palette = Image.fromarray(quarters()).quantize(16)
    palette.save(tmp_path / "a.png")
    assert far(tmp_path / "a.png", quarters()) <= 2
    clear = palette.getpixel((2, 2))
    palette.save(tmp_path / "b.png", transparency=clear)
    found = read_image(tmp_path / "b.png")
    assert found[2, 2].tolist() == [255, 255, 255] and np.abs(found[20, 4].astype(int) - BLUE).max() <= 2


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_an_animated_still_is_its_first_picture(tmp_path, kind):
    first, second = Image.fromarray(quarters()), Image.new("RGB", (32, 32), "black")
    options = {"lossless": True} if kind == "webp" else {}
    first.save(tmp_path / f"a.{kind}", save_all=True, append_images=[second], duration=100, **options)
    assert far(tmp_path / f"a.{kind}", quarters()) <= 2


@pytest.mark.parametrize("mode, expected", [("1", [255] * 3), ("L", [255] * 3), ("LA", [255] * 3), ("RGBA", [255] * 3)])
def test_grey_and_one_bit_stills_are_rgb(tmp_path, mode, expected):
    Image.new(mode, (8, 8), "white").save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == expected


def test_a_still_of_another_colour_space_is_brought_to_srgb(tmp_path):
    """What a camera stores in a wide space by its profile looks pale when its numbers are taken for sRGB's."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    picture = ImageCms.profileToProfile(Image.fromarray(quarters()), srgb, lab, outputMode="LAB")
    picture.save(tmp_path / "a.tif", icc_profile=ImageCms.ImageCmsProfile(lab).tobytes())
    assert far(tmp_path / "a.tif", quarters()) <= 4
