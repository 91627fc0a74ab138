"""The page as HTML: what browsers show, refuse and report."""

from __future__ import annotations

import base64
import hashlib
import urllib.parse
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from factories import make_cell
from pages import HOSTILE, hostile_page, judged_plan, page_cells, page_of, page_runs, small_plan
from playwright.sync_api import sync_playwright

from reports.page import content
from reports.page.content import PageFigure
from reports.page.html import format_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser
    from playwright.sync_api import Page as BrowserPage

CHROMIUM = Path("/usr/bin/chromium")
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">'
    '<path style="fill:red" d="M0 0H9V9z"/></svg>'
)


class Tags(HTMLParser):
    """Tags, attributes, visible texts, style and script of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.inline: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if self.tags and self.cdata_elem:
            self.inline[self.cdata_elem] = data
        else:
            self.texts.append(data)


def values_of(page: Tags, name: str) -> list[str]:
    return [value for attribute, value in page.attributes if attribute == name]


def test_texts_are_shown_as_they_are() -> None:
    page = Tags(format_page(hostile_page()))
    assert page.tags.count("script") == page.tags.count("style") == 1
    assert "img" not in page.tags
    assert not any(name.startswith("on") or name == "style" for name, _ in page.attributes)
    assert all(value.startswith("#") for value in values_of(page, "href"))
    assert values_of(page, "src") == []
    text = "".join(page.texts)
    assert text.count(HOSTILE) > 20


def test_the_policy_allows_the_own_style_and_script_alone() -> None:
    page = Tags(format_page(hostile_page()))
    (policy,) = [value for value in values_of(page, "content") if "default-src" in value]
    hashes = {
        name: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for name, text in page.inline.items()
    }
    assert policy.split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{hashes['style']}'",
        f"script-src 'sha256-{hashes['script']}'",
        *("img-src data:", "base-uri 'none'", "form-action 'none'"),
    ]


def test_figures_are_images_within_the_page() -> None:
    plan = small_plan()
    page = page_of(plan, page_runs(plan), [PageFigure(f"Figure {HOSTILE}", HOSTILE, SVG)])
    tags = Tags(format_page(page))
    (source,) = values_of(tags, "src")
    prefix, _, content = source.partition(",")
    assert (prefix, base64.b64decode(content).decode()) == ("data:image/svg+xml;base64", SVG)
    assert values_of(tags, "alt") == [f"Figure {HOSTILE}"]


def test_comparable_entries_show_their_difference_from_the_paper() -> None:
    plan = judged_plan()
    page = Tags(format_page(page_of(plan, page_runs(plan))))
    shown = [text for text in page.texts if "against the paper" in text]
    assert shown == ["−3.09 against the paper"]  # 90.4 and the paper's 93.49; λ = 1.23 is not its
    assert "not reproduced" in page.texts
    assert "93.49 ± 0.07" in page.texts


def test_runs_link_to_their_pages_on_a_server() -> None:
    plan = small_plan()
    url = "http://tracking:5000/#/experiments/1/runs/ab"
    runs = [replace(run, page_url=url) for run in page_runs(plan)]
    links = values_of(Tags(format_page(page_of(plan, runs))), "href")
    assert links.count(url) == len(runs)


def test_a_sweep_that_has_just_begun_has_a_page() -> None:
    plan = small_plan(state="running")
    page = format_page(page_of(plan, []))
    assert "some runs are still missing" in page
    assert page.count("not recorded yet") == 6
    assert "<polyline" not in page


def test_an_entry_without_finished_runs_opens_them() -> None:
    plan = small_plan()
    runs = [replace(run, status="diverged", converged=False, metrics={}) for run in page_runs(plan)]
    page = Tags(format_page(page_of(plan, runs)))
    assert values_of(page, "href").count("#cell-1") > 0
    assert "".join(page.texts).count("diverged") >= 6


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as context:
        browser = context.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=60_000
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[BrowserPage]:
    """The page of a small study in a browser, in which nothing goes wrong until the test ends."""
    plan = small_plan()
    path = tmp_path / "page.html"
    path.write_text(
        format_page(page_of(plan, page_runs(plan), [PageFigure("Figure", "Caption.", SVG)]))
    )
    page = browser.new_page()
    problems: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    yield page
    page.close()
    assert problems == []
    assert {url for url in requests if not url.startswith("data:")} == {path.as_uri()}


def page_path(page: BrowserPage) -> Path:
    return Path(urllib.parse.urlsplit(page.url).path)


needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}")


def row_names(page: BrowserPage) -> list[str]:
    names = page.locator(".results > tbody > tr:visible > th").all_inner_texts()
    return [name.split("\n")[0].split(",")[0] for name in names]


@pytest.mark.slow
@needs_chromium
def test_headings_sort_and_the_third_click_restores(opened: BrowserPage) -> None:
    heading = opened.locator(".results > thead th").nth(1)
    button = heading.get_by_role("button")
    orders = []
    for _ in range(4):
        orders.append((heading.get_attribute("aria-sort"), row_names(opened)))
        button.focus()
        opened.keyboard.press("Enter")
    assert orders == [
        ("none", ["Cross Entropy", "NAL"]),
        ("descending", ["NAL", "Cross Entropy"]),
        ("ascending", ["Cross Entropy", "NAL"]),
        ("none", ["Cross Entropy", "NAL"]),
    ]


@pytest.mark.slow
@needs_chromium
def test_the_filter_shows_rows_with_all_words(opened: BrowserPage) -> None:
    field = opened.get_by_label("Show rows with")
    field.fill("tuned nal")
    assert row_names(opened) == ["NAL"]
    assert opened.locator("#count").inner_text() == "1 of 2 rows"
    field.fill("nothing like this")
    assert row_names(opened) == []
    field.fill("")
    assert row_names(opened) == ["Cross Entropy", "NAL"]
    assert opened.locator("#count").inner_text() == ""


@pytest.mark.slow
@needs_chromium
def test_an_entry_opens_and_closes_its_runs(opened: BrowserPage) -> None:
    link = opened.locator(".results > tbody > tr").nth(1).locator("a.open").first
    commands = opened.locator(".panel .commands code")
    link.focus()
    opened.keyboard.press("Enter")
    assert link.get_attribute("aria-expanded") == "true"
    assert commands.count() == 3
    assert "lambda=1.2345678901" in commands.first.inner_text()
    assert opened.locator(".panel polyline").count() == 3

    # Sorting and filtering close it, and nothing is lost.
    opened.locator(".results > thead th button").first.click()
    assert link.get_attribute("aria-expanded") == "false"
    assert opened.locator("#cell-2 code").count() > 0
    link.click()
    opened.locator(".panel .scroll").focus()
    opened.keyboard.press("Escape")
    assert opened.locator(".panel").count() == 0
    assert opened.evaluate("document.activeElement.className") == "open"


@pytest.mark.slow
@needs_chromium
def test_no_rule_of_accessibility_is_broken(opened: BrowserPage) -> None:
    axe = Axe()
    plan = judged_plan()
    figures = [PageFigure("Figure", "Caption.", SVG)]
    page_path(opened).write_text(format_page(page_of(plan, page_runs(plan), figures)))
    opened.reload()
    opened.locator("a.open").nth(3).click()
    assert opened.locator(".not-reproduced").count() > 0
    for summary in opened.locator("summary:visible").all():
        summary.click()
    opened.emulate_media(reduced_motion="reduce")
    for scheme in ("light", "dark"):
        for width in (1280, 360):
            opened.emulate_media(color_scheme=scheme)
            opened.set_viewport_size({"width": width, "height": 800})
            response = axe.run(opened).response
            assert "color-contrast" in {each["id"] for each in response["passes"]}
            violations = response["violations"]
            assert [(each["id"], each["nodes"][0]["html"]) for each in violations] == []
            assert opened.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.slow
@needs_chromium
def test_links_open_runs_without_the_script(browser: Browser, tmp_path: Path) -> None:
    plan = small_plan()
    (tmp_path / "page.html").write_text(format_page(page_of(plan, page_runs(plan))))
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    assert not page.locator("#filter").is_visible()
    assert not page.locator("#cell-2").is_visible()
    page.locator("a.open[href='#cell-2']").first.click()
    assert page.locator("#cell-2").is_visible()
    context.close()


@pytest.mark.slow
@needs_chromium
def test_a_thousand_runs_load_within_a_second(browser: Browser, tmp_path: Path) -> None:
    cells = [
        replace(make_cell("nal", seeds=range(5), values={"lambda": 1 + number}), origin="varied")
        for number in range(200)
    ]
    plan = small_plan([*page_cells(range(5)), *cells], searches=[])
    # Values that are varied do not compete, so that only their pairs take long to compute.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "compare_rows", lambda _table: [])
        page = page_of(plan, page_runs(plan))
    path = tmp_path / "page.html"
    path.write_text(format_page(page))
    tab = browser.new_page()
    session = tab.context.new_cdp_session(tab)
    # Time of the processor: other processes make the page load later, but not cost more.
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    tab.goto(path.as_uri())
    metrics = {
        each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]
    }
    assert tab.locator("#runs .runs tbody tr").count() == 1010
    assert 0 < metrics["TaskDuration"] < 1
    tab.close()
