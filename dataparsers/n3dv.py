"""Recordings of several synchronised static cameras: N3DV, Meet Room, StreamRF, 3DGStream, QUEEN."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification

from dyn3d_ns.geometry.bounds import surrounding_bounds
from dyn3d_ns.geometry.cameras import centers, flip_axes, focals, to_world, unproject
from dyn3d_ns.geometry.world import World, training_world
from dyn3d_ns.io.errors import DatasetError, EmptySplitError
from dyn3d_ns.io.layouts import UNKNOWN, describe
from dyn3d_ns.io.recordings.base import Recording
from dyn3d_ns.io.recordings.opening import UnknownLayoutError, open_recording
from dyn3d_ns.io.recordings.pixels import PixelMap, PixelSettings
from dyn3d_ns.io.recordings.pool import FramePool, SplitFrames, camera_of
from dyn3d_ns.io.recordings.store import FrameStore, store_folder
from dyn3d_ns.io.scene_metadata import SceneMetadata, ScenePoints
from dyn3d_ns.timeline import Timeline, wanted_splits

_PLANNED = 300
"""Frames of a recording that is still being made, unless --frame-end says otherwise."""


@dataclass
class N3DVDataParserConfig(DataParserConfig):
    """Several synchronised static cameras: N3DV, Meet Room, StreamRF, 3DGStream, QUEEN, 4DGaussians"""

    _target: type = field(default_factory=lambda: N3DVDataParser)
    """Target class to instantiate."""
    data: Path = Path("data/n3dv")
    """Folder of the recording; the layout is told by what is there."""
    scale: float = 1.0
    """Size of the images over that of the frames, at most 1; 0.5 is the usual one for N3DV."""
    frame_start: int = 0
    """First frame that is used, from 0."""
    frame_end: int | None = None
    """Frame after the last that is used; all if None. With --follow, how many there will be: 300 if None."""
    test_camera: str | None = None
    """Name or number of the camera that is held out to evaluate on; the first if None."""
    drop_cameras: tuple[str, ...] = ()
    """Names of cameras to leave out."""
    undistort: tuple[float, ...] = ()
    """OpenCV's k1 k2 p1 p2 and maybe k3 of all cameras' lenses, to undo; nothing is undone if empty."""
    fps: float | None = None
    """Frames per second; the files' own if None, and 30 where they do not say."""
    cache_gb: float = 20.0
    """Room on the disk for decoded images, GB; moments longest unused make place. 0 stores none."""
    cache_dir: Path | None = None
    """Where decoded images are kept; DATA/.dyn3d_cache if None, or the user's cache if DATA is read-only."""
    follow: bool = False
    """The cameras are still writing: take frames as they come. For folders of images."""
    load_points: bool = True
    """Start from the points that come with the recording, where there are any."""


