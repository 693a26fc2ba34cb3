"""The Dynamic Object dataparser on synthetic layouts and on real scenes."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from scene_files import ANGLE_X, camera_pose, frame, write_image, write_json, write_scene

from dyn3d_ns.dataparsers.dynamic_object import DynamicObjectDataParserConfig
from dyn3d_ns.io.errors import DatasetError, EmptySplitError
from dyn3d_ns.io.ply import write_points
from dyn3d_ns.io.scene_metadata import scene_of


def parse(data, split="test", **options):
    return DynamicObjectDataParserConfig(data=data, **options).setup().get_dataparser_outputs(split)


def signature(outputs):
    """Return what identifies the frames of an output, whatever files they came from."""
    cameras = outputs.cameras
    rows = zip(cameras.times.flatten().tolist(), cameras.camera_to_worlds[:, :3, 3].tolist(), strict=True)
    splits = scene_of(outputs.metadata).splits
    return sorted((s, round(t, 5), *(round(x, 4) for x in p)) for s, (t, p) in zip(splits, rows, strict=True))


@pytest.mark.parametrize("merged", [False, True])
def test_sixty_frame_protocol(tmp_path, merged):
    """Five cameras, four of them training: 4 x 46 train, 46 interp, 5 x 14 future in both releases."""
    write_scene(tmp_path, cameras=5, frames=60, observed=46, merged=merged)
    parser = DynamicObjectDataParserConfig(data=tmp_path).setup()
    counts = Counter(
        s for name in ("train", "test") for s in scene_of(parser.get_dataparser_outputs(name).metadata).splits
    )
    assert counts == {"train": 4 * 46, "interp": 46, "future": 5 * 14}
    timeline = scene_of(parser.get_dataparser_outputs("train").metadata).timeline
    assert timeline.t_obs == pytest.approx(0.75)
    assert timeline.num_frames == 60
    assert set(scene_of(parser.get_dataparser_outputs("val").metadata).splits) == {"interp"}


def test_merged_and_separate_files_give_the_same_frames(tmp_path):
    separate = parse(write_scene(tmp_path / "a"))
    merged = parse(write_scene(tmp_path / "b", merged=True))
    assert signature(separate) == signature(merged)
    assert Counter(scene_of(separate.metadata).source_files) == {"val": 9, "test": 15}
    assert Counter(scene_of(merged.metadata).source_files) == {"test": 24}


def test_files_with_other_names_and_folders_give_the_same_frames(tmp_path):
    expected = signature(parse(write_scene(tmp_path / "a")))
    other = write_scene(tmp_path / "b")
    (other / "transforms_val.json").rename(other / "transforms_interp.json")
    (other / "transforms_test.json").rename(other / "transforms_future.json")
    assert signature(parse(other)) == expected
    folders = write_scene(tmp_path / "c")
    for name in ("train", "val", "test"):
        (folders / f"transforms_{name}.json").rename(folders / name / "transforms.json")
    assert signature(parse(folders)) == expected
    (folders / "transforms_render.json").write_text("{}")
    with pytest.raises(DatasetError):
        parse(folders)


def test_swapped_names_do_not_change_splits(tmp_path):
    """The releases disagree on which of val and test is which; times and poses decide."""
    expected = signature(parse(write_scene(tmp_path / "a")))
    swapped = write_scene(tmp_path / "b")
    (swapped / "transforms_val.json").rename(swapped / "x.json")
    (swapped / "transforms_test.json").rename(swapped / "transforms_val.json")
    (swapped / "x.json").rename(swapped / "transforms_test.json")
    assert signature(parse(swapped)) == expected


def test_frames_listed_twice_count_once(tmp_path):
    expected = signature(parse(write_scene(tmp_path)))
    test, val = (json.loads((tmp_path / f"transforms_{n}.json").read_text()) for n in ("test", "val"))
    train = json.loads((tmp_path / "transforms_train.json").read_text())
    test["frames"] += val["frames"] + train["frames"][:7]
    write_json(tmp_path / "transforms_test.json", test)
    assert signature(parse(tmp_path)) == expected


def test_per_camera_form(tmp_path):
    data = {}
    for c in range(3):
        entries = []
        for f in range(5):
            write_image(tmp_path / f"cam{c}" / f"{f}.png")
            entries.append({"file_path": f"cam{c}\\{f}"})
        data[f"cam{c}"] = {"transform_matrix": camera_pose(c).tolist(), "frames": entries}
    write_json(tmp_path / "transforms_train.json", {"camera_angle_x": ANGLE_X, "data": data})
    outputs = parse(tmp_path, "train", t_obs=0.5)
    assert outputs.cameras.times.flatten().tolist() == [0.0, 0.25, 0.5] * 3
    assert scene_of(outputs.metadata).camera_ids.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert scene_of(parse(tmp_path, "test", t_obs=0.5).metadata).splits == ["future"] * 6


def test_missing_time_is_zero(tmp_path):
    for c in range(3):
        write_image(tmp_path / f"{c}.png")
    frames = [frame(f"{c}.png", camera_pose(c), None) for c in range(3)]
    write_json(tmp_path / "transforms.json", {"camera_angle_x": ANGLE_X, "frames": frames})
    outputs = parse(tmp_path, "test", hold_out_cameras=(1,))
    assert outputs.cameras.times.tolist() == [[0.0]]
    assert scene_of(outputs.metadata).splits == ["interp"]


def test_given_t_obs_turns_training_frames_into_future(tmp_path):
    write_scene(tmp_path)
    outputs = parse(tmp_path, "test", t_obs=0.5)
    assert Counter(scene_of(outputs.metadata).splits) == {"interp": 7, "future": 5 * 5}
    assert len(parse(tmp_path, "train", t_obs=0.5).image_filenames) == 4 * 7


def test_camera_ids_agree_between_splits(tmp_path):
    write_scene(tmp_path)
    by_id = {}
    for split in ("train", "test"):
        outputs = parse(tmp_path, split)
        for i, pose in zip(
            scene_of(outputs.metadata).camera_ids.tolist(), outputs.cameras.camera_to_worlds, strict=True
        ):
            torch.testing.assert_close(by_id.setdefault(i, pose), pose)
    assert sorted(by_id) == [0, 1, 2, 3, 4]


def test_intrinsics_and_downscale(tmp_path):
    write_scene(tmp_path)
    content = json.loads((tmp_path / "transforms_train.json").read_text())
    full = parse(tmp_path, "train").cameras[0]
    assert full.fx.item() == pytest.approx(0.5 * 16 / np.tan(0.5 * ANGLE_X), rel=1e-6)
    assert (full.cx.item(), full.cy.item(), full.width.item(), full.height.item()) == (8, 6, 16, 12)
    content |= {"fl_x": 20.0, "fl_y": 21.0, "cx": 7.0, "cy": 5.0, "w": 16, "h": 12}
    write_json(tmp_path / "transforms_train.json", content)
    half = parse(tmp_path, "train", downscale_factor=2).cameras[0]
    assert [x.item() for x in (half.fx, half.fy, half.cx, half.cy)] == [10.0, 10.5, 3.5, 2.5]
    assert (half.width.item(), half.height.item()) == (8, 6)
    with pytest.raises(DatasetError, match="at least 1"):
        parse(tmp_path, downscale_factor=0.5)


def test_object_box_follows_view_cones(tmp_path):
    outputs = parse(write_scene(tmp_path))
    distance = 4.0 * np.sqrt(1.25)
    radius = 1.15 * distance * np.tan(0.5 * ANGLE_X)
    np.testing.assert_allclose(outputs.scene_box.aabb, [[-radius] * 3, [radius] * 3], atol=0.02)
    assert scene_of(outputs.metadata).has_alpha
    box = (-1.0, -2.0, -3.0, 1.0, 2.0, 3.0)
    given = parse(tmp_path, scene_box=box)
    assert given.scene_box.aabb.flatten().tolist() == list(box)
    with pytest.raises(DatasetError, match="minimum first"):
        parse(tmp_path, scene_box=(1.0, *box[1:]))


def test_opaque_scene_has_a_box_around_its_cameras(tmp_path):
    outputs = parse(write_scene(tmp_path, mode="RGB"), "train")
    assert not scene_of(outputs.metadata).has_alpha
    assert outputs.scene_box.within(outputs.cameras.camera_to_worlds[:, :3, 3]).all()


def test_point_cloud_is_read_and_bounds_the_scene(tmp_path):
    write_scene(tmp_path)
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-0.5, 0.7, (4000, 3)).astype(np.float32)
    write_points(tmp_path / "points3d.ply", xyz, np.full((4000, 3), 7, np.uint8))
    outputs = parse(tmp_path, "train")
    np.testing.assert_array_equal(outputs.metadata["points3D_xyz"].numpy(), xyz)
    assert outputs.metadata["points3D_rgb"].dtype == torch.uint8
    np.testing.assert_allclose(outputs.scene_box.aabb, [[-0.62] * 3, [0.82] * 3], atol=0.03)
    assert "points3D_xyz" not in parse(tmp_path, "train", load_points=False).metadata


@pytest.mark.parametrize(
    ("name", "counts", "sources", "cameras", "t_obs", "alpha"),
    [
        (
            "fan-and-ball",
            {"train": 552, "interp": 138, "future": 210},
            {"val": 138, "test": 210},
            15,
            0.75,
            True,
        ),
        ("room", {"train": 253, "interp": 69, "future": 98}, {"val": 69, "test": 98}, 14, 22 / 30, False),
        ("dnerf_lego", {"train": 50, "interp": 31}, {"val": 11, "test": 20}, 71, 1.0, True),
    ],
)
def test_real_scenes(shared_data, name, counts, sources, cameras, t_obs, alpha):
    parser = DynamicObjectDataParserConfig(data=shared_data / name).setup()
    train, test = (parser.get_dataparser_outputs(s) for s in ("train", "test"))
    assert Counter(scene_of(train.metadata).splits + scene_of(test.metadata).splits) == counts
    assert Counter(scene_of(test.metadata).source_files) == sources
    assert scene_of(train.metadata).timeline.t_obs == pytest.approx(t_obs)
    assert scene_of(train.metadata).has_alpha == alpha
    ids = torch.cat((scene_of(train.metadata).camera_ids, scene_of(test.metadata).camera_ids))
    assert len(ids.unique()) == cameras
    assert train.cameras.times.max() <= t_obs + 1e-6


def test_room_box_holds_the_room(shared_data):
    aabb = parse(shared_data / "room", "train").scene_box.aabb
    assert (aabb[0, :2] < -3).all() and (aabb[1, :2] > 3).all() and aabb[0, 2] < 0
    assert (aabb.abs() < 7).all()


def test_training_only_scene_says_how_to_hold_frames_back(tmp_path):
    write_scene(tmp_path, cameras=1, frames=6, observed=6)
    (tmp_path / "transforms_val.json").rename(tmp_path / "transforms_train.json")
    with pytest.raises(EmptySplitError, match="--hold-out-cameras"):
        parse(tmp_path, "train")
    with pytest.raises(EmptySplitError, match="all training cameras"):
        parse(tmp_path, "train", hold_out_cameras=(0,))
    assert scene_of(parse(tmp_path, "val", t_obs=0.5).metadata).splits == ["future"] * 2
