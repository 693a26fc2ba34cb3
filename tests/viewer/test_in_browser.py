"""The stock viewer of a trained scene as a user sees it, in a headless Chromium."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

BIN = Path(sys.executable).parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained_config(tiny_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train the tiny scene for a moment and return its config.yml."""
    folder = tmp_path_factory.mktemp("viewer")
    command = [
        *(BIN / "ns-train", "dyn3d-velocity-fast", "--data", tiny_scene, "--output-dir", folder),
        *("--max-num-iterations", "300", "--vis", "tensorboard", "--pipeline.model.max-gaussians", "1500"),
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (config,) = folder.rglob("config.yml")
    return config


@pytest.fixture(scope="module")
def viewer(page, open_viewer, trained_config: Path) -> Iterator:
    """Open the page of `ns-viewer` on the trained scene."""
    with open_viewer(page, trained_config) as opened:
        yield opened


def test_the_page_shows_the_scene_and_where_the_future_begins(viewer) -> None:
    assert viewer.readout() == (0, 0.0, "observed")
    viewer.wait_until(lambda: viewer.picture().std() > 0.02, "more than a plain background")
    assert viewer.page.get_by_text("Observed to frame").is_visible()


def test_the_built_in_time_slider_moves_the_picture(viewer) -> None:
    before = viewer.settled_picture()
    viewer.press_on_slider("Time", "End")
    viewer.wait_until(lambda: viewer.readout()[2] == "future (predicted)", "the readout of the future")
    after = viewer.changed_picture(before)
    viewer.press_on_slider("Time", "Home")
    viewer.wait_until(lambda: viewer.readout()[0] == 0, "the first frame")
    again = viewer.changed_picture(after)
    assert np.abs(again - before).mean() < 0.1 * np.abs(after - before).mean()


def test_steps_and_the_frame_slider_go_through_frames(viewer) -> None:
    viewer.click_text("Next")
    viewer.wait_until(lambda: viewer.readout()[0] == 1, "frame 1")
    viewer.press_on_slider("Frame", "ArrowRight")
    viewer.wait_until(lambda: viewer.readout()[0] == 2, "frame 2")
    viewer.click_text("Previous")
    viewer.wait_until(lambda: viewer.readout()[0] == 1, "frame 1 again")
    viewer.click_text("Previous")
    viewer.wait_until(lambda: viewer.readout()[0] == 0, "frame 0: a button works twice in a row")


def test_play_runs_until_paused(viewer) -> None:
    viewer.choose("Speed", "0.1x")
    before = viewer.settled_picture()
    viewer.click("Play")
    seen: set[float] = set()
    viewer.wait_until(lambda: seen.add(viewer.readout()[1]) or len(seen) >= 5, "five different times")
    viewer.click("Pause")
    viewer.wait_until(
        lambda: viewer.page.get_by_role("button", name="Play", exact=True).is_visible(), "pause"
    )
    viewer.changed_picture(before)
    stopped = viewer.readout()
    viewer.settled_picture()
    assert viewer.readout() == stopped
    assert viewer.resolution() >= 256, "the picture at rest has full resolution"


@pytest.mark.parametrize("output", ["depth", "accumulation", "velocity", "flow", "dynamic_mask", "rgb"])
def test_every_output_can_be_chosen(viewer, output: str) -> None:
    before = viewer.settled_picture()
    viewer.choose("Output type", output)
    assert viewer.changed_picture(before).std() > 0.01
