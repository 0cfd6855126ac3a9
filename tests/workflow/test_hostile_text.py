"""A study whose every text is a template, markup, a script or a command: its report, in a browser,
shows each as it was written, and nothing runs, no file is read, no file is written."""

import base64
import csv
import html
import json
import math
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from playwright.sync_api import expect

SECRET = "what no text may read"
TEXT = (
    "{{ cycler.__init__.__globals__.os.popen('touch ran-1').read() }} {{ 7*7 }} {% raw %} {# {x} %s"
    " $(touch ran-2) `touch ran-3` '; touch ran-4; '"
    " </script><script>console.error('ran')</script> <!--<script> <b>&amp; --> ]]>"
    " <img src=x onerror=\"console.error('ran')\">"
    r" $\foo$ \input{secret.txt} ^^ 10% of λ_1 试 🎉"
    " `x_ |x| **x** :math:`x`\n\n.. include:: secret.txt\n\n.. raw:: html\n   :file: secret.txt\n\n"
    ' \r\t\u2028 "x"'
)
SHORT = "{{ 7*7 }} <img src=x onerror=\"console.error('ran')\"> `x_ $(touch ran-5)\n.. include:: x"
RESULTS = 'it\'s "here" & $(touch ran-6) `touch ran-7` there'
CLAIMS = "claims of 'others' & \"more\" $(touch ran-8).yaml"
BEFORE = "before & $(touch ran-9).csv"
FOLDER = "images 7*7 $(touch ran-0) 'x' & \"y\""


def hostile(field):
    """A text that names its field at both ends."""
    return f"{field} {TEXT} {field}"


STUDY = {
    "title": hostile("title"),
    "results": RESULTS,
    "data": {"name": "imagefolder", "folder": FOLDER, "size": 8},
    "models": {"alexnet": {"width": 0.125}},
    "optimizers": {"momentum": {"learning_rates": [0.03]}},
    "clips": [0.01, "inf"],
    "iterations": [2],
    "ema": ["none"],
    "augmentations": ["none"],
    "seeds": [0, 1],
    "training": {"batch_size": 4},
    "claims": CLAIMS,
    "experiments": {
        "only": {"title": hostile("experiment"), "section": hostile("part"), "select": [{}]},
        "other": {
            "title": "Other",
            "section": "1 {{ 7*7 }} `: \\",
            "select": [{"clips": [0.01]}],
        },
    },
}
CLAIM = {
    "section": hostile("section"),
    "phrase": SHORT[:40],
    "kind": "comparative",
    "statement": hostile("statement"),
    "family": "one",
    "exhibit": "claims",
    "rules": [
        {
            "statistic": "paired t",
            "measure": "loss_area",
            "claim": "lower",
            "margin": "0.1 nats",
            "arm": {"clips": [0.01]},
            "baseline": {"clips": ["inf"]},
        }
    ],
}
FIGURE = CLAIM | {
    "kind": "quantitative",
    "statement": hostile("quantity"),
    "rules": [
        {
            "statistic": "figure of other data",
            "measure": "test_loss",
            "figure": hostile("figure"),
            "cells": {"clips": ["inf"]},
        }
    ],
}
FACT = CLAIM | {
    "section": "external",
    "kind": "published",
    "statement": hostile("fact"),
    "source": hostile("source"),
    "exhibit": "forest",
}
JUDGED = {
    "article": {
        **{"author": hostile("author"), "title": hostile("article")},
        **{"date": hostile("date"), "asks": hostile("asks")},
    },
    "frozen": {"date": "2026-01-01", "before": BEFORE},
    "claims": {"C1": CLAIM, "Q1": FIGURE, "E1": FACT},
}
CLASSES = [SHORT, "plain"]
TORN = f"{SHORT}.jpg"


@pytest.fixture(scope="module")
def finished(new_project, snakemake, tmp_path_factory):
    """The project in which the study was run to its end."""
    project = new_project(tmp_path_factory.mktemp("hostile") / "project")
    (project / "secret.txt").write_text(SECRET)
    (project / "study.yaml").write_text(yaml.safe_dump(STUDY))
    (project / CLAIMS).write_text(yaml.safe_dump(JUDGED))
    with (project / BEFORE).open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "verdict", "change"])
        rows.writerow(["C1", hostile("verdict"), hostile("change")])
    random = np.random.default_rng(0)
    for name in CLASSES:
        (project / FOLDER / name).mkdir(parents=True)
        for i in range(12):
            pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(project / FOLDER / name / f"{i}.png")
    (project / FOLDER / "plain" / TORN).write_bytes(b"torn")
    run = snakemake(project, "--cores", 2, "--configfile", "study.yaml")
    assert run.returncode == 0, run.stdout
    return project


