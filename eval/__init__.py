"""The harness: scores anybody's films. It knows `lnm` only through files.

    from eval import score
    result = score("film/", reference="real.mp4", prompt="ocean waves", fps=8)

`import eval` would hide Python's own function of that name: import from it.
"""

from importlib import import_module


def __getattr__(name: str):
    """`score` alone, when it is asked for: its metrics cost seconds to import, and a stage of the pipeline depends on
    what the modules that it imports import."""
    if name == "score":
        return import_module("eval.records.score").score
    raise AttributeError(f"module 'eval' has no attribute {name!r}")
