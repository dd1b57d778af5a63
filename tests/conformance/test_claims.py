"""Every claim of the method, checked on the code that the pipeline runs: implemented as the paper describes it?"""

import pytest
from conformance.checks import CHECKS
from conftest import REPOSITORY

from eval.claims import ledger

CLAIMS = {claim.arguments["check"]: claim for claim in ledger.read_ledger(REPOSITORY / "claims.yaml")
          if claim.function == ledger.CHECKED}
FACTS = {"layers", "untrained_motion"}  # read by claims of settings and words, which judge them there


def test_the_claims_name_these_checks():
    assert set(CLAIMS) | FACTS == set(CHECKS)


@pytest.mark.parametrize("check", sorted(CHECKS))
def test_it_is_implemented_as_described(check, found):
    finding = CHECKS[check]()
    claim = CLAIMS.get(check)
    passed = claim is None or ledger.within(claim.published, finding.value, claim.tolerance)
    found(check, finding, passed)
    assert passed, f"{claim.id}: {finding.value} where the paper has {claim.published}"
