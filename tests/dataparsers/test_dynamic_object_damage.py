"""Every kind of damage gives one clear error that names the place, before training starts."""

import json

import numpy as np
import pytest
from scene_files import write_image, write_scene

from dyn3d_ns.dataparsers.dynamic_object import DynamicObjectDataParserConfig
from dyn3d_ns.io.errors import (
    DamagedFileError,
    DatasetError,
    EmptySplitError,
    ImageSizeError,
    MissingFileError,
    PoseError,
    TimeRangeError,
    UnsafePathError,
)


def edit(root, change, name="transforms_test.json"):
    """Change the parsed content of a scene's file in place."""
    content = json.loads((root / name).read_text())
    change(content)
    (root / name).write_text(json.dumps(content))


def in_frame(key, value, index=3):
    return lambda content: content["frames"][index].__setitem__(key, value)


def matrix(change):
    def apply(content):
        pose = np.array(content["frames"][3]["transform_matrix"])
        content["frames"][3]["transform_matrix"] = change(pose).tolist()

    return apply


def with_entry(row, column, value):
    def change(pose):
        pose[row, column] = value
        return pose

    return change


DAMAGE = {
    "time nan": (in_frame("time", float("nan")), TimeRangeError, "frame 3: `time` must be a finite number"),
    "time text": (in_frame("time", "0.5"), TimeRangeError, "frame 3"),
    "time over": (in_frame("time", 12.0), TimeRangeError, "in \\[0, 1\\], got 12.0"),
    "time negative": (in_frame("time", -0.5), TimeRangeError, "in \\[0, 1\\], got -0.5"),
    "time absent": (
        lambda c: c["frames"][3].pop("time"),
        TimeRangeError,
        "1 of 60 frames have no `time`",
    ),
    "pose nan": (matrix(with_entry(0, 3, float("nan"))), PoseError, "NaN"),
    "pose infinite": (matrix(with_entry(1, 1, float("inf"))), PoseError, "NaN or infinite"),
    "pose scaled": (matrix(lambda p: p @ np.diag([2.0, 2, 2, 1])), PoseError, "not a rigid"),
    "pose mirrored": (matrix(lambda p: p @ np.diag([-1.0, 1, 1, 1])), PoseError, "not a rigid"),
    "pose projective": (matrix(with_entry(3, 0, 0.5)), PoseError, "last row"),
    "pose shape": (matrix(lambda p: p[:2]), PoseError, "4x4"),
    "pose absent": (lambda c: c["frames"][3].pop("transform_matrix"), PoseError, "4x4"),
    "pose ragged": (in_frame("transform_matrix", [[1, 2], [3]]), PoseError, "4x4"),
    "image absent": (in_frame("file_path", "test/none"), MissingFileError, "frame 3: no image at"),
    "path absent": (lambda c: c["frames"][3].pop("file_path"), DamagedFileError, "must name an image"),
    "path outside": (in_frame("file_path", "../../etc/x.png"), UnsafePathError, "leads out of"),
    "path outside by detour": (in_frame("file_path", "test/../../x"), UnsafePathError, "leads out of"),
    "path absolute": (in_frame("file_path", "/tmp/x.png"), UnsafePathError, "relative"),
    "path on a drive": (in_frame("file_path", "C:\\x\\y.png"), UnsafePathError, "relative"),
    "no frame": (lambda c: c["frames"].clear(), EmptySplitError, "lists no frame"),
    "frames no list": (lambda c: c.__setitem__("frames", 3), DamagedFileError, "must be a list"),
    "frames absent": (lambda c: c.pop("frames"), DamagedFileError, "top-level `frames`"),
    "no focal length": (lambda c: c.pop("camera_angle_x"), DamagedFileError, "camera_angle_x"),
    "bad angle": (lambda c: c.__setitem__("camera_angle_x", 9.0), DamagedFileError, "radians"),
    "bad focal length": (lambda c: c.__setitem__("fl_x", -1.0), DamagedFileError, "positive"),
    "focal length text": (lambda c: c.__setitem__("fl_x", "a"), DamagedFileError, "finite number"),
    "lens of a frame": (
        in_frame("camera_model", "THIN_PRISM_FISHEYE"),
        DatasetError,
        "frame 3: .*THIN_PRISM",
    ),
    "stated size": (lambda c: c.update(w=32, h=20), ImageSizeError, "is 16x12, but its file expects 32x20"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_json(tmp_path, damage):
    change, error, message = DAMAGE[damage]
    edit(write_scene(tmp_path), change)
    parser = DynamicObjectDataParserConfig(data=tmp_path).setup()
    # Training asks for its own split only, and must hear of damage in the others.
    with pytest.raises(error, match=message) as caught:
        parser.get_dataparser_outputs("train")
    assert isinstance(caught.value, DatasetError)
    assert str(tmp_path) in str(caught.value)


def parse(root):
    return DynamicObjectDataParserConfig(data=root).setup().get_dataparser_outputs("train")


def test_truncated_json(tmp_path):
    path = write_scene(tmp_path) / "transforms_val.json"
    path.write_text(path.read_text()[:200])
    with pytest.raises(DamagedFileError, match="transforms_val.json is not valid JSON"):
        parse(tmp_path)


def test_image_of_another_size(tmp_path):
    write_image(write_scene(tmp_path) / "val" / "c04_f002.png", size=(15, 12))
    with pytest.raises(ImageSizeError, match="c04_f002.png is 15x12, but .* expects 16x12"):
        parse(tmp_path)


def test_file_that_is_no_image(tmp_path):
    (write_scene(tmp_path) / "val" / "c04_f002.png").write_bytes(b"no image")
    with pytest.raises(DamagedFileError, match="c04_f002.png is not a readable image"):
        parse(tmp_path)


def test_missing_folder(tmp_path):
    with pytest.raises(MissingFileError, match="not a folder"):
        parse(tmp_path / "none")


def test_folder_above_scenes_names_them(tmp_path):
    write_scene(tmp_path / "bat")
    with pytest.raises(MissingFileError, match="transforms_train.json.*bat do: give one of those"):
        parse(tmp_path)


def test_no_training_file(tmp_path):
    (write_scene(tmp_path) / "transforms_train.json").unlink()
    with pytest.raises(EmptySplitError, match="holds the training frames"):
        parse(tmp_path)


def test_windows_separators_are_accepted(tmp_path):
    def backslashes(content):
        for entry in content["frames"]:
            entry["file_path"] = ".\\" + entry["file_path"].replace("/", "\\")

    edit(write_scene(tmp_path), backslashes, "transforms_train.json")
    assert parse(tmp_path).image_filenames[0] == tmp_path / "train" / "c00_f000.png"


def test_jpeg_and_upper_case_extensions(tmp_path):
    write_scene(tmp_path, mode="RGB")
    (tmp_path / "val" / "c04_f002.png").rename(tmp_path / "val" / "c04_f002.JPG")
    assert len(parse(tmp_path).image_filenames) == 36
