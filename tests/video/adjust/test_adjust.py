"""The energies and the steps of the joint adjustment, on made-up scenes."""

import numpy as np
import pytest
import torch

from dyn3d_ns.geometry.rotations import so3_exp
from dyn3d_ns.video.adjust.descent import Descent, descend
from dyn3d_ns.video.adjust.dynamic import adjust_dynamic, erratic, motion_graph
from dyn3d_ns.video.adjust.energies import (
    distance_changes,
    rotation_smoothness,
    translation_smoothness,
)
from dyn3d_ns.video.adjust.flow_depth import WindowPair, adjust_window
from dyn3d_ns.video.adjust.initialize import initialize_cameras
from dyn3d_ns.video.adjust.labels import Label, pixel_labels, track_labels
from dyn3d_ns.video.adjust.propagate import propagate_depth
from dyn3d_ns.video.adjust.settings import EnergyWeights, FlowDepthSettings
from dyn3d_ns.video.adjust.static import (
    CameraState,
    Samples,
    adjust_static,
    back_project,
    isolated,
    mean_points,
)

FRAMES, POINTS, FOCAL = 6, 60, 200.0


def cameras() -> CameraState:
    s = torch.linspace(0, 1, FRAMES, dtype=torch.float64)[:, None]
    turns = torch.cat((0 * s, 0.1 * s, 0.02 * s), dim=1)
    centers = torch.cat((0.5 * s, 0.05 * s, 0.2 * s), dim=1)
    ones = torch.ones(FRAMES, 2, dtype=torch.float64)
    return CameraState(so3_exp(turns), centers, FOCAL * ones, 100.0 * ones)


def world() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    unit = torch.rand(POINTS, 3, generator=generator, dtype=torch.float64)
    return unit * torch.tensor([2.0, 2.0, 2.0]) + torch.tensor([-1.0, -1.0, 2.0])


def samples_of(state: CameraState, points: torch.Tensor) -> Samples:
    """Return what every camera sees of points (N 3), or of points that move (F N 3)."""
    count = points.shape[-2]
    frames = torch.arange(FRAMES).repeat_interleave(count)
    ids = torch.arange(count).repeat(FRAMES)
    places = points.reshape(-1, 3) if points.ndim == 3 else points[ids]
    pixels, depth = state.project(places, frames)
    return Samples(frames, ids, pixels, depth)


def test_a_steady_camera_is_smooth() -> None:
    steady = torch.arange(5.0)[:, None] * torch.tensor([0.1, 0.0, 0.2])
    assert float(translation_smoothness(steady)) < 1e-4
    jerky = steady.clone()
    jerky[2] += 0.3
    assert float(translation_smoothness(jerky)) > 0.5
    turning = so3_exp(torch.arange(5.0)[:, None] * torch.tensor([0.0, 0.1, 0.0]))
    assert float(rotation_smoothness(turning)) < 1e-4
    back = turning.clone()
    back[3] = back[1]
    assert float(rotation_smoothness(back)) > 0.5
    assert float(translation_smoothness(steady[:2])) == 0.0


def test_rigid_motion_keeps_distances() -> None:
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [5, 5, 5], [5, 6, 5]])
    quads = torch.tensor([[0, 1, 2, 3]])
    assert float(distance_changes(points, quads)) == pytest.approx(0.0, abs=1e-6)
    points[3, 1] += 1.0
    assert float(distance_changes(points, quads)) == pytest.approx(1.0, abs=1e-6)


def test_descent_keeps_the_best() -> None:
    x = torch.tensor([3.0]).requires_grad_()
    result = descend(lambda: (x - 1).abs().sum(), [([x], 0.5)], Descent(200, 50))
    assert result.first == 2.0 and result.best < 0.05
    assert float((x.detach() - 1).abs()) == pytest.approx(result.best)
    with pytest.raises(FloatingPointError, match="at the start"):
        descend(lambda: x.sum() * float("nan"), [([x], 0.1)], Descent(2))


def test_labels_of_pixels_and_tracks() -> None:
    mask = np.zeros((60, 60), np.int32)
    mask[20:45, 20:45] = 2
    labels = pixel_labels(mask)
    assert (
        labels[32, 32] == Label.DYNAMIC and labels[3, 3] == Label.STATIC and labels[20, 30] == Label.REJECTED
    )
    samples = np.array([[0, 1, 0, 3], [0, 1, 1, 3], [3, 1, 0, 3]], np.int8)
    found, counts = track_labels(samples, np.ones((3, 4), bool))
    assert found.tolist() == [Label.STATIC, Label.DYNAMIC, Label.REJECTED, Label.REJECTED]
    assert not counts[2, 0] and counts[0, 0]


def test_static_adjustment_straightens_shaken_cameras() -> None:
    truth = cameras()
    points = world()
    samples = samples_of(truth, points)
    generator = torch.Generator().manual_seed(1)
    shake = 0.01 * torch.randn(FRAMES, 3, generator=generator, dtype=torch.float64)
    shake[0] = 0.0
    start = CameraState(
        truth.rotations @ so3_exp(shake), truth.centers + shake, 1.02 * truth.focal, truth.center
    )
    first, known = mean_points(start, samples, POINTS)
    assert known.all()
    found, moved, result = adjust_static(
        start, first, samples, EnergyWeights(1, 0, 0, 0.05), Descent(400, 100, 20), 3e-3, 1e-3
    )
    assert result.best < 0.3 * result.first
    torch.testing.assert_close(found.rotations[0], start.rotations[0])
    assert (
        float((found.centers - truth.centers).norm(dim=1).max()) < 0.5 * float(shake.norm(dim=1).max()) + 0.01
    )
    assert float((moved - points).norm(dim=1).median()) < float((first - points).norm(dim=1).median()) + 1e-3


