"""The weights that are shipped: what checkpoints/README.md says of them, on images they never saw."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import checkpoint as card
from eval.features.clip import Clip
from lnm.checkpoint import open_checkpoint
from lnm.files import SUMS, as_carried
from lnm.project import root
from lnm.workflow.health import dvc_hash


@pytest.fixture(scope="module")
def checkpoint():
    return open_checkpoint(str(root() / "checkpoints/lnm-mini"))


@pytest.fixture(scope="module")
def clip():
    return Clip("checkpoints/lnm-mini-clip", root())


@pytest.mark.parametrize("name, most", [("lnm-mini", 24e6), ("lnm-mini-clip", 8e6)])
def test_they_are_small(name, most):
    sizes = [f.stat().st_size for f in (root() / "checkpoints" / name).rglob("*") if f.is_file()]
    assert sum(sizes) <= most and max(sizes) < 15e6


def test_their_hashes_are_those_that_git_holds():
    """SHA256SUMS names every file, as it is where DVC's own hash of the folder is that of dvc.lock."""
    checkpoints = root() / "checkpoints"
    named = {line.partition("  ")[2] for line in (checkpoints / SUMS).read_text().splitlines()}
    for name in ("lnm-mini", "lnm-mini-clip"):
        folder = checkpoints / name
        assert f"md5: {dvc_hash(folder)}" in (root() / "dvc.lock").read_text()
        files = {file.relative_to(checkpoints).as_posix() for file in folder.rglob("*") if file.is_file()}
        assert {file for file in named if file.startswith(f"{name}/")} == files
        as_carried(folder, "built-in")


def test_the_autoencoder_gives_stills_and_rapids_back(checkpoint):
    found = card.autoencoder(checkpoint, count=4, clips=["rapids"])
    assert np.mean([found[kind] for kind in card.KNOWN]) >= 30, found
    assert found["rapids"] >= 23, found


def test_most_samples_from_text_alone_are_named_rightly(checkpoint, clip):
    _, named = card.text_alone(checkpoint, clip)
    right = card.named_rightly(named)
    assert right.size == 20 and right.sum() >= 16, named.tolist()


def test_the_small_clip_tells_scenes_and_real_water_apart(clip):
    top, cosines, plain = card.clip_alone(clip)
    assert top["untrue"] >= 0.8  # 0.835; by chance: 0.06
    own, akin, other = (np.mean(cosines[k]) for k in ("its own", "its scene's untrue", "other scenes'"))
    assert own > akin > other
    near = [card.rank(scores, card.PLAIN_OF[name]) <= 2 for name, scores in plain.items()]
    assert sum(near) >= 2, plain


def test_a_seam_is_the_step_in_the_middle():
    pictures = np.full((1, 128, 128, 3), 100, np.uint8)
    pictures[:, :, 64:] = 110
    steps, cells = card.seam(pictures)
    assert steps[0] == pytest.approx(17) and cells[0] == pytest.approx(10)  # one of 17 steps holds all there is
    ramp = np.broadcast_to(np.arange(128, dtype=np.uint8)[:, None], (1, 128, 128, 3))
    steps, cells = card.seam(ramp)
    assert steps[0] == pytest.approx(1) and cells[0] == pytest.approx(8)


def test_sampling_begins_from_latents_with_as_much_noise_as_the_steps_left_take_off(checkpoint):
    seen = []

    def knows_the_answer(inputs, t, words):  # velocity of a picture that is 3 everywhere
        x, signal = inputs[:, :16], checkpoint.scheduler.alphas_cumprod[t]
        seen.append((int(t), float((x - 3 * signal.sqrt()).std()), float((1 - signal).sqrt())))
        return SimpleNamespace(sample=(signal.sqrt() * x - 3) / (1 - signal).sqrt())

    hint = torch.zeros(2, 16, 16, 16)
    card.sample(replace(checkpoint, unet=knows_the_answer), ["", ""], hint, hint[:, :1], 0, 2.0,
                begin=torch.full_like(hint, 3.0), strength=0.7)
    assert len(seen) == 14 and seen[0][0] == 699
    assert all(std == pytest.approx(expected, rel=0.05) for _, std, expected in seen), seen
