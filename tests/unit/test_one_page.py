"""The report, from made-up results: what its pages say, and that it is true of any study."""

import base64
import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup
from made_up import ANY, CLAIM, KINDS, TWO_NAMES, diverged

from clipgrid.reporting import abstract, figures, overview, report, verdicts
from clipgrid.reporting.figures import drawing
from clipgrid.study import config as study
from clipgrid.study import parts

OWN = {"x": {"title": "X", "select": [{"optimizers": ["momentum"]}]}}


def page_of(folder):
    """The report as a browser reads it."""
    report.report(folder / "study.json")
    return BeautifulSoup((folder / "report.html").read_text(), "html.parser")


def words(part):
    return " ".join(part.get_text(" ").split())


def headings(page, *levels):
    return [words(h) for h in page.main.find_all(levels)]


# ---- what stands where --------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"experiments": OWN}, {"experiments": None}])
def test_the_report_is_whole_with_the_articles_sections_and_without(results, changes):
    page = page_of(results(**changes))
    of_article = not changes
    experiments = "The article's sections" if of_article else "Experiments"
    chapters = ["Claims", experiments, "Clipping at work", "Provenance", "All cells"]
    assert headings(page, "h2")[1:] == chapters
    assert ("The article states <b>x</b>." in words(page.header)) == of_article
    cells = [[words(td) for td in tr("td")] for tr in page.main("tr")]
    arms = [tuple(row[:2]) for row in cells if row and row[0] in ("AlexNet", "VGG-11")]
    assert [(m, t) for m in ("AlexNet", "VGG-11") for t in ("500", "1000")] == arms[-4:]


def test_a_study_without_claims_has_a_report_a_checklist_and_figures_without_them(results):
    folder = results(claims=None)
    page = page_of(folder)
    assert page.find(id="claims") is None
    assert page("details", class_="claim") == []
    assert headings(page, "h2")[1:] == [
        *("The article's sections", "Clipping at work", "Provenance", "All cells"),
    ]
    report.pages(folder / "study.json")
    assert "names no file of claims" in (folder / "tables" / "checklist.html").read_text()
    assert r"\input{tables/claims.tex}" not in (folder / "tables.tex").read_text()
    s = study.load(folder / "study.json")
    assert {part.about["category"] for part in figures.of(s)} == {figures.AT_WORK}


def test_each_link_inside_the_report_leads_somewhere(results):
    page = page_of(results([CLAIM | changes for changes in KINDS], experiments=TWO_NAMES))
    links = {a["href"] for a in page("a") if not a["href"].startswith("#verdict=")}
    assert {f"#{tag['id']}" for tag in page(id=True)} >= {h for h in links if h[0] == "#"}
    ids = [tag["id"] for tag in page(id=True)]
    assert sorted(ids) == sorted(set(ids))
    assert {h.split("#claim=")[0] for h in links if h[0] != "#"} == {
        *("workflow.html", "notebooks/alexnet.html", "explorer.html")
    }


def test_a_claim_links_to_its_exhibit_of_two_with_one_name_to_the_figure(results):
    names = {"C1": "alexnet", "C2": "schedule", "C3": "vgg", "C4": "claims"}
    rows = [CLAIM | {"id": key, "exhibit": name} for key, name in names.items()]
    page = page_of(results(rows, experiments=TWO_NAMES))
    links = {key: page.find(id=key).select_one(".see a") for key in names}
    assert {key: link and link["href"] for key, link in links.items()} == {
        **{"C1": "#section-alexnet", "C2": "#figure-schedule"},
        **{"C3": None, "C4": None},  # the study has no such exhibit; it is this table itself
    }


def test_a_figure_with_nothing_to_show_is_a_line_behind_the_others(results):
    folder = results()
    drawing.save(drawing.empty("The study has no <moving> average."), folder / "figures/heat-map")
    drawing.save(drawing.plt.figure("a name of its own"), folder / "figures/accuracy")
    page = page_of(folder)
    chapter = page.find(id="figure-heat-map").find_parent("section")
    *before, last = chapter(class_="exhibit")
    assert last["id"] == "figure-heat-map"
    assert words(last.figcaption) == "The study has no <moving> average."
    assert (last.img, len(before)) == (None, len(chapter("img")))
    menu = {a["href"] for a in page.nav("a")}
    assert menu.isdisjoint({"#figure-heat-map"})
    assert menu >= {f"#{one['id']}" for one in before}
    assert page.header.img["alt"] != last.h3.string


