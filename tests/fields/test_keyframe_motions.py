"""Rigid motions of time: identity at the canonical time, and twists that are their derivative."""

import numpy as np
import pytest
import torch

from dyn3d_ns.fields.keyframe_motions import KeyframeMotions
from dyn3d_ns.fields.time_basis import TimeBasis
from dyn3d_ns.geometry.se3 import twist_velocity

BASIS = TimeBasis(0.3, 0.0, 0.75, (1, 2, 3), 5)


@pytest.fixture
def motions() -> KeyframeMotions:
    torch.manual_seed(1)
    made = KeyframeMotions(BASIS, torch.randn(4, 3)).double()
    torch.nn.init.normal_(made.coefficients, std=0.4)
    return made


def test_every_motion_is_the_identity_at_the_canonical_time(motions: KeyframeMotions) -> None:
    poses = motions(0.3)
    torch.testing.assert_close(poses.rotations, torch.eye(3, dtype=torch.float64).expand(4, 3, 3))
    assert float(poses.translations.abs().max()) < 1e-6
    assert float((motions(0.6).translations[1:]).abs().min()) > 1e-4
    assert float((motions(0.6).translations[0]).abs().max()) == 0.0


@pytest.mark.parametrize("t", [0.05, 0.3, 0.52, 0.7])
def test_twists_are_the_rate_of_the_motions(motions: KeyframeMotions, t: float) -> None:
    x, h = torch.randn(3, dtype=torch.float64), 1e-3

    def at(s: float) -> torch.Tensor:
        poses = motions(s)
        return poses.rotations @ x + poses.translations

    numeric = (at(t + h) - at(t - h)) / (2 * h)
    analytic = twist_velocity(motions.twists(t), at(t))
    torch.testing.assert_close(numeric, analytic, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("derivative", [1, 2, 3])
def test_derivatives_of_the_basis(derivative: int) -> None:
    t, h = np.array([0.11, 0.33, 0.47, 0.71]), 1e-3
    numeric = (BASIS(t + h, derivative - 1) - BASIS(t - h, derivative - 1)) / (2 * h)
    exact = BASIS(t, derivative)
    torch.testing.assert_close(numeric, exact, rtol=0.02, atol=0.02 * float(exact.abs().max()))


def test_jerk_is_zero_for_a_parabola_and_not_for_a_cubic(motions: KeyframeMotions) -> None:
    with torch.no_grad():
        motions.coefficients.zero_()
        motions.coefficients[0] = motions.coefficients[1] = 1.0
        assert float(motions.jerk()) < 1e-9
        motions.coefficients[2] = 1.0
        assert float(motions.jerk()) == pytest.approx(36.0, rel=1e-3)


def test_splines_follow_what_polynomials_cannot() -> None:
    times = np.linspace(0, 0.75, 60)
    target = torch.sin(torch.from_numpy(times) * 14).float()[:, None]
    design = BASIS(times)
    design = torch.cat([design, torch.ones(60, 1)], 1)
    error = design @ torch.linalg.lstsq(design, target, driver="gelsd").solution - target
    cubic = torch.cat([design[:, :3], torch.ones(60, 1)], 1)
    worse = cubic @ torch.linalg.lstsq(cubic, target).solution - target
    assert float(error.abs().max()) < 0.1 < float(worse.abs().max())
