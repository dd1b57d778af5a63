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


def frame_size_refused(width: int, height: int) -> bool:
    """Whether H.264 at 4:2:0, what video files hold, refuses this frame size: its colour planes are half as high."""
    from fractions import Fraction

    import av

    try:
        codec = av.CodecContext.create("libx264", "w")
        codec.width, codec.height, codec.pix_fmt, codec.time_base = width, height, "yuv420p", Fraction(1, 25)
        codec.open()
    except (av.error.FFmpegError, ValueError):
        return True
    return False


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


def opposed(quotes: list[str], words: list[str]) -> Finding:
    """Two words for one comparison, and the comparison itself from Table 1's rows (quotes 3 and 4)."""
    ours, theirs = (numbers(quote)[-1] for quote in quotes[2:])
    gap = f"{ours:g} - {theirs:g} = {ours - theirs:.4f} ({100 * (ours / theirs - 1):.1f}%)"
    both = all(word in quote for word, quote in zip(words, quotes, strict=False))
    return Finding(gap, gap, CONTRADICTS if both else None, f"“{words[0]}” and “{words[1]}” of the same two scores; no "
                   "interval, no number of films")


def scale(quotes: list[str]) -> Finding:
    """The scores of the quotes as cosines, if they are CLIPScores: 2.5 x max(cosine, 0)."""
    scores = [numbers(quote)[-1] for quote in quotes[2:]]
    cosines = ", ".join(f"{implied_cosine(score):.4f}" for score in scores)
    both = "CLIPSIM" in quotes[0] and "[5] CLIP score" in quotes[1]
    return Finding(cosines, f"cosines {cosines} if divided by 2.5", CONTRADICTS if both else None,
                   "the column is headed CLIPSIM, a mean cosine, while the text cites CLIPScore [5], 2.5 times that; "
                   "real videos have mean cosines near 0.24 to 0.30, so only the second can give 0.75")


def best_or_all(quotes: list[str], draws: int = 10) -> Finding:
    """One sample that was chosen, or samples? And what choosing the best of ten draws does when nothing differs."""
    floor = fid_floor(power_law(*typical_spectrum()), 5, draws=draws)
    both = "best sample" in quotes[0] and "our samples" in quotes[1]
    text = f"best of {draws} {floor['low']:.1f}, mean {floor['value']:.1f}"
    return Finding(text, text, CONTRADICTS if both else None,
                   "one chosen sample in the first sentence, samples in the next; and its FID is to the very video "
                   "that was trained on")


def larger(quotes: list[str]) -> Finding:
    """The largest of its kind, against another of that kind that is named beside it."""
    largest, other = numbers(quotes[0])[-1], numbers(quotes[1])[-1]
    other *= 1e6 if "million" in quotes[1] else 1
    return Finding(largest, f"{other:,.0f} against {largest:,.0f}", CONTRADICTS if other > largest else None,
                   f"the other is {other / largest:.0f} times as large, though not public")


def observers(quotes: list[str]) -> Finding:
    """The least number of evaluators in which each percentage of the quotes is a whole number of people."""
    percents = sorted({int(number) for quote in quotes for number in numbers(quote) if number < 100})
    fitting = grim(percents)
    alone = min(grim([percents[-1]]))
    text = f"at least {fitting[0]} if all answered all ({', '.join(map(str, fitting[:4]))}, ...)"
    return Finding(fitting[0], text, INCOMPARABLE, "the paper gives no number of evaluators, so no interval can be "
                   f"had; {percents[-1]}% alone needs no more than {alone}")


def frame_size(quotes: list[str]) -> Finding:
    """Whether a video encoder takes the frame size of the quote."""
    width, height = map(int, numbers(quotes[0])[:2])
    refused = frame_size_refused(width, height)
    return Finding(not refused, f"{width}x{height} {'refused' if refused else 'taken'}",
                   reason=f"H.264 at 4:2:0 needs even sides, {height} is odd; 16:9 at {width} is {width * 9 // 16}")
