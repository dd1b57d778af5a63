"""The weights that are shipped: what prior/README.md says of them, on images they never saw."""

import numpy as np
import pytest

from benchmarks import prior as card
from eval.features import Clip
from lnm.params import root
from lnm.prior import open_prior


@pytest.fixture(scope="module")
def prior():
    return open_prior("prior/lnm-mini")


@pytest.fixture(scope="module")
def clip():
    return Clip("prior/lnm-mini-clip", root())


@pytest.mark.parametrize("name, most", [("lnm-mini", 24e6), ("lnm-mini-clip", 8e6)])
def test_they_are_small(name, most):
    sizes = [f.stat().st_size for f in (root() / "prior" / name).rglob("*") if f.is_file()]
    assert sum(sizes) <= most and max(sizes) < 15e6


def test_the_autoencoder_gives_stills_and_rapids_back(prior):
    found = card.autoencoder(prior)
    assert np.mean([found[kind] for kind in card.scenes.KINDS]) >= 30, found
    assert found["rapids"] >= 23, found


def test_most_samples_from_text_alone_are_named_rightly(prior, clip):
    _, named = card.text_alone(prior, clip)
    right = card.named_rightly(named)
    assert right.size == 20 and right.sum() >= 16, named.tolist()


def test_the_small_clip_tells_scenes_and_real_water_apart(clip):
    top, cosines, plain = card.clip_alone(clip)
    assert top["untrue"] >= 0.8  # 0.835; by chance: 0.06
    own, akin, other = (np.mean(cosines[k]) for k in ("its own", "its scene's untrue", "other scenes'"))
    assert own > akin > other
    near = [card.rank(scores, card.PLAIN_OF[name]) <= 2 for name, scores in plain.items()]
    assert sum(near) >= 2, plain
