"""A report in a real browser."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests import chromium
from tests.chromium import element
from tests.cli.conftest import run_of

browser = chromium.browser
pytestmark = chromium.pytestmark
ENTER, SPACE, RIGHT = "\ue007", "\ue00d", "\ue014"
PHONE = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}


@pytest.fixture
def page(browser: Any, finished: Path) -> Any:
    """The browser with the report open, as it is before anyone has touched it."""
    browser.get_log("performance")  # what was asked for before
    browser.get((run_of(finished) / "report.html").as_uri())
    return browser


def column(page: Any, number: int) -> list[str]:
    cells = page.find_elements("css selector", f"#scores tbody tr > :nth-child({number})")
    return [cell.get_attribute("data-value") for cell in cells]


def test_it_opens_without_an_error_and_asks_for_nothing_but_itself(page: Any) -> None:
    assert element(page, "h1").text.endswith(": test")
    assert page.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    own = [url for url in asked if url == page.current_url]
    assert own and not [url for url in asked if url not in own and not url.startswith("data:")]


def test_a_heading_sorts_by_click_and_by_keyboard(page: Any) -> None:
    """One species is present in one clip, the other in two and absent from none: it has no average precision."""
    heading = element(page, "#scores th:nth-child(2)")
    heading.find_element("tag name", "button").click()
    assert heading.get_attribute("aria-sort") == "descending" and column(page, 2) == ["2", "1"]
    heading.find_element("tag name", "button").send_keys(ENTER)
    assert heading.get_attribute("aria-sort") == "ascending" and column(page, 2) == ["1", "2"]
    for _ in range(2):
        element(page, "#scores th:nth-child(7) button").send_keys(ENTER)
        assert column(page, 7)[-1] == "", "what is undefined stays last, whichever way it is sorted"
    first = element(page, "#scores th:nth-child(1)")
    first.find_element("tag name", "button").send_keys(SPACE)
    assert first.get_attribute("aria-sort") == "ascending" and heading.get_attribute("aria-sort") is None
    assert column(page, 1) == sorted(column(page, 1))


def test_the_slider_shows_the_numbers_of_its_score_for_one_species_or_all(page: Any) -> None:
    counted = json.loads(element(page, "#counted").get_attribute("textContent"))
    options = page.find_elements("css selector", "#which option")
    drawn = {line.get_attribute("data-name") for line in page.find_elements("css selector", "#pr .line")}
    for number, one in enumerate(counted["counts"]):
        options[number].click()
        step = int(element(page, "#step").get_property("value"))
        for _ in range(2):
            element(page, "#step").send_keys(RIGHT)
            step += 1
            true, reported, present = one["true"][step], one["reported"][step], one["present"]
            assert element(page, "#at").text == f"{step / 100:.2f}"
            assert element(page, "#precision").text == (f"{true / reported:.3f}" if reported else "–")
            assert element(page, "#recall").text == (f"{true / present:.3f}" if present else "–")
            assert element(page, "#check").text == str(one["to_check"][step])
        chosen = page.find_elements("css selector", "#pr .line.chosen")
        assert [line.get_attribute("data-name") for line in chosen] == ([one["name"]] if one["name"] in drawn else [])
        assert element(page, "#lineless").is_displayed() == (one["name"] not in drawn)


def test_a_picture_zooms_to_a_call(page: Any) -> None:
    element(page, "#zoom option[value='20']").click()
    for picture in page.find_elements("css selector", ".picture"):
        assert [tick.text for tick in picture.find_elements("css selector", ".ms text")] == ["0", "5", "10", "15", "20"]
        window = picture.find_element("css selector", ".window")
        assert page.execute_script("return arguments[0].getAttribute('viewBox')", window) == "450 0 100 170"


def test_the_audio_plays_two_seconds(page: Any) -> None:
    play = """
        const [done, audio] = [arguments[0], document.querySelector("audio")];
        audio.muted = true;
        audio.addEventListener("timeupdate", () => audio.currentTime > 0.1 && done(audio.duration));
        audio.addEventListener("error", () => done("error"));
        audio.play().catch((error) => done(String(error)));
    """
    page.set_script_timeout(20)
    assert page.execute_async_script(play) == pytest.approx(2.0, abs=0.01)
    assert page.get_log("browser") == []


def test_it_fits_a_phone_and_goes_dark(page: Any) -> None:
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    assert page.execute_script("return document.documentElement.scrollWidth") == PHONE["width"]
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    shades = []
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        shades.append(page.execute_script("return getComputedStyle(document.body).backgroundColor"))
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert shades == ["rgb(255, 255, 255)", "rgb(20, 24, 29)"]


def test_it_prints_dark_on_white_and_without_what_paper_cannot_do(page: Any) -> None:
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": dark})
    body = page.execute_script("const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]")
    shown = {of: element(page, of).is_displayed() for of in ("nav", "audio", "#zoom", "#scores", "#pr", ".picture")}
    printed = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {})["data"])
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert body == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
    assert [of for of, is_shown in shown.items() if is_shown] == ["#scores", "#pr", ".picture"]
    assert printed.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", printed)) > 1
