"""A project with the ledger and the paper's settings, no run yet."""

import shutil
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def ledger(project):
    for name in ("claims.yaml", "params.paper.yaml"):
        shutil.copy(REPOSITORY / name, project / name)
    return project
