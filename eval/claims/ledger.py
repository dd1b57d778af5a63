"""The ledger: every number and checkable claim of the paper beside what this code and this run give, with a verdict.

    lnm claims                 the table, and results/paper/claims.json and claims.md
    lnm claims --check         first the checks of the method (tests/conformance/)
    lnm claims --json FILE     the rows into a file of your own as well

`claims.yaml` says what the paper says, in its words, what it is about (`kind`) and which function computes it. A
function takes what it names of `run` (settings and results), `quotes` (the paper's words, from which it reads its
numbers), `published` and the claim's own `with`; it gives a value, which the tolerance judges, or a Finding that says
why there is nothing to judge. What fits is called by the claim's kind: a method is implemented as described, a setting
is set as in the paper, and only a number that an experiment gave is a result reproduced. Where words stand against
words, no function can judge: such a verdict is a reader's (`reading`), and the row says so.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from eval.claims import conformance, measurements, settings, text
from eval.claims.finding import CONTRADICTS, DIFFERS, FITS, INCOMPARABLE, VERDICTS, Finding, Run, show
from eval.claims.records import read_json
from eval.records.markdown import escaped
from eval.records.markdown import table as written
from lnm.errors import UserError
from lnm.files import whole, write_json
from lnm.project import read_yaml, root

Verdict = Literal["implemented as described", "set as in the paper", "result reproduced", "differs",
                  "not comparable here", "the paper contradicts itself"]
# where the functions that claims.yaml names stand; imported, because a stage's hash follows imports
COMPUTED_IN = (conformance, measurements, settings, text)
CHECKED = "eval.claims.conformance:checked"
COLUMNS = ("id", "kind", "section", "quote", "published", "computed", "verdict", "reason", "function", "notebook")


class Range(BaseModel):
    model_config = ConfigDict(extra="forbid")

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


class Reading(BaseModel):
    """A verdict that a reader gave, because words stand against words, and why."""

    model_config = ConfigDict(extra="forbid")

    verdict: Verdict
    why: Annotated[str, Field(min_length=1)]


class Claim(BaseModel):
    """One entry of claims.yaml."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, populate_by_name=True)

    id: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    kind: Literal["method", "setting", "result", "text"]  # what it is about; text: the paper's numbers among themselves
    section: Annotated[str, Field(min_length=1)]
    quote: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]  # the exact words; one or several
    definition: Annotated[str, Field(min_length=1)]  # what is computed, in one sentence
    function: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]  # module:function
    arguments: Annotated[dict[str, Any], Field(alias="with")] = {}
    notebook: Annotated[str, Field(pattern=r"^\w+\.ipynb#[\w-]+$")]  # file and id of the cell that shows it
    published: bool | int | float | str | list[int] | Range | None  # None: the paper gives none
    unit: str = ""
    tolerance: Annotated[float, Field(ge=0)] = 0  # of numbers; everything else is equal or is not
    reading: Reading | None = None  # the verdict, where no function can judge
    note: str = ""  # what a reader must know whatever comes out

    @field_validator("quote", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


def read_ledger(path: Path | None = None) -> list[Claim]:
    """Reads and checks claims.yaml (default: the root's). Raises UserError, one line that names claim and key."""
    claims, problems = read_claims(path or root() / "claims.yaml")
    if problems:
        raise UserError(problems[0])
    return claims


def read_claims(path: Path) -> tuple[list[Claim], list[str]]:
    """The claims of a file that are sound, and a line on each that is not. Raises UserError for a file that is no list
    of claims at all."""
    claims: dict[str, Claim] = {}
    problems = []
    for number, entry in enumerate(_entries(path), 1):
        name = entry.get("id", f"claim {number}") if isinstance(entry, dict) else f"claim {number}"
        try:
            claim = Claim.model_validate(entry)
            if claim.id in claims:
                raise UserError("the id stands twice; rename one")
            _arguments(claim, resolve(claim.function), offered=dict.fromkeys(("run", "quotes", "published")))
            claims[claim.id] = claim
        except ValidationError as error:
            problems.append(f"{path.name}: {name}: {_problem(error)}")
        except UserError as error:
            problems.append(f"{path.name}: {name}: {error}")
    return list(claims.values()), problems


def _entries(path: Path) -> list:
    data = read_yaml(path)
    if not isinstance(data, list):
        raise UserError(f"{path.name}: should be a list of claims, each with an id; restore it from git")
    return data


def _problem(error: ValidationError) -> str:
    first = min(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")  # explains a missing one
    key = ".".join(str(part) for part in first["loc"]) or "the claim"
    if first["type"] == "extra_forbidden":
        known = [info.alias or name for name, info in Claim.model_fields.items()]
        close = difflib.get_close_matches(key, known, n=1)
        return f"{key}: unknown key; " + (f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}")
    return f"{key}: missing; add it" if first["type"] == "missing" else f"{key}: {first['msg'].lower()}; correct it"


def resolve(name: str):
    """The function behind "module:function". Raises UserError where there is none."""
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError):
        raise UserError(f"function {name}: there is no such function; correct its name") from None


def _arguments(claim: Claim, function, offered: dict) -> dict:
    """What to call a claim's function with: of `offered` and the claim's `with`, what it takes."""
    takes = inspect.signature(function).parameters
    strange = [name for name in claim.arguments if name not in takes]
    lacking = [name for name, parameter in takes.items()
               if parameter.default is parameter.empty and name not in offered and name not in claim.arguments]
    if strange or lacking:
        raise UserError(f"with: {claim.function} takes no {strange[0]}" if strange else
                        f"with: {claim.function} needs {lacking[0]}; add it")
    return {name: value for name, value in offered.items() if name in takes} | claim.arguments


def within(published: Any, value: Any, tolerance: float) -> bool:
    """Whether a computed value is the published one: numbers within the tolerance, everything else equal."""
    if isinstance(value, tuple):
        return bool(value) and all(within(published, one, tolerance) for one in value)
    if isinstance(published, Range):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and published.low - tolerance <= value <= published.high + tolerance
    if isinstance(published, (int, float)) and isinstance(value, (int, float)):
        if isinstance(published, bool) or isinstance(value, bool):
            return published is value
        return bool(abs(value - published) <= tolerance)
    return published == value


def judge(claim: Claim, run: Run) -> dict:
    """One row of the table: what the claim's function finds, and the verdict on it."""
    offered = {"run": run, "quotes": [" ".join(quote.split()) for quote in claim.quote], "published": claim.published}
    function = resolve(claim.function)
    found = function(**_arguments(claim, function, offered))
    found = found if isinstance(found, Finding) else Finding(found)
    fits = INCOMPARABLE if found.promised else FITS[claim.kind]
    verdict = found.verdict or (fits if within(claim.published, found.value, claim.tolerance) else DIFFERS)
    reasons = [found.reason, claim.note]
    if claim.reading:
        verdict, reasons = claim.reading.verdict, [f"by reading: {claim.reading.why}", *reasons]
    elif verdict == INCOMPARABLE and claim.kind == "text" and not found.reason:
        reasons = ["the paper agrees with itself here, which reproduces nothing", claim.note]
    return {
        "id": claim.id, "kind": claim.kind, "section": claim.section, "quote": " … ".join(offered["quotes"]),
        "published": show(claim.published) + (claim.unit if claim.published is not None else ""),
        "computed": found.text or _rough(claim.published, found.value) or show(found.value) + claim.unit,
        "verdict": verdict, "reason": "; ".join(filter(None, reasons)),
        "definition": claim.definition, "function": _where(claim), "notebook": claim.notebook,
    }


def _rough(published: Any, value: Any) -> str:
    """An error that should be 0, to one digit: the others differ between machines."""
    return f"{value:.0e}" if published == 0 and isinstance(value, float) and 0 < abs(value) < 1e-3 else ""


def _where(claim: Claim) -> str:
    """What computed a claim: the check of tests/conformance/, or the function."""
    return f"tests/conformance: {claim.arguments['check']}" if claim.function == CHECKED else claim.function


def rows(results: Path, params: Path | None = None, ids: list[str] | None = None) -> list[dict]:
    """The ledger's rows, in its order; ids: only these claims."""
    run = Run.read(results, params)
    return [judge(claim, run) for claim in read_ledger() if ids is None or claim.id in ids]


def run(results: Path, out: Path, params: Path | None = None, strict: bool = False) -> list[dict]:
    """Computes every claim, writes out/claims.json and out/claims.md whole or not at all, and returns the rows. A claim
    that is malformed, or whose results cannot be read, is left out and said in both; strict: it raises UserError."""
    if strict:
        table, problems = rows(results, params), []
    else:
        table, problems = sound(results, params)
    write_json(out / "claims.json", {"counts": counts(table), "counts_line": counts_line(table), "problems": problems,
                                     "claims": table})
    with whole(out / "claims.md") as part:
        part.write_text(markdown(table, problems), encoding="utf-8")
    return table


def left_out(out: Path) -> list[str]:
    """What the last run of the ledger left out, and why."""
    return (read_json(out / "claims.json") or {}).get("problems", [])


def sound(results: Path, params: Path | None = None) -> tuple[list[dict], list[str]]:
    """The rows that can be had, and a line on each claim that cannot be judged: nothing is raised."""
    table: list[dict] = []
    try:
        claims, problems = read_claims(root() / "claims.yaml")
        looked_at = Run.read(results, params)
    except UserError as error:
        return [], [str(error)]
    for claim in claims:
        try:
            table.append(judge(claim, looked_at))
        except Exception as error:  # one claim, whatever is wrong with it, does not cost the report
            problems.append(f"{claim.id}: {error if isinstance(error, UserError) else repr(error)}")
    return table, problems


def counts(table: list[dict]) -> dict[str, int]:
    """How many claims there are of each verdict."""
    return {verdict: sum(row["verdict"] == verdict for row in table) for verdict in VERDICTS}


def counts_line(table: list[dict]) -> str:
    """"12 implemented as described, 4 set as in the paper, 0 results reproduced, 3 differ, 14 not comparable here, 6
    where the paper contradicts itself"."""
    number = counts(table)
    said = [f"{count} {verdict}" for verdict, count in number.items()]
    said[2] = f"{number[VERDICTS[2]]} result{'' if number[VERDICTS[2]] == 1 else 's'} reproduced"
    said[3] = f"{number[DIFFERS]} differ{'s' if number[DIFFERS] == 1 else ''}"
    said[5] = f"{number[CONTRADICTS]} where the paper contradicts itself"
    return ", ".join(said)


def markdown(table: list[dict], problems: list[str]) -> str:
    """The rows as a markdown table under a line of counts and what could not be judged."""
    head = ["claim", "about", "section", "the paper's words", "published", "computed here", "verdict", "why",
            "function", "notebook"]
    lines = [f"{len(table)} claims: {counts_line(table)}.", ""]
    lines += [f"Left out: {escaped(problem)}\n" for problem in problems]
    rows = []
    for row in table:
        cells = [escaped(str(row[key])) for key in COLUMNS]
        cells[3] = f"“{cells[3]}”"
        cells[8], cells[9] = f"`{cells[8]}`", f"`{cells[9]}`"
        rows.append(cells)
    return "\n".join([*lines, written(head, rows, lined_up=False)]) + "\n"


def short(table: list[dict]) -> str:
    """The short columns, lined up; what is longer than its column ends in an ellipsis."""
    widths = {"id": 25, "section": 8, "published": 20, "computed": 44, "verdict": 28}
    lines = []
    for row in [dict(zip(widths, widths, strict=True)), *table]:
        cells = [row[key] if len(row[key]) <= width else row[key][: width - 1] + "…" for key, width in widths.items()]
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths.values(), strict=True)).rstrip())
    return "\n".join(lines)
