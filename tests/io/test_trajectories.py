"""Cameras of other tools, written as those tools write them."""

import gzip
import json
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from scipy.spatial.transform import Rotation

import dyn3d_ns
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, MissingFileError, PoseError
from dyn3d_ns.io.trajectories import camera_files, read_cameras

ROTATIONS = Rotation.from_rotvec([[0.1, 0.2, -0.3], [0.0, 0.5, 0.1], [0.3, 0.0, 0.2]])
POSITIONS = np.array([[0.0, 1.0, 2.0], [0.5, 1.0, 2.0], [1.0, 1.5, 2.5]])
K = np.array([[200.0, 0, 79.5], [0, 210.0, 59.5], [0, 0, 1.0]])


def check(poses: np.ndarray) -> None:
    np.testing.assert_allclose(poses[:, :3, :3], ROTATIONS.as_matrix(), atol=1e-6)
    np.testing.assert_allclose(poses[:, :3, 3], POSITIONS, atol=1e-6)


def lines(quaternions: np.ndarray) -> str:
    rows = [(i, *p, *q) for i, (p, q) in enumerate(zip(POSITIONS, quaternions, strict=True))]
    return "# time x y z q\n" + "\n".join(" ".join(f"{v:.9f}" for v in row) for row in rows) + "\n"


def test_tum(tmp_path: Path) -> None:
    (tmp_path / "poses.txt").write_text(lines(ROTATIONS.as_quat()))
    found = read_cameras(tmp_path / "poses.txt")
    check(found.camera_to_worlds)
    assert found.Ks is None


def test_named_columns_say_where_the_scalar_is(tmp_path: Path) -> None:
    """EuRoC's and Nerfstudio's ways to call them."""
    for name in ("q_RS_w [], q_RS_x [], q_RS_y [], q_RS_z []", "qw, qx, qy, qz"):
        text = lines(ROTATIONS.as_quat()[:, [3, 0, 1, 2]]).replace("time x y z q", f"t, x, y, z, {name}")
        (tmp_path / "data.csv").write_text(text)
        check(read_cameras(tmp_path / "data.csv").camera_to_worlds)


def test_das3r_has_its_scalar_first_and_intrinsics_beside(tmp_path: Path) -> None:
    (tmp_path / "pred_traj.txt").write_text(lines(ROTATIONS.as_quat()[:, [3, 0, 1, 2]]))
    (tmp_path / "pred_intrinsics.txt").write_text("\n".join(" ".join(map(str, K.ravel())) for _ in range(3)))
    found = read_cameras(tmp_path / "pred_traj.txt")
    check(found.camera_to_worlds)
    assert found.Ks is not None
    np.testing.assert_allclose(found.Ks, np.tile(K, (3, 1, 1)))


def test_transforms_json(tmp_path: Path) -> None:
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = ROTATIONS.as_matrix(), POSITIONS
    opengl = poses * np.array([1.0, -1.0, -1.0, 1.0])
    frames = [
        {"file_path": f"{9 - i}.png", "time": i / 2, "transform_matrix": opengl[i].tolist()}
        for i in (2, 0, 1)
    ]
    content = {"w": 160, "h": 120, "fl_x": 200.0, "fl_y": 210.0, "cx": 80.0, "cy": 60.0, "frames": frames}
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    found = read_cameras(tmp_path)
    check(found.camera_to_worlds)
    assert found.Ks is not None and found.sizes is not None
    np.testing.assert_allclose(found.Ks[1], K)
    np.testing.assert_allclose(found.sizes[2], (160, 120))
    for stated in ({"fl_y": 210.0}, {"camera_angle_y": 2 * np.arctan(60 / 210)}):
        (tmp_path / "transforms.json").write_text(
            json.dumps({"w": 160, "h": 120, **stated, "frames": frames})
        )
        Ks = read_cameras(tmp_path).Ks
        assert Ks is not None
        np.testing.assert_allclose(Ks[0], [[210, 0, 79.5], [0, 210, 59.5], [0, 0, 1]])
    (tmp_path / "transforms.json").write_text(json.dumps({"camera_angle_y": 1.0, "frames": frames}))
    with pytest.raises(DamagedFileError, match="camera_angle_y without w and h"):
        read_cameras(tmp_path)


