"""What has changed: in images, in tiles, and among Gaussians."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from stream_scene import CAMERAS, FOCAL, SIZE, draw, pose

from dyn3d_ns.gaussians import Gaussians
from dyn3d_ns.models.stream.changes import ChangeDetector, changed_views, touched
from dyn3d_ns.models.stream.views import TILE, ChangedView, Rig, changed_view, reaching, tiles_of


@pytest.fixture
def rig() -> Rig:
    """Return the cameras of the small recording."""
    poses = torch.stack([torch.from_numpy(pose(i)) for i in range(CAMERAS)])
    K = torch.tensor([[FOCAL, 0.0, SIZE / 2], [0.0, FOCAL, SIZE / 2], [0.0, 0.0, 1.0]])
    return Rig(torch.linalg.inv(poses).float(), K[None].repeat(CAMERAS, 1, 1), SIZE, SIZE, 0.05)


@pytest.fixture
def cloud() -> Gaussians:
    """Return Gaussians of several sizes all over what the cameras see, and behind them."""
    g = torch.Generator().manual_seed(0)
    n = 400
    return Gaussians(
        means=torch.rand(n, 3, generator=g) * torch.tensor([3.0, 2.0, 5.0]) - torch.tensor([1.5, 1.0, 3.5]),
        quats=torch.randn(n, 4, generator=g),
        scales=torch.rand(n, 3, generator=g) * 0.12 + 0.005,
        opacities=torch.rand(n, generator=g) * 0.8 + 0.1,
        colors=torch.randn(n, 4, 3, generator=g) * 0.2,
    )


def images(frame: int, light: float = 1.0) -> torch.Tensor:
    return torch.stack([torch.from_numpy(draw(i, frame, light)) for i in range(CAMERAS)])


def whole(rig: Rig, view: int) -> ChangedView:
    """Return a view all of whose tiles have changed."""
    tiles = torch.ones(SIZE // TILE, SIZE // TILE, dtype=torch.bool)
    everything = torch.ones(SIZE, SIZE, dtype=torch.bool)
    blank = torch.zeros(SIZE, SIZE, 3, dtype=torch.uint8)
    far = Gaussians(*(torch.zeros(0, *s) for s in ((3,), (4,), (3,), (), (4, 3))))
    found = changed_view(rig, view, blank, tiles, everything, everything, far)
    assert found is not None
    return found


def test_a_crop_shows_what_the_whole_image_shows_in_changed_tiles(rig: Rig, cloud: Gaussians) -> None:
    tiles = torch.zeros(SIZE // TILE, SIZE // TILE, dtype=torch.bool)
    tiles[1, 2] = tiles[3, 1] = True
    image = images(0)[1]
    nothing = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    # At the border of a crop, as at that of an image, the projection of large Gaussians beyond it is bounded.
    cloud = dataclasses.replace(cloud, scales=cloud.scales.clamp_max(0.02))
    crop = changed_view(rig, 1, image, tiles, nothing, nothing, cloud)
    assert crop is not None and crop.weight.shape == (3 * TILE, 2 * TILE, 1)
    assert len(crop.gaussians) < len(cloud)
    torch.testing.assert_close(crop.image, image[TILE:, TILE : 3 * TILE])
    all_of_it = dataclasses.replace(whole(rig, 1), gaussians=torch.arange(len(cloud)))
    expected, alpha = all_of_it.render(cloud, cloud.colors, 1)
    own = cloud.select(crop.gaussians)
    found, found_alpha = crop.render(own, own.colors, 1)
    inside = crop.weight[..., 0] > 0
    torch.testing.assert_close(found[inside], expected[TILE:, TILE : 3 * TILE][inside], atol=2e-3, rtol=0)
    torch.testing.assert_close(found_alpha[inside], alpha[TILE:, TILE : 3 * TILE][inside], atol=2e-3, rtol=0)


def test_tiles_around_changed_ones_are_fitted_as_well(rig: Rig, cloud: Gaussians) -> None:
    """What changes reaches into them; were they left out, it would be free to spoil them."""
    nothing = torch.zeros(len(rig), SIZE, SIZE, dtype=torch.bool)
    fresh = nothing.clone()
    fresh[1, 2 * TILE + 3, 2 * TILE + 5] = True
    (view,) = changed_views(rig, images(0), fresh, nothing, cloud)
    assert view.view == 1 and view.weight.shape == (3 * TILE, 3 * TILE, 1) and bool(view.weight.all())
    torch.testing.assert_close(view.image, images(0)[1, TILE : 4 * TILE, TILE : 4 * TILE])


def test_every_gaussian_whose_light_falls_into_a_tile_reaches_it(rig: Rig, cloud: Gaussians) -> None:
    for view in range(CAMERAS):
        everything = dataclasses.replace(whole(rig, view), gaussians=torch.arange(len(cloud)))
        tiles = torch.zeros(SIZE // TILE, SIZE // TILE, dtype=torch.bool)
        tiles[0, 0] = tiles[2, 3] = True
        pixels = tiles.repeat_interleave(TILE, 0).repeat_interleave(TILE, 1).float()
        light = everything.light(cloud, pixels[..., None])[:, 0]
        found = torch.zeros(len(cloud), dtype=torch.bool)
        found[reaching(rig, view, tiles, cloud)] = True
        assert bool(found[light > 1e-6].all())
        assert int(found.sum()) < len(cloud)


def test_light_is_the_sum_of_blending_weights(rig: Rig, cloud: Gaussians) -> None:
    view = dataclasses.replace(whole(rig, 2), gaussians=torch.arange(len(cloud)))
    _, alpha = view.render(cloud, cloud.colors, 1)
    light = view.light(cloud, torch.ones(SIZE, SIZE, 1))
    assert float(light.sum()) == pytest.approx(float(alpha.sum()), rel=1e-4)


def test_a_moving_ball_is_fresh_and_the_wall_is_not() -> None:
    detector = ChangeDetector(images(0), floor=6.0, drift=4.0, noise=3.0)
    fresh = detector.fresh(images(1))
    differs = (images(1).int() - images(0).int()).abs().amax(-1) > 60
    assert bool(fresh[differs].all())
    assert 0.02 < float(fresh.float().mean()) < 0.5
    assert not bool(detector.fresh(images(0)).any())


def test_light_that_changes_slowly_counts_each_time_it_has_added_up() -> None:
    def lit(frame: int) -> torch.Tensor:
        return torch.full((2, SIZE, SIZE, 3), 100 + frame, dtype=torch.uint8)

    detector = ChangeDetector(lit(0), floor=6.0, drift=4.0, noise=0.0)
    counted = []
    for frame in range(1, 11):
        drifted = detector.drifted(lit(frame))
        assert not bool(detector.fresh(lit(frame)).any()), "no two frames differ by so much"
        counted.append(bool(drifted.any()))
        detector.fit(lit(frame), tiles_of(drifted), frame)
    assert counted == [False, False, False, False, True] * 2


def test_noise_does_not_count_as_a_change() -> None:
    g = torch.Generator().manual_seed(0)

    def noisy() -> torch.Tensor:
        noise = 12.0 * torch.randn(CAMERAS, SIZE, SIZE, 3, generator=g)
        return (images(0).float() + noise).clamp(0, 255).to(torch.uint8)

    detector = ChangeDetector(noisy(), floor=6.0, drift=4.0, noise=3.0)
    assert float(detector.fresh(noisy()).float().mean()) < 0.01
    without = ChangeDetector(noisy(), floor=6.0, drift=4.0, noise=0.0)
    assert float(without.fresh(noisy()).float().mean()) > 0.5


def test_a_detector_is_taken_up_again_from_the_ages_of_its_tiles() -> None:
    detector = ChangeDetector(images(0), floor=6.0, drift=4.0, noise=3.0)
    for frame in range(1, 4):
        fresh = detector.fresh(images(frame)) | detector.drifted(images(frame))
        detector.fit(images(frame), tiles_of(fresh), frame)
    again = ChangeDetector(images(0), floor=6.0, drift=4.0, noise=3.0)
    again.recall(detector.state()["ages"], 3, images)
    assert torch.equal(again.fitted, detector.fitted) and torch.equal(again.before, detector.before)
    assert torch.equal(again.drifted(images(5)), detector.drifted(images(5)))


def test_what_stands_in_changed_pixels_is_touched(rig: Rig, cloud: Gaussians) -> None:
    detector = ChangeDetector(images(0), floor=6.0, drift=4.0, noise=3.0)
    fresh = detector.fresh(images(1))
    views = changed_views(rig, images(1), fresh, torch.zeros_like(fresh), cloud)
    assert [view.view for view in views] == list(range(CAMERAS))
    found = touched(views, cloud)
    assert bool((found.fresh <= found.total + 1e-4).all()) and bool((found.open >= found.fresh - 1e-4).all())
    assert bool((found.votes[found.fresh > 0.9 * found.total.clamp_min(1)] > 0.5).all())
    unseen = torch.ones(len(cloud), dtype=torch.bool)
    for view in views:
        unseen[view.gaussians] = False
    assert not bool(found.total[unseen].any())


def test_a_rig_in_which_nothing_changes_has_no_views(rig: Rig, cloud: Gaussians) -> None:
    nothing = torch.zeros(CAMERAS, SIZE, SIZE, dtype=torch.bool)
    assert changed_views(rig, images(0), nothing, nothing, cloud) == []
