"""The report in a real browser: headless Chromium, as Debian packages it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="needs Debian's packages chromium and chromium-driver"
)
PHONE, DESKTOP = 360, 1200


@pytest.fixture(scope="module")
def report(saved_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page made from the saved run by our own command."""
    from theory_checks.__main__ import main

    out = tmp_path_factory.mktemp("report") / "html"
    assert main(["--from", str(saved_run), "--html", str(out)]) == 0
    return out / "index.html"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=ChromeService(str(DRIVER)))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


def show(chromium: Any, report: Path, width: int = DESKTOP, dark: bool = False) -> None:
    """Open the page afresh, as wide as a phone or a desk, in one of the two colour schemes."""
    chromium.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width == PHONE},
    )
    features = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
    chromium.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": n, "value": v} for n, v in features.items()]}
    )
    from selenium.webdriver.support.wait import WebDriverWait

    chromium.execute_script("window.old = true")
    chromium.get(report.as_uri())
    # On a busy machine the driver can be back while the page is still being read.
    ready = "return document.readyState === 'complete' && !window.old"
    WebDriverWait(chromium, 60).until(lambda driver: driver.execute_script(ready))


@pytest.fixture
def page(chromium: Any, report: Path) -> Any:
    show(chromium, report)
    return chromium


def press(driver: Any, *keys: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(driver).send_keys(*keys).perform()


def ids(driver: Any) -> list[str]:
    """The statements shown, in the order of the table."""
    return driver.execute_script(
        "return [...document.querySelectorAll('#rows tbody tr:not([hidden]) th')].map(cell => cell.innerText)"
    )


def heading(driver: Any, name: str) -> Any:
    return driver.execute_script(
        "return [...document.querySelectorAll('#rows thead button')].find(b => b.textContent === arguments[0])", name
    )


def sorted_by(driver: Any) -> dict[str, str]:
    return dict(
        driver.execute_script(
            "return [...document.querySelectorAll('#rows th[aria-sort]')].map(h => [h.innerText.trim(), h.ariaSort])"
        )
    )


def test_nothing_is_missing_and_nothing_complains(page) -> None:
    page.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    images = page.execute_script(
        "return [...document.images].map(i => [i.src, i.complete && i.naturalWidth, i.alt, i.clientWidth])"
    )
    assert images
    for source, natural, alt, shown in images:
        assert natural > 0, source
        assert shown > 100, source
        assert alt, source
    formulas = page.execute_script(
        "return [...document.querySelectorAll('math')].map(m => [m.outerHTML, m.getBoundingClientRect()])"
    )
    assert len(formulas) > 100
    assert [text for text, box in formulas if not (box["width"] > 0 and box["height"] > 0)] == []
    loaded = page.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert {name.partition(":")[0] for name in loaded} <= {"file", "data"}
    assert page.get_log("browser") == []


def test_every_link_inside_the_page_has_its_target(page) -> None:
    assert page.execute_script(
        "return [...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.getAttribute('href').slice(1))"
        ".filter(id => !document.getElementById(id))"
    ) == []  # fmt: skip


def test_a_link_into_a_note_opens_it(page) -> None:
    page.execute_script("location.hash = document.querySelector('#note-softmax details h4').id")
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(page, 10).until(
        lambda d: d.execute_script("return document.querySelector('#note-softmax details').open")
    )
    top = page.execute_script("return document.querySelector(location.hash).getBoundingClientRect().top")
    assert 0 <= top < 800


def test_sorting_by_mouse(page) -> None:
    assert sorted_by(page) == {"id": "ascending"}
    assert ids(page) == ["lemma-f6", "lemma-f6-sharp", "m-step-entering-weight", "p2"]
    heading(page, "holds").click()
    assert sorted_by(page) == {"holds": "ascending"}
    assert ids(page) == ["m-step-entering-weight", "lemma-f6", "lemma-f6-sharp", "p2"]  # 1, 77, 109, 452: as numbers
    heading(page, "holds").click()
    assert sorted_by(page) == {"holds": "descending"}
    assert ids(page) == ["p2", "lemma-f6-sharp", "lemma-f6", "m-step-entering-weight"]
    heading(page, "status").click()
    assert ids(page)[0] == "m-step-entering-weight"  # what needs attention comes first
    heading(page, "evidence").click()
    assert ids(page)[0] == "p2"  # exact is stronger than certified


def test_what_is_missing_comes_last_either_way(page) -> None:
    for _ in range(2):
        heading(page, "bits").click()  # p2 has none
        assert ids(page)[-1] == "p2"


def test_sorting_by_keyboard(page) -> None:
    from selenium.webdriver.common.keys import Keys

    page.execute_script("arguments[0].focus()", heading(page, "slack"))
    press(page, Keys.ENTER)
    assert sorted_by(page) == {"slack": "ascending"}
    assert ids(page)[0] == "m-step-entering-weight"
    press(page, Keys.SPACE)
    assert sorted_by(page) == {"slack": "descending"}
    assert ids(page)[-1] == "m-step-entering-weight"
    press(page, Keys.TAB, Keys.SPACE)
    assert sorted_by(page) == {"kept": "ascending"}


def test_filter(page) -> None:
    find = page.find_element("id", "find")
    count = page.find_element("id", "count")
    assert count.text == "4 of 4 statements shown"
    find.send_keys("LEMMA F.6 chernoff")
    assert ids(page) == ["lemma-f6-sharp"]
    assert count.text == "1 of 4 statements shown"
    find.clear()
    find.send_keys("tv")  # in the text of a statement
    assert ids(page) == ["p2"]
    page.find_element("css selector", "#filter button[type=reset]").click()
    assert len(ids(page)) == 4
    assert count.text == "4 of 4 statements shown"
    filters = ("status", "refuted", 1), ("evidence", "certified", 3), ("coverage", "instances", 4), ("text", "ours", 3)
    for name, value, left in filters:
        page.find_element("css selector", f"#{name}").send_keys(value)
        assert len(ids(page)) == left, name
        page.find_element("css selector", "#filter button[type=reset]").click()


def test_keyboard_reaches_the_ledger_and_shows_where_it_is(page) -> None:
    from selenium.webdriver.common.keys import Keys

    press(page, Keys.TAB)
    first = page.switch_to.active_element
    assert first.text == "Skip to the ledger"
    assert first.location["y"] >= 0
    press(page, Keys.ENTER)
    for _ in range(12):
        press(page, Keys.TAB)
        width = page.execute_script("return parseFloat(getComputedStyle(document.activeElement).outlineWidth)")
        assert width >= 2, page.switch_to.active_element.get_attribute("outerHTML")
    assert page.execute_script("return document.activeElement.closest('#rows') !== null")


def test_every_control_has_a_name(page) -> None:
    assert page.execute_script(
        "return [...document.querySelectorAll('button, input, select, a, [role=region], [role=img]')].filter(e => "
        "!(e.innerText || e.textContent || e.labels?.length || e.ariaLabel || e.getAttribute('aria-labelledby')))"
        ".map(e => e.outerHTML)"
    ) == []  # fmt: skip


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_page_itself_never_scrolls_sideways(chromium, report, width: int) -> None:
    show(chromium, report, width)
    chromium.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    widest, window, text = chromium.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth,"
        " parseFloat(getComputedStyle(document.querySelector('article p')).fontSize)]"
    )
    assert widest == window <= width  # the window less its scroll bar
    assert text >= 16


CONTRAST = """
function luminance(colour) {
  const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function ground(element) {
  for (let e = element; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor;
    if (!/, 0\\)$/.test(colour)) return colour;
  }
}
return [...document.querySelectorAll("p, a, dt, dd, th, td, li, label, input, figcaption, .badge, summary, code")]
  .map(e => [e.outerHTML.slice(0, 80), luminance(getComputedStyle(e).color), luminance(ground(e))]);
"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_ground(chromium, report, dark: bool) -> None:
    """WCAG's ratio for normal text, 4.5, in both colour schemes."""
    show(chromium, report, dark=dark)
    measured = chromium.execute_script(CONTRAST)
    assert (measured[0][2] < 0.5) == dark
    for text, ink, ground in measured:
        light, dim = max(ink, ground), min(ink, ground)
        assert (light + 0.05) / (dim + 0.05) >= 4.5, text
