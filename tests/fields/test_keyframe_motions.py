"""Motions of time: identity at the canonical time, rates that are their derivative, and how they go on."""

import numpy as np
import pytest
import torch

from dyn3d_ns.fields.keyframe_motions import KeyframeMotions
from dyn3d_ns.fields.time_basis import TimeBasis
from dyn3d_ns.geometry.rotations import normalize_quat
from dyn3d_ns.geometry.se3 import twist_velocity

BASIS = TimeBasis(0.3, 0.0, 0.75, (1, 2, 3), 5)
DT, FRAMES = 1 / 60, 5
LAST = 0.75 + DT * (FRAMES - 1)


def foretold(motions: KeyframeMotions) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a few frames that go on from the last observed one, with quaternions of length one."""
    table, random = motions.table(0.75).detach(), torch.Generator().manual_seed(2)
    frames = torch.arange(FRAMES, dtype=torch.float64)[:, None, None]
    steps = 0.1 * torch.randn(4, 9, generator=random, dtype=torch.float64)
    steps[0] = 0
    values = table[:, 9:] + frames * steps
    return normalize_quat(values[..., 3:7]), values[..., :3], values[..., 7:]


@pytest.fixture
def motions() -> KeyframeMotions:
    torch.manual_seed(1)
    made = KeyframeMotions(BASIS, torch.randn(4, 3), 2, DT).double()
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


def test_values_are_shift_turn_and_latent_motions(motions: KeyframeMotions) -> None:
    values = motions.values(0.6, 0)
    assert values.shape == (4, 8) and float(values[0].abs().max()) == 0.0
    assert torch.equal(motions.table(0.6)[:, 16:], values[:, 6:])
    poses, pivots = motions(0.6), motions.pivots
    turned = (poses.rotations @ pivots[..., None])[..., 0] + poses.translations
    torch.testing.assert_close(turned - pivots, values[:, :3])


@pytest.mark.parametrize("t", [0.05, 0.3, 0.7, 0.75 + 0.3 * DT, 0.75 + 2.6 * DT, LAST - 0.2 * DT, LAST + 0.1])
def test_rates_of_the_table_are_its_derivative(motions: KeyframeMotions, t: float) -> None:
    motions.go_on(*foretold(motions))
    h = 1e-4
    numeric = (motions.table(t + h) - motions.table(t - h)) / (2 * h)
    rates = motions.table_rates(t)
    torch.testing.assert_close(rates, numeric, rtol=5e-3, atol=5e-3)
    assert float(rates[0].abs().max()) < 1e-12
    assert (float(rates[1:].abs().max()) > 0.1) == (t < LAST)


def test_what_is_foretold_joins_smoothly_and_is_held_at_its_end(motions: KeyframeMotions) -> None:
    frames = foretold(motions)
    motions.go_on(*frames)
    torch.testing.assert_close(motions.table(0.75 + 1e-5), motions.table(0.75), rtol=0, atol=1e-3)
    torch.testing.assert_close(motions.table_rates(0.75 + 1e-5), motions.table_rates(0.75), rtol=0, atol=5e-2)
    for i in range(1, FRAMES):
        table = motions.table(0.75 + i * DT)
        torch.testing.assert_close(table[:, 12:16], frames[0][i])
        torch.testing.assert_close(table[:, 9:12], frames[1][i])
        torch.testing.assert_close(table[:, 16:], frames[2][i])
    end = motions.table(LAST)
    for t in (LAST + 0.01, LAST + 1.0):
        torch.testing.assert_close(motions.table(t), end)
        assert float(motions.twists(t).abs().max()) == 0.0


def test_signs_of_foretold_quaternions_do_not_matter(motions: KeyframeMotions) -> None:
    quats, translations, latents = foretold(motions)
    times = [0.75 + f * DT for f in (0.5, 1.0, 1.7, 3.2)]
    motions.go_on(quats, translations, latents)
    tables = [motions.table(t) for t in times]
    signs = torch.tensor([[1, -1, 1, -1], [-1, -1, 1, 1], [1, 1, -1, -1], [-1, 1, 1, -1], [1, 1, 1, -1.0]])
    motions.go_on(quats * signs[..., None].double(), translations, latents)
    for t, table in zip(times, tables, strict=True):
        assert torch.equal(motions.table(t), table)


def test_without_a_forecast_all_is_held(motions: KeyframeMotions) -> None:
    assert torch.equal(motions.table(0.9), motions.table(0.75))
    assert float(motions.table_rates(0.9).abs().max()) == 0.0


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
