"""What a reviewer asks about a study, answered from what was run."""

from typing import Any

from clipgrid.judging.evidence import Evidence
from clipgrid.judging.wording import LACKING
from clipgrid.reporting import text
from clipgrid.reporting.arms import ARM, labels, usual_on
from clipgrid.reporting.overview import computing
from clipgrid.study import axes, config
from clipgrid.study.fields import canonical


def checklist(
    evidence: Evidence, judged: dict[str, Any], trained: dict, layout: str = "page.html"
) -> str:
    """The checklist as HTML. `judged` is what `report.judged` gives."""
    cells, table = evidence.cells, judged["claims"]
    raw = usual_on(cells, ["ema"])
    seeds = cells.groupby(list(ARM), dropna=False).seed.nunique()
    rates = cells.groupby("optimizer").learning_rate.unique()
    return text.page(
        "checklist.html",
        **judged,
        layout=layout,
        title="Reproducibility checklist",
        study=evidence.study,
        settings=config.settings(evidence.study),
        lacking=int(table.reason.str.contains(LACKING, regex=False).sum()),
        data=evidence.about,
        trained=trained,
        computing=computing(trained),
        rates="; ".join(
            f"{axes.label('optimizers', name)} {', '.join(map(canonical, sorted(tried)))}"
            for name, tried in rates.items()
        ),
        seeds=" to ".join(map(str, sorted({seeds.min(), seeds.max()}))),
        raw=len(raw),
        weights=labels(raw, "ema").iloc[0],
        collapsed=int((raw.status == "collapsed").sum()),
        diverged=int((raw.status == "diverged").sum()),
    )
