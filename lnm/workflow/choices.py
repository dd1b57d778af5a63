"""The choices of one stage of one video, typed as that stage takes them.

They are written to build/resolve/<video>/<stage>.json as they stand, names and paths as the user wrote them or relative
to the project's root; `arguments()` turns them into the keyword arguments of the stage's function.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnm.files import builtin
from lnm.settings import Finetune, Prepare, Sample, Section
from lnm.workflow.params import Device, Size, root

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
    revision: str | None
    checkpoint_sha256: str | None  # None for a hub name: its revision pins it


class WithClip(Section):
    """The stage that chooses a prompt."""

    clip: str | None
    clip_sha256: str | None


class PrepareChoices(OnCheckpoint, WithClip, Prepare, Choices):  # fields from right to left: the order in the json
    """The prepare stage's."""

    path: str  # relative to the root, or absolute
    fps: float
    prompts: list[str]
    still: str | None
    crop: list[int] | None
    start: float
    end: float | None
    source: str  # the path as the user wrote it
    credit: str | None
    path_sha256: str
    still_sha256: str | None = None

    def arguments(self) -> dict[str, Any]:
        """What `lnm.stages.prepare.prepare` takes, beside its folder."""
        return {
            "path": root() / self.path,
            "still": root() / self.still if self.still else None,
            "checkpoint": _model(self.checkpoint),
            "clip": _model(self.clip) if self.clip else None,
            "name": self.video,
            "about": {"source": self.source, "credit": self.credit, "checkpoint": self.checkpoint, "clip": self.clip},
            **{key: getattr(self, key) for key in ("fps", "prompts", "size", "crop", "start", "end", "max_frames",
                                                   "holdout", "revision", "device")},
        }


class FinetuneChoices(OnCheckpoint, Finetune, Choices):
    """The fine-tune stage's; `steps` is the video's own where it has any."""

    seed: int
    init_sha256: str | None

    def arguments(self) -> dict[str, Any]:
        """What `lnm.stages.finetune.finetune` takes, beside its folders."""
        settings = {key: getattr(self, key) for key in Finetune.model_fields}
        if self.init and not builtin(self.init):
            settings["init"] = str(root() / Path(self.init).expanduser())
        return {
            "settings": Finetune(**settings),
            "checkpoint": _model(self.checkpoint),
            "name": self.video,
            "about": {"checkpoint": self.checkpoint},
            **{key: getattr(self, key) for key in ("revision", "seed", "device")},
        }


class SampleChoices(OnCheckpoint, Sample, Choices):
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
            "checkpoint": _model(self.checkpoint),
            "name": self.video,
            "about": {"checkpoint": self.checkpoint, "temporal_decoder": self.temporal_decoder},
            **{key: getattr(self, key) for key in ("revision", "seed", "device")},
        }


def _model(name: str) -> str:
    """A local model's absolute path; a built-in's or a hub's name as it is."""
    path = root() / Path(name).expanduser()
    return str(path) if path.exists() else name
