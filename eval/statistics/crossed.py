"""Votes are crossed: each observer judges several videos, each video is judged by several observers. Two votes that
share either are no two independent votes, and an interval that forgets it is too narrow.
"""

from __future__ import annotations

import numpy as np

from eval.statistics.small import FEWEST, LEVEL

OBSERVERS, BOTH = "observers", "observers and videos"


def units(observers: int, videos: int) -> str | None:
    """What can be resampled: both, where there are at least FEWEST of each; the observers alone, where the videos are
    fewer (the interval then holds for these videos, and says nothing of others); None with too few observers."""
    if observers < FEWEST:
        return None
    return BOTH if videos >= FEWEST else OBSERVERS


def share(wins: np.ndarray, observer: np.ndarray, video: np.ndarray, level: float = LEVEL) -> dict:
    """The share of votes won, with an interval that takes votes of one observer, or about one video, as alike.

    wins: bool (n,), n >= 1; observer, video: whole numbers from 0 (n,). The variance is that of whole observers plus
    that of whole videos less that of their cells (Cameron, Gelbach and Miller 2011); it makes an effective number of
    votes, and that a Clopper-Pearson interval (Korn and Graubard 1998), which stays within 0 and 1. Where all votes
    are alike the effective number is that of the clusters.
    Returns {"share", "wins", "n", "observers", "videos", "low", "high", "over", "votes_worth"}; without an interval
    low, high and over are None.
    """
    from scipy.stats import t
    from statsmodels.stats.proportion import proportion_confint

    wins, observer, video = (np.asarray(x) for x in (wins, observer, video))
    n, p = len(wins), float(wins.mean())
    counts = len(np.unique(observer)), len(np.unique(video))
    over = units(*counts)
    entry = {"share": p, "wins": int(wins.sum()), "n": n, "observers": counts[0], "videos": counts[1], "low": None,
             "high": None, "over": over, "votes_worth": None}
    if over is None:
        return entry
    clusters = min(counts) if over == BOTH else counts[0]
    worth = float(clusters)
    if 0 < p < 1:
        variance = _variance(wins, observer)
        if over == BOTH:
            by_video, by_cell = _variance(wins, video), _variance(wins, observer * (video.max() + 1) + video)
            variance = max(variance, by_video, variance + by_video - by_cell)
        quantile = (1 + level) / 2
        fewer = (t.ppf(quantile, max(n - 1, 1)) / t.ppf(quantile, clusters - 1)) ** 2
        worth = min(float(n), p * (1 - p) / variance * fewer) if variance else float(n)
    low, high = proportion_confint(p * worth, worth, 1 - level, method="beta")
    return entry | {"low": float(low), "high": float(high), "votes_worth": worth}


def percent(entry: dict) -> str:
    """`79% [70, 86]`: a share and its clustered interval; `79% of 14 votes` where the observers are too few for one."""
    if entry["low"] is None:
        return f"{100 * entry['share']:.0f}% of {entry['n']} votes"
    return f"{100 * entry['share']:.0f}% [{100 * entry['low']:.0f}, {100 * entry['high']:.0f}]"


def seen_from(pair: dict, method: str) -> dict:
    """A pair's share, low and high as those of `method`, its first or its second."""
    if method == pair["first"]:
        return pair
    turned = {end: None if pair[other] is None else 1 - pair[other]
              for end, other in (("low", "high"), ("high", "low"))}
    return pair | turned | {"share": 1 - pair["share"]}


def _variance(wins: np.ndarray, cluster: np.ndarray) -> float:
    """Of the mean of wins (n,), where those of one cluster are alike: statsmodels' covariance of a model that has a
    mean alone, robust to clusters, with its correction for their number.

    By OLS and not by GEE: with a mean alone and an independence structure statsmodels' GEE, linear or logistic, has the
    same share and this very variance but for that correction, g / (g - 1) of g clusters (`tests` has both beside each
    other), without which it is a fifth too small at FEWEST clusters. An exchangeable structure weighs an observer by
    how alike the votes are: its mean is no longer the share of the votes that is printed.
    """
    from statsmodels.regression.linear_model import OLS

    fitted = OLS(wins.astype(float), np.ones(len(wins))).fit(cov_type="cluster", cov_kwds={"groups": cluster})
    return float(fitted.cov_params()[0, 0])


def weights(observers: int, videos: int, over: str, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each observer (resamples, observers) and each video (resamples, videos) is drawn in each resample of a
    two-way bootstrap: a vote counts the product of its two (Owen 2007). Videos are all drawn once over observers
    alone."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(observers, np.full(observers, 1 / observers), resamples)
    if over != BOTH:
        return drawn, np.ones((resamples, videos), np.int64)
    return drawn, rng.multinomial(videos, np.full(videos, 1 / videos), resamples)


def tails(clusters: int, level: float = LEVEL) -> tuple[float, float]:
    """The two quantiles of a bootstrap of so few clusters that cover as Student's interval does: the expanded
    percentile interval, Phi(-sqrt(n / (n - 1)) t(n - 1)) (Hesterberg 2015, section 3.3)."""
    from scipy.stats import norm, t

    low = norm.cdf(-np.sqrt(clusters / (clusters - 1)) * t.ppf((1 + level) / 2, clusters - 1))
    return float(low), float(1 - low)
