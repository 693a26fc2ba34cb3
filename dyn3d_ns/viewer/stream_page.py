"""A stream of Gaussians as a viser page: drawn here, at any frame, also while it is written."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import numpy as np
import torch
import viser
from jaxtyping import Float64, UInt8

from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.gaussians.lattice import KIND, decoder_of
from dyn3d_ns.gaussians.streamed import StreamedFrames
from dyn3d_ns.geometry.cameras import field_of_view
from dyn3d_ns.io.errors import DamagedFileError, UserError
from dyn3d_ns.io.stream.look import StartCamera, background_of, start_camera_of
from dyn3d_ns.io.stream.player import StreamPlayer
from dyn3d_ns.io.stream.reader import StreamReader
from dyn3d_ns.rendering import rasterize
from dyn3d_ns.timeline import Timeline
from dyn3d_ns.viewer.other_processes import let_processes_end
from dyn3d_ns.viewer.painter import Painter, View
from dyn3d_ns.viewer.player import DirectPlayer, PlaybackPanel

LOOK_EVERY = 0.5
"""Seconds between two looks at a stream that may be growing."""
_NEAR = 0.01


class StreamPage(DirectPlayer):
    """Serves a stream on one address until it is stopped.

    All browsers share the time; each has a view and a resolution of its own.
    """

    def __init__(self, folder: Path, host: str = "127.0.0.1", port: int = 7009) -> None:
        """Open a stream and start serving.

        Raises:
            UserError: it is a stream of another kind.
            MissingFileError: there is no stream.
            DamagedFileError: its header is damaged.
        """
        self.folder = folder
        self._open()
        super().__init__(self._timeline(max(self._count, 1)))
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._drawing = threading.Lock()
        self._growing = threading.Lock()
        self._painters: dict[int, Painter] = {}
        self._stopped = threading.Event()
        let_processes_end()
        self.server = viser.ViserServer(host=host, port=port, label="dyn3d", verbose=False)
        self._start = self._start_camera()
        self.server.scene.set_up_direction(tuple(self._start.pose[:, 1]))
        self._panel = PlaybackPanel(self, self.server, order=0.0)
        self._add_options()
        self.server.on_client_connect(self._welcome)
        self.server.on_client_disconnect(self._part)
        self._watcher = threading.Thread(target=self._watch, name="dyn3d-stream-watcher", daemon=True)
        self._watcher.start()

    def _open(self) -> None:
        """Read the header, and set up what follows from it."""
        reader = StreamReader(self.folder)
        self._header = reader.header
        if self._header.kind != KIND:
            raise UserError(
                f"{self.folder} is a stream of {self._header.kind}; `dyn3d play` shows {KIND} "
                "only: watch it with ns-viewer --load-config and the config.yml of its training"
            )
        self._background = torch.tensor([background_of(self._header)])
        decoder = decoder_of(self._header)
        self._player = StreamPlayer(reader, decoder)
        self._count = self._player.num_frames()
        self._frames = StreamedFrames(
            self._player, decoder.lattice, self._timeline(self._header.planned_frames)
        )

    def _timeline(self, count: int) -> Timeline:
        try:
            return Timeline.from_times(self._header.frame_times[:count], fps=self._header.fps)
        except ValueError as error:
            raise DamagedFileError(f"{self.folder}: the stream's header is damaged: {error}") from error

    def stop(self) -> None:
        """Stop serving."""
        self._stopped.set()
        self.pause()
        for painter in list(self._painters.values()):
            painter.close()
        self.server.stop()

    # -- time ---------------------------------------------------------------------------------------

    def show(self, time_to_show: float) -> None:
        """Let every browser's painter show a time."""
        self._shown = time_to_show
        self._repaint()

    def seek(self, time_to_show: float) -> None:
        """Show a normalised time, and follow the newest frame no longer."""
        self._follow.value = False
        super().seek(time_to_show)

    def play(self) -> None:
        """Let time run, and follow the newest frame no longer."""
        self._follow.value = False
        super().play()

    def follow(self) -> None:
        """Show the newest frame from now on, until another time is asked for."""
        self.pause()
        self._follow.value = True
        super().seek(self.timeline.frame_times[-1])

    # -- a stream that grows ------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_EVERY):
            self.look()

    def look(self) -> None:
        """Take over what has been written since the last look."""
        with self._growing:
            try:
                header, count = self._player.reader.header, self._player.num_frames()
                gap = self._player.reader.gap()
                if header == self._header and count == self._count:
                    return
                if header != self._header:
                    self._open()
                    count = self._count
                timeline = self._timeline(max(count, 1))
            except (UserError, OSError) as error:
                self._size.content = str(error)
                return
            self._count = count
            self.timeline = self.clock.timeline = timeline
            self._say_how_many(gap)
            assert self._panel is not None
            self._panel.resize()
            if self._follow.value or self._shown > timeline.frame_times[-1]:
                super().seek(timeline.frame_times[-1])
            self._repaint()

    # -- the page -----------------------------------------------------------------------------------

    def _add_options(self) -> None:
        gui = self.server.gui
        with gui.add_folder("Stream", order=1.0):
            self._size = gui.add_markdown("")
            self._problem = gui.add_markdown("", visible=False)
            self._follow = gui.add_checkbox("Follow the newest frame", False)
            self._height = gui.add_slider("Resolution", 120, 2160, 24, 720, hint="height of a still picture")
            start = gui.add_button("Start view")
        self._say_how_many(self._player.reader.gap())
        self._follow.on_update(lambda event: self._choose_following(by_hand=event.client is not None))
        self._height.on_update(lambda _: self._repaint())
        start.on_click(lambda event: None if event.client is None else self._place(event.client))

    def _choose_following(self, by_hand: bool) -> None:
        if by_hand and self._follow.value:
            self.follow()

    def _say_how_many(self, gap: str | None) -> None:
        text = f"{self._count} of {self._header.planned_frames} frames are there."
        if gap:
            text += f" {gap}."
        self._size.content = text

    def _tell(self, problem: str) -> None:
        """Say in the page what is wrong with the picture; nothing if all is well."""
        if problem != self._problem.content:
            self._problem.content = problem
            self._problem.visible = bool(problem)

    def _repaint(self) -> None:
        for painter in list(self._painters.values()):
            painter.wake()

    # -- browsers -----------------------------------------------------------------------------------

    def _welcome(self, client: viser.ClientHandle) -> None:
        self._place(client)
        self._painters[client.client_id] = Painter(client, self.draw, lambda: int(self._height.value))

    def _part(self, client: viser.ClientHandle) -> None:
        painter = self._painters.pop(client.client_id, None)
        if painter is not None:
            painter.close()

    def _place(self, client: viser.ClientHandle) -> None:
        """Let a browser look through the start camera; what that sees fits into the page."""
        camera, eye = self._start, self._start.pose[:, 3]
        wide = math.tan(0.5 * field_of_view(camera.fx, camera.width)) / max(client.camera.aspect, 0.1)
        client.camera.fov = 2 * math.atan(max(math.tan(0.5 * field_of_view(camera.fy, camera.height)), wide))
        client.camera.position = eye
        client.camera.look_at = eye - camera.pose[:, 2] * self._distance

    def _start_camera(self) -> StartCamera:
        """Return the stream's start camera, or one that sees all of frame 0; note how far that is away."""
        try:
            means = self._frames.at(self.timeline.frame_times[0], torch.device("cpu")).gaussians.means
            points = means.double().numpy()
        except (UserError, OSError):
            points = np.zeros((0, 3))
        camera = start_camera_of(self._header) or camera_around(points)
        depths = (camera.pose[:, 3] - points) @ camera.pose[:, 2]
        self._distance = float(np.median(depths[depths > 0])) if (depths > 0).any() else 1.0
        return camera

    # -- pictures -----------------------------------------------------------------------------------

    @torch.no_grad()
    def draw(self, view: View, height: int) -> UInt8[np.ndarray, "H W 3"] | None:
        """Draw a view of the time that is shown; None where nothing can be drawn, which the page then says.

        Args:
            view: Where a browser looks from.
            height: Pixels.
        """
        # One browser after the other: each drawing takes all cores.
        with self._drawing:
            try:
                shown = self._frames.at(self._shown, self._device)
                picture = render(shown.gaussians, view, height, self._background)
            except (ValueError, OSError) as error:
                self._tell(str(error))
                return None
            if shown.problem is not None:
                self._tell(f"This is frame {shown.frame}, the last one before damage. {shown.problem}")
            else:
                self._tell("")
            return picture


