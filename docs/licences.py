"""Writes docs/licences.md from the metadata of what is installed: python docs/licences.py."""

from __future__ import annotations

import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parent
HEAD = """# Licences of what is used

Written by `python docs/licences.py` from what each installed package says of itself, with all that these need in turn.
This project is under Apache-2.0. Nothing of the packages below is part of it: pip fetches them.

Nothing that the library, the pipeline or the harness imports is under the GPL alone. In the extra `test` stands
`krippendorff` (GPL-3.0-or-later): tests compare our Krippendorff's alpha with it. The alpha itself is a sum of a few
lines in `eval/statistics/agreement.py`, by Krippendorff (2011), so that whoever uses the human study needs no such
package. What else names the GPL comes with DVC, which runs as a program of its own: asyncssh, dulwich and grandalf can
be had under another licence as well, and pygit2's has an exception for linking.

Weights and footage have licences of their own: `lnm footage --list`.
"""
# classifiers and prose, in SPDX's words where they are plain
SAID = {"MIT License": "MIT", "BSD License": "BSD", "Apache Software License": "Apache-2.0", "Apache 2.0": "Apache-2.0",
        "Apache License 2.0": "Apache-2.0", "Apache": "Apache-2.0", "Apache License, Version 2.0": "Apache-2.0",
        "Apache Software License 2.0": "Apache-2.0", "3-Clause BSD License": "BSD-3-Clause",
        "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0", "Python Software Foundation License": "PSF-2.0",
        "ISC License (ISCL)": "ISC", "The Unlicense (Unlicense)": "Unlicense"}


def licence(package: Distribution) -> str:
    """What a package says its licence is, in a few words."""
    about = package.metadata
    classified = [line.split(" :: ")[-1] for line in about.get_all("Classifier") or ()
                  if line.startswith("License :: ") and not line.endswith("OSI Approved")]
    said = about.get("License-Expression") or ""
    written = (about.get("License") or "").strip().splitlines()
    if not said and written and written[0] != "UNKNOWN" and len(written[0]) <= 40:
        said = written[0]
    if not said and classified:
        said = ", ".join(SAID.get(name, name) for name in classified)
    return SAID.get(said, said) or "see the package"


def found() -> dict[str, tuple[str, str, set[str]]]:
    """name -> (as it is written, licence, by what it came: the base or an extra's name), needs of needs included."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {"base": project["dependencies"], **project["optional-dependencies"]}
    packages: dict[str, tuple[str, str, set[str]]] = {}
    for part, lines in extras.items():
        todo = [] if part == "all" else [Requirement(line) for line in lines]
        seen: set[str] = set()
        while todo:
            wanted = todo.pop()
            name = canonicalize_name(wanted.name)
            if name in seen or wanted.marker and not any(wanted.marker.evaluate({"extra": extra})
                                                         for extra in (wanted.extras or {""})):
                continue
            seen.add(name)
            try:
                package = distribution(wanted.name)
            except PackageNotFoundError:  # of another system
                continue
            packages.setdefault(name, (package.metadata["Name"], licence(package), set()))[2].add(part)
            todo += [Requirement(line) for line in package.requires or () if "extra ==" not in line]
    return packages


def page() -> str:
    """The page: a row a package."""
    rows = []
    for _, (name, said, parts) in sorted(found().items()):
        needed = "base" if "base" in parts else ", ".join(sorted(parts))
        rows.append(f"| {name} | {said.replace('|', ' or ')} | {needed} |")
    lines = "\n".join(rows)
    return f"{HEAD}\n| package | licence | needed by |\n| --- | --- | --- |\n{lines}\n"


if __name__ == "__main__":
    (HERE / "licences.md").write_text(page(), encoding="utf-8")
