"""The true motion of a scene's objects: `ground_truth/motion.json` and what lies beside it.

Per object it holds a rigid pose and a twist per time; of an object that it lists as deforming,
`<name>_vertices.npz` holds the places and velocities of the vertices of its surface. Some frames have
`depth/<frame>.npz` and `object_id/<frame>.png`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64
from PIL import Image

from dyn3d_ns.geometry.cameras import HALF_PIXEL, flip_axes, to_world, unproject
from dyn3d_ns.io.arrays import Npz
from dyn3d_ns.io.damage import ARRAY_ERRORS, CONTENT_ERRORS, image_errors, numbers
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, MissingFileError
from dyn3d_ns.io.intrinsics import matrix_of, pinhole_of
from dyn3d_ns.io.transforms_scene import frame_of, frames_by_name

STILL = 1e-6
"""Speed below which something rests."""
_SAME_TIME = 1e-4
_MESH = ("vertices", "velocity", "faces", "times")
_ON_SURFACE = 0.01
"""Largest median distance of surface points from their mesh, in sizes of the mesh."""


@dataclass(frozen=True)
class DeformingMesh:
    """The surface of an object that bends: triangles whose vertices move."""

    path: Path
    vertices: Float64[np.ndarray, "T V 3"]
    velocities: Float64[np.ndarray, "T V 3"]
    """World units per unit of normalised time."""
    faces: Int64[np.ndarray, "F 3"]

    def velocities_at(self, index: int, points: Float64[np.ndarray, "P 3"]) -> Float64[np.ndarray, "P 3"]:
        """Return the velocities of surface points at one of the times: the nearest triangle's, barycentric.

        Raises:
            DatasetError: the points do not lie on the mesh.
        """
        from trimesh import Trimesh
        from trimesh.proximity import closest_point
        from trimesh.triangles import area, points_to_barycentric

        if len(points) == 0:
            return np.zeros((0, 3))
        vertices = self.vertices[index]
        faces = self.faces[area(vertices[self.faces]) > 0]
        if len(faces) == 0:
            raise DamagedFileError(f"{self.path} has no triangle of any area at time {index}; write it again")
        nearest, distances, found = closest_point(Trimesh(vertices, faces, process=False), points)
        away, size = np.median(distances), np.linalg.norm(np.ptp(vertices, axis=0))
        if away > _ON_SURFACE * size:
            raise DatasetError(
                f"{self.path} is {size:.3g} large and lies {away:.3g} beside the surface that depth/ and "
                f"object_id/ show at time {index}; restore the files that belong together"
            )
        corners = faces[found]
        weights = points_to_barycentric(vertices[corners], nearest)
        return np.einsum("pk,pkc->pc", weights, self.velocities[index][corners])


@dataclass(frozen=True)
class ObjectMotion:
    """The motion of one object, rigid unless there is a mesh that bends."""

    name: str
    pass_index: int
    """Its value in object-id images."""
    object_to_world: Float64[np.ndarray, "T 4 4"]
    twists: Float64[np.ndarray, "T 4 4"]
    """Matrices V: the surface at world point x moves with (V [x, 1])[:3] per unit of normalised time."""
    mesh: DeformingMesh | None = None
    """The surface of an object that bends; its pose and twist are then only those of a frame beside it."""

    @property
    def moves(self) -> bool:
        """Whether the object moves at any time."""
        return bool(np.abs(self.twists if self.mesh is None else self.mesh.velocities).max() > STILL)

    def velocities_at(self, index: int, points: Float64[np.ndarray, "P 3"]) -> Float64[np.ndarray, "P 3"]:
        """Return the velocities of points on its surface at one of the times."""
        if self.mesh is not None:
            return self.mesh.velocities_at(index, points)
        return points @ self.twists[index][:3, :3].T + self.twists[index][:3, 3]


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
        if not abs(self.times[index] - time) <= _SAME_TIME:
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
    """Read a motion.json and the meshes that it lists as deforming, which lie beside it.

    Args:
        path: The motion.json.
        duration: Length of normalised time in the unit of the file's times.

    Raises:
        MissingFileError: the file, or one with the vertices of a deforming object, does not exist.
        DamagedFileError: one of them cannot be read, or does not hold what it must.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; give a scene's ground_truth/motion.json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        times = np.array(content["times"], dtype=np.float64)
        objects = [
            ObjectMotion(
                name=str(o["name"]),
                pass_index=int(o["pass_index"]),
                object_to_world=np.array(o["object_to_world"], dtype=np.float64),
                twists=np.array(o["twist"], dtype=np.float64) * duration,
            )
            for o in content["objects"]
        ]
        deforming = {str(name) for name in content.get("deforming", ())}
    except (OSError, *CONTENT_ERRORS) as error:
        raise DamagedFileError(f"{path} is no motion ground truth: {type(error).__name__} {error}") from error
    if times.ndim != 1 or len(times) == 0:
        raise DamagedFileError(f"{path}: times must be a list of numbers, got shape {times.shape}")
    for o in objects:
        if not o.twists.shape == o.object_to_world.shape == (len(times), 4, 4):
            raise DamagedFileError(
                f"{path}: object {o.name} needs a 4x4 pose and twist for {len(times)} times each"
            )
    unknown = deforming - {o.name for o in objects}
    if unknown:
        raise DamagedFileError(
            f"{path} lists {', '.join(sorted(unknown))} as deforming, which is none of its objects; "
            "give it a pass_index, object_to_world and twist there"
        )
    objects = [
        replace(o, mesh=_read_mesh(path.parent / f"{o.name}_vertices.npz", times, duration))
        if o.name in deforming
        else o
        for o in objects
    ]
    return MotionGroundTruth(path, times / duration, tuple(objects))


