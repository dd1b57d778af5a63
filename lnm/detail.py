"""The still's own fine detail, which no latent holds, given back to a film that began from the carried still.

An autoencoder keeps a part of a picture's detail (`lnm-mini`'s a quarter to two fifths). What it takes of the carried
still is known: the difference of that still and the same through the autoencoder. A film that goes where the carried
still goes gets it back, pixel by pixel: the detail transfer of Petschnigg et al., "Digital Photography with Flash and
No-Flash Image Pairs", 2004, as a difference in place of a quotient. Where the model has drawn something else than was
carried there, that detail would be of another thing, and is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lnm.latents import decode, encode

SIGMA = 4.0  # pixels, of the Gaussian window: half a latent's cell, below which the two show only what is decoded
STABLE = (0.03 * 255) ** 2  # the constant C2 of SSIM


def with_detail(vae: Any, film: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """A film with the detail that the autoencoder takes from the pictures that it was begun from.

    film: uint8 (F, H, W, 3), decoded by `vae`. pictures: uint8 (F, H, W, 3), such as `lnm.flow.carried` gives.
    """
    return added(film, pictures, decode(vae, encode(vae, pictures)))


def added(film: np.ndarray, pictures: np.ndarray, through: np.ndarray) -> np.ndarray:
    """film + (pictures - through) x `likeness` of film and through, all uint8 (F, H, W, 3). through: the pictures
    through the autoencoder that the film comes from. Raises ValueError for shapes that differ."""
    if not film.shape == pictures.shape == through.shape:
        raise ValueError(f"film {film.shape}, pictures {pictures.shape}, through {through.shape}: must be alike")
    out = np.empty_like(film)
    for frame, picture, taken, made in zip(film, pictures, through, out, strict=True):
        share = likeness(frame, taken)[..., None]
        np.clip(np.rint(frame + share * (picture.astype(np.float32) - taken)), 0, 255, out=made, casting="unsafe")
    return out


def likeness(frame: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether two pictures uint8 (H, W, 3) show the same thing at each place: float32 (H, W) in [0, 1], the terms of
    contrast and structure of SSIM (Wang et al. 2004, eq. 9 and 10) of their greys, cut at 0."""
    import cv2

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (0, 0), SIGMA)

    one, two = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) for picture in (frame, other))
    one, two = one - mean(one), two - mean(two)  # about their local means, so that no large numbers cancel
    return np.clip((2 * mean(one * two) + STABLE) / (mean(one * one) + mean(two * two) + STABLE), 0, 1)
