"""The fit finds falling, turning, swinging and more by itself, from observed times only."""

import numpy as np
import pytest
import torch

from dyn3d_ns.fields.continuation import MAX_DEGREE
from dyn3d_ns.fields.integrate import integrate
from dyn3d_ns.fields.keyframe_motions import KeyframeMotions
from dyn3d_ns.fields.time_basis import TimeBasis
from dyn3d_ns.fields.velocity import BasisVelocityField
from dyn3d_ns.fields.velocity_fit import fit_velocity

T_OBS, CANONICAL = 0.75, 0.4


def learned(paths: list) -> KeyframeMotions:
    """Fit keyframe motions to given shifts and rotation vectors of time."""
    basis = TimeBasis(CANONICAL, 0.0, T_OBS, (1, 2, 3), 24)
    motions = KeyframeMotions(basis, torch.zeros(len(paths) + 1, 3))
    times = np.linspace(0, T_OBS, 200)
    for k, path in enumerate(paths):
        values = torch.tensor(np.stack([path(t) for t in times]) - path(CANONICAL)).float()
        with torch.no_grad():
            motions.coefficients[:, k] = torch.linalg.lstsq(basis(times), values, driver="gelsd").solution
    return motions


def falling(t: float) -> np.ndarray:
    return np.array([0, 0, -2 * t**2, 0, 0, 0.1 * t])


def turning(t: float) -> np.ndarray:
    return np.array([0, 0, 0, 0, 3.4 * t, 0])


def drifting(t: float) -> np.ndarray:
    return np.array([0.5 * t, 0, 0.1 * t, 0, 0, 0])


def swinging(t: float) -> np.ndarray:
    """A pendulum about the world's x axis, two swings within the observed time."""
    return np.array([0, 0, 0, 0.6 * np.sin(2 * np.pi * t / 0.375), 0, 0])


def stopping(t: float) -> np.ndarray:
    return np.array([np.sin(2 * np.pi * min(t, 0.35)), 0, 0, 0, 0, 0])


PATHS = [falling, turning, drifting, swinging, stopping]


@pytest.fixture(scope="module")
def fitted() -> tuple[BasisVelocityField, torch.Tensor]:
    torch.manual_seed(0)
    field, points = new_field(len(PATHS) + 1), 0.3 * torch.randn(20 * (len(PATHS) + 1), 3)
    codes = torch.eye(len(PATHS) + 1).repeat_interleave(20, dim=0)
    chosen = fit_velocity(field, learned(PATHS), points, codes, torch.ones(len(points)))
    assert [c.motion for c in chosen] == [1, 2, 3, 4, 5]
    kinds = [c.candidate.kind for c in chosen]
    assert kinds[3:] == ["swing", "rest"] and max(c.error for c in chosen) < 0.02
    return field, points


def new_field(motions: int) -> BasisVelocityField:
    basis = TimeBasis(CANONICAL, 0.0, T_OBS, tuple(range(MAX_DEGREE + 1)), 12, anchored=False, vanishing=True)
    return BasisVelocityField(basis, motions)


@pytest.mark.parametrize(("index", "path"), enumerate(PATHS, start=1))
def test_each_motion_is_predicted_into_the_future(fitted, index: int, path) -> None:
    from dyn3d_ns.geometry.rotations import so3_exp

    field, points = fitted
    mine = points[20 * index : 20 * index + 20]
    code = torch.eye(len(PATHS) + 1)[index].expand(20, -1)

    def place(t: float) -> torch.Tensor:
        change = torch.tensor(path(t) - path(CANONICAL)).float()
        return mine @ so3_exp(change[3:]).T + change[:3]

    end = integrate(lambda x, t: field(x, t, code), place(T_OBS), T_OBS, 1.0, 1 / 60)
    farthest = max(float((place(t) - place(T_OBS)).norm(dim=1).mean()) for t in np.linspace(T_OBS, 1, 9))
    assert float((end - place(1.0)).norm(dim=1).mean()) < 0.03 * max(farthest, 0.1)


def test_rest_stays_at_rest(fitted) -> None:
    field, points = fitted
    code = torch.eye(len(PATHS) + 1)[0].expand(20, -1)
    assert float(field(points[:20], 0.9, code).abs().max()) == 0.0


def test_observed_velocity_is_the_rate_of_the_motion(fitted) -> None:
    field, _ = fitted
    twist = field.twists(0.3)
    assert float(twist[1, 2]) == pytest.approx(-4 * 0.3, rel=0.03)
    assert float(twist[2, 4]) == pytest.approx(3.4, rel=0.01)


def test_mixtures_move_with_the_field() -> None:
    """Points that mix two motions whose twists differ where each motion puts them."""
    torch.manual_seed(1)
    far = learned([turning, lambda t: np.array([3 * t, 0, 0, 0, -3.4 * t, 0])])
    points, share = 0.3 * torch.randn(200, 3), 0.2 + 0.6 * torch.rand(200, 1)
    codes = torch.cat([torch.zeros(200, 1), share, 1 - share], dim=1)
    field = new_field(3)
    fit_velocity(field, far, points, codes, torch.ones(200))

    def place(t: float) -> torch.Tensor:
        poses = far(t)
        carried = torch.einsum("kij,pj->pki", poses.rotations, points) + poses.translations
        return (codes[..., None] * carried).sum(1)

    h = 1e-3
    truth = (place(0.6 + h) - place(0.6 - h)) / (2 * h)
    error = (field(place(0.6), 0.6, codes) - truth).norm(dim=1).mean() / truth.norm(dim=1).mean()
    twists = torch.einsum("pk,kc->pc", codes, far.twists(0.6))
    naive = twists[:, :3] + torch.linalg.cross(twists[:, 3:], place(0.6))
    naive_error = (naive - truth).norm(dim=1).mean() / truth.norm(dim=1).mean()
    assert float(error) < 0.75 * float(naive_error)


def test_nothing_that_moves_leaves_the_field_at_rest() -> None:
    field = new_field(3)
    with torch.no_grad():
        field.weights.fill_(1.0)
    codes = torch.zeros(10, 3)
    codes[:, 0] = 1
    assert fit_velocity(field, learned([turning, drifting]), torch.randn(10, 3), codes, torch.ones(10)) == []
    assert float(field.twists(0.9).abs().max()) == 0.0


def test_one_moment_leaves_the_field_at_rest() -> None:
    basis = TimeBasis(0.3, 0.3, 0.3, (1, 2, 3), 3)
    motions = KeyframeMotions(basis, torch.randn(3, 3))
    rates = TimeBasis(0.3, 0.3, 0.3, tuple(range(MAX_DEGREE + 1)), 6, anchored=False, vanishing=True)
    field, codes = BasisVelocityField(rates, 3), torch.full((10, 3), 1 / 3)
    with torch.no_grad():
        field.weights.fill_(1.0)
    assert fit_velocity(field, motions, torch.randn(10, 3), codes, torch.ones(10)) == []
    assert float(field.twists(0.3).abs().max()) == 0.0
