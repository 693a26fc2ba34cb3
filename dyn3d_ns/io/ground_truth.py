"""Ground truth that datasets bring: MPI Sintel's files, DAVIS's annotations beside them, our motion.json.

A scene with the motion of its objects holds `ground_truth/motion.json` (per object a rigid pose and a twist
per time) and for some frames `ground_truth/depth/<frame>.npz` and `ground_truth/object_id/<frame>.png`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from PIL import Image

from dyn3d_ns.geometry.cameras import HALF_PIXEL, centers, flip_axes, to_world, unproject
from dyn3d_ns.io.arrays import read_png
from dyn3d_ns.io.damage import CONTENT_ERRORS, image_errors, numbers
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, MissingFileError, PoseError
from dyn3d_ns.io.flow_files import read_file, read_flo
from dyn3d_ns.io.intrinsics import matrix_of, pinhole_of
from dyn3d_ns.io.masks import MaskFiles
from dyn3d_ns.io.recognised import files_in, number_of
from dyn3d_ns.io.transforms_scene import frame_of, frames_by_name

KINDS = {
    "camdata_left": ".cam",
    "depth": ".dpt",
    "flow": ".flo",
    "occlusions": ".png",
    "dynamic_label_perfect": ".png",
    "invalid": ".png",
}
"""Folders of Sintel's ground truth, and what their files end in."""
_TAG = np.array([202021.25], dtype="<f4").tobytes()


def read_dpt(path: Path) -> Float32[np.ndarray, "H W"]:
    """Read a depth map: planar z in scene units.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is no .dpt file, or its length is not what its header states.
    """
    content = _tagged(path, ".dpt")
    width, height = (int(side) for side in np.frombuffer(content, "<i4", count=2, offset=4))
    expected = 12 + 4 * width * height
    if width <= 0 or height <= 0 or len(content) != expected:
        raise DamagedFileError(
            f"{path} has {len(content)} bytes, but states {width}x{height} pixels; restore the original"
        )
    return np.frombuffer(content, "<f4", offset=12).reshape(height, width).astype(np.float32)


def read_cam(path: Path) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3 4"]]:
    """Read a camera: intrinsics and world-to-camera pose (OpenCV axes, pixel centres at whole numbers)."""
    content = _tagged(path, ".cam")
    if len(content) != 4 + 8 * 21:
        raise DamagedFileError(f"{path} has {len(content)} bytes instead of 172; restore the original")
    numbers = np.frombuffer(content, "<f8", offset=4)
    return numbers[:9].reshape(3, 3).copy(), numbers[9:].reshape(3, 4).copy()


def _tagged(path: Path, kind: str) -> bytes:
    content = read_file(path)
    if len(content) < 12 or content[:4] != _TAG:
        raise DamagedFileError(f"{path} is not a {kind} file of Sintel; restore the original")
    return content


