"""The rules for λ of studies/which-lambda, and how they are scored, on tasks that are made up."""

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clipgrid.judging.pilots import FOUND

FOLDER = Path(__file__).parents[2] / "studies" / "which-lambda"


def module(name):
    spec = importlib.util.spec_from_file_location(f"which_lambda_{name}", FOLDER / f"{name}.py")
    made = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


rules = module("candidates")
CLIPS = ("0.1", "0.3", "1", "3", "10", "inf", "autoclip10", "agc0.01")


def task(accuracy, seeds=(0, 1, 2), norm=2.0):
    """All runs of a task whose accuracies, in percent, are `accuracy(rate, clip, seed)`; below 20
    is a failure. Norms go from 0 to twice `norm`."""

    def run(rate, clip, seed):
        found = accuracy(rate, clip, seed)
        limit = float(clip) if clip[0].isdigit() else np.inf
        norms = np.linspace(0, 2 * norm, 101)
        share = float((norms > limit).mean())
        return rules.Run(rate, clip, found, found, found < 20, share, norms)

    return {
        seed: {(rate, clip): run(rate, clip, seed) for rate in range(7) for clip in CLIPS}
        for seed in seeds
    }


def bench(runs):
    return rules.Bench(runs[0], np.random.default_rng(0))


@pytest.mark.parametrize("name", rules.RULES)
@pytest.mark.parametrize("draw", range(5))
def test_each_rule_keeps_to_the_budget_and_chooses_what_is_there(name, draw):
    random = np.random.default_rng(draw)
    table = random.uniform(0, 100, (7, len(CLIPS)))
    made = bench(task(lambda rate, clip, seed: table[rate, CLIPS.index(clip)]))
    choice = rules.RULES[name][1](made)
    assert choice in made.runs
    assert 3 <= len(made.tried) <= rules.BUDGET
    with pytest.raises(ValueError, match="more than 7 trainings"):
        for place in made.runs:
            made.train(*place)


@pytest.mark.parametrize("last", range(-1, 7))
def test_the_pilot_is_the_largest_rate_that_trains_and_takes_three_trainings(last):
    made = bench(task(lambda rate, clip, seed: 90 if rate <= last else 10))
    assert made.pilot().rate == max(0, last)
    assert len(made.tried) == 3


@pytest.mark.parametrize(("q", "limit"), [(10, "0.3"), (50, "3"), (90, "3"), (99, "3"), (1, "0.1")])
def test_a_percentile_is_rounded_to_the_grid(q, limit):
    made = bench(task(lambda *_: 90))
    assert made.limit(made.runs[0, "inf"], q) == limit  # of norms from 0 to 4
    assert made.limit(replace(made.runs[0, "inf"], norms=np.array([])), q) == "inf"


def test_what_clipping_saves_is_found_by_percentile_and_not_without():
    """Without clipping the two largest rates fail; with λ = 3 the largest is the best."""

    def accuracy(rate, clip, seed):
        if clip == "3":
            return 60 + 5 * rate
        return 10 if rate > 4 else 60 + rate

    found = rules.scores(task(accuracy)).set_index("rule")
    assert found.score["oracle"] == found.score["p90"] == found.score["playbook"] == 90
    assert found.regret["none"] == 90 - 64
    assert found.regret["oracle, unclipped"] == 26
    assert found.regret["random"] > 0
    assert set(found.trainings.drop(["oracle", "oracle, unclipped"])) == {7}


def test_the_playbook_lowers_the_rate_where_more_than_half_of_the_steps_are_clipped():
    def accuracy(rate, clip, seed):
        return 50 + rate + 10 * (clip == "3")

    made = task(accuracy)
    runs = {p: replace(r, share=0.6 if p[0] > 4 else 0.1) for p, r in made[0].items()}
    free = {p: replace(r, share=0.0) if p[1] == "inf" else r for p, r in runs.items()}
    chosen = rules.RULES["playbook"][1](bench({0: free}))
    assert chosen == (4, "3")
    assert rules.RULES["p90"][1](bench({0: free})) == (6, "3")


