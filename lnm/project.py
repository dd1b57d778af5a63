"""A project folder: where it is, what its stages are, what a name in it may be. Costs nothing to import."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any

from lnm.errors import UserError, shortened
from lnm.files import regular_file

# the stages of a video in the order in which they run, and the notebook of each
NOTEBOOKS = {"prepare": "1_prepare", "finetune": "2_finetune", "sample": "3_sample", "rivals": "rivals",
             "evaluate": "4_evaluate"}
STAGES = tuple(NOTEBOOKS)
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
LARGEST = 4096  # pixels a side of a film: more is a slip of the hand, and fills the memory before it is seen
NAME_SAYS = "may hold only letters, digits, _ and -, at most 64, and not begin with -"


def root() -> Path:
    """The project's root: the nearest folder, from the working one upwards, that holds params.yaml."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").is_file():
            return folder
    raise UserError(f"params.yaml: not in {here} or above it; run this inside the project")


def read_yaml(path: Path) -> Any:
    """What a YAML file holds. Raises UserError, one line, for a file that cannot be read, and as `parse_yaml` does."""
    data = regular_file(path).read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path.name}: saved as UTF-16; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path.name}: line {line} is not UTF-8 (byte 0x{data[error.start]:02x}); save it as UTF-8"
                        ) from None
    return parse_yaml(text, f"{path.name}:")


def parse_yaml(text: str, where: str) -> Any:
    """YAML 1.2, as DVC reads it: 1e-4 is a number, no is a word. where: how the message of a UserError begins.

    Raises UserError for text that is none, for one nested too deeply to be read, and for an alias inside of what it
    stands for, which has no end.
    """
    from ruamel.yaml import YAML  # here: few commands need it
    from ruamel.yaml.error import YAMLError

    try:
        data = YAML(typ="safe", pure=True).load(text)
    except RecursionError:
        raise UserError(f"{where} nested too deeply; correct the YAML") from None
    except (YAMLError, ValueError, TypeError, AttributeError, LookupError) as error:  # the library lets through others
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or f"not YAML ({shortened(error)})"
        raise UserError(f"{where}{line} {' '.join(str(problem).split())}; correct the YAML there") from error
    if _endless(data, ()):
        raise UserError(f"{where} an alias (*name) stands inside of what it names; write it out")
    return data


def _endless(data: Any, above: tuple[int, ...], seen: set[int] | None = None) -> bool:
    """Whether a list or a section holds itself. above: those that it lies in; seen: those that are known not to."""
    seen = set() if seen is None else seen
    if not isinstance(data, dict | list) or id(data) in seen:
        return False
    if id(data) in above:
        return True
    inside = [*data, *data.values()] if isinstance(data, dict) else data
    found = any(_endless(part, (*above, id(data)), seen) for part in inside)
    seen.add(id(data))
    return found
