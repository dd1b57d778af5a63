"""The paper's own numbers beside each other: what its sums, shares, scores and formulas allow (sums, GRIM).

Nothing here needs a run of the pipeline, a network or a GPU.
"""

from __future__ import annotations

import re

from eval.claims.finding import CONTRADICTS, INCOMPARABLE, Finding
from eval.claims.spread import fid_floor, power_law, typical_spectrum
from eval.metrics.clip import CLIPSCORE_WEIGHT
from eval.statistics.proportions import share
from lnm.errors import UserError


def numbers(text: str) -> list[float]:
    """Every number of a text, in order: "CogVideo 21% 480x480 0.7522, 41,250" -> [21, 480, 480, 0.7522, 41250]."""
    return [float(found.replace(",", "")) for found in re.findall(r"\d+(?:,\d{3})+|\d+(?:\.\d+)?", text)]


def counts(percent: int, n: int) -> list[int]:
    """The k of n people that print as `percent`, a whole number: |100 k / n - percent| <= 1/2, so that a half may have
    been rounded up or down. The GRIM test (Brown & Heathers 2017) asks whether there is one."""
    least, most = -(-(2 * percent - 1) * n // 200), (2 * percent + 1) * n // 200  # in integers: no rounding of our own
    return [k for k in range(least, most + 1) if 0 <= k <= n]


def grim(percents: list[int], up_to: int = 200) -> list[int]:
    """The numbers of people from 1 to `up_to` in which each of these whole percentages has a count."""
    return [n for n in range(1, up_to + 1) if all(counts(percent, n) for percent in percents)]


def excess(percents: list[int]) -> tuple[int, float]:
    """By how much whole percentages miss 100 together, and the most that rounding each can do."""
    return sum(percents) - 100, len(percents) / 2


def implied_cosine(score: float) -> float:
    """The mean cosine behind a CLIPScore: 2.5 x max(cosine, 0), Hessel et al. (2021)."""
    return score / CLIPSCORE_WEIGHT


def preference(percent: int, n: int) -> dict:
    """What `percent` of n people says: the nearest count with its Wilson and Clopper-Pearson intervals and the exact
    two-sided p of a fair coin, as `eval.statistics.proportions.share` gives them. Raises UserError where no count of n
    prints as `percent`."""
    if not counts(percent, n):
        raise UserError(f"{percent}% of {n} people is no whole number of people: choose another n")
    return {"percent": percent} | share(min(counts(percent, n), key=lambda k: abs(100 * k / n - percent)), n)


# Encoders and pixel formats in which video files commonly come: (name, encoder, pixel format)
STORED = (("H.264 4:2:0", "libx264", "yuv420p"), ("H.264 4:4:4", "libx264", "yuv444p"),
          ("VP9 4:2:0", "libvpx-vp9", "yuv420p"), ("Motion JPEG 4:2:0", "mjpeg", "yuvj420p"),
          ("MPEG-4 4:2:0", "mpeg4", "yuv420p"), ("FFV1 4:4:4", "ffv1", "yuv444p"))


def takes(encoder: str, pixels: str, width: int, height: int) -> bool | None:
    """Whether a video encoder takes frames of this size in this pixel format; None where it is not installed."""
    from fractions import Fraction

    import av

    try:
        codec = av.CodecContext.create(encoder, "w")
    except (av.error.FFmpegError, ValueError):  # unknown here
        return None
    try:
        codec.width, codec.height, codec.pix_fmt, codec.time_base = width, height, pixels, Fraction(1, 25)
        codec.open()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def two_shares(quotes: list[str]) -> Finding:
    """Two statements of one share, in whole percent: can both be roundings of the same number?"""
    told, table = (numbers(quote)[0] for quote in quotes)
    both = abs(told - table) < 1
    return Finding(table, f"{table:g}% in the table, {told:g}% in the text", None if both else CONTRADICTS,
                   f"{abs(told - table):g} apart: no share rounds to both"
                   + (f", but {(told + table) / 2:g}% rounded once down, once up" if abs(told - table) == 1 else ""))


def sum_of_shares(quotes: list[str], pick: list[int]) -> Finding:
    """The sum of shares that exclude each other, against 100 and what rounding can add. pick: which numbers of the
    quotes, by position."""
    found = [number for quote in quotes for number in numbers(quote)]
    parts = [int(found[i]) for i in pick]
    over, rounding = excess(parts)
    fits = abs(over) <= rounding
    return Finding(sum(parts), f"{' + '.join(map(str, parts))} = {sum(parts)}%", None if fits else CONTRADICTS,
                   "" if fits else f"{over:+d} where rounding can make {rounding:g} at the most")


def one_score(quotes: list[str]) -> Finding:
    """A score told roughly in the text and exactly in the table: does the one round to the other?"""
    told, exact = numbers(quotes[0])[0], numbers(quotes[1])[-1]
    other = numbers(quotes[2])[-1]
    fits = round(exact, 2) == told  # the text prints two decimals
    return Finding(round(exact, 2), f"{exact:g} in the table rounds to {exact:.2f}", None if fits else CONTRADICTS,
                   f"{told - exact:.4f} apart, {abs(told - exact) / abs(exact - other):.0f} times the distance between "
                   "the two methods")


def difference(quotes: list[str]) -> Finding:
    """The difference of two scores: Table 1's rows are the last two quotes."""
    ours, theirs = (numbers(quote)[-1] for quote in quotes[-2:])
    gap = f"{ours:g} - {theirs:g} = {ours - theirs:.4f} ({100 * (ours / theirs - 1):.1f}%)"
    return Finding(gap, gap)


def scale(quotes: list[str]) -> Finding:
    """The scores of the last three quotes as cosines, if they are CLIPScores: 2.5 x max(cosine, 0)."""
    cosines = ", ".join(f"{implied_cosine(numbers(quote)[-1]):.4f}" for quote in quotes[-3:])
    return Finding(cosines, f"cosines {cosines} if divided by 2.5")


def best_of(quotes: list[str], n: int, n_reference: int, draws: int = 10) -> Finding:
    """What choosing the best of some FIDs does when nothing differs: n frames against n_reference, drawn anew."""
    floor = fid_floor(power_law(*typical_spectrum()), n, n_reference, draws=draws)
    text = f"best of {draws} {floor['low']:.1f}, mean {floor['value']:.1f}"
    return Finding(text, text)


def larger(quotes: list[str], unlike: str) -> Finding:
    """The largest of its kind (quote 1) against another of that kind that is larger (quote 2): no contradiction where
    the second is said to be of another kind, by the words `unlike`."""
    largest, other = numbers(quotes[0])[-1], numbers(quotes[1])[-1]
    other *= 1e6 if "million" in quotes[1] else 1
    apart = unlike in quotes[1]
    reason = f"the other is {other / largest:.0f} times as large"
    if other > largest and apart:
        reason += f", but “{unlike}”: the first is the largest that one can have"
    return Finding(largest, f"{other:,.0f} against {largest:,.0f}",
                   CONTRADICTS if other > largest and not apart else None, reason)


def observers(quotes: list[str]) -> Finding:
    """The least number of evaluators in which each percentage of the quotes is a whole number of people; against the
    number of people, where a quote gives one."""
    percents = sorted({int(number) for quote in quotes for number in numbers(quote) if f"{number:g}%" in quote})
    fitting = grim(percents)
    given = [int(found) for quote in quotes for found in re.findall(r"of (?:the )?(\d+) (?:evaluators|people)", quote)]
    text = f"at least {fitting[0]} if all answered all ({', '.join(map(str, fitting[:4]))}, ...)"
    if given:
        fits = all(all(counts(percent, n) for percent in percents) for n in given)
        return Finding(given[0], f"{given[0]} people; {text}", None if fits else CONTRADICTS,
                       "" if fits else f"no whole number of {given[0]} people prints as each of these percentages")
    return Finding(None, text, INCOMPARABLE, "the paper gives no number of evaluators, so no interval can be had; "
                   f"{percents[-1]}% alone needs no more than {min(grim([percents[-1]]))}")


def frame_size(quotes: list[str]) -> Finding:
    """Which common ways to store a video take the frame size of the quote; a contradiction if none does."""
    width, height = map(int, numbers(quotes[0])[:2])
    asked = {name: takes(encoder, pixels, width, height) for name, encoder, pixels in STORED}
    taken = [name for name, answer in asked.items() if answer]
    refused = [name for name, answer in asked.items() if answer is False]
    text = f"{width}x{height} taken by {', '.join(taken) or 'none'}" + (f"; refused by {', '.join(refused)}"
                                                                       if refused else "")
    return Finding(bool(taken), text, None if taken else CONTRADICTS,
                   f"{height} is odd, and 16:9 at {width} is {width * 9 // 16}: unusual, not impossible")


def readiness(quotes: list[str]) -> Finding:
    """What can be said of "inference-ready" without the paper's weights: at the start that the paper describes no frame
    sees another, which is a fact of that start and not of the weights that the paper shipped."""
    from eval.claims import conformance

    found = conformance.checked("untrained_motion")
    if found.verdict:
        return found
    return Finding(found.value, found.text, INCOMPARABLE, "of layers at the identity, as the paper starts them; "
                   "whether those it “ships” had seen other videos it does not say, and they were never published")
