"""A tiny checkpoint and a pipeline on it, for the tests that need no other; a file that needs another has fixtures
of its own of these names."""

import pytest
from tiny import write_tiny_checkpoint
from tiny_pipeline import make


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def checkpoint(folder):
    from lnm.checkpoint import open_checkpoint

    return open_checkpoint(str(folder))


@pytest.fixture(scope="module")
def pipe(checkpoint):
    return make(checkpoint)
