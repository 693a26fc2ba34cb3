"""The cameras of a video in Nerfstudio's viewer: its server is real, the browser at the far end is not."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import viser
import viser.transforms

from dyn3d_ns.viewer.frame_cameras import CameraPath, FrameCameras


def path() -> CameraPath:
    before = np.tile(np.eye(4)[:3], (3, 1, 1))
    before[:, 0, 3] = [0, 1, 2]
    now = before.copy()
    now[1, :3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    now[1, 1, 3] = 0.5
    return CameraPath(np.array([0.0, 0.4, 1.0]), before, now, 0.7)


@pytest.fixture
def viewer():
    server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    yield SimpleNamespace(
        viser_server=server,
        stats_markdown=SimpleNamespace(order=1.0),
        control_panel=SimpleNamespace(time=0.35),
    )
    server.stop()


def browser() -> SimpleNamespace:
    return SimpleNamespace(camera=SimpleNamespace(wxyz=None, position=None, fov=None), atomic=nullcontext)


def test_a_browser_looks_through_the_refined_camera_of_the_frame(viewer) -> None:
    cameras, client = FrameCameras(path), browser()
    cameras._setup(viewer)
    cameras.look_through(0.35, client)
    assert client.camera.position.tolist() == [10, 5, 0], "the viewer shows the scene ten times as large"
    assert client.camera.fov == 0.7
    ahead = viser.transforms.SO3(client.camera.wxyz).as_matrix()[:, 2]
    assert ahead == pytest.approx([-1, 0, 0]), "OpenGL looks along its -z"


def test_paths_are_drawn_where_somebody_wants_them(viewer) -> None:
    drawn = {}
    viewer.viser_server.scene.add_spline_catmull_rom = lambda name, positions, **how: drawn.update(
        {name: (np.array(positions), how["visible"])}
    )
    cameras = FrameCameras(path)
    cameras.refresh()
    assert not drawn, "no viewer is open"
    cameras._setup(viewer)
    cameras._shown.value = True
    cameras.refresh()
    assert drawn["/video_path/before"][1]
    assert drawn["/video_path/before"][0][:, 0].tolist() == [0, 10, 20]
    assert drawn["/video_path/now"][0][1].tolist() == [10, 5, 0]


def test_without_cameras_nothing_happens(viewer) -> None:
    cameras, client = FrameCameras(lambda: None), browser()
    cameras._setup(viewer)
    cameras.look_through(0.0, client)
    cameras.refresh()
    assert client.camera.position is None
