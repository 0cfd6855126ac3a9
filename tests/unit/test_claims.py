"""Claims: the article's list is complete, and what is said of files that can't be used."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from clipgrid import __main__
from clipgrid.judging.claims import digest, load, schema, source
from clipgrid.judging.measures import UNITS
from clipgrid.judging.rules import Computation
from clipgrid.study import code, parts
from clipgrid.study.config import StudyError

ROOT = Path(__file__).parents[2]
SHIPPED = load(ROOT / "claims.yaml").claims

PAIRED = {
    "statistic": "paired t",
    "measure": "test_accuracy",
    "claim": "higher",
    "margin": "0.5 points",
    "cells": {"models": ["alexnet"], "iterations": [500]},
    "arm": {"clips": [1]},
    "baseline": {"clips": ["inf"]},
}
SOONER = {
    "statistic": "sign test",
    "target": "70 %",
    "claim": "sooner",
    "arm": {"clips": [1]},
    "baseline": {"clips": ["inf"]},
}


def claim(*rules, **keys):
    return {
        "section": "1",
        "kind": "comparative",
        "statement": "Clipping is better.",
        "family": "clipping",
        "exhibit": "accuracy",
        "rules": list(rules or [PAIRED]),
        **keys,
    }


@pytest.fixture
def loaded(tmp_path):
    """What a file of these claims is loaded as."""

    def loaded(claims, **keys):
        path = tmp_path / "claims.yaml"
        path.write_text(yaml.safe_dump({"claims": claims, **keys}))
        return load(path)

    return loaded


@pytest.fixture
def faults(loaded, tmp_path):
    """The message's lines, one a fault."""

    def faults(claims, **keys):
        with pytest.raises(StudyError) as caught:
            loaded(claims, **keys)
        headline, *lines = str(caught.value).splitlines()
        count = "1 fault" if len(lines) == 1 else f"{len(lines)} faults"
        assert headline == f"the claims in {tmp_path / 'claims.yaml'} can't be judged; {count}:"
        return [line.strip() for line in lines]

    return faults


def without(key, rule):
    return {k: v for k, v in rule.items() if k != key}


# ---- the article's claims ----------------------------------------------------------------------


def test_every_statement_of_the_article_has_its_claim():
    ids = [key for key in SHIPPED if not key.startswith("E")]
    assert ids == [f"{k}{i}" for k, n in (("Q", 9), ("C", 20), ("D", 21)) for i in range(1, n + 1)]


def test_published_facts_are_numbered_from_1_and_have_sources():
    facts = {key: c for key, c in SHIPPED.items() if key.startswith("E")}
    assert list(facts) == [f"E{i}" for i in range(1, len(facts) + 1)]
    assert facts
    assert all(c.kind == "published" and c.section == "external" for c in facts.values())
    assert all(c.source for c in facts.values())


def test_every_computation_is_used_by_one_claim():
    rules = [rule for c in SHIPPED.values() for rule in c.rules]
    used = Counter(rule.name for rule in rules if isinstance(rule, Computation))
    assert used == Counter(list(parts.KINDS["computation"]))


def test_20_of_the_articles_claims_are_tested_the_others_computed_or_figures():
    """C1 and C2 are tested too, but whatever the test finds, a computation fixes their verdicts. Of
    Q3, Q5 and Q7 one half is a figure."""
    kinds = {
        key: " and ".join(sorted({rule.decided_by for rule in c.rules}))
        for key, c in SHIPPED.items()
        if c.kind != "published"
    }
    assert Counter(kinds.values()) == {
        "test": 20,
        "computation": 22,
        "figure": 3,
        "figure and test": 3,
        "computation and test": 2,
    }
    assert [key for key, kind in kinds.items() if kind == "computation and test"] == ["C1", "C2"]


def test_the_article_is_named_by_its_author_and_has_no_title_and_no_date():
    article = load(ROOT / "claims.yaml").article
    author = '禅与计算机程序设计艺术 ("Zen and the Art of Computer Programming")'
    assert article.model_dump(exclude={"asks"}) == {"author": author, "title": None, "date": None}


def test_every_statement_of_the_article_is_found_by_its_section_and_a_few_words():
    own = [c for c in SHIPPED.values() if c.kind != "published"]
    assert all(re.fullmatch(r"\d(\.\d)*", c.section) for c in own)
    assert all(c.phrase and len(c.phrase) <= 24 for c in own)  # never a sentence of it
    assert not any(c.phrase for c in SHIPPED.values() if c.kind == "published")


