"""Windows of a long film: where they begin, what each counts for, shared noise, which still a frame is told of."""

import pytest
import torch

from lnm.windows import blended, conditions, shared_noise, shared_order, shares, starts, stride_of

LENGTHS = [(1, 16, 8), (15, 16, 8), (16, 16, 8), (17, 16, 8), (24, 16, 8), (96, 16, 8), (97, 16, 5), (50, 16, 16),
           (30, 7, 1), (9, 1, 1)]


@pytest.mark.parametrize("frames, window, stride", LENGTHS)
def test_windows_cover_all_frames_and_what_they_count_for_sums_to_1(frames, window, stride):
    begins, counts = starts(frames, window, stride), shares(frames, window, stride)
    length = min(window, frames)
    assert begins[0] == 0 and begins[-1] + length == frames, "from the first frame, flush with the last"
    assert all(0 < late - early <= stride for early, late in zip(begins, begins[1:]))
    assert counts.shape == (len(begins), length) and (counts > 0).all()
    total = torch.zeros(frames)
    for begin, count in zip(begins, counts, strict=True):
        total[begin:begin + length] += count
    torch.testing.assert_close(total, torch.ones(frames))


def test_where_windows_begin():
    assert starts(32, 16, 8) == [0, 8, 16] and starts(30, 16, 8) == [0, 8, 14] and starts(3, 16, 8) == [0]
    assert stride_of("windows", 16, None) == 8 and stride_of("windows", 1, None) == 1
    assert stride_of("continue", 16, None) == 12 and stride_of("continue", 2, None) == 1
    assert stride_of("continue", 5, None) == 3 and stride_of("windows", 16, 3) == 3


def test_a_window_counts_most_in_its_middle():
    # triangles 1/4, 3/4, 3/4, 1/4 on frames 0 to 3 and 2 to 5
    torch.testing.assert_close(shares(6, 4, 2), torch.tensor([[1, 1, 0.75, 0.25], [0.25, 0.75, 1, 1]]))


def test_a_film_is_blended_of_what_is_predicted_for_its_windows():
    film, seen = torch.arange(6.0).view(1, 1, 6, 1, 1).expand(2, 3, 6, 2, 2), []

    def predict(part):
        seen.append(part[0, 0, :, 0, 0].tolist())
        return torch.full_like(part[:, :2], len(seen) - 1)  # the number of the window

    got = blended(predict, film, 4, 2)
    assert got.shape == (2, 2, 6, 2, 2) and seen == [[0, 1, 2, 3], [2, 3, 4, 5]]
    torch.testing.assert_close(got[1, 1, :, 1, 0], torch.tensor([0, 0, 0.25, 0.75, 1, 1]))
    torch.testing.assert_close(blended(lambda part: part, film, 4, 3), film)


def test_a_film_that_fits_a_window_is_given_to_the_model_as_it_is():
    film = torch.randn(1, 3, 4, 2, 2)
    assert blended(lambda part: part, film, 4, 2) is film and blended(lambda part: part, film, 9, 1) is film


@pytest.mark.parametrize("frames, window, stride", [(40, 8, 4), (43, 8, 4), (30, 8, 8), (24, 6, 2)])
def test_windows_of_shared_noise_are_the_first_one_in_another_order(frames, window, stride):
    generator = torch.Generator().manual_seed(0)
    order = shared_order(frames, window, stride, generator)
    assert order.shape == (frames,) and order[:window].tolist() == list(range(window))
    for start in range(stride, frames - window + 1, stride):
        assert sorted(order[start:start + window].tolist()) == list(range(window)), start
    moved = [start for start in range(stride, frames - window + 1, stride)
             if order[start:start + window].tolist() != list(range(window))]
    assert moved, "it is shuffled, not only repeated"
    again = shared_order(frames, window, stride, torch.Generator().manual_seed(0))
    assert torch.equal(order, again) and not torch.equal(order, shared_order(frames, window, stride, generator))
    assert torch.equal(shared_order(5, window, stride), torch.arange(5)), "one window: no other order"


def test_shared_noise_is_normal_and_each_film_has_an_order_of_its_own():
    first = torch.randn(2, 4, 8, 16, 16, generator=torch.Generator().manual_seed(3))
    generators = [torch.Generator().manual_seed(s) for s in (1, 2)]
    noise = shared_noise(first, 40, 4, generators)
    assert noise.shape == (2, 4, 40, 16, 16) and torch.equal(noise[:, :, :8], first)
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    assert (noise.std(dim=(1, 3, 4)) - 1).abs().max() < 0.1, "no frame has less"
    alone = [shared_noise(first[i:i + 1], 40, 4, torch.Generator().manual_seed(i + 1))[0] for i in range(2)]
    assert torch.equal(noise, torch.stack(alone))
    which = [[int((film[:, f, None] - film[:, :8]).abs().sum(dim=(0, 2, 3)).argmin()) for f in range(40)]
             for film in noise]
    assert which[0] != which[1]


def test_a_frame_is_told_of_the_stills_before_and_after_it():
    a, b, c = (torch.full((2, 3, 1, 1), value) for value in (0.0, 4.0, 5.0))
    stills = {2: a, 6: b, 7: c}
    told = conditions(stills, range(10))
    assert told.shape == (2, 3, 10, 1, 1)
    assert told[0, 0, :, 0, 0].tolist() == [0, 0, 0, 1, 2, 3, 4, 5, 5, 5]
    nearest = conditions(stills, range(10), linear=False)
    assert nearest[1, 2, :, 0, 0].tolist() == [0, 0, 0, 0, 0, 4, 4, 5, 5, 5]
    assert torch.equal(conditions(stills, range(5, 8)), told[:, :, 5:8])
    assert torch.equal(conditions({0: b}, range(3)), b[:, :, None].expand(-1, -1, 3, -1, -1))
