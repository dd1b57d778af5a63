"""The FID floor against closed forms."""

import numpy as np
import pytest

from eval.claims import spread
from eval.features.cache import Features
from eval.features.inception import INCEPTION_FILE, inception_version
from eval.metrics.frechet import fid_from_features
from lnm.errors import UserError
from lnm.video import write_frames


def test_a_power_law_is_found_again_in_draws_from_it():
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((600, 256)) * np.sqrt(spread.power_law(20, 1.3, 256))
    trace, exponent = spread.fit_power_law(drawn + 3)
    assert trace == pytest.approx(20, rel=0.1) and exponent == pytest.approx(1.3, abs=0.1)
    assert spread.power_law(20, 1.3).sum() == pytest.approx(20)


def test_the_floor_falls_with_frames_and_is_a_share_of_the_spread():
    eigenvalues = spread.power_law(30, 1.2, 256)
    floors = [spread.fid_floor(eigenvalues, n, 200)["value"] for n in (5, 20, 100, 200)]
    assert floors == sorted(floors, reverse=True) and floors[-1] > 0
    doubled = spread.fid_floor(2 * eigenvalues, 5, 200)
    assert doubled["value"] == pytest.approx(2 * floors[0]) and doubled["low"] <= doubled["value"] <= doubled["high"]


def test_the_floor_of_a_line_is_what_two_samples_of_a_line_give():
    # in one dimension FID is (difference of means)^2 + (difference of deviations)^2
    rng = np.random.default_rng([7, 5, 0])
    a, b = (rng.standard_normal((n, 1)) * 2 for n in (5, 50))
    wanted = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert spread.fid_floor(np.array([4.0]), 5, 50, draws=1, seed=7)["value"] == pytest.approx(wanted)


def test_features_that_an_evaluation_left_are_found_and_none_are_computed(tmp_path):
    rng = np.random.default_rng(0)
    frames = {part: rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8) for part, n in (("train", 6), ("heldout", 3))}
    weights = tmp_path / "weights" / INCEPTION_FILE
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    results = tmp_path / "results"
    with pytest.raises(UserError, match="ocean: train is not there yet: run `make repro`"):
        spread.cached_features(tmp_path, results, "ocean")
    for part, images in frames.items():
        write_frames(results / "ocean" / "prepare" / part, images)
    with pytest.raises(UserError, match="not computed yet"):
        spread.cached_features(tmp_path, results, "ocean")
    assert spread.spectra(tmp_path, results, ["ocean"]) == (
        spread.typical_spectra(), "seven pieces of real footage")

    class Network:  # as the evaluate stage uses it: the same weights, the clip's two parts in this order
        from lnm.files import sha256

        sha256, version = sha256(weights), inception_version()

        def __call__(self, images):
            return images.reshape(len(images), -1).astype(np.float32)

    features = Features(Network(), tmp_path / "store" / "features")
    wanted = np.concatenate([features(frames["train"]), features(frames["heldout"])])
    found = spread.cached_features(tmp_path, results, "ocean")
    np.testing.assert_array_equal(found, wanted)
    assert spread.spectra(tmp_path, results, ["ocean"])[0] == {"ocean": spread.fit_power_law(found)}
    assert fid_from_features(found[:6], found[6:]) > 0


def test_the_typical_spreads_are_of_the_footage_that_there_is():
    import json

    from lnm.demo.footage import CATALOGUE

    held = json.loads(spread.FILE.read_text(encoding="utf-8"))
    assert {name: one["sha256"] for name, one in held["clips"].items()} == {
        name: one.sha256 for name, one in CATALOGUE.items()}
    assert set(spread.typical_spectra()) == set(CATALOGUE) and all(one["frames"] > 60 for one in held["clips"].values())
