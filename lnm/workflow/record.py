"""DVC's record of a run, kept out of Git's way.

DVC writes what every stage took and gave into dvc.lock. Git tracks that file for what all clones share (the built-in
checkpoint), and a run would leave it changed by hundreds of lines that hold for one machine alone. It can not be
git-ignored, for DVC then refuses to work; and hidden from Git, by a filter or a flag of its index, it would be missing
from the commits in which `dvc exp run` keeps experiments. So `lnm repro` keeps the record in build/dvc.lock between
its runs and puts the committed file back when it ends. `dvc repro` and `dvc exp run` typed by hand find what was
computed in DVC's run cache, and leave dvc.lock as DVC always does.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lnm.errors import UserError
from lnm.files import whole


@contextmanager
def kept(root: Path) -> Iterator[None]:
    """For the time of a run: dvc.lock holds what Git has and what this working copy's last run gave.

    Where dvc.lock is not as Git has it, or there is no Git, it is somebody's own and nothing is done.
    Raises UserError if another run is going on here.
    """
    build = root / "build"
    build.mkdir(exist_ok=True)
    lock = FileLock(build / "repro.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError("another `lnm repro` is running here; wait for it or stop it") from None
    with lock:
        unlock(root)
        committed = _committed(root)
        running = build / "dvc.lock.running"  # left behind by a run that was killed: what is there is that run's
        if committed is None or not (running.exists() or (root / "dvc.lock").read_bytes() == committed):
            yield
            return
        if not (running.exists() and _sound(root / "dvc.lock", committed)):
            running.touch()
            _put(root / "dvc.lock", _merged(committed, build / "dvc.lock"))
        try:
            yield
        finally:
            _put(build / "dvc.lock", (root / "dvc.lock").read_bytes())
            _put(root / "dvc.lock", committed)
            running.unlink(missing_ok=True)


def unlock(root: Path) -> None:
    """Removes the file of DVC's locks where it is empty or cut off: dvc was killed while it wrote it, and would not
    start. It names processes, and none of them runs any more."""
    path = root / ".dvc" / "tmp" / "rwlock"
    if torn(path):
        path.unlink()


def torn(path: Path) -> bool:
    """Whether a file of DVC's locks is there and was not written to its end."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return False


def _sound(path: Path, committed: bytes) -> bool:
    """Whether a run's dvc.lock, which dvc does not write whole or not at all, was written to its end, by what can be
    seen: it ends with a line, has what Git has, and every stage has what it lists. What a cut between two items of a
    list loses, DVC's run cache gives again."""
    from ruamel.yaml import YAML, YAMLError

    text, yaml = path.read_bytes(), YAML(typ="safe", pure=True)
    try:
        found = yaml.load(text)
    except YAMLError:
        return False
    shared = (yaml.load(committed) or {}).get("stages", {})
    stages = found.get("stages") if isinstance(found, dict) else None
    return text.endswith(b"\n") and isinstance(stages, dict) and all(
        isinstance(stage, dict) and "cmd" in stage and None not in stage.values()
        and None not in (stage.get("params") or {}).values() for stage in stages.values()) and all(
        stages.get(name) == stage for name, stage in shared.items())


def _committed(root: Path) -> bytes | None:
    """dvc.lock as Git has it; None where Git, or the file in it, is not to be had."""
    if not (root / "dvc.lock").is_file() or not shutil.which("git"):
        return None
    run = subprocess.run(["git", "show", ":./dvc.lock"], cwd=root, capture_output=True)
    return run.stdout if run.returncode == 0 else None


def _merged(committed: bytes, record: Path) -> bytes:
    """The record of the last run, with what Git has in place of its own."""
    if not record.is_file():
        return committed
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    shared, own = yaml.load(committed) or {}, yaml.load(record.read_bytes()) or {}
    stages = {**own.get("stages", {}), **shared.get("stages", {})}
    out = io.BytesIO()
    yaml.dump({"schema": shared.get("schema", "2.0"), "stages": stages}, out)
    return out.getvalue()


def _put(path: Path, data: bytes) -> None:
    with whole(path) as part:
        part.write_bytes(data)
