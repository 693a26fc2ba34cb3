"""Cameras of other tools, written as those tools write them."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dyn3d_ns.io.errors import DamagedFileError, MissingFileError, PoseError
from dyn3d_ns.io.trajectories import read_cameras

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
        ("0 1 2 3 0 0 0\n", DamagedFileError, "expected 8 numbers, got 7"),
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


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        read_cameras(tmp_path / "poses.txt")
    with pytest.raises(MissingFileError, match="COLMAP model"):
        read_cameras(tmp_path)
    (tmp_path / "transforms.json").write_text("{}")
    with pytest.raises(DamagedFileError, match="not a transforms"):
        read_cameras(tmp_path)
