"""A review in a real browser."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import chromium
from tests.chromium import element, wait_for
from tests.reviewing.made import SPECIES, write_calls, write_folder

browser = chromium.browser
pytestmark = chromium.pytestmark
PHONE = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
HOSTILE = "<img src=x onerror=alert(1)>&quot;_20240412_220000.wav"
CLIPS = 120


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    write_calls(folder / HOSTILE)
    for i in range(1, CLIPS):
        shutil.copy(folder / HOSTILE, folder / f"MEADOW_20240412_22{i // 60:02d}{i % 60:02d}.wav")
    return folder


@pytest.fixture
def folder(recordings: Path, tmp_path: Path) -> Path:
    """Predictions: in the first recording, with the highest score, is a species; in most others is none."""
    scores = np.random.default_rng(0).uniform(0.01, 0.4, (CLIPS, len(SPECIES)))
    scores[0, 2], scores[1:12, 1] = 0.95, np.linspace(0.9, 0.55, 11)
    return write_folder(
        tmp_path / "pred", scores.tolist(), sorted(p.name for p in recordings.iterdir()), root=recordings
    )


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """Start the command as a user would; returns the process and the page's address."""
    running: list[subprocess.Popen[str]] = []

    def call(*options: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-c", "from batcache.cli.main import main; main()", "review", str(folder)]
        process = subprocess.Popen([*command, "--no-browser", *options], stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout
        for line in process.stdout:
            if found := re.match(r"open (http://\S+)", line):
                return process, found[1]
        raise AssertionError("it names no address")

    yield call
    for process in running:
        process.kill()
        process.communicate()


def open_page(browser: Any, address: str) -> None:
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(address)
    wait_for(lambda: element(browser, "#asking").is_displayed(), "the first question")


def answers_in(folder: Path, name: str = "reviewed.jsonl") -> list[dict[str, Any]]:
    lines = (folder / name).read_text().splitlines()[1:]
    return [json.loads(line) for line in lines]


def answer(browser: Any, folder: Path, key: str) -> None:
    """Answer by a key, and wait until the page shows that it is kept."""
    count = len(answers_in(folder))
    page_was = browser.execute_script("const s = document.querySelector('#shown'); s.textContent = ''; return 1")
    element(browser, "body").send_keys(key)
    wait_for(lambda: element(browser, "#shown").text, "an answer")
    assert page_was and len(answers_in(folder)) == count + 1, element(browser, "#shown").text


def requests_of(browser: Any) -> list[str]:
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def test_a_hundred_clips_by_keyboard_killed_in_the_middle_and_resumed_lose_no_answer(
    browser: Any, folder: Path, start: Callable[..., tuple[subprocess.Popen[str], str]]
) -> None:
    process, address = start("--error", "0.01")
    open_page(browser, address)
    keys = "rwnus" * 20
    for key in keys[:50]:
        answer(browser, folder, key)
    shown = [(one["path"], one["answer"]) for one in answers_in(folder)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [(one["path"], one["answer"]) for one in answers_in(folder)] == shown
    table = (folder / "reviewed.csv").read_bytes()
    element(browser, "body").send_keys("r")
    wait_for(lambda: "ended" in element(browser, "#shown").text, "a word that the server is gone")
    _, address = start("--error", "0.01")
    assert (folder / "reviewed.csv").read_bytes() == table, "nothing of it changes by being opened"
    open_page(browser, address)
    for key in keys[50:]:
        answer(browser, folder, key)
    said = answers_in(folder)
    assert len(said) == 100 and [(one["path"], one["answer"]) for one in said[:50]] == shown
    asked = [(one["path"], key) for one in said for key in [next(reversed(one["answers"]))] if one["answer"] != "skip"]
    assert len(asked) == len(set(asked)), "nothing is asked twice but what was skipped"
    with (folder / "reviewed.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    known = {one["path"] for one in said if one["labels"]}
    assert {row["filename"] for row in rows} == known
    severe = [entry for entry in browser.get_log("browser") if "ERR_CONNECTION_REFUSED" not in entry["message"]]
    assert severe == [], "no error but that of the answer to a server that was killed"


def test_nothing_is_loaded_from_outside_and_no_error_is_in_the_console(
    browser: Any, start: Callable[..., tuple[subprocess.Popen[str], str]]
) -> None:
    _, address = start()
    open_page(browser, address)
    wait_for(lambda: browser.execute_script("return document.querySelector('#picture').naturalWidth"), "a picture")
    for key in "c+-0h":
        element(browser, "body").send_keys(key)
    browser.execute_script("document.querySelector('#play').click()")
    wait_for(lambda: element(browser, "#play").text.startswith("Stop"), "sound")
    asked = requests_of(browser)
    assert asked and all(url.startswith((address, "data:", f"blob:{address.split('/', 3)[0]}")) for url in asked)
    assert browser.get_log("browser") == []


def test_a_hostile_name_is_text(browser: Any, start: Callable[..., tuple[subprocess.Popen[str], str]]) -> None:
    _, address = start()
    open_page(browser, address)
    wait_for(lambda: element(browser, "#question").text, "the question")
    parts = browser.find_elements("css selector", "#parts button")
    assert [part.get_attribute("data-part") for part in parts] == ["presence", "doubt", "random"]
    first = element(browser, "#path").text
    element(browser, "body").send_keys("s")
    wait_for(lambda: element(browser, "#path").text != first, "the next question")
    assert element(browser, "#path").text == HOSTILE and not browser.find_elements("css selector", "#asking img[src=x]")


def test_it_fits_a_phone_and_every_control_has_a_name(
    browser: Any, start: Callable[..., tuple[subprocess.Popen[str], str]]
) -> None:
    _, address = start()
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    try:
        open_page(browser, address)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
        names = browser.execute_script(
            "return [...document.querySelectorAll('button, input, select')].filter((e) => e.offsetParent)"
            ".map((e) => (e.ariaLabel || e.labels?.[0]?.textContent || e.textContent || '').trim())"
        )
        assert len(names) > 15 and all(names)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_cursor_reads_the_frequency_and_the_moment_of_a_call(
    browser: Any, start: Callable[..., tuple[subprocess.Popen[str], str]]
) -> None:
    """Calls of 45 kHz begin at 0.6 s and each 0.1 s after that, and are loudest 2.5 ms later."""
    _, address = start()
    open_page(browser, address)
    wait_for(lambda: browser.find_elements("css selector", "#measures tbody tr"), "measures")
    element(browser, "body").send_keys("c")
    wait_for(lambda: "kHz" in element(browser, "#readout").text, "what the cursor reads")
    khz, ms = map(float, re.findall(r"[\d.]+", element(browser, "#readout").text))
    assert abs(khz - 45) < 2, "a mel band is 1 to 2 kHz wide there"
    assert min(abs(ms - at - 2.5) for at in (600, 700, 800, 900)) < 3
    cells = [cell.text for cell in browser.find_elements("css selector", "#measures tbody tr:first-child td")]
    assert abs(float(cells[1]) - 45) < 2 and 2 <= float(cells[2]) <= 12
    view = element(browser, "#view")
    view.send_keys("\ue014" * 3)
    moved = float(re.findall(r"[\d.]+", element(browser, "#readout").text)[1])
    assert 2.9 <= moved - ms <= 3.1, "an arrow is a frame of 1 ms"


def test_other_species_are_completed_marked_and_several_to_a_file(
    browser: Any, folder: Path, start: Callable[..., tuple[subprocess.Popen[str], str]]
) -> None:
    _, address = start()
    open_page(browser, address)
    offered = browser.execute_script("return [...document.querySelectorAll('#known option')].map((o) => o.value)")
    assert offered == list(SPECIES)
    element(browser, "body").send_keys("a")
    element(browser, "#typed").send_keys("myotis MYOTIS\n")
    wait_for(lambda: "Myotis myotis: present" in element(browser, "#species").text, "the mark")
    answer(browser, folder, "r")
    first = answers_in(folder)[-1]
    assert first["labels"] == {"Nyctalus noctula": 1, "Myotis myotis": 1}
    element(browser, "body").send_keys("o")
    element(browser, "#typed").send_keys("Pipistrellus pipistrelus\n")
    wait_for(lambda: "Did you mean Pipistrellus pipistrellus?" in element(browser, "#shown").text, "a suggestion")
    element(browser, "#typed").send_keys("\n")
    wait_for(lambda: len(answers_in(folder)) == 2, "the answer")
    assert answers_in(folder)[-1]["labels"]["Pipistrellus pipistrelus"] == 1
    wait_for(lambda: "Pipistrellus pipistrelus" in page_names(browser), "the new name among those that are offered")
    element(browser, "body").send_keys("z")
    wait_for(lambda: "taken back" in element(browser, "#shown").text, "undo")
    assert answers_in(folder)[-1]["undo"] and "Pipistrellus pipistrelus" not in page_names(browser)


def page_names(browser: Any) -> list[str]:
    return list(browser.execute_script("return [...document.querySelectorAll('#known option')].map((o) => o.value)"))


def test_the_page_ends_the_review_and_the_command_says_what_is_kept(
    browser: Any, folder: Path, start: Callable[..., tuple[subprocess.Popen[str], str]]
) -> None:
    process, address = start()
    open_page(browser, address)
    answer(browser, folder, "r")
    element(browser, "#end").click()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "1 answer, 1 of them now" in out and "reviewed.csv" in out
    assert "1 answer is kept in" in element(browser, "#ended").text
