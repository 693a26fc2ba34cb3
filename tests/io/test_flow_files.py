"""Flow, depth and camera files: what someone else wrote is read, what is damaged is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.io.errors import DamagedFileError, MissingFileError
from dyn3d_ns.io.flow_files import read_flo, read_flow_npz, write_flo, write_flow_npz
from dyn3d_ns.io.ground_truth import read_cam, read_dpt
from tests.sintel_files import write_cam, write_dpt


@pytest.fixture
def flow() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, 7, 2)).astype(np.float32) * 9


def test_flo_is_the_middlebury_format(tmp_path: Path, flow: np.ndarray) -> None:
    import cv2

    write_flo(tmp_path / "ours.flo", flow)
    assert np.array_equal(cv2.readOpticalFlow(str(tmp_path / "ours.flo")), flow)
    cv2.writeOpticalFlow(str(tmp_path / "theirs.flo"), flow)
    assert np.array_equal(read_flo(tmp_path / "theirs.flo"), flow)


def test_npz_keeps_flow_to_half_precision_and_the_mask(tmp_path: Path, flow: np.ndarray) -> None:
    valid = np.arange(35).reshape(5, 7) % 3 == 0
    write_flow_npz(tmp_path / "f.npz", flow, valid)
    back, mask = read_flow_npz(tmp_path / "f.npz")
    assert back.dtype == np.float32 and np.abs(back - flow).max() < 0.02
    assert np.array_equal(mask, valid)


def test_sintel_files_go_there_and_back(tmp_path: Path) -> None:
    depth = np.random.default_rng(1).uniform(1, 9, (4, 6)).astype(np.float32)
    write_dpt(tmp_path / "d.dpt", depth)
    assert np.array_equal(read_dpt(tmp_path / "d.dpt"), depth)
    K, pose = np.diag([500.0, 510.0, 1.0]), np.random.default_rng(2).normal(size=(3, 4))
    write_cam(tmp_path / "c.cam", K, pose)
    K_back, pose_back = read_cam(tmp_path / "c.cam")
    assert np.array_equal(K_back, K) and np.array_equal(pose_back, pose)


def test_files_of_walk_fit_together(shared_data: Path) -> None:
    """The exact flow of a static point follows from depth and cameras."""
    scene = shared_data / "walk/training"
    depth = read_dpt(scene / "depth/walk_1/frame_0005.dpt")
    K, a = read_cam(scene / "camdata_left/walk_1/frame_0005.cam")
    _, b = read_cam(scene / "camdata_left/walk_1/frame_0006.cam")
    flow = read_flo(scene / "flow/walk_1/frame_0005.flo")
    y, x = 130, 20
    point = a[:, :3].T @ (np.linalg.inv(K) @ [x, y, 1] * depth[y, x] - a[:, 3])
    there = K @ (b[:, :3] @ point + b[:, 3])
    assert np.abs(there[:2] / there[2] - (x, y) - flow[y, x]).max() < 0.02


@pytest.mark.parametrize("read", [read_flo, read_flow_npz, read_dpt, read_cam])
def test_missing_and_damaged_files_are_named(tmp_path: Path, read) -> None:  # noqa: ANN001
    with pytest.raises(MissingFileError, match="gone"):
        read(tmp_path / "gone")
    (tmp_path / "text").write_text("not this at all, but long enough to hold a header")
    with pytest.raises(DamagedFileError, match="text"):
        read(tmp_path / "text")


def test_truncated_files_are_refused(tmp_path: Path, flow: np.ndarray) -> None:
    write_flo(tmp_path / "a.flo", flow)
    write_dpt(tmp_path / "a.dpt", flow[..., 0])
    write_cam(tmp_path / "a.cam", np.eye(3), np.eye(4)[:3])
    for name, read in (("a.flo", read_flo), ("a.dpt", read_dpt), ("a.cam", read_cam)):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-3])
        with pytest.raises(DamagedFileError, match="bytes"):
            read(path)


def test_a_flow_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\[H, W, 2\]"):
        write_flo(tmp_path / "f.flo", np.zeros((4, 5, 3), np.float32))
    np.savez(tmp_path / "f.npz", flow=np.zeros((4, 5, 2)), valid=np.zeros((5, 4)))
    with pytest.raises(DamagedFileError, match=r"\(4, 5, 2\)"):
        read_flow_npz(tmp_path / "f.npz")
