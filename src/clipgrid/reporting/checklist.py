"""What a reviewer asks about a study, answered from what was run."""

import json
from pathlib import Path

import pandas as pd

from clipgrid.judging.aggregate import read_cells
from clipgrid.reporting import text
from clipgrid.reporting.arms import ARM
from clipgrid.reporting.start_page import computing
from clipgrid.study import config
from clipgrid.study.config import Study
from clipgrid.study.grid import canonical
from clipgrid.study.names import OPTIMIZERS


def checklist(study: Study, results: Path, claims: pd.DataFrame, sha256: str) -> str:
    """The checklist as an HTML page."""
    cells = read_cells(results)
    trained = json.loads((results / "trained.json").read_text())
    raw = cells[cells.ema.isna()]
    seeds = cells.groupby(list(ARM), dropna=False).seed.nunique()
    rates = cells.groupby("optimizer").learning_rate.unique()
    return text.page(
        "checklist.html",
        title="Reproducibility checklist",
        study=study,
        settings=config.settings(study),
        claims=claims,
        sha256=sha256,
        lacking=int(claims.reason.str.startswith("This study has no cell").sum()),
        data=json.loads((results / "data.json").read_text()),
        trained=trained,
        computing=computing(trained),
        rates="; ".join(
            f"{OPTIMIZERS[name]} {', '.join(map(canonical, sorted(tried)))}"
            for name, tried in rates.items()
        ),
        seeds=" to ".join(map(str, sorted({seeds.min(), seeds.max()}))),
        raw=len(raw),
        collapsed=int((raw.status == "collapsed").sum()),
        diverged=int((raw.status == "diverged").sum()),
    )
