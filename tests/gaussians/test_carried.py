"""Gaussians carried through time: mixing and bending, the way into the future, and what is frozen."""

import pytest
import torch
from torch import Tensor

from dyn3d_ns.fields.keyframe_motions import KeyframeMotions
from dyn3d_ns.fields.time_basis import TimeBasis
from dyn3d_ns.gaussians.carried import CERTAIN, CarriedScene, initial_parameters, spread_pivots
from dyn3d_ns.gaussians.seeds.points import SeedPoints
from dyn3d_ns.geometry.rotations import normalize_quat, quat_apply, quat_multiply, so3_exp_quat
from dyn3d_ns.geometry.se3 import twist_velocity

T_OBS, FRAMES = 0.75, 7
LAST = T_OBS + (FRAMES - 1) / 60


@pytest.fixture
def scene() -> CarriedScene:
    """One half of the points rests, the other follows a motion that shifts and turns, also in the future."""
    torch.manual_seed(0)
    seeds = SeedPoints(torch.randn(40, 3), torch.rand(40, 3))
    pivots = spread_pivots(seeds.positions, 3)
    params = initial_parameters(seeds, pivots, 1, color_modes=2, opacity=0.3, max_scale=1.0, latents=2)
    params["motion_codes"] = torch.full((40, 3), -CERTAIN)
    params["motion_codes"][:20, 0] = params["motion_codes"][20:, 1] = CERTAIN
    motions = KeyframeMotions(TimeBasis(0.3, 0.0, T_OBS, (1, 2, 3), 4), pivots, 2, 1 / 60)
    with torch.no_grad():
        motions.coefficients[0, 0] = torch.tensor([0.5, 0, 0, 0, 0, 0.8, 0.4, 0.0])
        motions.coefficients[1, 0, 6:] = torch.tensor([0.0, 0.7])
        table = motions.table(T_OBS)
        frames = torch.arange(FRAMES)[:, None, None]
        quats = quat_multiply(so3_exp_quat(frames * torch.tensor([0.0, 0.0, 0.05])), table[None, :, 12:16])
        quats[:, 0] = table[0, 12:16]
        rest = torch.tensor([0.0, 1.0, 0.0])[:, None]
        motions.go_on(
            quats, table[:, 9:12] + 0.02 * frames * rest, table[:, 16:] + 0.03 * frames * rest[:, :1]
        )
    return CarriedScene(params, motions)


def soften(scene: CarriedScene) -> None:
    """Let every Gaussian mix all motions, and bend."""
    torch.manual_seed(1)
    scene.params["motion_codes"] = torch.nn.Parameter(torch.randn(40, 3))
    scene.params["bends"] = torch.nn.Parameter(0.2 * torch.randn(40, 2, 8))
    torch.nn.init.normal_(scene.motions.coefficients, std=0.3)


def places(scene: CarriedScene, t: float) -> Tensor:
    with torch.no_grad():
        return scene.at(t).means


