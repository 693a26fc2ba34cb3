"""Cameras as a file of another tool has them, whatever its format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int

from dyn3d_ns.geometry.cameras import HALF_PIXEL, focals, scale_intrinsics, shift_pixel_centers
from dyn3d_ns.geometry.lenses import Lens, Undistortion, undistortion
from dyn3d_ns.io.errors import DatasetError, PoseError
from dyn3d_ns.io.frame_matching import Labels

_RIGID = 1e-2
"""How far the rows of a rotation may be from orthonormal: files have four digits at least."""
_NETWORK_STEPS = (16, 14, 8)
"""Networks bring the sides of their images to multiples of these."""
_NEAR = 0.1
"""Part of the picture by which a principal point may be off its middle."""


@dataclass(frozen=True)
class CameraFile:
    """Cameras read from a file, in its order."""

    path: Path
    labels: Labels
    """Names or numbers of the frames that they are of."""
    camera_to_worlds: Float64[np.ndarray, "P 4 4"]
    """OpenCV axes: x right, y down, z forward."""
    Ks: Float64[np.ndarray, "P 3 3"] | None = None
    """Intrinsics in pixels, pixel centres at whole numbers; None where the file has none."""
    sizes: Float64[np.ndarray, "P 2"] | None = None
    """Width and height that the intrinsics are for; None where the file does not say."""
    lenses: tuple[Lens, ...] | None = None
    """What each camera departs from a pinhole by; None where the file has no such thing."""
    angles: Float64[np.ndarray, "P"] | None = None
    """Horizontal fields of view in radians, where there are no intrinsics in pixels."""
    notes: tuple[str, ...] = ()
    """What was left out."""

    def select(self, rows: Sequence[int] | Int[np.ndarray, "K"]) -> CameraFile:
        """Return some of the cameras, without their labels."""
        chosen = np.asarray(rows)
        return replace(
            self,
            labels=Labels(len(chosen)),
            camera_to_worlds=self.camera_to_worlds[chosen],
            Ks=None if self.Ks is None else self.Ks[chosen],
            sizes=None if self.sizes is None else self.sizes[chosen],
            lenses=None if self.lenses is None else tuple(self.lenses[k] for k in chosen),
            angles=None if self.angles is None else self.angles[chosen],
        )

    def checked(self) -> CameraFile:
        """Return the cameras after checking that they are cameras.

        Raises:
            PoseError: a pose is not finite or no rigid motion, or a camera has no focal length, or skew.
        """
        poses = self.camera_to_worlds
        self._demand(np.isfinite(poses).all((1, 2)), "is not finite; remove the frame or write it again")
        rotations = poses[:, :3, :3]
        product = rotations @ rotations.transpose(0, 2, 1) - np.eye(3)
        rigid = (np.abs(product).max((1, 2), initial=0) < _RIGID) & (np.linalg.det(rotations) > 0)
        self._demand(rigid, "is no rotation with a place; divide a scale out of its 3x3 part")
        if self.Ks is not None:
            focal = focals(self.Ks)
            good = np.isfinite(self.Ks).all((1, 2)) & (focal > 0).all((1, 2))
            self._demand(good, "has intrinsics without a focal length; write them again")
            skew = np.abs(self.Ks[:, 0, 1:2])
            self._demand(
                (skew <= 1e-3 * focal[:, 0, :1]).all(1),
                "has skewed pixels; set the skew of its intrinsics to 0",
            )
        return self

    def _demand(self, good: Any, what: str) -> None:
        bad = np.flatnonzero(~np.asarray(good))
        if len(bad):
            name = f" ({self.labels.names[bad[0]]})" if self.labels.names else ""
            raise PoseError(f"{self.path}: pose {int(bad[0])}{name} {what}")


class Scaling(NamedTuple):
    """How intrinsics of images of one size become those of another."""

    size: tuple[float, float]
    """Width and height before."""
    x: float
    y: float


def brought_to(cameras: CameraFile, size: tuple[int, int]) -> tuple[Float64[np.ndarray, "P 3 3"] | None, str]:
    """Bring intrinsics to the size of the frames.

    Sizes that the file does not state are told by the principal points, which lie near the middle.

    Returns:
        The intrinsics, and what was done in a sentence, if anything was.

    Raises:
        DatasetError: they are for images of another proportion of the sides.
    """
    if cameras.Ks is None:
        return _of_angles(cameras, size), ""
    found = np.empty_like(cameras.Ks)
    before: dict[tuple[float, float], None] = {}
    for row, K in enumerate(cameras.Ks):
        stated = (
            None if cameras.sizes is None else (float(cameras.sizes[row, 0]), float(cameras.sizes[row, 1]))
        )
        # Where the principal point tells the size it lies in the middle, whichever way pixels are counted.
        told = _size_by_center(K, size) if stated is None else stated
        scaling = _scaling(K, told, size)
        if scaling is None:
            by = "" if stated else "by their principal point "
            raise DatasetError(
                f"{cameras.path} has intrinsics {by}for images of {told[0]:g}x{told[1]:g}, but the frames "
                f"are {size[0]}x{size[1]}: that is another proportion of the sides; crop the intrinsics as "
                "the frames are, or leave them out and give --cameras.focal"
            )
        centred = stated is None or bool(np.allclose(2 * K[:2, 2], scaling.size, atol=1e-6))
        found[row] = _scaled(K, scaling, size, centred)
        if scaling.size != size:
            before[scaling.size] = None
    if not before:
        return found, ""
    first = next(iter(before))
    sizes = f"{first[0]:g}x{first[1]:g}" + (f" and {len(before) - 1} other sizes" if len(before) > 1 else "")
    by = "" if cameras.sizes is not None else ", which their principal point tells,"
    return found, f"intrinsics for {sizes}{by} are brought to the frames' {size[0]}x{size[1]}"


def without_lens(
    cameras: CameraFile, Ks: Float64[np.ndarray, "P 3 3"] | None, size: tuple[int, int]
) -> tuple[Float64[np.ndarray, "P 3 3"] | None, list[Undistortion | None]]:
    """Return intrinsics of pinhole cameras in the cameras' place, and what makes images theirs.

    Args:
        cameras: As the file has them.
        Ks: Their intrinsics for the images, pixel centres at whole numbers; None where there are none.
        size: Width and height of the images.

    Raises:
        DatasetError: there is a lens without intrinsics, or one that cannot be undone.
    """
    lenses = cameras.lenses or ()
    if not any(lens.is_fisheye or any(lens.coefficients) for lens in lenses):
        return Ks, [None] * len(cameras.camera_to_worlds)
    if Ks is None:
        raise DatasetError(f"{cameras.path} has a lens, but no focal length; add it to the file")
    made: dict[tuple[Lens, bytes], Undistortion | None] = {}
    straight, undos = Ks.copy(), []
    for row, (lens, K) in enumerate(zip(lenses, Ks, strict=True)):
        key = lens, K.tobytes()
        if key not in made:
            try:
                made[key] = undistortion(lens, shift_pixel_centers(K, HALF_PIXEL), size)
            except ValueError as error:
                raise DatasetError(
                    f"{cameras.path}: {error}; undistort the images and give cameras of these"
                ) from error
        undo = made[key]
        undos.append(undo)
        straight[row] = K if undo is None else shift_pixel_centers(undo.K, -HALF_PIXEL)
    return straight, undos


def _of_angles(cameras: CameraFile, size: tuple[int, int]) -> Float64[np.ndarray, "P 3 3"] | None:
    if cameras.angles is None:
        return None
    wide = size[0] / 2 / np.tan(cameras.angles / 2)
    Ks = scale_intrinsics(np.tile(np.eye(3), (len(wide), 1, 1)), wide, wide)
    Ks[:, :2, 2] = (np.array(size) - 1) / 2
    return Ks


def proportion_fits(found: tuple[float, float], size: tuple[int, int]) -> bool:
    """Whether a map has the sides' proportion of the frames, to a pixel or as networks round sizes."""
    misses = _misses(found, size)
    return misses <= 1 or any(misses < step for step in _NETWORK_STEPS if _multiples(found, step))


