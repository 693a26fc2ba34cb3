"""Label maps in NVFi's data_segm layout and beside a scene, whole and damaged."""

import json
from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.io.errors import DamagedFileError, MissingFileError
from dyn3d_ns.io.segmentation import palette_image, pose_key, read_segmentation


def write(folder: Path, **changes: object) -> Path:
    (folder / "segm").mkdir(parents=True)
    np.save(folder / "segm/r_000.npy", np.arange(12, dtype=np.int32).reshape(3, 4) % 3)
    frame = {
        "img_path": "img/r_000.png",
        "segm_path": "segm/r_000",
        "transform_matrix": np.eye(4).tolist(),
        "time": 0.25,
    }
    frame = {k: v for k, v in {**frame, **changes}.items() if v is not None}
    (folder / "transforms.json").write_text(json.dumps({"frames": [frame]}))
    return folder


def test_data_segm_is_read(tmp_path: Path) -> None:
    (frame,) = read_segmentation(write(tmp_path / "data_segm"))
    assert frame.time == 0.25 and frame.image == tmp_path / "data_segm/img/r_000.png"
    np.testing.assert_array_equal(frame.camera_to_world, np.eye(4))
    np.testing.assert_array_equal(frame.labels(), np.arange(12).reshape(3, 4) % 3)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"segm_path": None}, DamagedFileError, "no `segm_path`"),
        ({"segm_path": "segm/r_001"}, MissingFileError, "r_001.npy does not exist"),
        ({"segm_path": "../../r_001"}, DamagedFileError, "leads out of"),
        ({"transform_matrix": [[1, 2]]}, ValueError, "transform_matrix"),
        ({"time": 7}, ValueError, "time"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        read_segmentation(write(tmp_path / "data_segm", **changes))


def test_damaged_label_maps_and_folders_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "data_segm")
    (frame,) = read_segmentation(folder)
    np.save(frame.labels_path, np.zeros((2, 2)))
    with pytest.raises(DamagedFileError, match="whole numbers, got float64"):
        frame.labels()
    frame.labels_path.write_bytes(b"half a file")
    with pytest.raises(DamagedFileError, match="cannot be read"):
        frame.labels()
    (folder / "transforms.json").write_text("{")
    with pytest.raises(DamagedFileError, match="no data_segm file"):
        read_segmentation(folder)
    with pytest.raises(MissingFileError, match="neither"):
        read_segmentation(tmp_path)


def test_object_ids_of_a_scene_are_read(shared_data: Path) -> None:
    frames = read_segmentation(shared_data / "fan-and-ball/ground_truth")
    assert len(frames) == 36 and {f.labels().shape for f in frames[:3]} == {(200, 200)}
    assert len({pose_key(f.camera_to_world, f.time) for f in frames}) == len(frames)


def test_masks_are_written_with_a_palette() -> None:
    mask = np.array([[0, 1], [2, 255]], dtype=np.uint8)
    image = palette_image(mask)
    assert image.mode == "P" and image.getpixel((0, 0)) == 0
    colors = image.convert("RGB")
    assert colors.getpixel((0, 0)) == (0, 0, 0) and colors.getpixel((1, 0)) != colors.getpixel((0, 1))
