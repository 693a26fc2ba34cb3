"""Flow, masks and depth that a scene lacks are made, kept beside it, and made again when it changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.io.dynamic_scene.cache import kept, key_of, may_write
from dyn3d_ns.io.dynamic_scene.llff import LlffScene
from dyn3d_ns.io.dynamic_scene.maps import SceneMaps
from dyn3d_ns.io.dynamic_scene.true_masks import EvaluationMasks
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, ImageSizeError
from tests.dynamic_scene_files import DISC, ToyScene

TOY = ToyScene(frames=4, width=192, height=108, focal=160.0, speed=0.12)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a scene of images and poses alone."""
    return TOY.write(tmp_path_factory.mktemp("bare") / "Toy", "")


@pytest.fixture
def own(bare: Path, tmp_path: Path) -> Path:
    """Return a copy that a test may change."""
    return Path(shutil.copytree(bare, tmp_path / "Toy", ignore=shutil.ignore_patterns("dyn3d")))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_flow_masks_and_depth_of_images_and_poses_alone(bare: Path) -> None:
    maps = SceneMaps(LlffScene(bare))
    depth, moves = TOY.look(1, 1)[1], TOY.look(1, 1)[1] == DISC
    flow = maps.flow(1, 2)
    true, visible = TOY.flow(1, 2)
    assert np.median(np.linalg.norm(flow.flow - true, axis=-1)[flow.valid & visible]) < 0.3
    assert flow.valid[visible].mean() > 0.85
    assert overlap(maps.mask(1), moves) > 0.6, (
        "the disc rises across the lines of cameras that stand in a row"
    )
    inverse = maps.inverse_depth(1)
    assert not inverse[maps.mask(1)].any()
    still = ~maps.mask(1)
    assert (inverse[still] > 0).all()
    assert np.median(np.abs(inverse * depth - 1)[still & ~moves]) < 0.05
    np.testing.assert_allclose(np.median(maps.measured_bounds()[:, 1]), 4.0, rtol=0.1)


def test_flow_at_the_ends_and_single_missing_files_are_made(tmp_path: Path) -> None:
    root = TOY.write(tmp_path / "Toy", "flow motion_masks")
    (root / "flow/001_fwd.npz").unlink()
    (root / "motion_masks/002.png").unlink()
    maps = SceneMaps(LlffScene(root))
    np.testing.assert_allclose(maps.flow(2, 1).flow, TOY.flow(2, 1)[0], atol=1e-5)
    made, (true, visible) = maps.flow(1, 2), TOY.flow(1, 2)
    error = np.linalg.norm(made.flow - true, axis=-1)[made.valid & visible]
    assert 0 < np.median(error) < 0.3
    np.testing.assert_array_equal(maps.mask(1), TOY.look(1, 1)[1] == DISC)
    assert maps.has_mask_file(1) and not maps.has_mask_file(2)
    assert overlap(maps.mask(2), TOY.look(2, 2)[1] == DISC) > 0.7
    assert SceneMaps(LlffScene(root), ["flow"]).flow(2, 1).flow[5, 5, 0] != maps.flow(2, 1).flow[5, 5, 0]


def test_relative_disparity_becomes_that_of_the_scene(tmp_path: Path) -> None:
    """Its scale and shift are found from what stands still, and hold for what moves as well."""
    maps = SceneMaps(LlffScene(TOY.write(tmp_path / "Toy", "disp flow motion_masks")))
    fit = maps.fits()[2]
    assert fit is not None
    assert (fit.slope, fit.offset) == pytest.approx((1 / 700, 50 / 700), rel=1e-3)
    np.testing.assert_allclose(maps.inverse_depth(2), 1 / TOY.look(2, 2)[1][::2, ::2], rtol=2e-3)