@dataclass
class N3DVDataParser(DataParser):
    """Parse a recording: an image for each camera and moment, moment by moment.

    The data's world is that of training, but for scenes of unusual size or far from the origin
    (:func:`~dyn3d_ns.geometry.world.training_world`).

    All moments of the test camera are held out. Images are decoded when they are asked for
    (``SceneMetadata.frames``).
    """

    config: N3DVDataParserConfig
    includes_time: bool = True

    @cached_property
    def recording(self) -> Recording:
        """The recording without the cameras that are dropped."""
        config = self.config
        planned = None
        if config.follow:
            planned = _PLANNED if config.frame_end is None else config.frame_end
        try:
            found = open_recording(Path(config.data), config.drop_cameras, config.fps, planned)
        except UnknownLayoutError as error:
            raise UnknownLayoutError(f"{error}. {_what_it_is(Path(config.data))}") from error
        for note in found.notes:
            print(f"{config.data}: {note}", file=sys.stderr)
        return found

    @cached_property
    def pool(self) -> FramePool:
        """Images of all cameras; splits share it."""
        config, (start, stop) = self.config, self._range
        folder = store_folder(Path(config.data)) if config.cache_dir is None else config.cache_dir
        store = FrameStore(folder, self._pixels.key, config.cache_gb * 1e9)
        return FramePool(self.recording, self._pixels, store, start, stop)

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs) -> DataparserOutputs:
        cameras, count = self.recording.cameras, self.pool.num_moments
        names = [camera.name for camera in cameras]
        test = camera_of(names, self.config.test_camera)
        trains = "train" in wanted_splits(split, ["train", "interp"])
        chosen = [i for i in range(len(names)) if (i != test) == trains]
        which, moments = np.tile(chosen, count), np.repeat(np.arange(count), len(chosen))
        frames = SplitFrames(self.pool, which, moments)
        times = np.linspace(0.0, 1.0, count)
        scene = SceneMetadata(
            timeline=Timeline.from_times(times, fps=self.recording.fps),
            splits=["train" if trains else "interp"] * len(which),
            source_files=[names[i] for i in which] if not trains else ["cameras"] * len(which),
            camera_ids=torch.from_numpy(which),
            points=self._points,
            world=self._world,
            depth_bounds=self._depth_bounds,
            frames=frames,
        )
        return DataparserOutputs(
            image_filenames=[frames.path(i) for i in range(len(which))],
            cameras=self._cameras(which, times[moments]),
            scene_box=SceneBox(aabb=torch.from_numpy(self._world.points(self._box)).float()),
            dataparser_transform=torch.from_numpy(self._world.transform[:3]).float(),
            dataparser_scale=self._world.scale,
            metadata=scene.to_metadata(),
        )

    def _cameras(self, which: np.ndarray, times: Float64[np.ndarray, "N"]) -> Cameras:
        poses = self._world.poses(np.stack([camera.calibration.pose for camera in self.recording.cameras]))
        Ks = torch.from_numpy(np.stack(self._pixels.Ks)[which]).float()
        focal, center = focals(Ks)[:, 0], centers(Ks)
        width, height = self._pixels.size
        return Cameras(
            camera_to_worlds=torch.from_numpy(poses[which][:, :3]).float(),
            fx=focal[:, :1],
            fy=focal[:, 1:],
            cx=center[:, 0, :1],
            cy=center[:, 0, 1:],
            width=width,
            height=height,
            camera_type=CameraType.PERSPECTIVE,
            times=torch.from_numpy(times).float(),
        )

    @cached_property
    def _pixels(self) -> PixelMap:
        settings = PixelSettings(self.config.scale, tuple(self.config.undistort))
        cameras = self.recording.cameras
        return PixelMap(settings, self.recording.size, [camera.calibration.K for camera in cameras])

    @cached_property
    def _range(self) -> tuple[int, int]:
        """First frame and the one after the last."""
        count, start, stop = self.recording.num_frames, self.config.frame_start, self.config.frame_end
        stop = count if stop is None else stop
        if not 0 <= start < stop:
            raise EmptySplitError(f"--frame-start {start} and --frame-end {stop} leave no frame of {count}")
        if stop > count:
            raise DatasetError(
                f"{self.config.data} has {count} frames, --frame-end asks for {stop}; leave it out for all"
            )
        return start, stop

    @cached_property
    def _points(self) -> ScenePoints | None:
        points = self.recording.points
        if points is None or not self.config.load_points:
            return None
        xyz = torch.from_numpy(self._world.points(points.xyz)).float()
        return ScenePoints(xyz, torch.from_numpy(points.rgb.copy()), f"the points of {self.config.data}")

    @cached_property
    def _world(self) -> World:
        return training_world(self._box)

    @cached_property
    def _depth_bounds(self) -> tuple[float, float] | None:
        """Least and largest depth that the cameras see, in units of training, where all say so."""
        known = [camera.calibration.near_far for camera in self.recording.cameras]
        found = [near_far for near_far in known if near_far is not None]
        if len(found) < len(known):
            return None
        scale = self._world.scale
        return scale * min(near for near, _ in found), scale * max(far for _, far in found)

    @cached_property
    def _box(self) -> Float64[np.ndarray, "2 3"]:
        """The box of the cameras and of what they see between their depth bounds, if these are known, in the
        data's world."""
        cameras = [camera.calibration for camera in self.recording.cameras]
        width, height = self.recording.size
        corners, depths = np.array([[0, 0], [width, 0], [0, height], [width, height]], float), np.ones(4)
        poses = np.stack([camera.pose for camera in cameras])
        seen = np.stack([unproject(corners, depths, camera.K) for camera in cameras])
        if any(camera.near_far is None for camera in cameras):
            return surrounding_bounds(poses, np.abs(seen[..., :2]).max(axis=1))
        places = [poses[:, :3, 3]]
        for camera, rays in zip(cameras, seen, strict=True):
            assert camera.near_far is not None
            places += [to_world(rays * depth, flip_axes(camera.pose)) for depth in camera.near_far]
        points = np.concatenate(places)
        return np.stack((points.min(axis=0), points.max(axis=0)))


def _what_it_is(path: Path) -> str:
    """Say which dataset a folder is, and what takes it."""
    found = describe(path)
    command = found.use[0] if found.use else None
    if found.layout != UNKNOWN:
        return f"It looks like {found.layout}" + (f"; `{command}` takes it" if command else "")
    return f"What it holds: {found.facts['entries']}" + (f"; try `{command}`" if command else "")


N3DVDataParserSpecification = DataParserSpecification(
    config=N3DVDataParserConfig(),
    description="Several synchronised static cameras: N3DV, Meet Room, StreamRF, 3DGStream, QUEEN",
)