@torch.no_grad()
def test_only_the_second_half_moves_and_it_moves_rigidly(scene: CarriedScene) -> None:
    codes, means = scene.codes(), scene.params["means"].detach()
    moved = scene.deform(0.7, codes)
    assert torch.equal(moved.means[:20], means[:20])
    assert float((moved.means[20:] - means[20:]).norm(dim=1).min()) > 0.05
    torch.testing.assert_close(torch.pdist(moved.means[20:]), torch.pdist(means[20:]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_orientations_turn_with_the_points(scene: CarriedScene) -> None:
    codes, means = scene.codes(), scene.params["means"].detach()
    moved = scene.deform(0.7, codes)
    q = normalize_quat(moved.quats[20:21])
    arm = means[25] - means[20]
    torch.testing.assert_close(
        quat_apply(q, arm[None])[0], moved.means[25] - moved.means[20], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("t", [0.5, T_OBS + 0.03])
def test_gaussians_bend_before_the_motions_carry_them(scene: CarriedScene, t: float) -> None:
    """``x = sum_k z_k [R_k (p + sum_j b_j c_j) + t_k]`` with ``b_j = sum_k z_k b_kj``, written out."""
    soften(scene)
    with torch.no_grad():
        state, codes, params = scene.deform(t, scene.codes()), scene.codes(), scene.params
        table = scene.motions.table(t)
        for i in (0, 17, 39):
            bent, quat = params["means"][i].clone(), params["quats"][i].clone()
            for j in range(2):
                latent = sum(codes[i, k] * table[k, 16 + j] for k in range(3))
                bent += latent * params["bends"][i, j, :3]
                quat += latent * params["bends"][i, j, 3:7]
            moved = sum(codes[i, k] * (table[k, :9].view(3, 3) @ bent + table[k, 9:12]) for k in range(3))
            torch.testing.assert_close(state.means[i], moved)
            mixed = sum(codes[i, k] * table[k, 12:16] for k in range(3))
            torch.testing.assert_close(state.quats[i], quat_multiply(mixed, quat))


@pytest.mark.parametrize("t", [0.1, 0.52, T_OBS + 0.013, T_OBS + 0.07])
def test_velocities_are_the_rate_of_the_places(scene: CarriedScene, t: float) -> None:
    soften(scene)
    scene.double()
    h = 1e-4
    numeric = (places(scene, t + h) - places(scene, t - h)) / (2 * h)
    assert float(numeric.abs().max()) > 0.1
    velocities = scene.velocities(t, scene.codes())
    torch.testing.assert_close(velocities, numeric, rtol=1e-2, atol=5e-3)


def test_matter_moves_as_the_motion_that_it_follows(scene: CarriedScene) -> None:
    """Between Gaussians of one body too, and in the future."""
    with torch.no_grad():
        scene.params["motion_codes"][:20] = scene.params["motion_codes"][20:]
        scene.params["opacities"].fill_(3.0)
        scene.forget()
        points = 0.5 * torch.randn(10, 3)
        for t in (0.4, T_OBS + 0.04):
            expected = twist_velocity(scene.motions.twists(t)[1].expand(10, 6), points)
            torch.testing.assert_close(scene.velocity_at(points, t), expected, rtol=1e-3, atol=1e-4)


def test_the_future_starts_where_the_observed_time_ends(scene: CarriedScene) -> None:
    last, soon, later = (places(scene, t) for t in (T_OBS, T_OBS + 1e-4, LAST))
    assert float((soon - last).norm(dim=1).max()) < 2e-3
    torch.testing.assert_close(torch.pdist(later[20:]), torch.pdist(last[20:]), rtol=1e-3, atol=1e-4)
    assert float((later[20:] - last[20:]).norm(dim=1).min()) > 0.05
    assert torch.equal(later[:20], last[:20])
    assert torch.equal(places(scene, LAST + 0.2), later), "held beyond the last frame"
    assert float(scene.velocities(LAST + 0.2, scene.codes()).abs().max()) == 0.0


def test_what_is_not_foretold_is_held(scene: CarriedScene) -> None:
    scene.motions.future = scene.motions.future[:0]
    assert torch.equal(places(scene, 0.9), places(scene, T_OBS))
    assert float(scene.velocities(0.9, scene.codes()).abs().max()) == 0.0


def test_what_rests_is_recognised_and_stays(scene: CarriedScene) -> None:
    assert scene.freeze_static([0.0, 0.2, 0.5, T_OBS], threshold=0.01) == 20
    with torch.no_grad():
        scene.params["motion_codes"].zero_()
        scene.params["bends"].fill_(0.3)
    scene.forget()
    for t in (0.5, 0.8, 2.0):
        assert torch.equal(places(scene, t)[:20], scene.params["means"][:20])
        assert float(scene.at(t).motion[:20].abs().max()) == 0.0
    assert float(scene.at(0.5).motion[20:].norm(dim=1).min()) > 0.0


def test_what_spins_in_its_place_does_not_rest(scene: CarriedScene) -> None:
    with torch.no_grad():
        scene.motions.coefficients.zero_()
        scene.motions.coefficients[0, 0, 5] = 1.0
        scene.params["means"][20:22] = scene.motions.pivots[1]
        scene.params["scales"][20] = torch.tensor([0.3, 0.1, 0.1]).log()
        scene.params["scales"][21] = torch.tensor([1e-4, 1e-4, 1e-4]).log()
    scene.freeze_static([0.0, 0.2, 0.5, T_OBS], threshold=0.01)
    assert bool(scene.resting[:20].all()) and not bool(scene.resting[20]) and bool(scene.resting[21])


def test_codes_start_with_the_nearest_motion_and_add_up_to_one() -> None:
    seeds = SeedPoints(torch.randn(200, 3), torch.rand(200, 3))
    pivots = spread_pivots(seeds.positions, 6)
    params = initial_parameters(seeds, pivots, 0, 0, 0.3, 1.0)
    codes = torch.softmax(params["motion_codes"], dim=1)
    torch.testing.assert_close(codes.sum(1), torch.ones(200))
    nearest = torch.cdist(seeds.positions, pivots[1:]).argmin(1)
    assert bool((codes[:, 1:].argmax(1) == nearest).all())


def test_a_checkpoint_brings_the_future_along(scene: CarriedScene) -> None:
    state, truth = scene.state_dict(), places(scene, LAST)
    scene.motions.future = scene.motions.future[:0]
    scene.load_state_dict(state)
    assert torch.equal(places(scene, LAST), truth)
