"""All stages at once, from a video to the fused scene, against what is known of the scene."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dyn3d_ns.cli.main import main
from dyn3d_ns.io.clip.paths import STAGES
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.ground_truth import read_cam, read_dpt
from tests.video.cards import WALL, Card, CardClip
from tests.video.clips import write_folder, write_video

TREE = (
    "rgb/00000.png",
    "clip.json",
    "flow/00000_00001.npz",
    "flow/00000_00001.flo",
    "key_frames/keyframe_info.json",
    "key_frames/processing_summary.json",
    "cotrackerv3_10_50/results.npz",
    "motion/dyna_avg/00000.png",
    "motion/dyna_max/00000.png",
    "segmentation/frames/original/frame_00000.jpg",
    "segmentation/frames/masks/frame_00000.png",
    "segmentation/instance_labels.json",
    "segmentation/result_summary.json",
    "qwen/Annotations",
    "cameras/poses.npz",
    "unidepth/depth.npy",
    "unidepth/intrinsics.npy",
    "dynamicBA/base/poses.npz",
    "dynamicBA/base/0000.npz",
    "dynamicBA/base/fused_4d.npz",
    "analysis",
    "transforms.json",
    "sparse_points.ply",
    "manifest.json",
)

CARDS = (
    WALL,
    Card((-1.6, 0.2, 3.5), (0.9, 5), seed=1),
    Card((1.7, 0.7, 3), (0.8, 0.9), seed=3),
    Card((0.2, 1.2, 4.2), (1.4, 0.7), seed=4),
    Card((0.4, -0.3, 4), (1.1, 1.1), (0.02, 0.07, 0), label=1, seed=2),
)
"""Several things that stand still before the wall, so that parallax can be told from motion."""
FEW_STEPS = (
    "--adjust.num-init-epochs", "50", "--adjust.num-ba-epochs", "50", "--adjust.num-dyn-epochs", "100",
    "--adjust.num-flow-epochs", "10",
)  # fmt: skip
"""Enough for what is tested here; the adjustment has tests of its own."""


def states(root: Path) -> dict[str, str]:
    stages = json.loads((root / "manifest.json").read_text())["stages"]
    return {name: stage["state"] for name, stage in stages.items()}


def similarity(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return the scale that takes camera centres to the true ones, and the RMS error after alignment."""
    a, b = truth - truth.mean(0), found - found.mean(0)
    u, s, v = np.linalg.svd(a.T @ b)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ v))])
    scale = (s * sign).sum() / (b**2).sum()
    error = a - scale * b @ (u * sign @ v).T
    return float(scale), float(np.sqrt((error**2).sum(1).mean()))


def overlap(workspace: Workspace, truth: list[np.ndarray]) -> float:
    """Return the mean J of the masks of all that moves."""
    scores = []
    for i, moving in enumerate(truth):
        mask = workspace.dynamic_mask(i)
        scores.append((mask & moving).sum() / max((mask | moving).sum(), 1))
    return float(np.mean(scores))


@pytest.mark.slow
def test_from_a_video_to_a_fused_scene(tmp_path: Path) -> None:
    clip = CardClip(CARDS, frames=10, width=192, height=144, camera_step=(0.08, 0.0, 0.02))
    source = write_video(tmp_path / "cards.mp4", clip.images, fps=10)
    out = tmp_path / "scene"
    assert main(["process", str(source), str(out), *FEW_STEPS]) == 0
    assert states(out) == dict.fromkeys(STAGES, "done")
    assert [name for name in TREE if not (out / name).exists()] == []
    workspace = Workspace(out)
    assert overlap(workspace, [labels > 0 for labels in clip.labels]) > 0.6
    scale, error = similarity(workspace.cameras().camera_to_worlds[:, :3, 3], clip.poses[:, :3, 3])
    length = np.linalg.norm(np.diff(clip.poses[:, :3, 3], axis=0), axis=1).sum()
    assert error < 0.05 * length
    transforms = json.loads(workspace.transforms_path.read_text())
    assert [frame["time"] for frame in transforms["frames"]] == pytest.approx(np.arange(10) / 9, abs=1e-3)
    assert main(["process", str(source), str(out), *FEW_STEPS]) == 0
    assert states(out) == dict.fromkeys(STAGES, "kept")


