"""The viewer of a static scene behind what moves: look through the camera of the frame that is shown."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.video.cards import PILLAR, WALL, Card, CardClip

BIN = Path(sys.executable).parent
WALKER = Card((-1.2, 0.2, 4), (0.9, 1.4), (0.16, 0, 0), label=1, seed=2)
pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def viewer(page, open_viewer, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """Train on a clip of cards for a moment and open its page."""
    folder = tmp_path_factory.mktemp("das3r")
    root = CardClip((WALL, PILLAR, WALKER), 16).write(folder / "cards").root
    command = [
        *(BIN / "ns-train", "dyn3d-das3r-fast", "--data", root, "--output-dir", folder / "out"),
        *("--max-num-iterations", 200, "--vis", "tensorboard", "--pipeline.model.max-gaussians", 4000),
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (config,) = folder.rglob("config.yml")
    with open_viewer(page, config) as opened:
        yield opened


def test_the_frames_camera_and_its_movers(viewer) -> None:
    start = viewer.settled_picture()
    viewer.press_on_slider("Time", "End")
    viewer.wait_until(lambda: viewer.readout()[0] > 10, "the last frame")
    viewer.click("Look through this frame's camera")
    static = viewer.changed_picture(start)
    viewer.choose("Output type", "composite")
    composite = viewer.changed_picture(static)
    viewer.choose("Output type", "mask")
    mask = viewer.changed_picture(composite)
    moved = np.abs(composite - static).max(-1) > 0.15
    # The viewer shows one channel from dark blue (still) to dark red (moves).
    red = (mask[..., 0] > 0.4) & (mask[..., 2] < 0.3)
    assert 0.01 < moved.mean() < 0.5
    assert (moved & red).sum() > 0.8 * moved.sum(), "what is laid over is what the mask shows"
    viewer.page.get_by_text("Draw paths").first.click()
    viewer.choose("Output type", "rgb")
    viewer.changed_picture(mask)
