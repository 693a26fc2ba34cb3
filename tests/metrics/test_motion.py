"""Motion error against velocities known in closed form, and on the ground truth of a real scene."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from dyn3d_ns.geometry.world import World
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, MissingFileError
from dyn3d_ns.io.motion_truth import (
    SurfaceSample,
    load_motion_ground_truth,
    sample_surfaces,
    true_velocities,
)
from dyn3d_ns.metrics.motion import motion_error

TURN = np.array([[0.0, -2.0, 0.0, 0.5], [2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0] * 4])


@pytest.fixture
def gt_path(tmp_path):
    path = tmp_path / "motion.json"
    poses = np.tile(np.eye(4), (3, 1, 1)).tolist()
    objects = [
        {"name": "wheel", "pass_index": 1, "object_to_world": poses, "twist": [TURN.tolist()] * 3},
        {"name": "stand", "pass_index": 2, "object_to_world": poses, "twist": [(0 * TURN).tolist()] * 3},
    ]
    path.write_text(json.dumps({"times": [0.0, 0.5, 1.0], "objects": objects}))
    return path


def make_sample(gt, time, seed=0):
    rng = np.random.default_rng(seed)
    points, labels = rng.normal(size=(300, 3)), np.repeat([1, 2, 0], 100)
    return SurfaceSample(time, points, true_velocities(gt, points, labels, time), labels)


def turning(points, time):
    velocities = points @ torch.tensor(TURN[:3, :3]).float().T + torch.tensor(TURN[:3, 3]).float()
    velocities[100:] = 0
    return velocities


def test_true_velocities_follow_the_twist(gt_path):
    gt = load_motion_ground_truth(gt_path)
    found = true_velocities(gt, np.array([[1.0, 3.0, 7.0]] * 2), np.array([1, 2]), 0.5)
    np.testing.assert_allclose(found, [[-2 * 3 + 0.5, 2.0, 0.0], [0, 0, 0]])


def test_errors_are_in_the_units_of_the_data(gt_path):
    gt, transform = load_motion_ground_truth(gt_path), np.eye(4)
    transform[:3, 3] = [-5e6, 3e6, 1.0]
    sample, world = make_sample(gt, 0.0), World(transform, 8.0)
    sample = replace(sample, points=world.points_back(8 * sample.points))
    exact = motion_error(lambda x, t: 8 * turning(x / 8, t), gt, [sample], 0.5, world)["observed"]["moving"]
    assert exact["epe"] < 1e-5
    half = motion_error(lambda x, t: 4 * turning(x / 8, t), gt, [sample], 0.5, world)["observed"]["moving"]
    assert half["epe"] == pytest.approx(0.5 * half["speed"], rel=1e-4)


def test_exact_field_has_no_error(gt_path):
    gt = load_motion_ground_truth(gt_path)
    result = motion_error(turning, gt, [make_sample(gt, 0.0), make_sample(gt, 1.0, 1)], t_obs=0.5)
    for part in ("observed", "future"):
        assert result[part]["moving"]["relative_epe"] < 1e-6
        assert result[part]["static"]["speed"] == 0
        assert result[part]["objects"]["wheel"]["points"] == 100
    json.dumps(result, allow_nan=False)


def test_errors_are_counted_where_they_are(gt_path):
    """A field that is 10 % too fast, and drifts by 0.3 where things rest."""
    gt = load_motion_ground_truth(gt_path)

    def field(points, time):
        velocities = 1.1 * turning(points, time)
        velocities[100:, 0] = 0.3
        return velocities

    samples = [make_sample(gt, 0.0)]
    observed = motion_error(field, gt, samples, t_obs=0.5)["observed"]
    speed = np.linalg.norm(samples[0].velocities[:100], axis=1).mean()
    assert observed["moving"]["speed"] == pytest.approx(speed)
    assert observed["moving"]["relative_epe"] == pytest.approx(0.1, rel=1e-5)
    assert observed["static"]["speed"] == pytest.approx(0.3, rel=1e-5)
    assert observed["static"]["relative_speed"] == pytest.approx(0.3 / speed, rel=1e-5)
    assert observed["objects"]["stand"]["points"] == observed["objects"]["background"]["points"] == 100


def test_what_rests_is_held_against_the_top_speed_of_all_times(gt_path):
    """One of 200 points at rest runs, the others creep; the wheel's fastest point is seen in the future."""
    gt = load_motion_ground_truth(gt_path)
    samples = [make_sample(gt, 0.0), make_sample(gt, 1.0)]
    samples[1].velocities[0] = [0.0, 20.0, 0.0]

    def field(points, time):
        velocities = turning(points, time)
        velocities[100:, 2] = 0.1
        velocities[150, 2] = 5.0
        return velocities

    result = motion_error(field, gt, samples, t_obs=0.5)
    static, stand = result["observed"]["static"], result["observed"]["objects"]["stand"]
    assert result["top_speed"] == 20
    assert static["max_of_top"] == pytest.approx(0.25) and static["p99_of_top"] == pytest.approx(0.005)
    assert stand["max_of_top"] == pytest.approx(0.25)
    assert result["observed"]["objects"]["background"]["max_of_top"] == pytest.approx(0.005)
    assert result["future"]["static"]["max_of_top"] == pytest.approx(0.25)


