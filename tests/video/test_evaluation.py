"""`dyn3d eval-video` on a small clip whose ground truth is written beside it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dyn3d_ns.cli.main import main
from dyn3d_ns.io.clip.types import Cameras, Clip, Flow, Tracks
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.io.errors import DatasetError, MissingFileError
from dyn3d_ns.io.flow_files import write_flo
from dyn3d_ns.io.ground_truth import SintelTruth
from dyn3d_ns.video.cameras.given import given_cameras
from dyn3d_ns.video.cameras.settings import GivenCameras
from dyn3d_ns.video.evaluation import evaluate
from dyn3d_ns.video.report import ConsoleReport
from tests.sintel_files import write_cam, write_dpt

FRAMES, HEIGHT, WIDTH = 4, 24, 32
K = np.array([[40.0, 0, 15.5], [0, 40.0, 11.5], [0, 0, 1.0]])


def poses() -> np.ndarray:
    out = np.tile(np.eye(4), (FRAMES, 1, 1))
    out[:, 0, 3] = [0.0, 0.1, 0.2, 0.3]
    out[:, 1, 3] = [0.0, 0.02, 0.01, 0.0]
    return out


def moving() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[8:16, 10:20] = True
    return mask


@pytest.fixture
def clip(tmp_path: Path) -> Workspace:
    """Return a processed clip that is right but for the scale of its world and a focal length 10 % long."""
    workspace = Workspace(tmp_path / "clip")
    workspace.rgb_dir.mkdir(parents=True)
    for i in range(FRAMES):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 40 * i, np.uint8)).save(workspace.frame_path(i))
        workspace.write_labels(i, moving().astype(np.int32) * 5)
    workspace.write_clip(Clip((0.0, 0.1, 0.2, 0.3), (0, 1, 2, 3), WIDTH, HEIGHT, 10.0))
    world = poses()
    world[:, :3, 3] *= 2.0
    Ks = np.tile(K * np.array([[1.1], [1.1], [1.0]]), (FRAMES, 1, 1))
    workspace.write_cameras(Cameras(Ks, world, np.ones(FRAMES, bool)))
    workspace.write_depths((np.full((HEIGHT, WIDTH), 6.0, np.float32) for _ in range(FRAMES)), FRAMES)
    valid = np.ones((HEIGHT, WIDTH), bool)
    for i in range(FRAMES - 1):
        workspace.write_flow(i, i + 1, Flow(np.full((HEIGHT, WIDTH, 2), 1.0, np.float32), valid))
    return workspace


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    root = tmp_path / "sintel"
    for i in range(FRAMES):
        name = f"frame_{i + 1:04d}"
        for kind in ("camdata_left", "depth", "flow", "dynamic_label_perfect"):
            (root / "training" / kind / "alley_1").mkdir(parents=True, exist_ok=True)
        write_cam(root / f"training/camdata_left/alley_1/{name}.cam", K, np.linalg.inv(poses()[i])[:3])
        write_dpt(root / f"training/depth/alley_1/{name}.dpt", np.full((HEIGHT, WIDTH), 3.0, np.float32))
        if i < FRAMES - 1:
            flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
            flow[..., 0] = 1.0
            write_flo(root / f"training/flow/alley_1/{name}.flo", flow)
        mask = Image.fromarray(moving().astype(np.uint8) * 255)
        mask.save(root / f"training/dynamic_label_perfect/alley_1/{name}.png")
    return root


def test_all_parts_are_compared(clip: Workspace, truth: Path) -> None:
    results = evaluate(clip, SintelTruth.open(truth))
    assert results["frames"] == FRAMES and results["missing"] == []
    assert results["cameras"]["ate"] < 1e-9 and results["cameras"]["scale"] == pytest.approx(0.5)
    assert results["cameras"]["focal_error_percent"] == pytest.approx(10.0)
    assert results["flow"]["all pixels"]["epe"] == pytest.approx(1.0)
    assert results["masks"]["j_mean"] == 1.0 and results["masks"]["id_stability"] is None
    assert results["depth"]["scale"]["static"]["abs_rel"] == pytest.approx(0.0, abs=1e-6)
    assert results["depth"]["scale"]["static"]["scale"] == pytest.approx(0.5)


def test_command_prints_a_table_and_writes_json(clip: Workspace, truth: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "errors.json"
    assert main(["eval-video", str(clip.root), "--gt", str(truth), "--output", str(output)]) == 0
    assert "focal error" in capsys.readouterr().out
    found = json.loads(output.read_text())["results"]
    assert found["pose_focal_error_percent"] == pytest.approx(10.0)
    assert found["flow_all_pixels_epe"] == pytest.approx(1.0) and found["masks_j_mean"] == 1.0
    assert len(found["per_frame"]) == FRAMES and found["per_frame"][0]["j"] == 1.0


def test_what_is_missing_is_said(clip: Workspace, truth: Path) -> None:
    clip.depth_path.unlink()
    results = evaluate(clip, SintelTruth.open(truth / "training", "alley_1"))
    assert "depth" not in results and "depth" in results["missing"][0]
    with pytest.raises(MissingFileError, match="no sequence 'market_2'"):
        SintelTruth.open(truth, "market_2")
    with pytest.raises(MissingFileError, match="no ground truth"):
        SintelTruth.open(clip.root)
    clip.write_clip(Clip((0.0, 0.1, 0.2, 0.3), (0, 1, 2, 30), WIDTH, HEIGHT, 10.0))
    with pytest.raises(DatasetError, match="frame 30"):
        evaluate(clip, SintelTruth.open(truth))


def test_given_poses_are_taken_and_locate_the_tracks(clip: Workspace, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = np.stack((rng.uniform(-0.5, 0.8, 40), rng.uniform(-0.5, 0.5, 40), rng.uniform(2, 3, 40)), 1)
    at = points[None] - poses()[:, None, :3, 3]
    xy = at[..., :2] / at[..., 2:] * 40.0 + np.array([15.5, 11.5])
    seen = (xy > 1).all(-1) & (xy[..., 0] < WIDTH - 2) & (xy[..., 1] < HEIGHT - 2)
    for i in range(FRAMES):
        clip.write_labels(i, np.zeros((HEIGHT, WIDTH), np.int32))
    confidence = seen.astype(np.float32)
    clip.write_tracks(
        Tracks(xy.astype(np.float32), seen, confidence, np.zeros(40, np.int64), HEIGHT, WIDTH), 10, 50
    )
    lines = [f"{i} {p[0, 3]} {p[1, 3]} {p[2, 3]} 0 0 0 1" for i, p in enumerate(poses())]
    (tmp_path / "poses.txt").write_text("\n".join(lines))
    cameras, found = given_cameras(clip, ConsoleReport(), GivenCameras(tmp_path / "poses.txt", focal=40.0))
    np.testing.assert_allclose(cameras.camera_to_worlds, poses(), atol=1e-9)
    assert cameras.Ks[0, 0, 0] == 40.0 and not cameras.static
    assert len(found.xyz) > 20
    nearest = np.linalg.norm(found.xyz[:, None] - points[None], axis=-1).min(1)
    assert np.median(nearest) < 0.01
    (tmp_path / "poses.txt").write_text("\n".join(lines[:2]))
    with pytest.raises(DatasetError, match="2 poses, but the clip has 4 frames"):
        given_cameras(clip, ConsoleReport(), GivenCameras(tmp_path / "poses.txt"))
