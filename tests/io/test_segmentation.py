"""Label maps in NVFi's data_segm layout and beside a scene, whole and damaged."""

import json
from pathlib import Path

import numpy as np
import pytest
from scene_files import camera_pose, frame, write_image, write_json

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


def test_labels_whose_name_several_frames_have_are_refused(tmp_path: Path) -> None:
    entries = [frame(f"c{c}/{i:03d}", camera_pose(c), i / 2) for c in (0, 1) for i in (0, 1)]
    entries[3]["file_path"] = "c1/002"
    for entry in entries:
        write_image(tmp_path / f"{entry['file_path']}.png")
    write_json(tmp_path / "transforms_train.json", {"camera_angle_x": 0.8, "frames": entries})
    labels = tmp_path / "ground_truth/object_id"
    labels.mkdir(parents=True)
    palette_image(np.zeros((12, 16), np.uint8)).save(labels / "001.png")
    (found,) = read_segmentation(tmp_path / "ground_truth")
    assert found.image == tmp_path / "c0/001.png"
    (labels / "001.png").rename(labels / "000.png")
    with pytest.raises(DamagedFileError, match="000.png may be of .*c0/000.png or of .*c1/000.png"):
        read_segmentation(tmp_path / "ground_truth")
