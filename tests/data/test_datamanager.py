"""The datamanager on small scenes: images, cameras, caching, resume."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from scene_files import write_masks, write_scene

from dyn3d_ns.data import dataset as dataset_module
from dyn3d_ns.data.datamanager import DynamicDataManagerConfig
from dyn3d_ns.data.sampling import Sampling
from dyn3d_ns.dataparsers.dynamic_object import DynamicObjectDataParserConfig
from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.images import resize_area


def make(data, test_mode="val", parser=None, **options):
    config = DynamicDataManagerConfig(
        data=data, dataparser=DynamicObjectDataParserConfig(**(parser or {})), **options
    )
    return config.setup(device="cpu", test_mode=test_mode)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_scene(tmp_path_factory.mktemp("scene"))


def pixels(path):
    return torch.from_numpy(np.array(Image.open(path)))


def test_training_pairs_belong_together(scene):
    manager = make(scene)
    seen = set()
    for step in range(36):
        camera, batch = manager.next_train(step)
        index = camera.metadata["cam_idx"]
        assert batch["image_idx"] == index
        path = manager.train_dataset.image_filenames[index]
        assert torch.equal(batch["image"], pixels(path))
        c, f = int(path.stem[1:3]), int(path.stem[5:])
        assert camera.times.item() == pytest.approx(f / 12) == batch["time"]
        expected = manager.train_dataset.cameras.camera_to_worlds[index]
        torch.testing.assert_close(camera.camera_to_worlds[0], expected)
        seen.add((c, f))
    assert len(seen) == 36


def test_images_are_decoded_once(scene, monkeypatch):
    decoded = []
    read = dataset_module.read_image
    monkeypatch.setattr(dataset_module, "read_image", lambda p, *a: decoded.append(p) or read(p, *a))
    manager = make(scene)
    assert decoded == []
    for step in range(100):
        manager.next_train(step)
    manager.images_at(2)
    for index in range(len(manager.train_dataset)):
        manager.train_dataset[index]
    assert len(decoded) == len(set(decoded)) == 36


def test_a_small_cache_still_gives_every_image(scene, monkeypatch):
    decoded = []
    read = dataset_module.read_image
    monkeypatch.setattr(dataset_module, "read_image", lambda p, *a: decoded.append(p) or read(p, *a))
    manager = make(scene, max_cache_gb=5.5 * 16 * 12 * 4 / 1e9)
    for step in range(72):
        camera, batch = manager.next_train(step)
        assert torch.equal(batch["image"], pixels(manager.train_dataset.image_filenames[batch["image_idx"]]))
    assert len(decoded) == 5 + 2 * 31  # two rounds over 36 images, five of which stay


def test_cameras_handed_out_may_be_changed(scene):
    manager = make(scene)
    for step in range(80):
        camera, _ = manager.next_train(step)
        assert (camera.width.item(), camera.metadata) == (16, {"cam_idx": camera.metadata["cam_idx"]})
        camera.rescale_output_resolution(0.5)
        camera.metadata["mine"] = 1


def test_downscaled_images_fit_their_cameras(scene):
    manager = make(scene, parser={"downscale_factor": 2})
    camera, batch = manager.next_train(0)
    assert tuple(batch["image"].shape) == (camera.height.item(), camera.width.item(), 4) == (6, 8, 4)
    full = pixels(manager.train_dataset.image_filenames[batch["image_idx"]]).numpy()
    np.testing.assert_array_equal(batch["image"], resize_area(full, 8, 6))
    assert camera.fx.item() == pytest.approx(make(scene).next_train(0)[0].fx.item() / 2)


def test_float_images(scene):
    image = make(scene, cache_images_type="float32").next_train(0)[1]["image"]
    assert image.dtype == torch.float32
    assert 0.9 < image.max() <= 1.0


def test_more_than_500_images_without_a_driver(tmp_path):
    """The stock datamanager pins such a set's memory, which needs an NVIDIA driver."""
    data = write_scene(tmp_path, cameras=13, frames=45, observed=43)
    manager = make(data)
    assert len(manager.train_dataset) == 12 * 43 > 500
    assert manager.config.cache_images == "gpu"
    assert manager.next_train(0)[1]["image"].shape == (12, 16, 4)


def test_resume_continues_with_the_same_images(scene):
    manager = make(scene)
    for step in range(13):
        manager.next_train(step)
    state = manager.get_state()
    expected = [manager.next_train(0)[1]["image_idx"] for _ in range(50)]
    torch.manual_seed(123)
    resumed = make(scene)
    resumed.set_state(state)
    assert [resumed.next_train(0)[1]["image_idx"] for _ in range(50)] == expected


def test_trainer_seed_decides_the_order(scene):
    orders = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        manager = make(scene)
        orders.append([manager.next_train(0)[1]["image_idx"] for _ in range(36)])
    assert orders[0] == orders[1] != orders[2]


