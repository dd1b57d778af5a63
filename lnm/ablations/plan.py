"""Which arms are trained by which seeds on which video, and for how long: ablations/params.yaml, from which DVC makes
its matrix too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from lnm.ablations.arms import ARMS
from lnm.errors import UserError
from lnm.project import read_yaml
from lnm.settings import Positive, Section, Seed, Text, validated

FILE = Path("ablations") / "params.yaml"


class Plan(Section):
    """What ablations/params.yaml holds."""

    video: Text  # of params.yaml
    steps: Positive  # of an arm
    seeds: Annotated[list[Seed], Field(min_length=1)]
    arms: Annotated[list[Text], Field(min_length=1)]
    long: list[Text] = []  # arms of their own numbers of steps, where a GPU is at hand

    @field_validator("arms", "long")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in ARMS:
                raise ValueError(f"no arm is called {name}; there is {', '.join(ARMS)}")
        return names

    def runs(self, long: bool) -> list[tuple[str, int]]:
        """(arm, seed) of every run, in the order in which they are trained. long: those for a GPU as well."""
        return [(arm, seed) for arm in [*self.arms, *(self.long if long else [])] for seed in self.seeds]


def read_plan(root: Path) -> Plan:
    """The plan of a project. Raises UserError, one line, for a file that is not there or not sound."""
    try:
        return validated(Plan, read_yaml(root / FILE) or {})
    except UserError as error:
        raise UserError(f"{FILE.as_posix()}: {error}") from None
