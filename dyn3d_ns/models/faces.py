"""Pictures through other lenses than a pinhole, put together from perspective ones that look all around.

Gaussians and grids are drawn through pinholes. A fisheye, an equirectangular panorama or an eye of VR180
sees from one place, too: its pixels are looked up on the six faces of a cube around that place. Which way a
pixel looks is Nerfstudio's answer, so that its viewer, its camera paths and these pictures agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor

from dyn3d_ns.geometry.cameras import cube_faces, project, ray_lengths, to_camera, viewmats_of
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.models.lazy_outputs import LazyOutputs

_MARGIN = 2
"""Pixels that a face reaches beyond its 90 degrees, so that there is something on both sides of a seam."""
_LARGEST = 4096
"""Pixels along the side of a face at the most."""
NO_STEREO = (
    "this method renders what is seen from one place, and omnidirectional stereo is not: "
    "choose equirectangular, fisheye or vr180"
)
_DEPTHS = ("depth",)
"""Outputs that hold planar depth."""
_IN_PIXELS = ("flow",)
"""Outputs that mean nothing in another projection than the one that they were made in."""


class _Face(NamedTuple):
    """What one side of the cube shows."""

    outputs: Mapping[str, Tensor]
    here: Bool[Tensor, "H W"]
    """Pixels of the picture that look at this face."""
    places: Float[Tensor, "P 2"]
    """Where they look on it, -1 to 1 from edge to edge."""
    slants: Float[Tensor, "P 1"]
    """Length of a ray there at a planar depth of one."""


def is_pinhole(camera: Cameras) -> bool:
    """Return whether a camera is a plain perspective one."""
    return bool((camera.camera_type == CameraType.PERSPECTIVE.value).all())


def cast(camera: Cameras, obb_box: Any = None) -> RayBundle:
    """Return the rays of a camera's pixels, ``[H, W]``."""
    rays = camera.generate_rays(camera_indices=0, keep_shape=True, obb_box=obb_box)
    # Nerfstudio divides by zero for the ray along the axis of a fisheye.
    ahead = -camera.camera_to_worlds.reshape(-1, 3, 4)[0, :, 2]
    undefined = rays.directions.isnan().any(-1, keepdim=True)
    rays.directions = torch.where(undefined, ahead, rays.directions)
    return rays


@torch.no_grad()
def through_faces(render: Callable[[Cameras], Mapping[str, Tensor]], camera: Cameras) -> dict[str, Any]:
    """Return the outputs of a camera of any projection, given what renders perspective ones.

    Depth is the distance along the ray. Faces that no pixel looks at are not rendered.

    Raises:
        UserError: its rays start at different places, as those of omnidirectional stereo do.
    """
    rays, pose = cast(camera), camera.camera_to_worlds.reshape(-1, 3, 4)[0]
    origin, rotation = rays.origins[0, 0], pose[:, :3]
    if not torch.allclose(rays.origins, origin.expand_as(rays.origins), atol=1e-5):
        raise UserError(NO_STEREO)
    # One more pixel a radian than the picture has, so that looking it up leaves nothing out.
    focal = min(_pixels_per_radian(rays.directions) + 1, 0.5 * _LARGEST - _MARGIN)
    half = int(focal) + _MARGIN
    turns = torch.from_numpy(cube_faces()).to(rotation)
    number = (rays.directions @ rotation @ -turns[:, :, 2].T).argmax(-1)
    faces = []
    for i in number.unique().tolist():
        face = Cameras(
            camera_to_worlds=torch.cat([rotation @ turns[i], origin[:, None]], 1)[None],
            fx=focal,
            fy=focal,
            cx=float(half),
            cy=float(half),
            width=2 * half,
            height=2 * half,
            times=camera.times,
            metadata=camera.metadata,
        ).to(rotation.device)
        here = number == i
        local = to_camera(origin + rays.directions[here], viewmats_of(face.camera_to_worlds)[0])
        places = project(local, face.get_intrinsics_matrices()[0]) / half - 1
        faces.append(_Face(render(face), here, places, ray_lengths(local)))
    names = [name for name in faces[0].outputs if name not in _IN_PIXELS]
    return LazyOutputs({}, {name: partial(_joined, faces, name) for name in names})


def _joined(faces: list[_Face], name: str) -> Float[Tensor, "H W D"]:
    """Look an output's pixels up on the faces."""
    parts = [face.outputs[name] for face in faces]
    whole = parts[0].new_zeros(*faces[0].here.shape, parts[0].shape[-1])
    for face, part in zip(faces, parts, strict=True):
        found = F.grid_sample(
            part.permute(2, 0, 1)[None].float(),
            face.places[None, None],
            padding_mode="border",
            align_corners=False,
        )[0, :, 0].T.to(whole)
        whole[face.here] = found * face.slants if name in _DEPTHS else found
    return whole


def _pixels_per_radian(directions: Float[Tensor, "H W 3"]) -> float:
    """Return how densely pixels look around: the median over the middle row and column."""
    height, width = directions.shape[:2]
    lines = [directions[height // 2], directions[:, width // 2]]
    steps = torch.cat([(line[1:] - line[:-1]).norm(dim=-1) for line in lines])
    steps = steps[steps > 1e-6]
    return float(1 / steps.median()) if len(steps) else 1.0