def test_a_rule_sees_no_test_images_and_is_scored_by_other_seeds():
    random = np.random.default_rng(1)
    made = task(lambda *_: random.uniform(20, 100))
    blind = {s: {p: replace(r, test=random.uniform(0, 100)) for p, r in runs.items()}
             for s, runs in made.items()}  # fmt: skip
    chosen = rules.scores(made).chosen
    assert list(rules.scores(blind).chosen[2:]) == list(chosen[2:])
    rate = int(np.argmax([made[0][r, "inf"].validation for r in range(7)]))
    others = [made[s][rate, "inf"].test for s in (1, 2)]
    one = {0: made[0], 1: made[1], 2: made[2]}
    rates = [int(np.argmax([runs[r, "inf"].validation for r in range(7)])) for runs in one.values()]
    expected = [made[e][rates[s], "inf"].test for s in one for e in one if e != s]
    assert expected[:2] == others
    score = rules.scores(made).set_index("rule").score
    assert score["none"] == pytest.approx(np.mean(expected))


def test_the_oracle_is_chosen_by_other_seeds_than_it_is_scored_by():
    """Each seed has a run of its own that is far better; the others don't know it."""
    made = task(lambda rate, clip, seed: 99 if (rate, clip) == (seed, "1") else 50 + rate)
    found = rules.scores(made).set_index("rule")
    assert found.score["oracle"] < 70


def test_a_failure_counts_as_what_it_is():
    made = task(lambda rate, clip, seed: 10 if (seed, clip) == (0, "inf") else 80 + (clip == "3"))
    found = rules.scores(made).set_index("rule")
    assert found.failed["none"] == pytest.approx(100 / 3)
    assert found.score["none"] < found.score["1"]


def regrets(gains):
    """Of a rule that gains so much over none in each task."""
    rows = [
        {"task": str(t), "rule": name, "regret": 5 - gain * (name == "p90"), "failed": 0.0}
        for t, gain in enumerate(gains)
        for name in [*rules.RULES, "oracle, unclipped"]
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("gains", "held_out", "beats"),
    [
        ([1, 2, 1, 2, 1, 2], [1, 1], True),
        ([1, 2, 1, 2, 1, 2], [-1, 0.5], False),  # those held out don't agree
        ([0.2, 0.3, 0.2, 0.3, 0.2, 0.3], [1, 1], False),  # too little
        ([9, -3, 8, -4, 6, -7], [1, 1], False),  # not sure
        ([15, 0.1, 0.2, 0.1, 0.2, 0.1, 0.2, -0.4], [1, 1], False),  # by one task alone
    ],
)
def test_a_rule_beats_tuning_only_by_what_was_fixed(gains, held_out, beats):
    every, others = rules.summary(regrets(gains)), rules.summary(regrets(held_out))
    assert rules.winner(every) == "p90"
    assert rules.beats("p90", every, others) == beats
    assert every.gain["p90"] == pytest.approx(np.mean(gains))
    assert every["sign flips"]["p90"] == pytest.approx(
        np.mean([abs(np.dot(gains, f)) >= abs(sum(gains)) - 1e-9 for f in signs(len(gains))])
    )


@pytest.fixture
def judge(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    for name in ("tasks", "candidates"):  # which judge.py imports
        monkeypatch.delitem(sys.modules, name, raising=False)
    return module("judge")


def test_what_is_frozen_is_what_lies_there(judge, tmp_path, monkeypatch):
    tasks = judge.frozen.__globals__
    assert judge.frozen()["winner"] in rules.RULES
    assert len(judge.studies()) == 12
    assert len(judge.HELD_OUT) == 4
    monkeypatch.setitem(tasks, "digests", lambda: {"candidates.py": "another"})
    with pytest.raises(SystemExit, match="was written for other rules or tasks"):
        judge.studies()
    monkeypatch.setitem(tasks, "FROZEN", tmp_path / "absent.yaml")
    assert len(judge.studies()) == 8


def test_the_manual_has_the_table_of_the_record(judge):
    docs = FOLDER.parents[1] / "docs"
    regrets = pd.read_csv(docs / "record/which-lambda.csv", keep_default_na=False)
    summaries = judge.summaries_of(regrets)
    assert judge.table(summaries) in (docs / "which-lambda.md").read_text()
    name = judge.frozen()["winner"]
    assert summaries["open"].regret.round(3).to_dict() == pytest.approx(
        judge.frozen()["mean regret on the open tasks"], abs=2e-3
    )
    assert rules.winner(summaries["open"]) == name
    every = summaries["all"]
    for name in ("p90", "1", "agc"):  # what the probe says
        row = every.loc[name]
        gain = rf"{row.gain:.1f}( points over .*?)? \({row.low:.1f} to {row.high:.1f}\)"
        assert re.search(gain, FOUND)
    assert rules.beats("agc", every, summaries["held out"])


def signs(n):
    return [[1 - 2 * (k >> i & 1) for i in range(n)] for k in range(2**n)]
