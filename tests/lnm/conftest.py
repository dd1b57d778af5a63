"""A tiny checkpoint and a pipeline on it, for the tests that need no other; a file with fixtures of these names has its
own."""

import pytest
from tiny import write_tiny_checkpoint
from tiny_pipeline import make


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    from lnm.checkpoint import open_checkpoint

    return open_checkpoint(str(write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint"))))


@pytest.fixture(scope="module")
def pipe(checkpoint):
    return make(checkpoint)
