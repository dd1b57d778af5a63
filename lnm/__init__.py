"""LateNtMovies: a still, a prompt and a frame rate go in, a short film comes out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0.dev0"  # the one place: pyproject.toml reads it here

if TYPE_CHECKING:
    from lnm.checkpoint import open_checkpoint as open_checkpoint
    from lnm.errors import UserError as UserError
    from lnm.pipeline import LateNtMoviesPipeline as LateNtMoviesPipeline
    from lnm.stages.animate import animate as animate
    from lnm.training import finetune as finetune
    from lnm.unet import UNetPseudo3DConditionModel as UNetPseudo3DConditionModel

_EXPORTS = {"LateNtMoviesPipeline": "lnm.pipeline", "UNetPseudo3DConditionModel": "lnm.unet",
            "open_checkpoint": "lnm.checkpoint", "finetune": "lnm.training", "animate": "lnm.stages.animate",
            "UserError": "lnm.errors"}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:  # lazily: importing the package must not cost the import of torch
    if name == "video":  # README's five lines write a film with it
        return import_module("lnm.video")
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'lnm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS, "video"])
