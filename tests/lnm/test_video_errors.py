"""What can be wrong with a clip or a still is said in one line that names the file and the cure."""

import os

import av
import numpy as np
import pytest
from PIL import Image

from lnm import video
from lnm.errors import UserError


def grey(count=20, height=48, width=64) -> np.ndarray:
    return np.full((count, height, width, 3), 90, np.uint8)


def one_line(error) -> None:
    assert "\n" not in str(error.value) and "Traceback" not in str(error.value)


@pytest.fixture
def film(tmp_path):
    return video.write_mp4(tmp_path / "film.mp4", grey(), 10)


def test_missing_empty_and_corrupt_inputs_are_one_line_each(tmp_path, film):
    with pytest.raises(UserError, match=r"nothing.mp4: no such file"):
        video.read(tmp_path / "nothing.mp4")
    with pytest.raises(UserError, match=r"nothing.png: no such file"):
        video.read_image(tmp_path / "nothing.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no images \(\.png, \.jpg"):
        video.read(tmp_path / "empty", fps=8)
    for name, data in (("text.mp4", b"this is no film"), ("cut.mp4", film.read_bytes()[:700]), ("none.mp4", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=rf"{name}: not a readable video") as error:
            video.read(tmp_path / name)
        one_line(error)
    with pytest.raises(UserError, match="film.mp4: no frames between 9 s and its end"):
        video.read(film, start=9)


def test_pipes_and_devices_are_refused_and_not_waited_for(tmp_path):
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder" / "a.png")
    for reader, path in ((video.read, pipe), (video.read_image, pipe), (video.read, "/dev/zero"),
                         (lambda folder: video.read(folder, fps=8), tmp_path / "folder")):
        with pytest.raises(UserError, match="not a regular file") as error:
            reader(path)
        one_line(error)
    with pytest.raises(UserError, match="folder: a folder; give one image"):
        video.read_image(tmp_path / "folder")


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_one_line(film, fps):
    with pytest.raises(UserError, match="fps asked: must be a number above 0"):
        video.read(film, fps=fps)


def test_what_is_read_may_be_written_to(film, tmp_path):
    video.write_frames(tmp_path, grey(1))
    assert video.read_image(tmp_path / "00000.png").flags.writeable
    assert video.read_image(tmp_path / "00000.png", 16).flags.writeable and video.read(film).frames.flags.writeable


def test_a_file_with_sound_only_has_no_video_stream(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UserError, match="sound.mp4: no video stream"):
        video.read(path)


def test_a_bad_folder_names_the_bad_file(tmp_path):
    video.write_frames(tmp_path, grey(3, 16, 16))
    with pytest.raises(UserError, match="no frame rate of its own: give fps"):
        video.read(tmp_path)
    whole = (tmp_path / "00001.png").read_bytes()
    (tmp_path / "00001.png").write_bytes(whole[:40])
    with pytest.raises(UserError, match=r"00001.png: not a readable image") as error:
        video.read(tmp_path, fps=8)
    one_line(error)
    Image.fromarray(np.zeros((8, 16, 3), np.uint8)).save(tmp_path / "00001.png")
    with pytest.raises(UserError, match=r"00001.png: 16 x 8, but 00000.png is 16 x 16"):
        video.read(tmp_path, fps=8)


def test_too_short_is_said_with_the_cure(film):
    clip = video.read(film, fps=5)
    clip.require(10, "sea")
    with pytest.raises(UserError, match=r"sea: too short: 10 frames at 5 fps \(2.0 s\), 40 are needed.*its own is 10"):
        clip.require(40, "sea")


@pytest.mark.parametrize("where", ["the file's", "the stream's"])
def test_a_title_in_another_encoding_than_utf_8_is_no_fault_of_the_film_s(tmp_path, where):
    """As cameras and old editors write it. Found by `make fuzz`."""
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        (container if where == "the file's" else stream).metadata["title"] = "Mxnchen"
        for picture in grey(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    data = path.read_bytes()
    assert data.count(b"Mxnchen") == 1
    path.write_bytes(data.replace(b"Mxnchen", b"M\xfcnchen"))
    with pytest.raises(UnicodeDecodeError):
        av.open(str(path))
    assert video.read(path).frames.shape == (5, 48, 64, 3)