def test_chapters_stand_in_their_order_whatever_has_nothing_to_show(results, registry_put_back):
    parts.figure("mine", title="Mine", caption="", category="6 Mine", order=1)(
        lambda evidence: None
    )
    folder = results(claims=None, figures=["accuracy", "heat-map", "mine"])
    drawing.save(drawing.empty("Nothing."), folder / "figures/heat-map")
    chapters = headings(page_of(folder), "h2")
    assert chapters.index("Clipping at work") < chapters.index("Mine")


def test_only_the_reports_own_script_may_run(results):
    page = page_of(results())
    policy = page.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    _, script = page("script")
    digest = base64.b64encode(hashlib.sha256(script.string.encode()).digest()).decode()
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}'" in policy


def test_the_report_and_the_checklist_state_one_time(results):
    folder = results()
    page = page_of(folder)
    report.pages(folder / "study.json")
    stated = "5 min of training and 3 min of evaluation"
    assert stated in words(page.find(id="provenance"))
    checklist = BeautifulSoup((folder / "tables/checklist.html").read_text(), "html.parser")
    answers = dict([words(td) for td in tr("td")] for tr in checklist("tr")[1:])
    assert answers["How much compute?"].startswith(stated)
    assert answers["How many seeds?"].startswith("3 in an arm. A seed decides split, weights,")
    split = "9 test images, drawn anew by each seed (but for the test images, which"
    assert split in answers["Which data?"]
    assert words(checklist.table) in words(page.find(id="provenance"))


def test_the_first_lines_count_statements_only_where_there_are_some(results):
    own, published = (
        words(page_of(results([CLAIM | {"section": section}])).find(class_="byline"))
        for section in ("1", "external")
    )
    assert own.startswith("An untitled and undated article by A. N. Author makes 1 statement that")
    assert published == "2 runs on digits give 4 cells."


# ---- claims -------------------------------------------------------------------------------------


def test_tested_claims_stand_apart_and_first_with_counts_of_their_own(results):
    page = page_of(results([CLAIM | changes for changes in KINDS]))
    groups = {
        words(group.h3): [claim["id"] for claim in group("details", class_="claim")]
        for group in page(class_="group")
    }
    assert groups == {
        "Tested on this study's runs 1 refuted, 1 inconclusive": ["C1", "C2"],
        "Decided without a test 1 supported": ["D1"],
        "Figures of other images 1 not comparable": ["Q1"],
        "Tested on this study's runs 1 supported": ["E1"],
    }
    tallies = [words(tally) for tally in page(class_="tally")]
    assert tallies[0] == "2 tested on trained nets: 1 refuted , 1 inconclusive"
    assert "An untitled and undated article by A. N. Author makes 4 statements" in words(
        page.header
    )


def test_decided_claims_come_first_and_the_largest_beside_what_matters():
    rows = [
        {"id": "a", "verdict": "inconclusive", "effect": 9.0, "margin": 0.5},
        {"id": "b", "verdict": "supported", "effect": 1.0, "margin": 0.5},
        {"id": "c", "verdict": "supported", "effect": -0.5, "margin": 0.05},
        {"id": "d", "verdict": "supported", "effect": 99.0, "margin": np.nan},
        {"id": "e", "verdict": "supported", "effect": np.nan, "margin": 0.5},
        {"id": "f", "verdict": "refuted", "effect": 0.1, "margin": 0.5},
    ]
    assert verdicts.by_weight(pd.DataFrame(rows)).id.tolist() == list("fcbdea")


def test_a_row_has_its_verdict_and_opens_to_the_reason_the_rule_and_the_place(results):
    row = page_of(results([CLAIM | changes for changes in KINDS])).find(id="C2")
    assert words(row.summary) == (
        "C2 10% of λ_1 & more inconclusive +0.5 [-1.0, 2.0] points test accuracy, λ = 1 less λ = 10"
    )
    said = words(row.find(class_="body"))
    assert "(above 0: slower; 0.5 points matter): +0.5 [-1.0, 2.0] points, p 0.020" in said
    assert "<why>" in said
    assert f"section 3.3.1 of the article, at “{CLAIM['phrase']}”" in said


def test_behind_a_claim_stand_the_cells_of_both_sides_and_their_commands(results, cells):
    page = page_of(results())
    sides = page.find(id="C1")("details", class_="compared")
    assert [words(side) for side in sides] == [
        "3 cells of λ = 1, and their commands",
        "3 cells of no clipping, and their commands",
    ]
    data = json.loads(page.find(id="data").string)
    assert [row[0] for row in data["cells"]] == cells.cell.tolist()
    for side, threshold in zip(data["compared"]["C1"]["1"], (1.0, np.inf), strict=True):
        asked = cells[(cells.threshold == threshold) & (cells.model == "alexnet")]
        asked = asked[(asked.iterations == 500) & asked.ema.isna() & (asked.augmentation == "none")]
        assert [data["cells"][i][0] for i in side] == asked.cell.tolist()
        assert {data["cells"][i][data["columns"].index("Command")] for i in side} == {
            "python -m clipgrid train --model alexnet"
        }


