"""A fused scene as a viser page: points over time, cameras, trails of tracks, colours of objects."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import viser
from jaxtyping import Float64, UInt8

from dyn3d_ns.geometry.cameras import HALF_PIXEL, centers, field_of_view, focals, shift_pixel_centers
from dyn3d_ns.io.fused_4d import FusedScene
from dyn3d_ns.timeline import Timeline
from dyn3d_ns.viewer.other_processes import let_processes_end
from dyn3d_ns.viewer.player import DirectPlayer, PlaybackPanel
from dyn3d_ns.viewer.scene_parts import (
    quaternion,
    shown_scene,
    some_of,
    thumbnail,
    trail_points,
    typical_size,
)

_FRUSTUMS = 20
_MOVING_BUDGET = 1_500_000
_TRAILS = 400
_PICTURE, _OBJECTS = "picture", "objects"


@dataclass(frozen=True)
class ViewLimits:
    """How much is sent to the browser."""

    static_points: int = 250_000
    moving_points: int = 20_000
    """Of each frame."""


class SceneViewer(DirectPlayer):
    """Serves a fused scene on one address until it is stopped.

    Everything is sent once; while time runs, only what is visible changes, and the trails.
    """

    def __init__(
        self,
        scene: FusedScene,
        timeline: Timeline,
        names: dict[int, str],
        image: Callable[[int], UInt8[np.ndarray, "H W 3"]] | None = None,
        host: str = "127.0.0.1",
        port: int = 7008,
        limits: ViewLimits | None = None,
    ) -> None:
        super().__init__(timeline)
        self.scene = scene = shown_scene(scene)
        self.image = image
        self._limits = limits or ViewLimits()
        self._frame = -1
        # viser's atomic() keeps its lock where what it groups fails, and then nothing is sent any more.
        self._lock = threading.Lock()
        let_processes_end()
        self.server = viser.ViserServer(host=host, port=port, label="dyn3d", verbose=False)
        self._size = typical_size(scene)
        self._add_scene()
        self._panel = PlaybackPanel(self, self.server, order=0.0)
        self._add_options(names)
        self.server.on_client_connect(self._place)
        self.seek(self._shown)

    # -- time ---------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop serving."""
        self.pause()
        self.server.stop()

    def show(self, time_to_show: float) -> None:
        """Make the nearest frame the visible one."""
        with self._lock:
            self._shown = time_to_show
            frame = self.timeline.frame_index(time_to_show)
            if frame == self._frame:
                return
            before, self._frame = self._frame, frame
            self._show_moving(before, frame)
            self._show_trails()
            self._show_camera()

    # -- what is drawn ------------------------------------------------------------------------------

    def _add_scene(self) -> None:
        scene, server, limits = self.scene, self.server, self._limits
        rng = np.random.default_rng(0)
        server.scene.set_up_direction(tuple(-scene.c2w[:, :3, 1].mean(0)))
        self._static_choice = some_of(len(scene.static_points), limits.static_points, rng)
        self._point_size = self._size / 250
        self._static = self._add_static()
        most = max(1, min(limits.moving_points, _MOVING_BUDGET // scene.num_frames))
        self._moving_choice = [some_of(len(scene.moving(i)[0]), most, rng) for i in range(scene.num_frames)]
        self._moving = [self._add_moving(i, _PICTURE, False) for i in range(scene.num_frames)]
        on_objects = np.flatnonzero(scene.traj_instance > 0)
        longest = np.argsort(-scene.traj_vis[on_objects].sum(1), kind="stable")[:_TRAILS]
        self._trail_ids = on_objects[longest]
        self._frustums = [
            self._frustum(f"/cameras/{i:05d}", i, 0.1 * self._size, (150, 150, 150))
            for i in range(0, scene.num_frames, -(-scene.num_frames // _FRUSTUMS))
        ]

    def _add_static(self, visible: bool = True) -> viser.PointCloudHandle:
        return self.server.scene.add_point_cloud(
            "/static",
            self.scene.static_points[self._static_choice].astype(np.float32),
            self.scene.static_rgbs[self._static_choice],
            point_size=self._point_size,
            visible=visible,
        )

    def _add_moving(self, i: int, colors: str, visible: bool) -> viser.PointCloudHandle:
        points, rgbs, instances = self.scene.moving(i)
        if colors == _OBJECTS:
            rgbs = self.scene.instance_colors[instances]
        chosen = self._moving_choice[i]
        return self.server.scene.add_point_cloud(
            f"/moving/{i:05d}",
            points[chosen].astype(np.float32),
            rgbs[chosen],
            point_size=self._point_size,
            visible=visible,
        )

    def _frustum(
        self,
        name: str,
        i: int,
        scale: float,
        color: tuple[int, int, int],
        image: UInt8[np.ndarray, "H W 3"] | None = None,
    ) -> viser.CameraFrustumHandle:
        pose = self.scene.c2w[i]
        fov, aspect = _view_angle(self.scene.Ks[i])
        return self.server.scene.add_camera_frustum(
            name,
            fov=fov,
            aspect=aspect,
            scale=scale * 0.3,
            color=color,
            image=image,
            wxyz=quaternion(pose[:3, :3]),
            position=pose[:3, 3],
        )

    def _add_options(self, names: dict[int, str]) -> None:
        gui = self.server.gui
        with gui.add_folder("Scene", order=1.0):
            self._show_static_box = gui.add_checkbox("Static points", True)
            self._show_moving_box = gui.add_checkbox("Moving points", True)
            self._show_cameras_box = gui.add_checkbox("Cameras", True)
            self._show_trails_box = gui.add_checkbox("Trails", True)
            self._colors = gui.add_dropdown("Colours", (_PICTURE, _OBJECTS), _PICTURE)
            self._trail_frames = gui.add_slider("Trail frames", 2, 60, 1, 15)
            self._point_scale = gui.add_slider("Point size", 0.2, 5.0, 0.1, 1.0)
            look = gui.add_button("Look through camera")
        if names:
            rows = "\n".join(f"{k}. {name}" for k, name in sorted(names.items()))
            with gui.add_folder("Objects", order=2.0):
                gui.add_markdown(rows)
        boxes = (self._show_static_box, self._show_moving_box, self._show_cameras_box, self._show_trails_box)
        for option in (*boxes, self._trail_frames):
            option.on_update(lambda _: self._apply_options())
        for option in (self._colors, self._point_scale):
            option.on_update(lambda _: self._send_again())
        look.on_click(lambda event: self._look_through(event.client))

    def _apply_options(self) -> None:
        """Show and hide what the options say."""
        with self._lock:
            self._static.visible = self._show_static_box.value
            self._moving[self._frame].visible = self._show_moving_box.value
            for frustum in self._frustums:
                frustum.visible = self._show_cameras_box.value
            self._show_camera()
            self._show_trails()

    def _send_again(self) -> None:
        """Send all points with their present colours and sizes: neither can be changed once they are sent."""
        with self._lock:
            self._point_size = self._size / 250 * self._point_scale.value
            self._static = self._add_static(self._show_static_box.value)
            for i in range(self.scene.num_frames):
                visible = i == self._frame and self._show_moving_box.value
                self._moving[i] = self._add_moving(i, self._colors.value, visible)
            self._show_trails()

    def _show_moving(self, before: int, frame: int) -> None:
        self._moving[frame].visible = self._show_moving_box.value
        if before >= 0:
            self._moving[before].visible = False

    def _show_trails(self) -> None:
        points, colors = trail_points(self.scene, self._trail_ids, self._frame, self._trail_frames.value)
        self.server.scene.add_point_cloud(
            "/trails",
            points,
            colors,
            point_size=0.5 * self._point_size,
            visible=self._show_trails_box.value and len(points) > 0,
        )

    def _show_camera(self) -> None:
        picture = None if self.image is None else thumbnail(self.image(self._frame))
        camera = self._frustum("/camera", self._frame, 0.25 * self._size, (220, 60, 60), picture)
        camera.visible = self._show_cameras_box.value

    # -- where the browser looks --------------------------------------------------------------------

    def _place(self, client: viser.ClientHandle) -> None:
        """Start behind and above the middle camera; what it sees lies left of the panel."""
        pose = self.scene.c2w[self.scene.num_frames // 2]
        right, down, ahead, eye = pose[:3, :4].T
        spread = float(np.ptp(self.scene.c2w[:, :3, 3], axis=0).max())
        aside = 0.2 * self._size * right
        with client.atomic():
            client.camera.position = (
                eye - (0.3 * self._size + 0.3 * spread) * (ahead + 0.5 * down) - 0.5 * aside
            )
            client.camera.look_at = eye + ahead * self._size + aside

    def _look_through(self, client: viser.ClientHandle | None) -> None:
        if client is None:
            return
        pose = self.scene.c2w[self._frame]
        # The drawn camera and its picture would stand in the way.
        self._show_cameras_box.value = False
        self._apply_options()
        with client.atomic():
            client.camera.position = pose[:3, 3]
            client.camera.look_at = pose[:3, 3] + pose[:3, 2] * self._size
            client.camera.fov = _view_angle(self.scene.Ks[self._frame])[0]


def _view_angle(K: Float64[np.ndarray, "3 3"]) -> tuple[float, float]:
    """Return vertical field of view (radians) and aspect of a centred camera with pixel centres at 0."""
    width, height = 2.0 * centers(shift_pixel_centers(K, HALF_PIXEL))[0]
    return field_of_view(float(focals(K)[0, 1]), float(height)), float(width / height)
