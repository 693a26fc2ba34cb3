"""Metrics of cameras, flow, masks and depth on cases with known answers."""

import numpy as np
import pytest
import torch

from dyn3d_ns.geometry.rotations import so3_exp
from dyn3d_ns.metrics.depth import DepthErrors
from dyn3d_ns.metrics.flow import FlowErrors
from dyn3d_ns.metrics.masks import contour_accuracy, id_stability, region_similarity
from dyn3d_ns.metrics.trajectory import focal_error_percent, trajectory_errors


def poses(turns: list | torch.Tensor, places: list | torch.Tensor) -> torch.Tensor:
    """Return 4x4 rigid transforms of axis-angle vectors and positions."""
    rotations = so3_exp(torch.as_tensor(turns, dtype=torch.float64))
    transforms = torch.eye(4, dtype=torch.float64).repeat(*rotations.shape[:-2], 1, 1)
    transforms[..., :3, :3], transforms[..., :3, 3] = rotations, torch.as_tensor(places, dtype=torch.float64)
    return transforms


def path(count: int = 12) -> torch.Tensor:
    s = torch.linspace(0, 1, count, dtype=torch.float64)[:, None]
    return poses(torch.cat((0.2 * s, -0.4 * s, 0.1 * s), 1), torch.cat((s, s**2, 0.3 * (5 * s).sin()), 1))


def test_similar_paths_have_no_error() -> None:
    true = path()
    move = poses([0.3, 0.8, -0.2], [1.0, 2.0, -1.0])
    other = move @ true
    other[:, :3, 3] *= 5.0
    errors = trajectory_errors(other, true)
    assert errors["ate"] < 1e-9 and errors["rpe_translation"] < 1e-9
    assert errors["rpe_rotation_degrees"] < 1e-6
    assert errors["scale"] == pytest.approx(0.2)
    assert trajectory_errors(other, true, with_scale=False)["ate"] > 0.1


def test_known_errors_are_measured() -> None:
    true = path()
    wrong = true.clone()
    wrong[5, :3, 3] += torch.tensor([0.0, 0.0, 0.1])
    errors = trajectory_errors(wrong, true, with_scale=False)
    assert errors["ate"] == pytest.approx(0.1 / np.sqrt(12), rel=0.1)
    length = errors["path_length"]
    assert errors["ate_percent"] == pytest.approx(100 * errors["ate"] / length)
    turned = true.clone()
    turned[6:] = poses([0.0, 0.0, np.radians(2.0)], [0.0, 0.0, 0.0]) @ true[6:]
    assert trajectory_errors(turned, true)["rpe_rotation_degrees"] == pytest.approx(2 / np.sqrt(11), rel=1e-6)


def test_cameras_at_rest_have_no_percentage() -> None:
    rest = torch.eye(4, dtype=torch.float64).repeat(4, 1, 1)
    errors = trajectory_errors(rest, rest)
    assert errors["ate"] == 0 and errors["ate_percent"] is None
    with pytest.raises(ValueError, match="equally many"):
        trajectory_errors(rest[:3], rest)


def test_focal_error() -> None:
    true = torch.diag(torch.tensor([100.0, 100.0, 1.0])).repeat(3, 1, 1)
    found = true.clone()
    found[:, 0, 0] = 110.0
    assert focal_error_percent(found, true) == pytest.approx(5.0)


def test_flow_errors_by_group() -> None:
    true = np.zeros((4, 6, 2), np.float32)
    found = true.copy()
    found[:, :3] = (3.0, 4.0)
    errors = FlowErrors()
    left = np.zeros((4, 6), bool)
    left[:, :3] = True
    errors.add(found, true, {"all": np.ones((4, 6), bool), "left": left, "none": np.zeros((4, 6), bool)})
    summary = errors.summary()
    assert summary["all"]["epe"] == pytest.approx(2.5) and summary["left"]["epe"] == pytest.approx(5.0)
    assert summary["all"]["percent_above_3px"] == pytest.approx(50.0)
    assert "none" not in summary
    with pytest.raises(ValueError, match="size"):
        errors.add(found[:3], true, {})


def test_masks_regions_and_contours() -> None:
    square = np.zeros((100, 100), bool)
    square[30:60, 30:60] = True
    shifted = np.roll(square, 10, axis=1)
    assert region_similarity(square, square) == 1.0 and contour_accuracy(square, square) == 1.0
    assert region_similarity(shifted, square) == pytest.approx(20 / 40)
    assert 0.4 < contour_accuracy(shifted, square) < 0.75
    nothing = np.zeros_like(square)
    assert region_similarity(nothing, nothing) == 1.0 and contour_accuracy(nothing, square) == 0.0


def test_ids_count_as_stable_by_object() -> None:
    true = [np.array([[1, 1, 0, 2]]) for _ in range(4)]
    found = [np.array([[7, 7, 0, 3]])] * 2 + [np.array([[7, 7, 0, 5]]), np.array([[7, 7, 0, 0]])]
    assert id_stability(found, true) == pytest.approx((4 + 2) / 8)
    assert id_stability([np.zeros((2, 2), int)], [np.zeros((2, 2), int)]) == 1.0


@pytest.mark.parametrize("alignment", ["scale", "disparity"])
def test_depth_is_aligned_before_it_is_compared(alignment) -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(1, 10, (20, 30))
    inverse = 1 / true
    found = 1 / (0.5 * inverse + 0.02) if alignment == "disparity" else 3 * true
    errors = DepthErrors(alignment)
    errors.collect(found, true)
    errors.align()
    errors.add(found, true, {"all": np.ones(true.shape, bool)})
    score = errors.summary()["all"]
    assert score["abs_rel"] < 1e-6 and score["delta_125"] == 1.0 and score["pixels"] == 600


def test_depth_errors_count_only_what_is_known() -> None:
    true = np.full((4, 4), 2.0)
    found = true.copy()
    found[0] = 4.0
    found[1] = 0.0
    true[2] = 100.0
    errors = DepthErrors("scale")
    errors.collect(found[3:], true[3:])
    errors.align()
    errors.add(found, true, {"all": np.ones((4, 4), bool)})
    assert errors.summary()["all"] == {
        "abs_rel": 0.5,
        "delta_125": 0.5,
        "scale": 1.0,
        "shift": 0.0,
        "pixels": 8,
    }
    with pytest.raises(ValueError, match="no pixel"):
        DepthErrors().align()


def test_relative_errors_of_frames_in_a_row() -> None:
    """A drift of a tenth of a degree a frame counts once, though a frame between two others is left out."""
    angles = torch.deg2rad(0.1 * torch.arange(6.0)).double()
    drift = torch.eye(4).double().repeat(6, 1, 1)
    drift[:, :3, :3] = so3_exp(angles[:, None] * torch.tensor([0.0, 1.0, 0.0]).double())
    true = torch.eye(4).double().repeat(6, 1, 1)
    true[:, 0, 3] = torch.arange(6.0)
    kept = [0, 1, 2, 4, 5]
    drift[:, :3, 3] = true[:, :3, 3]
    a, b = drift[kept], true[kept]
    everything = trajectory_errors(a, b)["rpe_rotation_degrees"]
    in_a_row = torch.tensor([True, True, False, True])
    assert trajectory_errors(a, b, in_a_row=in_a_row)["rpe_rotation_degrees"] == pytest.approx(0.1, abs=1e-6)
    assert everything > 0.12
