"""Images of lenses and of several sizes in one scene: each pixel shows what its camera's ray meets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from PIL import Image
from scene_files import camera_pose, frame, write_json

from dyn3d_ns.data import dataset as dataset_module
from dyn3d_ns.data.datamanager import DynamicDataManager, DynamicDataManagerConfig
from dyn3d_ns.dataparsers.dynamic_object import DynamicObjectDataParserConfig
from dyn3d_ns.geometry.cameras import HALF_PIXEL, pixel_grid
from dyn3d_ns.io.errors import ImageSizeError
from dyn3d_ns.io.frames import recognise_transforms
from dyn3d_ns.io.notes import tell

CAMERAS: list[dict[str, Any]] = [
    {"camera_model": "SIMPLE_RADIAL", "fl_x": 60.0, "cx": 33.0, "cy": 23.0, "w": 64, "h": 48, "k1": -0.2},
    {"camera_model": "OPENCV_FISHEYE", "fl_x": 26.0, "fl_y": 28.0, "w": 56, "h": 56, "k1": 0.04, "k2": -0.01},
    {"camera_model": "PINHOLE", "camera_angle_x": 0.9, "w": 64, "h": 48},
    {
        "fl_x": 120.0,
        "cx": 66.0,
        "cy": 46.0,
        "w": 128,
        "h": 96,
        "k1": -0.2,
        "k2": 0.05,
        "p1": 0.01,
        "p2": -0.005,
    },
]
"""Of the last one images are stored at half the size."""
STORED = [(64, 48), (56, 56), (64, 48), (64, 48)]


def colors_of(directions: np.ndarray) -> np.ndarray:
    """Return the colours that a world without parallax has in directions: smooth, so that a shift shows."""
    unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    return 127.5 + 100 * np.sin(4 * unit)


def rays_of(camera: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """Return what each pixel of an image shows, OpenCV's axes, by OpenCV's iterations."""
    w, h = camera["w"], camera["h"]
    fx = camera.get("fl_x") or 0.5 * w / np.tan(0.5 * camera["camera_angle_x"])
    K = np.array(
        [[fx, 0, camera.get("cx", w / 2)], [0, camera.get("fl_y", fx), camera.get("cy", h / 2)], [0, 0, 1]]
    )
    K[:2] *= size[0] / w
    pixels = pixel_grid(size[1], size[0]).reshape(1, -1, 2) + HALF_PIXEL
    k = [camera.get(f"k{i}", 0.0) for i in (1, 2)]
    often = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 100, 1e-10)
    if camera.get("camera_model") == "OPENCV_FISHEYE":
        places = cv2.fisheye.undistortPoints(pixels, K, np.array([*k, 0.0, 0.0]), criteria=often)
    else:
        bends = np.array([*k, camera.get("p1", 0.0), camera.get("p2", 0.0)])
        places = cv2.undistortPointsIter(pixels, K, bends, np.eye(3), np.eye(3), often)
    return np.append(
        places[0] if places.shape[0] == 1 else places[:, 0], np.ones((len(pixels[0]), 1)), axis=1
    )


def write(root: Path) -> Path:
    """Write a scene of four unlike cameras at two times; another of the second kind is held out."""
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    for c, camera in enumerate([*CAMERAS, CAMERAS[1]]):
        pose, size = camera_pose(c), STORED[1 if c == 4 else c]
        axes = pose[:3, :3] * np.array([1.0, -1.0, -1.0])
        pixels = colors_of(rays_of(camera, size) @ axes.T).reshape(size[1], size[0], 3)
        for t in range(2):
            name = f"images/c{c}_{t}.png"
            (root / "images").mkdir(exist_ok=True, parents=True)
            Image.fromarray(np.rint(pixels).astype(np.uint8)).save(root / name)
            splits["test" if c == 4 else "train"].append({**frame(name, pose, t / 2), **camera})
    for split, entries in splits.items():
        write_json(root / f"transforms_{split}.json", {"frames": entries})
    return root


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("lenses"))


def make(data: Path, **options: Any) -> DynamicDataManager:
    factor = options.pop("downscale_factor", None)
    parser = DynamicObjectDataParserConfig(downscale_factor=factor)
    return DynamicDataManagerConfig(data=data, dataparser=parser, **options).setup(
        device="cpu", test_mode="val"
    )


def off(camera: Cameras, image: torch.Tensor) -> np.ndarray:
    """Return how far the colours of an image are from those that the camera's rays meet."""
    directions = camera.generate_rays(camera_indices=0).directions.numpy()
    assert directions.shape == image.shape
    return np.abs(image.numpy().astype(float) - colors_of(directions))


