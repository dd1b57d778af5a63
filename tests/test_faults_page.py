"""docs/troubleshooting.md: the tests that its table of faults names are there, its kills are those that were made."""

import ast
import json
import re

import fault_table
from conftest import REPOSITORY
from faults import PLAIN, STAGES, VICTIMS

PAGE = fault_table.PAGE.read_text(encoding="utf-8")
MEASURED = json.loads(fault_table.RESULTS.read_text(encoding="utf-8"))


def rows():
    """(what is injected, what happens, the tests' names) of the table's lines."""
    table = PAGE[PAGE.index("## What was injected"):PAGE.index("Not covered")]
    return [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")][2:]


def test_every_fault_names_tests_that_are_there():
    assert len(rows()) >= 14
    for injected, _, tests in rows():
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", tests)
        assert named, injected
        for file, name in named:
            tree = ast.parse((REPOSITORY / "tests" / file).read_text(encoding="utf-8"))
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"


def test_the_table_of_kills_is_of_the_committed_numbers():
    assert f"{fault_table.BEGIN}{fault_table.table(MEASURED['rows'])}{fault_table.END}" in PAGE


def test_every_stage_was_killed_every_way_and_survived():
    kills = MEASURED["rows"]
    assert not [row for row in kills if row["failed"]] and len(kills) >= 4 * len(STAGES)
    for stage in STAGES:
        ways = {row["victim"] for row in kills if row["stage"] == stage}
        assert ways == set(VICTIMS) - ({"kernel"} if stage in PLAIN else set()), stage
    assert {row["shell"] for row in kills} == set(fault_table.SHELLS)
    for row in kills:
        for whole, before, after in row["work"].values():
            assert before + after == whole


def test_a_kill_is_drawn_by_the_seed_and_is_one_that_can_be():
    events = {"kernel": ["a"] * 9, "command": ["b"] * 3, "dvc": ["c"] * 5}
    for stage in STAGES:
        one = events | ({"kernel": []} if stage in PLAIN else {})
        kills = [fault_table.drawn(stage, k, 0, one) for k in range(40)]
        assert kills == [fault_table.drawn(stage, k, 0, one) for k in range(40)]
        assert kills != [fault_table.drawn(stage, k, 1, one) for k in range(40)]
        for victim, who, event, _ in kills:
            assert who in VICTIMS[victim] and 1 <= event <= len(one[who])
        assert {victim for victim, *_ in kills} == set(VICTIMS) - ({"kernel"} if stage in PLAIN else set())


def test_a_kill_that_was_not_survived_is_said():
    row = {"stage": "sample@drift", "victim": "dvc", "who": "kernel", "event": 3, "events": 9, "at": "", "shell": "sh",
           "work": {"films": [6, 2, 4]}, "cached": False, "failed": ""}
    said = fault_table.table([row, row | {"failed": "other: ['films.json']", "work": {}}])
    assert "| `sample` | 2, 0, 0, 0 | 1 of 2 | goes on: of 6 films 2 were kept" in said and "| 1 of 2 | |" in said