@pytest.mark.slow
def test_a_camera_that_stands_still_goes_all_the_way(tmp_path: Path) -> None:
    clip = CardClip(frames=8, width=160, height=120, camera_step=(0.0, 0.0, 0.0))
    source, out = write_folder(tmp_path / "in", clip.images), tmp_path / "scene"
    assert main(["process", str(source), str(out), *FEW_STEPS]) == 0
    stages = json.loads((out / "manifest.json").read_text())["stages"]
    assert "does not move" in " ".join(stages["cameras"]["notes"])
    cameras = Workspace(out).cameras()
    assert np.abs(cameras.camera_to_worlds - cameras.camera_to_worlds[0]).max() < 1e-6
    assert overlap(Workspace(out), [labels > 0 for labels in clip.labels]) > 0.6
    assert Workspace(out).fused_path.is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("kind", ["plain", "noise"])
def test_clips_with_nothing_to_see_end_in_the_summary(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    frames = [
        np.full((72, 96, 3), 90, np.uint8) if kind == "plain" else rng.integers(0, 255, (72, 96, 3), np.uint8)
        for _ in range(5)
    ]
    out = tmp_path / "scene"
    status = main(["process", str(write_folder(tmp_path / "in", frames)), str(out)])
    stages = json.loads((out / "manifest.json").read_text())["stages"]
    assert stages["frames"]["state"] == stages["flow"]["state"] == "done"
    assert status in (0, 2)
    for name, stage in stages.items():
        assert stage["state"] == "done" or stage["error"], f"{name}: {stage}"
    assert any(stage["notes"] or stage["error"] for stage in stages.values())


@pytest.mark.slow
def test_masks_that_cover_everything_leave_a_note_or_a_clear_error(tmp_path: Path) -> None:
    clip = CardClip(frames=6)
    source, masks = write_folder(tmp_path / "in", clip.images), tmp_path / "masks"
    write_folder(masks, [np.full((96, 128, 3), 255, np.uint8)] * 6, "{:05d}.png")
    out = tmp_path / "scene"
    options = ["--stages", "frames,flow,tracks,masks,cameras,depth,fuse", "--masks.masks", str(masks)]
    assert main(["process", str(source), str(out), *options]) in (0, 2)
    stages = json.loads((out / "manifest.json").read_text())["stages"]
    assert stages["masks"]["state"] == "done" and Workspace(out).dynamic_mask(3).all()
    told = [*stages["masks"]["notes"], *stages["cameras"]["notes"], stages["cameras"]["error"]]
    assert any("mov" in text or "cover" in text or "point" in text for text in told), told


@pytest.mark.slow
def test_eight_frames_of_walk_are_within_the_targets(shared_data: Path, tmp_path: Path) -> None:
    truth = shared_data / "walk/training"
    out = tmp_path / "walk"
    assert main(["process", str(truth / "final/walk_1"), str(out), "--max-frames", "8", *FEW_STEPS]) == 0
    assert set(states(out).values()) == {"done"}
    workspace = Workspace(out)
    names = [f"walk_1/frame_{i + 1:04d}" for i in range(8)]
    cams = [read_cam(truth / f"camdata_left/{name}.cam") for name in names]
    centers = np.array([-pose[:, :3].T @ pose[:, 3] for _, pose in cams])
    cameras = workspace.cameras()
    scale, error = similarity(cameras.camera_to_worlds[:, :3, 3], centers)
    assert error < 0.02 * np.linalg.norm(np.diff(centers, axis=0), axis=1).sum()
    assert cameras.Ks[0, 0, 0] == pytest.approx(cams[0][0][0, 0], rel=0.05)

    def label(name: str) -> np.ndarray:
        return np.array(Image.open(truth / f"dynamic_label_perfect/{name}.png").convert("L")) > 0

    assert overlap(workspace, [label(name) for name in names]) > 0.7
    errors = []
    for i, name in enumerate(names):
        depth, true = workspace.depth(i) * scale, read_dpt(truth / f"depth/{name}.dpt")
        use = ~label(name) & (true < 70) & (depth > 0)
        errors.append((np.abs(depth - true) / true)[use].mean())
    assert np.mean(errors) < 0.15
