"""Points from depth maps, and how static points of any origin are."""

import pytest
import torch

from dyn3d_ns.gaussians.seeds.depth_maps import all_points, depth_points, staticness_of_points
from dyn3d_ns.gaussians.seeds.points import ViewSet
from dyn3d_ns.geometry.cameras import project, to_camera
from tests.video.cards import CardClip


def scene(frames: int = 4) -> tuple[ViewSet, torch.Tensor, torch.Tensor, CardClip]:
    clip = CardClip(frames=frames)
    viewmats = torch.from_numpy(clip.poses).inverse().float()
    K = torch.from_numpy(clip.K).float()
    K[:2, 2] += 0.5
    views = ViewSet(viewmats, K.repeat(frames, 1, 1), torch.stack([torch.from_numpy(i) for i in clip.images]))
    static = torch.stack([torch.from_numpy(label == 0) for label in clip.labels]).float()
    return views, torch.stack([torch.from_numpy(d) for d in clip.depths]), static, clip


def test_points_lie_where_their_pixels_were_and_none_on_what_moves() -> None:
    views, depths, static, clip = scene()
    seeds = depth_points(views, depths, static, 500, torch.Generator().manual_seed(0))
    assert seeds is not None and len(seeds.positions) == 500
    assert seeds.static is not None and float(seeds.static.min()) == 1
    depth = seeds.positions[:, 2]
    assert not ((depth > 3.9) & (depth < 4.1)).any(), "the mover is 4 units away"
    assert set((depth * 2).round().int().tolist()) == {6, 12}, "the pillar and the wall"
    local = to_camera(seeds.positions, views.viewmats[0])
    column, row = project(local, views.Ks[0]).floor().long().unbind(1)
    inside = (column >= 0) & (column < 128) & (row >= 0) & (row < 96)
    rows, columns = row[inside], column[inside]
    seen = (local[inside, 2] - depths[0, rows, columns]).abs() < 1e-3
    close = (seeds.colors[inside][seen] - views.images[0, rows, columns][seen] / 255.0).abs().mean()
    assert seen.float().mean() > 0.5 and float(close) < 0.1


def test_a_pixel_is_drawn_once_and_no_more_than_there_are() -> None:
    views, depths, static, _ = scene(2)
    static[:] = 0
    static[1, 10, 20:27] = 0.5
    depths[1, 10, 26] = 0
    seeds = depth_points(views, depths, static, 100, torch.Generator().manual_seed(0))
    assert seeds is not None
    assert len(torch.unique(seeds.positions, dim=0)) == len(seeds.positions) == 6
    assert depth_points(views, depths, torch.zeros_like(static), 10, torch.Generator()) is None


def test_every_known_pixel_has_its_point() -> None:
    views, depths, static, _ = scene(2)
    depths[0, 3, 4] = 0
    seeds, birth = all_points(views, depths, static)
    assert int(birth[0, 3, 4]) == -1
    assert len(seeds.positions) == 2 * 96 * 128 - 1
    assert seeds.static is not None
    born = int(birth[1, 50, 60])
    pixel = project(to_camera(seeds.positions[born][None], views.viewmats[1]), views.Ks[1])[0]
    assert pixel.tolist() == pytest.approx([60.5, 50.5], abs=1e-3)
    assert float(seeds.static[born]) == float(static[1, 50, 60])


def test_staticness_of_points_comes_from_the_views_that_see_them() -> None:
    views, depths, static, clip = scene()
    center = torch.tensor(clip.cards[2].center)
    points = torch.stack(
        [
            center,
            center + torch.tensor([0.0, 0.0, 2.0]) * center.new_tensor([0, 0, 1]),
            torch.tensor([-0.9, 0, 3]),
        ]
    )
    behind = center * 6 / 4
    points[1] = behind
    known = staticness_of_points(points, views, static, depths)
    assert float(known[0]) == 0, "on the mover"
    assert float(known[1]) == 1, "behind the mover: seen by no view, or at rest"
    assert float(known[2]) == 1, "on the pillar"
    blind = staticness_of_points(points, views, static, None)
    assert float(blind[1]) < 0.5, "without depth the mover in front counts"
    away = staticness_of_points(torch.tensor([[0.0, 0, -5]]), views, static, depths)
    assert float(away) == 1
