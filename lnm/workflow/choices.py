"""The choices of one stage of one video, typed as that stage takes them.

They are written to build/resolve/<video>/<stage>.json as they stand, names and paths as the user wrote them or relative
to the project's root; `arguments()` turns them into the keyword arguments of the stage's function.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnm.files import builtin
from lnm.project import root
from lnm.settings import HELDOUT, Finetune, Prepare, Sample, Section
from lnm.workflow.params import Device, Memory, Size

if TYPE_CHECKING:
    import pandas as pd


class Choices(Section):
    """What every stage is told."""

    video: str
    size: Size
    device: Device

    def record(self) -> dict[str, Any]:
        """A flat dict, ready for json: just the keys that were given, in their order."""
        return self.model_dump(exclude_unset=True)

    def table(self) -> pd.Series:
        """The record as text, for a person to read."""
        import pandas as pd  # here: what is resolved before every stage needs none of it

        return pd.Series(self.record(), name=self.video).map(str)


class OnCheckpoint(Section):
    """The stages that open the checkpoint."""

    checkpoint: str
    memory: Memory = "auto"
    revision: str | None
    checkpoint_sha256: str | None  # None for a hub name: its revision pins it
    widen: bool = False


class OnAdapted(OnCheckpoint):
    """The stages that open it with what a LoRA adds to it. Recorded where there is one."""

    lora: str | None = None  # relative to the root, or absolute
    lora_scale: float = 1.0
    lora_sha256: str | None = None

    def base(self) -> dict[str, Any]:
        """What these stages' functions take of the checkpoint."""
        return {"checkpoint": _model(self.checkpoint), "revision": self.revision, "widen": self.widen,
                "lora": str(root() / self.lora) if self.lora else None, "lora_scale": self.lora_scale}


class WithClip(Section):
    """The stage that chooses a prompt."""

    clip: str | None
    clip_sha256: str | None


class ClipChoices(Section):
    """A further clip to learn from, told as the first is."""

    path: str
    crop: str | list[int | str] | None
    start: float
    end: float | None
    source: str
    credit: str | None
    path_sha256: str


class PrepareChoices(OnCheckpoint, WithClip, Prepare, Choices):  # fields from right to left: the order in the json
    """The prepare stage's."""

    path: str  # relative to the root, or absolute
    fps: float
    prompts: list[str]
    still: str | list[str] | None  # of a list HELDOUT is the first held-out frame
    crop: str | list[int | str] | None
    start: float
    end: float | None
    source: str  # the path as the user wrote it
    credit: str | None
    path_sha256: str
    still_sha256: str | list[str | None] | None = None
    clips: list[ClipChoices] = []

    def arguments(self) -> dict[str, Any]:
        """What `lnm.stages.prepare.prepare` takes, beside its folder."""
        return {
            "path": root() / self.path,
            "still": [_still(one) for one in self.still] if isinstance(self.still, list) else _still(self.still),
            "clips": [clip.model_dump(exclude={"path_sha256"}) | {"path": root() / clip.path} for clip in self.clips],
            "checkpoint": _model(self.checkpoint),
            "clip": _model(self.clip) if self.clip else None,
            "name": self.video,
            "about": {"source": self.source, "credit": self.credit, "checkpoint": self.checkpoint, "clip": self.clip},
            **{key: getattr(self, key) for key in ("fps", "prompts", "size", "crop", "start", "end", "max_frames",
                                                   "holdout", "stills", "revision", "widen", "device", "memory")},
        }


class FinetuneChoices(OnAdapted, Finetune, Choices):
    """The fine-tune stage's; `steps` is the video's own where it has any."""

    seed: int
    init_sha256: str | None
    any_base: bool = False

    def arguments(self) -> dict[str, Any]:
        """What `lnm.stages.finetune.finetune` takes, beside its folders."""
        settings = {key: getattr(self, key) for key in Finetune.model_fields}
        if self.init and not builtin(self.init):
            settings["init"] = str(root() / Path(self.init).expanduser())
        return {
            "settings": Finetune(**settings),
            "name": self.video,
            "about": {"checkpoint": self.checkpoint},
            **self.base(),
            **{key: getattr(self, key) for key in ("any_base", "seed", "device", "memory")},
        }


class SampleChoices(OnAdapted, Sample, Choices):
    """The sample stage's."""

    seed: int
    decoder_sha256: str | None

    def arguments(self) -> dict[str, Any]:
        """What `lnm.stages.sample.sample_films` takes, beside its folders and files."""
        settings = {key: getattr(self, key) for key in Sample.model_fields}
        if self.temporal_decoder and not builtin(self.temporal_decoder):
            settings["temporal_decoder"] = str(root() / Path(self.temporal_decoder).expanduser())
        return {
            "settings": Sample(**settings),
            "name": self.video,
            "about": {"checkpoint": self.checkpoint, "temporal_decoder": self.temporal_decoder},
            "store": root() / "store" / "sample" / self.video,  # outside the results, which DVC deletes before a run
            **self.base(),
            **{key: getattr(self, key) for key in ("seed", "device", "memory")},
        }


class RivalsChoices(OnAdapted, Choices):
    """The rivals stage's: of a video that has none, no methods and nothing else."""

    methods: list[str]
    seed: int = 0
    checkpoint: str = ""
    revision: str | None = None
    checkpoint_sha256: str | None = None
    finetune: Finetune = Finetune()
    sample: Sample = Sample()

    def arguments(self) -> dict[str, Any]:
        """What `lnm.stages.rivals.film_rivals` takes, beside its folders."""
        return {
            "methods": self.methods,
            "settings": self.finetune,
            "sample": self.sample,
            "name": self.video,
            "about": {"checkpoint": self.checkpoint},
            **self.base(),
            **{key: getattr(self, key) for key in ("seed", "device", "memory")},
        }


def _still(name: str | None) -> Path | None:
    return None if name in (None, HELDOUT) else root() / str(name)


def _model(name: str) -> str:
    """A local model's absolute path; a built-in's or a hub's name as it is."""
    path = root() / Path(name).expanduser()
    return str(path) if path.exists() else name
