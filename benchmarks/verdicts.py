"""Claims by verdict of finished studies, and the time from their cells to the report.

    python benchmarks/verdicts.py config.yaml studies/fashion-mnist.yaml

Makes everything anew from the result files of the cells, which have to be there.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd
import yaml
from record import ROOT, record, timed

CORES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("studies", nargs="+", type=Path, metavar="STUDY")
    studies = parser.parse_args().studies
    figures = {"cores": CORES} | {str(study): judged(study) for study in studies}
    record("verdicts", figures, f"python benchmarks/verdicts.py {' '.join(map(str, studies))}")


def judged(study: Path) -> dict:
    """Seconds from finished cells to the report; {verdict: number of claims} of the article's
    claims, by what decided them, and of the published facts."""
    snakemake = ("snakemake", "--cores", str(CORES), "--configfile", str(study))
    results = ROOT / yaml.safe_load((ROOT / study).read_text())["results"]
    if not list(results.glob("packs/*.jsonl")):
        sys.exit(f"{study} hasn't been run: snakemake --cores all --configfile {study}")
    # Whatever the parameters were that the cells were made with: they are finished.
    anew = ("--rerun-triggers", "mtime", "--forcerun", "aggregate")
    seconds = timed(*snakemake, *anew, cwd=ROOT)
    claims = pd.read_csv(results / "claims.csv")
    published = claims.kind == "published"
    return {
        "cells": len(pd.read_csv(results / "cells.csv")),
        "seconds_from_cells_to_report": round(seconds, 1),
        "claims": {
            by: mine.verdict.value_counts().to_dict()
            for by, mine in claims[~published].groupby("decided_by")
        },
        "published_facts": claims[published].verdict.value_counts().to_dict(),
    }


if __name__ == "__main__":
    main()
