"""The report as a reader has it: opened in a browser, without a network, and clicked through."""

import html
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from clipgrid.reporting import text

TITLE = "A trial of everything"
CATEGORIES = [
    "1 Verdicts",
    "2 Section 3.3.1, AlexNet",
    "2 Section 3.3.2, VGGNet",
    "2 Section 3.3.3, ResNet",
    "2 Section 4.1.1, Moving average",
    "2 Section 4.2.1, Augmentation",
    "3 Clipping at work",
    "4 External validation",
    "5 Provenance",
]
CLAIMS = [
    *(f"Q{number}" for number in range(1, 10)),
    *(f"C{number}" for number in range(1, 21)),
    *(f"D{number}" for number in range(1, 22)),
]
FACTS = [f"E{number}" for number in range(1, 12)]
VERDICTS = {
    "supported",
    "partly",
    "depends",
    "refuted",
    "no effect that matters",
    "not applicable",
    "inconclusive",
    "ill-posed",
    "self-contradicted",
    "not comparable",
}
LAPTOP = (1366, 768)
PHONE = (390, 844)
WINDOWS = pytest.mark.parametrize("window", [LAPTOP, PHONE], ids=["laptop", "phone"])

# Snakemake's page: a menu, and beside it what is shown.
MENU = "nav.h-screen"
SHOWN = "#app > div > div.grow"

LOOK_AT_IMAGE = """async image => {
    await image.decode().catch(() => {});
    const {left, right, top, width, height} = image.getBoundingClientRect();
    return {drawn: image.naturalWidth > 0 && width > 0 && height > 0, left, right, top};
}"""
LOOK_AT_PAGE = """async body => {
    const images = [...body.querySelectorAll("img")];
    await Promise.all(images.map(image => image.decode().catch(() => {})));
    return {
        text: body.innerText,
        rows: [...body.querySelectorAll("table")].map(table => table.rows.length),
        cells: [...body.querySelectorAll("th, td")].map(cell => cell.innerText),
        figures: [...body.querySelectorAll("img, svg")].map(
            figure => figure.naturalWidth ?? figure.getBoundingClientRect().width),
    };
}"""


@dataclass
class Exhibit:
    """An entry of the menu, and what a reader saw who opened it."""

    category: str
    label: str
    path: str
    caption: str
    figure: dict | None  # where it is one
    page: dict | None  # where it is a table or a notebook


def menu(page: Page) -> Locator:
    return page.locator(MENU)


def stand_still(page: Page) -> None:
    """Wait for the menu to have slid to its width: a click on what still moves can miss it."""
    menu(page).evaluate("menu => Promise.all(menu.getAnimations().map(slide => slide.finished))")


def go_home(page: Page) -> None:
    menu(page).locator("ol a").first.click()
    stand_still(page)


def close_menu(page: Page) -> None:
    menu(page).locator("h1 a").click()
    expect(menu(page)).to_have_css("width", "0px")


def categories(page: Page) -> list[str]:
    """The entries of the menu below its heading `Results`."""
    entries = menu(page).locator("ul > li").all_inner_texts()
    return entries[[entry.lower() for entry in entries].index("results") + 1 :]


def open_category(page: Page, category: str) -> Locator:
    """Its rows, of which each has a label, a button that shows the exhibit, and one for more."""
    go_home(page)
    menu(page).get_by_role("link", name=category, exact=True).click()
    stand_still(page)
    return menu(page).locator("tbody tr")


def open_exhibit(page: Page, category: str, label: str) -> None:
    open_category(page, category).filter(has_text=label).locator("a").first.click()


def in_frame(page: Page) -> Locator:
    """The body of the HTML page that is shown, loaded."""
    frame = page.locator(f"{SHOWN} > iframe").element_handle().content_frame()
    frame.wait_for_url(re.compile("^data:text/html"))
    return frame.locator("body")


def look(page: Page, category: str, row: Locator) -> Exhibit:
    """Open an exhibit by the two buttons of its row, and return to its category."""
    label = row.locator("td").first.inner_text()
    show, tell = row.locator("a").all()
    show.click()
    path = page.evaluate("app.state.resultPath")
    figure = body = None
    if path.endswith(".svg"):
        figure = page.locator(f"{SHOWN} img").evaluate(LOOK_AT_IMAGE)
    else:
        body = in_frame(page).evaluate(LOOK_AT_PAGE)
    tell.click()
    caption = menu(page).locator(".prose").inner_text()
    menu(page).locator("ol").get_by_role("link", name=category, exact=True).click()
    return Exhibit(category, label, path, caption, figure, body)


@pytest.fixture(scope="module")
def page(open_report):
    """The page on which `exhibits` are opened."""
    return open_report(*LAPTOP)


