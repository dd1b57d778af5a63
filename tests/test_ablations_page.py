"""docs/ablations.md shows the committed measurement and no other."""

import json

from conftest import REPOSITORY

from eval.records.ablations import markdown, sentence
from lnm.ablations.arms import ARMS

TABLE = json.loads((REPOSITORY / "benchmarks" / "results" / "ablations.json").read_text(encoding="utf-8"))
PAGE = (REPOSITORY / "docs" / "ablations.md").read_text(encoding="utf-8")


def test_the_page_has_the_table_and_the_sentences_of_the_committed_numbers():
    assert PAGE.endswith(markdown(TABLE))
    assert TABLE["sentences"] == {arm: sentence(TABLE["arms"], arm) for arm in TABLE["arms"] if ARMS[arm].against}


def test_the_page_names_every_arm():
    assert not [arm for arm in ARMS if arm != "base" and f"`{arm}`" not in PAGE]


def test_the_figure_is_small():
    assert (REPOSITORY / "docs" / "ablations.png").stat().st_size < 150_000
