"""Cameras from exact and noisy tracks of made-up scenes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dyn3d_ns.metrics.trajectory import trajectory_errors
from dyn3d_ns.video.cameras.adjustment import BundleOptions, adjust_bundle, refine_poses
from dyn3d_ns.video.cameras.bundle import Bundle, Observations, reprojection_errors
from dyn3d_ns.video.cameras.colmap import locate_tracks
from dyn3d_ns.video.cameras.estimators import cameras_of
from dyn3d_ns.video.cameras.focal import FocalGuess
from dyn3d_ns.video.cameras.incremental import StaticTracks
from dyn3d_ns.video.cameras.projection import rotation_of, triangulate, viewing_rays
from dyn3d_ns.video.cameras.sfm import select_keyframes, solve_cameras
from dyn3d_ns.video.cameras.static_camera import interpolate_poses, is_still
from dyn3d_ns.video.cameras.track_mapper import map_tracks

WIDTH, HEIGHT, FOCAL = 320, 180, 260.0
CENTER = ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)


def scene(frames: int = 16, points: int = 220, move: float = 1.0, turn: float = 0.15) -> Bundle:
    """Return a camera that goes sideways and forward past a cloud of points, turning a little."""
    rng = np.random.default_rng(3)
    places = np.stack(
        (rng.uniform(-3, 3, points), rng.uniform(-1.5, 1.5, points), rng.uniform(3, 8, points)), 1
    )
    s = np.linspace(0, 1, frames)
    rotations = rotation_of(np.stack((0.3 * turn * np.sin(3 * s), -turn * s, 0.2 * turn * s), 1))
    positions = move * np.stack((s, 0.1 * np.sin(4 * s), 0.4 * s**2), 1)
    return Bundle(rotations, -np.einsum("fij,fj->fi", rotations, positions), places, FOCAL, CENTER)


def tracks_of(bundle: Bundle, noise: float = 0.0) -> StaticTracks:
    at = np.einsum("fij,nj->fni", bundle.rotations, bundle.points) + bundle.translations[:, None]
    xy = bundle.focal * at[..., :2] / at[..., 2:] + np.array(CENTER)
    xy += np.random.default_rng(0).normal(0, noise, xy.shape) if noise else 0.0
    inside = (at[..., 2] > 0.1) & (xy > 0).all(-1) & (xy[..., 0] < WIDTH - 1) & (xy[..., 1] < HEIGHT - 1)
    return StaticTracks(xy, inside, WIDTH, HEIGHT)


def errors_of(solution, truth: Bundle) -> dict:
    poses = np.tile(np.eye(4), (len(truth.rotations), 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = truth.rotations.transpose(0, 2, 1), truth.positions
    return dict(
        trajectory_errors(torch.from_numpy(cameras_of(solution).camera_to_worlds), torch.from_numpy(poses))
    )


def test_bundle_adjustment_returns_to_the_truth() -> None:
    truth = scene()
    tracks = tracks_of(truth)
    seen = tracks.observations(np.ones(16, bool), tracks.usable.sum(0) >= 3)
    rng = np.random.default_rng(1)
    shaken = replace(
        truth,
        rotations=rotation_of(rng.normal(0, 0.01, (16, 3))) @ truth.rotations,
        translations=truth.translations + rng.normal(0, 0.02, (16, 3)),
        points=truth.points + rng.normal(0, 0.05, truth.points.shape),
        focal=1.1 * FOCAL,
    )
    shaken.rotations[0], shaken.translations[0] = truth.rotations[0], truth.translations[0]
    result = adjust_bundle(shaken, seen, BundleOptions(max_iterations=100, tolerance=1e-12))
    assert reprojection_errors(result, seen).max() < 1e-3
    assert result.focal == pytest.approx(FOCAL, rel=1e-4)
    np.testing.assert_allclose(result.rotations, truth.rotations, atol=1e-4)
    np.testing.assert_array_equal(result.rotations[0], truth.rotations[0])


def test_adjustment_holds_what_is_fixed_and_what_is_not_seen() -> None:
    truth = scene(6, 60)
    seen = tracks_of(truth, 0.5).observations(np.arange(6) != 4, np.arange(60) > 0)
    options = BundleOptions(free_focal=False, fixed_frames=(0, 1, 2, 3, 5))
    result = adjust_bundle(replace(truth, points=truth.points + 0.1), seen, options)
    np.testing.assert_array_equal(result.rotations, truth.rotations)
    np.testing.assert_array_equal(result.translations, truth.translations)
    np.testing.assert_array_equal(result.points[0], truth.points[0] + 0.1)
    assert result.focal == FOCAL
    assert np.median(reprojection_errors(result, seen)) < 1.0


def test_adjustment_forgives_outliers() -> None:
    truth = scene(8, 100)
    seen = tracks_of(truth).observations(np.ones(8, bool), np.ones(100, bool))
    seen.pixels[::10] += 20.0
    result = adjust_bundle(truth, seen, BundleOptions(robust_scale=0.5))
    assert result.focal == pytest.approx(FOCAL, rel=0.01)
    assert np.median(reprojection_errors(result, seen)) < 0.1


def test_poses_of_a_long_clip_are_fitted_one_by_one() -> None:
    truth = scene(150, 80)
    tracks = tracks_of(truth)
    seen = tracks.observations(np.ones(150, bool), np.ones(80, bool))
    shaken = replace(
        truth, translations=truth.translations + np.random.default_rng(0).normal(0, 0.02, (150, 3))
    )
    free = np.arange(150) % 3 > 0
    fitted = refine_poses(shaken, seen, free)
    np.testing.assert_array_equal(fitted.translations[~free], shaken.translations[~free])
    np.testing.assert_allclose(fitted.translations[free], truth.translations[free], atol=1e-4)
    np.testing.assert_allclose(fitted.rotations[free], truth.rotations[free], atol=1e-4)


def test_bundle_rejects_what_does_not_exist() -> None:
    truth = scene(3, 10)
    with pytest.raises(ValueError, match="no observation"):
        adjust_bundle(
            truth, Observations(np.empty(0, int), np.empty(0, int), np.empty((0, 2))), BundleOptions()
        )
    wrong = Observations(np.array([3]), np.array([0]), np.zeros((1, 2)))
    with pytest.raises(ValueError, match="names camera 3"):
        adjust_bundle(truth, wrong, BundleOptions())


def test_triangulation_meets_the_rays() -> None:
    truth = scene(4, 30)
    seen = tracks_of(truth).observations(np.ones(4, bool), np.ones(30, bool))
    rays = viewing_rays(seen.pixels, FOCAL, CENTER)
    world = np.einsum("oji,oj->oi", truth.rotations[seen.frames], rays)
    points, angles, ahead = triangulate(truth.positions[seen.frames], world, seen.points, 30)
    often = np.bincount(seen.points, minlength=30) >= 2
    np.testing.assert_allclose(points[often], truth.points[often], atol=1e-3)
    assert ahead[often].all() and not ahead[~often].any()
    assert (angles[often] > 0).all()


def test_mapper_finds_cameras_from_tracks_the_same_way_every_time() -> None:
    truth = scene()
    tracks = tracks_of(truth, 0.2)
    tracks.xy[:, :20] += np.linspace(0, 30, 16)[:, None, None] * np.array([1.0, -0.5])
    frames = np.arange(0, 16, 3)
    found = map_tracks(tracks, frames, FOCAL)
    assert found is not None
    assert np.flatnonzero(found.registered).tolist() == frames.tolist()
    assert found.known.sum() > 100 and found.bundle.focal == FOCAL
    seen = tracks.observations(found.registered, found.known & (np.arange(220) >= 20))
    assert np.median(reprojection_errors(found.bundle, seen)) < 0.4
    again = map_tracks(tracks, frames, FOCAL)
    assert again is not None
    np.testing.assert_array_equal(found.bundle.points, again.bundle.points)
    np.testing.assert_array_equal(found.bundle.translations, again.bundle.translations)


def test_mapper_tells_when_frames_share_nothing() -> None:
    tracks = tracks_of(scene(), 0.1)
    apart = replace(tracks, usable=tracks.usable & (np.arange(16)[:, None] == 3))
    assert map_tracks(apart, np.arange(16), FOCAL) is None


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_moving_camera_and_its_focal_length_are_found(noise: float) -> None:
    truth = scene()
    solution = solve_cameras(tracks_of(truth, noise), None)
    assert solution.kind == "moving" and solution.registered.all()
    assert solution.focal == pytest.approx(FOCAL, rel=0.001 if noise == 0 else 0.05)
    assert errors_of(solution, truth)["ate_percent"] < (0.01 if noise == 0 else 1.0)
    np.testing.assert_allclose(solution.rotations[0], np.eye(3), atol=1e-9)


def test_tracks_of_moving_things_do_not_bend_the_path() -> None:
    truth = scene()
    tracks = tracks_of(truth, 0.1)
    tracks.xy[:, :40] += np.linspace(0, 30, 16)[:, None, None] * np.array([1.0, -0.5])
    solution = solve_cameras(tracks, FocalGuess(1.1 * FOCAL, certain=False))
    assert errors_of(solution, truth)["ate_percent"] < 1.0


def test_a_given_focal_length_stays() -> None:
    solution = solve_cameras(tracks_of(scene()), FocalGuess(300.0, certain=True))
    assert solution.focal == 300.0


def test_camera_at_rest_is_recognised() -> None:
    notes: list[str] = []
    still = scene(move=0.0, turn=0.0)
    solution = solve_cameras(tracks_of(still, 0.05), None, note=notes.append)
    assert solution.kind == "still" and not solution.known.any()
    assert "does not move" in notes[0] and "53 degrees" in notes[0]
    np.testing.assert_array_equal(cameras_of(solution).camera_to_worlds, np.tile(np.eye(4), (16, 1, 1)))
    assert not is_still(tracks_of(scene()))


def test_turning_camera_is_recognised_with_its_focal_length() -> None:
    notes: list[str] = []
    truth = scene(move=0.0, turn=0.5)
    solution = solve_cameras(tracks_of(truth, 0.05), None, note=notes.append)
    assert solution.kind == "turning" and not solution.known.any()
    assert solution.focal == pytest.approx(FOCAL, rel=0.05)
    expected = truth.rotations @ truth.rotations[0].T
    np.testing.assert_allclose(solution.rotations, expected, atol=0.02)
    assert any("stays in its place" in text for text in notes)


def test_hardly_any_track_falls_back_to_one_pose() -> None:
    notes: list[str] = []
    tracks = tracks_of(scene(points=6))
    solution = solve_cameras(tracks, None, note=notes.append)
    assert solution.kind in ("still", "turning")
    assert notes


def test_keyframes_hold_the_ends_and_the_limit() -> None:
    chosen = select_keyframes(tracks_of(scene(60)), 12)
    assert chosen[0] == 0 and chosen[-1] == 59
    assert len(chosen) <= 12 and (np.diff(chosen) > 0).all()


def test_frames_without_a_pose_are_interpolated() -> None:
    truth = scene(5, move=1.0, turn=0.4)
    known = np.array([True, False, True, False, False])
    rotations, positions = interpolate_poses(truth.rotations, truth.positions, known)
    np.testing.assert_allclose(positions[1], 0.5 * (truth.positions[0] + truth.positions[2]))
    np.testing.assert_allclose(rotations[4], truth.rotations[2])
    np.testing.assert_allclose(rotations[1] @ rotations[1].T, np.eye(3), atol=1e-12)


def test_tracks_are_located_by_known_cameras() -> None:
    truth = scene()
    views = np.concatenate((truth.rotations, truth.translations[:, :, None]), axis=2)
    some = np.array([0, 3, 6, 9, 12, 15])
    found = locate_tracks(tracks_of(truth, 0.05), some, views[some], FOCAL)
    assert found.registered.all() and found.known.sum() > 150
    np.testing.assert_allclose(found.bundle.positions, truth.positions, atol=0.02)
    np.testing.assert_allclose(
        np.median(found.bundle.points[found.known] - truth.points[found.known], 0), 0, atol=0.02
    )
    seen = tracks_of(truth).observations(found.registered, found.known)
    assert np.median(reprojection_errors(found.bundle, seen)) < 0.1
