"""A study names the figures of its report, and may have a start page of its own."""

import pytest

from clipgrid import InputError
from clipgrid.reporting import figures, text
from clipgrid.study import config as study


@pytest.fixture
def template(tmp_path, monkeypatch):
    """A function: a template with this text, below the folder that we are in; its path."""
    monkeypatch.chdir(tmp_path)
    text.environment.cache_clear()

    def write(content):
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / "start.html").write_text(content)
        text.environment.cache_clear()
        return "mine/start.html"

    return write


def test_a_template_of_ones_own_extends_ours_and_escapes_what_it_shows(template):
    own = template("{% extends base %}{% block content %}<p>{{ said }}</p>{% endblock %}")
    page = text.page(text.own(own), base="page.html", title="Mine", said="x & <y>")
    assert "<h1>Mine</h1>" in page
    assert "<p>x &amp; &lt;y&gt;</p>" in page


def test_a_template_that_is_not_there_is_one_error(template):
    with pytest.raises(InputError, match=r"start_page: there is no file mine/other\.html below /"):
        text.own("mine/other.html")
    with pytest.raises(InputError, match="there is no file"):
        text.own("../start.html")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (
            "one\n{% if %}",
            r"start_page: mine/start\.html is no template .*line 2 of mine",
        ),
        ("{{ nothing.at.all }}", "'nothing' is undefined"),
        ("{% extends 'nowhere.html' %}", "nowhere.html"),
        ("{{ 1 // 0 }}", "division .*by zero"),
    ],
)
def test_a_template_that_fails_is_one_error(template, content, why):
    with pytest.raises(InputError, match=why):
        text.page(text.own(template(content)))


def test_a_study_names_its_figures(config):
    every = [part.name for part in figures.of(study.parse(config))]
    assert len(every) > 5
    chosen = study.parse(config | {"figures": [every[3], every[0]]})
    assert [part.name for part in figures.of(chosen)] == [every[0], every[3]]
    assert figures.of(study.parse(config | {"figures": []})) == []
    with pytest.raises(InputError, match=r"figures\[0\]: unknown figure 'acuracy'; did"):
        study.parse(config | {"figures": ["acuracy"]})
