"""Trainings on nothing: cameras that do not look at the scene, pictures that stay background."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from dyn3d_ns.geometry.cameras import flip_axes, project, to_camera, to_world, unproject, viewmats_of
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.scene_metadata import SceneMetadata

WATCH_EVERY = 50
"""Steps between the pictures that are looked at."""
_BLANK_IN_A_ROW = 6
"""Pictures in a row that show background alone before it is said."""
_SOLID = 0.02
"""Accumulation below which a picture's most solid pixel is background."""
_RAYS = 5
"""Rays along each side of a picture that are asked whether they meet the box."""


def require_box_in_view(cameras: Cameras, box: Float[Tensor, "2 3"], scene: SceneMetadata) -> None:
    """Refuse a scene whose box no training camera looks at.

    Raises:
        DatasetError: it names the box, the cameras and the file that the box is from.
    """
    if scene.scene_ids is not None:  # each scene has its own world
        return
    poses = np.tile(np.eye(4), (len(cameras), 1, 1))
    poses[:, :3] = cameras.camera_to_worlds.double().cpu().numpy()
    low, high = box.double().cpu().numpy()
    Ks = cameras.get_intrinsics_matrices().double().cpu().numpy()
    sizes = torch.cat([cameras.width, cameras.height], dim=1).double().cpu().numpy()
    parts = np.stack(np.meshgrid(*[np.linspace(0, 1, _RAYS)] * 2), axis=-1).reshape(-1, 2)
    pixels = parts * sizes[:, None]
    seen = to_world(unproject(pixels, np.ones(pixels.shape[:2]), Ks), flip_axes(poses))
    eyes = poses[:, None, :3, 3]
    ways = seen - eyes
    ways = np.where(np.abs(ways) < 1e-12, 1e-12, ways)
    bounds = np.sort(np.stack([(low - eyes) / ways, (high - eyes) / ways]), axis=0)
    enter, leave = bounds[0].max(-1), bounds[1].min(-1)
    if not ((leave >= enter) & (leave > 0)).any():
        raise DatasetError(_out_of_view("the scene's box", np.stack([low, high]), poses, scene))


def require_gaussians_in_view(
    cameras: Cameras, means: Float[Tensor, "N 3"], near: float, scene: SceneMetadata
) -> None:
    """Refuse Gaussians to start from of which no training camera sees one.

    Raises:
        DatasetError: it names their box, the cameras and the file of the points.
    """
    viewmats, Ks = viewmats_of(cameras.camera_to_worlds), cameras.get_intrinsics_matrices()
    for i in range(len(cameras)):
        local = to_camera(means, viewmats[i].to(means))
        pixels = project(local, Ks[i].to(means))
        size = torch.cat([cameras.width[i], cameras.height[i]]).to(means)
        if bool(((local[:, 2] > near) & (pixels >= 0).all(1) & (pixels < size).all(1)).any()):
            return
    poses = np.tile(np.eye(4), (len(cameras), 1, 1))
    poses[:, :3] = cameras.camera_to_worlds.double().cpu().numpy()
    box = torch.stack([means.amin(0), means.amax(0)]).double().cpu().numpy()
    raise DatasetError(_out_of_view("the Gaussians to start from", box, poses, scene, near))


def _out_of_view(
    what: str,
    box: Float64[np.ndarray, "2 3"],
    poses: Float64[np.ndarray, "C 4 4"],
    scene: SceneMetadata,
    near: float | None = None,
) -> str:
    world, points = scene.world, scene.points
    eyes = world.points_back(poses[:, :3, 3])
    source = "" if points is None else f", from {points.source},"
    remedy = (
        "bring both into one coordinate system and unit, or leave the points out with the dataparser's "
        "`--load-points False`"
        if points is not None
        else "the poses must be camera to world (OpenGL axes: the camera looks along -z); the dataparser's "
        "`--scene-box` says where the scene is"
    )
    nearer = (
        ""
        if near is None
        else f" (nearer than --pipeline.model.camera-near, {near:g} units, nothing is seen)"
    )
    return (
        f"no training camera sees {what}{source} which lies in {_range(world.points_back(box))}; the cameras "
        f"stand in {_range(np.stack([eyes.min(0), eyes.max(0)]))}{nearer}: {remedy}"
    )


def _range(box: Float64[np.ndarray, "2 3"]) -> str:
    ordered = np.sort(box, axis=0)
    return ", ".join(
        f"{axis} {low:.7g} to {high:.7g}" for axis, low, high in zip("xyz", *ordered, strict=True)
    )


class BlankWatch:
    """Looks at a training picture now and then, and says once when they show nothing but background."""

    def __init__(self) -> None:
        self._blank, self._said = 0, False

    def look(self, step: int, accumulation: Tensor) -> str | None:
        """Return what to say, if it is time to.

        Args:
            step: Step of the picture; only some are looked at.
            accumulation: How solid its pixels are, 0..1.
        """
        if step % WATCH_EVERY or self._said:
            return None
        blank = not accumulation.numel() or float(accumulation.detach().amax()) < _SOLID
        self._blank = self._blank + 1 if blank else 0
        if self._blank < _BLANK_IN_A_ROW:
            return None
        self._said = True
        return (
            f"Step {step}: training pictures show nothing but background, for {WATCH_EVERY * self._blank} "
            "steps now. Nothing is learned like this: do cameras, scene box and points share one "
            "coordinate system and unit, and do the images show anything?"
        )