def _misses(found: tuple[float, float], size: tuple[int, int]) -> float:
    return min(abs(found[1] - size[1] * found[0] / size[0]), abs(found[0] - size[0] * found[1] / size[1]))


def _multiples(found: tuple[float, float], step: int) -> bool:
    return found[0] % step == 0 and found[1] % step == 0


def _size_by_center(K: Float64[np.ndarray, "3 3"], size: tuple[int, int]) -> tuple[float, float]:
    """Return the size of images that have a principal point in the middle."""
    center = K[:2, 2]
    # Some count the first pixel's centre as 0, some as one half.
    for corner in (0.0, 1.0):
        found = (float(np.round(2 * center[0] + corner, 3)), float(np.round(2 * center[1] + corner, 3)))
        if found == size:
            return size
        network = any(_multiples(found, step) for step in _NETWORK_STEPS)
        if min(found) > 0 and network and proportion_fits(found, size):
            return found
    ratio = (2 * center + 1) / np.array(size)
    alike = abs(ratio[0] / ratio[1] - 1) < 0.01 and abs(ratio[0] - 1) > 0.03 if min(ratio) > 0 else False
    if (np.abs(ratio - 1) <= _NEAR).all() and not alike:
        return size
    return float(2 * center[0]), float(2 * center[1])


def _scaling(
    K: Float64[np.ndarray, "3 3"], before: tuple[float, float], size: tuple[int, int]
) -> Scaling | None:
    if min(before) <= 0:
        return None
    x, y = size[0] / before[0], size[1] / before[1]
    near = 0.02 * max(before) if any(side % 1 for side in before) else 1.0
    if _misses(before, size) <= near:
        return Scaling(before, x, y)
    if not proportion_fits(before, size):
        return None
    # Who cropped scaled both sides as the longer one, who stretched each on its own: pixels are square.
    even = x if size[0] >= size[1] else y
    ratio = -np.diff(np.log(focals(K)[0]))[0]
    return Scaling(before, even, even) if abs(ratio) <= abs(ratio + np.log(x / y)) else Scaling(before, x, y)


def _scaled(
    K: Float64[np.ndarray, "3 3"], scaling: Scaling, size: tuple[int, int], centred: bool
) -> Float64[np.ndarray, "3 3"]:
    if scaling.size == size:
        return K
    found = shift_pixel_centers(K, HALF_PIXEL)
    scale = np.array([scaling.x, scaling.y])
    middle = 0.0 if centred else found[:2, 2] - np.array(scaling.size) / 2
    found[:2, 2] = middle * scale + np.array(size) / 2
    found[(0, 1), (0, 1)] *= scale
    return shift_pixel_centers(found, -HALF_PIXEL)
