"""What the checks find goes into build/conformance.json, from which the ledger reads it."""

import pytest
from conftest import REPOSITORY

from eval.claims import conformance
from lnm.files import write_json

FOUND = {}


@pytest.fixture
def found(request):
    """found(check, finding, passed) keeps what a check found."""

    def keep(check, finding, passed):
        FOUND[check] = {"value": finding.value, "text": finding.text, "reason": finding.reason,
                        "numbers": finding.numbers, "passed": bool(passed), "test": request.node.nodeid}

    return keep


def pytest_sessionfinish(session):
    if not FOUND or hasattr(session.config, "workerinput"):
        return
    before = conformance.outcomes(REPOSITORY)  # of the same code; a run of some tests leaves the others as they were
    checks = ({} if isinstance(before, str) else before) | FOUND
    write_json(REPOSITORY / conformance.FILE, {"code": conformance.code(REPOSITORY),
                                               "checks": dict(sorted(checks.items()))})
