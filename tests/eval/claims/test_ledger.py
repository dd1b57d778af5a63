"""The ledger of the paper's claims: whole, quoted, computed and not typed; verdicts follow from what is computed."""

import hashlib
import json
import os
import re
from pathlib import Path

import pytest
from conftest import REPOSITORY
from run_left import LEDGER, row

from eval.claims import ledger as claims
from eval.claims.finding import CONTRADICTS, DIFFERS, IMPLEMENTED, INCOMPARABLE, RESULT, SET, VERDICTS, Finding
from eval.claims.ledger import Claim, Range
from eval.claims.text import numbers
from lnm.cli import main as command

START = "eval.claims.settings:reference_frames"
SELF_CONTRADICTORY = {
    "clip_score_around", "clip_score_compared", "clip_score_scale", "fid_best_sample", "preference_told_twice",
    "realism_told_twice", "realism_sum",
}


def claim(**changes):
    """A claim whose function, `constant`, gives 5."""
    return Claim.model_validate({
        "id": "five", "kind": "setting", "section": "4", "quote": "five", "definition": "Five.",
        "function": f"{__name__}:constant",
        "notebook": "audit.ipynb#method", "published": 5} | changes)


def constant(value=5):
    return value


def says_nothing():
    return Finding(None, "no frames", INCOMPARABLE, "there are none")


# --- the ledger ----------------------------------------------------------------------------------------------------


def test_it_holds_at_least_25_claims_each_with_words_a_function_and_a_cell():
    assert len(LEDGER) >= 25 and len({one.id for one in LEDGER}) == len(LEDGER)
    for one in LEDGER:
        assert callable(claims.resolve(one.function)), one.id
        assert one.kind != "method" or one.function == claims.CHECKED or one.id == "perceptual_compression", one.id
        assert one.function.split(":")[0] in {module.__name__ for module in claims.COMPUTED_IN}, one.id
        assert all(quote.strip() for quote in one.quote) and one.definition.endswith("."), one.id
        notebook, _, cell = one.notebook.partition("#")
        cells = json.loads((REPOSITORY / "notebooks" / notebook).read_text(encoding="utf-8"))["cells"]
        assert cell in {c["id"] for c in cells if c["cell_type"] == "code"}, f"{one.id}: no cell {cell} in {notebook}"


