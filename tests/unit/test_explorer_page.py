"""The explorer, from made-up results: what it keeps of curves, and that it says something true of
any study."""

import json
import math
import re
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from made_up import ANY, CLAIM, TRAINED, diverged

from clipgrid.judging import sums
from clipgrid.reporting import explorer, report

CHARTS = ("map", "dots", "accuracy", "loss", "norm", "clipped")


@pytest.fixture
def write(results, histories):
    """A function: writes the explorer of a study with these cells and histories; gives its file."""

    def written(cells, histories=histories, **changes):
        folder = results(cells=cells.assign(norm_median=3.0), **changes)
        columns = {"clipped": 0, **{column: histories[column] for column in histories}}
        histories.assign(**columns).to_parquet(folder / "histories.parquet")
        sums.seal(folder, TRAINED)
        explorer.explorer(folder / "study.json")
        return folder / "explorer.html"

    return written


def data(file):
    page = BeautifulSoup(file.read_text(), "html.parser")
    return json.loads(page.find(id="data").string)


# ---- curves -------------------------------------------------------------------------------------


def test_a_curve_keeps_its_ends_the_readouts_and_the_largest_norm(write, cells):
    one = cells[(cells.trajectory == cells.trajectory[0]) & cells.ema.isna()]
    random = np.random.default_rng(0)
    steps = pd.DataFrame({"trajectory": one.trajectory[0], "step": np.arange(1, 1001)})
    steps["norm"], steps["loss"] = random.lognormal(size=1000), np.linspace(2, 0.1, 1000)
    steps["clipped"] = (steps.norm > 1).astype(int)
    steps["validation_accuracy"] = np.where(steps.step % 5 == 0, steps.step / 1000, np.nan)
    spike = steps.norm.idxmax()
    found = data(write(one, steps))
    (curve,) = found["curves"]
    at, looks = (found["grids"][curve[grid]] for grid in ("steps", "looks"))
    assert at[0] == 1
    assert at[-1] == 1000
    assert {500, 1000} <= set(at)
    assert 50 < len(at) <= explorer.POINTS + 2
    here = at.index(next(step for step in at if step >= steps.step[spike]))
    assert curve["largest"][here] == max(curve["largest"]) == pytest.approx(steps.norm[spike], 1e-3)
    each = steps[(steps.step > at[9]) & (steps.step <= at[10])]
    assert curve["loss"][10] == pytest.approx(each.loss.mean(), 1e-3)
    assert curve["norm"][10] == pytest.approx(each.norm.median(), 1e-3)
    so_far = steps[steps.step <= at[10]]
    assert curve["clipped"][10] == pytest.approx(100 * so_far.clipped.mean(), 1e-3)
    assert (looks[0], looks[-1]) == (5, 1000)
    assert len(looks) == len(curve["accuracy"]) <= explorer.POINTS + 1
    assert curve["accuracy"] == [pytest.approx(step / 10, 1e-3) for step in looks]


def test_curves_of_many_runs_have_fewer_points_and_no_run_is_left_out(write, cells, monkeypatch):
    monkeypatch.setattr(explorer, "BUDGET", 100)
    found = data(write(cells))
    assert found["points"] == explorer.FEWEST
    assert len(found["curves"]) == cells.trajectory.nunique()
    assert max(len(grid) for grid in found["grids"]) <= explorer.FEWEST + 2


def test_what_is_not_finite_has_no_value(write, cells, histories):
    broken = histories.assign(norm=math.inf, loss=math.nan)
    found = data(write(cells.assign(norm_max=math.inf, test_loss=math.nan), broken))
    assert {value for curve in found["curves"] for value in curve["norm"]} == {None}
    assert {"norm_max", "test_loss"}.isdisjoint(measure["name"] for measure in found["measures"])


def test_each_cell_has_its_place_its_colour_and_its_command(write, cells, of_kinds):
    cells = of_kinds(cells)
    found = data(write(cells))
    axes = {axis["name"]: axis for axis in found["axes"]}
    clips = axes["clips"]
    assert clips["labels"] == ["λ = 10", "AGC, λ = 0.01", "no clipping (value)"]
    assert [clip["threshold"] for clip in found["clips"]] == [10.0, None, None]
    assert [clips["words"][at] for at in clips["at"]] == cells.threshold.map(
        {10.0: "10", 0.01: "agc0.01", math.inf: "valueinf"}
    ).tolist()
    assert [float(axes["iterations"]["words"][at]) for at in axes["iterations"]["at"]] == list(
        cells.iterations
    )
    assert axes["ema"]["labels"] == ["raw weights", "EMA 0.9"]
    assert found["commands"] == cells.command.tolist()
    assert [found["trajectories"][run] for run in found["runs"]] == cells.trajectory.tolist()


def test_a_claim_has_the_cells_of_both_its_sides(write, cells):
    (claim,) = data(write(cells))["claims"]
    asked = (cells.model == "alexnet") & (cells.iterations == 500) & cells.ema.isna()
    asked &= cells.threshold.isin([1, math.inf]) & (cells.augmentation == "none")
    assert (claim["id"], claim["statement"]) == ("C1", CLAIM["statement"])
    assert claim["cells"] == np.flatnonzero(asked).tolist()


# ---- any study, in a browser --------------------------------------------------------------------

NAME = "{{ 7*7 }} </script><img src=x onerror=\"console.error('ran')\"> \u2028 {% x %} & `λ`"


