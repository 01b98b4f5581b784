"""A real browser: Debian's chromium without a window, steered by its driver, cut off from the network.

``browser`` is a fixture that test modules take over, and ``pytestmark`` what marks them.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="steers the browser: pip install selenium")
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs chromium and its driver: apt-get install chromium chromium-driver"
)
pytestmark = [pytest.mark.slow, needs_chromium]
_FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--window-size=1200,1000",
    "--autoplay-policy=no-user-gesture-required",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # chromium refuses to sandbox what root runs
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


def element(page: Any, selector: str) -> Any:
    return page.find_element("css selector", selector)


def wait_for(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + 180  # torch is imported, and kernels compiled, beside other work
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.02)
