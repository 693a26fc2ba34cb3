"""The datamanager of rays: pixels, colours, times, weights of frames, and an order that can be resumed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dyn3d_ns.data.rays import RayDataManager, RayDataManagerConfig, _matter_pixels
from dyn3d_ns.data.sampling import Sampling
from dyn3d_ns.models.planes.hull import hull_cells


@pytest.fixture(scope="module")
def datamanager(tiny_scene: Path) -> RayDataManager:
    config = RayDataManagerConfig(rays_per_batch=200, images_per_batch=40, data=tiny_scene)
    torch.manual_seed(0)
    return config.setup(device="cpu", test_mode="val")


def test_rays_go_through_the_pixels_whose_colours_they_bring(datamanager: RayDataManager) -> None:
    rays, batch = datamanager.next_train(0)
    assert rays.origins.shape == (200, 3) and batch["image"].shape == (200, 4)
    cameras = datamanager.train_cameras
    for i in (0, 57, 199):
        image, row, column = batch["indices"][i].tolist()
        picture = datamanager.train_dataset.get_numpy_image(image)
        np.testing.assert_allclose(batch["image"][i].numpy() * 255, picture[row, column], atol=1e-3)
        pose, fx = cameras.camera_to_worlds[image], float(cameras.fx[image])
        local = rays.directions[i] @ pose[:, :3]
        seen = -local[:2] / local[2] * fx + torch.tensor([24.0, -24.0])
        torch.testing.assert_close(seen, torch.tensor([column + 0.5, -(row + 0.5)]), atol=1e-3, rtol=0)
        assert float(rays.times[i]) == float(cameras.times[image])


def test_most_rays_show_matter_or_its_rim(datamanager: RayDataManager) -> None:
    _, batch = datamanager.next_train(0)
    shares = [(datamanager.next_train(i)[1]["image"][:, 3] > 0).float().mean() for i in range(5)]
    whole = np.mean([(datamanager.train_dataset.get_numpy_image(i)[..., 3] > 0).mean() for i in range(8)])
    assert float(torch.stack(shares).mean()) > 1.5 * whole
    picture = np.zeros((9, 9, 4), np.uint8)
    picture[4, 4, 3] = 255
    found = _matter_pixels(picture, 1)
    assert found is not None and sorted(found) == [9 * r + c for r in (3, 4, 5) for c in (3, 4, 5)]
    assert _matter_pixels(picture[..., :3], 1) is None


def test_frames_are_drawn_by_their_weight(datamanager: RayDataManager) -> None:
    weights = torch.zeros(datamanager.timeline.num_frames)
    weights[2] = 1.0
    datamanager.sampling = lambda step: Sampling(frame_weights=weights)
    try:
        rays, _ = datamanager.next_train(0)
    finally:
        datamanager.sampling = None
    assert rays.times is not None
    expected = torch.full_like(rays.times, datamanager.timeline.frame_times[2])
    torch.testing.assert_close(rays.times, expected)


def test_the_order_goes_on_from_a_saved_state(datamanager: RayDataManager) -> None:
    datamanager.next_train(0)
    state = datamanager.get_state()
    first = datamanager.next_train(1)[1]["indices"]
    assert not torch.equal(first, datamanager.next_train(2)[1]["indices"])
    datamanager.set_state(state)
    assert torch.equal(first, datamanager.next_train(1)[1]["indices"])


def test_the_hull_holds_all_matter_and_not_much_more(datamanager: RayDataManager) -> None:
    cameras, images = datamanager.images_at(0)
    cells = hull_cells(cameras, images, torch.zeros(3), 2.0, 32)
    assert 0.005 < float(cells.float().mean()) < 0.6
    # The stand's foot lies on the axis, below the middle; the corners of the cube are empty.
    assert not bool(cells[-1, 0, 0]) and bool(cells[:, 14:18, 14:18].any())
    # Fewer silhouettes carve less, and what too few images show is left out.
    every = hull_cells(cameras, images, torch.zeros(3), 2.0, 32, min_views=0)
    fewer = hull_cells(cameras[:2], images[:2], torch.zeros(3), 2.0, 32, min_views=0)
    assert bool((fewer | ~every).all()) and int(fewer.sum()) > int(every.sum()) > int(cells.sum())