def test_the_cells_are_those_of_the_look_that_judged(results):
    folder = results([CLAIM | {"look": 1}], seeds=[0], looks=[1, 3])
    page = page_of(folder)
    assert [words(side)[:7] for side in page.find(id="C1")(class_="compared")] == ["1 cell "] * 2


def test_a_claim_without_cells_has_none_behind_it(results, cells):
    cells = cells[cells.model != "alexnet"]
    assert page_of(results(cells=cells)).find(id="C1")(class_="compared") == []


def test_a_claim_that_is_computed_names_its_computation(results):
    folder = results([CLAIM | {"decided_by": "computation", "rule": 2, "verdict": "supported"}])
    claims = yaml.safe_load((folder / "claims.yaml").read_text())
    claims["claims"]["C1"]["rules"].append({"statistic": "computation", "name": "formula"})
    (folder / "claims.yaml").write_text(yaml.safe_dump(claims))
    page = page_of(folder)
    assert "Decided by the computation formula ." in words(page.find(id="C1"))
    command = f"python -m clipgrid judge --study results/study.json --claims {folder}/claims.yaml"
    assert command in words(page.find(id="claims"))


def test_the_plan_of_looks_and_what_was_spent_stand_below_the_verdicts(results):
    folder = results(looks=[1, 6])
    plan = report.looks(study.load(folder / "study.json"), pd.DataFrame({"look": [1, 1]}))
    assert [(look["seeds"], look["taken"]) for look in plan] == [(1, True), (6, False)]
    assert plan[-1]["spent"] == "5"
    assert "numbers of seeds that were fixed beforehand" in words(page_of(folder).main)


# ---- the abstract -------------------------------------------------------------------------------


def said(evidence, cells, rows=(), looks=()):
    table = pd.DataFrame([CLAIM | row for row in rows], columns=list(CLAIM))
    return abstract.abstract(evidence(cells), table, list(looks))


def test_the_abstract_is_honest_where_all_is_open(evidence, cells):
    rows = [{"verdict": "inconclusive"}] * 3 + [{"verdict": "not applicable"}]
    rows += [{"decided_by": "computation"}, {"decided_by": "computation"} | rows[0]]
    looks = [{"seeds": n, "p": p, "taken": n == 6} for n, p in ((6, "1e-07"), (12, "0.002"))]
    assert said(evidence, cells, rows, looks)["decided"] == (
        "Of 4 statements tested on trained nets, none is decided: 3 stay open and 1 can't be shown"
        " on these images. This is look 1 of 2, with 6 of up to 12 seeds. The looks share a level"
        " of 5%, and this one decides only where p is below 1e-07. Definitions, arithmetic and"
        " counts decide more: 1 refuted."
    )


def test_the_abstract_counts_what_is_decided(evidence, cells):
    rows = [{"verdict": v} for v in ("refuted", "refuted", "depends", "inconclusive")]
    assert said(evidence, cells, rows)["decided"] == (
        "Of 4 statements tested on trained nets, 2 refuted, 1 depends and 1 stays open."
    )
    assert said(evidence, cells)["decided"] == ""
    computed = said(evidence, cells, [{"decided_by": "computation"}])["decided"]
    assert computed == (
        "None of the statements was tested on trained nets. Definitions, arithmetic and counts"
        " decide more: 1 refuted."
    )


@pytest.fixture
def grid(cells):
    """At the larger of two learning rates λ = 1 takes 30 points of AlexNet; a seed's runs without
    clipping failed."""
    cells.loc[(cells.threshold == np.inf) & (cells.seed == 0), "status"] = "collapsed"
    hot = cells.assign(learning_rate=0.1, trajectory=cells.trajectory + "b")
    hit = (hot.threshold == 1) & (hot.model == "alexnet")
    hot.loc[hit, "test_accuracy"] -= 0.3 + 0.01 * (hot.seed[hit] - 1)
    return pd.concat([cells, hot], ignore_index=True)


def test_the_abstract_says_what_the_threshold_does_and_on_what_it_depends(evidence, grid):
    assert said(evidence, grid)["measured"] == (
        "Against no clipping, λ = 1 changed the test accuracy by -20.0 ± 2.5 to +10.0 ± 0.0 points;"
        " the median of its 4 settings is +10.0 (means over 3 seeds with 95% intervals, after"
        " T = 1000 steps). That depends on the learning rate (-5.0 at η = 0.1, +10.0 at η = 0.03)"
        " and on the net (-5.0 for AlexNet, +10.0 for VGG-11). 0 of 12 runs failed with it, and 4"
        " of 12 without."
    )