def test_colmap_text_model(tmp_path: Path) -> None:
    model = tmp_path / "sparse" / "0"
    model.mkdir(parents=True)
    (model / "cameras.txt").write_text("1 PINHOLE 160 120 200 210 80 60\n")
    rows = []
    for i in range(3):
        inverse = ROTATIONS[i].inv()
        q, t = inverse.as_quat()[[3, 0, 1, 2]], -inverse.apply(POSITIONS[i])
        rows.append(" ".join(map(str, (i + 1, *q, *t, 1, f"{i}.png"))) + "\n\n")
    (model / "images.txt").write_text("".join(reversed(rows)))
    (model / "points3D.txt").write_text("")
    found = read_cameras(tmp_path)
    check(found.camera_to_worlds)
    assert found.Ks is not None
    np.testing.assert_allclose(found.Ks[0], K)


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        ("0 1 2 3 0 0 0\n", DamagedFileError, "expected 8 or 12 .* numbers, got 7"),
        ("0 1 2 3 0 0 0 one\n", DamagedFileError, "line 1"),
        ("# nothing\n", DamagedFileError, "no pose"),
        ("0 1 2 3 0 0 0 0\n", PoseError, "quaternion is zero"),
        ("0 nan 2 3 0 0 0 1\n", PoseError, "pose 0 is not finite"),
    ],
)
def test_damaged_trajectories(tmp_path: Path, content: str, error: type[Exception], says: str) -> None:
    (tmp_path / "poses.txt").write_text(content)
    with pytest.raises(error, match=says):
        read_cameras(tmp_path / "poses.txt")


@pytest.mark.parametrize("columns", [12, 13, 16, 17])
def test_matrices_line_by_line(tmp_path: Path, columns: int) -> None:
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = ROTATIONS.as_matrix(), POSITIONS
    rows = poses[:, : 4 if columns > 13 else 3].reshape(3, -1)
    if columns % 2:
        rows = np.concatenate([[[7], [9], [11]], rows], axis=1)
    np.savetxt(tmp_path / "poses.txt", rows)
    found = read_cameras(tmp_path / "poses.txt")
    check(found.camera_to_worlds)
    if columns % 2:
        assert found.labels.numbers is not None and found.labels.numbers.tolist() == [7, 9, 11]
    else:
        assert found.labels.numbers is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gz", "commas", "header", "unnormalised"])
def test_ways_to_write_a_text(tmp_path: Path, encoding: str) -> None:
    text, path = lines(ROTATIONS.as_quat()), tmp_path / "poses.txt"
    if encoding == "unnormalised":
        path.write_text(lines(3 * ROTATIONS.as_quat()))
    elif encoding == "gz":
        path = tmp_path / "pred_traj.txt.gz"
        path.write_bytes(gzip.compress(lines(ROTATIONS.as_quat()[:, [3, 0, 1, 2]]).encode()))
    elif encoding == "commas":
        path.write_text(text.replace(" ", ", ").replace("\n", ",\r\n"))
    elif encoding == "header":
        # Whoever names the columns knows their order.
        other = lines(ROTATIONS.as_quat()[:, [3, 0, 1, 2]]).split("\n", 1)[1]
        path.write_text("timestamp tx ty tz qw qx qy qz\n" + other)
    else:
        path.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    check(read_cameras(path).camera_to_worlds)


def test_scale_in_a_rotation_and_no_focal_length_are_refused(tmp_path: Path) -> None:
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[1, :3, :3] *= 1.2
    np.savetxt(tmp_path / "poses.txt", poses[:, :3].reshape(3, -1))
    with pytest.raises(PoseError, match="pose 1 is no rotation with a place; divide a scale"):
        read_cameras(tmp_path / "poses.txt")
    (tmp_path / "pred_traj.txt").write_text(lines(ROTATIONS.as_quat()))
    np.savetxt(tmp_path / "pred_intrinsics.txt", np.eye(3).reshape(1, -1) * [0, 1, 1, 1, 1, 1, 1, 1, 1])
    with pytest.raises(PoseError, match="without a focal length"):
        read_cameras(tmp_path)


