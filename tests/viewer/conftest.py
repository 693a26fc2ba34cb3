"""A headless Chromium for viewer tests; skipped, with the reason, where there is none."""

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BIN = Path(sys.executable).parent
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

HANGS_AFTER = 180
"""Seconds after which a page that shows nothing new hangs; on a busy machine all of them take longer."""


class ViewerPage:
    """The stock viewer's page with our playback folder, driven through what a user sees."""

    says_resolution = False

    def __init__(self, page, url: str) -> None:
        self.page, self.says_resolution = page, True
        page.goto(url)
        page.get_by_text("Time playback").wait_for()
        self.wait_until(self.is_fine, "the first full-resolution picture")

    def readout(self) -> tuple[int, float, str]:
        """Return frame number, seconds and state of the playback folder's text."""
        text = self.page.get_by_text(re.compile(r"frame \d+/\d+")).first.locator("xpath=..").inner_text()
        found = re.search(r"frame (\d+)/\d+ · ([\d.]+) s\s+(.+)", text)
        assert found, f"unexpected readout {text!r}"
        return int(found[1]), float(found[2]), found[3].strip()

    def resolution(self) -> int:
        """Return the width of the last picture."""
        found = re.search(r"Resolution: (\d+)x\d+px", self.page.get_by_text("Resolution:").inner_text())
        return int(found[1]) if found else 0

    def is_fine(self) -> bool:
        """Tell whether the last picture is no coarse one, which stands in while the fine one is made."""
        return not self.says_resolution or self.resolution() >= 256

    def picture(self) -> np.ndarray:
        """Return the rendered part of the page as floats [H,W,3] in 0..1."""
        box = {"x": 60, "y": 70, "width": 360, "height": 460}
        png = self.page.screenshot(clip=box)
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.float32) / 255

    def settled_picture(self, seconds: float = 1.0) -> np.ndarray:
        """Return the picture once it has stopped changing, at full resolution."""
        last, deadline = self.picture(), time.monotonic() + HANGS_AFTER
        while time.monotonic() < deadline:
            time.sleep(seconds)
            now = self.picture()
            if np.abs(now - last).max() < 0.02 and self.is_fine():
                return now
            last = now
        raise AssertionError(f"the picture still changes after {HANGS_AFTER} s")

    def changed_picture(self, before: np.ndarray) -> np.ndarray:
        """Return the next settled picture after one that is no longer right."""
        self.wait_until(lambda: np.abs(self.picture() - before).max() > 0.1, "another picture")
        return self.settled_picture()

    def click(self, name: str) -> None:
        """Press a button."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def click_text(self, text: str) -> None:
        """Press what bears a text, such as one button of a group."""
        self.page.get_by_text(text, exact=True).first.click()

    def slider(self, label: str):
        """Return the thumb of the slider with a label."""
        row = self.page.get_by_text(label, exact=True).locator("visible=true").first
        return row.locator('xpath=ancestor::*[.//*[@role="slider"]][1]').get_by_role("slider").first

    def press_on_slider(self, label: str, key: str) -> None:
        """Give a slider's thumb a key: ArrowRight for one step, End for its maximum."""
        thumb = self.slider(label)
        thumb.scroll_into_view_if_needed()
        thumb.focus()
        self.page.keyboard.press(key)

    def choose(self, label: str, option: str) -> None:
        """Choose an entry of a drop-down menu."""
        row = self.page.get_by_text(label, exact=True).locator("visible=true").first
        row.locator("xpath=ancestor::*[.//input][1]").locator("input").first.click()
        self.page.get_by_role("option", name=option, exact=True).click()

    def wait_until(self, condition, what: str, seconds: float = HANGS_AFTER) -> None:
        """Wait for a condition, or fail with what was waited for."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
            time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, process: subprocess.Popen, log: Path, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the viewer ended: {log.read_text()[-2000:]}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(f"no viewer on port {port} after {seconds:g} s: {log.read_text()[-2000:]}")


@contextmanager
def _viewer_page(page, config: Path) -> Iterator[ViewerPage]:
    port, log = free_port(), config.with_name("viewer.log")
    command = [BIN / "ns-viewer", "--load-config", config, "--viewer.websocket-port", port]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*map(str, command), "--viewer.websocket-host", "127.0.0.1"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        wait_for_port(port, process, log)
        opened = ViewerPage(page, f"http://127.0.0.1:{port}")
        opened.click("Hide Train Cams")
        yield opened
        assert "Traceback" not in log.read_text(), log.read_text()[-3000:]
    finally:
        process.terminate()
        process.wait(timeout=120)


@pytest.fixture(scope="session")
def viewer_page_type() -> type[ViewerPage]:
    """Return the class, since test modules cannot import one another."""
    return ViewerPage


@pytest.fixture(scope="session")
def open_viewer():
    """Return what opens the page of `ns-viewer` on a config.yml."""
    return _viewer_page


@pytest.fixture(scope="module")
def page() -> Iterator:
    """Yield a page of a headless Chromium that reaches this machine only and draws on the CPU."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'"
    )
    executable = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if executable is None:
        names = ", ".join(CHROMIUM_NAMES)
        pytest.skip(f"no browser on PATH ({names}): install one, such as by apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=CHROMIUM_FLAGS, timeout=1000 * HANGS_AFTER
        )
        page = browser.new_page(viewport={"width": 780, "height": 600})
        page.set_default_timeout(1000 * HANGS_AFTER)
        # The stock page asks two other hosts for a logo and statistics; the viewer must not need them.
        page.route(
            "**/*", lambda route: route.continue_() if "127.0.0.1" in route.request.url else route.abort()
        )
        yield page
        browser.close()