@dataclass(frozen=True)
class SintelTruth:
    """Ground truth of one sequence: a folder a kind, a file a frame."""

    root: Path
    """Folder that holds `camdata_left/`, `depth/`, `flow/`, `occlusions/`, `dynamic_label_perfect/`."""
    sequence: str
    files: dict[str, list[Path]]
    """Sorted files of each kind that there is."""
    annotations: list[Path]
    """Instance ids of each frame in DAVIS's layout beside it, if any."""

    @classmethod
    def open(cls, folder: Path, sequence: str | None = None) -> SintelTruth:
        """Find the files of a sequence.

        Raises:
            MissingFileError: there is no ground truth, or it is not clear which sequence is meant.
        """
        root = folder / "training" if (folder / "training").is_dir() else folder
        present = [kind for kind in KINDS if (root / kind).is_dir()]
        names = sorted({p.name for kind in present for p in (root / kind).iterdir() if p.is_dir()})
        if not names:
            raise MissingFileError(
                f"{folder} holds no ground truth: expected {', '.join(KINDS)} in it or in its training/, "
                "each with a folder a sequence"
            )
        if sequence is None and len(names) == 1:
            sequence = names[0]
        if sequence is None or sequence not in names:
            asked = f"no sequence {sequence!r}" if sequence else "several sequences"
            raise MissingFileError(f"{root} holds {asked}; give one with --sequence: {', '.join(names)}")
        files = {}
        for kind in present:
            found = files_in(root / kind / sequence, (KINDS[kind],))
            if found:
                files[kind] = found
        return cls(root, sequence, files, _davis(folder, sequence))

    def cameras(self) -> tuple[Float64[np.ndarray, "F 3 3"], Float64[np.ndarray, "F 4 4"]]:
        """Read intrinsics and camera-to-world poses.

        Raises:
            PoseError: one is not finite, or no rotation and shift.
        """
        pairs = [read_cam(path) for path in self.files["camdata_left"]]
        views = np.tile(np.eye(4), (len(pairs), 1, 1))
        views[:, :3] = [view for _, view in pairs]
        rotations = views[:, :3, :3]
        wrong = ~(np.abs(rotations @ rotations.swapaxes(1, 2) - np.eye(3)) < 1e-2).all((1, 2))
        wrong |= ~np.isfinite(views).all((1, 2))
        if wrong.any():
            path = self.files["camdata_left"][int(np.flatnonzero(wrong)[0])]
            raise PoseError(f"{path}: its pose is not finite, or no rotation and shift; restore the original")
        return np.stack([K for K, _ in pairs]), np.linalg.inv(views)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        if "depth" in self.files:
            height, width = self.depth(0).shape
        elif "dynamic_label_perfect" in self.files:
            height, width = self.moving(0).shape
        else:
            K, _ = read_cam(self.files["camdata_left"][0])
            width, height = (round(2 * center + 1) for center in centers(K)[0])
        return height, width

    def depth(self, frame: int) -> Float32[np.ndarray, "H W"]:
        """Read planar z of a frame."""
        return read_dpt(self.files["depth"][frame])

    def flow(self, frame: int) -> Float32[np.ndarray, "H W 2"]:
        """Read the flow of a frame to the next, in pixels."""
        return read_flo(self.files["flow"][frame])

    def instances(self, frame: int) -> Int32[np.ndarray, "H W"]:
        """Read the instance ids of a frame from DAVIS's annotations; 0 is static."""
        return read_png(self.annotations[frame], None).astype(np.int32)

    def moving(self, frame: int) -> Bool[np.ndarray, "H W"]:
        """Read where a frame moves."""
        return self._masks["dynamic_label_perfect"].on(frame)

    def hidden(self, frame: int) -> Bool[np.ndarray, "H W"]:
        """Read which pixels of a frame are hidden in the next."""
        return self._masks["occlusions"].on(frame)

    def invalid(self, frame: int) -> Bool[np.ndarray, "H W"]:
        """Read which pixels of a frame have no true depth and flow."""
        return self._masks["invalid"].on(frame)

    @cached_property
    def _masks(self) -> dict[str, MaskFiles]:
        return {kind: MaskFiles(files) for kind, files in self.files.items() if KINDS[kind] == ".png"}

    def places(self, kind: str) -> dict[int, int]:
        """Return where the files of a kind stand in their list, by the number in their names.

        The last frame of a sequence has no flow, in Sintel itself no label either.
        """
        files = self.files.get(kind, [])
        return {number: k for k, path in enumerate(files) if (number := number_of(path)) is not None}


def _davis(folder: Path, sequence: str) -> list[Path]:
    """Find instance ids of the sequence; DAVIS names it without Sintel's number."""
    base = folder / "Annotations" / "480p"
    for name in (sequence, sequence.rsplit("_", 1)[0]):
        if (base / name).is_dir():
            return files_in(base / name, (".png",))
    return []


STILL = 1e-6
"""Speed below which something rests."""


@dataclass(frozen=True)
class ObjectMotion:
    """The motion of one rigid object."""

    name: str
    pass_index: int
    """Its value in object-id images."""
    object_to_world: Float64[np.ndarray, "T 4 4"]
    twists: Float64[np.ndarray, "T 4 4"]
    """Matrices V: the surface at world point x moves with (V [x, 1])[:3] per unit of normalised time."""

    @property
    def moves(self) -> bool:
        """Whether the object moves at any time."""
        return bool(np.abs(self.twists).max() > STILL)


@dataclass(frozen=True)
class MotionGroundTruth:
    """The motion of all objects of a scene; what belongs to no object rests."""

    path: Path
    times: Float64[np.ndarray, "T"]
    objects: tuple[ObjectMotion, ...]

    def index_of(self, time: float) -> int:
        """Return the index of a time.

        Raises:
            DatasetError: The ground truth has no such time.
        """
        index = int(np.abs(self.times - time).argmin())
        if abs(self.times[index] - time) > 1e-4:
            raise DatasetError(
                f"{self.path} has no motion at time {time}; its nearest is {self.times[index]}"
            )
        return index


@dataclass(frozen=True)
class SurfaceSample:
    """Points on the visible surfaces of one frame with their true velocities."""

    time: float
    points: Float64[np.ndarray, "P 3"]
    velocities: Float64[np.ndarray, "P 3"]
    labels: Int64[np.ndarray, "P"]
    """Object-id values; 0 where a point belongs to no object."""


