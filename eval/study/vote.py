"""One vote, checked: a pydantic model of a row, and why a row is no vote in one line."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, StringConstraints, ValidationError, field_validator, model_validator

from eval.study.form import CATCH, CHOICES, MARK, QUESTIONS

Name = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\p{Cc}]+$")]  # Cc: NUL and all other controls
Film = Annotated[str, StringConstraints(pattern=rf"^(?:[0-9a-f]{{16}}|{MARK})?$")]  # empty: a wide form knows none
WRONG = {  # column -> what is wrong with a value that is not accepted
    "study": "is no study's id",
    "question": f"is none of {', '.join(QUESTIONS)}",
    "film_A": "is no film's hash",
    "film_B": "is no film's hash",
    "choice": f"is none of {', '.join(CHOICES)}, nor a method of the pair",
    "side_seed": "is no whole number",
    "rt_ms": "is no time in milliseconds",
    "answered": "is no time such as 2026-01-31T14:05:09Z",
    "is_catch": "is neither 0 nor 1",
}


class Vote(BaseModel):
    """A row of COLUMNS, every value the text that the file has."""

    observer: Name
    session: Name
    study: Annotated[str, StringConstraints(pattern=rf"^(?:[0-9a-f]{{12}}|{MARK})?$")]
    scene: Name
    question: str
    condition_A: Name
    condition_B: Name
    film_A: Film
    film_B: Film
    choice: Literal["A", "B", "tie"]
    side_seed: Annotated[str, StringConstraints(pattern=r"^\d*$")]
    rt_ms: Annotated[str, StringConstraints(pattern=r"^(?:\d{1,12}(?:\.\d*)?)?$")]
    answered: Literal[""] | datetime
    is_catch: Literal["0", "1", "false", "true"]

    @field_validator("question")
    @classmethod
    def _asked(cls, question: str) -> str:
        if question not in QUESTIONS:
            raise ValueError
        return question

    @field_validator("is_catch", mode="before")
    @classmethod
    def _lower(cls, value: str) -> str:
        return value.lower()  # a spreadsheet makes FALSE of it

    @model_validator(mode="after")
    def _pair(self) -> Vote:
        pair = {"condition_A": self.condition_A, "condition_B": self.condition_B}
        if self.condition_A == self.condition_B:
            raise ValueError(f"condition_A {self.condition_A!r} is both films")
        caught = {column: name.lower().startswith(CATCH) for column, name in pair.items()}
        if (self.is_catch in ("1", "true")) != (caught["condition_A"] ^ caught["condition_B"]):
            raise ValueError(f"is_catch {self.is_catch!r} does not fit: a catch trial, and no other, "
                             f"has one condition named {CATCH}...")
        return self


def reason(row: dict[str, str]) -> str:
    """Why a row (column -> text) is no vote, in one line; "" where it is one."""
    try:
        Vote.model_validate(row)
    except ValidationError as found:
        error = found.errors(include_url=False)[0]
        if not error["loc"]:  # what is wrong with the row as a whole
            return str(error["ctx"]["error"])
        column = str(error["loc"][0])
        value = row[column]
        if not value:
            return f"{column} is empty"
        return f"{column} {value!r} {WRONG.get(column, 'holds a control character')}"
    return ""
