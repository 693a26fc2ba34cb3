"""Camera paths: geometry of the presets, times, and Nerfstudio's own reader of the file."""

import json
from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.cli import path as presets
from dyn3d_ns.cli.camera_paths import look_at
from dyn3d_ns.cli.errors import CommandError
from dyn3d_ns.cli.rig import CameraRig
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.timeline import Timeline

TIMELINE = Timeline(tuple(i / 60 for i in range(60)), t_obs=0.75, fps=60.0)
UP = np.array([0.0, 0.0, 1.0])
CENTER = np.array([0.2, -0.1, 0.3])


def make_rig(azimuths, elevation: float = 30.0, radius: float = 4.0) -> CameraRig:
    """Cameras at given azimuths (degrees) that look at CENTER."""
    angle, tilt = np.radians(np.asarray(azimuths, dtype=float)), np.radians(elevation)
    eyes = CENTER + radius * np.stack(
        (np.cos(tilt) * np.cos(angle), np.cos(tilt) * np.sin(angle), np.full_like(angle, np.sin(tilt))),
        axis=1,
    )
    ids = np.arange(len(angle)) * 2  # identities need not be contiguous
    fovs, sizes = 40.0 + np.arange(len(ids)), np.tile([201, 150], (len(ids), 1))
    return CameraRig(look_at(eyes, CENTER, UP), ids, fovs, sizes, TIMELINE)


RING = make_rig(range(0, 360, 30))
FRONTAL = make_rig([80, 90, 100, 110])
ALL = {
    "orbit": presets.Orbit,
    "bullet-time": presets.BulletTime,
    "spiral": presets.Spiral,
    "camera": presets.Camera,
    "slow-motion": presets.SlowMotion,
    "future": presets.Future,
}


