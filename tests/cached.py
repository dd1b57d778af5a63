"""A repository as huggingface_hub's cache holds it, to be opened without a network."""

import shutil
from pathlib import Path

COMMIT = "0" * 40


def cached(cache: Path, name: str, files: Path, monkeypatch=None) -> None:
    """Put the folder `files` into the cache as the repository USER/NAME; with `monkeypatch`, let the client look there.
    """
    import huggingface_hub

    repository = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(files, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    if monkeypatch:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
