"""Writes one small recording of several static cameras in the layouts that are published."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from dyn3d_ns.io.recordings.opening import open_recording
from dyn3d_ns.io.recordings.pixels import PixelMap, PixelSettings
from dyn3d_ns.io.recordings.pool import FramePool
from dyn3d_ns.io.recordings.store import FrameStore
from dyn3d_ns.io.video_file import VideoWriter

WIDTH, HEIGHT, FOCAL = 48, 32, 40.0
NEAR_FAR = (1.5, 6.0)


@dataclass
class Rig:
    """Cameras in an arc around the origin; colours tell which camera and frame an image is."""

    names: tuple[str, ...] = ("cam00", "cam02", "cam10")
    frames: int = 6
    fps: float = 25.0
    size: tuple[int, int] = (WIDTH, HEIGHT)
    poses: np.ndarray = field(init=False)
    """Camera to world, OpenCV axes."""

    def __post_init__(self) -> None:
        self.poses = np.tile(np.eye(4), (len(self.names), 1, 1))
        for i in range(len(self.names)):
            turn = Rotation.from_euler("yx", [20.0 * i - 15.0, 4.0 * i], degrees=True).as_matrix()
            self.poses[i, :3, :3] = turn
            self.poses[i, :3, 3] = -3.0 * turn[:, 2]

    def image(self, camera: int, frame: int) -> np.ndarray:
        """Return an image: red says the camera, green the frame, blue grows to the right."""
        width, height = self.size
        image = np.empty((height, width, 3), np.uint8)
        image[..., 0], image[..., 1] = 40 + 20 * camera, 30 + 4 * (frame % 50)
        image[..., 2] = np.linspace(60, 160, width)
        return image

    def check(self, image: np.ndarray, camera: int, frame: int, tolerance: float = 1.6) -> None:
        """Check that an image, which may come from a video, is that of a camera and frame."""
        found = image.reshape(-1, 3).mean(0)[:2]
        np.testing.assert_allclose(found, [40 + 20 * camera, 30 + 4 * (frame % 50)], atol=tolerance)

    def write_poses_bounds(self, path: Path, cameras: list[int] | None = None) -> None:
        """Write LLFF's array for some cameras."""
        rows = []
        for i in range(len(self.names)) if cameras is None else cameras:
            right, down, ahead, position = self.poses[i, :3].T
            hwf = np.array([HEIGHT, WIDTH, FOCAL])
            rows.append([*np.stack([down, right, -ahead, position, hwf], axis=1).ravel(), *NEAR_FAR])
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.array(rows))

    def write_video(
        self, path: Path, camera: int, frames: int | None = None, fps: float | None = None
    ) -> None:
        """Write one camera's video."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with VideoWriter(path, *self.size, fps=fps or self.fps, quality=1) as video:
            for frame in range(self.frames if frames is None else frames):
                video.write(self.image(camera, frame))

    def write_image(self, path: Path, camera: int, frame: int) -> None:
        """Write one image."""
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self.image(camera, frame)).save(path)


def write_videos(root: Path, rig: Rig) -> Path:
    """Write N3DV's layout, or Meet Room's by the names."""
    for i, name in enumerate(rig.names):
        rig.write_video(root / f"{name}.mp4", i)
    rig.write_poses_bounds(root / "poses_bounds.npy")
    return root


def write_camera_folders(root: Path, rig: Rig, inner: str = "images", frames: int | None = None) -> Path:
    """Write QUEEN's layout, or Meet Room's folders with ``inner`` "."."""
    for i, name in enumerate(rig.names):
        for frame in range(rig.frames if frames is None else frames):
            rig.write_image(root / name / inner / f"{frame:04d}.png", i, frame)
    rig.write_poses_bounds(root / "poses_bounds.npy")
    return root


def write_streamrf(root: Path, rig: Rig) -> Path:
    """Write StreamRF's layout."""
    for frame in range(rig.frames):
        for i, name in enumerate(rig.names):
            rig.write_image(root / f"frames/{frame:04d}/images/{name}.png", i, frame)
        rig.write_poses_bounds(root / f"frames/{frame:04d}/poses_bounds.npy")
    return root


def write_3dgstream(root: Path, rig: Rig, inner: str = "images", lens: str = "PINHOLE") -> Path:
    """Write 3DGStream's layout; the model lists the images backwards."""
    for frame in range(rig.frames):
        for i, name in enumerate(rig.names):
            rig.write_image(root / f"frame{frame + 1:06d}" / inner / f"{name}.png", i, frame)
    model = root / "frame000001/sparse/0"
    model.mkdir(parents=True)
    numbers = {"PINHOLE": f"{FOCAL} {FOCAL} {WIDTH / 2} {HEIGHT / 2}", "SIMPLE_RADIAL": f"{FOCAL} 24 16 0.1"}
    (model / "cameras.txt").write_text(f"1 {lens} {WIDTH} {HEIGHT} {numbers[lens]}\n")
    lines = []
    for k, i in enumerate(reversed(range(len(rig.names)))):
        view = np.linalg.inv(rig.poses[i])
        x, y, z, w = Rotation.from_matrix(view[:3, :3]).as_quat()
        row = " ".join(repr(float(v)) for v in (w, x, y, z, *view[:3, 3]))
        lines.append(f"{k + 1} {row} 1 {rig.names[i]}.png\n\n")
    (model / "images.txt").write_text("".join(lines))
    (model / "points3D.txt").write_text("1 0.5 0 0 9 8 7 0.1\n2 0 0.5 0 1 2 3 0.1\n")
    return root


def make_pool(
    root: Path,
    cache: Path,
    gb: float = 1.0,
    start: int = 0,
    stop: int | None = None,
    scale: float = 1.0,
    **options,
) -> FramePool:
    """Make a pool of a recording."""
    recording = open_recording(root, **options)
    Ks = [camera.calibration.K for camera in recording.cameras]
    pixels = PixelMap(PixelSettings(scale), recording.size, Ks)
    store = FrameStore(cache, pixels.key, gb * 1e9)
    return FramePool(recording, pixels, store, start, recording.num_frames if stop is None else stop)
