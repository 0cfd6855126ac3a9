"""How often verdicts are wrong: some ledgers in worlds whose effects are known. The benchmark
`worlds.py` has more of them."""

import math

import numpy as np
import pytest
from worlds import Ledger, World, false

LEDGERS = 3


@pytest.mark.parametrize(
    "world",
    [World(), World(collapse=0.1), World(shared=0.5, idle=True), World(effect=3, collapse=0.1)],
    ids=str,
)
def test_a_family_of_claims_is_rarely_wrong(world):
    ledger = Ledger(world, 12)
    families = {family for family, _, _ in ledger.rules}
    wrong, covered = set(), []
    for i in range(LEDGERS):
        judged = ledger.judged(np.random.default_rng(i), 12)
        for one, (family, rule, truth) in zip(judged, ledger.rules, strict=True):
            if false(rule, truth, one.verdict, one.how):
                wrong.add((i, family))
            if hasattr(rule, "margin") and one.finding.n:
                covered.append(one.finding.low <= truth.mean() <= one.finding.high)
    # The first two of four looks may spend less than a half of a hundredth.
    assert len(wrong) <= 1, wrong
    assert len(families) >= 6
    assert np.mean(covered) > 0.95 - 4 * math.sqrt(0.05 * 0.95 / (LEDGERS * 10))


def test_large_effects_are_found():
    ledger = Ledger(World(effect=12), 24)
    judged = ledger.judged(np.random.default_rng(0), 24)
    decided = [one for one in judged if one.verdict != "inconclusive"]
    assert len(decided) > len(judged) / 2
    pairs = zip(judged, ledger.rules, strict=True)
    assert not any(false(rule, truth, one.verdict, one.how) for one, (_, rule, truth) in pairs)
