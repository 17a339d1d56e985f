"""The report in headless Chromium: phone and desktop width, light and dark, and on paper."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from remediation.reports.report import render, write_report
from tests.exhaustive import exhaustive_unless
from tests.remediation.reports.report_situations import SITUATIONS
from tests.remediation.reports.sample_job import HOSTILE, facts, hostile_campaign, job, row, small_campaign
from tests.remediation.reports.test_report import hostile_facts

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

PHONE, DESKTOP = 390, 1440
# The height of the first screen.
SCREEN_HEIGHT = {PHONE: 844, DESKTOP: 900}
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
VIEWS = list(itertools.product((PHONE, DESKTOP), SCHEMES))
# The situations that differ most. The others are exhaustive.
VARIED_SITUATIONS = ("partial", "running", "unknown_job", "hostile")

# For every element with its own text: its color, the color behind it, and whether the text is large.
TEXT_COLORS = """
() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
      if (a > 0) return [r, g, b];
    }
    return parse(getComputedStyle(document.documentElement).colorScheme === 'dark' ? 'rgb(0,0,0)' : 'rgb(255,255,255)');
  };
  // The color after the opacity of the element and its parents.
  const seen = (element, color, ground) => {
    let opacity = 1;
    for (let at = element; at; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
    return color.map((part, index) => opacity * part + (1 - opacity) * ground[index]);
  };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const svg = element.namespaceURI.endsWith('svg');
    const size = parseFloat(style.fontSize);
    found.push({
      text: element.textContent.trim().slice(0, 40),
      color: seen(element, parse(svg ? style.fill : style.color).slice(0, 3), behind(element)),
      behind: behind(element),
      large: size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700),
    });
  }
  return found;
}
"""

# The fill color of each tone in a chart.
FILLS = """
() => Object.fromEntries([...document.querySelectorAll('svg [class]')]
  .filter((element) => element.matches('rect:not(.mark), path'))
  .map((element) => [element.getAttribute('class'), getComputedStyle(element).fill.match(/\\d+/g).map(Number)]))
"""

# Elements whose content is wider than they are, so that a part is invisible.
CUT_OFF_ELEMENTS = """
() => [...document.querySelectorAll('main *')]
  .filter((element) => !element.closest('svg') && element.clientWidth && element.scrollWidth > element.clientWidth + 1
    && getComputedStyle(element).display !== 'inline' && !element.closest('thead') && !element.matches('.unseen'))
  .map((element) => element.tagName + ' ' + element.className + ': ' + element.textContent.slice(0, 60))
"""


# Numbers with their units that span more than one line.
SPLIT_QUANTITIES = """
() => {
  const found = [], walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data;
    for (const match of text.matchAll(/[0-9][0-9.,]*\\u00a0(ms|s|min|h|d|%)(\\u00a0[0-9]+(\\u00a0(s|min|h))?)?/g)) {
      const range = document.createRange();
      range.setStart(walker.currentNode, match.index);
      range.setEnd(walker.currentNode, match.index + match[0].length);
      if (new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1) found.push(match[0]);
    }
  }
  return found;
}
"""

# The key facts at the report's top, each with its lower edge.
KEY_FACTS = """
() => Object.fromEntries([...document.querySelectorAll('.glances div')]
  .map((element) => [element.querySelector('dt').textContent, element.getBoundingClientRect().bottom]))
