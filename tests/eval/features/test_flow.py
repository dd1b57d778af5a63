"""Optical flow by DIS and by RIFE on films whose motion is known."""

import numpy as np
import pytest
from conftest import REPOSITORY
from textures import noise, texture, translated

from eval.features.flow import RIFE_FILE, Rife, dis, warp
from lnm.errors import UserError

WEIGHTS = REPOSITORY / "weights" / RIFE_FILE
needs_rife = pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"no weights/{RIFE_FILE}: set-up fetches it")


@pytest.fixture(scope="module")
def rife():
    return Rife(WEIGHTS)


def test_dis_finds_a_translation_and_none_in_a_frozen_film():
    flows = dis(translated(step=3))  # the window moves right, so the picture moves left
    assert flows.shape == (5, 64, 64, 2)
    assert np.median(flows, axis=(0, 1, 2)) == pytest.approx([-3, 0], abs=0.2)
    assert not dis(np.repeat(noise(1), 3, 0)).any()
    with pytest.raises(UserError, match="2 frames, got 1"):
        dis(noise(1))
    with pytest.raises(UserError, match="16 pixels a side, got 64x9"):
        dis(noise(2)[:, :9])


def test_warp_takes_what_the_flow_points_to():
    import torch

    image = torch.arange(24.0).reshape(1, 1, 4, 6)
    flow = torch.zeros(1, 2, 4, 6)
    flow[:, 0], flow[:, 1] = 2, 1
    moved = warp(image, flow)
    torch.testing.assert_close(moved[0, 0, :3, :4], image[0, 0, 1:, 2:])
    torch.testing.assert_close(moved[0, 0, 3], image[0, 0, 3, [2, 3, 4, 5, 5, 5]])  # the border repeats


@needs_rife
def test_rife_finds_a_translation_that_dis_finds_too(rife):
    picture = texture(size=160)
    film = np.stack([picture[:128, 4 * t:4 * t + 128] for t in range(4)])
    flow = rife.between(film[:-1], film[1:])["flow"]
    assert flow.shape == (3, 128, 128, 2)
    assert np.median(flow, axis=(0, 1, 2)) == pytest.approx([-4, 0], abs=0.5)
    assert np.median(dis(film)[..., 0]) == pytest.approx(-4, abs=0.2)


@needs_rife
def test_rife_sees_no_motion_in_equal_frames_and_the_opposite_the_other_way_round(rife):
    film = translated(count=2)
    same = rife.between(film[:1], film[:1])
    assert np.abs(same["flow"]).max() < 0.2 and same["error"].max() < 0.01
    assert np.abs(same["middle"].astype(int) - film[:1]).max() <= 4  # its flow is not quite 0
    there, back = rife.between(film[:1], film[1:]), rife.between(film[1:], film[:1])
    np.testing.assert_allclose(there["flow"], -back["flow"], atol=1e-3)
    np.testing.assert_allclose(there["error"], back["error"], atol=1e-4)


@needs_rife
def test_a_pair_that_occurs_again_is_computed_once_and_stands_in_its_place(rife, monkeypatch):
    film = translated(count=3)[[0, 0, 1, 0, 0, 1, 2]]
    plain = [rife.between(a[None], b[None]) for a, b in zip(film[:-1], film[1:])]
    seen = []
    network = rife.network
    monkeypatch.setattr(rife, "network", lambda a, b: seen.append(len(a)) or network(a, b))
    found = rife.between(film[:-1], film[1:])
    assert seen == [4]  # of 6 pairs (0, 0) and (0, 1) occur twice
    for name in ("flow", "error"):
        np.testing.assert_allclose(found[name], np.concatenate([one[name] for one in plain]), atol=1e-3)


@needs_rife
def test_rifes_middle_frame_is_nearer_to_the_true_one_than_a_blend(rife):
    picture = texture(size=160)
    film = np.stack([picture[:128, 3 * t:3 * t + 128] for t in range(3)])
    made = rife.between(film[:1], film[2:])["middle"][0].astype(float)
    blend = (film[0].astype(float) + film[2]) / 2
    assert np.abs(made - film[1]).mean() < 0.5 * np.abs(blend - film[1]).mean()


@needs_rife
def test_sides_that_rife_cannot_halve_are_padded_and_cut(rife):
    film = translated(count=12)[:, :50, :37]  # more pairs than a batch
    found = rife.between(film[:-1], film[1:])
    assert {name: value.shape for name, value in found.items()} == {
        "flow": (11, 50, 37, 2), "error": (11, 50, 37), "middle": (11, 50, 37, 3)}
    one = rife.between(film[9:10], film[10:11])
    np.testing.assert_allclose(found["flow"][9], one["flow"][0], atol=1e-3)


def test_rife_without_its_tensors_is_one_line(tmp_path):
    from safetensors.numpy import save_file

    with pytest.raises(UserError, match="lnm footage --networks"):
        Rife(tmp_path / "no.safetensors")
    for spoil in (lambda path: path.write_bytes(b"text"), lambda path: save_file({"a": np.zeros(1)}, path)):
        spoil(tmp_path / "bad.safetensors")
        with pytest.raises(UserError, match="bad.safetensors: not RIFE's"):
            Rife(tmp_path / "bad.safetensors")
