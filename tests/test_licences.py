"""docs/licences.md is what docs/licences.py makes of what is installed, on whichever system that is."""

import platform
import re
import runpy
import sys
from importlib.metadata import PackageNotFoundError, distribution, version

import pytest
from conftest import REPOSITORY
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FIX = "run python docs/licences.py"


@pytest.fixture(scope="module")
def made():
    return runpy.run_path(str(REPOSITORY / "docs" / "licences.py"))


@pytest.fixture(scope="module")
def listed():
    """{canonical name: (as it is written, licence)} of the page."""
    text = (REPOSITORY / "docs" / "licences.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| ([\w.-]+) \| (.+) \| .+ \|$", text)
    return {canonicalize_name(name): (name, said) for name, said in rows if name not in ("package", "---")}


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def anywhere(names) -> set[str]:
    """What these packages need on every system: without a marker."""
    lines = [line for name in names for line in distribution(name).requires or ()]
    return {canonicalize_name(wanted.name) for wanted in map(Requirement, lines) if wanted.marker is None}


def test_the_head_of_the_page_is_the_script_s(made):
    assert (REPOSITORY / "docs" / "licences.md").read_text(encoding="utf-8").startswith(made["HEAD"]), FIX


def test_every_package_that_is_needed_is_listed_and_no_other(made, listed):
    """Of what one system alone needs, a row is asked for where the page is written: Linux on x86-64."""
    needed = set(made["found"]())
    assert (needed & anywhere(needed)) - listed.keys() == set(), FIX
    gone = {name for name in listed.keys() - needed if installed(name)}
    if (sys.platform, platform.machine()) == ("linux", "x86_64"):
        gone = listed.keys() - needed
    assert gone == set(), FIX


def test_what_is_pinned_has_the_licence_that_it_says(made, listed):
    pins = re.findall(r"(?m)^([\w.-]+)==(\S+)", (REPOSITORY / "requirements.txt").read_text(encoding="utf-8"))
    needed = made["found"]()
    same = [canonicalize_name(name) for name, pin in pins if (installed(name) or "").partition("+")[0] == pin]
    assert len(same) > 30, "what is installed is what is pinned"
    for name in same:
        assert listed[name] == (needed[name][0], needed[name][1].replace("|", " or ")), FIX


def test_nothing_that_the_library_needs_is_under_the_gpl(made, listed):
    gpl = {name for name, (_, said) in listed.items() if re.search(r"(?<!L)GPL", said)}
    assert "krippendorff" in gpl and made["found"]()["krippendorff"][2] == {"test"}
    assert not {name for name in gpl if "base" in made["found"]().get(name, ("", "", set()))[2]}, "named in the head"
