"""Priors of a processed clip in the batch: by closed forms of the cards that were rendered."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from dyn3d_ns.data.datamanager import DynamicDataManager, DynamicDataManagerConfig
from dyn3d_ns.data.priors import Priors, _flow_to, area_to
from dyn3d_ns.data.rays import RayDataManager, RayDataManagerConfig
from dyn3d_ns.dataparsers.dynamic_object import DynamicObjectDataParserConfig
from dyn3d_ns.dataparsers.dynamicverse import DynamicVerseDataParserConfig
from dyn3d_ns.geometry.cameras import project, to_camera, unproject, viewmats_of
from dyn3d_ns.io.errors import DatasetError
from dyn3d_ns.io.priors import FlowPrior, PriorSource
from dyn3d_ns.io.resampling import mask_to, nearest_to
from dyn3d_ns.io.scene_metadata import scene_of
from tests.video.cards import CardClip

EVERY = ("dynamic_mask", "flow", "depth", "disparity", "tracks")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[CardClip, Path]:
    truth = CardClip(frames=10)
    return truth, truth.write(tmp_path_factory.mktemp("clip") / "cards").root


def make(root: Path, test_mode: str = "val", **options) -> DynamicDataManager:
    """Return a datamanager over the clip; frame 4 of its ten is held out."""
    parser = DynamicVerseDataParserConfig(data=root, load_points=False)
    options = {"priors": EVERY, **options}
    config = DynamicDataManagerConfig(data=root, dataparser=parser, **options)
    return config.setup(device="cpu", test_mode=test_mode)


def batch_of(manager: DynamicDataManager, image: int) -> dict:
    """Return the training batch of an image, drawn as a training draws it."""
    for step in range(100):
        camera, batch = manager.next_train(step)
        if batch["image_idx"] == image:
            assert camera.metadata == {"cam_idx": image}
            return batch
    raise AssertionError(f"image {image} is never drawn")


def pixel_grid(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack((x, y), dim=-1)


def flow_of_a_still_scene(manager: DynamicDataManager, image: int, batch: dict) -> Tensor:
    """Return the flow that the cameras alone cause, from a batch's depth: what a method would compute."""
    cameras, other = manager.train_cameras, int(batch["flow_to"])
    Ks, viewmats = cameras.get_intrinsics_matrices(), viewmats_of(cameras.camera_to_worlds)
    height, width, _ = batch["depth"].shape
    pixels = pixel_grid(height, width).reshape(-1, 2)
    seen = unproject(pixels, batch["depth"].reshape(-1), Ks[image])
    world = to_camera(seen, torch.linalg.inv(viewmats[image]))
    return (project(to_camera(world, viewmats[other]), Ks[other]) - pixels).view(height, width, 2)


def test_flow_depth_and_masks_agree_with_the_cameras_handed_out(clip: tuple[CardClip, Path]) -> None:
    """Depth, lifted and seen by the camera that the flow leads to, gives the flow where nothing moves."""
    truth, root = clip
    manager = make(root)
    batch = batch_of(manager, 5)
    assert batch["image"].shape == (96, 128, 3)
    np.testing.assert_array_equal(batch["dynamic_mask"][..., 0], truth.labels[6] > 0)
    assert int(batch["flow_to"]) == 6
    found = flow_of_a_still_scene(manager, 5, batch)
    still = ~batch["dynamic_mask"] & batch["flow_valid"]
    error = (found - batch["flow"]).norm(dim=-1)[still[..., 0]]
    assert float(error.max()) < 0.01
    moving = (found - batch["flow"]).norm(dim=-1)[(batch["dynamic_mask"] & batch["flow_valid"])[..., 0]]
    assert float(moving.min()) > 1.0
    torch.testing.assert_close(batch["disparity"], 1 / batch["depth"])


def test_depth_goes_to_scene_units(clip: tuple[CardClip, Path], tmp_path: Path) -> None:
    truth, root = clip
    scaled = tmp_path / "scaled"
    shutil.copytree(root, scaled)
    (scaled / "cameras").mkdir(exist_ok=True)
    xyz = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32) + [0, 0, 5]
    np.savez(
        scaled / "cameras/points.npz",
        xyz=xyz.astype(np.float32),
        rgb=np.zeros((50, 3), np.uint8),
    )
    manager = make(scaled)
    scale = manager.train_dataparser_outputs.dataparser_scale
    assert scale == pytest.approx(0.4, rel=0.1)
    batch = batch_of(manager, 2)
    np.testing.assert_allclose(batch["depth"][..., 0], truth.depths[2] * scale, rtol=1e-5)
    found = flow_of_a_still_scene(manager, 2, batch)
    still = (~batch["dynamic_mask"] & batch["flow_valid"])[..., 0]
    assert float((found - batch["flow"]).norm(dim=-1)[still].max()) < 0.01


