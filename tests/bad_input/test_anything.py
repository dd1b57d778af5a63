"""Facts that hold for whatever hypothesis thinks of: params, answers, claims, films written and read again."""

import csv
import io
import os
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from eval.claims import ledger
from eval.study.form import COLUMNS
from eval.study.vote import reason
from eval.study.votes import read_votes
from lnm import video
from lnm.errors import UserError
from lnm.project import parse_yaml
from lnm.workflow.params import Params, load

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture,
                                                                      HealthCheck.too_slow], derandomize=True)
FEWER = settings(FEW, max_examples=15)
KEYS = [*Params.model_fields, "ocean", "path", "fps", "prompts", "steps", "crop", "strides", "name", "still"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=5).map(str),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), inside,
                                                                  max_size=4), max_leaves=12)


def one_line(error: UserError) -> None:
    assert len(str(error).splitlines()) == 1 and len(str(error)) < 700


def loaded(data: bytes) -> None:
    """Read bytes as params.yaml: a file that is accepted, or one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_bytes(data)
        try:
            load(path)
        except UserError as error:
            one_line(error)


@FEW
@given(st.binary(max_size=200))
def test_any_bytes_as_params_are_read_or_refused(data):
    loaded(data)


@FEW
@given(st.text(alphabet="{}[]:,&*!|>-?'\"#%@` \n\tab1.~<=", max_size=60))
def test_any_yaml_like_text_is_read_or_refused(text):
    loaded(text.encode())


@FEW
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5))
def test_any_tree_of_values_is_read_or_refused(tree):
    from ruamel.yaml import YAML

    stream = io.StringIO()
    try:
        YAML(typ="safe", pure=True).dump(tree, stream)
    except Exception:
        assume(False)
    loaded(stream.getvalue().encode("utf-8", "surrogatepass"))


@FEW
@given(st.text(max_size=40))
def test_any_value_of_set_is_read_or_refused(text):
    try:
        parse_yaml(text, "--set")
    except UserError as error:
        one_line(error)


@FEW
@given(st.lists(st.text(max_size=20), min_size=len(COLUMNS), max_size=len(COLUMNS)))
def test_any_row_is_a_vote_or_has_a_reason_of_one_line(cells):
    why = reason(dict(zip(COLUMNS, cells, strict=True)))
    assert len(why.splitlines()) <= 1


@FEW
@given(st.lists(st.lists(st.text(max_size=8), max_size=len(COLUMNS) + 1), max_size=4), st.booleans())
def test_any_csv_is_counted_row_by_row_or_refused(rows, header):
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([COLUMNS, *rows] if header else rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "votes.csv"
        path.write_bytes(stream.getvalue().encode("utf-8", "surrogatepass"))
        try:
            votes, problems, _ = read_votes([path])
        except UserError as error:
            one_line(error)
            return
        assert not len(votes), "no random text is a vote"
        assert all("\n" not in text for text in problems["reason"])


@FEW
@given(st.lists(st.dictionaries(st.sampled_from(["id", "function", "arguments", "section", "quote", "published",
                                                 "tolerance", "about"]) | st.text(max_size=5), VALUES, max_size=6)
                | VALUES, max_size=4))
def test_any_claims_are_left_out_with_a_line_each(entries):
    from ruamel.yaml import YAML

    stream = io.StringIO()
    try:
        YAML(typ="safe", pure=True).dump(entries, stream)
    except Exception:
        assume(False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "claims.yaml"
        path.write_bytes(stream.getvalue().encode("utf-8", "surrogatepass"))
        try:
            claims, problems = ledger.read_claims(path)
        except UserError as error:
            one_line(error)
            return
        assert len(claims) + len(problems) == len(entries)


# --- films, written and read again ----------------------------------------------------------------------------------


def film(count: int, height: int, width: int) -> np.ndarray:
    """A grey that grows frame by frame, brighter to the right: uint8 (F, H, W, 3)."""
    grey = np.linspace(30, 200, count)[:, None, None] + np.linspace(0, 40, width)[None, None, :]
    return np.repeat(np.broadcast_to(grey, (count, height, width))[..., None].round().astype(np.uint8), 3, -1)


@FEWER
@given(st.integers(1, 30), st.integers(8, 40), st.integers(8, 40), st.sampled_from([1, 5, 7.5, 8, 12, 23.976, 25, 29.97,
                                                                                    60]))
def test_a_film_comes_back_with_its_frames_rate_and_size(count, half_height, half_width, fps):
    frames = film(count, 2 * half_height, 2 * half_width)
    with tempfile.TemporaryDirectory() as folder:
        again = video.read(video.write_mp4(Path(folder) / "a.mp4", frames, fps))
    assert again.frames.shape == frames.shape and abs(again.fps / fps - 1) < 1e-3
    assert np.abs(again.frames.astype(int) - frames).mean() < 4
    assert again.source_size == (2 * half_width, 2 * half_height)


@FEWER
@given(st.integers(2, 30), st.sampled_from([6, 12, 24]), st.sampled_from([1, 2, 3]))
def test_every_nth_frame_is_what_a_lower_rate_gives(count, fps, divisor):
    frames = film(count, 16, 16)
    with tempfile.TemporaryDirectory() as folder:
        path = video.write_mp4(Path(folder) / "a.mp4", frames, fps)
        assert abs(len(video.read(path, fps / divisor)) - -(-count // divisor)) <= (divisor > 1)


@pytest.mark.parametrize("angle", [0, 90, 180, -90])
@pytest.mark.parametrize("aspect", [1, 2, Fraction(4, 3)])
def test_rotation_and_pixel_aspect_are_seen(tmp_path, angle, aspect):
    """A phone's film stands upright, and a film of wide pixels is as wide as it is meant to be."""
    path, frames = tmp_path / "a.mp4", film(6, 32, 48)
    frames[:, :12, :12] = (250, 40, 40)  # a red corner, above on the left of what is stored
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        if angle:
            stream.set_display_rotation(angle)
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    shown = video.read(path)
    size = (round(48 * aspect), 32)
    size = size if angle in (0, 180) else size[::-1]
    assert shown.source_size == size and shown.frames.shape == (6, size[1], size[0], 3)
    corner = {0: (4, 4), 90: (-4, 4), 180: (-4, -4), -90: (4, -4)}[angle]  # the matrix turns counterclockwise
    red, _, blue = shown.frames[0][corner].astype(int)
    assert red - blue > 100


