"""The still's own fine detail, given back to a film that was begun from the carried still."""

import numpy as np
import pytest
from tiny_decoder import tiny_dc, tiny_kl

from lnm.detail import added, likeness, with_detail
from lnm.latents import decode, encode


def picture(seed, side=48):
    """Soft shapes under fine grain, uint8 (side, side, 3), and the shapes alone."""
    import cv2

    drawn = np.random.default_rng(seed)
    soft = cv2.GaussianBlur(drawn.normal(0, 400, (side, side, 3)), (0, 0), 4) + 128
    return tuple(np.clip(np.rint(soft + grain), 0, 255).astype(np.uint8)
                 for grain in (drawn.normal(0, 8, soft.shape), 0))


def test_pictures_that_the_model_left_alone_come_back_to_the_byte():
    pictures, through = (np.stack(films) for films in zip(*(picture(seed) for seed in range(3))))
    assert np.array_equal(added(through, pictures, through), pictures)


def test_detail_is_added_where_the_film_shows_the_same_and_left_out_where_it_shows_another_thing():
    fine, soft = picture(0)
    _, other = picture(1)
    film = soft.copy()
    film[:, 24:] = other[:, 24:]
    made = added(film[None], fine[None], soft[None])[0].astype(float)
    grain = fine.astype(float) - soft
    gained = [np.sum((made - film)[:, part] * grain[:, part]) / np.sum(grain[:, part] ** 2)
              for part in (slice(0, 12), slice(30, 48))]
    assert gained[0] == pytest.approx(1, abs=0.01)
    assert gained[1] < 0.5


def test_a_change_of_the_model_stays_in_the_film():
    """Brighter by 20: so is the film with its detail."""
    fine, soft = picture(2)
    soft, fine = (np.clip(one, 40, 200) for one in (soft, fine))
    made = added((soft + 20)[None], fine[None], soft[None])[0]
    assert np.array_equal(made, fine + 20)


def test_likeness_is_ssim_s_terms_of_contrast_and_structure_cut_at_nothing():
    one, other = (picture(seed)[1] for seed in (0, 1))
    assert np.allclose(likeness(one, one), 1, atol=1e-5)
    assert likeness(one, 255 - one).min() == 0 and likeness(one, 255 - one).mean() < 0.2
    found = likeness(one, other)
    assert found.shape == (48, 48) and found.min() >= 0 and found.max() <= 1 and found.mean() < 0.7
    flat = np.full_like(one, 90)
    assert np.allclose(likeness(flat, flat + 5), 1)
    strong = np.clip(3 * (one.astype(int) - 128) + 128, 0, 255).astype(np.uint8)
    assert likeness(strong, flat).mean() < 0.3, "what the model has smoothed away is no longer there"


@pytest.mark.parametrize("vae", [tiny_kl, tiny_dc])
def test_of_an_autoencoder_it_is_what_that_takes(vae):
    vae = vae()
    pictures = np.stack([picture(seed, 32)[0] for seed in range(2)])
    through = decode(vae, encode(vae, pictures))
    film = np.clip(through.astype(int) + 3, 0, 255).astype(np.uint8)
    assert np.array_equal(with_detail(vae, film, pictures), added(film, pictures, through))


def test_films_of_other_lengths_are_refused():
    fine, soft = (one[None] for one in picture(0))
    with pytest.raises(ValueError, match="must be alike"):
        added(np.concatenate([soft, soft]), fine, soft)