def test_flow_never_leads_to_a_held_out_image(clip: tuple[CardClip, Path]) -> None:
    """Frame 4 is evaluated, frame 9 is the last: nothing that trains may see where their pixels went."""
    _, root = clip
    manager = make(root)
    assert [path.stem for path in manager.train_dataset.image_filenames][3:5] == ["00003", "00005"]
    for image in (3, 8):
        batch = batch_of(manager, image)
        assert int(batch["flow_to"]) == -1 and not batch["flow_valid"].any()
    assert [len(found.images) for found in manager.tracks] == [9]
    assert manager.tracks[0].xy.shape[0] == 9


def test_flow_back_leads_to_the_frame_before(clip: tuple[CardClip, Path]) -> None:
    """Frame 4 is held out, so that the one after it has no way back, nor has the first."""
    truth, root = clip
    manager = make(root, priors=("flow_back",), train_cameras_sampling_seed=1)
    for image, frame in ((1, 1), (5, 6)):
        batch = batch_of(manager, image)
        exact = truth.flow(frame, frame - 1)
        assert int(batch["flow_back_to"]) == image - 1 and "flow" not in batch
        # Files hold half precision.
        np.testing.assert_allclose(batch["flow_back"], exact.flow, atol=0.02)
        np.testing.assert_array_equal(batch["flow_back_valid"][..., 0], exact.valid)
    for image in (0, 4):
        batch = batch_of(manager, image)
        assert int(batch["flow_back_to"]) == -1 and not batch["flow_back_valid"].any()


def test_tracks_lie_on_the_same_point_in_every_image(clip: tuple[CardClip, Path]) -> None:
    truth, root = clip
    manager = make(root)
    (tracks,) = manager.tracks
    batch = batch_of(manager, 6)
    ids = batch["track_ids"]
    assert 100 < len(ids) < tracks.xy.shape[1]
    np.testing.assert_array_equal(batch["track_xy"], tracks.xy[6, ids])
    # Image 6 is frame 7; what a point of frame 0 moves by is the exact flow from there.
    start = np.floor(tracks.xy[0, ids]).astype(int)
    moved = truth.flow(0, 7).flow[start[:, 1], start[:, 0]]
    np.testing.assert_allclose(batch["track_xy"], start + 0.5 + moved, atol=1e-3)


def test_priors_have_the_size_of_the_images(clip: tuple[CardClip, Path]) -> None:
    truth, root = clip
    full, half = make(root), make(root, camera_res_scale_factor=0.5)
    whole, small = batch_of(full, 2), batch_of(half, 2)
    assert small["image"].shape == (48, 64, 3)
    for name in ("dynamic_mask", "flow", "flow_valid", "depth", "disparity"):
        assert small[name].shape[:2] == (48, 64), name
    # Blocks of four that lie on one card: same depth, half the flow.
    block = whole["depth"].view(48, 2, 64, 2)
    inside = block.amax((1, 3)) == block.amin((1, 3))
    torch.testing.assert_close(small["depth"][..., 0][inside], block[:, 0, :, 0][inside])
    mean = whole["flow"].view(48, 2, 64, 2, 2).mean((1, 3)) / 2
    assert float((small["flow"] - mean).norm(dim=-1)[inside].max()) < 0.05
    assert set(small["depth"].unique().tolist()) <= set(whole["depth"].unique().tolist()), "no mixed depth"
    moves = (whole["dynamic_mask"].view(48, 2, 64, 2)).any(3).any(1)
    assert torch.equal(small["dynamic_mask"][..., 0], moves)
    np.testing.assert_allclose(half.tracks[0].xy, full.tracks[0].xy / 2)