def test_claims_of_ones_own_need_no_article_and_no_phrase(loaded):
    claims = loaded({"Q1": claim()})
    assert (claims.article, claims.claims["Q1"].phrase) == (None, None)


def test_the_target_of_runs_is_the_one_that_the_sign_tests_name(loaded):
    """A figure shows the same: a second target would need another."""
    rules = [rule for c in SHIPPED.values() for rule in c.rules if rule.statistic == "sign test"]
    assert {rule.target[0] for rule in rules} == {load(ROOT / "claims.yaml").target} == {70}
    assert loaded({"Q1": claim(), "Q2": claim(PAIRED, {**SOONER, "target": "55 %"})}).target == 55
    assert loaded({"Q1": claim()}).target is None


def test_claims_are_read_without_torch():
    run = "import sys; from clipgrid.judging import claims; claims.load(claims.Path(sys.argv[1]))"
    code = f"{run}; sys.exit('torch' in sys.modules)"
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", code, ROOT / "claims.yaml"], check=True, env=env)


def test_no_statement_is_given_twice():
    statements = Counter(c.statement for c in SHIPPED.values())
    assert max(statements.values()) == 1


def test_the_hash_of_a_file_of_claims_is_that_of_its_bytes(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text("claims: {}\n")
    # printf 'claims: {}\n' | sha256sum
    assert digest(path) == "d779cf34c3f9e7e859803aff2b1cfeda32187bd63e64ae09cf5d0e3619fb9bcd"


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("ALPHA = 0.05", "ALPHA = 0.01", False),
        ('"not comparable"', '"not to be compared"', False),
        ("ALPHA = 0.05", "ALPHA = 0.05  # as usual", True),
        ('"""Rows of findings.csv."""', '"""Rows of a table."""', True),
    ],
)
def test_the_checksum_of_what_judges_changes_with_what_it_does(
    loaded, tmp_path, monkeypatch, old, new, same
):
    claims = loaded({"Q1": claim()})
    before = source(claims)
    room = shutil.copytree(ROOT / "src/clipgrid/judging", tmp_path / "judging")
    text = (room / "verdicts.py").read_text()
    assert old in text
    (room / "verdicts.py").write_text(text.replace(old, new))
    monkeypatch.setattr(code, "room", lambda name: sorted(room.rglob("*.py")))
    assert (source(claims) == before) == same


def test_the_checksum_of_what_judges_holds_the_computations_of_extensions(
    loaded, tmp_path, monkeypatch
):
    monkeypatch.setitem(parts.KINDS, "computation", dict(parts.KINDS["computation"]))
    found = {}
    for name in ("same", "other"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "mine.py").write_text(EXTENSION.format(name == "same"))
        parts.load_extension("mine.py", folder)
        found[name] = source(loaded({"Q1": claim({"statistic": "computation", "name": "mine"})}))
        del parts.KINDS["computation"]["mine"]
    assert found["same"] != found["other"]


EXTENSION = """
from clipgrid.judging.computations.answers import decided
from clipgrid.study.parts import computation

@computation("mine")
def mine(evidence):
    return decided({}, "Because.")
"""


# ---- the schema ---------------------------------------------------------------------------------


def test_the_schema_in_the_house_is_the_one_that_the_code_prints(capsys):
    assert __main__.main(["schema", "claims"]) == 0
    assert capsys.readouterr().out == (ROOT / "workflow/schemas/claims.schema.json").read_text()


def test_the_schema_knows_every_measure_with_a_unit():
    [measure] = [p["measure"] for n, p in properties() if n == "Paired"]
    assert measure["enum"] == list(UNITS)


def test_the_schema_is_a_json_schema_and_refuses_what_it_does_not_know():
    Draft202012Validator.check_schema(schema())
    validator = Draft202012Validator(schema())
    sound = {**PAIRED, "arm": {"clips": ["norm1"]}}
    assert validator.is_valid({"claims": {"Q1": claim(sound)}})
    for wrong in ({"claim": "bigger"}, {"margin": "points"}, {"arms": {}}, {"statistic": "t"}):
        assert not validator.is_valid({"claims": {"Q1": claim({**sound, **wrong})}})


def properties():
    return [(name, part.get("properties", {})) for name, part in schema()["$defs"].items()]