def _read_mesh(path: Path, times: Float64[np.ndarray, "T"], duration: float) -> DeformingMesh:
    """Read the moving vertices of a deforming object; ``times`` are those of motion.json."""
    if not path.is_file():
        raise MissingFileError(
            f"{path} does not exist, though motion.json lists its object as deforming; restore the file"
        )
    try:
        with Npz(path) as archive:
            stored = {key: numbers(archive[key], f"{path}: {key}") for key in _MESH}
    except ARRAY_ERRORS as error:
        if isinstance(error, DamagedFileError):
            raise
        raise DamagedFileError(
            f"{path} must hold the arrays {', '.join(_MESH)}, but cannot be read "
            f"({type(error).__name__}: {error}); restore the original"
        ) from error
    fault = _fault_of(stored, times)
    if fault is not None:
        raise DamagedFileError(f"{path}: {fault}; restore the original")
    return DeformingMesh(
        path,
        stored["vertices"].astype(np.float64),
        stored["velocity"].astype(np.float64) * duration,
        stored["faces"].astype(np.int64),
    )


def _fault_of(mesh: dict[str, np.ndarray], times: Float64[np.ndarray, "T"]) -> str | None:
    """Say what is wrong with the arrays of a mesh, if anything is."""
    vertices, velocities, faces = mesh["vertices"], mesh["velocity"], mesh["faces"]
    count = vertices.shape[1] if vertices.ndim == 3 else 0
    if not vertices.shape == velocities.shape == (len(times), count, 3):
        return (
            f"vertices {vertices.shape} and velocity {velocities.shape} must be ({len(times)}, V, 3) both, "
            f"as motion.json has {len(times)} times"
        )
    if mesh["times"].shape != times.shape or not np.abs(mesh["times"] - times).max() <= _SAME_TIME:
        return "its times are not those of motion.json"
    if not (np.isfinite(vertices).all() and np.isfinite(velocities).all()):
        return "vertices and velocity must be finite"
    if faces.dtype.kind not in "iu" or faces.ndim != 2 or faces.shape[1] != 3 or len(faces) == 0:
        return f"faces must be (F, 3) whole numbers, got {faces.dtype} {faces.shape}"
    if faces.min() < 0 or faces.max() >= count:
        return f"faces name vertices {faces.min()} to {faces.max()}, but there are {count}, counted from 0"
    return None


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
    """Return the velocities of surface points from the motion of the objects they belong to."""
    velocities = np.zeros_like(points)
    index = gt.index_of(time)
    for o in gt.objects:
        mine = labels == o.pass_index
        velocities[mine] = o.velocities_at(index, points[mine])
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
        with Npz(depth_path) as archive:
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