def test_time_window_follows_the_step(scene):
    manager = make(scene)
    manager.time_range = (0.0, 0.2)
    assert max(manager.next_train(0)[0].times.item() for _ in range(30)) == pytest.approx(2 / 12)
    manager.sampling = lambda step: Sampling((0.0, step / 12))
    for step in range(9):
        assert manager.next_train(step)[1]["time"] <= step / 12 + 1e-6
    assert manager.time_range == (0.0, 8 / 12)


def test_images_at_gives_all_views_of_one_time(scene):
    cameras, images = make(scene).images_at(3)
    assert tuple(images.shape) == (4, 12, 16, 4)
    assert images.dtype == torch.uint8
    for c in range(4):
        assert torch.equal(images[c], pixels(scene / "train" / f"c{c:02d}_f003.png"))
    assert cameras.times.flatten().tolist() == [0.25] * 4
    with pytest.raises(ValueError, match="no training view"):
        make(scene).images_at(11)


def test_evaluation_frames_come_in_order(scene):
    manager = make(scene, test_mode="test")
    frames = manager.fixed_indices_eval_dataloader
    assert len(frames) == len(manager.eval_dataset) == 9 + 15
    for index, (camera, batch) in enumerate(frames):
        assert batch["image_idx"] == index
        assert torch.equal(batch["image"], pixels(manager.eval_dataset.image_filenames[index]))
        assert camera.times.item() == pytest.approx(manager.eval_dataset.cameras.times[index].item())
    assert len({manager.next_eval(0)[1]["image_idx"] for _ in range(24)}) == 24


def test_inference_decodes_nothing(scene, monkeypatch):
    monkeypatch.setattr(dataset_module, "read_image", lambda *a: pytest.fail("decoded an image"))
    assert make(scene, test_mode="inference").get_train_rays_per_batch() == 16 * 12


def test_opaque_scene_has_three_channels(tmp_path):
    assert make(write_scene(tmp_path, mode="RGB")).next_train(0)[1]["image"].shape == (12, 16, 3)


def test_items_for_display_are_rgb_over_white(scene):
    """Viewer thumbnails and `ns-render dataset` index the dataset; RGBA would come out in PCA colours."""
    dataset = make(scene).train_dataset
    image = dataset[7]["image"]
    rgba = pixels(dataset.image_filenames[7]).double() / 255
    expected = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    torch.testing.assert_close(image.double(), expected, atol=1e-6, rtol=0)
    assert dataset[7]["image_idx"] == 7


def test_damaged_image_is_named_before_the_first_step(tmp_path):
    path = write_scene(tmp_path) / "train" / "c01_f005.png"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DamagedFileError, match="c01_f005.png cannot be decoded"):
        make(tmp_path).next_train(0)


def test_masks_stand_in_the_batch_and_carve_nothing(tmp_path):
    write_masks(write_scene(tmp_path, cameras=3, frames=3, observed=2))
    manager = make(tmp_path)
    _, batch = manager.next_train(0)
    assert (
        batch["mask"].shape == (12, 16, 1) and batch["mask"][:, 8:].all() and not batch["mask"][:, :8].any()
    )
    # What is left out may be matter: it is opaque where silhouettes are looked at, and nowhere else.
    _, images = manager.images_at(0)
    stored = torch.stack([pixels(p) for p in manager.train_dataset.image_filenames if "f000" in p.name])
    assert (images[:, :, :8, 3] == 255).all() and torch.equal(images[:, :, 8:], stored[:, :, 8:])
    assert torch.equal(batch["image"], pixels(manager.train_dataset.image_filenames[batch["image_idx"]]))
    assert "mask" not in manager.eval_item(0)[1]


def test_pictures_of_frames_get_names_of_their_own(tmp_path):
    names = [tmp_path / n for n in ("a/x.png", "a/x.jpg", "b/x.png", "a/x.png", "a/x-2.png", "a/x.y.png")]
    found = [p.relative_to(tmp_path).as_posix() for p in dataset_module.distinct_names(names)]
    assert found == ["a/x.png", "a/x-2.jpg", "b/x.png", "a/x-3.png", "a/x-2-2.png", "a/x.y.png"]
    content = json.loads(
        (write_scene(tmp_path, cameras=2, frames=4, observed=2) / "transforms_val.json").read_text()
    )
    for entry in content["frames"]:
        entry["file_path"] = "val/c01_f000"
    (tmp_path / "transforms_val.json").write_text(json.dumps(content))
    dataset = make(tmp_path, test_mode="val").eval_dataset
    assert len(set(dataset._dataparser_outputs.image_filenames)) == 2  # what `ns-render dataset` writes to
    assert len(set(dataset.image_filenames)) == 1 and dataset.get_numpy_image(1).shape == (12, 16, 4)
