"""Whom the paper compared, in whatever case a folder of inputs/baselines or a file of votes spells them."""

from __future__ import annotations

from collections.abc import Iterable

PUBLISHED_AS = {"ours": "LateNtMovies (ours)", "cogvideo": "CogVideo"}  # our name -> the paper's row


def papers(method: str) -> str | None:
    """"ours" or "cogvideo" where a method is one that the paper compared, whatever its case; None of any other."""
    return method.lower() if method.lower() in PUBLISHED_AS else None


def papers_pair(*methods: str) -> bool:
    """Whether these two methods are the two that the paper compared."""
    return {papers(method) for method in methods} == set(PUBLISHED_AS)


def called(methods: Iterable[str], which: str) -> str | None:
    """What "ours" or "cogvideo" is called among some methods; another method by its own name; None where there is
    none."""
    return next((method for method in methods if which in (papers(method), method)), None)
