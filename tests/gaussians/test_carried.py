"""Gaussians carried through time: blending, the way into the future, and what is frozen."""

import pytest
import torch

from dyn3d_ns.fields.keyframe_motions import KeyframeMotions
from dyn3d_ns.fields.time_basis import TimeBasis
from dyn3d_ns.fields.velocity import BasisVelocityField
from dyn3d_ns.gaussians.carried import (
    CarriedScene,
    SharedMotions,
    StoredCodes,
    initial_parameters,
    spread_pivots,
)
from dyn3d_ns.gaussians.seeds.points import SeedPoints
from dyn3d_ns.geometry.rotations import normalize_quat, quat_apply

T_OBS = 0.75


@pytest.fixture
def scene() -> CarriedScene:
    """One half of the points rests, the other follows a motion that shifts and turns."""
    torch.manual_seed(0)
    seeds = SeedPoints(torch.randn(40, 3), torch.rand(40, 3))
    pivots = spread_pivots(seeds.positions, 3)
    params = initial_parameters(seeds, pivots, sh_degree=1, color_modes=2, opacity=0.3, max_scale=1.0)
    params["motion_codes"] = torch.full((40, 3), -60.0)
    params["motion_codes"][:20, 0] = params["motion_codes"][20:, 1] = 60.0
    motions = KeyframeMotions(TimeBasis(0.3, 0.0, T_OBS, (1, 2, 3), 4), pivots)
    with torch.no_grad():
        motions.coefficients[0, 0] = torch.tensor([0.5, 0, 0, 0, 0, 0.8])
    field = BasisVelocityField(TimeBasis(0.3, 0.0, T_OBS, (0, 1), 4, anchored=False, vanishing=True), 3)
    with torch.no_grad():
        field.weights[0, 0] = torch.tensor([1.0, 0, 0, 0, 0, 2.0])
    return CarriedScene(params, StoredCodes(), SharedMotions(motions), field, T_OBS, 1 / 60)


def test_only_the_second_half_moves_and_it_moves_rigidly(scene: CarriedScene) -> None:
    codes, means = scene.codes(), scene.params["means"]
    moved = scene.deform(0.7, codes)
    torch.testing.assert_close(moved.means[:20], means[:20])
    assert float((moved.means[20:] - means[20:]).norm(dim=1).min()) > 0.05
    torch.testing.assert_close(torch.pdist(moved.means[20:]), torch.pdist(means[20:]), rtol=1e-4, atol=1e-5)


def test_orientations_turn_with_the_points(scene: CarriedScene) -> None:
    codes, means = scene.codes(), scene.params["means"]
    moved = scene.deform(0.7, codes)
    q = normalize_quat(moved.quats[20:21])
    arm = means[25] - means[20]
    torch.testing.assert_close(
        quat_apply(q, arm[None])[0], moved.means[25] - moved.means[20], rtol=1e-4, atol=1e-5
    )


def test_the_future_starts_where_the_observed_time_ends(scene: CarriedScene) -> None:
    codes = scene.codes()
    last = scene.state_at(T_OBS, codes)
    soon = scene.state_at(T_OBS + 1e-4, codes)
    assert float((soon.means - last.means).norm(dim=1).max()) < 2e-3
    later = scene.state_at(1.0, codes)
    torch.testing.assert_close(
        torch.pdist(later.means[20:]), torch.pdist(last.means[20:]), rtol=1e-3, atol=1e-4
    )
    assert float((later.means[20:] - last.means[20:]).norm(dim=1).min()) > 0.05
    torch.testing.assert_close(later.means[:20], last.means[:20])


def test_what_rests_is_recognised_and_stays(scene: CarriedScene) -> None:
    assert scene.freeze_static([0.0, 0.2, 0.5, T_OBS], threshold=0.01) == 20
    with torch.no_grad():
        scene.params["motion_codes"].zero_()
    codes = scene.codes()
    torch.testing.assert_close(scene.state_at(0.9, codes).means[:20], scene.params["means"][:20])
    assert float(scene.velocity_of(scene.params["means"], 0.5, codes)[:20].abs().max()) == 0.0


def test_codes_start_with_the_nearest_motion_and_add_up_to_one() -> None:
    seeds = SeedPoints(torch.randn(200, 3), torch.rand(200, 3))
    pivots = spread_pivots(seeds.positions, 6)
    params = initial_parameters(seeds, pivots, 0, 0, 0.3, 1.0)
    codes = torch.softmax(params["motion_codes"], dim=1)
    torch.testing.assert_close(codes.sum(1), torch.ones(200))
    nearest = torch.cdist(seeds.positions, pivots[1:]).argmin(1)
    assert bool((codes[:, 1:].argmax(1) == nearest).all())


def test_kept_frames_of_the_future_equal_those_integrated_at_once(scene: CarriedScene) -> None:
    codes = scene.codes()
    at_once = {t: scene.state_at(t, codes) for t in (T_OBS + 3 / 60, T_OBS + 10.4 / 60)}
    with torch.no_grad():
        for t in reversed(list(at_once)):
            kept = scene.state_at(t, codes)
            torch.testing.assert_close(kept.means, at_once[t].means, rtol=1e-3, atol=1e-4)
        again = scene.state_at(T_OBS + 3 / 60, codes)
        scene.velocity.weights.mul_(2.0)  # type: ignore[operator, union-attr]
        torch.testing.assert_close(scene.state_at(T_OBS + 3 / 60, codes).means, again.means)
        scene.forget()
        assert float((scene.state_at(T_OBS + 3 / 60, codes).means - again.means).abs().max()) > 1e-3
