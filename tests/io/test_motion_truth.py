"""The true motion of objects that bend: a sheet that stretches, whose velocity is known in closed form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scene_files import ANGLE_X, frame, write_image, write_json

from dyn3d_ns.io.errors import DamagedFileError, DatasetError, MissingFileError
from dyn3d_ns.io.motion_truth import load_motion_ground_truth, sample_surfaces, true_velocities
from dyn3d_ns.metrics.motion import motion_error

STRETCH = np.array([[0.5, 0.0, 0.0], [0.0, -0.25, 0.0], [1.0, 2.0, 0.0]])
"""Gradient of the sheet's velocity: no rotation."""
SHIFT = np.array([0.1, 0.0, 3.0])
SHEET = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
BELOW = np.array([[0.5, 0.5, -0.4], [0.7, 0.5, -0.4], [0.5, 0.7, -0.4]])
"""A triangle of the same object that is nearer by its corners and centre, but not by its surface."""
GROWS = (1.0, 1.5)
SIDES = np.tile(np.eye(4), (2, 1, 1))
PUSH = np.zeros((2, 4, 4))
PUSH[:, 1, 3] = 7.0


def velocity(points: np.ndarray) -> np.ndarray:
    return points @ STRETCH.T + SHIFT


def arrays() -> dict[str, np.ndarray]:
    """Return the contents of the sheet's file."""
    vertices = np.stack([np.concatenate((SHEET * grows, BELOW)) for grows in GROWS])
    velocities = velocity(vertices)
    velocities[:, 4:] = 50.0
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [6, 6, 5]], np.int32)  # the last has no area
    times = np.array([0.0, 0.5])
    return {
        "vertices": vertices.astype(np.float32),
        "velocity": velocities.astype(np.float32),
        "faces": faces,
        "rest": vertices[0],
        "times": times,
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write a scene seen from above: the sheet in the middle, something pushed around it."""
    pose = np.eye(4)
    pose[2, 3] = 4.0
    write_image(tmp_path / "train/c0_f0.png")
    frames = [frame("train/c0_f0", pose, 0.0), frame("train/c0_f1", pose, 0.5)]
    write_image(tmp_path / "train/c0_f1.png")
    write_json(tmp_path / "transforms_train.json", {"camera_angle_x": ANGLE_X, "frames": frames})
    truth = tmp_path / "ground_truth"
    labels = np.full((12, 16), 2, np.uint8)
    labels[3:9, 5:11] = 1
    for name in ("depth", "object_id"):
        (truth / name).mkdir(parents=True)
    for i in range(2):
        np.savez_compressed(truth / f"depth/c0_f{i}.npz", depth=np.full((12, 16), 4, np.float16))
        Image.fromarray(labels).save(truth / f"object_id/c0_f{i}.png")
    np.savez_compressed(truth / "sheet_vertices.npz", **arrays())
    rest = (0 * PUSH).tolist()
    objects = [
        {"name": "sheet", "pass_index": 1, "object_to_world": SIDES.tolist(), "twist": rest},
        {"name": "block", "pass_index": 2, "object_to_world": SIDES.tolist(), "twist": PUSH.tolist()},
    ]
    content = {"times": [0.0, 0.5], "objects": objects, "deforming": {"sheet": "it stretches"}}
    write_json(truth / "motion.json", content)
    return tmp_path


def test_what_bends_has_the_velocity_of_its_nearest_triangle(root: Path) -> None:
    gt = load_motion_ground_truth(root / "ground_truth/motion.json")
    first, second = sample_surfaces(gt)
    sheet = first.labels == 1
    assert sheet.sum() == 36 and np.ptp(first.points[sheet][:, 0]) > 1
    np.testing.assert_allclose(first.velocities[sheet], velocity(first.points[sheet]), atol=1e-5)
    np.testing.assert_allclose(second.velocities[sheet], velocity(second.points[sheet]), atol=1e-5)
    np.testing.assert_array_equal(first.velocities[~sheet], np.tile([0.0, 7.0, 0.0], (192 - 36, 1)))


def test_the_mesh_is_that_of_the_time(root: Path) -> None:
    """Far out only the grown sheet is near, and its corners' velocities reach as far as it does."""
    gt = load_motion_ground_truth(root / "ground_truth/motion.json", duration=0.5)
    points = np.array([[1.4, 1.3, 0.0], [-1.2, 0.1, 0.0]])
    found = true_velocities(gt, points, np.array([1, 1]), time=1.0)
    np.testing.assert_allclose(found, 0.5 * velocity(points), atol=1e-5)
    assert true_velocities(gt, np.zeros((0, 3)), np.zeros(0, int), time=1.0).shape == (0, 3)


def test_an_object_that_only_bends_counts_as_moving(root: Path) -> None:
    gt = load_motion_ground_truth(root / "ground_truth/motion.json")
    samples = sample_surfaces(gt, max_static=1)

    def slow(points: torch.Tensor, time: float) -> torch.Tensor:
        return 0.9 * torch.from_numpy(velocity(points.numpy())).float()

    sheet = motion_error(slow, gt, samples, t_obs=1.0)["observed"]["objects"]["sheet"]
    assert sheet["points"] == 72 and sheet["relative_epe"] == pytest.approx(0.1, rel=1e-4)


def test_a_mesh_of_another_scene_is_refused(root: Path) -> None:
    path = root / "ground_truth/sheet_vertices.npz"
    content = arrays()
    content["vertices"][..., 2] += 0.5
    np.savez_compressed(path, **content)
    with pytest.raises(DatasetError, match=r"sheet_vertices.npz .* lies 0.5 beside the surface"):
        sample_surfaces(load_motion_ground_truth(root / "ground_truth/motion.json"))


def changed(name: str, value: Any) -> dict[str, Any]:
    return {**arrays(), name: value}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"vertices": np.zeros((2, 7, 3))}, "must hold the arrays vertices, velocity, faces, times"),
        (changed("velocity", np.zeros((2, 6, 3))), r"\(2, 6, 3\) must be \(2, V, 3\) both"),
        (changed("vertices", np.zeros((3, 7, 3))), "as motion.json has 2 times"),
        (changed("times", np.array([0.0, np.nan])), "its times are not those of motion.json"),
        (changed("velocity", np.full((2, 7, 3), np.inf)), "must be finite"),
        (changed("faces", np.zeros((4, 3))), r"whole numbers, got float64 \(4, 3\)"),
        (changed("faces", np.zeros((0, 3), int)), r"whole numbers, got int64 \(0, 3\)"),
        (changed("faces", np.array([[0, 1, 7]])), "name vertices 0 to 7, but there are 7"),
        (changed("faces", np.array([[0, 1, -1]])), "name vertices -1 to 1"),
        (changed("faces", np.array([["a", "b", "c"]])), "faces must hold numbers"),
    ],
)
def test_damaged_vertices_are_one_sentence(root: Path, content: dict[str, Any], message: str) -> None:
    path = root / "ground_truth/sheet_vertices.npz"
    np.savez_compressed(path, **content)
    with pytest.raises(DamagedFileError, match=rf"sheet_vertices.npz.*{message}"):
        load_motion_ground_truth(root / "ground_truth/motion.json")


