"""FID and KID against closed forms, torch-fidelity and torchmetrics."""

import numpy as np
import pytest

from eval.metrics.frechet import InceptionMetrics, fid_from_features, kid_from_features, rank_floor
from lnm.errors import UserError


def features(n, d=96, seed=0, scale=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).standard_normal((d, d)) / np.sqrt(d)
    return ((rng.standard_normal((n, d)) @ mix) * scale + shift).astype(np.float32)


SIZES = [(5, 200), (200, 5), (40, 60), (150, 300)]  # fewer and more frames than the 96 features


@pytest.mark.parametrize("n, m", SIZES)
def test_fid_equals_torch_fidelity(n, m):
    import torch
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    a, b = features(n, seed=1), features(m, seed=2, scale=1.3, shift=0.2)
    theirs = fid_statistics_to_metric(
        *(fid_features_to_statistics(torch.from_numpy(x.astype(np.float64))) for x in (a, b)), False
    )[KEY_METRIC_FID]
    assert fid_from_features(a, b) == pytest.approx(theirs, abs=1e-3)


@pytest.mark.parametrize("n, m", SIZES)
def test_fid_equals_torchmetrics(n, m):
    import torch
    from torchmetrics.image.fid import _compute_fid

    a, b = features(n, seed=1), features(m, seed=2, scale=1.3, shift=0.2)
    statistics = []
    for x in (a, b):
        x = torch.from_numpy(x).double()
        statistics += [x.mean(0), torch.cov(x.T)]
    assert fid_from_features(a, b) == pytest.approx(_compute_fid(*statistics).item(), abs=1e-3)


def test_fid_of_equal_covariances_is_the_squared_mean_difference():
    a = features(30)
    shift = np.linspace(-1, 1, a.shape[1])
    assert fid_from_features(a, a.astype(np.float64) + shift) == pytest.approx(np.square(shift).sum(), rel=1e-6)


def test_fid_of_a_set_with_itself_is_zero_and_it_is_symmetric():
    a, b = features(20, seed=1), features(70, seed=2)
    assert fid_from_features(a, a) == pytest.approx(0, abs=1e-6)
    assert fid_from_features(a, b) == pytest.approx(fid_from_features(b, a), rel=1e-9)


def test_fid_of_two_frames_in_2048_dimensions_is_its_closed_form():
    a, b = features(2, d=2048, seed=1).astype(np.float64), features(64, d=2048, seed=2).astype(np.float64)
    u = (a[0] - a[1]) / np.sqrt(2)  # S1 = u u', of rank one, hence Tr sqrt(S1 S2) = sqrt(u' S2 u)
    s2 = np.cov(b, rowvar=False)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + u @ u + np.trace(s2) - 2 * np.sqrt(u @ s2 @ u)
    assert fid_from_features(a, b) == pytest.approx(expected, rel=1e-9)


def test_one_real_frame_has_no_rank_floor_and_its_floors_their_reasons():
    inception = InceptionMetrics.__new__(InceptionMetrics)
    inception.length = 1
    floor = inception._beside(np.ones((1, 4)), np.ones((1, 4)))
    assert floor["rank_floor"] is None and "refused" in floor["real_vs_real"] and "refused" in floor["kid"]


def test_no_five_frames_fall_under_the_rank_floor():
    reference = features(120, seed=3)
    floor = rank_floor(reference, 5)
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(reference, rowvar=False)))[::-1]
    assert floor == pytest.approx(eigenvalues[4:].sum(), rel=1e-5)
    assert 0 < floor <= min(fid_from_features(reference[i:i + 5], reference) for i in range(0, 100, 5))
    assert rank_floor(reference, 120) == 0


def test_kid_equals_torch_fidelity_unbiased():
    from torch_fidelity.metric_kid import kernel_mmd

    a, b = features(50, seed=5), features(50, seed=6, shift=0.3)
    theirs = kernel_mmd(a.astype(np.float64), b.astype(np.float64), kid_kernel="poly", kid_kernel_poly_degree=3,
                        kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1.0)
    assert kid_from_features(a, b) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("metric", [fid_from_features, kid_from_features])
def test_one_frame_is_refused_with_the_counts(metric):
    with pytest.raises(UserError, match="got 1 and 30"):
        metric(features(1), features(30))