@FEWER
@given(st.integers(1, 12), st.integers(1, 40), st.integers(1, 40))
def test_a_folder_of_images_comes_back_to_the_bit(count, height, width):
    frames = film(count, height, width)
    with tempfile.TemporaryDirectory() as folder:
        video.write_frames(folder, frames)
        assert np.array_equal(video.read_frames(folder), frames)


@FEWER
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 9), st.integers(1, 9))
def test_the_centre_box_lies_inside_and_has_the_shape(width, height, wide, high):
    left, top, right, bottom = video.centre_box((width, height), (wide, high))
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    scale = min(width / wide, height / high)
    assert abs(right - left - wide * scale) <= 1 and abs(bottom - top - high * scale) <= 1


@FEWER
@given(st.binary(max_size=400), st.sampled_from([".png", ".jpg", ".mp4", ".gif", ".webm"]))
def test_any_bytes_as_a_still_or_a_clip_are_one_line(data, kind):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{kind}"
        path.write_bytes(data)
        for reader in (video.read_image, video.read):
            with pytest.raises(UserError) as error:
                reader(path)
            one_line(error.value)


def test_an_image_of_one_pixel_is_an_image(tmp_path):
    Image.new("RGB", (1, 1), (9, 8, 7)).save(tmp_path / "a.png")
    assert video.read_image(tmp_path / "a.png", 16)[8, 8].tolist() == [9, 8, 7]
    assert os.listdir(tmp_path) == ["a.png"]
