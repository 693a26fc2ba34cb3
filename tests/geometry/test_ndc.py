"""Spaces of grids: against direct projection, there and back, and along rays."""

import torch

from dyn3d_ns.geometry.cameras import project, to_camera
from dyn3d_ns.geometry.ndc import GridSpace, is_forward_facing, mean_viewmat
from dyn3d_ns.geometry.rotations import quat_to_matrix


def poses(turn: float) -> torch.Tensor:
    """Return three OpenGL poses that look along -z, turned about y by up to an angle."""
    quats = torch.tensor([[1.0, 0, s * turn / 2, 0] for s in (-1, 0, 1)])
    places = torch.tensor([[-1.0, 0, 0.1], [0, 0.2, 0], [1, 0, 0]])
    return torch.cat([quat_to_matrix(torch.nn.functional.normalize(quats, dim=1)), places[:, :, None]], 2)


def space(near: float) -> GridSpace:
    low, high = torch.tensor([-1.2, -0.9, -1.0]), torch.tensor([1.0, 0.8, 0.7])
    return GridSpace(mean_viewmat(poses(0.3)), low, high, near)


def points() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(50, 3, generator=generator) * torch.tensor([2.0, 2, 4]) - torch.tensor([1.0, 1, 6])


def test_places_are_those_of_a_direct_projection() -> None:
    found = space(0.8)
    seen = to_camera(points(), found.viewmat)
    pixels = project(seen, torch.eye(3))
    normalised = torch.cat([pixels, 1 - 2 * 0.8 / seen[:, 2:]], 1)
    expected = (normalised - found.low) / (found.high - found.low) * 2 - 1
    torch.testing.assert_close(found.of_world(points()), expected)


def test_the_way_to_the_world_is_the_inverse() -> None:
    for near in (0.0, 0.8):
        found = space(near)
        torch.testing.assert_close(found.to_world(found.of_world(points())), points(), atol=1e-4, rtol=1e-4)


def test_points_along_a_ray_lie_along_its_image_at_the_distances_it_names() -> None:
    for near in (0.0, 0.8):
        found, origins = space(near), torch.tensor([[0.9, 0.1, 0.05]]).expand(50, 3)
        directions = points() - origins
        inside, along = found.rays(origins, directions)
        for place in (0.1, 0.4, 0.8):
            there = torch.full((50,), place)
            distance = found.distances(origins, directions, there)
            world = origins + distance[:, None] * directions
            torch.testing.assert_close(found.of_world(world), inside + place * along, atol=1e-4, rtol=1e-4)


def test_a_space_survives_as_a_row_of_numbers() -> None:
    found = space(0.8)
    again = GridSpace.from_tensor(found.to_tensor())
    assert again.near == torch.tensor(0.8).item() and again.is_ndc
    torch.testing.assert_close(again.of_world(points()), found.of_world(points()))


def test_rigs_are_told_apart() -> None:
    assert is_forward_facing(poses(0.5)) and not is_forward_facing(poses(2.0))
    ahead = mean_viewmat(poses(0.3))[2, :3]
    torch.testing.assert_close(ahead, torch.tensor([0.0, 0.0, -1.0]), atol=1e-4, rtol=0)
