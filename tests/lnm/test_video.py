"""Films come in whole, upright and on time, go out so that anyone can play them, and bad ones give one clear line."""

import base64
import re
import warnings

import av
import numpy as np
import pytest
from PIL import Image

from lnm import video
from lnm.errors import UserError


def numbered(count=20, height=48, width=64) -> np.ndarray:
    """Frame i is grey level 10 i, so that a decoded frame tells its number."""
    grey = 10 * np.arange(count, dtype=np.uint8)
    return np.broadcast_to(grey[:, None, None, None], (count, height, width, 3)).copy()


def numbers(frames) -> list[int]:
    return [round(f.mean() / 10) for f in frames]


def corners(height=48, width=64) -> np.ndarray:
    """Red top left, green top right, blue bottom left, white bottom right."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:height // 2, :width // 2, 0] = 255
    picture[:height // 2, width // 2:, 1] = 255
    picture[height // 2:, :width // 2, 2] = 255
    picture[height // 2:, width // 2:] = 255
    return picture


def names(picture) -> str:
    """The colours of the four corners, in reading order."""
    h, w = picture.shape[:2]
    key = {(1, 0, 0): "r", (0, 1, 0): "g", (0, 0, 1): "b", (1, 1, 1): "w"}
    return "".join(key[tuple(int(v > 128) for v in picture[y, x])] for y in (4, h - 5) for x in (4, w - 5))


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text and "Traceback" not in text
    return text


@pytest.fixture
def film(tmp_path):
    return video.write_mp4(tmp_path / "film.mp4", numbered(), 10)


# ---------------------------------------------------------------- files


def test_mp4_keeps_count_rate_size_and_colours(tmp_path):
    frames = np.stack([corners()] * 6)
    clip = video.read(video.write_mp4(tmp_path / "a" / "film.mp4", frames, 12.5))
    assert clip.frames.shape == frames.shape and clip.fps == clip.source_fps == 12.5 and clip.source_size == (64, 48)
    inner = np.abs(clip.frames.astype(int) - frames)[:, 2:20, 2:28]
    assert inner.max() <= 4, "BT.709 must be written and read alike"


def test_the_same_frames_give_the_same_bytes(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    one, two = (video.write_mp4(tmp_path / f"{i}.mp4", frames, 8).read_bytes() for i in range(2))
    assert one == two
    assert not list(tmp_path.glob("*.part"))


def test_mp4_is_what_a_browser_plays(film):
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        assert stream.codec_context.colorspace == 1  # BT.709
    data = film.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index comes first, so that playing starts at once"


def test_odd_sides_are_padded_and_said(tmp_path):
    with pytest.warns(UserWarning, match="33 x 31 padded"):
        video.write_mp4(tmp_path / "odd.mp4", numbered(4, 31, 33), 8)
    assert video.read(tmp_path / "odd.mp4").source_size == (34, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        video.write_mp4(tmp_path / "even.mp4", numbered(4, 32, 34), 8)


@pytest.mark.parametrize("suffix,codec", [("mp4", "mpeg4"), ("mov", "mjpeg"), ("avi", "mpeg4"), ("webm", "libvpx-vp9")])
def test_containers_and_codecs(tmp_path, suffix, codec):
    path = tmp_path / f"film.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for frame in numbered(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    clip = video.read(path)
    assert numbers(clip.frames) == list(range(12)) and clip.fps == 10


@pytest.mark.parametrize("turn,expected", [(90, "gwrb"), (-90, "brwg"), (180, "wbgr")])
def test_rotation_metadata_is_honoured(tmp_path, turn, expected):
    """The display matrix turns the picture counterclockwise by its angle."""
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(turn)
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(corners(), format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).rotation in (turn, turn - 360, turn + 360)
    clip = video.read(path)
    assert clip.source_size == ((64, 48) if turn == 180 else (48, 64))
    assert names(clip.frames[0]) == expected
    # a crop is in pixels of the picture as it is seen: this one does not fit the file's own 64 x 48
    if turn != 180:
        assert video.read(path, crop=[0, 50, 48, 14]).frames.shape[1:3] == (14, 48)


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    path = tmp_path / "anamorphic.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        for frame in numbered(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    assert video.read(path).source_size == (128, 48)


# ---------------------------------------------------------------- time


def test_frames_are_the_nearest_in_time(film):
    assert numbers(video.read(film).frames) == list(range(20))
    assert numbers(video.read(film, fps=5).frames) == list(range(0, 20, 2))
    # 4 fps: 0, 0.25, 0.5, 0.75 s ...; frame 2 and 3 are equally near to 0.25 s
    picked = numbers(video.read(film, fps=4).frames)
    assert len(picked) == 8 and all(abs(n / 10 - k / 4) <= 0.05 + 1e-9 for k, n in enumerate(picked))
    assert len(set(picked)) == 8


def test_start_end_and_max_frames(film):
    assert numbers(video.read(film, start=0.5, end=1.0).frames) == [5, 6, 7, 8, 9]
    assert numbers(video.read(film, fps=5, start=0.5, end=1.0).frames) == [5, 7, 9]
    assert numbers(video.read(film, fps=5, max_frames=3).frames) == [0, 2, 4]


def test_a_start_far_into_the_film_is_sought_and_exact(tmp_path):
    frames = np.arange(120, dtype=np.uint8)[:, None, None, None].repeat(32, 1).repeat(32, 2).repeat(3, 3) * 2
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.options = 32, 32, "yuv420p", {"g": "12", "crf": "4"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    whole = video.read(path)
    assert len(whole) == 120
    assert np.array_equal(video.read(path, start=7.3, end=8.0).frames, whole.frames[73:80])


def test_memory_is_that_of_the_result(film, monkeypatch):
    """Frames are made small one by one: no more than one at full size is turned to RGB at a time."""
    alive = []
    fit = video._fit
    monkeypatch.setattr(video, "_fit", lambda picture, *args: alive.append(picture.size) or fit(picture, *args))
    clip = video.read(film, fps=2, size=8)
    assert clip.frames.shape == (4, 8, 8, 3) and alive == [(64, 48)] * 4, "only frames that are kept are converted"


def test_more_frames_a_second_than_there_are_is_an_error_that_says_how_many(film):
    with pytest.raises(UserError) as error:
        video.read(film, fps=24)
    assert re.search(r"film.mp4: 24 fps asked, but the source has 10,.*set fps to 10 or less", one_line(error))
    assert len(video.read(film, fps=10.05)) == 20, "30 of 29.97 is every frame"


def test_variable_frame_rate_goes_by_timestamps(tmp_path):
    path = tmp_path / "uneven.mp4"
    moments = [0, 1, 2, 3, 4, 10, 16, 17, 18, 19]  # tenths of a second
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for moment, picture in zip(moments, numbered(20)[moments], strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = moment
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert numbers(video.read(path, fps=2).frames)[:4] == [0, 4, 10, 16]


# ---------------------------------------------------------------- crop and size


def test_centre_square_given_crop_and_resize(tmp_path):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, 8:56] = 200  # the centre square
    path = video.write_mp4(tmp_path / "film.mp4", np.stack([picture] * 3), 8)
    square = video.read(path, size=24).frames
    assert square.shape == (3, 24, 24, 3) and square[:, :, 1:-1].min() > 190
    assert video.read(path, crop=[8, 0, 40, 20]).frames.shape == (3, 20, 40, 3)
    assert video.read(path, size=16, crop=[0, 0, 4, 4]).frames.max() < 12


def test_making_smaller_averages_the_area():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = video._fit(Image.fromarray(stripes), 8, None, "x")
    assert np.abs(small.astype(int) - 127).max() <= 6, "point sampling would give black or white"


@pytest.mark.parametrize("crop", [[0, 0, 65, 10], [-1, 0, 8, 8], [60, 40, 8, 8], [0, 0, 0, 8]])
def test_a_crop_outside_the_picture_is_one_line(film, crop):
    with pytest.raises(UserError, match=r"film.mp4: crop \[.*does not lie inside the picture, which is 64 x 48"):
        video.read(film, crop=crop)


def test_a_crop_that_would_be_distorted_is_one_line_with_a_square(film):
    with pytest.raises(UserError, match=r"not square.*\[2, 4, 20, 20\]"):
        video.read(film, size=16, crop=[2, 4, 30, 20])


@pytest.mark.parametrize("source, shape, box", [
    ((64, 48), (1, 1), (8, 0, 56, 48)), ((48, 64), (1, 1), (0, 8, 48, 56)), ((64, 48), (4, 3), (0, 0, 64, 48)),
    ((64, 48), (2, 1), (0, 8, 64, 40)), ((100, 100), (48, 32), (0, 16, 100, 83)), ((1920, 1080), (512, 512),
     (420, 0, 1500, 1080)), ((33, 31), (32, 32), (1, 0, 32, 31)), ((16, 16), (64, 32), (0, 4, 16, 12))])
def test_centre_box_is_the_largest_piece_of_the_shape_around_the_centre(source, shape, box):
    assert video.centre_box(source, shape) == box
    left, top, right, bottom = box
    assert (right - left) / (bottom - top) == pytest.approx(shape[0] / shape[1], rel=0.02)
    assert right - left == source[0] or bottom - top == source[1], "it touches two sides"
    assert abs(left - (source[0] - right)) <= 1 and abs(top - (source[1] - bottom)) <= 1


def test_a_shape_that_leaves_next_to_nothing_leaves_a_pixel():
    assert video.centre_box((10, 1000), (1000, 1)) == (0, 499, 10, 500)


def test_a_size_is_a_side_or_both():
    assert video.sides(96) == (96, 96) and video.sides([96, 64]) == video.sides((96, 64)) == (96, 64)


def test_films_and_stills_of_any_shape_are_cut_around_the_centre_and_not_distorted(tmp_path):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[8:40] = 200  # the middle, of 2 to 1
    Image.fromarray(picture).save(tmp_path / "still.png")
    path = video.write_mp4(tmp_path / "film.mp4", np.stack([picture] * 3), 8)
    for wide in (video.read_image(tmp_path / "still.png", (32, 16)), video.read(path, size=[32, 16]).frames[1]):
        assert wide.shape == (16, 32, 3) and wide[1:-1].min() > 190
    tall = video.read(path, size=(16, 32), crop=[4, 4, 20, 40]).frames
    assert tall.shape == (3, 32, 16, 3)
    with pytest.raises(UserError, match=r"not of the shape 16 x 32 and would be distorted.*\[4, 4, 10, 20\]"):
        video.read(path, size=(16, 32), crop=[4, 4, 20, 20])


# ---------------------------------------------------------------- gif


def test_gif_keeps_tempo_and_loops(tmp_path):
    path = video.write_gif(tmp_path / "film.gif", np.stack([corners()] * 3 + [corners()[::-1]] * 5), 8)
    with Image.open(path) as opened:
        assert opened.info["loop"] == 0
        durations = []
        for i in range(opened.n_frames):
            opened.seek(i)
            durations.append(opened.info["duration"])
    assert sum(durations) == 1000, "eight frames at 8 fps are one second"


def test_gif_is_read_and_transparency_is_laid_on_white(tmp_path):
    frames = []
    for i in range(6):
        picture = np.zeros((32, 32, 4), np.uint8)
        picture[4 + i:12 + i, 4:12] = (200, 0, 0, 255)
        frames.append(Image.fromarray(picture, "RGBA"))
    frames[0].save(tmp_path / "clear.gif", save_all=True, append_images=frames[1:], duration=100, loop=0, disposal=2)
    clip = video.read(tmp_path / "clear.gif")
    assert len(clip) == 6 and clip.fps == 10
    assert (clip.frames[:, 28, 28] == 255).all()
    assert (np.abs(clip.frames[3, 10, 8].astype(int) - (200, 0, 0)) < 8).all()


# ---------------------------------------------------------------- folders and stills


def test_a_folder_is_read_in_natural_order(tmp_path):
    for i, frame in enumerate(numbered(12, 8, 8)):
        Image.fromarray(frame).save(tmp_path / f"frame{i}.{'png' if i % 2 else 'webp'}", lossless=True)
    (tmp_path / "notes.txt").write_text("not a frame")
    clip = video.read(tmp_path, fps=8)
    assert numbers(clip.frames) == list(range(12)) and clip.fps == 8
    assert numbers(video.read(tmp_path, fps=8, start=0.5, end=1).frames) == [4, 5, 6, 7]


def test_frames_written_are_frames_read_and_old_ones_are_gone(tmp_path):
    video.write_frames(tmp_path, numbered(12, 8, 8))
    files = video.write_frames(tmp_path, numbered(5, 8, 8))
    assert [f.name for f in files] == sorted(f.name for f in tmp_path.iterdir()) and files[0].name == "00000.png"
    assert np.array_equal(video.read_frames(tmp_path), numbered(5, 8, 8))


def test_read_frames_takes_a_video_too(film):
    assert numbers(video.read_frames(film)) == list(range(20))


@pytest.mark.parametrize("orientation,expected", [(1, "rgbw"), (3, "wbgr"), (6, "brwg"), (8, "gwrb")])
def test_exif_rotation_of_stills(tmp_path, orientation, expected):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(corners()).save(tmp_path / "still.png", exif=exif)
    assert names(video.read_image(tmp_path / "still.png")) == expected


def test_16_bit_grey_palette_and_transparent_stills(tmp_path):
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    deep = video.read_image(tmp_path / "deep.png")
    assert np.array_equal(deep[..., 0].ravel(), np.arange(256)), "scaled, not clipped"
    grey = Image.fromarray(np.full((8, 8), 77, np.uint8))
    grey.save(tmp_path / "grey.png")
    assert (video.read_image(tmp_path / "grey.png") == 77).all()
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:4] = (10, 20, 30, 255)
    Image.fromarray(rgba, "RGBA").save(tmp_path / "clear.png")
    still = video.read_image(tmp_path / "clear.png")
    assert (still[:4] == (10, 20, 30)).all() and (still[4:] == 255).all()
    Image.fromarray(corners()).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    assert names(video.read_image(tmp_path / "palette.png")) == "rgbw"
    assert video.read_image(tmp_path / "palette.png", size=16).shape == (16, 16, 3)


# ---------------------------------------------------------------- showing


def test_contact_sheet_has_a_labelled_row_a_film(tmp_path):
    rows = [("first", numbered(20, 16, 16)), ("a much longer label than its pictures are wide", numbered(3, 16, 16))]
    sheet = video.contact_sheet(rows, 4, tmp_path / "s" / "sheet.png")
    pixels = np.asarray(sheet)
    assert (pixels[0, 0] == pixels[-1, -1]).all() and pixels[0, 0].std() == 0, "a neutral background"
    row = [pixels[4 + 22 + 8, 4 + i * 20 + 8, 0] for i in range(4)]
    assert row == [0, 60, 130, 190], "first to last, evenly"
    assert (pixels[4:26] < 100).any(), "a label"
    assert np.array_equal(np.asarray(Image.open(tmp_path / "s" / "sheet.png")), pixels)


def test_show_carries_the_film_inside_the_page(film):
    html = video.show(film).data
    assert base64.b64decode(re.search(r"data:video/mp4;base64,([^\"]+)", html)[1]) == film.read_bytes()
    assert all(word in html for word in ("loop", "autoplay", "muted", "controls"))
    assert "data:video/mp4" in video.show(numbered(4), 8).data
    with pytest.raises(UserError, match="no such file"):
        video.show("nothing.mp4")