def load_motion_ground_truth(path: Path | str, duration: float = 1.0) -> MotionGroundTruth:
    """Read a motion.json; ``duration`` is the length of normalised time in the unit of the file's times."""
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; give a scene's ground_truth/motion.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        times = np.array(content["times"], dtype=np.float64) / duration
        objects = tuple(
            ObjectMotion(
                name=str(o["name"]),
                pass_index=int(o["pass_index"]),
                object_to_world=np.array(o["object_to_world"], dtype=np.float64),
                twists=np.array(o["twist"], dtype=np.float64) * duration,
            )
            for o in content["objects"]
        )
    except (OSError, *CONTENT_ERRORS) as error:
        raise DamagedFileError(f"{path} is no motion ground truth: {type(error).__name__} {error}") from error
    for o in objects:
        if not o.twists.shape == o.object_to_world.shape == (len(times), 4, 4):
            raise DamagedFileError(
                f"{path}: object {o.name} needs a 4x4 pose and twist for {len(times)} times each"
            )
    return MotionGroundTruth(path, times, objects)


def sample_surfaces(gt: MotionGroundTruth, max_static: int = 4000, seed: int = 0) -> list[SurfaceSample]:
    """Read surface points from the depth and object-id images beside a motion.json, with true velocities.

    Every pixel of a moving object counts; of what rests, at most ``max_static`` random pixels of a frame.
    The scene's transforms files give the camera and time of each image by its file name.
    """
    folder = gt.path.parent
    depths = sorted((folder / "depth").glob("*.npz"))
    if not depths:
        raise MissingFileError(f"{folder / 'depth'} holds no .npz; the error needs points on true surfaces")
    frames = frames_by_name(folder.parent)
    rng = np.random.default_rng(seed)
    movers = [o.pass_index for o in gt.objects if o.moves]
    samples: list[SurfaceSample] = []
    for path in depths:
        frame = frame_of(frames, path)
        depth, labels = _read_maps(path, folder / "object_id" / f"{path.stem}.png")
        pinhole, undo = pinhole_of(frame.intrinsics, depth.shape[1], depth.shape[0])
        if undo is not None:
            depth, labels = undo.nearest(depth), undo.nearest(labels)
        rows, columns = np.nonzero(depth > 0)
        keep = _thin_out(~np.isin(labels[rows, columns], movers), max_static, rng)
        rows, columns = rows[keep], columns[keep]
        points = surface_points(rows, columns, depth, matrix_of(*pinhole), frame.camera_to_world)
        found = labels[rows, columns].astype(np.int64)
        velocities = true_velocities(gt, points, found, frame.time)
        samples.append(SurfaceSample(frame.time, points, velocities, found))
    return samples


def surface_points(
    rows: Int64[np.ndarray, "P"],
    columns: Int64[np.ndarray, "P"],
    depth: Float64[np.ndarray, "H W"],
    K: Float64[np.ndarray, "3 3"],
    camera_to_world: Float64[np.ndarray, "4 4"],
) -> Float64[np.ndarray, "P 3"]:
    """Return the world points seen at pixel centres with planar depth; the pose is OpenGL's."""
    local = unproject(np.stack((columns, rows), axis=1) + HALF_PIXEL, depth[rows, columns], K)
    return to_world(local, flip_axes(camera_to_world))


def true_velocities(
    gt: MotionGroundTruth, points: Float64[np.ndarray, "P 3"], labels: Int64[np.ndarray, "P"], time: float
) -> Float64[np.ndarray, "P 3"]:
    """Return the velocities of surface points from the twists of the objects they belong to."""
    velocities = np.zeros_like(points)
    index = gt.index_of(time)
    for o in gt.objects:
        mine = labels == o.pass_index
        twist = o.twists[index]
        velocities[mine] = points[mine] @ twist[:3, :3].T + twist[:3, 3]
    return velocities


def _thin_out(
    thinned: Bool[np.ndarray, "P"], at_most: int, rng: np.random.Generator
) -> Int64[np.ndarray, "Q"]:
    """Return the indices to keep: at most so many where ``thinned`` is set, all elsewhere."""
    many = np.flatnonzero(thinned)
    if len(many) > at_most:
        many = rng.choice(many, at_most, replace=False)
    return np.sort(np.concatenate((np.flatnonzero(~thinned), many)))


def _read_maps(depth_path: Path, label_path: Path) -> tuple[Float64[np.ndarray, "H W"], np.ndarray]:
    """Read planar depth and object ids of one frame."""
    if not label_path.is_file():
        raise MissingFileError(f"{label_path}, the object ids that go with {depth_path.name}, does not exist")
    try:
        with np.load(depth_path, allow_pickle=False) as archive:
            depth = numbers(archive["depth"], depth_path).astype(np.float64)
        with Image.open(label_path) as image:
            labels = np.asarray(image)
    except image_errors() as error:
        raise DamagedFileError(f"{depth_path} or {label_path} cannot be read: {error}") from error
    if depth.shape != labels.shape or not np.isfinite(depth).all():
        raise DamagedFileError(
            f"{depth_path} {depth.shape} must be finite and of the size of its object ids {labels.shape}"
        )
    return depth, labels
