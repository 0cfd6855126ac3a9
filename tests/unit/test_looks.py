"""From look to look: open claims go on with more seeds, what is decided doesn't, and nothing that
was fixed may change in between."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from bench import Bench, clipped_at_1

from clipgrid import InputError
from clipgrid.judging import claims as claims_file
from clipgrid.judging import next_look, sums, verdicts
from clipgrid.judging.evidence import Evidence
from clipgrid.study import config as study
from clipgrid.study import further, grid
from clipgrid.study.faults import StudyError

NOISE = np.random.default_rng(0).normal(size=100)
SEEDS = [7, 8, 9, 10]


def effect(large, small=0.0):
    """λ = 1 is better by so many points with AlexNet; λ = 10, by the second number."""

    def measured(cell):
        seed, threshold = cell.trajectory.seed, cell.trajectory.clip.threshold
        gain = {1: large + 0.05 * NOISE[seed], 10: small + 3 * NOISE[seed + 40]}.get(threshold, 0)
        return {"test_accuracy": 0.5 + gain / 100}

    return measured


def rule(threshold, **keys):
    return {
        **{"statistic": "paired t", "measure": "test_accuracy", "claim": "higher"},
        **{"margin": "1 points", "arm": {"clips": [threshold]}, "baseline": {"clips": ["inf"]}},
        **keys,
    }


@pytest.fixture
def bench(config, tmp_path):
    return Bench(config, tmp_path)


def taken(bench, measured, further=(), looks=(4, 8, 16), **rules):
    """The study and its verdicts as they lie in the results, with `further` cells."""
    rules = rules or {"Q1": rule(1), "Q2": rule(10)}
    keys = {"seeds": SEEDS, "looks": list(looks), "further": list(further)}
    evidence = bench.study(measured, **keys)
    table = bench.judge(evidence, **rules)
    path = evidence.results / "config.yaml"
    config = json.loads((evidence.results / "study.json").read_text())
    del config["further"]
    config |= {"results": str(evidence.results), "claims": str(bench.folder / "claims.yaml")}
    path.write_text(yaml.safe_dump(config))
    bench.findings.to_csv(evidence.results / "findings.csv", index=False)
    sums.seal(evidence.results, {}, sums.JUDGED)
    return path, evidence, table


def test_open_claims_go_on_and_decided_ones_do_not(bench):
    path, _, table = taken(bench, effect(50))
    assert table.verdict.tolist() == ["supported", "inconclusive"]
    assert table.look.tolist() == [1, 1]
    said = next_look.next_look(path)
    assert "Look 2 of 3, at 8 seeds: 1 claims are open" in said
    assert "8 runs to train" in said  # four seeds of two arms
    s = further.extended(study.load(path))
    new = {cell for cell in grid.cells(s) if cell.trajectory.seed not in SEEDS}
    assert {c.trajectory.clip.word for c in new} == {"10", "inf"}
    assert {c.trajectory.seed for c in new} == {11, 12, 13, 14}
    assert grid.members(s)[min(new, key=lambda c: c.name)] == ["x"]


def test_a_claim_that_went_on_is_judged_at_its_new_look_and_the_others_stay(bench):
    path, _, _ = taken(bench, effect(50, small=12))
    next_look.next_look(path)
    more = json.loads(further.file(study.load(path)).read_text())["further"]
    _, evidence, table = taken(bench, effect(50, small=12), more)
    assert table.verdict.tolist() == ["supported", "supported"]
    assert (table.look.tolist(), table.n.tolist()) == ([1, 2], [4, 8])
    assert set(evidence.cells.groupby("threshold").seed.nunique()) == {4, 8}


def test_a_dry_run_writes_nothing(bench):
    path, _, _ = taken(bench, effect(50))
    assert "would go on" in next_look.next_look(path, dry_run=True)
    assert not further.file(study.load(path)).exists()


def test_where_all_is_decided_there_is_no_next_look(bench):
    path, _, table = taken(bench, effect(50), Q1=rule(1))
    assert table.verdict.tolist() == ["supported"]
    assert next_look.next_look(path) == "No claim is open that has another look to come."
    path, _, _ = taken(bench, effect(50), looks=[4], Q1=rule(10))
    assert next_look.next_look(path) == "No claim is open that has another look to come."


def test_a_study_without_looks_or_verdicts_has_no_next_look(bench):
    path, evidence, _ = taken(bench, effect(50))
    (evidence.results / "findings.csv").unlink()
    with pytest.raises(InputError, match="take the first look"):
        next_look.next_look(path)
    config = yaml.safe_load(path.read_text())
    del config["looks"]
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match="looks: a study that has none"):
        next_look.next_look(path)


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("looks", lambda path, c: {**c, "looks": [4, 6, 8]}),
        ("looks", lambda path, c: {k: v for k, v in c.items() if k != "looks"}),
        ("claims", lambda path, c: {k: v for k, v in c.items() if k != "claims"}),
        ("seeds", lambda path, c: {**c, "seeds": [1, 2, 3, 4]}),
        ("claims", lambda path, c: (path.parent.parent / "claims.yaml").open("a").write("#") and c),
    ],
)
def test_what_was_fixed_at_the_first_look_cannot_be_changed_after_it(bench, key, change):
    path, _, _ = taken(bench, effect(50))
    further.freeze(study.load(path))  # as `judge` does: no next look is needed
    path.write_text(yaml.safe_dump(change(path, yaml.safe_load(path.read_text()))))
    with pytest.raises(StudyError, match=f"{key}: not as they were at the first look") as error:
        further.extended(study.load(path))
    assert "seeds that nobody has seen" in str(error.value)


def test_what_is_fixed_is_kept_at_the_first_look_and_not_again(bench):
    path, _, _ = taken(bench, effect(50))
    s = study.load(path)
    further.freeze(s)
    next_look.next_look(path)
    before = further.file(s).read_text()
    further.freeze(s)
    assert further.file(s).read_text() == before
    assert json.loads(before)["look"] == 2


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"look": 1}', '{"look": 2, "stamp": {}, "further": [{"nets": [1]}]}']
)
def test_a_torn_file_of_looks_is_one_error_that_says_what_to_do(bench, text):
    path, _, _ = taken(bench, effect(50))
    further.file(study.load(path)).write_text(text)
    with pytest.raises(StudyError, match=r"look\.json: can't be read \(\w+\): delete it"):
        further.extended(study.load(path))


@pytest.mark.parametrize("looks", [[4, 4], [8, 4], [], [3, 6]])
def test_looks_grow_from_the_number_of_seeds_on(config, looks):
    with pytest.raises(StudyError, match=r"looks: must grow from the number of seeds on"):
        study.parse(config | {"seeds": SEEDS, "looks": looks})


def test_seeds_that_were_seen_before_the_rules_were_fixed_confirm_nothing(bench, tmp_path):
    evidence = bench.study(effect(50), seeds=[0, 1, *SEEDS])
    bench.judge(evidence, Q1=rule(1))
    path = tmp_path / "claims.yaml"
    text = yaml.safe_load(path.read_text())
    for seen, n in (([0, 1], 4), ([0, 1, *SEEDS], 0)):
        text["frozen"] = {"date": "2026-11-24", "seen": {"digits": seen}}
        path.write_text(yaml.safe_dump(text))
        [found] = verdicts.judge(claims_file.load(path), evidence)[0].itertuples()
        assert found.n == n
    assert (found.verdict, "confirm nothing" in found.reason) == ("inconclusive", True)


def test_families_are_found_among_the_cells_of_some_seeds(bench):
    models = {"alexnet": {"width": 0.125}, "vgg11": {"width": 0.125}}
    evidence = bench.study(effect(5), models=models, seeds=SEEDS)
    found = next_look.Lookup(evidence, {}, [8, 10]).cells({"models": ["vgg"]})
    assert {(row.model, row.seed) for row in found} == {("vgg11", 8), ("vgg11", 10)}


def test_a_look_is_taken_only_by_claims_whose_cells_have_come_to_it(bench):
    """One arm has eight seeds, the other four: the claim stays at its first look."""
    more = [{"clips": [10], "seeds": list(range(7, 15))}]
    _, _, table = taken(bench, effect(0.5), more)
    assert table.look.tolist() == [1, 1]


def test_the_mixed_model_is_the_paired_mean_where_the_design_is_balanced(bench):
    def measured(cell):
        seed, net = cell.trajectory.seed, cell.trajectory.model.name
        gain = {"alexnet": 2.0, "vgg11": 4.0}[net] + NOISE[seed]
        gain += 0.3 * NOISE[seed + 20 * (net == "vgg11")]
        return {"test_accuracy": 0.5 + gain / 100 * clipped_at_1(cell)}

    models = {"alexnet": {"width": 0.125}, "vgg11": {"width": 0.125}}
    found = bench.verdict(bench.study(measured, models=models, seeds=list(range(12))), rule(1))
    assert found.model_effect == pytest.approx(found.effect, abs=1e-4)
    assert found.model_low < found.low  # other nets may differ more than these two
    assert 0 <= found.model_inside <= 1
    alone = bench.verdict(bench.study(effect(5)), rule(1))
    assert pd.isna(alone.model_effect)


def test_the_cells_of_a_gain_go_on_at_both_ends(bench):
    evidence = bench.study(effect(50), iterations=[10, 20])
    gain = rule(1, gain={"start": {"iterations": [10]}, "end": {"iterations": [20]}})
    bench.judge(evidence, Q1=gain)
    lookup = next_look.Lookup(Evidence(evidence.study, evidence.results), {})
    file = claims_file.load(bench.folder / "claims.yaml")
    chosen = next_look.selection(lookup, file.claims["Q1"].rules[0], [1, 2])
    assert (chosen["clips"], chosen["iterations"]) == (["1", "inf"], ["10", "20"])
    assert chosen["seeds"] == [1, 2]
