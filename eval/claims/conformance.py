"""Claims of the method, as tests/conformance/ checked them on models small enough to check.

The checks build models and take half a minute, so they are tests: `make test` and `lnm claims --check` run them, and
what they find lies in build/conformance.json with a hash of the code that was checked and of the checks.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import lnm
from eval.claims.finding import INCOMPARABLE, Finding
from eval.claims.records import read_json
from lnm.errors import UserError
from lnm.files import sha256
from lnm.project import root

FILE = Path("build") / "conformance.json"
TESTS = Path("tests") / "conformance"
# lnm's modules that the checks run, errors aside: an edit of another leaves what was found as it is
CHECKED = ("batches", "flow", "latents", "lion", "lora", "pseudo3d", "schedulers", "settings", "tensors", "unet",
           "validation")
HOW = "run `lnm claims --check`"


def code(home: Path | None = None) -> str:
    """A hash of the modules that the checks are of, and of the checks themselves where they are."""
    digest = hashlib.sha256()
    for path in [*(Path(lnm.__file__).parent / f"{name}.py" for name in CHECKED),
                 *sorted(((home or root()) / TESTS).glob("*.py"))]:
        digest.update(f"{path.name} {sha256(path)}\n".encode())
    return digest.hexdigest()


def outcomes(home: Path | None = None) -> dict[str, dict] | str:
    """{check: {"value", "text", "reason", "numbers", "passed", "test"}} as build/conformance.json has it, or the reason
    why it cannot be used: it is not there, or of other code."""
    found = read_json((home or root()) / FILE)
    if found is None:
        return f"not checked here: {HOW}"
    return found["checks"] if found.get("code") == code(home) else f"checked on other code than this: {HOW}"


def checked(check: str) -> Finding:
    """What a check of tests/conformance/ found. One that is not there, or of other code, gives no verdict."""
    found = outcomes()
    if not isinstance(found, str) and check not in found:
        found = f"{check} was not checked: {HOW}"
    if isinstance(found, str):
        return Finding(None, "not checked", INCOMPARABLE, found)
    one = found[check]
    return Finding(one["value"], one["text"], None, one["reason"], numbers=one["numbers"])


def numbers(check: str) -> dict:
    """What a check measured beside its value; {} where it was not checked."""
    return checked(check).numbers


def run(home: Path | None = None) -> str:
    """Runs tests/conformance/, which write what they find; the last line that they print where one fails, else "". What
    fails differs in the ledger, and is no reason to go without one. Raises UserError where there are no tests."""
    home = home or root()
    if not (home / TESTS).is_dir():
        raise UserError(f"{TESTS.as_posix()}: not there; the checks run in a clone of the project")
    # one thread: the models are small, and beside other work threads that wait for each other take ten times as long
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS)], cwd=home,
                          capture_output=True, text=True, env={"OMP_NUM_THREADS": "1"} | os.environ)
    lines = [line for line in f"{done.stderr}\n{done.stdout}".splitlines() if line.strip()]
    return lines[-1] if done.returncode and lines else ""
