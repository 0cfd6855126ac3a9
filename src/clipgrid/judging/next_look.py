"""From one look to the next: the claims that are open go on with more seeds, the others don't."""

import json
from pathlib import Path
from typing import Any

from clipgrid import InputError
from clipgrid.judging import claims
from clipgrid.judging.evidence import Evidence
from clipgrid.judging.rules import Contrast, Paired
from clipgrid.judging.strata import Lookup
from clipgrid.judging.verdicts import read_claims
from clipgrid.study import cells, config, cost, further, grid
from clipgrid.study.axes import NAMES
from clipgrid.study.config import Study


def next_look(path: Path, dry_run: bool = False) -> str:
    """Let the open claims of the study in a file go on to their next look; in words, which these
    are and what it takes. With `dry_run` it is only said. InputError where there is none."""
    study = further.extended(config.load(path))
    if not study.looks or not study.claims:
        raise InputError(f"{path}: looks: a study that has none, or no claims, has no next look")
    results = Path(study.results)
    if not (results / "findings.csv").exists():
        raise InputError(f"{results}/findings.csv is missing: take the first look, by snakemake")
    judged = read_claims(results, "findings")
    going_on = judged[
        (judged.verdict == "inconclusive") & (judged.decided_by == "test") & (judged.n > 0)
    ]
    going_on = going_on[going_on.look < len(study.looks)]
    if going_on.empty:
        return "No claim is open that has another look to come."
    look = int(going_on.look.max()) + 1
    file = claims.load(Path(study.claims))
    lookup = Lookup(Evidence(study, results), file.usual.words)
    selections = [
        selection(lookup, file.claims[row.id].rules[row.rule - 1], further.seeds(study, look))
        for row in going_on.itertuples()
    ]
    before: list[Any] = [s.model_dump(mode="json", exclude_none=True) for s in study.further]
    # Those before stay: what they decided rests on them.
    kept = [json.loads(s) for s in dict.fromkeys(map(json.dumps, before + selections))]
    then = study.model_copy(update={"further": [config.Selected.model_validate(s) for s in kept]})
    if not dry_run:
        further.write(study, look, kept)
    return told(study, then, look, sorted(set(going_on.id)), dry_run)


def selection(lookup: Lookup, rule: Contrast, seeds: list[int]) -> dict[str, list[Any]]:
    """The cells that a rule compares, with these seeds, as an experiment would select them."""
    named = {**lookup.usual, **rule.cells.words}
    sides: list[tuple[dict, dict]] = [(rule.arm.words, rule.baseline.words)]
    if isinstance(rule, Paired) and rule.gain:
        sides.append((rule.gain.start.words, rule.gain.end.words))
    for first, second in sides:
        named |= {axis: [*first[axis], *second[axis]] for axis in first}
    words = lookup.words[lookup.find(named)]
    chosen = {axis: list(words[axis].unique()) for axis in NAMES if axis != "seeds"}
    return {**chosen, "seeds": seeds}


def told(study: Study, then: Study, look: int, open_ones: list[str], dry_run: bool) -> str:
    """What comes, and what it takes."""
    assert study.looks
    runs = cells.runs_of(grid.cells(then))
    new = {t: r for t, r in runs.items() if t not in cells.runs_of(grid.cells(study))}
    hours = sum(cost.seconds(t, r, study.data) for t, r in new.items()) / 3600
    steps = sum(readouts[-1].iterations for readouts in new.values())
    would = "would go on" if dry_run else "go on; train them by the command that trained the others"
    return (
        f"Look {look} of {len(study.looks)}, at {study.looks[look - 1]} seeds:"
        f" {len(open_ones)} claims are open and {would}.\n{', '.join(open_ones)}\n"
        f"{len(new):,} runs to train, {steps:,} steps, about {hours:.2g} hours of one"
        f" {study.training.device.upper()} by the estimate of `plan`."
    )