def test_disparity_that_does_not_fit_is_left(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Large = far is the other way round: depth is triangulated, and a line says so."""
    (own / "disp").mkdir()
    for i in range(4):
        np.save(own / f"disp/{i:03d}.npy", TOY.look(i, i)[1].astype(np.float32))
    maps = SceneMaps(LlffScene(own))
    assert maps.fits() == [None] * 4
    assert "the disparity of 000.png does not fit" in capsys.readouterr().err
    assert not maps.inverse_depth(1)[maps.mask(1)].any()


def test_what_is_made_is_kept_until_a_file_changes(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dyn3d_ns.io.dynamic_scene import made

    calls: list[int] = []
    real = made.make_flow
    monkeypatch.setattr(made, "make_flow", lambda a, b: calls.append(1) or real(a, b))
    first = SceneMaps(LlffScene(own)).flow(0, 1)
    again = SceneMaps(LlffScene(own)).flow(0, 1)
    np.testing.assert_array_equal(first.flow, again.flow)
    assert len(calls) == 3, "flow of three pairs, once"
    assert sorted(path.name for path in (own / "dyn3d").iterdir()) == ["made-flow.npz"]
    (own / "images/001.png").write_bytes((own / "images/002.png").read_bytes())
    SceneMaps(LlffScene(own)).flow(0, 1)
    assert len(calls) == 6
    (own / "dyn3d/made-flow.npz").write_bytes(b"PK")
    SceneMaps(LlffScene(own)).flow(0, 1)
    assert len(calls) == 9, "a damaged file is made again"


def test_nothing_is_written_where_nobody_may(own: Path) -> None:
    """Not by the superuser either, whom the folder's mode does not stop."""
    own.chmod(0o555)
    try:
        assert not may_write(own)
        found = kept(own, "flow", key_of([]), lambda: {"a": np.ones(2)})
    finally:
        own.chmod(0o755)
    assert found["a"].tolist() == [1, 1] and not (own / "dyn3d").exists()


def test_what_cannot_be_kept_ends_no_training(own: Path) -> None:
    (own / "dyn3d").write_text("a file where the folder would be")
    assert kept(own, "flow", "key", lambda: {"a": np.ones(2)})["a"].tolist() == [1, 1]


def test_masks_of_evaluation_need_a_camera_at_rest_with_enough_times(tmp_path: Path) -> None:
    root = TOY.write(tmp_path / "Toy", "multiview_GT motion_masks")
    for t in (2, 3):
        (root / f"multiview_GT/{t:08d}/cam02.jpg").unlink()
    files = LlffScene(root)
    views = files.views()
    masks = EvaluationMasks(SceneMaps(files), views, files.size)
    few = [k for k, view in enumerate(views) if view.camera == 1]
    assert [masks.has(k) for k in few] == [False] * 2
    assert all(masks.has(k) for k, view in enumerate(views) if view.camera != 1)
    moved = [view._replace(pose=view.pose + view.frame) if view.camera == 2 else view for view in views]
    masks = EvaluationMasks(SceneMaps(files), moved, files.size)
    assert [masks.has(k) for k, view in enumerate(views) if view.camera == 2] == [False, False, True, False]


def test_side_files_of_no_frame_are_no_secret(own: Path) -> None:
    (own / "motion_masks").mkdir()
    shutil.copy(own / "images/000.png", own / "motion_masks/100.png")
    with pytest.raises(DatasetError, match="has files of none of the frames 000.png to 003.png"):
        LlffScene(own)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    root = TOY.write(tmp_path / "Toy", "disp flow")
    files = LlffScene(root)
    np.savez(root / "flow/000_fwd.npz", flow=np.zeros((4, 5, 3)))
    with pytest.raises(DamagedFileError, match=r"000_fwd.npz: `flow` must be \[H, W, 2\]"):
        files.flow(0, 1)
    np.savez(root / "flow/000_fwd.npz", flow=np.zeros((4, 5, 2)), mask=np.ones((5, 4)))
    with pytest.raises(DamagedFileError, match="they share a size"):
        files.flow(0, 1)
    np.save(root / "disp/001.npy", np.full((108, 192), np.nan, np.float32))
    with pytest.raises(DamagedFileError, match="001.npy holds no finite number"):
        files.relative_disparity(1)
    np.save(root / "disp/001.npy", np.ones((192, 108), np.float32))
    with pytest.raises(ImageSizeError, match="another proportion of the sides"):
        files.relative_disparity(1)
    rows = np.load(root / "poses_bounds.npy")
    rows[2, 15] = -1
    np.save(root / "poses_bounds.npy", rows)
    with pytest.raises(DamagedFileError, match="row 2 must end with a near and a far depth"):
        LlffScene(root).bounds()
    (root / "poses_bounds.npy").write_text("none")
    with pytest.raises(DamagedFileError, match="is no .npy array of N x 17 numbers"):
        LlffScene(root).cameras()