@pytest.fixture(scope="module")
def exhibits(page):
    """Every exhibit in the menu's order, and nothing in the menu that was not opened."""
    for entry in ("Workflow", "Statistics", "About"):
        go_home(page)
        menu(page).get_by_role("link", name=entry, exact=True).click()
    go_home(page)
    seen = []
    for category in categories(page):
        rows = open_category(page, category)
        seen += [look(page, category, row) for row in rows.all()]
    return seen


@pytest.fixture(scope="module")
def start_page(open_report):
    """The report as it opens, of which tests read what it says."""
    return open_report(*LAPTOP)


def verdicts(page: Page) -> Locator:
    """The rows of the start page's tables of claims."""
    return page.locator(".document table.verdicts tbody tr")


def exhibit_links(page: Page) -> list[Locator]:
    return page.locator('.document a[href^="javascript:"]').all()


def named(link: Locator) -> str:
    """The result that a link to an exhibit names."""
    return re.search(r'resultPath: "(.*?)"', unquote(link.get_attribute("href")))[1]


# ---- everything ---------------------------------------------------------------------------------


def test_nothing_is_requested_from_the_network(page, exhibits, report):
    assert report.as_uri() in page.requests
    schemes = {urlsplit(url).scheme for url in page.requests}
    assert schemes <= {"file", "data", "blob"}, page.requests


def test_no_error_is_logged(page, exhibits):
    assert page.errors == []


def test_every_result_of_the_report_is_in_the_menu(page, exhibits):
    assert {e.path for e in exhibits} == set(page.evaluate("Object.keys(results)"))


def test_every_figure_is_drawn(exhibits):
    figures = [e for e in exhibits if e.figure]
    assert figures
    assert [e.path for e in figures if not e.figure["drawn"]] == []


def test_every_page_has_text(exhibits):
    pages = [e for e in exhibits if e.page]
    assert pages
    assert [e.path for e in pages if not e.page["text"].strip()] == []


def test_every_table_has_rows(exhibits):
    """The study's settings are a text."""
    tables = [e for e in exhibits if "/tables/" in e.path and "settings" not in e.path]
    assert tables
    assert [e.path for e in tables if max(e.page["rows"], default=0) < 2] == []


def test_every_notebook_shows_its_figures(exhibits):
    notebooks = [e for e in exhibits if "/notebooks/" in e.path]
    assert notebooks
    assert [e.path for e in notebooks if not e.page["figures"]] == []
    assert [e.path for e in notebooks if not all(e.page["figures"])] == []


def test_no_cell_of_a_table_shows_a_nan(exhibits, start_page):
    cells = [(e.path, cell) for e in exhibits if e.page for cell in e.page["cells"]]
    cells += [("start page", c) for c in start_page.locator(".document td").all_inner_texts()]
    assert [(name, c) for name, c in cells if re.search(r"\bnan\b", c, re.IGNORECASE)] == []


def test_every_exhibit_has_a_caption_without_a_trace_of_its_template(exhibits):
    assert [e.path for e in exhibits if not e.caption.strip()] == []
    assert [e.caption for e in exhibits if re.search(r"{{|}}|{%|%}", e.caption)] == []


# ---- menu ---------------------------------------------------------------------------------------


def test_the_menu_reads_like_the_paper(start_page):
    assert categories(start_page) == CATEGORIES


def test_the_entries_of_a_category_stand_in_the_order_of_their_numbers(exhibits):
    for category in CATEGORIES:
        labels = [e.label for e in exhibits if e.category == category]
        numbers = [int(label.split()[0]) for label in labels]
        assert numbers == list(range(1, len(numbers) + 1)), labels


@WINDOWS
def test_a_figure_is_as_wide_as_the_window_at_most(open_report, window):
    page = open_report(*window)
    open_exhibit(page, "3 Clipping at work", "Gradient norms")
    close_menu(page)
    figure = page.locator(f"{SHOWN} img").evaluate(LOOK_AT_IMAGE)
    assert figure["drawn"]
    assert 0 <= figure["left"] < figure["right"] <= window[0]


def test_a_figure_that_is_taller_than_the_window_can_be_seen_from_its_top(open_report):
    page = open_report(1366, 300)
    open_exhibit(page, "2 Section 3.3.1, AlexNet", "Learning curves")
    figure = page.locator(f"{SHOWN} img").evaluate(LOOK_AT_IMAGE)
    assert figure["drawn"]
    assert figure["top"] >= 0


def test_the_cells_are_filtered_by_the_words_that_are_typed(open_report):
    page = open_report(*LAPTOP)
    open_exhibit(page, "5 Provenance", "All cells")
    body = in_frame(page)
    rows = body.locator("tbody tr")
    names = rows.locator("td:first-child").all_inner_texts()
    wanted = [name for name in names if "vgg11" in name and "T4" in name]
    assert 0 < len(wanted) < len(names)

    body.get_by_role("searchbox").fill("vgg11 T4")
    visible = rows.filter(visible=True).locator("td:first-child")
    expect(visible).to_have_text(wanted)
    body.get_by_role("searchbox").fill("")
    expect(visible).to_have_text(names)


