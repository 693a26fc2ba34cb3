"""COLMAP on a rendered clip whose cameras are known, with what moves masked out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.cameras.colmap import colmap_reconstruction, run_colmap
from dyn3d_ns.video.cameras.estimators import AutoCameras, cameras_of
from dyn3d_ns.video.cameras.focal import FocalGuess
from dyn3d_ns.video.cameras.settings import CamerasSettings, GivenCameras
from dyn3d_ns.video.cameras.sfm import solve_cameras
from dyn3d_ns.video.cameras.static_tracks import static_tracks
from tests.video.cards import WALL, Card, CardClip, QuietReport

TILES = tuple(
    Card((4 * i, 4 * j, 6), (4.01, 4.01), seed=10 + 3 * i + j) for i in (-1, 0, 1, 2) for j in (-1, 0, 1)
)
"""A wall without repetitions."""
CARDS = (
    Card((-1.6, 0.2, 3.5), (0.9, 5), seed=1),
    Card((1.7, 0.7, 3), (0.8, 0.9), seed=3),
    Card((0.2, 1.2, 4.2), (1.4, 0.7), seed=4),
    Card((0.4, -0.3, 4), (1.1, 1.1), (0.02, 0.07, 0), label=1, seed=2),
)
SIZE = {"frames": 8, "width": 192, "height": 144, "camera_step": (0.12, 0.0, 0.03)}
FOCAL = FocalGuess(110.0, certain=True)


def places_on_path(centers: np.ndarray) -> np.ndarray:
    """Return how far along its line the camera is at each frame, from 0 to 1."""
    along = (centers - centers[0]) @ (centers[-1] - centers[0])
    return along / along[-1]


@pytest.fixture(scope="module")
def clip() -> CardClip:
    return CardClip((*TILES, *CARDS), **SIZE)


@pytest.fixture
def workspace(clip: CardClip, tmp_path: Path) -> Workspace:
    return clip.write(tmp_path / "clip", "frames tracks masks")


def test_colmap_finds_the_cameras_and_the_tracks_are_located(clip: CardClip, workspace: Workspace) -> None:
    report = QuietReport()
    tracks = static_tracks(workspace, report)
    found = colmap_reconstruction(workspace, report, tracks, FOCAL)
    assert found is not None and report.notes == []
    assert found.registered.all() and found.bundle.focal == FOCAL.focal
    assert found.known.sum() > 50
    centers, truth = found.bundle.positions, clip.poses[:, :3, 3]
    np.testing.assert_allclose(places_on_path(centers), np.arange(8) / 7, atol=0.02)
    turned = found.bundle.rotations @ found.bundle.rotations[0].T
    assert np.abs(turned - np.eye(3)).max() < 0.02
    # Tracked points lie as far from the cameras as the rendered depth says, in units of the path.
    scale = np.linalg.norm(truth[-1] - truth[0]) / np.linalg.norm(centers[-1] - centers[0])
    at = found.bundle.points[found.known] @ found.bundle.rotations[0].T + found.bundle.translations[0]
    x, y = tracks.xy[0, found.known].astype(int).T
    assert np.median(np.abs(scale * at[:, 2] / clip.depths[0][y, x] - 1)) < 0.05


MAP = """
import os, sys
if sys.argv[2] == "one" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import contextlib, hashlib
from pathlib import Path
import numpy as np
import pycolmap
from dyn3d_ns.io.clip.workspace import Workspace
from dyn3d_ns.video.cameras.colmap import run_colmap
class Quiet:
    progress = staticmethod(lambda *_: contextlib.nullcontext(lambda: None))
model = run_colmap(Workspace(Path(sys.argv[1])), np.arange(8), None, Quiet())
print(model.focal.hex(), hashlib.sha256(model.world_to_cameras.tobytes()).hexdigest())
"""


def test_features_give_the_same_cameras_on_one_thread_and_on_two(workspace: Workspace) -> None:
    # Processes of their own: COLMAP counts the processors that it may use, and draws random numbers, once.
    found = {
        subprocess.run(
            [sys.executable, "-c", MAP, str(workspace.root), threads],
            capture_output=True, text=True, check=True,
        ).stdout
        for threads in ("one", "all")
    }  # fmt: skip
    assert len(found) == 1


class NoPoints:
    """Models of all images and of no point, as COLMAP's mapper may give."""

    def num_reg_images(self) -> int:
        return 8

    def num_points3D(self) -> int:
        return 0


def test_a_model_without_points_is_none(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pycolmap.incremental_mapping", lambda *_: {0: NoPoints()})
    assert run_colmap(workspace, np.arange(8), FOCAL, QuietReport()) is None


def test_masked_pixels_give_no_features(workspace: Workspace) -> None:
    everything = np.ones((144, 192), np.int32)
    for i in range(8):
        workspace.write_labels(i, everything)
    report = QuietReport()
    assert run_colmap(workspace, np.arange(8), FOCAL, report) is None


def test_a_clip_that_colmap_cannot_register_is_told(workspace: Workspace, clip: CardClip) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for path in workspace.frames():
        Image.fromarray(rng.integers(0, 255, (144, 192, 3), np.uint8)).save(path)
    report = QuietReport()
    tracks = static_tracks(workspace, report)
    assert colmap_reconstruction(workspace, report, tracks, FOCAL) is None
    assert any("COLMAP could not register" in note for note in report.notes)


def test_pictures_that_repeat_themselves_do_not_mislead(tmp_path: Path) -> None:
    # A wall that repeats itself is matched to itself elsewhere, and a camera found from features jumps.
    clip = CardClip((WALL, *CARDS), **SIZE)
    workspace = clip.write(tmp_path / "clip", "frames tracks masks")
    estimator = AutoCameras(CamerasSettings(given=GivenCameras(focal=FOCAL.focal)))
    cameras, points = estimator(workspace, QuietReport())
    np.testing.assert_allclose(
        places_on_path(cameras.camera_to_worlds[:, :3, 3]), np.arange(8) / 7, atol=0.02
    )
    assert len(points.xyz) > 50


def test_features_find_the_cameras_where_tracks_are_too_short(workspace: Workspace) -> None:
    report = QuietReport()
    tracks = static_tracks(workspace, report)
    # Nobody sees a track for long: each ends after two frames.
    seen = tracks.usable & (np.arange(8)[:, None] // 2 == np.arange(tracks.usable.shape[1]) % 4)
    short = replace(tracks, usable=seen)
    solution = solve_cameras(
        short, FOCAL, propose=lambda: colmap_reconstruction(workspace, report, tracks, FOCAL)
    )
    assert solution.kind == "moving"
    centers = cameras_of(solution).camera_to_worlds[:, :3, 3]
    np.testing.assert_allclose(places_on_path(centers), np.arange(8) / 7, atol=0.02)