def test_priors_are_decoded_once_and_within_the_memory(
    clip: tuple[CardClip, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, root = clip
    reads: list[int] = []
    manager = make(root, priors=("depth",))
    source = type(scene_of(manager.train_dataset.metadata).priors)
    read = source.depth
    monkeypatch.setattr(source, "depth", lambda self, image: reads.append(image) or read(self, image))
    for step in range(40):
        manager.next_train(step)
    assert sorted(reads) == list(range(9))
    # Room for two images with their depth.
    reads.clear()
    small = make(root, priors=("depth",), max_cache_gb=2.5 * 96 * 128 * 7 / 1e9)
    for step in range(18):
        assert small.next_train(step)[1]["depth"].shape == (96, 128, 1)
    assert len(reads) > 9


def test_unknown_depth_is_zero(clip: tuple[CardClip, Path], tmp_path: Path) -> None:
    _, root = clip
    damaged = tmp_path / "damaged"
    shutil.copytree(root, damaged)
    path = damaged / "unidepth/depth.npy"
    depths = np.load(path)
    depths[:, :, 0, :4] = np.array([np.nan, np.inf, 0, -1])
    np.save(path, depths)
    batch = batch_of(make(damaged), 0)
    for name in ("depth", "disparity"):
        assert batch[name][0, :4].flatten().tolist() == [0, 0, 0, 0]
    assert bool((batch["depth"][1:] > 0).all())


def test_a_prior_that_is_missing_is_named_before_training(tmp_path: Path) -> None:
    root = CardClip(frames=6).write(tmp_path / "plain", "frames cameras masks").root
    with pytest.raises(DatasetError, match=r"plain has no flow, tracks .*dynamic_mask.*dyn3d process"):
        make(root, priors=("dynamic_mask", "flow", "tracks"))


def test_scenes_of_other_datasets_have_no_priors(tiny_scene: Path) -> None:
    config = DynamicDataManagerConfig(
        data=tiny_scene, dataparser=DynamicObjectDataParserConfig(), priors=("depth",)
    )
    with pytest.raises(DatasetError, match="its priors: none.*dynamicverse-data"):
        config.setup(device="cpu", test_mode="val")


def test_evaluation_images_have_masks_without_being_asked(clip: tuple[CardClip, Path]) -> None:
    truth, root = clip
    manager = make(root, "test", priors=())
    _, batch = manager.fixed_indices_eval_dataloader[0]
    np.testing.assert_array_equal(batch["dynamic_mask"][..., 0], truth.labels[4] > 0)
    assert "dynamic_mask" not in batch_of(manager, 0)


def test_rays_bring_the_priors_of_their_pixels(clip: tuple[CardClip, Path]) -> None:
    _, root = clip
    parser = DynamicVerseDataParserConfig(data=root, load_points=False)
    config = RayDataManagerConfig(
        rays_per_batch=90, images_per_batch=9, data=root, dataparser=parser, priors=EVERY
    )
    rays = config.setup(device="cpu", test_mode="val")
    assert isinstance(rays, RayDataManager)
    whole = make(root)
    _, batch = rays.next_train(0)
    assert batch["flow"].shape == (90, 2) and batch["dynamic_mask"].shape == (90, 1)
    for i in (0, 31, 89):
        image, row, column = batch["indices"][i].tolist()
        maps = batch_of(whole, image)
        for name in ("dynamic_mask", "flow", "flow_valid", "depth", "disparity"):
            assert torch.equal(batch[name][i], maps[name][row, column]), name
        assert batch["flow_to"][i] == maps["flow_to"]
    assert not any(name.startswith("track_") for name in batch)
    assert rays.tracks[0].xy.shape == whole.tracks[0].xy.shape


def test_resampling_takes_centres_and_mixes_nothing() -> None:
    values = np.arange(6, dtype=np.float32)[None].repeat(2, 0)
    assert nearest_to(values, (3, 1)).tolist() == [[1, 3, 5]]
    assert nearest_to(values[:, :2], (6, 1)).tolist() == [[0, 0, 0, 1, 1, 1]]
    mask = np.zeros((6, 6), bool)
    mask[2, 3] = True
    assert np.argwhere(mask_to(mask, (2, 2))).tolist() == [[0, 1]]
    assert mask_to(mask, (12, 12)).sum() == 4
    flow = np.full((2, 6, 2), (4.0, 1.0), np.float32)
    found = _flow_to("flow", FlowPrior(flow, np.ones((2, 6), bool), 3), (3, 4))
    assert found["flow"].shape == (4, 3, 2) and found["flow"][0, 0].tolist() == [2.0, 2.0]


def test_a_map_is_averaged_where_it_shrinks() -> None:
    values = np.zeros((4, 8), np.float32)
    values[:2, :2] = [[1, 0], [0, 1]]
    assert area_to(values, (4, 2))[0, 0] == 0.5
    assert area_to(values, (8, 4)) is values
    assert area_to(values, (16, 8)).shape == (8, 16)


class TruthSource(PriorSource):
    """A mask by somebody, and the truth, of which the second image has none."""

    names = frozenset({"dynamic_mask", "motion"})
    truths = frozenset({"dynamic_mask", "clean"})

    def dynamic_mask(self, image: int) -> np.ndarray:
        return np.zeros((6, 8), bool)

    def motion(self, image: int) -> np.ndarray:
        return np.full((6, 8), 0.25, np.float32)

    def has_true_mask(self, image: int) -> bool:
        return image == 0

    def true_mask(self, image: int) -> np.ndarray:
        return np.ones((6, 8), bool)

    def clean(self, image: int) -> np.ndarray:
        return np.full((6, 8, 3), 77, np.uint8)


def test_truth_stands_in_the_place_of_the_prior_one_where_it_is_asked_for() -> None:
    cameras = SimpleNamespace(width=torch.tensor([8, 8]), height=torch.tensor([6, 6]))
    scene = SimpleNamespace(priors=TruthSource())
    dataset = SimpleNamespace(cameras=cameras, metadata={"dyn3d_scene": scene}, may_keep=lambda size: True)
    measured = Priors(dataset, ["dynamic_mask", "motion"], ["dynamic_mask", "clean"])
    first, second = measured.of(0), measured.of(1)
    assert bool(first["dynamic_mask"].all()) and first["motion"].shape == (6, 8, 1)
    assert first["clean"].dtype == torch.uint8 and int(first["clean"].min()) == 77
    assert "dynamic_mask" not in second, "what nobody labelled is not measured by somebody's mask"
    trained = Priors(dataset, ["dynamic_mask", "motion"]).of(0)
    assert not bool(trained["dynamic_mask"].any()) and "clean" not in trained
