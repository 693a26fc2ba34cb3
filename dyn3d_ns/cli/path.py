"""`dyn3d path`: write camera paths for the stock `ns-render camera-path`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from dyn3d_ns.cli.errors import CommandError, require_output_file
from dyn3d_ns.io.shell import shell_word

if TYPE_CHECKING:
    import numpy as np

    from dyn3d_ns.cli.rig import CameraRig


@dataclass(kw_only=True)
class PathOptions:
    """Options of every preset."""

    output: Path
    """Camera path to write (JSON)."""
    load_config: Path | None = None
    """config.yml of a training; its dataset gives the cameras and the timeline."""
    data: Path | None = None
    """Scene folder (Dynamic Object or D-NeRF layout), instead of --load-config."""
    scene: str | None = None
    """Scene of a training on several whose cameras count; the first if not given."""
    fps: float = 30.0
    """Frames per second of the video."""
    seconds: float | None = None
    """Length of the video; the preset's own if not given."""
    frames: int | None = None
    """Number of frames, instead of --seconds."""
    times: tuple[float, float] | None = None
    """Scene time of the first and of the last frame, normalised; past 1 lies what was never recorded."""
    resolution: tuple[int, int] | None = None
    """Width and height in pixels; the training images' if not given."""
    fov: float | None = None
    """Vertical field of view in degrees; the training cameras' if not given."""

    def poses(self, rig: CameraRig, frames: int) -> np.ndarray:
        """Return the camera-to-world matrices [F,4,4] of the preset."""
        raise NotImplementedError

    def time_span(self, rig: CameraRig) -> tuple[float, float]:
        """Return the preset's first and last scene time: the whole recording, the future included."""
        return rig.timeline.frame_times[0], rig.timeline.frame_times[-1]

    def default_seconds(self, rig: CameraRig, span: tuple[float, float]) -> float:
        """Return the preset's length in seconds."""
        return 6.0

    def run(self) -> None:
        """Write the path and say how to render it."""
        from dyn3d_ns.io.atomic import write_json

        require_output_file(self.output, ".json")
        path = self.build(self._rig())
        write_json(self.output, path.to_json())
        config = self.load_config or "outputs/<scene>/<method>/<date>/config.yml"
        video = self.output.with_suffix(".mp4")
        shown = f" --edit.scene {shell_word(self.scene)}" if self.scene else ""
        print(
            f"{self.output}: {len(path.times)} frames, {len(path.times) / self.fps:.2f} s, "
            f"{path.resolution[0]}x{path.resolution[1]}, "
            f"scene time {path.times[0]:.3f} to {path.times[-1]:.3f}\n"
            f"Render it with\n  ns-render camera-path --load-config {shell_word(config)} "
            f"--camera-path-filename {shell_word(self.output)} --output-path {shell_word(video)}{shown}"
        )

    def build(self, rig: CameraRig):
        """Return the :class:`~dyn3d_ns.cli.camera_paths.CameraPath` of this preset for a rig."""
        import numpy as np

        from dyn3d_ns.cli.camera_paths import CameraPath

        span = self.times or self.time_span(rig)
        frames = self._frame_count(rig, span)
        # libx264 takes even sizes only.
        fov, size = rig.view(self.camera_id(rig))
        width, height = self.resolution or tuple(side + side % 2 for side in size)
        return CameraPath(
            poses=self.poses(rig, frames),
            times=np.linspace(span[0], span[1], frames),
            fov=self.fov or fov,
            resolution=(width, height),
            fps=self.fps,
            world=rig.world,
        )

    def camera_id(self, rig: CameraRig) -> int:
        """Return the training camera whose field of view and image size the path has."""
        return int(rig.camera_ids[0])

    def _frame_count(self, rig: CameraRig, span: tuple[float, float]) -> int:
        if self.frames is not None:
            return self.frames
        seconds = self.default_seconds(rig, span) if self.seconds is None else self.seconds
        return max(2, round(seconds * self.fps))

    def _rig(self) -> CameraRig:
        from dyn3d_ns.cli.rig import rig_of_config, rig_of_data

        self._check()
        if self.load_config is not None:
            return rig_of_config(self.load_config, self.scene)
        if self.data is None:
            raise CommandError("give either --load-config or --data, to know the scene's cameras and times")
        return rig_of_data(self.data)

    def _check(self) -> None:
        """Refuse options that contradict each other or make no sense."""
        wrong = {
            "give --load-config or --data, not both": self.load_config is not None and self.data is not None,
            "--scene is for a training on several scenes: give --load-config": self.scene is not None
            and self.load_config is None,
            "give --seconds or --frames, not both": self.seconds is not None and self.frames is not None,
            f"--frames must be at least 1, got {self.frames}": self.frames is not None and self.frames < 1,
            f"--seconds must be positive, got {self.seconds}": self.seconds is not None
            and not self.seconds > 0,
            f"--fps must be positive, got {self.fps}": not self.fps > 0,
            f"--fov must lie in 1 to 170 degrees, got {self.fov}": self.fov is not None
            and not 1 <= self.fov <= 170,
            f"--times must be finite, got {self.times}": not all(map(math.isfinite, self.times or ())),
            f"--resolution needs two even numbers of 2 or more (video encoders take no odd ones), "
            f"got {self.resolution}": any(side < 2 or side % 2 for side in self.resolution or ()),
        }
        for message, is_wrong in wrong.items():
            if is_wrong:
                raise CommandError(message)