def test_every_key_is_explained_to_the_person_who_writes_it():
    tags = {"statistic"}  # explained by its values
    unexplained = [
        f"{name}.{key}"
        for name, keys in properties()
        for key, about in keys.items()
        if "description" not in about and key not in tags
    ]
    assert unexplained == []


# ---- sound files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "word"),
    [
        *((clip, "1") for clip in (1, 1.0, "1", "1e0", "norm1", "NORM1.0")),
        *((clip, "inf") for clip in ("inf", ".inf", float("inf"), "norminf")),
        *((clip, "agc0.01") for clip in ("agc0.01", "AGC1e-2")),
        *((kind, kind) for kind in ("norm", "value", "zclip")),
    ],
)
def test_a_clip_is_one_word_however_it_is_written(loaded, written, word):
    sides = {"arm": {"clips": [written]}, "baseline": {"clips": [5]}}
    claims = loaded({"Q1": claim({**PAIRED, **sides})})
    assert claims.claims["Q1"].rules[0].arm.clips == [word]


@pytest.mark.parametrize(
    ("written", "margin"),
    [("0.5 points", (0.5, "points")), ("2points", (2, "points")), (" 10  points ", (10, "points"))],
)
def test_a_margin_is_a_number_and_its_unit(loaded, written, margin):
    claims = loaded({"Q1": claim({**PAIRED, "margin": written})})
    assert claims.claims["Q1"].rules[0].margin == margin


@pytest.mark.parametrize("measure", sorted(set(UNITS) - {"steps_to_target"}))
def test_every_measure_can_be_compared_in_its_unit(loaded, measure):
    rule = {**PAIRED, "measure": measure, "margin": f"1 {UNITS[measure]}"}
    assert loaded({"Q1": claim(rule)}).claims["Q1"].rules[0].measure == measure


# ---- faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "where", "hint"),
    [
        ({"statistic": "paired T"}, "", "unknown statistic: 'paired T'; did you mean paired t?"),
        ({"statistic": "t"}, "", "Known: paired t, sign test, Newcombe, Clopper-Pearson, figure"),
        ({"measure": "test_acuracy"}, ".measure", "did you mean test_accuracy?"),
        ({"measure": "steps_to_target"}, ".measure", "unknown: 'steps_to_target'"),
        ({"claim": "hihger"}, ".claim", "did you mean higher?"),
        ({"claim": "sooner"}, ".claim", "Known: higher, lower, not lower, not higher, same, diff"),
        ({"margin": 5}, ".margin", "5 must be a number with its unit (points, nats, %)"),
        ({"margin": 0.5}, ".margin", "0.5 must be a number with its unit"),
        ({"margin": "12"}, ".margin", "'12' must be a number with its unit"),
        ({"margin": "-1 points"}, ".margin", "'-1 points' must be a number with its unit"),
        ({"margin": "points"}, ".margin", "as in 0.5 points"),
        ({"margin": "0.5 nats"}, ".margin", "must be in points, the unit of test_accuracy, not in"),
        ({"measure": "loss_gap"}, ".margin", "must be in nats, the unit of loss_gap, not in poin"),
        ({"learning_rate": "tune"}, ".learning_rate", "did you mean tuned?"),
        ({"steps": 100}, ".steps", "means nothing for test_accuracy"),
        ({"margins": "1 points"}, ".margins", "unknown key; did you mean margin?"),
        ({"arm": {}}, ".arm", "at least one value is needed"),
        ({"baseline": {"clips": []}}, ".baseline.clips", "at least one value is needed"),
        ({"arm": {"clip": [1]}}, ".arm.clip", "unknown key; did you mean clips?"),
        ({"cells": {"iteration": [1]}}, ".cells.iteration", "did you mean iterations?"),
        ({"cells": {"models": ["alexnett"]}}, ".cells.models[0]", "did you mean alexnet?"),
        (
            {"cells": {"optimizers": ["momentun"]}},
            ".cells.optimizers[0]",
            "unknown optimizer 'momentun'; did you mean momentum?",
        ),
        ({"cells": {"schedules": ["cosin"]}}, ".cells.schedules[0]", "did you mean cosine?"),
        (
            {"cells": {"augmentations": ["flop"]}},
            ".cells.augmentations[0]",
            "unknown augmentation 'flop'; did you mean flip?",
        ),
        ({"cells": {"iterations": [0]}}, ".cells.iterations[0]", "must be at least 1, not 0"),
        ({"cells": {"clips": [10]}}, ".cells", "arm and baseline name clips already"),
        ({"arm": {"clips": ["agcc"]}}, ".arm.clips[0]", "'agcc' is no clip"),
        ({"arm": {"clips": [0]}}, ".arm.clips[0]", "must be above 0, not 0"),
        ({"arm": {"clips": [1, "norm1"]}}, ".arm.clips", "1 is given twice"),
        ({"arm": {"ema": [0.9]}}, "", "arm and baseline must name the same axes: "),
        ({"baseline": {"clips": [10, "inf"]}}, ".baseline", "must have one value on each axis"),
        (
            {"arm": {"seeds": [1]}, "baseline": {"seeds": [0]}},
            "",
            "arms are paired by seed, and all seeds that they share count",
        ),
        ({"gain": {"start": {"clips": [1]}}}, ".gain.end", "missing"),
        (
            {"gain": {"start": {}, "end": {"iterations": [1]}}},
            ".gain.start",
            "at least one value is needed",
        ),
    ],
)
def test_a_fault_is_reported_with_its_key_and_what_would_be_right(faults, change, where, hint):
    [line] = faults({"Q1": claim({**PAIRED, **change})})
    key, message = line.split(": ", 1)
    assert key == f"claims.Q1.rules[0]{where}"
    assert hint in message


