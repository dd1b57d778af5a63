"""What pyproject.toml cannot say: lnm-mini's weights go into the wheel, and nothing of an earlier build does."""

import shutil
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build import build
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent


class Build(build):
    """In a folder of its own: build/ is the pipeline's, and modules of an earlier build would travel along."""

    def initialize_options(self) -> None:
        super().initialize_options()
        self.build_base = tempfile.mkdtemp(prefix="latentmovies-")


class BuildPy(build_py):
    """Copies checkpoints/NAME to lnm/demo/weights/NAME, where `lnm.files.builtin` looks."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # the project's own checkpoints/ is in reach
            return
        weights = Path(self.build_lib) / "lnm" / "demo" / "weights"
        weights.mkdir(parents=True, exist_ok=True)
        for name in ("lnm-mini", "lnm-mini-clip", "lnm-mini-motion", "lnm-mini-decoder"):
            source = HERE / "checkpoints" / name
            if source.is_dir():
                shutil.copytree(source, weights / name, dirs_exist_ok=True)
            else:
                print(f"no checkpoints/{name}: the wheel goes without it; `make data` brings it", flush=True)
        shutil.copy(HERE / "checkpoints" / "SHA256SUMS", weights)


setup(cmdclass={"build": Build, "build_py": BuildPy})
