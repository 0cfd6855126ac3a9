"""The report as a reader has it: opened in a browser, without a network, and clicked through."""

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

TITLE = "A trial of everything"
CLAIMS = [
    *(f"Q{number}" for number in range(1, 10)),
    *(f"C{number}" for number in range(1, 21)),
    *(f"D{number}" for number in range(1, 22)),
]
FACTS = [f"E{number}" for number in range(1, 12)]
LAPTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
WINDOWS = pytest.mark.parametrize("window", [LAPTOP, PHONE], ids=["laptop", "phone"])


@pytest.fixture(scope="module")
def page(open_report):
    """A page that tests read, and on which they leave nothing open."""
    return open_report(**LAPTOP)


def claims(page: Page) -> Locator:
    return page.locator("details.claim")


def shown(page: Page, number: int | None = None) -> list[str]:
    """The ids of the claims that are not filtered out, once there are that many."""
    left = page.locator("details.claim:visible")
    if number is not None:
        expect(left).to_have_count(number)
    return left.evaluate_all("all => all.map(one => one.id)")


def with_verdict(page: Page, verdict: str) -> list[str]:
    return page.locator(f'details.claim[data-verdict="{verdict}"]').evaluate_all(
        "all => all.map(one => one.id)"
    )


def address(page: Page) -> str:
    return urlsplit(page.url).fragment


def chip(page: Page, verdict: str) -> Locator:
    return page.get_by_role("group", name="Filter").get_by_role(
        "button", name=re.compile(f"^{verdict}")
    )


# ---- the first screen ---------------------------------------------------------------------------


def test_the_first_screen_says_what_was_asked_and_what_was_found(page):
    expect(page.locator("h1")).to_have_text(TITLE)
    for part in ("h1", ".asked", ".answer", "#top img", ".tally >> nth=0"):
        expect(page.locator(part).first).to_be_in_viewport(ratio=1)
    expect(page.locator(".answer")).to_contain_text("Of 20 statements tested on trained nets")
    expect(page.locator(".answer")).to_contain_text("Against no clipping, λ = 1 changed")


def test_claims_that_are_tested_come_first_and_all_are_there(page):
    headings = page.locator("#claims .group h3").all_inner_texts()
    assert headings[0].startswith("Tested on this study's runs")
    tally = page.locator(".tally").first.inner_text()
    tested = page.locator("#test details.claim")
    assert tested.count() == sum(map(int, re.findall(r"\d+(?= [a-z])", tally))) // 2 == 20
    ids = claims(page).evaluate_all("all => all.map(one => one.id)")
    assert sorted(ids) == sorted([*CLAIMS, *FACTS])


def test_nothing_that_a_reader_sees_is_empty_or_no_number(page):
    cells = page.locator("td").all_inner_texts()
    assert [cell for cell in cells if re.search(r"\bnan\b", cell, re.IGNORECASE)] == []
    tables = page.locator("table").evaluate_all("all => all.map(table => table.rows.length)")
    assert min(tables) > 1
    assert re.search(r"{{|}}|{%|%}|None\b", page.locator("main").inner_text()) is None


# ---- a claim ------------------------------------------------------------------------------------


def test_the_address_of_a_claim_opens_it_with_its_reason_and_its_exhibit(open_report):
    page = open_report("#C8", **LAPTOP)
    claim = page.locator("#C8")
    expect(claim.locator("> summary")).to_be_in_viewport()
    expect(claim).to_contain_text("Its seeds were looked at before the rules were fixed")
    expect(claim.locator("img")).to_be_visible()
    assert page.locator("details.claim[open]").count() == 1
    claim.get_by_role("link", name="Steps to a target").click()
    expect(page.locator("#figure-time-to-target")).to_be_in_viewport()
    page.go_back()
    assert address(page) == "C8"
    expect(claim.locator("> summary")).to_be_in_viewport()


def test_opening_rows_moves_the_address_and_back_goes_back(open_report):
    page = open_report(**LAPTOP)
    for key in ("C3", "D2"):
        page.locator(f"#{key} .statement").click()
        expect(page.locator(f"#{key} .body")).to_be_visible()
        assert address(page) == key
    page.go_back()
    assert address(page) == "C3"
    expect(page.locator("#D2 .body")).to_be_hidden()
    expect(page.locator("#C3 .body")).to_be_visible()
    page.go_back()
    assert address(page) == ""
    expect(page.locator("details.claim[open]")).to_have_count(0)
    page.go_forward()
    expect(page.locator("#C3 .body")).to_be_visible()