def test_a_transforms_json_of_windows(tmp_path: Path) -> None:
    frames = [
        {"file_path": f"images\\f{i}.png", "transform_matrix": np.eye(4).tolist(), "k1": 0.1 * i}
        for i in (10, 9)
    ]
    content = {"camera_angle_x": 0.9, "camera_model": "OPENCV", "frames": frames}
    (tmp_path / "transforms.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(content).encode())
    found = read_cameras(tmp_path)
    assert found.labels.names == ("images/f9.png", "images/f10.png")
    assert found.lenses is not None and found.lenses[1].coefficients[0] == pytest.approx(1.0)
    assert found.angles is not None and found.angles.tolist() == [0.9, 0.9]
    content["frames"][0]["fl_x"] = content["frames"][1]["fl_x"] = 90
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    with pytest.raises(DamagedFileError, match="states fl_x, but neither w and h"):
        read_cameras(tmp_path)
    (tmp_path / "transforms.json").write_text(json.dumps({**content, "camera_model": "EQUIRECTANGULAR"}))
    with pytest.raises(DatasetError, match="EQUIRECTANGULAR"):
        read_cameras(tmp_path / "transforms.json")


def poses_44() -> np.ndarray:
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = ROTATIONS.as_matrix(), POSITIONS
    return poses


@pytest.mark.parametrize(
    "arrays",
    [
        {"cam_c2w": poses_44(), "intrinsic": K, "depths": np.ones((3, 120, 160), np.float16)},
        {"extrinsic": np.linalg.inv(poses_44())[None, :, :3], "intrinsic": np.tile(K, (1, 3, 1, 1))},
        {"poses": poses_44(), "intrinsics": np.tile(K, (3, 1, 1)), "registered": np.ones(3, bool)},
        {"c2w": poses_44()[:, :3].astype(np.float32), "names": np.array(["a.png", "b.png", "c.png"])},
    ],
)
def test_archives_of_arrays(tmp_path: Path, arrays: dict) -> None:
    np.savez(tmp_path / "cameras.npz", **arrays)
    found = read_cameras(tmp_path / "cameras.npz")
    check(found.camera_to_worlds)
    if "c2w" in arrays:
        assert found.Ks is None and found.labels.names == ("a.png", "b.png", "c.png")
    else:
        assert found.Ks is not None
        np.testing.assert_allclose(found.Ks, np.tile(K, (3, 1, 1)))
    assert (found.sizes is not None) == ("depths" in arrays)


def test_an_archive_a_frame(tmp_path: Path) -> None:
    for i, pose in enumerate(poses_44()):
        np.savez(tmp_path / f"{8 + i}.npz", pose=pose, intrinsics=K)
    found = read_cameras(tmp_path)
    check(found.camera_to_worlds)
    assert found.labels.names == ("8.npz", "9.npz", "10.npz")
    np.savez(tmp_path / "8.npz", c2w=poses_44(), focal=200.0)
    assert "not read: focal" in "".join(read_cameras(tmp_path / "8.npz").notes)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"poses": np.zeros((3, 7)), "intrinsics": np.zeros((3, 4))}, r"holds poses \[3, 7\].*cam_c2w"),
        ({"poses": poses_44(), "K": K}, "cam_c2w"),
        ({"cam_c2w": np.array([{"a": 1}], dtype=object)}, "is pickled"),
        ({"cam_c2w": poses_44(), "intrinsic": np.zeros((2, 3, 3))}, "intrinsic"),
        ({"disps": np.ones((3, 4, 4))}, "cam_c2w"),
    ],
)
def test_arrays_that_do_not_say_what_they_are(tmp_path: Path, arrays: dict, says: str) -> None:
    np.savez(tmp_path / "cameras.npz", **arrays)
    with pytest.raises(DamagedFileError, match=says):
        read_cameras(tmp_path / "cameras.npz")
    (tmp_path / "cameras.npz").write_bytes((tmp_path / "cameras.npz").read_bytes()[:-30])
    with pytest.raises(DamagedFileError, match=r"not a readable \.npz"):
        read_cameras(tmp_path / "cameras.npz")


def write_model(folder: Path, names: list[str], camera: str = "PINHOLE 160 120 200 210 80 60") -> None:
    folder.mkdir(parents=True)
    (folder / "cameras.txt").write_text(f"1 {camera}\n")
    rows = [f"{i + 1} 1 0 0 0 {i} 0 0 1 {name}\n\n" for i, name in enumerate(names)]
    (folder / "images.txt").write_text("".join(rows))
    (folder / "points3D.txt").write_text("")


def test_the_names_of_a_model_are_in_natural_order_and_whole(tmp_path: Path) -> None:
    names = [f"my clip/f {i}.png" for i in (10, 9, 1)]
    write_model(tmp_path / "sparse/0", names)
    found = read_cameras(tmp_path)
    assert found.labels.names == ("my clip/f 1.png", "my clip/f 9.png", "my clip/f 10.png")
    assert found.camera_to_worlds[:, 0, 3].tolist() == [-2, -1, 0]
    assert camera_files(tmp_path) == [
        tmp_path / "sparse/0" / f"{name}.txt" for name in ("cameras", "images", "points3D")
    ]


