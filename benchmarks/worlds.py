"""How often verdicts are wrong, and how often they come: the whole ledger of claims, judged in
worlds whose effects are known.

    python benchmarks/worlds.py              # about half an hour; writes benchmarks/results/
    python benchmarks/worlds.py --ledgers 20 # a trial

Each world is drawn many times. A family's false decision is one or more in it, at any look up to
the one named: it should happen in 5% at most. Coverage is that of the 95% interval of each rule,
with a number of seeds that is fixed beforehand; beside it, as it was in the first judgement, that
of an interval in which a failed run counts as one that guesses.
"""

import argparse
import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from record import ROOT, record

sys.path.insert(0, str(ROOT / "tests" / "unit"))

from worlds import Ledger, World, false

from clipgrid.judging import statistics
from clipgrid.judging.findings import find
from clipgrid.judging.rules import Paired
from clipgrid.judging.strata import Lookup

LOOKS = (6, 12, 24, 48)
WORLDS = {
    "no effect": World(),
    "small effect (1 point)": World(effect=1),
    "medium effect (3 points)": World(effect=3),
    "large effect (8 points)": World(effect=8),
    "no effect, collapse 0.05": World(collapse=0.05),
    "no effect, collapse 0.1": World(collapse=0.1),
    "no effect, collapse 0.5": World(collapse=0.5),
    "medium effect, collapse 0.1": World(effect=3, collapse=0.1),
    "no effect, strata of a seed correlated 0.5": World(shared=0.5),
    "no effect, idle arms": World(idle=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ledgers", type=int, default=200, help="how often each world is drawn")
    ledgers = parser.parse_args().ledgers
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(judged, WORLDS.values(), [ledgers] * len(WORLDS)))
    figures = {"ledgers": ledgers, "looks": LOOKS, **dict(zip(WORLDS, found, strict=True))}
    record("worlds", figures, f"python benchmarks/worlds.py --ledgers {ledgers}", ("scipy",))


def judged(world: World, ledgers: int) -> dict:
    """The shares of a world."""
    ledger = Ledger(world, LOOKS[-1])
    wrong: dict[tuple[str, int], set[int]] = defaultdict(set)  # family, look: ledgers
    decided = np.zeros(len(LOOKS))
    covered: dict[str, list[bool]] = defaultdict(list)
    for i in range(ledgers):
        draws = np.random.default_rng(i)
        for one, (family, rule, truth) in zip(
            ledger.judged(draws, LOOKS[-1]), ledger.rules, strict=True
        ):
            if one.verdict == "inconclusive" or one.look is None:
                continue
            decided[one.look - 1 :] += 1
            if false(rule, truth, one.verdict, one.how):
                for k in range(one.look, len(LOOKS) + 1):
                    wrong[family, k].add(i)
        cover(ledger, covered)
        print(f"{world}: {i + 1} of {ledgers}", file=sys.stderr)
    families = sorted({family for family, _, _ in ledger.rules})
    return {
        "false_decisions": {
            family: [round(len(wrong[family, k]) / ledgers, 3) for k in (1, 2, 3, 4)]
            for family in families
        },
        "decided": [round(n / ledgers / len(ledger.rules), 3) for n in decided],
        "coverage": {name: round(float(np.mean(each)), 3) for name, each in covered.items()},
    }


def cover(ledger: Ledger, covered: dict[str, list[bool]]) -> None:
    """Whether the intervals hold the true means, of a ledger that has been drawn."""
    for n in LOOKS[:2]:
        seeds = ledger.evidence.study.values("seeds")[:n]
        lookup = Lookup(ledger.evidence, ledger.file.usual.words, seeds)
        for _, rule, truth in ledger.rules:
            if not isinstance(rule, Paired):
                continue
            found = find(lookup, rule)
            if found.n:
                covered[f"{n} seeds"].append(found.low <= truth.mean() <= found.high)
            if (
                rule.measure.endswith("_accuracy")
                and not rule.gain
                and rule.learning_rate == "each"
            ):
                pairs = lookup.pairs(rule)
                guessing = [
                    [
                        ledger.evidence.measure(rule.measure, s.arm[str(k)])
                        - ledger.evidence.measure(rule.measure, s.baseline[str(k)])
                        for k in seeds
                    ]
                    for s in pairs
                ]
                before = statistics.paired_t(np.mean(guessing, axis=0))
                covered[f"{n} seeds, failed runs guess"].append(
                    before.low <= truth.mean() <= before.high
                )


if __name__ == "__main__":
    main()