def test_a_row_opens_by_keyboard(open_report):
    page = open_report(**LAPTOP)
    page.locator("#C3 > summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#C3 .body")).to_be_visible()


# ---- filter, group, search ----------------------------------------------------------------------


def test_verdicts_filter_the_claims_and_the_address_follows(open_report):
    page = open_report(**LAPTOP)
    chip(page, "refuted").click()
    refuted = with_verdict(page, "refuted")
    assert shown(page) == refuted
    assert address(page) == "verdict=refuted"
    chip(page, "partly").click()
    assert sorted(shown(page)) == sorted([*refuted, *with_verdict(page, "partly")])
    page.reload()
    assert sorted(shown(page)) == sorted([*refuted, *with_verdict(page, "partly")])
    page.go_back()
    assert shown(page, len(refuted)) == refuted
    page.go_back()
    shown(page, len(CLAIMS) + len(FACTS))


def test_a_verdict_of_the_tally_leads_to_its_claims(open_report):
    page = open_report(**LAPTOP)
    page.locator(".tally").get_by_role("link", name="6 supported").click()
    supported = with_verdict(page, "supported")
    assert shown(page, len(supported)) == supported
    expect(page.get_by_role("heading", name="Claims", exact=True)).to_be_in_viewport()


def test_the_link_of_a_claim_shows_it_whatever_was_filtered(open_report):
    page = open_report("#verdict=refuted", **LAPTOP)
    page.evaluate("location.hash = 'C8'")
    expect(page.locator("#C8 .body")).to_be_visible()


def test_claims_are_grouped_by_verdict_and_back(open_report):
    page = open_report(**LAPTOP)
    before = shown(page)
    grouped = page.get_by_role("button", name="group by verdict")
    grouped.click()
    groups = page.locator("#list .group:visible")
    assert "refuted" in groups.locator("h3").all_inner_texts()
    for group in groups.all():
        verdicts = group.locator("details.claim").evaluate_all("c => c.map(c => c.dataset.verdict)")
        assert set(verdicts) == {group.locator("h3").inner_text()}
    assert sorted(shown(page)) == sorted(before)
    page.go_back()
    expect(grouped).to_have_attribute("aria-pressed", "false")
    assert shown(page) == before


def test_the_search_finds_claims_exhibits_and_cells(open_report):
    page = open_report(**LAPTOP)
    page.get_by_role("searchbox").fill("moving average")
    found = page.locator("#found li").all_inner_texts()
    assert "The article's sections" not in found
    assert {"Section 4.1.1: Moving average", "Moving average, paired"} <= set(found)
    assert {"C13", "C17"} <= set(shown(page))
    assert "C3" not in shown(page)

    page.get_by_role("searchbox").fill("vgg11 T4")
    names = page.locator("#rows tbody td:first-child").all_inner_texts()
    assert names
    assert all("vgg11" in name and "T4" in name for name in names)
    page.locator("#found").get_by_role("link", name=f"{len(names)} of 56 cells").click()
    expect(page.get_by_role("heading", name="All cells")).to_be_in_viewport()
    assert address(page) == "find=vgg11+T4"
    page.go_back()  # one step, however many letters were typed
    expect(page.get_by_role("searchbox")).to_have_value("")
    expect(page.locator("#rows tbody tr")).to_have_count(56)

    page.get_by_role("searchbox").fill("xyzzy")
    expect(page.get_by_text("No claim matches.")).to_be_visible()
    expect(page.get_by_text("No cell matches.")).to_be_visible()


# ---- exhibits -----------------------------------------------------------------------------------


@WINDOWS
def test_every_figure_is_drawn_with_its_title_and_caption_and_fits_the_window(open_report, window):
    page = open_report(**window)
    figures = page.locator("figure.exhibit:has(img)")
    assert figures.count() == 18
    nothing = page.locator("figure.exhibit:not(:has(img))")
    expect(nothing).to_contain_text(["No tested claim has an interval"])
    for figure in figures.all():
        assert figure.locator(":is(h2, h3, h4)").inner_text()
        assert len(figure.locator("figcaption").inner_text()) > 40
        image = figure.locator("img")
        assert image.evaluate("async i => { await i.decode(); return i.naturalWidth; }") > 100
        box = image.bounding_box()
        assert 0 <= box["x"] < box["x"] + box["width"] <= window["width"]
        assert box["height"] > 20


