"""Answers about a film that are remembered by its frames: several measures ask the same thing of the same film."""

from __future__ import annotations

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np


def content(frames: np.ndarray) -> str:
    """A name for frames by their shape, type and bytes."""
    about = f"{frames.shape} {frames.dtype}".encode()
    return hashlib.sha256(about + np.ascontiguousarray(frames).tobytes()).hexdigest()


def once(keep: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator for functions of frames: of the last `keep` films an answer is given again, not computed again.

    Answers are shared, so whoever gets one must not change it. What is raised is not remembered.
    """
    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        known: OrderedDict[str, Any] = OrderedDict()

        @functools.wraps(function)
        def remembered(frames: np.ndarray) -> Any:
            key = content(frames)
            if key not in known:
                known[key] = function(frames)
                while len(known) > keep:
                    known.popitem(last=False)
            known.move_to_end(key)
            return known[key]

        return remembered

    return wrap
