"""The viewer of a field of two scenes: which one is shown, before whose background, and every output."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.mononerf_runs import config_of, trained, write_two_scenes

pytestmark = [pytest.mark.slow, pytest.mark.long]
OUTPUTS = {"rgb", "static", "dynamic", "depth", "blending", "flow", "velocity"}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def viewer(page, open_viewer, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """Open the page of a training on both scenes."""
    config = config_of(scenes, tmp_path_factory.mktemp("viewer"), steps=60, scenes=("A", "B"))
    with open_viewer(page, trained(config)) as opened:
        yield opened


def options_of(viewer, label: str) -> list[str]:
    row = viewer.page.get_by_text(label, exact=True).locator("visible=true").first
    row.locator("xpath=ancestor::*[.//input][1]").locator("input").first.click()
    found = viewer.page.get_by_role("option").all_inner_texts()
    viewer.page.keyboard.press("Escape")
    return found


def test_scene_and_background_change_the_picture(viewer) -> None:
    assert options_of(viewer, "Scene") == ["A", "B"]
    assert options_of(viewer, "Background") == ["its own", "A", "B"]
    own = viewer.settled_picture()
    viewer.choose("Background", "B")
    exchanged = viewer.changed_picture(own)
    viewer.choose("Scene", "B")
    viewer.changed_picture(exchanged)


def test_the_time_slider_and_outputs(viewer) -> None:
    assert set(options_of(viewer, "Output type")) >= OUTPUTS
    before = viewer.settled_picture()
    viewer.choose("Output type", "dynamic")
    start = viewer.changed_picture(before)
    viewer.press_on_slider("Time", "End")
    viewer.wait_until(lambda: viewer.readout()[0] > 0, "a later frame")
    # The text is there before the picture is.
    viewer.wait_until(lambda: np.abs(viewer.picture() - start).mean() > 1e-4, "the picture of a later frame")
    viewer.choose("Output type", "depth")
    viewer.settled_picture()