def test_cameras_come_from_depth_alone() -> None:
    truth = cameras()
    samples = samples_of(truth, world())
    steps: list[int] = []
    weights = EnergyWeights(1.0, 0.0, 0.0)
    found = initialize_cameras(
        samples, FRAMES, truth.focal, truth.center, weights, 400, step=lambda: steps.append(1)
    )
    assert len(steps) == FRAMES - 1
    assert float((found.centers - truth.centers).norm(dim=1).max()) < 0.03
    assert float((found.rotations - truth.rotations).abs().max()) < 0.01


def test_moving_points_become_smooth_and_stay_in_the_picture() -> None:
    state = cameras()
    s = torch.linspace(0, 1, FRAMES, dtype=torch.float64)
    body = world()[:20] * 0.3 + torch.tensor([0.0, 0.0, 2.0])
    path = body[None] + s[:, None, None] * torch.tensor([0.4, 0.0, 0.0])
    samples = samples_of(state, path)
    generator = torch.Generator().manual_seed(2)
    noisy = Samples(
        samples.frames,
        samples.points,
        samples.pixels,
        samples.depth
        * (1 + 0.05 * torch.randn(len(samples.depth), generator=generator, dtype=torch.float64)),
    )
    start = back_project(state, noisy)
    instances = np.ones(20, int)
    graph = motion_graph(noisy, start.numpy(), instances)
    assert len(graph.pairs) == 20 * (FRAMES - 1) and len(graph.quads) == 20 * 4 * (FRAMES - 1)
    found, result = adjust_dynamic(state, start, noisy, graph, EnergyWeights(), Descent(300, 100))
    assert result.best < 0.5 * result.first
    true = path.reshape(-1, 3)
    assert float((found - true).norm(dim=1).mean()) < 0.7 * float((start - true).norm(dim=1).mean())
    jump = found.clone()
    jump[(samples.points == 3) & (samples.frames == 2)] += 5.0
    assert erratic(jump, noisy, graph, 20, EnergyWeights())[3]
    apart = motion_graph(noisy, start.numpy(), np.arange(20))
    assert len(apart.quads) == 0


def test_depth_follows_its_control_points() -> None:
    depth = np.full((40, 50), 2.0, np.float32)
    region = np.zeros((40, 50), bool)
    region[:, :30] = True
    rng = np.random.default_rng(0)
    pixels = rng.uniform((0, 0), (29, 39), (40, 2))
    target = np.full(40, 2.2)
    target[5] = 9.0
    K = np.array([[50.0, 0, 24.5], [0, 50.0, 19.5], [0, 0, 1]])
    found = propagate_depth(depth, region, pixels, target, K)
    np.testing.assert_allclose(found[region], 2.2, rtol=1e-5)
    np.testing.assert_array_equal(found[~region], 2.0)
    same = propagate_depth(depth, region, np.empty((0, 2)), np.empty(0), K)
    np.testing.assert_array_equal(same, depth)


def test_flow_pulls_depth_to_the_truth() -> None:
    height, width = 16, 24
    K = torch.tensor([[20.0, 0, 11.5], [0, 20.0, 7.5], [0, 0, 1.0]])
    true = torch.full((height, width), 2.0)
    move = torch.eye(4)
    move[0, 3] = -0.5
    flow = torch.zeros(height, width, 2)
    flow[..., 0] = -0.5 * 20.0 / 2.0
    forward = WindowPair(flow, torch.zeros(height, width), move)
    backward = WindowPair(-flow, torch.zeros(height, width), torch.linalg.inv(move))
    regions = torch.ones(2, height, width, dtype=torch.bool)
    regions[:, :4] = False
    start = torch.stack((1.2 * true, 1.2 * true))
    found = adjust_window(
        start,
        regions,
        {(0, 1): forward, (1, 0): backward},
        K,
        FlowDepthSettings(iterations=80, sample_ratio=1.0),
        torch.Generator().manual_seed(0),
    )
    torch.testing.assert_close(found[:, :4], start[:, :4])
    assert float((found[:, 4:] - 2.0).abs().mean()) < 0.05


def test_loners_are_found() -> None:
    points = np.random.default_rng(0).normal(size=(200, 3))
    points[17] += 50.0
    alone = isolated(points)
    assert alone[17] and alone.sum() <= 5
    assert not isolated(points[:4]).any()


def test_pixels_of_two_surfaces_in_one_block_follow_their_own_control_points() -> None:
    # The edge runs through blocks of two pixels.
    depth = np.full((8, 10), 3.0, np.float32)
    depth[:, :3] = 1.0
    pixels = np.array([[0, 1], [1, 4], [2, 6], [5, 1], [6, 4], [7, 6]], np.float64)
    target = np.array([1.1, 1.1, 1.1, 2.7, 2.7, 2.7])
    K = np.array([[100.0, 0, 5], [0, 100.0, 4], [0, 0, 1]])
    found = propagate_depth(depth, np.ones(depth.shape, bool), pixels, target, K)
    np.testing.assert_allclose(found[:, :3], 1.1, rtol=1e-4)
    np.testing.assert_allclose(found[:, 3:], 2.7, rtol=1e-4)