def test_of_several_models_the_largest_is_taken(tmp_path: Path) -> None:
    write_model(tmp_path / "sparse/0", ["a1.png"])
    write_model(tmp_path / "sparse/1", ["b1.png", "b2.png"])
    found = read_cameras(tmp_path)
    assert found.labels.names == ("b1.png", "b2.png")
    assert found.notes[0].endswith("that with the most images, 1 (2), is taken; left out: 0 (1)")
    assert read_cameras(tmp_path / "sparse/0").labels.names == ("a1.png",)


@pytest.mark.parametrize(
    ("camera", "coefficients"),
    [
        ("SIMPLE_RADIAL 160 120 200 80 60 -0.2", (-0.2, 0, 0, 0)),
        ("OPENCV 160 120 200 210 80 60 0.1 0.2 0.3 0.4", (0.1, 0.2, 0.3, 0.4)),
        ("OPENCV_FISHEYE 160 120 200 210 80 60 0.1 0.2 0.3 0.4", (0.1, 0.2, 0.3, 0.4)),
        ("RADIAL_FISHEYE 160 120 200 80 60 0.1 0.2", (0.1, 0.2, 0, 0)),
        ("SIMPLE_PINHOLE 160 120 200 80 60", (0, 0, 0, 0)),
    ],
)
def test_lenses_of_models(tmp_path: Path, camera: str, coefficients: tuple[float, ...]) -> None:
    write_model(tmp_path / "model", ["a.png"], camera)
    found = read_cameras(tmp_path / "model")
    assert found.lenses is not None and found.Ks is not None
    assert found.lenses[0].coefficients[:4] == coefficients
    np.testing.assert_allclose(found.Ks[0, :2, 2], (79.5, 59.5))


@pytest.mark.parametrize(
    "camera",
    [
        "EUCM 160 120 200 210 80 60 0.5 1.0",
        "EQUIRECTANGULAR 160 80 160 80",
        "FOV 160 120 200 210 80 60 0.01",
        "DIVISION 160 120 200 210 80 60 0.1",
    ],
)
def test_models_that_are_not_read_are_named(tmp_path: Path, camera: str) -> None:
    write_model(tmp_path / "model", ["a.png"], camera)
    model = camera.split(maxsplit=1)[0]
    said = f"COLMAP's model {model}, .*colmap image_undistorter"
    if model not in pycolmap.CameraModelId.__members__:  # older ones know fewer
        said = "Camera model does not exist"
    with pytest.raises(DatasetError, match=said):
        read_cameras(tmp_path / "model")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        read_cameras(tmp_path / "poses.txt")
    with pytest.raises(MissingFileError, match="COLMAP model"):
        read_cameras(tmp_path)
    (tmp_path / "transforms.json").write_text("{}")
    with pytest.raises(DamagedFileError, match="not a transforms"):
        read_cameras(tmp_path)


def test_numpy_comes_before_pycolmap() -> None:
    """The wheel of pycolmap exports a zlib of its own: loaded first, it was seen to end processes later."""
    using = {path: path.read_text() for path in Path(dyn3d_ns.__file__).parent.rglob("*.py")}
    using = {path: text for path, text in using.items() if "import pycolmap" in text}
    assert len(using) >= 4
    for path, text in using.items():
        top = [line for line in text.splitlines() if line.startswith(("import ", "from "))]
        assert any(line.startswith("import numpy") for line in top), path
        assert not any(line.split()[1] == "pycolmap" for line in top), f"{path}: import it where it is used"


def test_the_lens_of_a_transforms_json_is_read_as_that_of_a_dataset(tmp_path: Path) -> None:
    frames = [{"file_path": f"{i}.png", "transform_matrix": np.eye(4).tolist()} for i in range(2)]
    frames[1]["distortion_params"] = [0.1, 0.0, 0.0, 0.0, 0.0, 0.0]
    content = {"fl_x": 50.0, "w": 64, "h": 48, "is_fisheye": True, "k1": 0.02, "frames": frames[:1]}
    path = tmp_path / "transforms.json"
    path.write_text(json.dumps(content))
    assert read_cameras(path).lenses[0].is_fisheye
    path.write_text(json.dumps({"fl_x": 50.0, "w": 64, "h": 48, "frames": frames}))
    plain, bent = read_cameras(path).lenses
    assert plain.model == "PINHOLE" and bent.model == "OPENCV" and bent.coefficients[0] == 0.1
    path.write_text(json.dumps({**content, "latlong": True}))
    with pytest.raises(DatasetError, match="`latlong` is a lens that is not read"):
        read_cameras(path)
