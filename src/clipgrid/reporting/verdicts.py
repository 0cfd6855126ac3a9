"""Claims and their verdicts, as tables show them: those that were tested apart from those that a
computation, a definition or a count decides, and from figures that ours can't be compared with."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from clipgrid.judging.measures import DIGITS
from clipgrid.judging.verdicts import VERDICTS
from clipgrid.reporting import text
from clipgrid.reporting.tables import save_latex

DECIDED_BY = ("test", "computation", "figure")
"""What decides a claim (the column of claims.csv), in the order of the tables."""


def by_decision(claims: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The claims by what decided them, none of them empty: `shown` as they are printed, the `rows`,
    and in words how many there are of each verdict (`counts`)."""
    groups = {kind: claims[claims.decided_by == kind] for kind in DECIDED_BY}
    return {
        kind: {"rows": list(rows.itertuples()), "shown": printed(rows), "counts": counts(rows)}
        for kind, rows in groups.items()
        if len(rows)
    }


def counts(claims: pd.DataFrame) -> str:
    """`3 supported, 9 refuted, 8 inconclusive`."""
    found = claims.verdict.value_counts()
    return ", ".join(f"{found[v]} {v}" for v in VERDICTS if v in found)


def effect(row: Any) -> str:
    """`+1.2 [0.3, 2.1] points`; nothing where nothing was measured."""
    if math.isnan(row.effect) or not row.unit:
        return ""
    if row.unit not in DIGITS:
        return f"{row.effect:.4g} {row.unit}"
    digits = DIGITS[row.unit]
    sign = "" if row.verdict == "not comparable" or row.unit == "%" else "+"
    interval = "" if math.isnan(row.low) else f" [{row.low:.{digits}f}, {row.high:.{digits}f}]"
    return f"{row.effect:{sign}.{digits}f}{interval} {row.unit}"


def measure(row: Any) -> str:
    """What the effect is of; nothing where nothing was measured."""
    return row.measure.replace("_", " ") if effect(row) else ""


def place(row: Any, phrase: bool) -> str:
    """Where the article states it: the section and, below it, a phrase."""
    if row.section == "external":
        return ""
    return f"{row.section}\n{row.phrase}" if phrase and row.phrase else row.section


def p_value(p: float) -> str:
    return "" if math.isnan(p) else "<\N{NO-BREAK SPACE}0.001" if p < 0.001 else f"{p:.3f}"


def printed(claims: pd.DataFrame, phrases: bool = True) -> pd.DataFrame:
    """The claims as text; columns that none of them needs are left out. With `phrases`, those of
    the article stand below the sections."""
    rows = list(claims.itertuples())
    columns = {
        "Claim": [row.id for row in rows],
        "Section": [place(row, phrases) for row in rows],
        "Statement": [row.statement for row in rows],
        "Verdict": [row.verdict for row in rows],
        "Effect [95% interval]": [effect(row) for row in rows],
        "of": [measure(row) for row in rows],
        "p": [p_value(row.p) for row in rows],
        "n": [str(row.n) if row.n > 0 else "" for row in rows],
        "Source": [row.source for row in rows],
        "Why": [row.reason for row in rows],
    }
    return pd.DataFrame({name: texts for name, texts in columns.items() if any(texts)})


def save(claims: pd.DataFrame, stem: Path, title: str, **about: Any) -> None:
    """Write the claims as `stem`.html, by what decided them, and as one table, without the reasons,
    as `stem`.tex. `about` are the claims' file and its checksum."""
    page = text.page("claims.html", title=title, groups=by_decision(claims), **about)
    stem.with_suffix(".html").write_text(page)
    shown = printed(claims, phrases=False).drop(columns=["Source", "Why"], errors="ignore")
    wide = {"Statement": "p{8cm}", "of": "p{3.5cm}", "p": "r", "n": "r"}
    columns = "".join(wide.get(name, "l") for name in shown.columns)
    save_latex(shown, stem, title, columns, "longtable")
