"""Pinhole cameras: world to camera, camera to pixels and back, and between conventions.

Functions take NumPy arrays or torch tensors and return the like. A camera looks along +z with x right and y
down (OpenCV); Nerfstudio's look along -z with y up (OpenGL), and :func:`viewmats_of` turns one into the
other. Where the centre of the first pixel lies, at 0 or at 0.5, is the intrinsics' matter; both sides of a
call must agree, and :func:`shift_pixel_centers` changes over.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar, overload

import numpy as np
from jaxtyping import Bool, Float, Float32

if TYPE_CHECKING:
    from torch import Tensor

# Who has arrays only is spared torch, which is large: it is at hand where a tensor is.
Array = TypeVar("Array", np.ndarray, "Tensor")
HALF_PIXEL = 0.5
"""Distance between a pixel's corner and its centre."""


@overload
def _at_least(values: Tensor, least: float) -> Tensor: ...
@overload
def _at_least(values: np.ndarray, least: float) -> np.ndarray: ...
def _at_least(values: Tensor | np.ndarray, least: float) -> Tensor | np.ndarray:
    return np.maximum(values, least) if isinstance(values, np.ndarray) else values.clamp_min(least)


def flip_axes(camera_to_worlds: Float[Array, "*B R 4"]) -> Float[Array, "*B R 4"]:
    """Turn camera axes from OpenGL (x right, y up, z back) to OpenCV (y down, z ahead), or back again."""
    signs = [1.0, -1.0, -1.0, 1.0]
    if isinstance(camera_to_worlds, np.ndarray):
        return camera_to_worlds * np.array(signs, dtype=camera_to_worlds.dtype)
    return camera_to_worlds * camera_to_worlds.new_tensor(signs)


def viewmats_of(camera_to_worlds: Float[Tensor, "C 3 4"]) -> Float[Tensor, "C 4 4"]:
    """Invert OpenGL camera-to-world poses to the rasteriser's world-to-camera matrices (y down, z ahead)."""
    import torch

    rotation = camera_to_worlds[:, :3, :3] * camera_to_worlds.new_tensor([1.0, -1.0, -1.0])
    bottom = camera_to_worlds.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(rotation), 1, 4)
    return torch.cat([torch.cat([rotation.mT, -rotation.mT @ camera_to_worlds[:, :3, 3:]], -1), bottom], 1)


def to_camera(points: Float[Array, "*B N 3"], viewmats: Float[Array, "*B 4 4"]) -> Float[Array, "*B N 3"]:
    """Bring world points into the frames of OpenCV cameras."""
    rotations, origins = viewmats[..., :3, :3], viewmats[..., None, :3, 3]
    return points @ rotations.swapaxes(-1, -2) + origins  # pyright: ignore[reportReturnType]


def from_camera(points: Float[Array, "*B N 3"], viewmats: Float[Array, "*B 4 4"]) -> Float[Array, "*B N 3"]:
    """Bring points in the frames of rigid OpenCV cameras into the world; the inverse of :func:`to_camera`."""
    return (points - viewmats[..., None, :3, 3]) @ viewmats[..., :3, :3]  # pyright: ignore[reportReturnType]


def project(
    points: Float[Array, "*B N 3"], Ks: Float[Array, "*B 3 3"], near: float = 1e-6
) -> Float[Array, "*B N 2"]:
    """Project points in camera coordinates to pixels (x right, y down).

    Args:
        points: Camera coordinates, z ahead.
        Ks: Intrinsics without skew, pixels.
        near: Depth that nearer points, those behind the camera included, are divided by: they land far off.
            Who needs them told apart asks the depth.
    """
    return to_pixels(points, focals(Ks), centers(Ks), near)


def unproject(
    pixels: Float[Array, "*B N 2"], depths: Float[Array, "*B N"], Ks: Float[Array, "*B 3 3"]
) -> Float[Array, "*B N 3"]:
    """Lift pixels to camera coordinates at planar depths; the inverse of :func:`project`."""
    return from_pixels(pixels, depths, focals(Ks), centers(Ks))


def to_pixels(
    points: Float[Array, "*N 3"], focal: Float[Array, "*#N 2"], center: Float[Array, "*#N 2"], near: float
) -> Float[Array, "*N 2"]:
    """Project like :func:`project`, by focal lengths and principal points, of each point if they differ."""
    return points[..., :2] / _at_least(points[..., 2:], near) * focal + center


def divide(
    homogeneous: Float[Tensor, "*N 3"], near: float
) -> tuple[Float[Tensor, "*N 2"], Bool[Tensor, "*N"]]:
    """Divide by the last coordinate what a projective map made; return also whether it is above ``near``."""
    depth = homogeneous[..., 2:]
    return homogeneous[..., :2] / depth.clamp_min(near), depth[..., 0] > near


def from_pixels(
    pixels: Float[Array, "*N 2"],
    depths: Float[Array, "*N"],
    focal: Float[Array, "*#N 2"],
    center: Float[Array, "*#N 2"],
) -> Float[Array, "*N 3"]:
    """Lift like :func:`unproject`, by focal lengths and principal points, of each point if they differ."""
    places = (pixels - center) / focal * depths[..., None]
    if isinstance(places, np.ndarray):
        return np.concatenate([places, np.broadcast_to(depths, places.shape[:-1])[..., None]], axis=-1)
    import torch

    return torch.cat([places, torch.as_tensor(depths).expand(places.shape[:-1])[..., None]], dim=-1)


