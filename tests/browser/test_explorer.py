"""The explorer as a reader has it: filtered, brushed, clicked, copied from, without a network."""

import re
import shlex
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

LAPTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
WINDOWS = pytest.mark.parametrize("window", [LAPTOP, PHONE], ids=["laptop", "phone"])
CHARTS = ("map", "dots", "accuracy", "loss", "norm", "clipped")
EVERY = "#all"


@pytest.fixture(scope="module")
def cells(report) -> pd.DataFrame:
    return pd.read_csv(report.with_name("cells.csv"))


@pytest.fixture
def explorer(open_report):
    """Opens the explorer at an address in it, drawn."""

    def opened(address: str = "", **window: int) -> Page:
        page = open_report(address, file="explorer.html", **(window or LAPTOP))
        drawn(page)
        return page

    return opened


def drawn(page: Page) -> None:
    """Wait until each chart that has a place is there."""
    for chart in CHARTS:
        for view in page.locator(f"#{chart} .view:visible").all():
            expect(view.locator("svg, canvas")).to_be_visible()


def counted(page: Page) -> int:
    return int(page.locator("#count").inner_text().split()[0].replace(",", ""))


def address(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).fragment)


def names(page: Page) -> list[str]:
    """The cells of the table, all of which it shows."""
    while (more := page.locator("#rows > button")).is_visible():
        more.click()
    return page.locator("#rows tbody td:first-child").all_inner_texts()


def tick(page: Page, axis: str, word: str) -> None:
    if not page.locator("#filter").get_attribute("open") is not None:
        page.locator("#filter summary").click()
    page.locator(f'input[name="{axis}"][value="{word}"]').check()


def points(page: Page):
    return page.locator("#dots .mark-symbol path")


# ---- what it shows ------------------------------------------------------------------------------


@WINDOWS
def test_every_chart_is_drawn_and_fits_the_window(explorer, window):
    page = explorer(EVERY, **window)
    for chart in CHARTS:
        for view in page.locator(f"#{chart} .view:visible").all():
            box = view.locator("svg").bounding_box()
            assert 0 <= box["x"] < box["x"] + box["width"] <= window["width"]
            assert box["width"] > 200
        marks = page.locator(f"#{chart} .mark-{'rect' if chart == 'map' else 'symbol'} path")
        lines = page.locator(f"#{chart} .mark-line path")
        assert marks.count() + lines.count() > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= window["width"]


def test_the_first_view_has_the_cells_of_the_map(explorer, cells):
    page = explorer()
    asked = cells[(cells.iterations == 8) & cells.ema.isna() & (cells.optimizer == "momentum")]
    asked = asked[(asked.augmentation == "none") & (asked["clip"] == "norm")]
    asked = asked[(asked.schedule == "constant") & (asked.train_images == "all")]
    asked = asked[(asked.label_noise == 0) & (asked.objective == "cross-entropy")]
    assert names(page) == asked.cell.tolist()
    page.get_by_role("button", name="All cells").click()
    assert counted(page) == len(cells)
    page.get_by_role("button", name="First view").click()
    assert counted(page) == len(asked)


def test_thresholds_are_drawn_into_the_gradient_norms(explorer):
    page = explorer(EVERY)
    rules = page.locator("#norm .mark-rule.role-mark line")
    assert rules.count() == 1  # λ = 1; that of AGC is none of the whole gradient's norm


def test_every_seed_has_a_line(explorer, cells):
    page = explorer(EVERY)
    finite = cells[cells.status != "diverged"].trajectory.nunique()
    assert finite <= page.locator("#loss .mark-line path").count() <= cells.trajectory.nunique()


# ---- filter, brush, click -----------------------------------------------------------------------


@WINDOWS
def test_what_is_ticked_filters_everything_and_the_address_follows(explorer, cells, window):
    page = explorer(EVERY, **window)
    tick(page, "models", "vgg11")
    tick(page, "seeds", "1")
    asked = cells[(cells.model == "vgg11") & (cells.seed == 1)]
    assert names(page) == asked.cell.tolist()
    expect(page.locator("#loss .mark-line path")).to_have_count(asked.trajectory.nunique())
    expect(page.locator("#map .view:visible")).to_have_count(1)
    expect(points(page)).to_have_count(int(asked.test_accuracy.notna().sum()))
    assert address(page)["models"] == ["vgg11"]
    page.reload()
    assert names(page) == asked.cell.tolist()
    page.go_back()
    expect(page.locator("#count")).to_have_text(re.compile(f"^{(cells.model == 'vgg11').sum()} "))


@WINDOWS
def test_a_box_in_the_chart_selects_its_cells(explorer, cells, window):
    page = explorer(EVERY, **window)
    view = page.locator("#dots .view")
    view.scroll_into_view_if_needed()
    plot = view.locator(".mark-group.role-frame > g > path.background").bounding_box()
    left, top = plot["x"] + 1, plot["y"] + 1
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(left + plot["width"] / 2, top + plot["height"] / 2, steps=4)
    page.mouse.up()
    expect(page.locator('input[name="x-to"]')).not_to_have_value("")
    ends = {end: float(address(page)[end][0]) for end in ("x-from", "x-to", "y-from", "y-to")}
    x, y = 100 * cells.clip_fraction, 100 * cells.test_accuracy
    inside = x.between(ends["x-from"], ends["x-to"]) & y.between(ends["y-from"], ends["y-to"])
    assert 0 < inside.sum() < len(cells)
    assert names(page) == cells.cell[inside].tolist()
    lines = page.locator("#clipped .mark-line path")
    expect(lines).to_have_count(cells[inside].trajectory.nunique())


