"""What a reader has: the report of the smoke study, in a browser without a network."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

expect.set_options(timeout=30_000)  # ms; studies of other tests run beside the browser


@pytest.fixture(scope="session")
def report(browser, request) -> Path:
    """The report that the one command makes. A browser that is missing shows before it is run."""
    project, run = request.getfixturevalue("smoke_run")
    assert run.returncode == 0, run.stdout
    return project / "results/smoke/report.html"


@pytest.fixture(scope="module")
def open_report(browser, report):
    """Opens the report at an address in it, in a window of a width and a height: a page that keeps
    what it requested and what it had to complain about."""
    contexts = []

    def opened(address: str = "", width: int = 1366, height: int = 768, file: str = "") -> Page:
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        page = context.new_page()
        page.requests, page.errors = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("websocket", lambda socket: page.requests.append(socket.url))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda line: line.type == "error" and page.errors.append(line.text))
        page.goto((report.with_name(file) if file else report).as_uri() + address)
        expect(page.locator("h1").first).to_be_visible()
        return page

    yield opened
    for context in contexts:
        context.close()
