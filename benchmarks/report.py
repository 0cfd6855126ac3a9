"""Size of the report and of the explorer, seconds to write them, and seconds until Chromium has
drawn them: of a finished study, and of it ten times over.

    python benchmarks/report.py results     # a minute; reads the results in a copy
"""

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

import pandas as pd
from playwright.sync_api import sync_playwright
from record import copy_checkout, record, timed

from clipgrid.judging import sums
from clipgrid.judging.aggregate import read_cells

PAGES = ("report", "explorer")
DRAWN = {
    "report": "() => document.querySelector('#rows tr')",
    "explorer": """() => document.querySelector('#rows tr')
        && [...document.querySelectorAll('.view')].filter(view => view.checkVisibility())
        .every(view => view.querySelector('svg, canvas'))""",
}
TIMES = 10
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", type=Path, help="folder of a finished study's results")
    results = parser.parse_args().results
    figures = {}
    for times in (1, TIMES):
        with tempfile.TemporaryDirectory() as folder:
            checkout = Path(folder)
            copy_checkout(checkout)
            unneeded = shutil.ignore_patterns("packs", "data.pt", "logs", "notebooks")
            copy = Path(shutil.copytree(results, checkout / "results", ignore=unneeded))
            cells = multiplied(copy, times)
            figures[cells] = {page: measured(checkout, copy, page) for page in PAGES}
    record("report", figures, "python benchmarks/report.py results", ("altair", "playwright"))


def multiplied(results: Path, times: int) -> int:
    """The study with as many copies of each cell, of other seeds: their number."""
    cells = read_cells(results)
    histories = pd.read_parquet(results / "histories.parquet")
    seeds = cells.seed.max() + 1

    def copy(table: pd.DataFrame, k: int) -> pd.DataFrame:
        names = [name for name in ("trajectory", "cell") if name in table]
        changed = {name: table[name].astype(str).map(f"{{}}{f'-{k}' if k else ''}".format)
                   for name in names}  # fmt: skip
        return table.assign(**changed, seed=table.seed + k * seeds)

    whole = pd.concat([copy(cells, k) for k in range(times)])
    whole.to_csv(results / "cells.csv", index=False)
    steps = pd.concat([copy(histories, k) for k in range(times)])
    steps.to_parquet(results / "histories.parquet", index=False)
    summary = {**sums.summary(results), "cells": len(whole)}
    sums.seal(results, {key: value for key, value in summary.items() if key != "files"})
    return len(whole)


def measured(checkout: Path, results: Path, page: str) -> dict:
    seconds = timed("clipgrid", page, "--study", str(results / "study.json"), cwd=checkout)
    file = results / f"{page}.html"
    addresses = {"seconds_to_draw": ""}
    if page == "explorer":
        addresses["seconds_to_draw_all_cells"] = "#all"
    return {
        "MB": round(file.stat().st_size / 1e6, 2),
        "seconds_to_write": round(seconds, 1),
        **{
            what: round(statistics.median(drawn(file, page, address) for _ in range(3)), 2)
            for what, address in addresses.items()
        },
    }


def drawn(file: Path, page: str, address: str) -> float:
    """Seconds until all is there, in a window of a laptop, without a network."""
    program = next(filter(None, map(shutil.which, BROWSERS)))
    arguments = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        window = browser.new_page(viewport={"width": 1366, "height": 768})
        window.goto(file.as_uri() + address)
        window.wait_for_function(DRAWN[page])
        spent = window.evaluate("performance.now()") / 1000
        browser.close()
    return spent


if __name__ == "__main__":
    main()