@pytest.mark.parametrize(
    ("rule", "where", "hint"),
    [
        (without("statistic", PAIRED), "", "statistic is missing"),
        (without("margin", PAIRED), ".margin", "missing"),
        (without("arm", PAIRED), ".arm", "missing"),
        ("higher", "", "dictionary"),
        ({**SOONER, "target": 70}, ".target", "70 must be a number with its unit"),
        ({**SOONER, "target": "70 points"}, ".target", "must be in %, not in points"),
        ({**SOONER, "claim": "higher"}, ".claim", "Known: sooner, later"),
        (
            {**without("target", SOONER), "statistic": "Newcombe", "claim": "more often"},
            ".event",
            "missing",
        ),
        (
            {"statistic": "computation", "name": "alexnet_inputs"},
            ".name",
            "unknown computation 'alexnet_inputs'; did you mean alexnet_input? Known: ",
        ),
        (
            {"statistic": "Clopper-Pearson", "event": "exploding", "cells": {"clips": [1]}},
            ".event",
            "did you mean exploded?",
        ),
        (
            {"statistic": "Clopper-Pearson", "event": "clipped", "cells": {}},
            ".cells",
            "at least one value is needed",
        ),
    ],
)
def test_a_fault_of_any_statistic_is_reported_with_its_key(faults, rule, where, hint):
    [line] = faults({"Q1": claim(rule)})
    key, message = line.split(": ", 1)
    assert key == f"claims.Q1.rules[0]{where}"
    assert hint in message


@pytest.mark.parametrize(
    ("change", "where", "hint"),
    [
        ({"rules": []}, "rules", "at least one value is needed"),
        ({"rules": None}, "rules", "at least one value is needed"),
        ({"kind": "comparison"}, "kind", "did you mean comparative?"),
        ({"section": 3.3}, "section", "string, not 3.3"),
        ({"phrase": "a whole sentence of the article, word by word"}, "phrase", "40 characters"),
        ({"famly": "f"}, "famly", "unknown key; did you mean family?"),
        ({"kind": "published"}, "source", "published facts need one, and others have none"),
        ({"source": "Doe 2020"}, "source", "published facts need one, and others have none"),
    ],
)
def test_a_fault_of_a_claim_is_reported_with_its_key(faults, change, where, hint):
    [line] = faults({"Q1": claim(**change)})
    key, message = line.split(": ", 1)
    assert key == f"claims.Q1.{where}"
    assert hint in message


def test_a_fault_in_what_is_usual_is_reported_with_its_key(faults):
    [line] = faults({"Q1": claim()}, usual={"model": ["alexnet"], "clips": ["norm1"]})
    assert line.startswith("usual.model: unknown key; did you mean models?")


def test_an_article_without_an_author_is_a_fault(faults):
    assert faults({"Q1": claim()}, article={"title": "On clipping"}) == ["article.author: missing"]
    [line] = faults({"Q1": claim()}, article={"author": "Doe", "year": 2020})
    assert line.startswith("article.year: unknown key; Known: author, title, date")


