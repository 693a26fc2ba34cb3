"""Scenes in Nerfstudio's viewer, without a browser: drop-downs where there are several, and whose cameras."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.utils.eval_utils import eval_setup
from nerfstudio.viewer.viewer import Viewer

from tests.mononerf_runs import config_of, trained, write_two_scenes

Open = Callable[..., Viewer]


@pytest.fixture
def open_scenes(tmp_path: Path) -> Open:
    def opened(*scenes: str) -> Viewer:
        data = write_two_scenes(tmp_path / "scenes")
        config = trained(config_of(data, tmp_path / "out", steps=2, scenes=scenes))
        _, pipeline, _, _ = eval_setup(config, test_mode="test")
        log, port = tmp_path / "log.txt", ViewerConfig(websocket_host="127.0.0.1")
        viewer = Viewer(port, log, tmp_path, pipeline)
        viewer.init_scene(pipeline.datamanager.train_dataset, "completed")  # type: ignore[arg-type]
        return viewer

    return opened


def test_cameras_follow_the_drop_down_and_the_buttons(open_scenes: Open) -> None:
    viewer = open_scenes("A", "B")
    model = viewer.pipeline.model

    def draws(*expected: int) -> bool:
        """Wait for what a drop-down's own thread does."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if [i for i, handle in viewer.camera_handles.items() if handle.visible] == list(expected):
                return True
            time.sleep(0.02)
        return False

    try:
        assert model.shown_scene.gui_handle.visible and model.background_scene.gui_handle.visible
        assert draws(0, 1, 2, 3, 4)
        model.show_scene("B")
        assert draws(5, 6, 7, 8)
        viewer.set_camera_visibility(False)
        model.show_scene("A")
        assert draws()
        viewer.set_camera_visibility(True)
        assert draws(0, 1, 2, 3, 4)
    finally:
        viewer.viser_server.stop()


def test_one_scene_has_nothing_to_choose(open_scenes: Open) -> None:
    viewer = open_scenes("A")
    model = viewer.pipeline.model
    try:
        assert not model.shown_scene.gui_handle.visible and not model.background_scene.gui_handle.visible
        assert all(handle.visible for handle in viewer.camera_handles.values())
    finally:
        viewer.viser_server.stop()