def render(
    gaussians: Gaussians, view: View, height: int, background: torch.Tensor
) -> UInt8[np.ndarray, "H W 3"]:
    """Draw Gaussians.

    Args:
        gaussians: What is drawn.
        view: From where.
        height: Pixels; the width follows from the view.
        background: Colour behind the scene [1, 3], 0 to 1.
    """
    device = gaussians.means.device
    width = max(round(height * view.aspect), 1)
    focal = 0.5 * height / math.tan(0.5 * view.fov)
    world_to_camera = np.linalg.inv(np.concatenate([view.camera_to_world, [[0, 0, 0, 1]]]))
    image, _, _ = rasterize(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        gaussians.colors,
        torch.tensor(world_to_camera, dtype=torch.float32, device=device)[None],
        torch.tensor([[[focal, 0, 0.5 * width], [0, focal, 0.5 * height], [0, 0, 1]]], device=device),
        width,
        height,
        near_plane=_NEAR,
        sh_degree=math.isqrt(gaussians.colors.shape[1]) - 1,
        packed=False,
        backgrounds=background.to(device),
    )
    return (image[0].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def camera_around(points: Float64[np.ndarray, "N 3"]) -> StartCamera:
    """Return a camera that looks along y with z up at points, most of which it sees."""
    centre = np.median(points, axis=0) if len(points) else np.zeros(3)
    radius = float(np.quantile(np.linalg.norm(points - centre, axis=1), 0.9)) if len(points) else 1.0
    axes = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    eye = centre + 3 * max(radius, 1e-3) * axes[:, 2]
    return StartCamera(np.column_stack([axes, eye]), 500.0, 500.0, 320.0, 240.0, 640, 480)
