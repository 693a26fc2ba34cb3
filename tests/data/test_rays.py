"""The datamanager of rays: pixels, colours, times, weights of frames, and an order that can be resumed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scene_files import write_masks, write_scene

from dyn3d_ns.data.pixel_draws import matter_pixels
from dyn3d_ns.data.rays import RayDataManager, RayDataManagerConfig
from dyn3d_ns.data.sampling import Sampling
from dyn3d_ns.dataparsers.dynamicverse import DynamicVerseDataParserConfig
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.scene_metadata import scene_of
from dyn3d_ns.models.planes.hull import hull_cells
from tests.joined_parser import JoinedConfig
from tests.video.cards import MOVER, WALL, CardClip


def make(root: Path, scenes: tuple[Path, ...] = (), **options) -> RayDataManager:
    """Return a datamanager whose random numbers start anew."""
    torch.manual_seed(0)
    if scenes:
        options["dataparser"] = JoinedConfig(part=options["dataparser"], others=scenes)
    return RayDataManagerConfig(data=root, **options).setup(device="cpu", test_mode="val")


@pytest.fixture(scope="module")
def two_clips(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[CardClip, Path]]:
    """Return two clips of other sizes, lengths and motions."""
    folder = tmp_path_factory.mktemp("clips")
    clips = [CardClip(frames=8), CardClip((WALL, MOVER), frames=5, width=96, height=64)]
    return [(clip, clip.write(folder / f"clip{i}").root) for i, clip in enumerate(clips)]


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
    found = matter_pixels(picture, 1)
    assert found is not None and sorted(found) == [9 * r + c for r in (3, 4, 5) for c in (3, 4, 5)]
    assert matter_pixels(picture[..., :3], 1) is None


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_rays_go_through_pixels_that_masks_leave_in(tmp_path: Path, mode: str) -> None:
    write_masks(write_scene(tmp_path, cameras=3, frames=3, observed=2, mode=mode))
    # A mask that leaves nothing in: its image gives rays that do not count.
    Image.new("L", (16, 12)).save(tmp_path / "masks/train_002.png")
    manager = make(tmp_path, rays_per_batch=400, images_per_batch=40)
    _, batch = manager.next_train(0)
    image, column = batch["indices"][:, 0], batch["indices"][:, 2]
    assert (image == 2).any() and not batch["mask"][image == 2].any()
    assert batch["mask"][image != 2].all() and (column[image != 2] >= 8).all()


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


def test_a_single_scene_is_drawn_as_ever(datamanager: RayDataManager) -> None:
    """Images come from these three draws of the generator, in this order, as all recorded trainings had."""
    generator = torch.Generator()
    generator.set_state(datamanager.get_state()["rays"])
    _, batch = datamanager.next_train(0)
    times = datamanager.train_cameras.times
    assert times is not None
    frames = torch.tensor([datamanager.timeline.frame_index(float(t)) for t in times])
    recorded = torch.bincount(frames, minlength=datamanager.timeline.num_frames).clamp_max(1).float()
    drawn = torch.multinomial(recorded, 40, replacement=True, generator=generator)
    picks = torch.rand(40, generator=generator)
    expected = []
    for frame, pick in zip(drawn.tolist(), picks.tolist(), strict=True):
        images = (frames == frame).nonzero()[:, 0]
        expected.append(int(images[int(pick * len(images))]))
    assert batch["indices"][::5, 0].tolist() == expected
    assert batch["scene_ids"].tolist() == [0] * 200


def test_rays_of_two_scenes(two_clips: list[tuple[CardClip, Path]]) -> None:
    """Scenes are drawn evenly, whatever their lengths; each ray keeps to the images of its scene."""
    (_, first), (_, second) = two_clips
    parser = DynamicVerseDataParserConfig(load_points=False, eval_interval=4)
    options = {"dataparser": parser, "rays_per_batch": 400, "images_per_batch": 200}
    both = make(first, scenes=(second,), priors=("depth", "flow", "tracks"), **options)
    alone = [make(root, priors=("depth", "flow", "tracks"), **options) for root in (first, second)]
    sizes = [len(manager.train_dataset) for manager in alone]
    assert len(both.train_dataset) == sum(sizes)
    seen = torch.cat([both.next_train(step)[1]["scene_ids"] for step in range(5)])
    assert float(seen.float().mean()) == pytest.approx(0.5, abs=0.08)
    rays, batch = both.next_train(5)
    assert rays.times is not None
    for i in range(0, 400, 7):
        image, row, column = batch["indices"][i].tolist()
        scene, inside = (0, image) if image < sizes[0] else (1, image - sizes[0])
        assert int(batch["scene_ids"][i]) == scene
        picture = alone[scene].train_dataset.get_numpy_image(inside)
        np.testing.assert_allclose(batch["image"][i].numpy() * 255, picture[row, column], atol=1e-3)
        cameras = alone[scene].train_cameras
        torch.testing.assert_close(rays.origins[i], cameras.camera_to_worlds[inside, :, 3])
        assert float(rays.times[i]) == float(cameras.times[inside])
        alone_priors = alone[scene]._train_priors.of(inside)
        assert torch.equal(batch["depth"][i], alone_priors["depth"][row, column])
        to = int(alone_priors["flow_to"])
        assert int(batch["flow_to"][i]) == (to if to < 0 else to + (0, sizes[0])[scene])
    assert [found.images[0] for found in both.tracks] == [0, sizes[0]]
    np.testing.assert_array_equal(both.tracks[1].xy, alone[1].tracks[0].xy)


def test_images_to_evaluate_tell_their_scene(two_clips: list[tuple[CardClip, Path]]) -> None:
    (_, first), (_, second) = two_clips
    parser = DynamicVerseDataParserConfig(load_points=False, eval_interval=4)
    both = make(first, scenes=(second,), dataparser=parser)
    found = [both.eval_item(i) for i in range(len(both.eval_dataset))]
    sizes = [tuple(batch["image"].shape[:2]) for _, batch in found]
    assert sizes == [(96, 128), (96, 128), (64, 96)]
    assert [camera.metadata["scene_id"] for camera, _ in found] == [0, 0, 1]
    ids = scene_of(both.eval_dataset.metadata).scene_ids
    assert ids is not None and ids.tolist() == [0, 0, 1]


def test_a_prior_must_be_in_every_scene(two_clips: list[tuple[CardClip, Path]], tmp_path: Path) -> None:
    plain = CardClip(frames=4).write(tmp_path / "plain", "frames cameras masks").root
    parser = DynamicVerseDataParserConfig(load_points=False, eval_interval=3)
    with pytest.raises(DatasetError, match="no depth .its priors: dynamic_mask.*each of several scenes"):
        make(two_clips[0][1], scenes=(plain,), dataparser=parser, priors=("depth",))


def test_mask_halves(two_clips: list[tuple[CardClip, Path]], tmp_path: Path) -> None:
    """Half of each image's rays show what moves, though it is a small part; without any, all are still."""
    clip, root = two_clips[0]
    parser = DynamicVerseDataParserConfig(load_points=False, eval_interval=4)
    options = {"dataparser": parser, "rays_per_batch": 100, "images_per_batch": 5, "pixels": "mask-halves"}
    assert np.mean([labels > 0 for labels in clip.labels]) < 0.1
    _, batch = make(root, **options).next_train(0)
    assert batch["dynamic_mask"].view(5, 20).sum(1).tolist() == [10] * 5
    still = CardClip((WALL,), frames=4).write(tmp_path / "still", "frames cameras masks").root
    _, batch = make(still, **options).next_train(0)
    assert not batch["dynamic_mask"].any()
    assert len(batch["indices"].unique(dim=0)) > 90


def test_mask_halves_of_a_ray_an_image(two_clips: list[tuple[CardClip, Path]]) -> None:
    """The odd ray falls into either half: with one ray an image both are still seen, equally often."""
    parser = DynamicVerseDataParserConfig(load_points=False, eval_interval=4)
    options = {"dataparser": parser, "rays_per_batch": 64, "images_per_batch": 64, "pixels": "mask-halves"}
    manager = make(two_clips[0][1], **options)
    drawn = torch.cat([manager.next_train(step)[1]["dynamic_mask"] for step in range(8)])
    assert float(drawn.float().mean()) == pytest.approx(0.5, abs=0.1)
