"""What is made, and the masks of evaluation images, on rendered scenes whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.dataparsers.dynamic_scene import DynamicSceneDataParserConfig
from dyn3d_ns.io.dynamic_scene.llff import LlffScene
from dyn3d_ns.io.dynamic_scene.maps import SceneMaps
from dyn3d_ns.io.dynamic_scene.true_masks import EvaluationMasks
from dyn3d_ns.io.scene_metadata import scene_of


def pooled_iou(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    return sum((a & b).sum() for a, b in pairs) / sum((a | b).sum() for a, b in pairs)


@pytest.fixture(params=["grid12a", "grid12b"])
def grid(shared_data: Path, request: pytest.FixtureRequest) -> LlffScene:
    return LlffScene(shared_data / request.param)


def test_masks_by_the_median_of_each_camera(grid: LlffScene) -> None:
    """Of training views, whose masks are known; the files are not looked at."""
    views = grid.views()
    masks = EvaluationMasks(SceneMaps(grid, ["masks"]), views, grid.size)
    pairs = [(masks.of(k), grid.mask(view.frame)) for k, view in enumerate(views) if view.trains]
    assert pooled_iou(pairs) > 0.78  # type: ignore[arg-type]


def test_masks_of_the_flow(grid: LlffScene) -> None:
    for made, least in ((["masks"], 0.85), (["masks", "flow"], 0.6)):
        maps = SceneMaps(grid, made)  # type: ignore[arg-type]
        assert pooled_iou([(maps.mask(i), grid.mask(i)) for i in range(12)]) > least  # type: ignore[misc]


def test_disparity_is_ten_over_depth(grid: LlffScene) -> None:
    fits = SceneMaps(grid).fits()
    assert all(fit is not None for fit in fits)
    assert [fit.slope for fit in fits if fit] == pytest.approx([0.1] * 12, rel=1e-5)
    assert [fit.offset for fit in fits if fit] == pytest.approx([0.0] * 12, abs=1e-5)


def test_depth_without_any_file(grid: LlffScene) -> None:
    maps, errors = SceneMaps(grid, ["masks", "flow", "disparity"]), []
    for i in (0, 5, 11):
        true, found = grid.relative_disparity(i), maps.inverse_depth(i)
        still = ~grid.mask(i) & (found > 0)  # type: ignore[operator]
        errors.append(np.abs(10 * found / true - 1)[still])  # type: ignore[operator]
    assert np.median(np.concatenate(errors)) < 0.02


def test_the_world_leads_back_to_the_files_own(shared_data: Path) -> None:
    root = shared_data / "grid12a"
    outputs = DynamicSceneDataParserConfig(data=root).setup().get_dataparser_outputs("train")
    truth = np.array(json.loads((root / "ground_truth/motion.json").read_text())["camera_to_world_opengl"])
    moved = outputs.dataparser_transform.numpy()[:, :3] @ truth[:, :3, 3].T
    moved = (moved.T + outputs.dataparser_transform.numpy()[:, 3]) * outputs.dataparser_scale
    np.testing.assert_allclose(outputs.cameras.camera_to_worlds[:, :, 3].numpy(), moved, atol=1e-5)
    scene = scene_of(outputs.metadata)
    depth = scene.priors.depth(4) / outputs.dataparser_scale
    np.testing.assert_allclose(depth, 10 / np.load(root / "disp/004.npy"), rtol=1e-4)
    assert scene.depth_bounds is not None and scene.depth_bounds[0] > 1
    assert not (root / "dyn3d").exists(), "the folder is read-only"


def test_the_real_scene_lacks_most_and_is_read(shared_data: Path) -> None:
    """Balloon1: twelve frames, disparity of four; no masks, flow or other views."""
    found = DynamicSceneDataParserConfig(data=shared_data / "balloon1").setup()
    outputs = found.get_dataparser_outputs("train")
    scene = scene_of(outputs.metadata)
    assert (int(outputs.cameras.width[0]), int(outputs.cameras.height[0])) == (480, 270)
    assert float(outputs.cameras.fx[0]) == pytest.approx(920.684 / 2, rel=1e-4)
    assert scene.points is None, "points3d.ply is of another world than the poses"
    assert scene.depth_bounds is not None and 1 < scene.depth_bounds[0] < scene.depth_bounds[1] < 2.5
    assert set(scene_of(found.get_dataparser_outputs("val").metadata).splits) == {"train"}