def test_a_range_that_is_typed_selects_as_a_box_does(explorer, cells):
    page = explorer(EVERY)
    page.get_by_label("from").first.fill("20")
    page.keyboard.press("Tab")
    assert names(page) == cells.cell[100 * cells.test_accuracy >= 20].tolist()


@WINDOWS
def test_a_click_on_a_point_shows_its_numbers_and_its_command_to_be_copied(explorer, cells, window):
    page = explorer(EVERY, **window)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    points(page).first.scroll_into_view_if_needed()
    points(page).first.click(force=True)
    panel = page.get_by_role("region", name="The chosen cell")
    expect(panel).to_be_visible()
    row = cells.set_index("cell").loc[panel.locator("h2").inner_text()]
    assert f"{100 * row.test_accuracy:.4g}" in panel.inner_text()
    panel.get_by_role("button", name="Copy the command").click()
    expect(panel.get_by_role("button", name="copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == row.command
    assert shlex.split(copied)[:4] == ["python", "-m", "clipgrid", "train"]
    box = panel.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= window["width"]
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()


def test_a_click_on_a_square_selects_it_and_a_second_one_all_again(explorer, cells):
    page = explorer(EVERY)
    page.locator("#map .mark-rect path:visible").first.click()
    expect(page.locator("#map .mark-rect path:visible")).to_have_count(1)
    place = {axis: address(page)[axis][0] for axis in ("models", "learning_rates", "clips")}
    asked = (cells.model == place["models"]) & (cells.threshold == float(place["clips"]))
    asked &= (cells["clip"] == "norm") & (cells.learning_rate == float(place["learning_rates"]))
    assert names(page) == cells.cell[asked].tolist()
    page.locator("#map .mark-rect path:visible").click()
    expect(page.locator("#count")).to_contain_text(f"{len(cells)} of {len(cells)} cells")


def test_other_measures_can_be_drawn(explorer, cells):
    page = explorer(EVERY)
    page.locator("select[name=x]").select_option("norm_max")
    page.locator("select[name=y]").select_option("test_loss")
    finite = cells.norm_max.notna() & cells.test_loss.notna()
    expect(points(page)).to_have_count(int(finite.sum()))
    expect(page.locator("#dots svg")).to_contain_text("largest gradient norm")
    expect(page.locator("#map .note")).to_contain_text("log scale")


# ---- from the report ----------------------------------------------------------------------------


def test_a_cell_leads_to_its_curves(open_report, cells):
    name = cells.cell.iloc[3]
    page = open_report("#find=" + name, **LAPTOP)
    page.locator("#rows").get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


# ---- keyboard, screen reader, paper -------------------------------------------------------------


def test_the_keyboard_filters_opens_a_cell_and_comes_back(explorer, cells):
    page = explorer(EVERY)
    page.locator('input[name="models"]').first.focus()
    page.keyboard.press("Space")
    assert counted(page) == (cells.model == cells.model.iloc[0]).sum()
    opener = page.locator("#rows tbody button").first
    opener.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#cell h2")).to_be_focused()
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()


def test_behind_each_chart_stands_a_table_of_what_it_shows(explorer):
    page = explorer(EVERY)
    for chart in CHARTS:
        for view in page.locator(f"#{chart} .view:visible").all():
            assert view.get_attribute("role") == "img"
            assert "table" in view.get_attribute("aria-label")
        if chart == "dots":
            continue  # its table is that of the selected cells
        page.locator(f"#{chart} summary").click()
        rows = page.locator(f"#{chart} tbody tr")
        shown = ".mark-rect path:visible" if chart == "map" else ".mark-line path"
        expect(rows).to_have_count(min(50, page.locator(f"#{chart} {shown}").count()))
        texts = page.locator(f"#{chart} td").all_inner_texts()
        assert [text for text in texts if re.search(r"NaN|undefined|null|Infinity", text)] == []


def test_paper_has_the_charts_and_says_what_is_selected(explorer):
    page = explorer("#models=vgg11")
    assert len(page.pdf(format="A4")) > 20_000
    page.emulate_media(media="print")
    expect(page.locator("main > form")).to_be_hidden()
    expect(page.locator("#filters")).to_have_text("Selected: Model: VGG-11")
    expect(page.locator("#legend")).to_contain_text("AGC, λ = 0.01")
    expect(page.locator("#norm svg")).to_be_visible()
    expect(page.locator("#rows table")).to_be_visible()


# ---- offline, without errors, small, fast -------------------------------------------------------


def test_nothing_is_requested_and_no_error_is_logged(explorer, report):
    page = explorer("", **PHONE)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    page.get_by_role("button", name="All cells").click()
    page.locator("select[name=x]").select_option("norm_max")
    drawn(page)
    points(page).first.hover(force=True)
    page.set_viewport_size(LAPTOP)
    page.pdf()
    wanted = {url for url in page.requests if not url.startswith("data:")}
    assert wanted == {report.with_name("explorer.html").as_uri()}
    assert page.errors == []


def test_only_its_own_scripts_may_run(explorer):
    page = explorer()
    policy = page.locator("meta[http-equiv]").get_attribute("content")
    assert "unsafe-eval" not in policy
    assert len(re.findall("'sha256-", policy)) == 2
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), "
                  "{textContent: 'window.ran = true'}))")  # fmt: skip
    assert page.evaluate("window.ran") is None


def test_it_is_small_and_soon_there(explorer, report):
    assert report.with_name("explorer.html").stat().st_size < 2e6
    page = explorer()
    spent = page.evaluate("performance.getEntriesByType('navigation')[0].domComplete")
    assert spent < 10_000  # ms, beside other tests; benchmarks/report.py measures it
