"""The figures across a study: a file each, whose head says what stands about it in the report. The
notebook, the rule, the captions and the tests follow what is declared.

    @figure("accuracy", title=…, caption=…, category=AT_WORK, order=50)
    def accuracy(evidence: Evidence) -> Figure: ...

A figure takes the evidence of a study (`clipgrid.judging.evidence`) and returns a matplotlib
figure. All speak one visual language: colour is the clip (λ; grey is no clipping), thin lines and
dots are seeds, thick ones means. Files of figures import what draws by `clipgrid.lazy`, as planning
reads them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from clipgrid.study import parts
from clipgrid.study.parts import Part

if TYPE_CHECKING:
    from clipgrid.study.config import Study

VERDICTS = "1 Verdicts"
AT_WORK = "3 Clipping at work"
EXTERNAL = "4 External validation"
PROVENANCE = "5 Provenance"
"""Categories of the report, in the order of its menu; section 2 has the article's experiments."""

NOTEBOOK = "NOTEBOOK"
"""Stands for the notebook that draws them, in the place of a name."""
TABLES = {VERDICTS: 1, EXTERNAL: 1}
"""Tables of claims that stand before the figures of a category."""


def of(study: Study) -> list[Part]:
    """The figures of a study, by category and order: those that it names, or else ours and those of
    its extensions. Those of claims need claims."""
    names = parts.names("figure") if study.figures is None else study.figures
    known = [parts.find("figure", name) for name in names]
    drawn = [f for f in known if study.claims or f.about["category"] not in TABLES]
    return sorted(drawn, key=lambda part: (part.about["category"], part.about["order"], part.name))


def labels(study: Study) -> dict[str, str]:
    """What the menu calls each figure, and the NOTEBOOK that follows them at work: a number
    within the category, and a title."""
    titles: dict[str, dict[str, str]] = defaultdict(dict)
    for part in of(study):
        titles[part.about["category"]][part.name] = part.label
    titles[AT_WORK][NOTEBOOK] = "Executed notebook"
    named = {}
    for category, members in titles.items():
        first = 1 + TABLES.get(category, 0)
        digits = len(str(first + len(members) - 1))  # the menu sorts them as words
        for number, (name, title) in enumerate(members.items(), first):
            named[name] = f"{number:0{digits}} {title}"
    return named
