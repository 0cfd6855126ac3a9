"""Claims and their verdicts, as tables show them: those that were tested apart from those that a
computation, a definition or a count decides, and from figures that ours can't be compared with."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from clipgrid import InputError
from clipgrid.judging.measures import DIGITS
from clipgrid.judging.verdicts import VERDICTS
from clipgrid.reporting import text
from clipgrid.reporting.tables import save_latex

DECIDED_BY = ("test", "computation", "figure")
"""What decides a claim (the column of claims.csv), in the order of the tables."""


BY_WEIGHT = (
    *("refuted", "supported", "depends", "partly", "no effect that matters"),
    *("self-contradicted", "ill-posed", "inconclusive", "not comparable", "not applicable"),
)
"""Verdicts, in the order of the tables: first those that say most."""
OPEN = ("inconclusive", "not applicable", "not comparable")
"""Those that decide nothing."""


def by_weight(claims: pd.DataFrame) -> pd.DataFrame:
    """Decided claims first; of one verdict, that first whose effect is the largest beside what
    matters; else as they stand in the file."""
    rank = claims.verdict.map(BY_WEIGHT.index).astype(int)
    size = (claims.effect / claims.margin).abs().fillna(-1)
    order = claims.assign(rank=rank, size=-size).sort_values(["rank", "size"], kind="stable")
    return claims.loc[order.index]


def by_decision(
    claims: pd.DataFrame, findings: pd.DataFrame | None = None
) -> dict[str, dict[str, Any]]:
    """The claims by what decided them, none of them empty, and by weight: `shown` as they are
    printed, with what each rule found, the `rows`, and how many there are of each verdict, in words
    (`counts`) and by verdict (`tally`)."""
    groups = {kind: by_weight(claims[claims.decided_by == kind]) for kind in DECIDED_BY}
    return {
        kind: {
            "rows": list(rows.itertuples()),
            "shown": printed(rows, findings),
            "counts": counts(rows),
            "tally": tally(rows),
        }
        for kind, rows in groups.items()
        if len(rows)
    }


def tally(claims: pd.DataFrame) -> dict[str, int]:
    """How many claims have each verdict that there is."""
    found = claims.verdict.value_counts()
    return {verdict: int(found[verdict]) for verdict in BY_WEIGHT if verdict in found}


def counts(claims: pd.DataFrame) -> str:
    """`9 refuted, 3 supported, 8 inconclusive`."""
    return ", ".join(f"{n} {verdict}" for verdict, n in tally(claims).items())


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
    """What the effect is of, and what its sign says; nothing where nothing was measured."""
    if not effect(row):
        return ""
    named = row.measure.replace("_", " ")
    if not row.compared:
        return named
    matters = "" if math.isnan(row.margin) else f"; {row.margin:g} {row.unit} matter"
    even = "50%" if named.startswith("P(") else "0"
    return f"{named}, {row.compared} (above {even}: {row.above}{matters})"


def found(row: Any) -> str:
    """What one rule found, in a line: its verdict, effect, p and n, and the mixed model's view."""
    shown = f"{row.verdict}: {measure(row)}: {effect(row)}" if effect(row) else row.verdict
    p = [f"p {p_value(row.p_of_look)} at this look"] if not math.isnan(row.p_of_look) else []
    p += [f"{p_value(row.p)} over all looks and claims"] if not math.isnan(row.p) else []
    p += [f"against it {p_value(row.p_against)}"] if not math.isnan(row.p_against) else []
    n = [f"{row.n} seed{'s' * (row.n != 1)}"] if row.n and row.decided_by == "test" else []
    said = [", ".join([shown, *p, *n])]
    if row.unit in DIGITS and not math.isnan(row.model_effect):
        digits = DIGITS[row.unit]
        low, high = (f"{x:.{digits}f}" for x in (row.model_low, row.model_high))
        said.append(
            f"over nets, rates and seeds like these {row.model_effect:+.{digits}f} [{low}, {high}],"
            f" with a probability of {100 * row.model_inside:.0f}% too small to matter"
        )
    return "; ".join(said)


def place(row: Any, phrase: bool) -> str:
    """Where the article states it: the section and, below it, a phrase."""
    if row.section == "external":
        return ""
    return f"{row.section}\n{row.phrase}" if phrase and row.phrase else row.section


def p_value(p: float) -> str:
    return "" if math.isnan(p) else "<\N{NO-BREAK SPACE}0.001" if p < 0.001 else f"{p:.3f}"


def printed(claims: pd.DataFrame, findings: pd.DataFrame | None = None) -> pd.DataFrame:
    """The claims as text; columns that none of them needs are left out. With `findings`, what each
    rule found and phrases of the article stand there too."""
    rows, whole = list(claims.itertuples()), findings is not None
    by_claim = {} if findings is None else dict(list(findings.groupby("id")))
    columns = {
        "Claim": [row.id for row in rows],
        "Section": [place(row, whole) for row in rows],
        "Statement": [row.statement for row in rows],
        "Verdict": [row.verdict for row in rows],
        "Effect [95% interval]": [effect(row) for row in rows],
        "of": [measure(row) for row in rows],
        "p": [p_value(row.p) for row in rows],
        "n": [str(row.n) if row.n > 0 else "" for row in rows],
        "Source": [row.source for row in rows],
    }
    if whole:
        for name in ("Effect [95% interval]", "of", "p", "n"):
            del columns[name]
        columns["What each rule found"] = [
            "\n".join(map(found, by_claim[row.id].itertuples())) for row in rows
        ]
        columns["Why"] = [how(row) + row.reason for row in rows]
    return pd.DataFrame({name: texts for name, texts in columns.items() if any(texts)})


def how(row: Any) -> str:
    """How a verdict came about, as a sentence; nothing where that goes without saying."""
    return f"{row.how[0].upper()}{row.how[1:]}. " if row.how else ""


def save(
    claims: pd.DataFrame, findings: pd.DataFrame, stem: Path, title: str, **about: Any
) -> None:
    """Write the claims as `stem`.html, by what decided them, and as one table, without the reasons,
    as `stem`.tex. `about` are the claims' file, its checksum, and the plan of looks."""
    page = text.page("claims.html", title=title, groups=by_decision(claims, findings), **about)
    stem.with_suffix(".html").write_text(page, encoding="utf-8")
    shown = printed(claims).drop(columns="Source", errors="ignore")
    wide = {"Statement": "p{8cm}", "of": "p{5cm}", "p": "r", "n": "r"}
    columns = "".join(wide.get(name, "l") for name in shown.columns)
    save_latex(shown, stem, title, columns, "longtable")


def judgements(claims: pd.DataFrame, before: Path, layout: str = "page.html") -> str:
    """The verdicts of an earlier judgement and these side by side, as HTML. InputError where the
    table isn't one."""
    try:
        first = pd.read_csv(before, dtype=str, keep_default_na=False).set_index("id")
        first = first[["verdict", "change"]]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{before}: no table of an earlier judgement: {error}") from None
    both = claims.set_index("id").join(first.rename(columns={"verdict": "verdict_before"}))
    shown = pd.DataFrame(
        {
            "Claim": both.index,
            "Statement": both.statement,
            "First verdict": both.verdict_before.fillna("not judged"),
            "Verdict": both.verdict,
            "What changed": both.change.fillna("It is new."),
        }
    )
    counts_before, now = (
        table.verdict.value_counts().reindex(VERDICTS).dropna().astype(int).to_dict()
        for table in (first, claims)
    )
    title = "First judgement, and this"
    about = {"shown": shown, "before": counts_before, "now": now}
    return text.page("judgements.html", layout=layout, title=title, **about)