def distance_of_axis(poses: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Distance of a point from the optical axes, infinite where it lies behind the camera."""
    to_point = point - poses[:, :3, 3]
    depth = -np.einsum("fi,fi->f", to_point, poses[:, :3, 2])
    across = np.linalg.norm(to_point + depth[:, None] * poses[:, :3, 2], axis=1)
    return np.where(depth > 0, across, np.inf)


def test_rig_recovers_the_geometry_of_a_ring() -> None:
    np.testing.assert_allclose(RING.center, CENTER, atol=0.02)
    np.testing.assert_array_equal(RING.up, UP)
    assert RING.radius == pytest.approx(4, abs=0.03)
    assert RING.elevation == pytest.approx(30, abs=0.5)
    assert RING.azimuths[1] == 360
    assert FRONTAL.azimuths[1] == pytest.approx(30, abs=0.5)


@pytest.mark.parametrize("rig", [RING, FRONTAL], ids=["ring", "frontal"])
@pytest.mark.parametrize("name", ALL)
def test_poses_are_rigid_and_look_at_the_centre(name: str, rig: CameraRig) -> None:
    poses = ALL[name](output=Path("unused.json"), frames=50).build(rig).poses
    rotations = poses[:, :3, :3]
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (50, 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-12)
    np.testing.assert_array_equal(poses[:, 3], np.tile([0, 0, 0, 1], (50, 1)))
    assert distance_of_axis(poses, CENTER).max() < 0.05
    assert (poses[:, :3, 1] @ UP > 0).all(), "cameras stand upright"


@pytest.mark.parametrize("name", ALL)
def test_a_path_sees_as_much_as_the_camera_it_looks_through(name: str) -> None:
    sizes = np.array([[201, 150], [64, 48], [100, 100]])
    rig = CameraRig(RING.poses[:3], RING.camera_ids[:3], np.array([40.0, 55.0, 70.0]), sizes, TIMELINE)
    through = {"camera": 2} if "camera" in ALL[name].__dataclass_fields__ else {}
    path = ALL[name](output=Path("unused.json"), frames=5, **through).build(rig)
    assert (path.fov, path.resolution) == ((55.0, (64, 48)) if through else (40.0, (202, 150)))


@pytest.mark.parametrize("name", ALL)
def test_nerfstudio_reads_the_file(name: str, tmp_path: Path) -> None:
    from nerfstudio.cameras.camera_paths import get_path_from_json

    path = ALL[name](output=tmp_path / "path.json", frames=20).build(RING)
    cameras = get_path_from_json(json.loads(json.dumps(path.to_json())))
    assert len(cameras) == 20
    np.testing.assert_allclose(cameras.camera_to_worlds.numpy(), path.poses[:, :3], atol=1e-6)
    np.testing.assert_allclose(cameras.times.flatten().numpy(), path.times, atol=1e-6)
    assert (int(cameras.width[0]), int(cameras.height[0])) == (202, 150), "odd sizes are rounded up to even"
    assert 2 * np.degrees(np.arctan(75 / float(cameras.fy[0]))) == pytest.approx(40)


def test_orbit_goes_round_once_while_time_runs_into_the_future() -> None:
    path = presets.Orbit(output=Path("x.json"), frames=90).build(RING)
    flat = path.poses[:, :2, 3] - RING.center[:2]
    steps = np.diff(np.unwrap(np.arctan2(flat[:, 1], flat[:, 0])))
    np.testing.assert_allclose(steps, 2 * np.pi / 90, atol=1e-9)
    assert (path.times[0], path.times[-1]) == (0.0, 59 / 60)
    assert (np.diff(path.times) > 0).all()
    assert path.times[-1] > TIMELINE.t_obs


def test_orbit_of_a_frontal_rig_stays_where_cameras_were() -> None:
    poses = presets.Orbit(output=Path("x.json"), frames=400, loops=2).build(FRONTAL).poses
    flat = poses[:, :2, 3] - FRONTAL.center[:2]
    azimuth = np.degrees(np.arctan2(flat[:, 1], flat[:, 0]))
    assert azimuth.min() == pytest.approx(80, abs=0.7)
    assert azimuth.max() == pytest.approx(110, abs=0.7)


def test_circle_options_are_kept() -> None:
    options = presets.Orbit(
        output=Path("x.json"), frames=30, radius=2.5, elevation=-10, center=(1.0, 2.0, 3.0)
    )
    offsets = options.build(RING).poses[:, :3, 3] - np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(np.linalg.norm(offsets, axis=1), 2.5)
    np.testing.assert_allclose(offsets[:, 2], 2.5 * np.sin(np.radians(-10)))


def test_bullet_time_freezes_one_moment() -> None:
    frozen = presets.BulletTime(output=Path("x.json"), at=0.4).build(RING)
    assert set(frozen.times) == {0.4}
    assert np.ptp(frozen.poses[:, 0, 3]) > 5, "the camera goes round"
    assert set(presets.BulletTime(output=Path("x.json")).build(RING).times) == {0.375}, (
        "middle of the observed"
    )


def test_camera_and_slow_motion_keep_the_recordings_pace() -> None:
    real = presets.Camera(output=Path("x.json"), camera=4).build(RING)
    slow = presets.SlowMotion(output=Path("x.json"), camera=4, speed=0.1).build(RING)
    # 59 frame spacings at 60 frames a second are 0.983 s, at 30 frames of video a second 29.5 frames.
    assert len(real.times) == 30
    assert len(slow.times) == 295
    np.testing.assert_array_equal(real.poses, np.tile(RING.poses[2], (30, 1, 1)))


def test_future_starts_at_the_last_observed_time_and_goes_past_the_end() -> None:
    path = presets.Future(output=Path("x.json"), beyond=0.2).build(RING)
    assert path.times[0] == 0.75
    assert path.times[-1] == pytest.approx(59 / 60 * 1.2)


def test_times_and_seconds_override_the_preset() -> None:
    path = presets.Orbit(output=Path("x.json"), times=(0.9, 0.1), seconds=2, fps=24).build(RING)
    assert len(path.times) == 48
    assert (path.times[0], path.times[-1]) == (0.9, 0.1), "time may run backwards"
    assert path.to_json()["seconds"] == pytest.approx(2)


def test_spiral_returns_to_the_camera_side_and_moves_in_depth() -> None:
    poses = presets.Spiral(output=Path("x.json"), camera=0, size=0.1, frames=100).build(RING).poses
    offsets = (poses[:, :3, 3] - RING.poses[0, :3, 3]) @ RING.poses[0, :3, :3]
    np.testing.assert_allclose(np.linalg.norm(offsets[:, :2], axis=1), 0.4, atol=0.01)
    assert offsets[:, 2].max() == pytest.approx(0.4, abs=0.01)
    assert offsets[:, 2].min() == pytest.approx(-0.4, abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either --load-config or --data"),
        ({"load_config": Path("a"), "data": Path("b")}, "not both"),
        ({"data": Path("b"), "seconds": 1.0, "frames": 3}, "--seconds or --frames"),
        ({"data": Path("b"), "frames": 0}, "--frames must be at least 1, got 0"),
        ({"data": Path("b"), "fps": 0.0}, "--fps must be positive"),
        ({"data": Path("b"), "fov": 200.0}, "--fov must lie in 1 to 170"),
        ({"data": Path("b"), "times": (0.0, float("nan"))}, "--times must be finite"),
        ({"data": Path("b"), "resolution": (201, 100)}, "two even numbers"),
        ({"data": Path("no/such/folder")}, "not a folder"),
        ({"load_config": Path("no/config.yml")}, "not a file"),
    ],
)
def test_mistakes_are_named(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        presets.Orbit(output=tmp_path / "x.json", **options).run()
    assert not (tmp_path / "x.json").exists()


def test_unknown_camera_names_the_known_ones() -> None:
    with pytest.raises(CommandError, match=r"no training camera 1; the scene has 0, 2, 4"):
        presets.Camera(output=Path("x.json"), camera=1).build(RING)


def test_parallel_cameras_still_give_a_path() -> None:
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, 0, 3] = [-0.1, 0, 0.1]
    rig = CameraRig(poses, np.arange(3), np.full(3, 50.0), np.full((3, 2), 64), TIMELINE)
    swing = presets.Orbit(output=Path("x.json"), frames=20).build(rig).poses
    assert np.isfinite(swing).all()
    assert (swing[:, 2, 2] > 0.9).all(), "keeps looking along -z like its cameras"


def test_looking_straight_down_is_defined() -> None:
    poses = look_at(CENTER[None] + [[0, 0, 3.0]], CENTER, UP)
    np.testing.assert_allclose(poses[0, :3, :3] @ poses[0, :3, :3].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(poses[0, :3, 2], UP, atol=1e-12)
