"""Masks from flow against ego-flow, where cameras and depth are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.io.clip.types import SparsePoints
from dyn3d_ns.io.errors import StageError
from dyn3d_ns.video.cameras.settings import CamerasSettings, GivenCameras
from dyn3d_ns.video.depth.settings import DepthSettings
from dyn3d_ns.video.masks.ego_flow import ego_flow
from dyn3d_ns.video.masks.settings import EgoSettings, MasksSettings
from dyn3d_ns.video.pipeline import PipelineSettings, build_stages
from dyn3d_ns.video.transforms import write_transforms
from tests.video.cards import PILLAR, WALL, Card, CardClip
from tests.video.masks.test_masks_stage import mean_overlap, run

ALONG = Card((-0.1, 0.1, 4), (0.9, 0.9), (-0.1, 0, 0), label=1, seed=2)
"""Moves along the epipolar lines of a camera that moves sideways: its flow may be that of something near."""
STANDING = (WALL, PILLAR, Card((1.7, 0.7, 3), (0.8, 0.9), seed=3), Card((0.2, 1.2, 4.2), (1.4, 0.7), seed=4))


def known(clip: CardClip, folder: Path, depth_scale: float = 1.0) -> EgoSettings:
    """Write the clip's true cameras, and its depth at another scale."""
    lines = [f"{i} {x} {y} {z} 0 0 0 1" for i, (x, y, z) in enumerate(clip.poses[:, :3, 3])]
    (folder / "poses.txt").write_text("\n".join(lines))
    np.save(folder / "depth.npy", depth_scale * np.stack(clip.depths))
    return EgoSettings(GivenCameras(folder / "poses.txt", focal=clip.K[0, 0]), folder / "depth.npy")


def test_ego_flow_is_the_flow_of_what_stands_still() -> None:
    clip = CardClip((WALL, PILLAR, ALONG), frames=4)
    move = np.linalg.inv(clip.poses[3]) @ clip.poses[1]
    flow, there = ego_flow(clip.depths[1], clip.K, clip.K, move)
    true, static = clip.flow(1, 3).flow, clip.labels[1] == 0
    assert there.all()
    np.testing.assert_allclose(flow[static], true[static], atol=1e-3)
    assert np.linalg.norm(flow - true, axis=-1)[~static].min() > 2


def test_ego_flow_of_a_turn_does_not_depend_on_depth() -> None:
    K = np.array([[50.0, 0, 19.5], [0, 50.0, 14.5], [0, 0, 1]])
    angle = 0.1
    move = np.eye(4)
    move[:3, :3] = [[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]]
    depth = np.random.default_rng(0).uniform(1, 9, (30, 40)).astype(np.float32)
    depth[3, 4] = 0
    flow, there = ego_flow(depth, K, K, move)
    assert not there[3, 4] and there.sum() == 30 * 40 - 1
    # The middle of the picture goes by f tan(angle), against the turn.
    middle = (flow[14:16, 19:21]).mean((0, 1))
    np.testing.assert_allclose(middle, (-50 * np.tan(angle), 0), atol=2e-2)


def test_motion_along_the_epipolar_lines_is_found_where_cameras_and_depth_are_known(tmp_path: Path) -> None:
    clip = CardClip((*STANDING, ALONG), frames=8, camera_step=(0.12, 0.0, 0.0))
    workspace, _ = run(clip, tmp_path / "without")
    assert mean_overlap(clip, workspace) < 0.2, "flow alone cannot tell it from parallax"
    workspace, report = run(clip, tmp_path / "with", ego=known(clip, tmp_path, depth_scale=3.7))
    assert mean_overlap(clip, workspace) > 0.8
    assert report.notes == []
    assert json.loads(workspace.instance_labels_path.read_text()) == {"1": "moving object 1"}


def test_a_second_pass_takes_the_first_ones_cameras_and_depth(tmp_path: Path) -> None:
    clip = CardClip((*STANDING, ALONG), frames=8, camera_step=(0.12, 0.0, 0.0))
    first = clip.write(tmp_path / "first")
    empty = np.zeros((0, 3), np.float32)
    none = np.zeros(0, np.int32)
    first.write_points(SparsePoints(empty, empty.astype(np.uint8), none, none, empty[:, :2]))
    write_transforms(first)
    workspace, report = run(
        clip, tmp_path / "second", ego=EgoSettings(GivenCameras(first.transforms_path), first.depth_path)
    )
    assert mean_overlap(clip, workspace) > 0.8 and report.notes == []


def test_depth_that_contradicts_the_flow_is_told(tmp_path: Path) -> None:
    clip = CardClip((WALL, PILLAR, ALONG), frames=6, camera_step=(0.05, 0.0, 0.0))
    ego = known(clip, tmp_path)
    np.save(tmp_path / "depth.npy", np.random.default_rng(0).uniform(0.2, 9, (6, 96, 128)))
    _, report = run(clip, tmp_path / "clip", ego=ego)
    assert any("depth for ego-flow misses" in note for note in report.notes)


def test_cameras_without_depth_are_not_enough(tmp_path: Path) -> None:
    clip = CardClip((WALL, PILLAR), frames=4)
    ego = known(clip, tmp_path)
    with pytest.raises(StageError, match=r"give --masks.ego.poses and --masks.ego.depth"):
        run(clip, tmp_path / "clip", ego=EgoSettings(ego.given))


def test_given_cameras_and_depth_serve_the_masks_too(tmp_path: Path) -> None:
    cameras = CamerasSettings(given=GivenCameras(tmp_path / "poses.txt", focal=40.0))
    settings = PipelineSettings(cameras=cameras, depth=DepthSettings(files=tmp_path / "d.npy", png_scale=5.0))
    (masks,) = build_stages(tmp_path, settings, ["masks"])
    assert masks.settings.ego == EgoSettings(
        GivenCameras(tmp_path / "poses.txt", "auto", 40.0, None), tmp_path / "d.npy", 5.0
    )
    assert masks.external_inputs() == [tmp_path / "poses.txt", tmp_path / "d.npy"]
    (masks,) = build_stages(tmp_path, PipelineSettings(cameras=cameras), ["masks"])
    assert masks.settings == MasksSettings()
