"""Plane-sweep stereo on a scene whose depth is known: a painted box that hovers over a painted floor."""

import pytest
import torch

from dyn3d_ns.gaussians.seeds.plane_sweep import DepthMaps, depth_maps, scale_views
from dyn3d_ns.gaussians.seeds.points import ViewSet
from dyn3d_ns.gaussians.seeds.stereo import confirmations, stereo_points, thin_points
from dyn3d_ns.geometry.cameras import viewmats_of

SIZE, FOCAL, HEIGHT = 56, 52.0, 3.0
BOX = torch.tensor([[-2.0, -2, -0.5], [2, 2, 2]])
LID, HALF = 1.0, 0.5
"""The box's lid: z = 1, half a unit to every side of the axis."""


def painted(x: torch.Tensor, y: torch.Tensor, seed: int) -> torch.Tensor:
    """Return a smooth random pattern, uint8 RGB."""
    generator = torch.Generator().manual_seed(seed)
    waves = torch.randn(3, 12, 3, generator=generator) * torch.tensor([9.0, 9.0, 2.0])
    phase = waves[..., 0] * x[..., None, None] + waves[..., 1] * y[..., None, None] + waves[..., 2]
    return ((torch.sin(phase).sum(-1) / 5 + 0.5).clamp(0, 1) * 255).to(torch.uint8)


@pytest.fixture(scope="module")
def scene() -> tuple[ViewSet, torch.Tensor]:
    """Return five views that look straight down and their planar depth [C, H, W]."""
    eyes = torch.tensor([[0.0, 0, 1], [0.8, 0.1, 1], [-0.8, 0, 1], [0, 0.8, 1], [-0.1, -0.8, 1]])
    eyes[:, 2] = HEIGHT
    viewmats = viewmats_of(torch.cat([torch.eye(3).expand(5, 3, 3), eyes[:, :, None]], dim=2))
    v, u = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    right, down = (u - SIZE / 2) / FOCAL, (v - SIZE / 2) / FOCAL
    images, depths = [], []
    for eye in eyes:
        lid_x, lid_y = eye[0] + right * (HEIGHT - LID), eye[1] - down * (HEIGHT - LID)
        on_lid = (lid_x.abs() < HALF) & (lid_y.abs() < HALF)
        floor = painted(eye[0] + right * HEIGHT, eye[1] - down * HEIGHT, 0)
        images.append(torch.where(on_lid[..., None], painted(lid_x, lid_y, 1), floor))
        depths.append(torch.where(on_lid, HEIGHT - LID, HEIGHT))
    K = torch.tensor([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]])
    return ViewSet(viewmats, K.expand(5, 3, 3), torch.stack(images)), torch.stack(depths)


@pytest.fixture(scope="module")
def maps(scene: tuple[ViewSet, torch.Tensor]) -> DepthMaps:
    return depth_maps(scene[0], BOX)


def test_depths_of_floor_and_box_are_found(scene: tuple[ViewSet, torch.Tensor], maps: DepthMaps) -> None:
    truth = scene[1]
    wrong = (maps.depths / truth - 1).abs() > 0.03
    assert float(wrong.float().mean()) < 0.2  # what one other camera sees at most, above all at the margins
    assert float((maps.depths / truth - 1).abs().median()) < 0.005


def test_what_other_views_do_not_confirm_is_wrong_more_often(
    scene: tuple[ViewSet, torch.Tensor], maps: DepthMaps
) -> None:
    truth = scene[1]
    # A depth map that is wrong everywhere: nobody agrees with it, and the others see through it.
    broken = maps._replace(depths=maps.depths.clone())
    broken.depths[4] = 1.2
    agree, through = confirmations(broken)
    assert float(agree[4].mean()) < 0.05
    assert float(agree[0].mean()) > 1.5
    assert float(through[4].mean()) > 0.4
    error = (maps.depths / truth - 1).abs()
    agree, through = confirmations(maps)
    assert float(through[4].mean()) < 0.1
    assert float((agree >= 2).float().mean()) > 0.4
    assert float((error[agree >= 2] > 0.03).float().mean()) < 0.01


def test_points_lie_on_the_surfaces_with_their_colours(scene: tuple[ViewSet, torch.Tensor]) -> None:
    views, _ = scene
    seeds = stereo_points(views, BOX, 1500)
    assert seeds is not None and 700 < len(seeds.positions) <= 1500
    x, y, z = seeds.positions.unbind(1)
    lid = (z - LID).abs() < 0.05
    floor = z.abs() < 0.05
    assert float((lid | floor).float().mean()) > 0.93
    assert bool((x[lid].abs().quantile(0.95) < HALF + 0.1) & (y[lid].abs().quantile(0.95) < HALF + 0.1))
    away = floor & ((x.abs() > HALF + 0.1) | (y.abs() > HALF + 0.1))
    difference = seeds.colors[away] - painted(x[away], y[away], 0) / 255.0
    assert float(difference.abs().mean()) < 0.06


def test_half_of_the_box_of_the_scene_is_enough_where_cameras_lie_in_it(
    scene: tuple[ViewSet, torch.Tensor],
) -> None:
    """The box may lie around the cameras: depths behind them are not searched."""
    views, _ = scene
    seeds = stereo_points(views, torch.tensor([[-3.0, -3, -0.5], [3, 3, 6]]), 2000)
    assert seeds is not None
    z = seeds.positions[:, 2]
    assert float(((z.abs() < 0.08) | ((z - LID).abs() < 0.08)).float().mean()) > 0.9


@pytest.mark.parametrize("why", ["two views", "nothing to see"])
def test_none_where_nothing_can_be_found(why: str, scene: tuple[ViewSet, torch.Tensor]) -> None:
    views, _ = scene
    if why == "two views":
        views = ViewSet(views.viewmats[:2], views.Ks[:2], views.images[:2])
    else:
        noise = torch.randint(0, 255, views.images.shape, generator=torch.Generator().manual_seed(0))
        views = ViewSet(views.viewmats, views.Ks, noise.to(torch.uint8))
        few = stereo_points(views, BOX, 1000)
        assert few is None or len(few.positions) < 1000
        return
    assert stereo_points(views, BOX, 1000) is None


def test_shrinking_keeps_the_projection(scene: tuple[ViewSet, torch.Tensor]) -> None:
    views, _ = scene
    small, pictures = scale_views(views, 28)
    assert pictures.shape == (5, 3, 28, 28) and small.images.shape == (5, 28, 28, 3)
    torch.testing.assert_close(small.Ks[0, 0], torch.tensor([FOCAL / 2, 0, 14]))
    same, _ = scale_views(views, 200)
    torch.testing.assert_close(same.images, views.images)


def test_thinned_points_keep_the_weighted_mean_of_each_cell() -> None:
    positions = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [4, 0, 0]])
    colors = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    thinned = thin_points(positions, colors, torch.tensor([3.0, 1.0, 1.0]), 2)
    order = thinned.positions[:, 0].argsort()
    torch.testing.assert_close(thinned.positions[order], torch.tensor([[0.025, 0, 0], [4, 0, 0]]))
    torch.testing.assert_close(thinned.colors[order], torch.tensor([[0.75, 0.25, 0], [0, 0, 1]]))