def test_a_file_without_claims_is_a_fault(faults):
    assert faults({}) == ["claims: at least one value is needed"]


def test_what_a_claim_lacks_is_named_all_at_once(faults):
    missing = ("section", "kind", "statement", "family", "exhibit")
    assert faults({"Q1": {"rules": [PAIRED]}}) == [f"claims.Q1.{key}: missing" for key in missing]


def test_all_faults_of_keys_are_in_one_message(faults):
    wrong = claim({**PAIRED, "measure": "accuracy", "margin": 5}, {**SOONER, "claim": "faster"})
    claims = {"Q1": wrong, "Q2": claim(colour="red"), "Q3": claim(rules=[])}
    assert [line.split(": ")[0] for line in faults(claims)] == [
        "claims.Q1.rules[0].measure",
        "claims.Q1.rules[0].margin",
        "claims.Q1.rules[1].claim",
        "claims.Q2.colour",
        "claims.Q3.rules",
    ]


def test_all_faults_between_keys_are_in_one_message(faults):
    crooked = {**PAIRED, "arm": {"ema": [0.9]}, "cells": {"ema": ["none"]}, "margin": "1 nats"}
    claims = {"Q1": claim(PAIRED, crooked, source="Doe 2020"), "Q2": claim(kind="published")}
    assert sorted({line.split(": ")[0] for line in faults(claims)}) == [
        "claims.Q1.rules[1]",
        "claims.Q1.rules[1].cells",
        "claims.Q1.rules[1].margin",
        "claims.Q1.source",
        "claims.Q2.source",
    ]


# ---- files --------------------------------------------------------------------------------------


def test_a_claim_that_is_given_twice_is_named(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text("claims:\n  Q1: {}\n  Q1: {}\n")
    with pytest.raises(StudyError, match="key Q1 is given twice"):
        load(path)


def test_a_file_that_is_missing_or_no_mapping_is_refused_by_name(tmp_path):
    with pytest.raises(StudyError, match=r"none\.yaml can't be read"):
        load(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("[1]")
    with pytest.raises(StudyError, match=r"(?s)list\.yaml can't be judged.*the file: .*dictionary"):
        load(tmp_path / "list.yaml")


# claims.py
def test_the_articles_claims_satisfy_the_schema():
    shipped = yaml.safe_load((ROOT / "claims.yaml").read_text())
    assert list(Draft202012Validator(schema()).iter_errors(shipped)) == []


@pytest.mark.parametrize(
    "rule",
    [
        {**PAIRED, "margin": "0 points"},
        {**PAIRED, "learning_rate": "tuned"},
        {**PAIRED, "arm": {"clips": ["inf"]}},
        {**PAIRED, "arm": {"clips": [[1]]}},
        {**PAIRED, "gain": {"start": {"ema": ["none", 0.9]}, "end": {"ema": [0.99]}}},
        {**PAIRED, "gain": {"start": {"ema": ["none"]}, "end": {"label_noise": [0.4]}}},
        {**PAIRED, "gain": {"start": {"clips": [10]}, "end": {"clips": [1]}}},
        {**PAIRED, "cells": {"seeds": [0, 1]}},
        {
            "statistic": "figure of other data",
            "measure": "steps_to_target",
            "figure": "x",
            "cells": {"clips": [1]},
        },
        {
            "statistic": "figure of other data",
            "measure": "gap_at_matched_loss",
            "figure": "x",
            "cells": {"clips": [1]},
        },
        {"statistic": "computation", "name": "no_such_thing"},
    ],
    ids=[
        "margin 0",
        "tuned, no rates",
        "arm = baseline",
        "clip is a list",
        "gain: 2 values",
        "gain: 2 axes",
        "gain: axis of arms",
        "seeds in cells",
        "stated steps",
        "stated matched",
        "computation",
    ],
)
def test_what_can_not_be_judged_is_a_fault(faults, rule):
    assert len(faults({"Q1": claim(rule)})) == 1


@pytest.mark.parametrize(("key", "changes"), [("q1", {}), ("Q1", {"family": "Family 1"})])
def test_a_wrong_id_or_family_is_not_told_that_it_names_files(faults, key, changes):
    [line] = faults({key: claim(**changes)})
    assert "names files" not in line