def focals(Ks: Float[Array, "*B 3 3"]) -> Float[Array, "*B 1 2"]:
    """Return the focal lengths of intrinsics, pixels, to go with a row of points."""
    return Ks[..., None, (0, 1), (0, 1)]


def centers(Ks: Float[Array, "*B 3 3"]) -> Float[Array, "*B 1 2"]:
    """Return the principal points of intrinsics, pixels, to go with a row of points."""
    return Ks[..., None, :2, 2]


def pixel_sizes(depths: Float[Array, "*N"], K: Float[Array, "3 3"]) -> Float[Array, "*N"]:
    """Return the size of a pixel at depths, in the depths' unit, along x."""
    return depths / K[0, 0]  # pyright: ignore[reportReturnType]


def crop_intrinsics(Ks: Float[Tensor, "*B 3 3"], x: int, y: int) -> Float[Tensor, "*B 3 3"]:
    """Return the intrinsics of images cut out of others, given the column and row that come first."""
    cut = Ks.clone()
    cut[..., 0, 2] -= x
    cut[..., 1, 2] -= y
    return cut


def field_of_view(focal: float, size: float) -> float:
    """Return the angle that a picture's side takes, radians; focal length and side in pixels."""
    return 2.0 * math.atan2(0.5 * size, focal)


def to_world(
    points: Float[Array, "*B N 3"], camera_to_worlds: Float[Array, "*B R 4"]
) -> Float[Array, "*B N 3"]:
    """Bring points in the frames of OpenCV cameras into the world, by the cameras' poses."""
    return to_camera(points, camera_to_worlds)


def ray_lengths(points: Float[Array, "*N 3"]) -> Float[Array, "*N 1"]:
    """Return how long the rays to points in camera coordinates are at a planar depth of one."""
    depth = points[..., 2:]
    return (points * points).sum(-1)[..., None] ** 0.5 / depth  # pyright: ignore[reportReturnType]


def cube_faces() -> Float[np.ndarray, "6 3 3"]:
    """Return the rotations that turn a camera ahead, to the left, back, to the right, up and down."""
    sides = [_turned(1, 0.5 * math.pi * i) for i in range(4)]
    return np.stack([*sides, _turned(0, 0.5 * math.pi), _turned(0, -0.5 * math.pi)]).round()


def _turned(axis: int, angle: float) -> Float[np.ndarray, "3 3"]:
    """Return the rotation about an axis."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.eye(3)
    rotation[[a, b], [a, b]] = math.cos(angle)
    rotation[a, b], rotation[b, a] = -math.sin(angle), math.sin(angle)
    return rotation


def seen_from(
    points: Float[Tensor, "S 3"], rotations: Float[Tensor, "S 3 3"], positions: Float[Tensor, "S 3"]
) -> Float[Tensor, "S 3"]:
    """Bring each world point into the axes of a camera of its own, at a place and turned to the world."""
    import torch

    return torch.einsum("sji,sj->si", rotations, points - positions)


def depths_in(
    points: Float[np.ndarray, "N 3"], camera_to_world: Float[np.ndarray, "4 4"]
) -> Float[np.ndarray, "N"]:
    """Return the planar depths of world points in an OpenCV camera."""
    return (points - camera_to_world[:3, 3]) @ camera_to_world[:3, 2]


def pixel_grid(height: int, width: int) -> Float[np.ndarray, "H W 2"]:
    """Return x and y of all pixels, the first centre at 0."""
    grid = np.empty((height, width, 2))
    grid[..., 0] = np.arange(width)
    grid[..., 1] = np.arange(height)[:, None]
    return grid


def at_depth_one(K: Float[np.ndarray, "3 3"], height: int, width: int) -> Float32[np.ndarray, "2 H W"]:
    """Return x and y of the points at depth 1 of all pixels, the first centre at 0."""
    places = np.empty((2, height, width), np.float32)
    places[0] = (np.arange(width) - K[0, 2]) / K[0, 0]
    places[1] = (np.arange(height)[:, None] - K[1, 2]) / K[1, 1]
    return places


def scale_intrinsics(
    Ks: Float[Array, "*B 3 3"], x: float | Float[np.ndarray, "*B"], y: float | Float[np.ndarray, "*B"]
) -> Float[Array, "*B 3 3"]:
    """Return the intrinsics of images ``x`` times as wide and ``y`` times as high (first centre at 0.5)."""
    if isinstance(Ks, np.ndarray):
        return Ks * np.stack(np.broadcast_arrays(x, y, 1.0), axis=-1).astype(Ks.dtype)[..., None]
    return Ks * Ks.new_tensor([[x], [y], [1.0]])


def shift_pixel_centers(Ks: Float[Array, "*B 3 3"], by: float) -> Float[Array, "*B 3 3"]:
    """Move the principal points: by 0.5 from a first centre at 0 to one at 0.5, by -0.5 back again."""
    offset = [[0.0, 0.0, by], [0.0, 0.0, by], [0.0, 0.0, 0.0]]
    if isinstance(Ks, np.ndarray):
        return Ks + np.array(offset, dtype=Ks.dtype)
    return Ks + Ks.new_tensor(offset)