def test_the_readmes_first_screen_has_the_counts_by_kind():
    """Those that hang on a run are the default's; the others are held here."""
    first = " ".join("\n".join((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()[:35]).split())
    said = re.search(r"Of the paper's (\d+) claims .*? (\d+) are implemented as described, (\d+) set as in the paper, "
                     r"\*\*(\d+) results reproduced\*\*, (\d+) differ, (\d+) not comparable here, (\d+) where the "
                     "paper contradicts itself", first)
    whole, *number = map(int, said.groups())
    assert whole == len(LEDGER) == sum(number)
    method = sum(one.kind == "method" for one in LEDGER)
    assert (number[0], number[2], number[5]) == (method, 0, len(SELF_CONTRADICTORY))
    settings = {one.id for one in LEDGER if one.kind == "setting"} - {"table_resolution_cogvideo"}  # no films of it
    assert number[1] + number[3] == len(settings)


def test_a_published_number_stands_in_its_quote():
    for one in LEDGER:
        published = one.published
        if isinstance(published, bool) or not isinstance(published, (int, float)) or published in (0, 1, 100):
            continue  # 0, 1 and 100 stand for "exactly", "all" and "all of them"
        assert published in [number for quote in one.quote for number in numbers(quote)], one.id


def test_the_quotes_are_the_papers_words():
    """The paper's text is not ours to carry: quotes.txt beside this file has the hashes of the quotes that were found
    in it. With LNM_PAPER naming a file of the text, they are looked for again and the hashes written anew."""
    quotes = {" ".join(quote.split()): one.id for one in LEDGER for quote in one.quote}
    hashes = {quote: hashlib.sha256(quote.encode()).hexdigest()[:16] for quote in quotes}
    known = Path(__file__).parent / "quotes.txt"
    if os.environ.get("LNM_PAPER"):
        text = " ".join(Path(os.environ["LNM_PAPER"]).read_text(encoding="utf-8").split())
        assert not {quotes[quote]: quote for quote in quotes if quote not in text}
        known.write_text("\n".join(sorted(hashes.values())) + "\n")
    found = set(known.read_text().split())
    assert not {quotes[quote]: quote for quote, value in hashes.items() if value not in found}, "check with LNM_PAPER"


@pytest.mark.parametrize("old, new, said", [
    ("section:", "secton:", "secton: unknown key; did you mean section?"),
    ("  definition: Five.\n", "", "definition: missing; add it"),
    (START, "eval.claims.settings:frames", "function eval.claims.settings:frames: there is no such function"),
    (START, "eval.nothing:at_all", "function eval.nothing:at_all: there is no such function"),
    (START, "reference_frames", "function: string should match pattern"),
    ("published: 0", "published: 0\n  with: {mask: 1}", f"with: {START} takes no mask"),
    (START, "eval.claims.settings:setting", "with: eval.claims.settings:setting needs key; add it"),
    ("kind: setting", "kind: fact", "kind: input should be 'method', 'setting', 'result' or 'text'"),
    ("tolerance: 0.5", "tolerance: -1", "tolerance: input should be greater than or equal to 0"),
    ("- id: two", "- id: one", "one: the id stands twice; rename one"),
    ("- id: two", "- id two", "line"),
    ("- id: one\n", "a: b\n", "claims.yaml"),
])
def test_a_malformed_ledger_is_one_line_and_exit_2(ledger, capsys, old, new, said):
    one = (f"- id: {{}}\n  kind: setting\n  section: 4\n  quote: five\n  definition: Five.\n  function: {START}\n"
           "  notebook: audit.ipynb#method\n  published: 0\n  tolerance: 0.5\n").replace("section: 4", 'section: "4"')
    text = one.format("one") + one.format("two")
    assert old in text
    (ledger / "claims.yaml").write_text(text.replace(old, new, 1))
    assert command(["claims", "--results", str(ledger)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: claims.yaml") and said in error and error.count("\n") == 1
    assert not (ledger / "paper").exists()


def test_a_missing_ledger_settings_file_or_folder_is_one_line(ledger, capsys):
    assert command(["claims", "--results", "nowhere"]) == 2
    assert command(["claims", "--params", "none.yaml"]) == 2
    (ledger / "claims.yaml").unlink()
    assert command(["claims"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("error: ") for line in lines)
    assert "nowhere" in lines[0] and "none.yaml" in lines[1] and "claims.yaml" in lines[2]


# --- the verdict ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("published, value, tolerance, fits", [
    (5, 5, 0, True), (5, 5.4, 0.5, True), (5, 5.6, 0.5, False), (0.7597, 0.75972, 5e-5, True), (3e-5, 1e-4, 0, False),
    (Range(low=1800, high=3600), "auto", 0, False), (Range(low=1800, high=3600), None, 0, False),
    (Range(low=0, high=3600), True, 0, False),
    (Range(low=1800, high=3600), 1800, 0, True), (Range(low=1800, high=3600), 600, 0, False),
    (True, True, 0, True), (True, False, 0, False), (True, 1, 0, False), (1, True, 1, False),
    ("linear", "linear", 0, True), ("linear", "scaled_linear", 9, False), ([3, 1, 1], [3, 1, 1], 0, True),
    ([3, 1, 1], [1, 3, 3], 0, False), (5, (5, 5), 0, True), (5, (5, 6), 0, False), (5, (), 0, False),
    (5, None, 9, False), (5, "five", 9, False),
])
def test_a_value_within_the_tolerance_fits_and_any_other_does_not(published, value, tolerance, fits):
    assert claims.within(published, value, tolerance) is fits


@pytest.mark.parametrize("changes, verdict", [
    ({}, SET), ({"kind": "method"}, IMPLEMENTED), ({"kind": "result"}, RESULT), ({"kind": "text"}, INCOMPARABLE),
    ({"published": 6}, DIFFERS), ({"published": 6, "tolerance": 1}, SET), ({"with": {"value": 6}}, DIFFERS),
    ({"kind": "result", "published": 6}, DIFFERS), ({"function": f"{__name__}:says_nothing"}, INCOMPARABLE),
    ({"reading": {"verdict": CONTRADICTS, "why": "words"}}, CONTRADICTS),
])
def test_the_verdict_follows_from_what_the_function_gives_and_what_the_claim_is_about(changes, verdict):
    found = claims.judge(claim(**changes), run=None)
    assert found["verdict"] == verdict and ("by reading: words" in found["reason"]) == ("reading" in changes)


def test_a_verdict_that_hangs_on_no_number_is_a_readers_and_says_so():
    """And only words against words: no method, setting or result is judged by reading."""
    read = {one.id for one in LEDGER if one.reading}
    assert read == {"clip_score_compared", "clip_score_scale", "fid_best_sample"}
    for one in (one for one in LEDGER if one.id in read):
        found = claims.judge(one, run=None)
        assert one.kind == "text" and found["verdict"] == CONTRADICTS and found["reason"].startswith("by reading: ")
        assert claims.judge(one.model_copy(update={"reading": None}), run=None)["verdict"] != CONTRADICTS, (
            "it stood in the function")


def test_the_counts_in_words():
    table = [{"verdict": verdict} for verdict, n in zip(VERDICTS, (12, 4, 0, 1, 14, 6), strict=True) for _ in range(n)]
    assert claims.counts_line(table) == ("12 implemented as described, 4 set as in the paper, 0 results reproduced, "
                                         "1 differs, 14 not comparable here, 6 where the paper contradicts itself")
    assert "1 result reproduced, 0 differ," in claims.counts_line([{"verdict": RESULT}])


def test_what_a_run_says_is_text_in_the_markdown():
    one = dict.fromkeys(claims.COLUMNS, "") | {
        "verdict": SET, "computed": "by <img src=x> **b** | `c`", "reason": "[x](y)"}
    text = claims.markdown([one], ["claims.yaml: <b>: id"])
    assert "<img" not in text and "<b>" not in text and r"[x]\(y)" in text
    assert r"| by &lt;img src=x&gt; \*\*b\*\* \| \`c\` |" in text


def test_a_claim_that_cannot_be_judged_costs_no_other(ledger, capsys):
    text = (ledger / "claims.yaml").read_text()
    broken = text.replace("kind: setting", "kind: fact", 1).replace("- 79% 76% 512x512 0.7597", "- none", 1)
    (ledger / "claims.yaml").write_text(broken)
    out = ledger / "out"
    table = claims.run(ledger / "results", out)
    problems = claims.left_out(out)
    assert len(table) == len(LEDGER) - 2 and len(problems) == 2
    assert "canvas_size: kind" in problems[0] and problems[1].startswith("preference_told_twice: ")
    assert all(f"Left out: {problem}" in (out / "claims.md").read_text() for problem in problems)
    (ledger / "claims.yaml").write_text("nothing: at all")
    assert claims.run(ledger / "results", out) == [] and "should be a list" in claims.left_out(out)[0]
    assert command(["claims"]) == 2 and capsys.readouterr().err.startswith("error: claims.yaml")


# --- the whole, before any run -------------------------------------------------------------------------------------


def test_every_claim_is_computed_and_the_files_hold_what_is_printed(ledger, capsys):
    assert command(["claims", "--json", "mine.json"]) == 0
    written = json.loads((ledger / "results" / "paper" / "claims.json").read_text())
    table = written["claims"]
    assert json.loads((ledger / "mine.json").read_text()) == written
    assert [one["id"] for one in table] == [one.id for one in LEDGER]
    assert {one["id"] for one in table if one["verdict"] == CONTRADICTS} == SELF_CONTRADICTORY
    assert written["problems"] == [] and not written["counts"][RESULT] and not written["counts"][SET]
    assert not [one["id"] for one in table if one["verdict"] == IMPLEMENTED], "of the method nothing was checked here"
    assert {one["reason"] for one in table if one["function"].startswith("tests/conformance")} == {
        "not checked here: run `lnm claims --check`"} | {
        f"not checked here: run `lnm claims --check`; {one.note}" for one in LEDGER
        if one.note and one.kind == "method"}
    assert sum(written["counts"].values()) == len(table)
    shown = capsys.readouterr().out
    assert written["counts_line"] in " ".join(shown.split()) and max(map(len, shown.splitlines())) <= 140
    page = (ledger / "results" / "paper" / "claims.md").read_text()
    assert written["counts_line"] in page and not list(ledger.rglob("*.part"))
    for one in table:
        assert set(claims.COLUMNS) <= set(one) and one["computed"] and one["function"] in page and one["id"] in shown
        assert one["reason"] or one["verdict"] != INCOMPARABLE, one["id"]
    # what was never run is not reproduced, whatever params.paper.yaml promises
    for name in ("training_steps", "canvas_size", "learning_rate", "fid_ours", "table_clipsim_ours"):
        one = next(one for one in table if one["id"] == name)
        assert one["verdict"] == INCOMPARABLE and "not run yet: `make repro`" in one["reason"]
    assert table == claims.run(ledger / "results", ledger / "again"), "the same again"
    again = (ledger / "again" / "claims.json").read_bytes()
    assert again == (ledger / "results" / "paper" / "claims.json").read_bytes()


def test_a_papers_setting_that_is_not_the_papers_is_seen(ledger):
    path = ledger / "params.paper.yaml"
    assert row(ledger, "learning_rate")["verdict"] == INCOMPARABLE
    path.write_text(path.read_text().replace("learning_rate: 3.0e-5", "learning_rate: 3.0e-4"))
    assert row(ledger, "learning_rate")["verdict"] == DIFFERS
