"""The ledger's rows that the ablations answer: not run, not told apart, told apart, and of which checkpoint."""

import re

import pytest
from conftest import REPOSITORY
from run_left import LEDGER, MINE, SD

from eval.claims import ledger as claims
from eval.claims.finding import DIFFERS, INCOMPARABLE, RESULT
from eval.claims.measurements import tried
from lnm.ablations.arms import ARMS
from lnm.files import write_json

TRIED = {one.id: one for one in LEDGER if claims.resolve(one.function) is tried}


def arm(loss, p, value="", base=0.100):
    seeds = [loss - 0.001, loss + 0.001]
    return {"value": value, "values": {"loss": seeds}, "compared": {"loss": {"difference": loss - base, "p": p}}}


def rows(project, checkpoint=MINE, **arms):
    if arms:
        write_json(project / "results" / "ablations" / "ablations.json", {
            "checkpoint": checkpoint, "steps": 60, "arms": {"base": arm(0.100, None)} | arms})
    found = claims.rows(project / "results", ids=sorted(TRIED))
    return {one["id"]: one for one in found}


def test_without_ablations_or_without_their_arms_nothing_is_compared(ledger):
    for found, why in ((rows(ledger), "the ablations are not trained: `make ablations`"),
                       (rows(ledger, adamw=arm(0.2, 0.001)), "the arms adamw_faster are not trained")):
        assert found["lion_performs"]["verdict"] == INCOMPARABLE and why in found["lion_performs"]["reason"]
        assert found["lion_performs"]["computed"] == "not run yet"


@pytest.mark.parametrize("checkpoint, same, faster, verdict, said", [
    (MINE, (0.2, 0.001), (0.3, 0.001), INCOMPARABLE, f"of {MINE}, not Stable Diffusion"),
    (SD, (0.2, 0.001), (0.3, 0.001), RESULT, "60 steps of one clip, 2 seeds"),
    (SD, (0.2, 0.001), (0.05, 0.001), DIFFERS, "60 steps"),
    (SD, (0.2, 0.001), (0.11, 0.8), DIFFERS, "60 steps"),
    (SD, (0.11, 0.7), (0.11, 0.8), INCOMPARABLE, "no difference larger than between seeds"),
])
def test_lion_does_better_where_it_has_less_loss_than_adamw_at_either_rate(ledger, checkpoint, same, faster, verdict,
                                                                          said):
    found = rows(ledger, checkpoint, adamw=arm(*same, "AdamW"), adamw_faster=arm(*faster, "AdamW, faster"))
    one = found["lion_performs"]
    assert one["verdict"] == verdict and said in one["reason"], one
    assert one["computed"].startswith(f"base 0.1000; AdamW {same[0]:.4f}, p = {same[1]:.2g}; AdamW, faster ")


def test_the_cosine_schedule_is_told_and_never_judged(ledger):
    found = rows(ledger, SD, cosine=arm(0.2, 0.001, "cosine"), linear=arm(0.1, 0.9, "linear"))["cosine_schedule"]
    assert found["verdict"] == INCOMPARABLE and found["published"] == "not given"
    assert found["computed"] == "base 0.1000; cosine 0.2000, p = 0.001; linear 0.1000, p = 0.9"
    assert "the paper gives no number of it" in found["reason"]
    assert "the checkpoint's frozen layers know its own schedule alone" in found["reason"]


@pytest.mark.parametrize("claim, without, value", [
    ("attention_accelerates", "no_attention", "off"), ("fps_helps", "no_fps", "off")])
@pytest.mark.parametrize("checkpoint, loss, p, verdict", [
    (MINE, 0.2, 0.001, INCOMPARABLE), (SD, 0.2, 0.001, RESULT), (SD, 0.05, 0.001, DIFFERS),
    (SD, 0.101, 0.8, INCOMPARABLE)])
def test_what_the_paper_says_a_part_is_good_for_holds_where_the_loss_is_more_without_it(
        ledger, claim, without, value, checkpoint, loss, p, verdict):
    one = rows(ledger, checkpoint, **{without: arm(loss, p, value)})[claim]
    assert one["verdict"] == verdict and one["computed"] == f"base 0.1000; {value} {loss:.4f}, p = {p:.2g}", one


def test_the_page_of_the_ablations_names_the_choices_that_are_in_the_ledger_and_their_arms():
    page = (REPOSITORY / "docs" / "ablations.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(\w+)` \| .*? \| (`[^|]+`) \| ", page, re.M))
    assert {claim: re.findall(r"`(\w+)`", arms) for claim, arms in told.items()} == {
        claim: one.arguments["arms"] for claim, one in TRIED.items()}
    assert {arm for one in TRIED.values() for arm in one.arguments["arms"]} <= set(ARMS)
