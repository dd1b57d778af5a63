"""What a vote is: the questions, the columns of a row, and the marks of what is no vote of a person.

A vote is a row of COLUMNS. `study` is the page's id; `condition_A` was shown on the left (above, on a narrow screen)
and `condition_B` on the right; `film_A` and `film_B` say which films these were, by `film_hash`; `choice` is A, B or
tie; `side_seed` is the session's seed, from which sides and order follow; `rt_ms` counts from the moment both films
play; `answered` is the time in UTC (ISO 8601), or empty; `is_catch` is 1 where one film was broken on purpose (a
condition whose name starts with "catch"). The other form that is read is wide: a row an observer, the columns
`observer` and `study`, and for each pair a column `scene|question|method vs method` whose cells hold the chosen
method's name, A, B, tie, or nothing.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from lnm.errors import UserError
from lnm.files import whole
from lnm.project import root

QUESTIONS = {  # the paper's two; section 5.3
    "preference": "Which film do you prefer?",
    "realism": "Which film looks more like a real video?",
}
COLUMNS = ("observer", "session", "study", "scene", "question", "condition_A", "condition_B", "film_A", "film_B",
           "choice", "side_seed", "rt_ms", "answered", "is_catch")
CHOICES = ("A", "B", "tie")
CATCH, MARK = "catch", "SIMULATED"
NO_RESPONSES = "no responses yet"
PAIR = re.compile(r"(?P<scene>[^|]+)\|(?P<question>[^|]+)\|(?P<a>.+?) vs (?P<b>.+)")


def film_hash(film: bytes) -> str:
    """What a film is known by in votes: 16 hexadecimal digits of the SHA-256 of its file."""
    return hashlib.sha256(film).hexdigest()[:16]


def check_name(name: str, what: str) -> None:
    """Raises UserError for a name of a film's method that would read as something else in the votes."""
    if "|" in name or " vs " in name or name.lower().startswith((CATCH, MARK.lower())):
        raise UserError(f"{name}: a {what}'s name may not hold | or ' vs ', nor start with {CATCH} or {MARK}; "
                        "rename it")


def _home() -> Path | None:
    """The project's root, or None outside of one: votes are counted anywhere."""
    try:
        return root()
    except UserError:
        return None


def shown(path: Path) -> str:
    """A path as the user knows it: from the project's root where it lies inside."""
    path, home = path.absolute(), _home()
    return path.relative_to(home).as_posix() if home and path.is_relative_to(home) else str(path)


def below_inputs(path: Path) -> bool:
    """Whether a path lies below the project's inputs/, where simulated votes never go."""
    home = _home()
    return home is not None and path.resolve().is_relative_to((home / "inputs").resolve())


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all, line ends as they are; makes its folder."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8", newline="")