@dataclass(kw_only=True)
class CircleOptions(PathOptions):
    """Options of presets whose camera goes around the scene."""

    loops: float = 1.0
    """Turns of the camera (swings to and fro where the training cameras stand on one side only)."""
    radius: float | None = None
    """Distance from the centre in the data's units; median of the training cameras if not given."""
    elevation: float | None = None
    """Degrees above the horizontal; median of the training cameras if not given."""
    center: tuple[float, float, float] | None = None
    """Point to look at, in the data's world; where the training cameras' axes meet if not given."""

    def poses(self, rig: CameraRig, frames: int) -> np.ndarray:
        """Go around the scene."""
        import numpy as np

        from dyn3d_ns.cli.camera_paths import circle

        center = None if self.center is None else rig.world.points(np.array([self.center]))[0]
        radius = None if self.radius is None else rig.world.scale * self.radius
        return circle(rig, frames, self.loops, radius, self.elevation, center)


@dataclass(kw_only=True)
class FixedCameraOptions(PathOptions):
    """Options of presets that look through one training camera."""

    camera: int = 0
    """Training camera to look through."""

    def camera_id(self, rig: CameraRig) -> int:
        """Return the camera that is looked through."""
        return self.camera

    def poses(self, rig: CameraRig, frames: int) -> np.ndarray:
        """Stay where the training camera is."""
        import numpy as np

        return np.tile(rig.pose(self.camera), (frames, 1, 1))


@dataclass(kw_only=True)
class Orbit(CircleOptions):
    """Circle the scene while time runs through the whole recording, the future included."""


@dataclass(kw_only=True)
class BulletTime(CircleOptions):
    """Circle the scene while time stands still."""

    at: float | None = None
    """Normalised time to freeze; the middle of the observed part if not given."""

    def time_span(self, rig: CameraRig) -> tuple[float, float]:
        """Stand still."""
        frozen = 0.5 * (rig.timeline.frame_times[0] + rig.timeline.t_obs) if self.at is None else self.at
        return frozen, frozen

    def _check(self) -> None:
        super()._check()
        if self.times is not None:
            raise CommandError("bullet-time freezes one moment: give it with --at instead of --times")
        if self.at is not None and not math.isfinite(self.at):
            raise CommandError(f"--at must be finite, got {self.at}")


@dataclass(kw_only=True)
class Spiral(PathOptions):
    """Spiral in front of one training camera while time runs."""

    camera: int = 0
    """Training camera in the middle of the spiral."""
    loops: float = 2.0
    """Turns of the camera."""
    size: float = 0.15
    """Radius as a share of the camera's distance from the centre of the scene."""

    def camera_id(self, rig: CameraRig) -> int:
        """Return the camera that is looked through."""
        return self.camera

    def poses(self, rig: CameraRig, frames: int) -> np.ndarray:
        """Circle in front of the training camera."""
        from dyn3d_ns.cli.camera_paths import spiral

        return spiral(rig, frames, self.camera, self.loops, self.size)


@dataclass(kw_only=True)
class Camera(FixedCameraOptions):
    """Look through one training camera while time runs, in real time."""

    def default_seconds(self, rig: CameraRig, span: tuple[float, float]) -> float:
        """Take as long as the recording took."""
        return abs(rig.timeline.seconds(span[1]) - rig.timeline.seconds(span[0]))


@dataclass(kw_only=True)
class SlowMotion(Camera):
    """Look through one training camera while time runs slowly, between the recorded frames too."""

    speed: float = 0.25
    """Speed of the scene; 1 is real time."""

    def default_seconds(self, rig: CameraRig, span: tuple[float, float]) -> float:
        """Take longer than the recording took."""
        return super().default_seconds(rig, span) / self.speed

    def _check(self) -> None:
        super()._check()
        if not self.speed > 0:
            raise CommandError(f"--speed must be positive, got {self.speed}")


@dataclass(kw_only=True)
class Future(FixedCameraOptions):
    """Look through one training camera from the last observed moment to the recording's end and past it."""

    beyond: float = 0.1
    """How far past the end, as a share of the whole recording."""

    def time_span(self, rig: CameraRig) -> tuple[float, float]:
        """Run from the last observed time to past the end."""
        first, last = rig.timeline.frame_times[0], rig.timeline.frame_times[-1]
        return rig.timeline.t_obs, last + self.beyond * (last - first)

    def default_seconds(self, rig: CameraRig, span: tuple[float, float]) -> float:
        """Take at least 3 s: the future of a short clip is over in an instant."""
        return max(3.0, rig.timeline.seconds(span[1]) - rig.timeline.seconds(span[0]))


@dataclass
class MakePath:
    """Write a camera path for `ns-render camera-path`."""

    preset: (
        Annotated[Orbit, tyro.conf.subcommand("orbit")]
        | Annotated[BulletTime, tyro.conf.subcommand("bullet-time")]
        | Annotated[Spiral, tyro.conf.subcommand("spiral")]
        | Annotated[Camera, tyro.conf.subcommand("camera")]
        | Annotated[SlowMotion, tyro.conf.subcommand("slow-motion")]
        | Annotated[Future, tyro.conf.subcommand("future")]
    )

    def run(self) -> None:
        """Run the preset."""
        self.preset.run()
