"""The page in a real browser: headless Chromium, without a network."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from interpbench_jax.report.bench import leaderboard
from interpbench_jax.report.page import CaseText, report_html
from tests.report.made_up_bench import CASES, METHODS, MadeUpBench, made_up_bench

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

WIDTHS = (400, 800, 1600)
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
LONG = "a-method-of-my-own-with-a-name-that-is-far-too-long-for-any-table"


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Start one browser for all tests."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed.")
    if CHROMIUM is None:
        pytest.skip("There is no Chromium here.")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def bench() -> MadeUpBench:
    return made_up_bench(methods=(*METHODS, LONG), seeds=(0, 1))


@pytest.fixture(scope="module")
def file(bench: MadeUpBench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = {case: CaseText("", releases=("1.0.0",)) for case in CASES}
    texts["11"] = CaseText(
        "Doubles every token.", "double = 2 * tokens", "Nothing to note.", ("1.0.0", "current")
    )
    path = tmp_path_factory.mktemp("page") / "page.html"
    page = report_html(bench.results, bench.scores, bench.curves, texts=texts)
    path.write_text(page, encoding="utf-8")
    return path


class Watched:
    """A page that fails the test if it complains or asks for anything but its own file."""

    def __init__(self, browser: "Browser", file: Path, width: int = 1200, **options: str):
        self.file, self.complaints, self.requests = file, [], []
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            **options,  # pyright: ignore[reportArgumentType]
        )
        context.set_offline(True)
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.visit("")

    def visit(self, address: str) -> None:
        self.page.goto("about:blank")
        self.page.goto(f"{self.file.as_uri()}{address}")

    def check(self) -> None:
        assert not self.complaints
        assert {url.partition("#")[0] for url in self.requests} == {self.file.as_uri()}


@pytest.fixture
def watched(browser: "Browser", file: Path) -> Iterator[Watched]:
    watched = Watched(browser, file)
    yield watched
    watched.check()
    watched.page.context.close()


def column(page: "Page", index: int) -> list[str]:
    cells = page.locator("#methods-table tbody tr").all()
    return [row.locator("th, td").nth(index).inner_text() for row in cells]


def test_the_script_shows_what_the_page_shows_without_it(
    browser: "Browser", file: Path, watched: Watched
) -> None:
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(file.as_uri())

    def texts(page: "Page", selector: str) -> list[str]:
        cells = page.locator(f"{selector} :is(tbody, tfoot) :is(th, td)")
        return [" ".join(text.split()) for text in cells.all_text_contents()]

    for selector in ("#methods-table", "#matrix-table"):
        assert texts(plain, selector) == texts(watched.page, selector)
        assert len(texts(plain, selector)) > 10
    assert not plain.locator("#cases").is_visible() and not plain.locator("select").count()
    context.close()


def test_areas_are_those_of_the_results(bench: MadeUpBench, watched: Watched) -> None:
    """The script promotes and ranks the scores itself, so every area is computed twice."""
    expected = {
        (row.case, row.method, row.universe): row.roc_auc
        for row in bench.results
        if row.level == "edge" and row.seed == 0
    }
    found = {}
    for case in CASES:
        for universe in ("qkv", "qkv-merged", "head", "head-no-embed"):
            watched.visit(f"#case={case}&universe={universe}")
            for row in watched.page.locator("table.areas tbody tr").all():
                method = row.locator("th").inner_text()
                area = row.locator("td[data-value]").first.get_attribute("data-value")
                found[case, method, universe] = float(str(area))
    assert found.keys() == expected.keys()
    for key, area in found.items():
        assert area == pytest.approx(expected[key], abs=1e-12), key


def test_areas_of_faithfulness_are_those_of_the_results(
    bench: MadeUpBench, watched: Watched
) -> None:
    watched.visit("#case=words")
    cells = watched.page.locator("table.faithfulness tbody tr").first.locator("td[data-value]")
    cpr, cmd = (float(str(cell.get_attribute("data-value"))) for cell in cells.all())
    (row,) = (
        row
        for row in bench.results
        if (row.case, row.method, row.seed) == ("words", "exact", 0) and row.cpr is not None
    )
    assert (cpr, cmd) == pytest.approx((row.cpr, row.cmd), abs=1e-12)


def test_sorting(watched: Watched) -> None:
    page = watched.page
    header = page.locator("#methods-table th[data-column=method]")
    before = column(page, 1)
    assert page.locator("#methods-table [aria-sort]").get_attribute("data-column") == "rank"
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert column(page, 1) == sorted(before) != before
    header.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert column(page, 1) == sorted(before, reverse=True)
    assert page.locator("#methods-table [aria-sort]").count() == 1
    for other in page.locator("#methods-table thead button").all():
        other.click()


def test_filters(bench: MadeUpBench, watched: Watched) -> None:
    page = watched.page
    page.get_by_label("Tier").select_option(label="multi-step")
    assert "over 1 of 3 cases" in page.locator("#methods-status").inner_text()
    some = [row for row in bench.results if row.case == "words"]
    for entry in leaderboard(some):
        interval = entry.head_no_embed
        assert interval is not None
        row = page.locator("#methods-table tbody tr", has_text=entry.method)
        assert row.locator(".mean").inner_text() == f"{interval.mean:.3f}"
    assert page.locator("#matrix-table thead th").all_inner_texts() == ["Method", "words", "Mean"]
    page.get_by_label("Scores of").select_option(label="nodes")
    page.get_by_label("Universe").first.select_option("head")
    assert page.locator("#methods-status").inner_text().startswith("Mean ROC-AUC of nodes in univ")
    page.get_by_label("Release").select_option("1.0.0")
    assert "tier=is" in page.url and "release=1.0.0" in page.url and "level=node" in page.url
    page.go_back()
    page.go_back()
    page.go_back()
    page.go_back()
    assert "over 3 cases" in page.locator("#methods-status").inner_text()
    assert page.get_by_label("Tier").input_value() == ""
    page.get_by_label("Release").select_option("current")
    assert page.locator("#matrix-table thead th").all_inner_texts() == ["Method", "11", "Mean"]


def test_intervals_of_some_cases_are_bootstrapped(browser: "Browser", tmp_path: Path) -> None:
    """The page draws other resamples than Python, so the ends agree to about a hundredth."""
    made = made_up_bench([str(number) for number in range(12)], ("noisy", "random"))
    file = tmp_path / "page.html"
    file.write_text(report_html(made.results), encoding="utf-8")
    watched = Watched(browser, file)
    watched.visit("#universe=head")
    for entry in leaderboard(made.results):
        assert entry.head is not None
        row = watched.page.locator("#methods-table tbody tr", has_text=entry.method)
        ends = json.loads(row.locator(".interval").inner_text())
        assert ends == pytest.approx([entry.head.low, entry.head.high], abs=0.01)
    watched.check()
    watched.page.context.close()


def test_a_case_by_click_and_back(watched: Watched) -> None:
    page = watched.page
    assert page.locator("#case-title").inner_text() == "Case 4"
    page.locator("#matrix-table tbody tr", has_text="random").locator("a").nth(1).click()
    assert page.locator("#case-title").inner_text() == "Case 11"
    assert page.get_by_role("combobox", name="Method").input_value() == "random"
    assert page.evaluate("document.activeElement.id") == "case-title"
    assert page.get_by_text("Doubles every token.").is_visible()
    page.get_by_role("button", name="Next case").click()
    assert page.locator("#case-title").inner_text() == "Case words"
    page.go_back()
    assert page.locator("#case-title").inner_text() == "Case 11"
    page.go_back()
    assert page.locator("#case-title").inner_text() == "Case 4"


def test_a_case_by_the_keyboard_alone(watched: Watched) -> None:
    page = watched.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = []
    for _ in range(80):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.getAttribute('href')"))
        if "case=words" in str(seen[-1]):
            break
    page.keyboard.press("Enter")
    assert page.locator("#case-title").inner_text() == "Case words"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.control") == "case"
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "edges":
            break
    before = page.locator("output").inner_text()
    page.keyboard.press("End")
    assert page.locator("output").inner_text() != before
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline not in ("none", "")


def test_a_case_by_its_address(watched: Watched) -> None:
    watched.visit("#case=11&method=noisy&universe=qkv&edges=1")
    page = watched.page
    assert page.locator("#case-title").inner_text() == "Case 11"
    assert page.get_by_text("seed 0 and edge order 0, one of 2").is_visible()
    assert page.locator("output").inner_text().startswith("1 edge chosen: ")
    assert page.get_by_label("Universe").first.input_value() == "qkv"
    watched.visit("#case=nobody&universe=none&method=x&edges=-1&tier=y")
    assert page.locator("#case-title").inner_text() == "Case 4"
    watched.visit("#reading")
    assert page.locator("#case-title").inner_text() == "Case 4"


def test_the_slider_changes_the_drawing(watched: Watched) -> None:
    watched.visit("#case=4&universe=qkv&method=exact")
    page = watched.page

    def count(finding: str) -> int:
        return page.locator(f"svg.circuit path.edge.{finding}").count()

    slider = page.get_by_label("Number of edges")
    assert slider.input_value() == "3"
    assert (count("hit"), count("missed"), count("extra"), count("constant")) == (3, 0, 0, 1)
    slider.fill("1")
    assert (count("hit"), count("missed"), count("extra")) == (1, 2, 0)
    assert re.search(r"edges=1\b", page.url)
    slider.fill("8")
    assert (count("hit"), count("missed"), count("extra")) == (3, 0, 5)
    label = page.locator("svg.circuit").get_attribute("aria-label")
    assert label == page.locator("output").inner_text()
    page.get_by_role("button", name="True size: 3").click()
    assert (count("hit"), count("extra"), slider.input_value()) == (3, 0, "3")
    dashes = {
        finding: page.locator(f"path.{finding}, .legend line.{finding}").first.evaluate(
            "each => getComputedStyle(each).strokeDasharray"
        )
        for finding in ("hit", "missed", "extra", "constant")
    }
    assert len(set(dashes.values())) == 4


def test_every_chart_has_a_name_and_a_table(watched: Watched) -> None:
    watched.visit("#case=11")
    page = watched.page
    charts = page.locator("svg[role=img]")
    assert charts.count() == 4
    for chart in charts.all():
        assert len(str(chart.get_attribute("aria-label"))) > 30
    for details in page.locator("#cases details").all():
        details.locator("summary").click()
    # A table is made when its details open, which the page learns only after the click.
    rates, shares = (
        page.locator("table", has_text=text) for text in ("False positive rate", "Share")
    )
    rates.wait_for()
    assert rates.is_visible()
    shares.wait_for()
    assert shares.locator("tbody tr").count() == 10


def test_without_curves_the_page_says_so(
    bench: MadeUpBench, browser: "Browser", tmp_path: Path
) -> None:
    file = tmp_path / "page.html"
    file.write_text(report_html(bench.results, bench.scores), encoding="utf-8")
    watched = Watched(browser, file)
    assert watched.page.get_by_text("no stored faithfulness curves").is_visible()
    file.write_text(report_html(bench.results), encoding="utf-8")
    watched.visit("")
    assert watched.page.get_by_text("nothing to draw").is_visible()
    file.write_text(report_html([]), encoding="utf-8")
    watched.visit("")
    watched.check()
    watched.page.context.close()


def test_hostile_texts_are_texts(browser: "Browser", tmp_path: Path) -> None:
    name = '</script>"><img src=x onerror=alert(1)><script>alert(2)</script>'
    made = made_up_bench((name, "11"), ("exact", name), ablations=("mean", name))
    file = tmp_path / "page.html"
    texts = {name: CaseText(name, name, name)}
    page = report_html(made.results, made.scores, made.curves, texts=texts, title=name)
    file.write_text(page, encoding="utf-8")
    watched = Watched(browser, file)
    watched.page.locator("#matrix-table tbody a").last.click()
    assert watched.page.locator("#case-title").inner_text() == f"Case {name}"
    assert watched.page.locator("img").count() == 0
    assert watched.page.locator("script").count() == 2
    watched.check()
    watched.page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_layout_and_accessibility(browser: "Browser", file: Path, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    watched = Watched(browser, file, width, color_scheme=scheme)
    page = watched.page
    for address in ("", "#case=11&universe=qkv&method=random&edges=40"):
        watched.visit(address)
        scroll, inner = page.evaluate("[document.scrollingElement.scrollWidth, innerWidth]")
        assert scroll <= inner
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")
        for details in page.locator("#cases details").all():
            details.locator("summary").click()
        found = axe.run(page).response["violations"]
        severe = [each for each in found if each["impact"] in ("serious", "critical")]
        assert not severe, json.dumps(severe, indent=1)[:3000]
    watched.check()
    page.context.close()
