"""Cutting tracked Gaussians into bodies, and a body's motion into a rigid one and a few that bend it."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dyn3d_ns.gaussians.bodies import Array, describe_bodies, rigid_motion, rotation_vectors, tell_apart

TIMES, CANONICAL = 15, 7
PHASE = np.linspace(-1, 1, TIMES)


def slab(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3)) * [1.0, 0.5, 0.1]


def bending(points: Array, amount: float) -> Array:
    """Return paths of a slab that bows up and down and sways along."""
    paths = np.repeat(points[None], TIMES, 0)
    bow = amount * np.sin(3 * PHASE)
    paths[..., 2] += bow[:, None] * points[:, 0] ** 2
    paths[..., 1] += 0.4 * PHASE[:, None]
    return paths


def test_bodies_that_touch_nothing_are_told_apart_from_each_other_and_from_rest() -> None:
    random = np.random.default_rng(0)
    large, small = bending(slab(900, 1), 0.4), bending(slab(500, 2), -0.5)[:, :, [1, 0, 2]] + [0, 0, 0.9]
    still = np.repeat(random.uniform(-2, 2, (200, 3))[None], TIMES, 0)
    paths = np.concatenate([small, still, large], axis=1)
    truth = np.repeat([2, 0, 1], [500, 200, 900])
    order = random.permutation(len(truth))
    paths = paths[:, order] + 1e-3 * random.normal(size=paths.shape)
    labels = tell_apart(paths, CANONICAL, random.uniform(0.5, 1.0, len(truth)), rest=0.02, most=15)
    assert (labels == truth[order]).mean() == 1.0, "the heavier body comes first"


def test_a_hinge_is_one_body() -> None:
    """Two plates that turn against each other about their common edge."""
    points = slab(1200, 3)
    right = points[:, 0] > 0
    paths = np.repeat(points[None], TIMES, 0)
    for t, angle in enumerate(0.8 * np.sin(3 * PHASE) - 0.8 * np.sin(3 * PHASE[CANONICAL])):
        paths[t, right] = Rotation.from_rotvec([0, angle, 0]).apply(points[right])
        paths[t, ~right] = Rotation.from_rotvec([0, -angle, 0]).apply(points[~right])
    paths[:, :, 1] += PHASE[:, None]
    labels = tell_apart(paths, CANONICAL, np.ones(1200), rest=0.02, most=15)
    assert (labels == 1).all()


def test_what_rests_is_no_body() -> None:
    paths = np.repeat(slab(300, 4)[None], TIMES, 0)
    assert (tell_apart(paths, CANONICAL, np.ones(300), rest=0.01, most=15) == 0).all()


def test_rigid_motion_is_found() -> None:
    random, points = np.random.default_rng(0), slab(50, 5)
    turns = Rotation.from_rotvec(0.08 * PHASE[:, None] * TIMES * [0.3, -0.5, 0.8]).as_matrix()
    shifts = random.normal(size=(TIMES, 3)) * (np.arange(TIMES) != CANONICAL)[:, None]
    paths = np.einsum("tij,nj->tni", turns, points) + shifts[:, None]
    found = rigid_motion(points, paths, random.uniform(0.1, 1, 50), CANONICAL)
    off = Rotation.from_matrix(found[0] @ turns.transpose(0, 2, 1)).magnitude()
    assert off.max() < 1e-2
    moved = np.einsum("tij,nj->tni", found[0], points) + found[1][:, None]
    assert np.abs(moved - paths).max() < 1e-2


def test_a_roll_that_nothing_shows_is_not_made_up() -> None:
    """A thin rod swings to and fro, told with noise that is larger than it is thick."""
    random = np.random.default_rng(0)
    points = random.uniform(-1, 1, (200, 3)) * [1.0, 0.01, 0.01]
    turns = Rotation.from_rotvec(0.5 * PHASE[:, None] * [0.0, 0.0, 1.0]).as_matrix()
    paths = np.einsum("tij,nj->tni", turns, points) + 0.05 * random.normal(size=(TIMES, 200, 3))
    paths[CANONICAL] = points
    found = rigid_motion(points, paths, np.ones(200), CANONICAL)[0]
    assert Rotation.from_matrix(found @ turns.transpose(0, 2, 1)).magnitude().max() < 0.02


def product(a: Array, b: Array) -> Array:
    """Return the product of quaternions, wxyz."""
    w, x, y, z = np.moveaxis(a, -1, 0)
    left = np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]])
    return np.einsum("ij...,...j->...i", left, b)


@pytest.mark.parametrize("reach", [0.5, 5.0])
def test_bending_by_a_few_functions_of_time_comes_back(reach: float) -> None:
    """Two bodies, each of rank two; each turns as a whole too, by up to ``reach`` radians either way."""
    random, latents = np.random.default_rng(1), 2
    labels, mass = np.repeat([0, 1, 2], [6, 80, 60]), np.ones(146)
    places, quats = random.normal(size=(146, 3)), random.normal(size=(146, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    paths, turned = np.repeat(places[None], TIMES, 0), np.repeat(quats[None], TIMES, 0)
    for body in (1, 2):
        mine = np.flatnonzero(labels == body)
        half = len(mine) // 2
        # Bends that are alike on opposite sides turn and shift nothing as a whole.
        p = np.concatenate([places[mine[:half]], -places[mine[:half]]])
        weight = np.tile(random.uniform(0.2, 1, half), 2)
        bends = np.tile(random.normal(size=(half, latents, 7)), (2, 1, 1))
        bends[..., :3] *= 10  # more than what a body that hardly bends may
        bends[..., :3] -= np.average(bends[..., :3], axis=0, weights=weight)
        functions = 0.1 * np.stack([PHASE, PHASE**2], 1)
        q = quats[mine]
        mass[mine], paths[CANONICAL, mine] = weight, p
        vector = reach * body * PHASE[:, None] / 2 * np.array([0.6, 0, 0.8])
        turn = Rotation.from_rotvec(vector)
        angle = np.linalg.norm(vector, axis=1, keepdims=True) * np.sign(PHASE)[:, None]
        whole = np.concatenate([np.cos(angle / 2), np.sin(angle / 2) * np.array([0.6, 0, 0.8])], axis=1)
        bent = p + np.einsum("tl,nlc->tnc", functions, bends[..., :3])
        paths[:, mine] = np.einsum("tij,tnj->tni", turn.as_matrix(), bent) + PHASE[:, None, None]
        turned[:, mine] = product(
            np.repeat(whole[:, None], len(mine), 1), q + np.einsum("tl,nlc->tnc", functions, bends[..., 3:])
        )
    sizes = random.uniform(0.01, 0.05, 146)
    bodies = describe_bodies(labels, paths, turned, CANONICAL, mass, sizes, latents, most=4)
    assert bodies.rotations.shape == (TIMES, 5, 3, 3) and bodies.bends.shape == (146, latents, 7)
    latent = bodies.latents[:, labels]
    bent = paths[CANONICAL] + np.einsum("tnl,nlc->tnc", latent, bodies.bends[..., :3])
    moved = np.einsum("tnij,tnj->tni", bodies.rotations[:, labels], bent) + bodies.translations[:, labels]
    np.testing.assert_allclose(moved, paths, atol=1e-3)
    whole = Rotation.from_matrix(bodies.rotations[:, labels].reshape(-1, 3, 3)).as_quat()[:, [3, 0, 1, 2]]
    found = turned[CANONICAL] + np.einsum("tnl,nlc->tnc", latent, bodies.bends[..., 3:])
    found = product(whole.reshape(TIMES, 146, 4), found)
    signs = np.sign((found * turned).sum(2, keepdims=True))
    np.testing.assert_allclose(signs * found, turned, atol=1e-3)
    np.testing.assert_allclose(np.square(bodies.latents[:, 1:3]).mean(0), 1, rtol=1e-9)
    np.testing.assert_allclose(bodies.latents[CANONICAL], 0, atol=1e-8)
    assert (bodies.bends[:6] == 0).all() and (bodies.latents[:, [0, 3, 4]] == 0).all()


def test_rotation_vectors_go_on_past_a_whole_turn() -> None:
    axis = np.array([2.0, -1.0, 2.0]) / 3
    angles = np.concatenate([np.linspace(-9, 0, 21), np.linspace(0, 14, 32)[1:]])
    found = rotation_vectors(Rotation.from_rotvec(angles[:, None] * axis).as_matrix(), 20)
    np.testing.assert_allclose(found, angles[:, None] * axis, atol=1e-6)


def test_a_body_that_hardly_bends_starts_as_a_rigid_one() -> None:
    """What is left of a turning body is what its tracks were off by."""
    random = np.random.default_rng(2)
    places = random.normal(size=(90, 3))
    turns = Rotation.from_rotvec(2 * PHASE[:, None] * np.array([0, 0.6, 0.8])).as_matrix()
    paths = np.einsum("tij,nj->tni", turns, places)
    paths[PHASE != 0] += 0.02 * random.normal(size=(int((PHASE != 0).sum()), 90, 3))
    quats = np.tile([1.0, 0, 0, 0], (TIMES, 90, 1))
    labels, sizes = np.ones(90, np.int64), np.full(90, 0.02)
    bodies = describe_bodies(labels, paths, quats, CANONICAL, np.ones(90), sizes, 2, most=1)
    assert not bodies.bends.any() and bodies.latents[:, 1].any()
    np.testing.assert_allclose(bodies.rotations[:, 1], turns, atol=0.02)
