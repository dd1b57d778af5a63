"""What sums, shares and scores allow: arithmetic against brute force."""

from decimal import ROUND_HALF_DOWN, ROUND_HALF_UP, Decimal

import pytest

from eval.claims import settings, text
from lnm.errors import UserError


def test_the_numbers_of_a_text():
    assert text.numbers("LateNtMovies(ours) 79% 76% 512x512 0.7597") == [79, 76, 512, 512, 0.7597]
    assert text.numbers("just 41,250 samples, 14 million. In 2022, 15.") == [41250, 14, 2022, 15]


def test_grim_agrees_with_trying_every_count():
    for n in (*range(1, 60), 76, 77, 97, 100, 125, 200):
        printed = {}
        for k in range(n + 1):
            for rounding in (ROUND_HALF_UP, ROUND_HALF_DOWN):
                percent = int((Decimal(100 * k) / n).quantize(Decimal(1), rounding))
                printed.setdefault(percent, set()).add(k)
        for percent in range(101):
            assert set(text.counts(percent, n)) == printed.get(percent, set()), (percent, n)


def test_the_five_percentages_of_the_paper_need_76_people():
    fitting = text.grim([79, 76, 78, 74, 30])
    assert fitting[0] == 76 and 77 not in fitting
    assert text.grim([79, 21, 76, 24, 78, 74, 30]) == fitting, "a share and the rest of it fit together"
    assert text.grim([79])[0] == 14 and set(range(100, 201)) <= set(text.grim([79]))


def test_sums_against_what_rounding_can_do():
    assert text.excess([79, 21]) == (0, 1) and text.excess([74, 30]) == (4, 1)
    assert text.excess([33, 33, 33]) == (-1, 1.5)


def test_a_preference_is_of_whole_people():
    said = text.preference(79, 76)
    assert (said["wins"], said["n"]) == (60, 76) and 100 * said["wilson"][0] < 79 < 100 * said["clopper_pearson"][1]
    with pytest.raises(UserError, match="79% of 10 people"):
        text.preference(79, 10)


def test_cosines_and_compression():
    assert text.implied_cosine(0.75) == pytest.approx(0.3)
    assert settings.compression(512, 8, 4) == 48 and settings.compression(128, 8, 16) == 12


def test_an_odd_height_is_refused_by_some_ways_to_store_a_video_and_taken_by_others():
    assert text.takes("libx264", "yuv420p", 1920, 1029) is False and text.takes("libx264", "yuv420p", 1920, 1028)
    assert text.takes("ffv1", "yuv444p", 1920, 1029) and text.takes("none", "yuv420p", 16, 16) is None
    found = text.frame_size(["a resolution of 1920x1029"])
    assert found.value and found.verdict is None and "refused by H.264 4:2:0" in found.text
