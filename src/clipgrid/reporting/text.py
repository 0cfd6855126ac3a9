"""Text from outside (a study's title, a claim's statement, the name of a folder) is data: for each
place of the report, one function by which it appears there letter for letter. Imports no pandas.

In HTML the templates escape it; Snakemake's own places and LaTeX are here.
"""

import re
import textwrap
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipgrid import InputError
from clipgrid.study.faults import place_of

if TYPE_CHECKING:
    from jinja2 import Environment


OWN = "own"


@cache
def environment() -> "Environment":
    """The templates of the report's pages, ours and, behind OWN, those below this folder: all that
    they are given is escaped, but for what they call safe: pages of ours within a page, and our
    script with its data."""
    from jinja2 import (
        ChoiceLoader,
        Environment,
        FileSystemLoader,
        PackageLoader,
        PrefixLoader,
        StrictUndefined,
    )

    theirs = PrefixLoader({OWN: FileSystemLoader(Path())})
    return Environment(
        loader=ChoiceLoader([PackageLoader("clipgrid.reporting"), theirs]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(template: str, **values: Any) -> str:
    """A template with these values in it. InputError for one of a study's own that fails."""
    if not template.startswith(OWN):
        return environment().get_template(template).render(values)
    try:
        return environment().get_template(template).render(values)
    except Exception as error:  # whatever it does
        raise failed(template, error) from error


def own(template: str) -> str:
    """The name of a study's own template. InputError where it isn't one."""
    try:
        environment().get_template(f"{OWN}/{template}")
    except Exception as error:  # whatever is in the file
        raise failed(f"{OWN}/{template}", error) from error
    return f"{OWN}/{template}"


def failed(template: str, error: Exception) -> InputError:
    from jinja2 import TemplateNotFound

    file = template.removeprefix(f"{OWN}/")
    if isinstance(error, TemplateNotFound) and error.name == template:
        return InputError(f"start_page: there is no file {file} below {Path.cwd()}")
    at = getattr(error, "lineno", None)
    where = f" (line {at} of {file})" if at else place_of(error)
    return InputError(f"start_page: {file} is no template that works: {error}{where}")


def source(name: str) -> str:
    """A file beside the templates, as it is."""
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def as_caption(html: str) -> str:
    """HTML as the file that Snakemake takes for a start page or a caption. It renders that as a
    Jinja template and then as reStructuredText, and must find nothing of either in the text."""
    inert = re.sub(r"\{(?=[{%#])", "&#123;", html)
    return ".. raw:: html\n\n" + textwrap.indent(inert, "   ") + "\n"


def line(text: str) -> str:
    """`text` on one line, without control characters."""
    return re.sub("[\0- \x7f-\x9f\u2028\u2029]+", " ", text).strip()


def label(text: str) -> str:
    """`text` as a category or label of Snakemake's report, which takes {word} for a wildcard,
    writes </script> into a script as it is, and makes it the name of a link in reStructuredText,
    which a colon ends: an invisible joiner (U+2060) behind such a sign takes away its meaning."""
    return re.sub(r"[{<:\\]", "\\g<0>\u2060", line(text))


LATEX = {
    **{sign: "\\" + sign for sign in "%_&#${}"},
    **{"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"},
    **{"≥": r"$\geq$", "≤": r"$\leq$", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$"},
    **{"λ": r"$\lambda$", "η": r"$\eta$", "‖": r"$\Vert$", "∞": r"$\infty$"},
    **{"<": "$<$", ">": "$>$", "|": "$|$", '"': r"\textquotedbl{}", "\N{NO-BREAK SPACE}": "~"},
}


def latex(text: str) -> str:
    """`text` on one line, with every sign that LaTeX would take amiss spelled out."""
    return "".join(LATEX.get(sign, sign) for sign in line(text))
