"""The player: one piece of HTML, the same for the same films, whose buttons and keys show the frame they say."""

import base64
import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from lnm import video
from lnm.errors import UserError
from lnm.player import player

CHROMIUM = shutil.which("chromium")
GREYS = np.broadcast_to((np.arange(7, dtype=np.uint8) * 30)[:, None, None, None], (7, 24, 32, 3)).copy()
SHORT = GREYS[:3, :, :24]


def test_it_holds_every_frame_in_its_cell_and_asks_for_nothing():
    page = player({"grey": GREYS}, fps=8).data
    assert not re.search(r"""(src|href)=|https?:|@import|url\((?!data:)""", page)
    sheet = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([\w+/=]+)\)", page)[1])))
    assert sheet.size == (3 * 32, 3 * 24)
    for k in range(7):
        cell = np.asarray(sheet.convert("RGB"))[24 * (k // 3):, 32 * (k % 3):][:24, :32]
        assert abs(cell.astype(int) - 30 * k).max() < 4
    assert 'data-last="6"' in page and 'data-columns="3" data-rows="3"' in page


def test_the_same_films_give_the_same_html_from_memory_and_from_a_folder(tmp_path):
    video.write_frames(tmp_path / "film", GREYS)
    page = player({"a": GREYS, "b": SHORT}).data
    assert page == player({"a": tmp_path / "film", "b": SHORT}).data
    assert page != player({"a": GREYS, "b": SHORT[::-1]}).data


def test_labels_are_text():
    page = player({'<script>alert("$FPS")</script>': GREYS}, fps=4).data
    assert "<script>alert" not in page and "$FPS" in page


@pytest.mark.parametrize("films, fps, said", [
    ({}, 8, "no film"), ({"x": GREYS[0]}, 8, "x: uint8"), ({"x": GREYS / 255}, 8, "x: float64"),
    ({"x": GREYS[:0]}, 8, "x: uint8"), ({"x": GREYS}, 0, "0 fps"), ({"x": GREYS}, float("nan"), "nan fps"),
    ({"x": np.zeros((16, 1, 5000, 3), np.uint8)}, 8, "16 frames of 5000 x 1"), ({"x": "no/such"}, 8, "no/such"),
])
def test_what_is_no_film_is_refused_in_a_line(films, fps, said):
    with pytest.raises(UserError, match=said) as error:
        player(films, fps)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not CHROMIUM, reason="no chromium on the PATH: apt-get install chromium")
def test_keys_and_buttons_show_the_same_frame_of_every_film(tmp_path):
    """In a real browser, twice on one page; a shorter film stays at its last frame. Motion is reduced: nothing plays by
    itself."""
    from playwright.sync_api import sync_playwright

    one = player({"long": GREYS, "short": SHORT}, fps=8, width=96).data
    (tmp_path / "page.html").write_text(f"<meta charset=utf-8>{one}{one}", encoding="utf-8")
    complaints = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(reduced_motion="reduce")
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((tmp_path / "page.html").as_uri())
        first, second = page.locator(".lnm-player").all()

        def greys():
            """The grey that is seen in the middle of each film of the first player, in steps of 30."""
            pictures = [Image.open(io.BytesIO(film.screenshot())) for film in first.locator(".lnm-film").all()]
            return [round(p.convert("L").getpixel((p.width // 2, p.height // 2)) / 30) for p in pictures]

        assert greys() == [0, 0]
        first.focus()
        for key, seen in (("ArrowRight", [1, 1]), ("End", [6, 2]), ("ArrowRight", [6, 2]), ("ArrowLeft", [5, 2]),
                          ("Home", [0, 0])):
            page.keyboard.press(key)
            assert greys() == seen, key
        first.get_by_label("one frame on").click()
        assert greys() == [1, 1] and "frame 2 of 7, 0.13 s" in first.inner_text()
        first.get_by_label("frame", exact=True).fill("4")
        assert greys() == [4, 2]
        page.keyboard.press("s")
        assert first.locator("select").input_value() == "0.5"
        first.get_by_label("play or pause").click()
        page.wait_for_function("document.querySelector('.lnm-player output').textContent.startsWith('frame 7')")
        first.get_by_label("play or pause").click()
        assert "frame 1 of 7" in second.inner_text()
        browser.close()
    assert not complaints
