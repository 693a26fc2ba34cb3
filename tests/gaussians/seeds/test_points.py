"""The visual hull of a sphere, and the small helpers of the initialisation."""

import math

import pytest
import torch

from dyn3d_ns.gaussians.seeds.points import (
    ViewSet,
    farthest_points,
    hull_points,
    neighbour_distance,
    random_points,
    sample_views,
)
from dyn3d_ns.geometry.cameras import viewmats_of

SIZE, RADIUS = 96, 0.4
CENTER = torch.tensor([0.2, -0.1, 0.3])
BOX = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])


def sphere_views(count: int) -> ViewSet:
    """Look at a red sphere from a circle and from above, with exact silhouettes."""
    eyes = [
        torch.tensor([3 * math.cos(a), 3 * math.sin(a), 1.0]) for a in torch.linspace(0, 5.5, count).tolist()
    ]
    poses = []
    for eye in eyes:
        back = torch.nn.functional.normalize(eye, dim=0)
        right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, 0, 1]), back), dim=0)
        poses.append(torch.stack([right, torch.linalg.cross(back, right), back, eye], dim=1))
    viewmats = viewmats_of(torch.stack(poses))
    focal = 100.0
    K = torch.tensor([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]])
    v, u = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    rays = torch.stack([(u - SIZE / 2) / focal, (v - SIZE / 2) / focal, torch.ones_like(u)], dim=-1)
    rays = torch.nn.functional.normalize(rays, dim=-1)
    images = []
    for viewmat in viewmats:
        center = viewmat[:3, :3] @ CENTER + viewmat[:3, 3]
        along = rays @ center
        hit = (center.square().sum() - along.square()) < RADIUS**2
        image = torch.zeros(SIZE, SIZE, 4, dtype=torch.uint8)
        image[hit] = torch.tensor([255, 0, 0, 255], dtype=torch.uint8)
        images.append(image)
    return ViewSet(viewmats, K.expand(count, 3, 3), torch.stack(images))


def test_hull_points_lie_on_the_sphere_and_have_its_colour() -> None:
    seeds = hull_points(sphere_views(14), BOX, 3000, torch.Generator().manual_seed(0))
    assert seeds is not None and len(seeds.positions) == 3000
    distance = (seeds.positions - CENTER).norm(dim=1)
    assert float(distance.quantile(0.05)) > 0.85 * RADIUS
    assert float(distance.quantile(0.9)) < 1.25 * RADIUS
    assert float((seeds.positions.mean(0) - CENTER).norm()) < 0.05
    torch.testing.assert_close(seeds.colors[:, 0], torch.ones(3000))
    assert float(seeds.colors[:, 1:].max()) < 0.02


def test_hull_needs_three_views_and_masks() -> None:
    generator = torch.Generator().manual_seed(0)
    views = sphere_views(2)
    assert hull_points(views, BOX, 10, generator) is None
    views = sphere_views(5)
    assert hull_points(ViewSet(views.viewmats, views.Ks, views.images[..., :3]), BOX, 10, generator) is None


def test_points_behind_a_camera_are_not_seen() -> None:
    views = sphere_views(1)
    eye = -views.viewmats[0, :3, :3].T @ views.viewmats[0, :3, 3]
    _, seen = sample_views(torch.stack([CENTER, 2 * eye - CENTER]), views)
    assert seen[0].tolist() == [1.0, 0.0]


def test_random_points_fill_the_box_and_repeat_with_the_seed() -> None:
    box = torch.tensor([[0.0, 1, 2], [1, 3, 5]])
    points = random_points(box, 2000, torch.Generator().manual_seed(3)).positions
    assert bool(((points >= box[0]) & (points <= box[1])).all())
    torch.testing.assert_close(points.mean(0), box.mean(0), atol=0.08, rtol=0)
    torch.testing.assert_close(points, random_points(box, 2000, torch.Generator().manual_seed(3)).positions)


def test_neighbour_distance_of_a_grid_is_its_spacing() -> None:
    grid = torch.stack(torch.meshgrid(*[torch.arange(5.0) * 0.25] * 3, indexing="ij"), dim=-1).reshape(-1, 3)
    torch.testing.assert_close(neighbour_distance(grid), torch.full((125,), 0.25))
    assert neighbour_distance(torch.zeros(1, 3)).tolist() == [1.0]


def test_farthest_points_are_far_apart() -> None:
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0))
    picked = farthest_points(points, 9)
    assert float(torch.pdist(picked).min()) > 0.4
    assert len(picked) == 9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_viewmats_invert_the_poses(dtype: torch.dtype) -> None:
    views = sphere_views(3)
    assert views.viewmats.shape == (3, 4, 4)
    # The camera looks along its positive z axis at the origin, three and a bit away.
    origin = views.viewmats.to(dtype) @ torch.tensor([0, 0, 0, 1], dtype=dtype)
    torch.testing.assert_close(origin[:, :2], torch.zeros(3, 2, dtype=dtype), atol=1e-5, rtol=0)
    assert float(origin[:, 2].min()) > 3.0


def test_hull_tolerance_admits_views_of_other_times() -> None:
    views = sphere_views(12)
    images = views.images.clone()
    images[3] = 0  # at this time the sphere was elsewhere
    changed = ViewSet(views.viewmats, views.Ks, images)
    generator = torch.Generator().manual_seed(0)
    assert hull_points(changed, BOX, 500, generator) is None
    seeds = hull_points(changed, BOX, 500, generator, tolerance=0.1)
    assert seeds is not None
    assert float(((seeds.positions - CENTER).norm(dim=1) - RADIUS).abs().quantile(0.8)) < 0.12