def test_missing_cut_off_and_unknown_vertices(root: Path) -> None:
    motion, path = root / "ground_truth/motion.json", root / "ground_truth/sheet_vertices.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DamagedFileError, match="sheet_vertices.npz must hold .* restore the original"):
        load_motion_ground_truth(motion)
    path.unlink()
    with pytest.raises(MissingFileError, match="sheet_vertices.npz does not exist, though motion.json lists"):
        load_motion_ground_truth(motion)
    motion.write_text(motion.read_text().replace('"deforming": {"sheet"', '"deforming": {"sail"'))
    with pytest.raises(DamagedFileError, match="lists sail as deforming, which is none of its objects"):
        load_motion_ground_truth(motion)


def test_eel_and_flag_are_measured(shared_data: Path) -> None:
    """The places of the eel's points a frame later, carried by their velocities, lie on its mesh again."""
    gt = load_motion_ground_truth(shared_data / "aviary/ground_truth/motion.json")
    eel, flag = (next(o for o in gt.objects if o.name == name) for name in ("eel", "flag"))
    sample = next(s for s in sample_surfaces(gt, max_static=10) if s.time == gt.times[20])
    for o, least in ((eel, 1.0), (flag, 0.1)):
        mine = sample.labels == o.pass_index
        speeds = np.linalg.norm(sample.velocities[mine], axis=1)
        assert mine.sum() > 500 and speeds.mean() > least
        assert o.mesh is not None
        carried = sample.points[mine] + sample.velocities[mine] / 60
        still = np.median(distances(o.mesh.vertices[21], o.mesh.faces, sample.points[mine]))
        assert np.median(distances(o.mesh.vertices[21], o.mesh.faces, carried)) < 0.25 * still


def distances(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray) -> np.ndarray:
    from trimesh import Trimesh
    from trimesh.proximity import closest_point

    return closest_point(Trimesh(vertices, faces, process=False), points)[1]
