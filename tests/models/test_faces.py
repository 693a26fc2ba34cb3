"""Pictures of other projections, against what each ray shows."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

from dyn3d_ns.geometry.cameras import cube_faces
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.models.faces import cast, is_pinhole, through_faces


def posed() -> Float[Tensor, "1 3 4"]:
    """Return a camera-to-world pose that is turned about no axis."""
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))[0]
    rotation = rotation * torch.linalg.det(rotation)
    return torch.cat([rotation, torch.tensor([[1.0], [2.0], [3.0]])], 1)[None]


def colours(directions: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W 3"]:
    return 0.5 + 0.5 * torch.sin(3 * directions)


def in_a_sphere(camera: Cameras) -> dict[str, Tensor]:
    """Render the inside of a sphere of radius 2, whose colour says where one looks, through a pinhole."""
    assert is_pinhole(camera) and float(camera.times) == 0.5
    rays = cast(camera)
    planar = 2.0 / rays.metadata["directions_norm"]
    return {"rgb": colours(rays.directions), "depth": planar, "flow": planar}


@pytest.mark.parametrize(
    ("kind", "focal", "size"),
    [
        (CameraType.EQUIRECTANGULAR, (100.0, 100.0), (200, 100)),
        (CameraType.FISHEYE, (30.0, 30.0), (101, 101)),  # its middle pixel looks along the axis
        (CameraType.VR180_R, (50.0, 100.0), (100, 100)),
    ],
)
def test_each_pixel_shows_what_lies_its_way(
    kind: CameraType, focal: tuple[float, float], size: tuple[int, int]
) -> None:
    center = 0.5 * size[0], 0.5 * size[1]
    camera = Cameras(posed(), *focal, *center, *size, camera_type=kind, times=torch.tensor([0.5]))
    outputs = through_faces(in_a_sphere, camera)
    rays = cast(camera)
    assert bool(rays.directions.isfinite().all()) and "flow" not in outputs
    torch.testing.assert_close(outputs["rgb"], colours(rays.directions), atol=1e-3, rtol=0)
    torch.testing.assert_close(outputs["depth"], torch.full((*size[::-1], 1), 2.0), atol=1e-3, rtol=0)


def test_rays_from_different_places_are_refused() -> None:
    kind = CameraType.OMNIDIRECTIONALSTEREO_L
    camera = Cameras(posed(), 50.0, 100.0, 50.0, 50.0, 100, 100, camera_type=kind)
    with pytest.raises(UserError, match="omnidirectional stereo is not: choose equirectangular"):
        through_faces(in_a_sphere, camera)


def test_the_faces_of_a_cube_look_all_around() -> None:
    turns = torch.from_numpy(cube_faces())
    torch.testing.assert_close(turns @ turns.mT, torch.eye(3, dtype=turns.dtype).expand(6, 3, 3))
    assert turns.det().tolist() == [1.0] * 6
    assert len({tuple((-turn[:, 2]).tolist()) for turn in turns}) == 6
