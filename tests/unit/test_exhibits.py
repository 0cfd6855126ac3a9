"""Tables, from a made-up study whose numbers are known."""

import html
import itertools
import math
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up import CLAIM, STATED, TWO_NAMES

from clipgrid import InputError
from clipgrid.__main__ import main
from clipgrid.judging import claims
from clipgrid.reporting import exhibits, overview, tables, text, verdicts
from clipgrid.study import axes
from clipgrid.study import config as study
from clipgrid.study.config import Experiment
from clipgrid.study.faults import StudyError

ALEXNET = Experiment(title="AlexNet", section="3.3.1", select=[{}])


def original_raw(cells):
    return cells[(cells.augmentation == "none") & cells.ema.isna() & (cells.model == "alexnet")]


# ---- tables -----------------------------------------------------------------------------------


def test_a_table_has_a_row_an_arm_with_the_mean_over_its_seeds(cells):
    table = tables.experiment_table(original_raw(cells), ALEXNET)
    assert list(zip(table.iterations, table.threshold, strict=True)) == list(
        itertools.product((500, 1000), (1.0, 10.0, math.inf))
    )
    assert table.test_accuracy.tolist() == pytest.approx([62, 52, 52] * 2)
    # Three seeds 2 points apart: t(0.975, 2) * 2 / sqrt(3).
    assert table.test_accuracy_half_width.tolist() == pytest.approx([4.968275] * 6, abs=1e-5)
    assert table.clip_percent.tolist() == pytest.approx([50, 0, 0] * 2)


def test_the_articles_figures_stand_beside_their_arms_and_the_baseline_was_not_run(cells):
    table = tables.experiment_table(original_raw(cells), ALEXNET)
    assert table.article_accuracy.tolist() == [
        *("71", "not given", "not run"),
        *("≥ 79", "not given", "not run"),
    ]
    assert table.article_loss.tolist() == ["30", "", "", "", "", ""]


def test_a_diverged_run_is_counted_and_in_no_mean(cells):
    cells = original_raw(cells).copy()
    bad = (cells.threshold == 10) & (cells.iterations == 500) & (cells.seed == 2)
    cells.loc[bad, ["test_accuracy", "test_loss"]] = np.nan
    cells.loc[bad, "status"] = "diverged"
    row = tables.experiment_table(cells, ALEXNET).iloc[1]
    assert (row.seeds, row.diverged, row.collapsed) == (3, 1, 0)
    assert row.test_accuracy == pytest.approx(51)
    shown = tables.display(tables.experiment_table(cells, ALEXNET))
    assert shown.Diverged.tolist() == ["0 of 3", "1 of 3", *["0 of 3"] * 4]


def test_an_arm_whose_runs_all_diverged_is_shown_with_a_dash(cells):
    cells = original_raw(cells).assign(test_accuracy=np.nan, test_loss=np.nan, status="diverged")
    shown = tables.display(tables.experiment_table(cells, ALEXNET))
    assert set(shown["Test accuracy (%)"]) == {"-"}


def test_columns_that_say_the_same_in_each_row_are_not_shown(cells):
    shown = tables.display(tables.experiment_table(original_raw(cells), ALEXNET))
    assert not {"Model", "Optimizer", "Learning rate", "Images", "Average"} & set(shown.columns)
    shown = tables.display(tables.experiment_table(cells, ALEXNET))
    assert {"Model", "Images", "Average"} <= set(shown.columns)


def test_a_table_is_written_as_csv_html_and_latex(cells, tmp_path):
    table = tables.experiment_table(original_raw(cells), ALEXNET)
    hostile = ALEXNET.model_copy(update={"title": "A & B: <λ>"})
    tables.save(table, tables.display(table), tmp_path / "t", hostile)
    back = pd.read_csv(tmp_path / "t.csv")
    assert back.threshold.tolist() == [1, 10, math.inf] * 2
    page = (tmp_path / "t.html").read_text()
    assert "A &amp; B: &lt;λ&gt;" in page
    assert page.count("<tr") == 7
    latex = (tmp_path / "t.tex").read_text()
    assert r"$\lambda$ = 10" in latex
    assert r"$\geq$ 79" in latex
    assert r"$\pm$" in latex
    assert r"(\%)" in latex