@pytest.fixture(scope="module")
def window(browser):
    page = browser.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda line: line.type == "error" and page.errors.append(line.text))
    yield page
    page.close()


def words(text):
    """As a reader sees it, who sees no line breaks."""
    return " ".join(text.replace("\u2028", " ").split())


def opened(window, file, address=""):
    """What each chart says, when all are drawn."""
    window.errors.clear()
    window.goto("about:blank")
    window.goto(file.as_uri() + address)
    window.locator("#rows :is(td, p)").first.wait_for()
    for view in window.locator(".view:visible").all():
        view.locator("svg, canvas").wait_for()
    texts = {chart: window.locator(f"#{chart}").inner_text() for chart in CHARTS}
    shown = {chart: window.locator(f"#{chart} .view:visible").count() for chart in CHARTS}
    empty = [chart for chart in CHARTS if not shown[chart] and "elected" not in texts[chart]]
    assert empty == []  # each is drawn, or says why not
    whole = window.locator("body").inner_text()
    assert re.findall(r"\b(?:NaN|undefined|null|None(?! of)|Infinity)\b", whole) == []
    assert window.errors == []
    return texts, shown


@pytest.mark.parametrize("change", ANY)
def test_of_any_study_each_chart_is_drawn_or_says_why_not(change, write, cells, window):
    some = ANY[change](cells)
    file, name = write(some, claims=None), some.cell.iloc[0]
    opened(window, file, f"#cell={quote(name)}")
    assert f"{len(some)} of {len(some)} cell" in window.locator("#count").inner_text()
    panel, command = (words(window.locator(part).inner_text()) for part in ("#cell", "#cell code"))
    assert panel.startswith(words(name))
    assert command == words(some.command.iloc[0])


def test_where_all_runs_diverged_it_says_so(write, cells, window):
    texts, shown = opened(window, write(diverged(cells)))
    assert shown["dots"] == 0
    assert "None of the selected cells has a value: test accuracy (%)." in texts["map"]
    assert "216 selected cells of 216 have no value here" in texts["dots"]
    assert "216 diverged" in window.locator("#count").inner_text()


def test_runs_without_a_history_are_left_out_and_counted(write, cells, histories, window):
    some = histories[histories.trajectory.str.endswith("_0")]
    texts, shown = opened(window, write(cells, some), "#all")
    assert shown["loss"] == 1
    assert "36 runs without such a value are left out" in texts["loss"]
    texts, shown = opened(window, write(cells, some.iloc[:0]), "#all")
    assert shown["loss"] == 0
    assert "The selected runs have no such value." in texts["loss"]


def test_a_claim_leads_to_its_cells_and_a_cell_to_its_claims(write, cells, window):
    file = write(cells)
    report.report(file.with_name("study.json"))
    window.errors.clear()
    window.goto(file.with_name("report.html").as_uri() + "#C1")
    window.locator("#C1").get_by_role("link", name="These cells in the explorer").click()
    window.get_by_text(f"Compared by C1: {CLAIM['statement']}").wait_for()
    assert window.locator("#count").inner_text().startswith("6 of 216 cells, of 6 runs")
    window.locator("#rows tbody button").first.click()
    window.locator("#cell").get_by_role("link", name="C1", exact=True).click()
    window.locator("#C1 .body").wait_for()
    assert window.errors == []


def test_where_nothing_is_selected_it_says_so(write, cells, window):
    file = write(cells)
    texts, _ = opened(window, file, "#y-from=101")
    assert "No run is selected." in texts["norm"]
    assert window.locator("#rows").inner_text() == "No cell is selected."


def test_ten_thousand_cells_are_summed_up_and_none_is_left_out(write, cells, histories, window):
    def copies(table, k):
        # Names end in the seed, as those of one arm do, but for one of the models.
        end = table.trajectory.str.contains("alexnet").map({True: "_seed", False: "_"}) + str(k)
        names = {n: table[n] + end for n in ("trajectory", "cell") if n in table}
        return table.assign(**names, **({"seed": table.seed + 3 * k} if "seed" in table else {}))

    times = math.ceil(10_000 / len(cells))
    many = pd.concat([copies(cells, k) for k in range(times)], ignore_index=True)
    steps = pd.concat([copies(histories, k) for k in range(times)], ignore_index=True)
    file = write(many, steps, claims=None)
    assert file.stat().st_size < 10e6
    texts, _ = opened(window, file, "#all")
    assert f"{len(many):,} of {len(many):,} cells" in window.locator("#count").inner_text()
    runs = many.trajectory.nunique()
    assert f"These are {runs:,} runs, too many to tell apart." in texts["loss"]
    assert "the median over the runs with one clip" in texts["loss"]
    assert window.locator("#loss .mark-line path").count() == 3
    texts, _ = opened(window, file, "#models=alexnet")
    assert "the median over the seeds of an arm" in texts["loss"]
    assert window.locator("#loss .mark-line path").count() == 27  # names of ours have seeds, too
    texts, _ = opened(window, file, "#models=alexnet&seeds=7&seeds=8")
    few = many[(many.model == "alexnet") & many.seed.isin([7, 8])]
    assert f"{len(few)} of {len(many):,} cells" in window.locator("#count").inner_text()
    assert window.locator("#loss .mark-line path").count() == few.trajectory.nunique()
    assert "too many" not in texts["loss"]
