"""Lifting and fusing, against the cards whose place in the world is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.io.errors import MissingFileError, StageError
from dyn3d_ns.io.fused_4d import FusedScene, read_fused
from dyn3d_ns.io.ply import read_points
from dyn3d_ns.video.fuse.points import average_voxels, lift, majority, pick, reliable
from dyn3d_ns.video.fuse.settings import FuseSettings
from dyn3d_ns.video.fuse.stage import FuseStage
from tests.video.cards import MOVER, CardClip, QuietReport


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> tuple[CardClip, Path, FusedScene]:
    clip = CardClip(frames=5)
    workspace = clip.write(tmp_path_factory.mktemp("fuse") / "clip")
    FuseStage(FuseSettings()).run(workspace, QuietReport())
    return clip, workspace.root, read_fused(workspace.fused_path)


def test_static_points_lie_on_wall_and_pillar(fused: tuple[CardClip, Path, FusedScene]) -> None:
    _, _, scene = fused
    z = scene.static_points[:, 2]
    # A voxel may average points of one surface, never of two.
    assert (np.minimum(abs(z - 6), abs(z - 3)) < 1e-3).all()
    assert (abs(z - 3) < 1e-3).sum() > 100
    x = scene.static_points[abs(z - 3) < 1e-3][:, 0]
    assert -1.16 < x.min() < x.max() < -0.64, "where the pillar stands, whichever frame saw it"


def test_moving_points_follow_their_card(fused: tuple[CardClip, Path, FusedScene]) -> None:
    _, _, scene = fused
    for i in range(5):
        points, _, instances = scene.moving(i)
        assert set(instances.tolist()) == {1}
        center = np.array(MOVER.center) + i * np.array(MOVER.step)
        assert abs(points[:, :2].min(0) - (center[:2] - 0.45)).max() < 0.1
        assert abs(points[:, :2].max(0) - (center[:2] + 0.45)).max() < 0.1
        assert points[:, 2] == pytest.approx(4, abs=1e-3)


def test_tracks_are_lifted_with_their_objects(fused: tuple[CardClip, Path, FusedScene]) -> None:
    _, _, scene = fused
    moving = scene.traj_instance == 1
    assert moving.sum() >= 4
    assert (~moving).sum() > 50
    for path, seen in zip(scene.traj[moving], scene.traj_vis[moving], strict=True):
        steps = np.diff(path, axis=0)[seen[:-1] & seen[1:]]
        # Tracks are read at whole pixels of depth, but lifted at their own place.
        assert steps == pytest.approx(np.tile(MOVER.step, (len(steps), 1)), abs=0.02)
    still = scene.traj[~moving]
    seen = scene.traj_vis[~moving]
    spread = [np.ptp(path[s], axis=0).max() for path, s in zip(still, seen, strict=True)]
    assert np.median(spread) < 0.01


def test_ply_files(fused: tuple[CardClip, Path, FusedScene]) -> None:
    _, root, scene = fused
    folder = root / "dynamicBA/base/ply"
    assert len(read_points(folder / "static.ply").xyz) == len(scene.static_points)
    assert np.allclose(read_points(folder / "moving_00003.ply").xyz, scene.moving(3)[0], atol=1e-5)


def test_limits_and_object_colours(tmp_path: Path) -> None:
    workspace = CardClip(frames=3).write(tmp_path / "clip")
    settings = FuseSettings(
        max_static_points=50, max_moving_points=7, max_tracks=5, ply_colors="instance", voxel=0
    )
    FuseStage(settings).run(workspace, QuietReport())
    scene = read_fused(workspace.fused_path)
    assert len(scene.static_points) == 50
    assert np.diff(scene.dyn_offsets).tolist() == [7, 7, 7]
    assert len(scene.traj) <= 5
    painted = read_points(workspace.adjusted_dir / "ply/moving_00001.ply").rgb
    assert (painted == scene.instance_colors[1]).all()


def test_without_masks_everything_is_static(tmp_path: Path) -> None:
    workspace = CardClip(frames=2).write(tmp_path / "clip", "frames cameras depth")
    report = QuietReport()
    FuseStage(FuseSettings()).run(workspace, report)
    scene = read_fused(workspace.fused_path)
    assert any("no masks" in note for note in report.notes)
    assert len(scene.dyn_points) == 0
    assert scene.traj.shape == (0, 2, 3)


def test_unknown_depth_and_missing_parts(tmp_path: Path) -> None:
    clip = CardClip(frames=2)
    workspace = clip.write(tmp_path / "clip", "frames cameras masks")
    with pytest.raises(MissingFileError, match="stage `depth`"):
        FuseStage(FuseSettings()).run(workspace, QuietReport())
    workspace.write_depths((np.zeros_like(d) for d in clip.depths), 2)
    report = QuietReport()
    FuseStage(FuseSettings()).run(workspace, report)
    assert any("no static point has depth" in note for note in report.notes)
    workspace.write_depths((d[:10] for d in clip.depths), 2)
    with pytest.raises(StageError, match="differ in size"):
        FuseStage(FuseSettings()).run(workspace, QuietReport())


def test_lift_is_the_inverse_of_projection() -> None:
    K = np.array([[50.0, 0, 20], [0, 60.0, 15], [0, 0, 1]])
    turn = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn, [1, 2, 3]
    points = np.array([[4.0, 2.5, 2.5], [6.0, 1.0, 3.5]])
    seen = (points - pose[:3, 3]) @ turn
    pixels = seen @ K.T
    lifted = lift(pixels[:, :2] / pixels[:, 2:], seen[:, 2].astype(np.float32), K, pose)
    assert lifted == pytest.approx(points, abs=1e-5)


def test_edges_of_depth_are_not_reliable() -> None:
    depth = np.full((40, 40), 2.0, np.float32)
    depth[:, 20:] = 5.0
    depth[5, 5] = 0.0
    good = reliable(depth)
    assert not good[:, 19:21].any()
    assert good[10:, 25:].all()
    assert not good[5, 5]
    assert reliable(np.full((9, 9), 3.0, np.float32)).all()
    assert not reliable(np.zeros((9, 9), np.float32)).any()


def test_voxels_average_what_shares_a_cube() -> None:
    points = np.array([[0.1, 0, 0], [0.3, 0, 0], [1.5, 0, 0]])
    colors = np.array([[10, 0, 0], [20, 0, 0], [99, 0, 0]], np.uint8)
    merged, rgb = average_voxels(points, colors, 1.0)
    assert sorted(merged[:, 0].tolist()) == pytest.approx([0.2, 1.5])
    assert sorted(rgb[:, 0].tolist()) == [15, 99]
    assert len(average_voxels(np.zeros((0, 3)), np.zeros((0, 3), np.uint8), 1.0)[0]) == 0


def test_pick_and_majority() -> None:
    where = np.zeros((6, 9), bool)
    where[2, 3:8] = True
    assert pick(where, 10, np.random.default_rng(0)).tolist() == [[x, 2] for x in range(3, 8)]
    assert len(pick(where, 2, np.random.default_rng(0))) == 2
    votes = np.array([[1, 0, 2], [1, 2, 2], [0, 2, 0]], np.int32)
    seen = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0]], bool)
    assert majority(votes, seen).tolist() == [1, 0, 0]
