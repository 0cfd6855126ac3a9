"""A study whose every text from outside is a template, markup or a script: the report shows each as
it is, and runs none."""

import base64
import html
import json
import re
from urllib.parse import unquote

import pytest
import yaml

TITLE = "{{ 7*7 }} {% raw %} {x} <b>&amp;\n\n.. include:: /etc/hostname\n\n`x_ | </script>"
EXPERIMENT = (
    "{{ 7*7 }} {experiment} </script><script>alert(1)</script>\n\n.. include:: /etc/hostname"
)
STATEMENT = r"{{ 7*7 }} costs $\foo$ & <img src=x onerror=alert(1)> {% endraw %} \input{x} \n\n`"
EXHIBIT = "'); alert(1); (' \"</script>"
RESULTS = 'it\'s "here" & there'

STUDY = {
    "title": TITLE,
    "results": RESULTS,
    "data": {"size": 8},
    "models": {"alexnet": {"width": 0.125}},
    "optimizers": {"momentum": {"learning_rates": [0.03]}},
    "clips": [0.01, "inf"],
    "iterations": [2],
    "ema": ["none"],
    "augmentations": ["none"],
    "seeds": [0, 1],
    "claims": "claims of 'others' & \"more\".yaml",
    "experiments": {
        "only": {"title": EXPERIMENT, "section": "1 {{ 7*7 }} `: \\", "select": [{}]},
        "other": {"title": "Other", "section": "1 {{ 7*7 }} `: \\", "select": [{"clips": [0.01]}]},
    },
}
CLAIM = {
    "section": "{{ 7*7 }} <b>",
    "kind": "comparative",
    "statement": STATEMENT,
    "family": "one",
    "exhibit": EXHIBIT,
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
FACT = CLAIM | {
    "section": "external",
    "kind": "published",
    "source": "{{ 7*7 }} <i>",
    "exhibit": "forest",
}


@pytest.fixture(scope="module")
def finished(new_project, snakemake, tmp_path_factory):
    """The project in which the study was run to its end."""
    project = new_project(tmp_path_factory.mktemp("hostile") / "project")
    (project / "study.yaml").write_text(yaml.safe_dump(STUDY))
    claims = {"claims": {"C1": CLAIM, "E1": FACT}}
    (project / STUDY["claims"]).write_text(yaml.safe_dump(claims))
    run = snakemake(project, "--cores", 2, "--configfile", "study.yaml")
    assert run.returncode == 0, run.stdout
    return project


@pytest.fixture(scope="module")
def report(finished):
    return (finished / RESULTS / "report.html").read_text()


def value_in(report, name):
    """What the report's script assigns to the variable `name`."""
    start = re.search(rf"<script[^>]*>\s*var {name} = ", report).end()
    return json.JSONDecoder().raw_decode(report, start)[0]


@pytest.fixture(scope="module")
def start_page(report):
    return value_in(report, "workflow_desc")


def words(text):
    """Text as a reader sees it, who sees neither line breaks nor invisible signs."""
    return " ".join(text.replace("\u2060", "").split())


def test_the_start_page_shows_title_and_statements_as_they_are(start_page):
    (title,) = re.findall(r'<h1 class="title">(.*?)</h1>', start_page, re.DOTALL)
    assert words(html.unescape(title)) == words(TITLE)
    cells = [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", start_page)]
    assert cells.count(STATEMENT) == 2
    assert STUDY["claims"] in html.unescape(start_page)


def test_nothing_is_taken_for_a_template_or_for_markup(report, start_page):
    pages = [start_page, *(result["caption"] for result in value_in(report, "results").values())]
    assert len(pages) > 20
    for page in pages:
        assert "System Message" not in page
        assert not re.search(r"\b49\b", page)
        assert not re.search(r"<b>&amp|<img|<script|alert\(1\)<", page)


def test_a_category_has_its_experiments_title_on_one_line_and_ends_no_script(report):
    section = STUDY["experiments"]["only"]["section"]
    expected = {words(f"2 Section {section}, {title}") for title in (EXPERIMENT, "Other")}
    found = {words(category) for category in value_in(report, "categories")}
    assert expected <= found
    assert report.count("alert(1)</script>") == 0


def test_a_link_to_an_exhibit_names_a_result_of_the_report(start_page, report):
    links = [
        html.unescape(link) for link in re.findall(r'<a href="(javascript:[^"]*)"', start_page)
    ]
    named = [unquote(link).partition("resultPath: ")[2] for link in links]
    paths = {json.JSONDecoder().raw_decode(code)[0] for code in named}
    assert paths == {f"{RESULTS}/figures/forest.svg"}
    assert paths <= set(value_in(report, "results"))


def test_the_pages_of_the_report_show_the_claims_as_they_are(finished, report):
    results = value_in(report, "results")
    for name in ("claims", "external"):
        content = results[f"{RESULTS}/tables/{name}.html"]["data_uri"].partition(";base64,")[2]
        page = base64.b64decode(content).decode()
        assert html.escape(STATEMENT, quote=False) in page
        assert "<img" not in page
    assert html.escape(CLAIM["section"]) in (finished / RESULTS / "tables/claims.html").read_text()
    figure = (finished / RESULTS / "figures/forest.svg").read_text()
    assert r"{{ 7*7 }} costs $\foo$ &amp; &lt;img" in figure


def test_latex_has_the_texts_spelled_out(finished):
    document = (finished / RESULTS / "tables.tex").read_text()
    assert r"\title{\{\{ 7*7 \}\} \{\% raw \%\} \{x\} $<$b$>$\&amp; .. include::" in document
    table = (finished / RESULTS / "tables/claims.tex").read_text()
    assert r"costs \$\textbackslash{}foo\$ \& $<$img" in table


def test_snakemakes_own_report_command_shows_them_too(finished, snakemake):
    run = snakemake(finished, "--report", "out.html", "--configfile", "study.yaml")
    assert run.returncode == 0, run.stdout
    assert words(TITLE) in words(
        html.unescape(value_in((finished / "out.html").read_text(), "workflow_desc"))
    )


def test_an_experiment_that_is_called_like_a_page_of_the_report_is_refused(project, snakemake):
    experiments = {"settings": {"title": "Mine", "select": [{}]}}
    study = STUDY | {"claims": "claims.yaml", "experiments": experiments}
    (project / "study.yaml").write_text(yaml.safe_dump(study))
    run = snakemake(project, "--dry-run", "--configfile", "study.yaml")
    assert run.returncode != 0
    assert "experiments.settings: the report has a page of this name already" in run.stdout