def test_the_page_of_all_cells_has_a_row_and_a_command_a_cell(cells):
    page = tables.cells_page(cells, "All")
    assert page.count("<tr") == len(cells) + 1
    assert page.count("<code>python -m clipgrid train") == len(cells)


# ---- what was found ---------------------------------------------------------------------------


def test_kinds_of_clipping_are_told_apart(cells, of_kinds, kind_names):
    cells = of_kinds(cells)
    table = tables.experiment_table(original_raw(cells), ALEXNET)
    assert set(tables.display(table).Clipping) == set(kind_names)
    # The article has no such kinds: only λ = 10 of the global norm is among its own.
    assert set(table.article_accuracy) == {"not given", "not run"}
    assert [row["clip"] for row in overview.outcomes(cells)] == kind_names


def test_outcomes_are_counted_by_clip_at_the_last_step(cells):
    bad = (cells.iterations == 1000) & cells.ema.isna() & (cells.threshold == math.inf)
    early = (cells.iterations == 500) & cells.ema.isna() & (cells.threshold == 10)
    cells.loc[bad & (cells.seed == 0), "status"] = "collapsed"
    cells.loc[early, "status"] = "collapsed"  # not at its end: it recovered
    one, ten, none = overview.outcomes(cells)
    assert (one["percent"], one["never"], one["runs"]) == ("50.0", 0, 18)
    assert (ten["percent"], ten["never"], ten["collapsed"]) == ("0.0", 18, 0)
    assert (none["fires"], none["collapsed"], none["diverged"]) == (False, 6, 0)


@pytest.mark.parametrize(
    ("exhibit", "fault"),
    [
        ("schedule", ""),
        ("vgg", ""),  # an experiment that the study lacks
        ("resnet", ""),  # so is this, whatever it is like
        ("alexnte", "the report has no 'alexnte'; did you mean alexnet? Known: accuracy, alexnet,"),
        ("<b>'", "must match"),
    ],
)
def test_an_exhibit_that_is_misspelled_is_refused(config, tmp_path, exhibit, fault):
    path = tmp_path / "claims.yaml"
    s = study.parse(config | {"experiments": TWO_NAMES, "claims": str(path)})
    path.write_text(yaml.safe_dump({"claims": {"C1": STATED | {"exhibit": exhibit}}}))
    if not fault:
        assert exhibits.claims_of(s) == claims.load(path)
        return
    with pytest.raises(StudyError) as refused:
        exhibits.claims_of(s)
    (said,) = str(refused.value).splitlines()[1:]
    assert said.startswith(f"  claims.C1.exhibit: {fault}")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("claims.csv", "refuted", "supported"),
        ("cells.csv", "0.6", "0.9"),
        ("cells.csv", "", None),
        ("trained.json", "}", ""),
        ("data.json", "}", ""),
    ],
)
@pytest.mark.parametrize("command", ["pages", "report"])
def test_a_table_that_was_torn_or_edited_is_one_error(results, capsys, command, name, old, new):
    file = results() / name
    text = file.read_text()
    file.write_text(text[: len(text) // 2] if new is None else text.replace(old, new))
    assert main([command, "--study", str(file.parent / "study.json")]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"clipgrid: error: {file} ")
    assert "remove it, and run the study again, which makes it anew" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(("seconds", "words"), [(95.4, "95 s"), (720, "12 min"), (12240, "3.4 h")])
def test_durations_are_in_the_unit_that_fits(seconds, words):
    assert overview.duration(seconds) == words


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("alexnet", "AlexNet"),
        ("vgg11_bn", "VGG-11 (BN)"),
        ("resnet18", "ResNet-18"),
        ("vgg", "VGG"),
        ("vgg_bn", "VGG (BN)"),
    ],
)
def test_models_are_named_as_in_papers(model, name):
    assert axes.label("models", model) == name