"""

# GitHub's narrowest column.
MARKDOWN_PAGE = """<!doctype html><meta charset="utf-8"><style>
body { margin: 0; width: 830px; overflow-wrap: break-word; }
body { font: 16px/1.5 "Segoe UI", "Noto Sans", Helvetica, sans-serif; }
td, th { padding: 6px 13px; border: 1px solid; } table { border-collapse: collapse; }
code { font: 85% ui-monospace, monospace; padding: .2em .4em; }
</style>"""


def facts_with_long_values() -> dict[str, Any]:
    """Return facts with large numbers and long names that cannot wrap."""
    rows = [
        row(
            number,
            "FAILED" if number % 3 else "COMPLETED",
            status_message=f"{number % 14}" + "reason" * 40,
            action_params={"client_recipient": f"u@{'d' * 150}{number}.example", "destination": f"{'F' * 90}{number}"},
            processed_at=f"2026-11-20T15:4{number % 3}:{number:02d}.{number:03d}Z",
        )
        for number in range(60)
    ]
    report_facts = facts(rows, title="T" * 300, warnings=["w" * 5000, "x"])
    report_facts["job"] |= {"total_messages_discovered": 12_345_678, "messages_successful": 12_345_638}
    report_facts["export"]["files"] = [
        {"path": "/" + "p" * 3000, "format": "ndjson", "sha256": "a" * 64, "rows": 10**7}
    ]
    return report_facts


def running() -> dict[str, Any]:
    rows = [*small_campaign(), *(row(number, "PENDING") for number in range(20, 30))]
    return facts(rows, outcome=None, job=job(rows, status="PROCESSING", completed_at=None))


REPORTS: dict[str, Callable[[], dict[str, Any]]] = {
    "small": lambda: facts(small_campaign()),
    "hostile": hostile_facts,
    "crowded": facts_with_long_values,
    "running": running,
    "nothing found": lambda: facts([], outcome="succeeded"),
    "nothing known": dict,
}


@dataclass
class ObservedPage:
    """A report in a tab, with its console messages, requests and dialogs."""

    page: Page
    console_messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def dismiss(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()


Open = Callable[..., ObservedPage]
Load = Callable[..., "Page"]


# Only for this module: Playwright runs an event loop in its thread, and other tests start their own.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is missing. On Debian: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415
    except ImportError:
        pytest.skip("Playwright is missing: pip install '.[browser]'")
    with sync_playwright() as playwright:
        # Root cannot set up Chromium's sandbox.
        browser_arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=browser_arguments)
        yield browser
        browser.close()


# One tab for all tests: opening a tab takes longer than everything else.
@pytest.fixture(scope="module")
def one_tab(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context()
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def load(one_tab: Page, tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Return a function that shows a report, or an empty page, in the tab. It resets the view to desktop and light."""
    path = tmp_path_factory.mktemp("reports") / "report.html"

    def load_report(report_facts: dict[str, Any] | None, added_html: str = "") -> Page:
        # A page's policy would apply to the next page's content too.
        one_tab.goto("about:blank")
        one_tab.set_viewport_size({"width": DESKTOP, "height": SCREEN_HEIGHT[DESKTOP]})
        one_tab.emulate_media(media="screen", color_scheme="light")
        if report_facts is not None:
            write_report(report_facts, str(path), "html")
            if added_html:
                path.write_text(path.read_text("utf-8").replace("</main>", f"{added_html}</main>"), "utf-8")
            one_tab.goto(path.as_uri())
        return one_tab

    return load_report


@pytest.fixture
def open_report(one_tab: Page, load: Load) -> Iterator[Open]:
    observed = ObservedPage(one_tab)
    listeners: list[tuple[Any, Callable[[Any], None]]] = [
        ("console", lambda message: observed.console_messages.append(message.text)),
        ("pageerror", lambda error: observed.console_messages.append(str(error))),
        ("request", lambda request: observed.requests.append(request.url)),
        ("dialog", observed.dismiss),
    ]

    def observe(report_facts: dict[str, Any] | str, added_html: str = "") -> ObservedPage:
        one_tab.goto("about:blank")
        for event, listener in listeners:
            one_tab.on(event, listener)
        load(REPORTS[report_facts]() if isinstance(report_facts, str) else report_facts, added_html)
        return observed

    yield observe
    for event, listener in listeners:
        one_tab.remove_listener(event, listener)


@pytest.mark.parametrize("name", exhaustive_unless({"hostile", "crowded"}, REPORTS))
def test_a_report_makes_no_request_logs_no_message_and_fits_the_screen(open_report: Open, name: str) -> None:
    observed = open_report(name)
    for width, scheme in VIEWS:
        observed.page.set_viewport_size({"width": width, "height": SCREEN_HEIGHT[width]})
        observed.page.emulate_media(color_scheme=scheme)
        assert observed.page.evaluate("document.documentElement.scrollWidth") <= width
        assert observed.page.evaluate(CUT_OFF_ELEMENTS) == []
    assert observed.console_messages == []
    assert observed.dialogs == []
    assert set(observed.requests) == {observed.page.url}


@pytest.mark.parametrize(
    ("name", "views"),
    [
        *((name, VIEWS[number : number + 1]) for number, name in enumerate(VARIED_SITUATIONS)),
        *(pytest.param(name, VIEWS, marks=pytest.mark.exhaustive) for name in SITUATIONS),
    ],
    ids=lambda value: value if isinstance(value, str) else f"views={len(value)}",
)
def test_a_situation_fits_the_screen_is_accessible_and_begins_with_the_key_facts(
    load: Load, name: str, views: list[tuple[int, Scheme]], tmp_path: Path
) -> None:
    page = load(SITUATIONS[name](tmp_path))
    for width in (PHONE, DESKTOP):
        page.set_viewport_size({"width": width, "height": SCREEN_HEIGHT[width]})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CUT_OFF_ELEMENTS) == []
        assert page.evaluate(SPLIT_QUANTITIES) == []
        # The texts of these two are longer than a screen.
        if name not in {"hostile", "scripts"}:
            check_first_screen(page, width, has_version=name != "unknown_job")
    page.evaluate(axe_source())
    for width, scheme in views:
        page.set_viewport_size({"width": width, "height": SCREEN_HEIGHT[width]})
        page.emulate_media(color_scheme=scheme)
        assert faint_texts(page) == []
        # axe takes most of its time for contrasts, which `faint_texts` measures too.
        rules = {"color-contrast": {"enabled": views == VIEWS}}
        found = page.evaluate("(rules) => axe.run(document, {resultTypes: ['violations'], rules})", rules)
        assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found["violations"]] == []