def test_the_abstract_says_over_how_many_seeds_where_these_differ(evidence, cells):
    fewer = cells[(cells.model == "alexnet") | (cells.seed < 2)]
    measured = said(evidence, fewer)["measured"]
    assert "(means over 2 to 3 seeds with 95% intervals, after T = 1000 steps)" in measured


def test_the_abstract_says_so_where_one_net_or_one_seed_was_tried(evidence, cells):
    one = cells[(cells.model == "alexnet") & (cells.seed == 0)]
    assert said(evidence, one)["measured"] == (
        "Against no clipping, λ = 1 changed the test accuracy by +10.0 points (one seed, after"
        " T = 1000 steps). One learning rate was tried, so nothing is known of others. One net was"
        " tried, so nothing is known of others. 0 of 1 runs failed with it, and 0 of 1 without."
    )


def test_the_abstract_says_so_where_nothing_trained_or_nothing_can_be_compared(evidence, cells):
    lost = cells.assign(status="diverged", test_accuracy=np.nan)
    assert said(evidence, lost)["measured"] == (
        "No pair of runs with λ = 1 and without clipping has an accuracy; 6 of 6 runs failed with"
        " it, and 6 of 6 without."
    )
    for some in (cells[cells.threshold != np.inf], cells[cells.threshold == np.inf]):
        assert said(evidence, some)["measured"].startswith("No run with a λ has its twin")


def test_where_nothing_has_what_goes_without_saying_what_most_have_is_compared(evidence, grid):
    usual = said(evidence, grid)["measured"]
    other = grid[grid.ema == 0.9].assign(schedule="cosine", label_noise=0.4, train_images="100")
    assert said(evidence, pd.concat([grid, other]))["measured"] == usual
    few = other.assign(schedule="linear").groupby("seed").head(1)
    named = "EMA 0.9, cosine learning rate, 100 training images, label noise 0.4"
    measured = said(evidence, pd.concat([few, other]))["measured"]
    assert measured == usual.replace("1000 steps", f"1000 steps, {named}")
    assert overview.weights_and_images(other) == "EMA 0.9, trained with original images"
    assert overview.arms(other)[0]["name"] == "AlexNet, η = 0.03"
    assert [row["runs"] for row in overview.outcomes(other)] == [36, 36, 36]


# ---- any study ----------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ANY)
def test_the_report_of_any_study_has_no_empty_table_and_no_nan(change, results, cells):
    some = ANY[change](cells)
    lost = {"verdict": "inconclusive", "look": np.nan, "n": 0, "compared": "", "above": ""}
    lost |= dict.fromkeys(("effect", "low", "high", "p", "p_of_look", "p_against"), np.nan)
    page = page_of(results([CLAIM | row | lost for row in KINDS], cells=some))
    texts = [words(td) for td in page("td")] + [words(page.header), words(page.find(id="list"))]
    data = json.loads(page.find(id="data").string)
    texts += [text for row in data["cells"] for text in row]
    assert [text for text in texts if re.search(r"\bnan\b", text, re.IGNORECASE)] == []
    assert [words(table) for table in page("table") if len(table("tr")) < 2] == []
    assert len(data["cells"]) == len(some)


@pytest.mark.parametrize("changes", [{"claims": None}, {}])
def test_the_script_runs_on_any_study(changes, results, cells, browser):
    folder = results([], cells=diverged(cells), **changes)
    report.report(folder / "study.json")
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: line.type == "error" and errors.append(line.text))
    page.goto((folder / "report.html").as_uri())
    page.get_by_role("searchbox").fill("alexnet_1.0 T500")
    names = page.locator("#rows tbody td:first-child").all_inner_texts()
    assert names == [name for name in cells.cell if "alexnet_1.0" in name and "T500" in name]
    page.go_back()
    assert page.locator("#rows tbody tr").count() == 100
    page.get_by_role("button", name=f"100 more of the {len(cells) - 100} that").click()
    assert page.locator("#rows tbody tr").count() == 200
    page.close()
    assert errors == []


def test_arms_that_differ_on_any_axis_have_a_row_each(cells):
    more = [cells.assign(schedule="cosine"), cells.assign(label_noise=0.4)]
    rows = overview.arms(pd.concat([cells, *more], ignore_index=True))
    assert [row["name"] for row in rows][::2] == [
        *("AlexNet", "AlexNet, label noise 0.4", "AlexNet, cosine learning rate"),
        *("VGG-11", "VGG-11, label noise 0.4", "VGG-11, cosine learning rate"),
    ]
    assert {row["difference"] for row in rows} == {"+10.0\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.0"}