# ---- start page ---------------------------------------------------------------------------------


@WINDOWS
def test_the_start_page_opens_at_its_top(open_report, window):
    page = open_report(*window)
    close_menu(page)
    title = page.locator("h1.title")
    expect(title).to_have_text(TITLE)
    expect(title).to_be_in_viewport(ratio=1)


def test_the_title_is_seen_beside_the_open_menu(start_page):
    expect(start_page.locator("h1.title")).to_be_in_viewport(ratio=1)


def test_the_way_home_leads_to_the_top_of_the_start_page(open_report):
    page = open_report(*LAPTOP)
    open_exhibit(page, "1 Verdicts", "All claims")
    go_home(page)
    expect(page.locator("h1.title")).to_be_in_viewport(ratio=1)


def test_the_start_page_begins_with_the_verdicts(start_page):
    headings = start_page.locator(".document h1, .document h2").all_inner_texts()
    assert headings[:2] == [TITLE, "Verdicts"]
    expect(verdicts(start_page).first).to_be_in_viewport()


def test_each_claim_has_a_row_with_its_verdict_and_its_section(start_page):
    rows = [row.locator("td").all_inner_texts() for row in verdicts(start_page).all()]
    sections = dict(row[0].split("\n§ ") for row in rows if not row[0].startswith("E"))
    assert sorted(sections) == sorted(CLAIMS)
    for table in start_page.locator("table.verdicts").all():  # in the order of the file
        ids = [text.split("\n")[0] for text in table.locator("td:first-child").all_inner_texts()]
        assert ids == [key for key in (*CLAIMS, *FACTS) if key in ids]
    assert all(re.fullmatch(r"[1-4](\.\d)*", section) for section in sections.values())
    assert len(rows) == len(CLAIMS) + len(FACTS)
    assert {row[2].split("\n")[0] for row in rows} <= VERDICTS


def test_tested_claims_come_first_with_a_count_of_their_own(start_page):
    heading = start_page.locator(".document h3").first
    expect(heading).to_contain_text("Tested on this study's runs")
    table = start_page.locator(".document table.verdicts").first.locator("tbody tr")
    counts = re.findall(r"\d+", heading.inner_text())
    assert sum(map(int, counts)) == table.count() == 20


def test_no_cell_of_the_start_page_is_a_bullet(start_page):
    """A lone `-` in reStructuredText is an empty list."""
    assert start_page.locator(".document td li").count() == 0


def test_every_claim_links_to_an_exhibit_that_the_report_has(start_page):
    links = exhibit_links(start_page)
    assert len(links) >= len(CLAIMS)
    assert {named(link) for link in links} <= set(start_page.evaluate("Object.keys(results)"))
    for link in links:
        assert PurePosixPath(named(link)).stem == link.inner_text()


def test_the_link_of_a_claim_opens_the_exhibit_that_it_names(open_report):
    page = open_report(*LAPTOP)
    crumbs = menu(page).locator("ol")
    places = {named(link): place for place, link in enumerate(exhibit_links(page))}
    for name, place in places.items():
        exhibit_links(page)[place].click()
        expect(menu(page).get_by_text("Description", exact=True)).to_be_visible()
        expect(crumbs.get_by_role("link").last).to_have_text(name)
        expect(page.locator(SHOWN).locator("img, iframe")).to_be_visible()
        go_home(page)


@pytest.mark.parametrize("path", ['it\'s "here" & there.svg', "'); fail('", "\\%27%22</a>λ"])
def test_a_link_shows_its_exhibit_whatever_signs_its_path_has(browser, path):
    page = browser.new_page()
    page.set_content(f'<a href="{html.escape(text.show_exhibit(path, "img"))}">show</a>')
    page.evaluate("""path => {
        window.results = {[path]: {data_uri: "data:,x"}};
        window.app = {setView: view => { window.view = view; }};
    }""", path)  # fmt: skip
    page.locator("a").click()
    page.wait_for_function("window.view")
    view = page.evaluate("window.view")
    page.close()
    assert (view["resultPath"], view["contentPath"]) == (path, "data:,x")


@WINDOWS
def test_the_text_of_the_start_page_fits_the_window(open_report, window):
    page = open_report(*window)
    close_menu(page)
    width, _ = window
    texts = page.locator(".document").locator("h1, h2, p:not(td p), li:not(td li)")
    assert texts.count() > 5
    for part in texts.all():
        box = part.bounding_box()
        assert box["x"] >= 0, part.inner_text()
        assert box["x"] + box["width"] <= width, part.inner_text()
        assert part.evaluate("part => part.scrollWidth <= part.clientWidth"), part.inner_text()
    shown = page.locator(SHOWN)
    assert shown.evaluate("shown => shown.scrollWidth <= shown.clientWidth")