@pytest.mark.parametrize("factor", [1, 2])
def test_each_pixel_shows_what_its_cameras_ray_meets(scene: Path, factor: int) -> None:
    manager = make(scene, downscale_factor=factor)
    pairs = [manager.next_train(0) for _ in range(8)] + [manager.eval_item(i) for i in range(2)]
    assert {pair[1]["image"].shape for pair in pairs} == {
        (48 // factor, 64 // factor, 3),
        (56 // factor,) * 2 + (3,),
    }
    # A quarter of a pixel would be 2.
    assert max(off(camera, batch["image"]).mean() for camera, batch in pairs) < 0.6 * factor


def test_views_of_one_time_come_at_one_size(scene: Path) -> None:
    cameras, images = make(scene).images_at(1)
    assert tuple(images.shape) == (4, 48, 56, 3)
    assert [off(cameras[i : i + 1], images[i]).mean() < 0.8 for i in range(4)] == [True] * 4


def test_lenses_are_undone_once(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undone = []
    of = dataset_module.resize_area
    monkeypatch.setattr(
        dataset_module, "resize_area", lambda image, *size: undone.append(size) or of(image, *size)
    )
    manager = make(scene)
    for step in range(30):
        manager.next_train(step)
    assert len(undone) == 8


def test_a_method_that_takes_one_size_says_so(scene: Path) -> None:
    with pytest.raises(
        ImageSizeError, match=r"a stream takes .*c0_0.png trains at 64x48 and .*c1_0.png at 56x56"
    ):
        make(scene).train_dataset.require_one_size("a stream")


def test_info_and_training_name_the_lenses(scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = recognise_transforms(scene)
    assert found is not None and not found.missing
    assert found.facts["image size"] == "64x48, 56x56"
    assert found.facts["lens"] == (
        "SIMPLE_RADIAL (k1 -0.2) and 2 others, undone in 8 of 10 images as they are loaded"
    )
    tell.cache_clear()  # a line is printed once in a process
    make(scene)
    assert capsys.readouterr().err.count("SIMPLE_RADIAL (k1 -0.2) and 2 others, undone in 8 of 10") == 1


def test_cameras_of_the_per_camera_form_have_their_own(scene: Path, tmp_path: Path) -> None:
    """A camera's entry holds for its frames, and over what the file says."""
    rows = json.loads((scene / "transforms_train.json").read_text())["frames"]
    data = {
        f"c{c}": {
            **{key: value for key, value in rows[2 * c].items() if key not in ("file_path", "time")},
            "frames": [
                {"file_path": row["file_path"], "time": row["time"]} for row in rows[2 * c : 2 * c + 2]
            ],
        }
        for c in range(4)
    }
    (tmp_path / "images").symlink_to(scene / "images")
    write_json(tmp_path / "transforms_train.json", {"camera_angle_x": 0.3, "k1": 0.0, "data": data})
    write_json(tmp_path / "transforms_test.json", json.loads((scene / "transforms_test.json").read_text()))
    cameras, given = make(tmp_path).train_dataset.cameras, make(scene).train_dataset.cameras
    for name in ("fx", "fy", "cx", "cy", "width", "height"):
        assert torch.equal(getattr(cameras, name), getattr(given, name))
