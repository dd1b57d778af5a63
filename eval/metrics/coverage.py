"""Two more ways to compare a film's features with the reference's, by torch-fidelity's own functions.

Precision and recall (Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models", 2019)
tell what FID mixes: frames unlike any real one, and real ones unlike any frame. KID by subsets (Bińkowski et al. 2018)
is what papers print: a mean and a deviation over random subsets of equal size.
"""

from __future__ import annotations

import numpy as np

from lnm.errors import UserError

NEIGHBOURS = 3  # the nearest, whose distance is the radius of a frame's ball
SUBSETS = 100


def precision_recall(a: np.ndarray, b: np.ndarray, neighbours: int = NEIGHBOURS) -> tuple[float, float]:
    """Precision and recall of features a (n1, d) against the reference's b (n2, d), each in [0, 1].

    Precision: the share of a inside the ball of any of b, a ball as wide as the distance to its `neighbours`-th nearest
    of its own set; recall the other way round. torch-fidelity takes VGG-16's features by default; whose these are, the
    caller says. Raises UserError where a set has no such neighbour.
    """
    import torch
    from torch_fidelity.metric_prc import prc_features_to_metric

    if min(len(a), len(b)) <= neighbours:
        raise UserError(f"precision and recall need {neighbours + 1} frames on both sides, got {len(a)} and {len(b)}: "
                        "sample more frames")
    found = prc_features_to_metric(*(torch.from_numpy(np.asarray(x, np.float64)) for x in (a, b)),
                                   prc_neighborhood=neighbours, verbose=False)
    return found["precision"], found["recall"]


def kid_subsets(a: np.ndarray, b: np.ndarray, size: int | None = None, subsets: int = SUBSETS,
                seed: int = 0) -> tuple[float, float]:
    """Mean and deviation of KID over random subsets of `size` features of each of a (n1, d) and b (n2, d).

    size: None takes three quarters of the smaller set, at most 1000, so that subsets differ. The deviation is that of
    the draws, which share their frames: it is no error of the mean. Raises UserError where a set has fewer.
    """
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    fewest = min(len(a), len(b))
    size = size or min(1000, 3 * fewest // 4)
    if fewest < size or size < 2:
        raise UserError(f"KID by subsets of {max(size, 2)} needs as many frames on both sides, got {len(a)} and "
                        f"{len(b)}: sample more frames")
    found = kid_features_to_metric(*(torch.from_numpy(np.asarray(x, np.float64)) for x in (a, b)), kid_subsets=subsets,
                                   kid_subset_size=size, rng_seed=seed, verbose=False)
    return found["kernel_inception_distance_mean"], found["kernel_inception_distance_std"]
