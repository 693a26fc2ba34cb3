"""The cameras of a video in the live viewer: look through the one of the frame shown, see paths drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float64
from nerfstudio.viewer.viewer_elements import ViewerControl

from dyn3d_ns.geometry.cameras import flip_axes
from dyn3d_ns.viewer.scene_parts import quaternion

if TYPE_CHECKING:
    import viser
    from nerfstudio.viewer.viewer import Viewer

_BEFORE, _NOW = (130, 130, 140), (230, 70, 50)
"""Colours of the path to start from and of the refined one."""


class CameraPath(NamedTuple):
    """The cameras of a video as a method has them by now; OpenGL axes."""

    times: Float64[np.ndarray, "V"]
    before: Float64[np.ndarray, "V 3 4"]
    """Poses to start from."""
    now: Float64[np.ndarray, "V 3 4"]
    """Refined poses."""
    fov: float
    """Vertical field of view, radians."""

    def nearest(self, time: float) -> int:
        """Return the view whose time is nearest."""
        return int(np.abs(self.times - time).argmin())


class FrameCameras(ViewerControl):
    """A folder of the viewer with a button that looks through the camera of the frame shown.

    Held as a public attribute of a model, it is set up by every viewer that shows the model.
    """

    def __init__(self, path: Callable[[], CameraPath | None]) -> None:
        """Take who knows the cameras by now; None while there are none."""
        super().__init__()
        self._path = path
        self._server: viser.ViserServer | None = None

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        self._server = viewer.viser_server
        with viewer.viser_server.gui.add_folder("Cameras of the video", order=_order(viewer)):
            button = viewer.viser_server.gui.add_button("Look through this frame's camera")
            self._shown = viewer.viser_server.gui.add_checkbox(
                "Draw paths", False, hint="grey: to start from; red: refined"
            )
        button.on_click(lambda event: self.look_through(viewer.control_panel.time, event.client))
        self._shown.on_update(lambda _: self.refresh())

    def look_through(self, time: float, client: viser.ClientHandle | None) -> None:
        """Put a browser's camera where that of the frame nearest to a time is."""
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

        path = self._path()
        if client is None or path is None:
            return
        pose = flip_axes(path.now[path.nearest(time)])
        with client.atomic():
            client.camera.wxyz = quaternion(pose[:, :3])
            client.camera.position = pose[:, 3] * VISER_NERFSTUDIO_SCALE_RATIO
            client.camera.fov = path.fov

    def refresh(self) -> None:
        """Draw both paths as they are by now, where somebody wants to see them."""
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

        path = self._path() if self._server is not None else None
        if self._server is None or path is None:
            return
        for name, poses, color in (("before", path.before, _BEFORE), ("now", path.now, _NOW)):
            places = poses[:, :, 3] * VISER_NERFSTUDIO_SCALE_RATIO
            if len(places) > 1:
                self._server.scene.add_spline_catmull_rom(
                    f"/video_path/{name}",
                    tuple(tuple(place) for place in places.tolist()),
                    tension=0.0,
                    color=color,
                    line_width=3.0,
                    segments=4 * len(places),
                    visible=self._shown.value,
                )


def _order(viewer: Viewer) -> float:
    return viewer.stats_markdown.order + 0.6
