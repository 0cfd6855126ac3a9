"""Text from outside appears letter for letter in each place of the report: whatever it is, nothing
in it is taken for a template, for markup or for a script."""

import html
import re
from html.parser import HTMLParser

import pytest
from docutils.core import publish_parts
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import Environment
from snakemake.io import WILDCARD_REGEX

from clipgrid.reporting import text
from clipgrid.study import config as study
from clipgrid.study.faults import StudyError

PIECES = (
    *("{{ 7*7 }}", "{{", "}}", "{% raw %}", "{% endraw %}", "{% include 'x' %}", "{#", "#}", "{x}"),
    *(
        "\n\n.. include:: /etc/hostname\n\n",
        "\n",
        "\u2028",
        "\x0b",
        "\r",
        "\t",
        "   ",
        "`",
        "::",
        ": ",
    ),
    *(
        "</script><script>alert(1)</script>",
        "<b>",
        "&amp;",
        "'",
        '"',
        "\\",
        "_",
        "*",
        "|",
        "λ",
        "试",
        "x",
    ),
)
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=8).map("".join)
LINKS = "\n\n.. _{}: javascript:app.showCategory('x')\n.. _{}: javascript:app.showCategory('y')\n"


class Letters(HTMLParser):
    """What a reader sees of a page."""

    def __init__(self, page):
        super().__init__()
        self.seen = ""
        self.feed(page)
        self.close()

    def handle_data(self, data):
        self.seen += data


def words(text):
    return " ".join(re.sub("[\0\x01-\x1f\x7f-\x9f\u2028\u2029]", " ", text).split())


def shown(caption, *labels):
    """A caption as Snakemake shows it, with the links to categories that it adds."""
    links = LINKS.format(*labels) if labels else ""
    template = Environment(trim_blocks=True, lstrip_blocks=True).from_string(caption + links)
    return publish_parts(template.render(), writer="html")["html_body"]


@given(TEXTS)
@example("{{ 7*7 }} {% raw %}\n\n.. include:: /etc/hostname\n\nx")
@example("{{{%{#")
def test_a_page_is_shown_by_snakemake_as_it_is(title):
    page = shown(text.as_caption(f"<p>{html.escape(title)}</p>"))
    assert words(Letters(page).seen) == words(title)
    assert "system-message" not in page


@given(TEXTS, TEXTS)
@example(": x", "::")
def test_a_label_is_no_wildcard_no_script_and_no_markup(one, other):
    labels = [text.label(f"2 Section 1, {one}"), text.label(f"2 Section 1 {other}")]
    for label, title in zip(labels, (one, other), strict=True):
        assert WILDCARD_REGEX.search(label) is None
        assert not re.search("<[!/a-z]", label)
        assert words(label.replace("\u2060", "")).endswith(words(title.replace("\u2060", "")))
    assert "system-message" not in shown("A caption.", *labels)


@pytest.mark.parametrize(
    ("words", "latex"),
    [
        ("10% of λ_1 & more", r"10\% of $\lambda$\_1 \& more"),
        (
            r"\input{x} ^~ #$",
            r"\textbackslash{}input\{x\} \textasciicircum{}\textasciitilde{} \#\$",
        ),
        ("a\n\nb\u2028c", "a b c"),
        ("< 0.001", "$<$ 0.001"),
    ],
)
def test_latex_spells_its_own_signs_out(words, latex):
    assert text.latex(words) == latex


@pytest.mark.parametrize("key", ["results", "claims"])
@pytest.mark.parametrize("path", ["{x}", "a</script>", "a\nb", "-x"])
def test_a_path_that_cannot_be_taken_literally_is_refused(config, key, path):
    with pytest.raises(StudyError, match=f"{key}: .* must have no braces, no <"):
        study.parse(config | {key: path})


def test_a_template_escapes_what_it_is_given():
    page = text.page("caption.html", caption="<b>{{ 7*7 }}", settings="a & b")
    assert "<p>&lt;b&gt;{{ 7*7 }}</p>" in page
    assert "a &amp; b" in page