# ---- tables of the claims ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "-1.2 [-2.0, -0.5] points"),
        ({"unit": "nats"}, "-1.250 [-2.000, -0.500] nats"),
        ({"low": math.nan, "high": math.nan}, "-1.2 points"),
        ({"effect": math.nan}, ""),
        ({"unit": "", "effect": 3.0}, ""),
        ({"unit": "px", "effect": 55.0}, "55 px"),
        ({"unit": "%", "effect": 95.0, "low": 94.0, "high": 96.0}, "95.0 [94.0, 96.0] %"),
    ],
)
def test_an_effect_in_words(changes, words):
    row = next(pd.DataFrame([CLAIM | changes]).itertuples())
    assert verdicts.effect(row) == words


def test_claims_are_written_as_html_and_latex_with_their_signs_escaped(tmp_path):
    about = {"claims_file": "a & b", "sha256": "0", "frozen": None, "looks": []}
    verdicts.save(*2 * [pd.DataFrame([CLAIM])], tmp_path / "claims", "Claims", **about)
    page, latex = ((tmp_path / f"claims.{s}").read_text() for s in ("html", "tex"))
    assert "&lt;why&gt;" in page
    assert '<b class="refuted">refuted</b>' in page
    assert r"10\% of $\lambda$\_1 \& more" in latex
    assert "$<$~0.001" in latex
    document = text.page("tables.tex", title=text.latex("A & B"), names=["claims"])
    assert r"\title{A \& B}" in document
    assert r"\input{tables/claims.tex}" in document


def test_what_each_rule_found_stands_beside_its_claim_the_deciding_one_first(tmp_path):
    about = {"claims_file": "claims.yaml", "sha256": "0", "frozen": None, "looks": []}
    rules = [CLAIM, CLAIM | {"verdict": "supported", "effect": 2.0, "low": 1.0, "high": 3.0}]
    verdicts.save(pd.DataFrame([CLAIM]), pd.DataFrame(rules), tmp_path / "claims", "C", **about)
    page = html.unescape((tmp_path / "claims.html").read_text())
    first, second = page.index("refuted: test accuracy"), page.index("supported: test accuracy")
    assert first < second
    assert "-1.2 [-2.0, -0.5] points, p 0.020 at this look, <\N{NO-BREAK SPACE}0.001 over" in page
    assert "all looks and claims, against it 0.200, 5 seeds" in page
    assert (
        "over nets, rates and seeds like these -1.1 [-2.2, 0.1], with a probability of 75%" in page
    )


def test_verdicts_before_stand_beside_those_now(tmp_path):
    before = tmp_path / "before.csv"
    before.write_text("id,verdict,change\nC1,inconclusive,<b>stricter</b>\n")
    rows = pd.DataFrame([CLAIM, CLAIM | {"id": "C2"}])
    page = verdicts.judgements(rows, before)
    assert "&lt;b&gt;stricter&lt;/b&gt;" in page
    assert re.findall(r"<tr><td>(\w+)</td><td>(\d)</td><td>(\d)</td></tr>", page) == [
        ("inconclusive", "1", "0"),
        ("refuted", "0", "2"),
    ]
    before.write_text("nothing\n")
    with pytest.raises(InputError, match="no table of an earlier judgement"):
        verdicts.judgements(rows, before)


def test_a_claim_is_found_in_the_article_by_its_phrase(tmp_path):
    about = {"claims_file": "claims.yaml", "sha256": "0", "frozen": None, "looks": []}
    verdicts.save(*2 * [pd.DataFrame([CLAIM])], tmp_path / "claims", "Claims", **about)
    assert CLAIM["phrase"] in (tmp_path / "claims.html").read_text()
    # pdflatex knows no such signs.
    assert CLAIM["phrase"] not in (tmp_path / "claims.tex").read_text()


def test_without_claims_there_is_a_page_that_says_so(tmp_path):
    about = {"claims_file": "claims.yaml", "sha256": "0", "frozen": None, "looks": []}
    verdicts.save(*2 * [pd.DataFrame([CLAIM]).iloc[:0]], tmp_path / "external", "Facts", **about)
    assert "There are none in claims.yaml" in (tmp_path / "external.html").read_text()
    assert r"\end{longtable}" in (tmp_path / "external.tex").read_text()