def check_first_screen(page: Page, width: int, *, has_version: bool) -> None:
    """Check that the key facts are on the first screen, and the pack's version below it."""
    bottoms = page.evaluate(KEY_FACTS)
    assert bottoms
    assert {field: bottom for field, bottom in bottoms.items() if bottom > SCREEN_HEIGHT[width]} == {}
    version = page.locator("footer", has_text="Pack version").bounding_box() if has_version else None
    assert version is None or version["y"] > SCREEN_HEIGHT[width]


def axe_source() -> str:
    """Return the source of axe-core from its package."""
    axe = pytest.importorskip("axe_playwright_python", reason="axe-core is missing: pip install '.[browser]'")
    return (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", exhaustive_unless(VARIED_SITUATIONS, SITUATIONS))
def test_the_markdown_fits_the_column_of_a_ticket(load: Load, name: str, tmp_path: Path) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    body = markdown_it.MarkdownIt("commonmark").enable("table").render(render(SITUATIONS[name](tmp_path), "markdown"))
    page = load(None)
    page.set_content(MARKDOWN_PAGE + body)
    wide = page.evaluate(
        "() => [...document.querySelectorAll('table, li, p')].filter((one) => one.scrollWidth > 830 "
        "|| one.getBoundingClientRect().right > 830).map((one) => one.textContent.slice(0, 200))"
    )
    assert wide == []


def test_a_failed_message_among_thousands_is_visible_in_the_chart(load: Load, tmp_path: Path) -> None:
    page = load(SITUATIONS["huge_job"](tmp_path))
    for width in (PHONE, DESKTOP):
        page.set_viewport_size({"width": width, "height": SCREEN_HEIGHT[width]})
        failed, moved = (page.locator(f"svg.progress path.{tone}").bounding_box() for tone in ("bad", "good"))
        assert failed is not None
        assert moved is not None
        assert moved["y"] - failed["y"] >= 1.9
        assert page.locator("svg.progress rect.hatch[fill='url(#hatched)']").count() == 1


def test_a_click_selects_the_complete_command_and_a_link_leads_to_the_rows(load: Load, tmp_path: Path) -> None:
    page = load(SITUATIONS["partial"](tmp_path))
    line = page.locator("code.command").first
    line.click()
    assert page.evaluate("getSelection().toString()") == line.inner_text()
    page.locator("a[href='#rows-failed']").click()
    box = page.locator("#rows-failed").bounding_box()
    assert box is not None
    assert box["y"] < SCREEN_HEIGHT[DESKTOP]


@pytest.mark.parametrize(
    "texts", [HOSTILE, *(pytest.param((text,), marks=pytest.mark.exhaustive) for text in HOSTILE)], ids=len
)
def test_hostile_text_adds_no_element_to_the_page(open_report: Open, texts: tuple[str, ...]) -> None:
    rows = [
        row(number, "FAILED", status_message=text, message={"subject": text, "from": text, "final_disposition": text})
        for number, text in enumerate(texts)
    ]
    report_facts = facts(rows, title=texts[0], warnings=list(texts))
    page = open_report(report_facts).page
    assert (
        page.locator(
            "script, a:not([href^='#']), img, iframe, form, object, embed, [onload], [onerror], main style"
        ).count()
        == 0
    )
    visible_text = page.evaluate("document.body.innerText")
    assert not any(ord(character) < 0x20 and character not in "\n\t" for character in visible_text)
    assert not any(character in "\x7f\x9b\u202e\u202c\u200b\u2028" for character in visible_text)


def test_a_bidi_override_does_not_reorder_the_line(open_report: Open) -> None:
    page = open_report(facts([row(1, "FAILED", status_message="invoice \u202egpj.exe")])).page
    reason = page.locator("main td", has_text="invoice").last
    assert reason.inner_text().startswith("invoice U+202Egpj.exe")
    # The override's mark is between the text before it and after it, from left to right.
    mark = reason.locator("samp").bounding_box()
    line_box = reason.locator("bdi").bounding_box()
    assert mark is not None
    assert line_box is not None
    assert line_box["x"] < mark["x"] < mark["x"] + mark["width"] < line_box["x"] + line_box["width"]


def test_a_subject_of_ten_thousand_characters_takes_only_a_few_lines(open_report: Open) -> None:
    report_facts = facts([row(1, "FAILED", message={"subject": "A" * 10_000})])
    page = open_report(report_facts).page
    page.set_viewport_size({"width": PHONE, "height": SCREEN_HEIGHT[PHONE]})
    cell = page.locator("table.rows tbody td").last
    box = cell.bounding_box()
    assert box is not None
    assert box["height"] < 250


def test_the_content_security_policy_blocks_an_injected_script_and_image(open_report: Open) -> None:
    # The page's policy is the second defense, after escaping.
    added_html = (
        "<script>document.title='ran'</script><img src='http://127.0.0.1:9/x' onerror=\"document.title='ran'\">"
    )
    observed = open_report("small", added_html=added_html)
    assert observed.page.title() == "Phishing campaign purge"
    assert observed.console_messages != []
    assert all("Content Security Policy" in message for message in observed.console_messages)


@pytest.mark.parametrize("name", exhaustive_unless({"running"}, ["small", "running", "nothing known"]))
def test_all_text_has_enough_contrast(open_report: Open, name: str) -> None:
    page = open_report(name).page
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        assert faint_texts(page) == [], scheme


def faint_texts(page: Page) -> list[tuple[str, float]]:
    """Return the texts with too little contrast: WCAG 2.2, 1.4.3 requires 4.5 to 1, and 3 to 1 for large text."""
    texts = page.evaluate(TEXT_COLORS)
    assert len(texts) > 20
    return [
        (text["text"], round(found, 2))
        for text in texts
        if (found := contrast(text["color"], text["behind"])) < (3 if text["large"] else 4.5)
    ]


def test_all_bars_and_areas_have_enough_contrast(open_report: Open) -> None:
    # WCAG 2.2, 1.4.11: 3 to 1.
    page = open_report("running").page
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        fills = page.evaluate(FILLS)
        track = fills.pop("track")
        assert {"good", "bad", "warn", "idle", "busy"} <= set(fills)
        assert [tone for tone, fill in fills.items() if contrast(fill, track) < 3] == [], scheme


def contrast(one: list[float], other: list[float]) -> float:
    """Return the contrast ratio of two sRGB colors (WCAG 2.2)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: list[float]) -> float:
    channels = [part / 255 for part in color]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_chart_has_a_description_or_is_hidden_from_screen_readers(open_report: Open) -> None:
    page = open_report(facts([*small_campaign(), row(10)], outcome="partial")).page
    for name, expected in {
        "Messages by outcome": "Moved: 8, 72.7",
        "Messages over time": "messages were processed",
    }.items():
        chart = page.get_by_role("img", name=name)
        assert expected in (chart.locator("desc").text_content() or "").replace("\u00a0", " ")
    charts = page.locator("svg:not(svg svg)")
    labeled_charts = page.locator("svg[role=img], svg[aria-hidden], [aria-hidden] svg")
    assert charts.count() == labeled_charts.count()


def test_failed_messages_have_a_pattern_besides_the_color(open_report: Open) -> None:
    page = open_report("small").page
    assert page.locator("svg.whole rect.bad + rect[fill='url(#hatched)']").count() == 1
    assert page.locator("svg.whole rect.warn + rect[fill='url(#dotted)']").count() == 1


def test_the_areas_of_the_progress_chart_match_the_table(open_report: Open) -> None:
    rows = [row(number, processed_at=f"2026-11-20T15:4{number // 4}:00Z") for number in range(12)]
    page = open_report(facts(rows, outcome="succeeded")).page
    assert page.locator("table.moments tbody tr").last.inner_text().split("\t")[1:] == ["12", "0"]
    area = page.locator("svg.progress path.good").bounding_box()
    frame = page.locator("svg.progress rect.track").bounding_box()
    assert area is not None
    assert frame is not None
    assert area["height"] == pytest.approx(frame["height"], abs=1)


def test_a_printed_report_is_black_on_white_also_in_dark_mode(open_report: Open) -> None:
    page = open_report("small").page
    page.emulate_media(media="print", color_scheme="dark")
    texts = page.evaluate(TEXT_COLORS)
    assert all(luminance(text["behind"]) > 0.5 for text in texts)
    assert all(luminance(text["color"]) < 0.3 for text in texts)
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") in {2, 3, 4}


def test_a_report_on_hostile_mail_prints_without_console_messages(open_report: Open) -> None:
    observed = open_report(facts(hostile_campaign()))
    assert observed.page.pdf(format="A4").startswith(b"%PDF")
    assert observed.console_messages == []
