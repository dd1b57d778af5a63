"""Every test runs offline, and in a project of its own where it writes."""

import os
from pathlib import Path

import pytest

from lnm import devices

os.environ["HF_HUB_OFFLINE"] = "1"  # a test that reaches for a model hub is a mistake
os.environ.pop("LNM_RESOLVED", None)

REPOSITORY = Path(__file__).resolve().parent.parent

PARAMS = """\
videos:
  ocean: {path: inputs/ocean.mp4, fps: 8, prompts: [waves]}
  rain: {path: inputs/rain, fps: 12.5, prompts: [rain, snow]}
"""


@pytest.fixture(scope="session", autouse=True)
def films_in_float32():
    """What `sample.dtype: auto` gives on this machine is not what a test of films is about."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "half_precision", lambda device: "no")
        yield


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project of two videos, with stand-ins for the files that settings() hashes; the working folder."""
    (tmp_path / "params.yaml").write_text(PARAMS)
    for name in ("inputs/ocean.mp4", "inputs/rain/0.png", "checkpoints/lnm-mini/unet/x", "checkpoints/lnm-mini-clip/x"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path