@pytest.fixture(scope="module")
def of_snakemake(finished):
    """Snakemake's own report."""
    return (finished / RESULTS / "workflow.html").read_text()


def value_in(report, name):
    """What the report's script assigns to the variable `name`."""
    start = re.search(rf"<script[^>]*>\s*var {name} = ", report).end()
    return json.JSONDecoder().raw_decode(report, start)[0]


def words(text):
    """Text as a reader sees it, who sees neither line breaks nor invisible signs."""
    return " ".join(re.sub("[\0-\x1f\u2028]", " ", text.replace("\u2060", "")).split())


# ---- what a reader sees -------------------------------------------------------------------------

PAGES = ("report.html", "explorer.html", "workflow.html")
HOME = 'app.setView({navbarMode: "menu", content: "rulegraph"})'
SHOW = """path => app.setView({
    navbarMode: "resultinfo", resultPath: path, contentPath: results[path].data_uri,
    content: path.endsWith(".svg") ? "img" : "html",
})"""


@pytest.fixture(scope="module")
def opened(browser, finished):
    """Opens a report: a page that keeps what it requested and what it had to complain about."""
    page = browser.new_page()
    page.requests, page.errors = [], []
    page.on("request", lambda request: page.requests.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda line: line.type == "error" and page.errors.append(line.text))
    page.on("dialog", lambda dialog: page.errors.append(dialog.message))

    def open_report(name, address=""):
        page.goto((finished / RESULTS / name).as_uri() + address)
        page.locator("h1").first.wait_for()
        return page

    yield open_report
    page.close()


@pytest.fixture(scope="module")
def seen(opened):
    """{what a reader opens: what stands there}: the report with all that opens in it; the menu and
    the exhibits of Snakemake's own, each with its caption. And the page that was used."""
    page = opened("report.html")
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    page.locator(".compared td").first.wait_for()
    texts = {"report": page.locator("body").inner_text()}
    opened("explorer.html", "#claim=C1")
    page.locator("#rows td").first.wait_for()
    texts["explorer"] = page.locator("body").inner_text()
    opened("workflow.html")
    texts["menu"] = page.locator("nav.h-screen").inner_text()
    texts["home"] = page.locator(".document").inner_text()
    for path in page.evaluate("Object.keys(results)"):
        page.evaluate(HOME)
        page.locator(".document").wait_for()
        page.evaluate(SHOW, path)
        shown = page.locator("#app div.grow > iframe, #app div.grow img")
        shown.wait_for()
        texts[path] = page.locator("nav.h-screen").inner_text()
        if path.endswith(".html"):
            frame = shown.element_handle().content_frame()
            frame.wait_for_url(re.compile("^data:text/html"))
            texts[path] += frame.locator("body").inner_text()
    return {name: words(text) for name, text in texts.items()}, page


def test_nothing_runs_and_no_file_is_read_or_written(finished, seen, of_snakemake):
    _, page = seen
    assert page.errors == []
    outside = {url for url in page.requests if not url.startswith(("data:", "blob:"))}
    files = [finished / RESULTS / name for name in PAGES]
    assert outside == {file.as_uri() for file in files}
    assert list(finished.rglob("ran-*")) == []
    results = value_in(of_snakemake, "results").values()
    pages = [base64.b64decode(result["data_uri"].partition(",")[2]) for result in results]
    assert len(pages) > 20
    pages += [file.read_bytes() for file in files]
    assert [page for page in pages if SECRET.encode() in page] == []


@pytest.mark.parametrize(
    ("place", "fields"),
    [
        ("report", ("title", "author", "article", "date", "asks", "experiment", "part")),
        ("report", ("section", "statement", "quantity", "figure", "fact", "source")),
        ("report", ("verdict", "change")),
        ("explorer", ("title", "statement")),
        ("home", ("title",)),
        ("menu", ("experiment", "part")),
        ("tables/claims.html", ("section", "statement", "quantity", "figure")),
        ("tables/external.html", ("fact", "source")),
        ("tables/judgements.html", ("statement", "verdict", "change")),
        ("tables/only.html", ("experiment", "part")),
        ("notebooks/only.html", ("experiment",)),
    ],
)
def test_each_text_is_shown_as_it_was_written(seen, place, fields):
    texts, _ = seen
    text = texts.get(place) or texts[f"{RESULTS}/{place}"]
    assert [field for field in fields if words(hostile(field)) not in text] == []


