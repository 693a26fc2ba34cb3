"""The continuation finds falling, turning and drifting by itself, from observed times only."""

import numpy as np
import pytest
import torch

from dyn3d_ns.fields.continuation import MAX_DEGREE, fit_velocity
from dyn3d_ns.fields.integrate import integrate
from dyn3d_ns.fields.keyframe_motions import KeyframeMotions
from dyn3d_ns.fields.time_basis import TimeBasis
from dyn3d_ns.fields.velocity import BasisVelocityField

T_OBS, CANONICAL = 0.75, 0.4


def learned(paths: list) -> KeyframeMotions:
    """Fit keyframe motions to given shifts and rotation vectors of time."""
    basis = TimeBasis(CANONICAL, 0.0, T_OBS, (1, 2, 3), 6)
    motions = KeyframeMotions(basis, torch.zeros(len(paths) + 1, 3))
    times = np.linspace(0, T_OBS, 60)
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


@pytest.fixture(scope="module")
def fitted() -> tuple[BasisVelocityField, torch.Tensor]:
    torch.manual_seed(0)
    motions = learned([falling, turning, drifting])
    basis = TimeBasis(CANONICAL, 0.0, T_OBS, tuple(range(MAX_DEGREE + 1)), 12, anchored=False, vanishing=True)
    field = BasisVelocityField(basis, 4)
    codes = torch.eye(4).repeat_interleave(20, dim=0)
    points = 0.3 * torch.randn(80, 3)
    fit_velocity(field, motions, points, codes)
    return field, points


@pytest.mark.parametrize(("index", "path"), enumerate([falling, turning, drifting], start=1))
def test_each_motion_is_predicted_into_the_future(fitted, index: int, path) -> None:
    from dyn3d_ns.geometry.rotations import so3_exp

    field, points = fitted
    mine = points[20 * index : 20 * index + 20]
    code = torch.eye(4)[index].expand(20, 4)

    def place(t: float) -> torch.Tensor:
        change = torch.tensor(path(t) - path(CANONICAL)).float()
        return mine @ so3_exp(change[3:]).T + change[:3]

    end = integrate(lambda x, t: field(x, t, code), place(T_OBS), T_OBS, 1.0, 1 / 60)
    moved = (place(1.0) - place(T_OBS)).norm(dim=1).mean()
    assert float((end - place(1.0)).norm(dim=1).mean()) < 0.03 * float(moved)


def test_rest_stays_at_rest(fitted) -> None:
    field, points = fitted
    code = torch.eye(4)[0].expand(20, 4)
    assert float(field(points[:20], 0.9, code).abs().max()) == 0.0


def test_observed_velocity_is_the_rate_of_the_motion(fitted) -> None:
    field, _ = fitted
    twist = field.twists(0.3)
    assert float(twist[1, 2]) == pytest.approx(-4 * 0.3, rel=0.03)
    assert float(twist[2, 4]) == pytest.approx(3.4, rel=0.01)
