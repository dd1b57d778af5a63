"""LateNtMovies: a still, a prompt and a frame rate go in, a short film comes out."""

_EXPORTS = {"LateNtMoviesPipeline": "lnm.pipeline", "UNetPseudo3DConditionModel": "lnm.unet"}


def __getattr__(name: str):  # lazily: importing the package must not cost the import of torch
    if name in _EXPORTS:
        from importlib import import_module

        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'lnm' has no attribute {name!r}")
