"""Compare a velocity field with the ground-truth motion of rigid objects, at points on their surfaces.

A scene with ground truth holds `ground_truth/motion.json` (per object a rigid pose and a twist per time)
and, for some of its frames, `ground_truth/depth/<frame>.npz` and `ground_truth/object_id/<frame>.png`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from PIL import Image
from torch import Tensor

from dyn3d_ns.geometry.cameras import HALF_PIXEL, flip_axes, to_world, unproject
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, MissingFileError
from dyn3d_ns.io.transforms_json import Frame, Intrinsics, find_transforms, read_transforms
from dyn3d_ns.timeline import TIME_EPS

VelocityFunction = Callable[[Float[Tensor, "P 3"], float], Float[Tensor, "P 3"]]
"""Points (world units) and a normalised time to velocities (world units per unit of normalised time)."""

_STILL = 1e-6


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
        return bool(np.abs(self.twists).max() > _STILL)


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
    except (KeyError, TypeError, ValueError) as error:
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
    cameras = _frames_by_name(folder.parent)
    rng = np.random.default_rng(seed)
    movers = [o.pass_index for o in gt.objects if o.moves]
    samples: list[SurfaceSample] = []
    for path in depths:
        if path.stem not in cameras:
            raise DatasetError(f"no frame of {folder.parent} is called {path.stem}, as its depth {path} is")
        frame, intrinsics = cameras[path.stem]
        depth, labels = _read_maps(path, folder / "object_id" / f"{path.stem}.png")
        rows, columns = np.nonzero(depth > 0)
        keep = _thin_out(~np.isin(labels[rows, columns], movers), max_static, rng)
        rows, columns = rows[keep], columns[keep]
        points = surface_points(rows, columns, depth, intrinsics, frame.camera_to_world)
        found = labels[rows, columns].astype(np.int64)
        velocities = true_velocities(gt, points, found, frame.time)
        samples.append(SurfaceSample(frame.time, points, velocities, found))
    return samples


def surface_points(
    rows: Int64[np.ndarray, "P"],
    columns: Int64[np.ndarray, "P"],
    depth: Float64[np.ndarray, "H W"],
    intrinsics: Intrinsics,
    camera_to_world: Float64[np.ndarray, "4 4"],
) -> Float64[np.ndarray, "P 3"]:
    """Return the world points seen at pixel centres with planar depth."""
    height, width = depth.shape
    fx, fy, cx, cy = intrinsics.resolve(width, height)
    K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    pixels = np.stack((columns, rows), axis=1) + HALF_PIXEL
    return to_world(unproject(pixels, depth[rows, columns], K), np.linalg.inv(flip_axes(camera_to_world)))


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


def motion_error(
    velocity_at: VelocityFunction,
    gt: MotionGroundTruth,
    samples: Sequence[SurfaceSample],
    t_obs: float,
) -> dict[str, Any]:
    """Return end-point errors of a velocity field, at observed times and in the future.

    Args:
        velocity_at: The field; gets float32 points and a time.
        gt: Which objects there are and which of them move.
        samples: Surface points with true velocities.
        t_obs: Last observed time.

    Returns:
        For `observed` and `future` each: `moving` with the mean end-point error `epe` and the mean true
        `speed` over points of moving objects, and `relative_epe` = epe / speed; `static` with the mean
        predicted `speed` of what rests, and `relative_speed` to the moving points' mean; `objects` with the
        same by name. A part without points is None.
    """
    predictions = [_predict(velocity_at, s) for s in samples]
    result: dict[str, Any] = {}
    for part in ("observed", "future"):
        chosen = [i for i, s in enumerate(samples) if (s.time > t_obs + TIME_EPS) == (part == "future")]
        result[part] = _part_error(gt, [samples[i] for i in chosen], [predictions[i] for i in chosen])
    return result


def _predict(velocity_at: VelocityFunction, sample: SurfaceSample) -> Float64[np.ndarray, "P 3"]:
    with torch.no_grad():
        velocities = velocity_at(torch.from_numpy(sample.points).float(), sample.time)
    if velocities.shape != sample.points.shape:
        raise ValueError(f"velocity_at gave {tuple(velocities.shape)} for points {sample.points.shape}")
    return velocities.detach().cpu().double().numpy()


def _part_error(
    gt: MotionGroundTruth, samples: Sequence[SurfaceSample], predictions: Sequence[np.ndarray]
) -> dict[str, Any] | None:
    if not samples:
        return None
    labels = np.concatenate([s.labels for s in samples])
    truth = np.concatenate([s.velocities for s in samples])
    predicted = np.concatenate(predictions)
    movers = [o.pass_index for o in gt.objects if o.moves]
    moving = np.isin(labels, movers)
    if not moving.any():
        return None
    reference = float(np.linalg.norm(truth[moving], axis=1).mean())
    objects = {o.name: _summary(truth, predicted, labels == o.pass_index, reference) for o in gt.objects}
    named = [o.pass_index for o in gt.objects]
    objects["background"] = _summary(truth, predicted, ~np.isin(labels, named), reference)
    return {
        "moving": _summary(truth, predicted, moving, reference),
        "static": _summary(truth, predicted, ~moving, reference),
        "objects": {name: values for name, values in objects.items() if values is not None},
    }


def _summary(
    truth: np.ndarray, predicted: np.ndarray, mask: np.ndarray, reference: float
) -> dict[str, float] | None:
    """Sum up the chosen points; what rests is measured by its speed relative to the moving points'."""
    if not mask.any():
        return None
    speed = float(np.linalg.norm(truth[mask], axis=1).mean())
    epe = float(np.linalg.norm(predicted[mask] - truth[mask], axis=1).mean())
    if speed > _STILL:
        return {"epe": epe, "speed": speed, "relative_epe": epe / speed, "points": int(mask.sum())}
    return {"speed": epe, "relative_speed": epe / reference, "points": int(mask.sum())}


def _thin_out(
    thinned: Bool[np.ndarray, "P"], at_most: int, rng: np.random.Generator
) -> Int64[np.ndarray, "Q"]:
    """Return the indices to keep: at most so many where ``thinned`` is set, all elsewhere."""
    many = np.flatnonzero(thinned)
    if len(many) > at_most:
        many = rng.choice(many, at_most, replace=False)
    return np.sort(np.concatenate((np.flatnonzero(~thinned), many)))


def _frames_by_name(scene: Path) -> dict[str, tuple[Frame, Intrinsics]]:
    frames: dict[str, tuple[Frame, Intrinsics]] = {}
    for label, path in find_transforms(scene):
        file = read_transforms(path, scene, label)
        for frame in file.frames:
            frames[frame.image.stem] = (frame, file.intrinsics)
    return frames


def _read_maps(depth_path: Path, label_path: Path) -> tuple[Float64[np.ndarray, "H W"], np.ndarray]:
    """Read planar depth and object ids of one frame."""
    if not label_path.is_file():
        raise MissingFileError(f"{label_path}, the object ids that go with {depth_path.name}, does not exist")
    try:
        with np.load(depth_path) as archive:
            depth = archive["depth"].astype(np.float64)
        with Image.open(label_path) as image:
            labels = np.asarray(image)
    except (OSError, KeyError, ValueError) as error:
        raise DamagedFileError(f"{depth_path} or {label_path} cannot be read: {error}") from error
    if depth.shape != labels.shape or not np.isfinite(depth).all():
        raise DamagedFileError(
            f"{depth_path} {depth.shape} must be finite and of the size of its object ids {labels.shape}"
        )
    return depth, labels