def test_the_first_half_of_the_future_is_a_part_of_its_own(gt_path):
    """It ends between the last observed and the last true time; what is at the middle counts."""
    gt = load_motion_ground_truth(gt_path)
    gt = replace(gt, times=np.array([0.4, 0.7, 1.0]))
    samples = [make_sample(gt, time) for time in gt.times]
    late = {0.4: 0.0, 0.7: 0.2, 1.0: 0.6}
    result = motion_error(lambda x, t: (1 + late[t]) * turning(x, t), gt, samples, t_obs=0.4)
    errors = [result[part]["moving"]["relative_epe"] for part in ("observed", "future_first_half", "future")]
    assert errors == pytest.approx([0.0, 0.2, 0.4], abs=1e-6)
    assert result["future_first_half"]["moving"]["points"] == 100
    assert motion_error(turning, gt, samples[::2], t_obs=0.4)["future_first_half"] is None


def test_part_in_which_movers_rest_is_none(gt_path):
    gt = load_motion_ground_truth(gt_path)
    stopped = replace(make_sample(gt, 1.0), velocities=np.zeros((300, 3)))
    result = motion_error(turning, gt, [make_sample(gt, 0.0), stopped], t_obs=0.5)
    assert result["future"] is None and result["observed"] is not None


def test_part_without_frames_is_none(gt_path):
    gt = load_motion_ground_truth(gt_path)
    assert motion_error(turning, gt, [make_sample(gt, 0.0)], t_obs=0.5)["future"] is None


def test_duration_converts_units(gt_path):
    gt = load_motion_ground_truth(gt_path, duration=2.0)
    assert gt.times.tolist() == [0.0, 0.25, 0.5]
    np.testing.assert_allclose(gt.objects[0].twists[0], 2 * TURN)


def test_wrong_shape_from_the_field(gt_path):
    gt = load_motion_ground_truth(gt_path)
    with pytest.raises(ValueError, match="velocity_at gave"):
        motion_error(lambda points, time: points[:, :2], gt, [make_sample(gt, 0.0)], t_obs=0.5)


def test_damaged_ground_truth(gt_path, tmp_path):
    with pytest.raises(MissingFileError, match="does not exist"):
        load_motion_ground_truth(tmp_path / "none.json")
    gt = load_motion_ground_truth(gt_path)
    with pytest.raises(DatasetError, match="no motion at time 0.3"):
        gt.index_of(0.3)
    with pytest.raises(MissingFileError, match="depth"):
        sample_surfaces(gt)
    content = json.loads(gt_path.read_text())
    content["objects"][0]["twist"].pop()
    gt_path.write_text(json.dumps(content))
    with pytest.raises(DamagedFileError, match="wheel"):
        load_motion_ground_truth(gt_path)
    gt_path.write_text("{}")
    with pytest.raises(DamagedFileError, match="times"):
        load_motion_ground_truth(gt_path)


def test_surfaces_of_a_rigid_object_coincide_in_its_own_frame(shared_data):
    """Points of the falling ball, seen by three cameras at twelve times, lie on one small sphere."""
    gt = load_motion_ground_truth(shared_data / "fan-and-ball" / "ground_truth" / "motion.json")
    samples = sample_surfaces(gt, max_static=100)
    ball = next(o for o in gt.objects if o.name == "ball")
    rest = []
    for s in samples:
        inverse = np.linalg.inv(ball.object_to_world[gt.index_of(s.time)])
        rest.append(s.points[s.labels == ball.pass_index] @ inverse[:3, :3].T + inverse[:3, 3])
    cloud = np.concatenate(rest)
    radius = np.linalg.norm(cloud - (cloud.min(0) + cloud.max(0)) / 2, axis=1)
    assert len(cloud) > 10_000
    assert radius.std() / radius.mean() < 0.02
    labels = np.concatenate([s.labels for s in samples])
    assert (labels == 4).sum() <= 100 * len(samples)
    zero = motion_error(lambda points, time: torch.zeros_like(points), gt, samples, t_obs=0.75)
    assert zero["future"]["moving"]["relative_epe"] == pytest.approx(1.0)