@WINDOWS
def test_nothing_is_wider_than_the_window(open_report, window):
    page = open_report(**window)
    rows = "main details:not(td *)"
    page.locator(rows).evaluate_all("all => { for (const one of all) one.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth") <= window["width"]
    if window == LAPTOP:  # on a phone, wide tables scroll by themselves
        wide = page.locator(".wide").evaluate_all(
            "w => w.filter(w => w.scrollWidth > w.clientWidth)"
        )
        assert len(wide) == 0


# ---- phone --------------------------------------------------------------------------------------


def test_on_a_phone_the_menu_is_closed_and_the_answer_is_on_the_first_screen(open_report):
    page = open_report(**PHONE)
    expect(page.locator("h1")).to_be_in_viewport(ratio=1)
    expect(page.locator(".answer")).to_be_in_viewport()
    expect(page.get_by_role("link", name="Provenance", exact=True)).to_be_hidden()
    page.get_by_text("Contents", exact=True).click()
    page.get_by_role("link", name="Provenance", exact=True).click()
    expect(page.get_by_role("heading", name="Provenance")).to_be_in_viewport()


def test_on_a_phone_claims_are_cards(open_report):
    page = open_report("#claims", **PHONE)
    for key in ("C3", "D1", "E1"):
        card = page.locator(f"#{key}")
        parts = [card.locator(f".{name}").bounding_box() for name in ("id", "verdict", "statement")]
        key_box, verdict, statement = parts
        assert abs(key_box["y"] - verdict["y"]) < 8  # the key and the verdict head the card
        assert statement["y"] > key_box["y"]
        assert statement["width"] > 300
        assert verdict["x"] + verdict["width"] <= PHONE["width"]


# ---- paper --------------------------------------------------------------------------------------


def test_paper_has_the_whole_report_and_the_screen_is_as_before(open_report, tmp_path):
    page = open_report("#verdict=refuted", **LAPTOP)
    page.evaluate("""addEventListener("beforeprint", () => {
        const seen = each => each.checkVisibility() && each.getBoundingClientRect().height > 0;
        const all = selector => [...document.querySelectorAll(selector)];
        window.printed = {
            claims: all("details.claim").filter(c => seen(c.querySelector(".body"))).map(c => c.id),
            figures: all("figure img").filter(seen).length,
            closed: all("main details:not([open], .compared)").length,
        };
    })""")
    pdf = page.pdf(format="A4")
    printed = page.evaluate("window.printed")
    assert sorted(printed["claims"]) == sorted([*CLAIMS, *FACTS])
    assert (printed["figures"], printed["closed"]) == (18, 0)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 20
    assert shown(page) == with_verdict(page, "refuted")
    assert page.locator("details.claim[open]").count() == 0
    page.emulate_media(media="print")
    for hidden in ("nav", ".tools", "#rows"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.get_by_text("On paper they are left out")).to_be_visible()


# ---- offline, without errors --------------------------------------------------------------------


def test_nothing_is_requested_and_no_error_is_logged(open_report, report):
    page = open_report("#C8", **LAPTOP)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    page.get_by_role("searchbox").fill("alexnet")
    chip(page, "refuted").click()
    page.get_by_role("button", name="group by verdict").click()
    page.pdf()
    assert {url for url in page.requests if not url.startswith("data:")} == {report.as_uri()}
    assert page.errors == []


# ---- Snakemake's own report ---------------------------------------------------------------------

MENU = "nav.h-screen"


def test_snakemakes_own_report_shows_its_exhibits_and_leads_to_ours(open_report):
    page = open_report(file="workflow.html", width=1366, height=300)
    expect(page.locator(".document")).to_contain_text("report.html")
    expect(page.locator("h1.title")).to_be_in_viewport(ratio=1)
    page.locator(MENU).get_by_role("link", name="2 Section 3.3.1, AlexNet", exact=True).click()
    slide = "menu => Promise.all(menu.getAnimations().map(slide => slide.finished))"
    page.locator(MENU).evaluate(slide)
    page.locator(MENU).locator("tbody tr", has_text="Learning curves").locator("a").first.click()
    image = page.locator("#app > div > div.grow img")
    assert image.evaluate("async i => { await i.decode(); return i.naturalWidth; }") > 0
    assert image.bounding_box()["y"] >= 0  # taller than the window, and seen from its top
    assert page.errors == []
    assert {urlsplit(url).scheme for url in page.requests} <= {"file", "data", "blob"}