def test_what_is_looked_for_is_no_markup_and_stands_in_the_address(opened):
    page = opened("report.html")
    wanted = words(hostile("statement"))
    page.get_by_role("searchbox").fill(wanted)
    assert page.locator("details.claim:visible").evaluate_all("c => c.map(c => c.id)") == ["C1"]
    page.reload()
    assert page.get_by_role("searchbox").input_value() == wanted
    assert page.locator("details.claim:visible").count() == 1
    page.get_by_role("searchbox").fill("</script><script>console.error('ran')</script> no such")
    assert page.locator("details.claim:visible").count() == 0
    assert page.errors == []


def test_behind_a_claim_stand_the_commands_of_its_cells_to_be_copied(opened, finished):
    cells = pd.read_csv(finished / RESULTS / "cells.csv")
    page = opened("report.html", "#C1")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    sides = page.locator("#C1 .compared")
    assert sides.count() == 2
    for side, threshold in zip(sides.all(), (0.01, math.inf), strict=True):
        of_side = cells[cells.threshold == threshold].drop_duplicates("cell")
        side.locator("> summary").click()
        rows = side.locator("tbody tr")
        names = rows.locator("td:first-child")
        expect(names).to_have_text(of_side.cell.tolist(), timeout=30_000)  # beside other tests
        for row, command in zip(rows.all(), of_side.command, strict=True):
            row.get_by_role("button", name="command").click()
            assert side.locator("code").inner_text() == command
            side.get_by_role("button", name="copy").click()
            side.get_by_role("button", name="copied").wait_for()
            row.get_by_role("button", name="command").click()
            assert side.locator("code").count() == 0
            assert page.evaluate("navigator.clipboard.readText()") == command
    assert page.errors == []


def test_names_of_files_and_of_classes_are_shown_as_they_are(seen):
    texts, _ = seen
    assert CLAIMS in texts["report"]
    assert CLAIMS in texts[f"{RESULTS}/tables/checklist.html"]
    assert words(CLAIM["phrase"]) in texts[f"{RESULTS}/tables/claims.html"]
    settings = texts[f"{RESULTS}/tables/settings.html"]
    for name in (SHORT, f"plain/{TORN}", STUDY["title"]):
        assert words(json.dumps(name)) in settings


def test_nothing_is_taken_for_a_template_or_for_markup(of_snakemake):
    texts = [result["caption"] for result in value_in(of_snakemake, "results").values()]
    for page in (value_in(of_snakemake, "workflow_desc"), *texts):
        assert "System Message" not in page
        assert not re.search(r"\b49\b", page)
        assert not re.search(r"<b>&amp|<img|<script", page)


def test_a_category_has_its_experiments_title_on_one_line(of_snakemake):
    experiments = STUDY["experiments"].values()
    expected = {words(f"2 Section {e['section']}, {e['title']}") for e in experiments}
    assert expected <= {words(category) for category in value_in(of_snakemake, "categories")}


def test_a_figure_shows_a_statement_letter_by_letter(finished):
    figure = (finished / RESULTS / "figures/forest.svg").read_text()
    assert "statement {{ cycler.__init__" in figure


def test_latex_has_the_texts_spelled_out(finished):
    document = (finished / RESULTS / "tables.tex").read_text()
    assert r"\title{title \{\{ cycler.\_\_init\_\_" in document
    table = (finished / RESULTS / "tables/claims.tex").read_text()
    assert r"\$\textbackslash{}foo\$ \textbackslash{}input\{secret.txt\}" in table


def test_snakemakes_own_report_command_shows_them_too(finished, snakemake):
    run = snakemake(finished, "--report", "out.html", "--configfile", "study.yaml")
    assert run.returncode == 0, run.stdout
    page = value_in((finished / "out.html").read_text(), "workflow_desc")
    assert words(STUDY["title"]) in words(html.unescape(page))
    assert list(finished.rglob("ran-*")) == []


def test_an_experiment_that_is_called_like_a_page_of_the_report_is_refused(project, snakemake):
    experiments = {"settings": {"title": "Mine", "select": [{}]}}
    study = {k: v for k, v in STUDY.items() if k != "claims"} | {"experiments": experiments}
    (project / "study.yaml").write_text(yaml.safe_dump(study))
    run = snakemake(project, "--dry-run", "--configfile", "study.yaml")
    assert run.returncode != 0
    assert "experiments.settings: the report has a page of this name already" in run.stdout
