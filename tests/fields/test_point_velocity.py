"""Velocity and acceleration of place and time: closed forms, and analytic derivatives against autograd."""

import dataclasses

import pytest
import torch

from dyn3d_ns.fields.integrate import integrate
from dyn3d_ns.fields.point_velocity import Kinematics, PointVelocityField, SpaceTimeNetwork, with_time
from dyn3d_ns.fields.rigid_bases import centripetal_bases
from dyn3d_ns.geometry.rotations import skew
from dyn3d_ns.losses.physics import (
    divergence,
    divergence_loss,
    material_rate,
    steady_motion_loss,
    transport_loss,
)


def points(count: int = 40, reach: float = 0.9) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return (2 * torch.rand(count, 3, generator=generator, dtype=torch.float64) - 1) * reach


def random_field(**options) -> PointVelocityField:
    torch.manual_seed(0)
    field = PointVelocityField(width=16, hidden_layers=2, octaves=2, time_octaves=1, **options).double()
    for network in (field.velocity, field.acceleration):
        torch.nn.init.normal_(network.layers[-1].weight, std=0.5)
    return field


def steady(
    field: PointVelocityField, twist: list[float], drive: list[float] | None = None
) -> PointVelocityField:
    """Make the coefficients constant: the last layers keep only their biases."""
    for network, values in ((field.velocity, twist), (field.acceleration, drive or [0.0] * 6)):
        last = network.layers[-1]
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(torch.tensor(values))
    return field


@pytest.mark.parametrize("activation", ["silu", "relu"])
def test_the_networks_gradient_is_that_of_autograd(activation: str) -> None:
    torch.manual_seed(0)
    network = SpaceTimeNetwork(5, 12, 3, 3, 2, activation).double()
    inputs = with_time(points(20), 0.3)
    value, gradient = network.with_gradient(inputs)
    torch.testing.assert_close(value, network(inputs))
    expected = torch.func.vmap(torch.func.jacrev(lambda p: network(p[None])[0]))(inputs)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("reach", [0.9, 0.995])
def test_the_analytic_jacobian_is_that_of_autograd(reach: float) -> None:
    """Within the box, and in the shell where the velocity fades out."""
    field, x = random_field(), points(30, reach)
    x[:, 0] = x[:, 0].sign() * torch.linspace(reach - 0.02, reach, 30, dtype=torch.float64)
    t = torch.rand(30, 1, dtype=torch.float64)
    motion = field.kinematics(x, t)
    torch.testing.assert_close(motion.velocity, field(x, t))

    def velocity(p: torch.Tensor) -> torch.Tensor:
        return field(p[None, :3], p[None, 3:])[0]

    expected = torch.func.vmap(torch.func.jacrev(velocity))(torch.cat([x, t], dim=1))
    torch.testing.assert_close(motion.jacobian, expected, rtol=1e-8, atol=1e-9)
    # Those of the acceleration and of the angular velocity too, which the steadiness loss takes.
    both = torch.cat([x, t], dim=1)

    def acceleration(p: torch.Tensor) -> torch.Tensor:
        return (field.acceleration(p[None])[0, :, None] * centripetal_bases(p[:3])).sum(0)

    for found, function in (
        (motion.acceleration_jacobian, acceleration),
        (motion.spin_gradient, lambda p: field.velocity(p[None])[0, 3:]),
    ):
        expected = torch.func.vmap(torch.func.jacrev(function))(both)
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


def test_the_losses_gradient_by_the_weights_is_that_of_autograd_twice() -> None:
    """Training through the analytic Jacobian is training through the true one."""
    field, x = random_field(), points(10)
    t = torch.full((10, 1), 0.4, dtype=torch.float64)
    parameters = list(field.velocity.parameters())
    analytic = torch.autograd.grad(divergence_loss(field.kinematics(x, t).jacobian), parameters)
    start = x.clone().requires_grad_()
    velocity = field(start, t)
    rows = [torch.autograd.grad(velocity[:, i].sum(), start, create_graph=True)[0][:, i] for i in range(3)]
    twice = torch.autograd.grad(sum(rows).square().mean(), parameters)  # type: ignore[union-attr]
    for a, b in zip(analytic, twice, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-10)


def test_constant_coefficients_are_rigid() -> None:
    field = steady(random_field(), [0.3, -0.2, 0.5, 0.7, -1.1, 0.4])
    motion = field.kinematics(points(), 0.2)
    spatial = motion.jacobian[:, :, :3]
    assert float(divergence(motion.jacobian).abs().max()) < 1e-6
    torch.testing.assert_close(spatial, -spatial.transpose(1, 2), rtol=0, atol=1e-6)
    assert float(motion.jacobian[..., 3].abs().max()) < 1e-6


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_steady_rotation_has_no_transport_residual(axis: int) -> None:
    """``a = ω²`` times the centripetal basis of the axis (spec 8.2, 1); with another basis it is not zero."""
    rate = 1.7
    twist = [0.0] * 3 + [rate * (axis == i) for i in range(3)]
    residuals = []
    for basis in (axis, (axis + 1) % 3):
        drive = [0.0] * 3 + [rate**2 * (basis == i) for i in range(3)]
        motion = steady(random_field(), twist, drive).kinematics(points(), 0.6)
        felt = material_rate(motion.velocity, motion.jacobian)
        residuals.append(float(transport_loss(felt, motion.acceleration)))
    assert residuals[0] < 1e-10 and residuals[1] > 1e-2


def body(turn: list[float], center: list[float], gravity: list[float], wobble: float = 0.0) -> Kinematics:
    """Return the kinematics of a body that turns about a centre while it falls from rest for t = 0.3.

    A wobble lets the angular velocity grow with time, which a free body's does not.
    """
    x, t = points(), 0.3
    spin = torch.tensor(turn, dtype=torch.float64) * (1 + wobble * t)
    spin_rate = torch.tensor(turn, dtype=torch.float64) * wobble
    pull, arm = torch.tensor(gravity, dtype=torch.float64), x - torch.tensor(center, dtype=torch.float64)
    turns = skew(spin).expand(len(x), 3, 3)
    velocity = t * pull + torch.linalg.cross(spin.expand_as(arm), arm)
    rate = pull + torch.linalg.cross(spin_rate.expand_as(arm), arm)
    rate = rate - (turns @ (t * pull)[:, None])[..., 0]  # the centre falls away under a fixed place
    jacobian = torch.cat([turns, rate[..., None]], dim=-1)
    acceleration_jacobian = torch.cat([turns @ turns, torch.zeros(len(x), 3, 1)], dim=-1)
    acceleration_jacobian[..., 3] = -(turns @ turns @ (t * pull)[:, None])[..., 0]
    if wobble:
        change = skew(spin_rate).expand_as(turns)
        acceleration_jacobian[..., :3] += change
        acceleration_jacobian[..., 3] += ((change @ turns + turns @ change) @ arm[..., None])[..., 0]
    spin_gradient = torch.zeros(len(x), 3, 4, dtype=torch.float64)
    spin_gradient[..., 3] = spin_rate
    acceleration = material_rate(velocity, jacobian)
    return Kinematics(
        velocity, jacobian, acceleration, acceleration_jacobian, spin.expand_as(x), spin_gradient
    )


@pytest.mark.parametrize("turn", [[3.0, 0, 0], [-1.2, -1.7, 2.7]])
def test_free_bodies_are_steady_about_any_axis_and_centre(turn: list[float]) -> None:
    still = [0.0, 0.0, 0.0]
    assert float(steady_motion_loss(body(turn, [0.1, 0.2, -0.3], still))) < 1e-20
    assert float(steady_motion_loss(body(still, still, [0, 0, -4.0]))) < 1e-20
    assert float(steady_motion_loss(body(turn, [0.1, 0.2, -0.3], still, wobble=0.5))) > 0.1


def test_a_rotation_without_angular_velocity_is_not_taken_for_steady() -> None:
    """The same velocities, said by translations that depend on the place, would not go on as they are."""
    motion = body([-1.2, -1.7, 2.7], [0.1, 0.2, -0.3], [0.0, 0.0, 0.0])
    told = dataclasses.replace(motion, spin=0 * motion.spin)
    assert float(steady_motion_loss(told)) > 0.5


def test_slowing_down_does_not_make_motion_steadier() -> None:
    """Half the speed: rates of the velocity, of the acceleration and of the jerk fall by 2, 4 and 8."""
    motion = body([-1.2, -1.7, 2.7], [0.1, 0.2, -0.3], [0.0, 0.0, 0.0], wobble=0.5)
    half = torch.tensor([0.5, 0.5, 0.5, 0.25], dtype=torch.float64)
    slow = Kinematics(
        0.5 * motion.velocity,
        motion.jacobian * half,
        0.25 * motion.acceleration,
        motion.acceleration_jacobian * 0.5 * half,
        0.5 * motion.spin,
        motion.spin_gradient * half,
    )
    fast, slow_loss = float(steady_motion_loss(motion)), float(steady_motion_loss(slow))
    assert fast > 0.1
    assert 0.2 * fast < slow_loss  # the rate of turning, by its own unit of time, is all that falls


def test_material_rate_follows_the_matter() -> None:
    """A quantity that is carried along does not change for matter, though it does at a fixed place."""
    velocity = torch.tensor([[2.0, 0.0, 0.0]])
    carried = torch.tensor([[[3.0, 0.0, 0.0, -6.0]]])  # q = 3 (x - 2 t)
    assert float(material_rate(velocity, carried)) == 0.0
    assert float(material_rate(torch.zeros(1, 3), carried)) == -6.0


def test_the_velocity_vanishes_at_the_border_and_nothing_inside_is_dimmed() -> None:
    field = steady(random_field(), [1.0, 0, 0, 0, 0, 0])
    x = torch.tensor([[1.0, 0, 0], [0, -1.2, 0], [0.96, 0, 0], [0, 0, 0.985]], dtype=torch.float64)
    speed = field(x, 0.0)[:, 0]
    assert speed[0] == 0 and speed[1] == 0 and abs(float(speed[2]) - 1) < 1e-6 and 0 < speed[3] < 1


def test_rows_with_times_of_their_own_move_as_they_would_alone() -> None:
    field, x = random_field(), points(4)
    start = torch.tensor([[0.1], [0.3], [0.3], [0.7]], dtype=torch.float64)
    goal = torch.tensor([[0.2], [0.3], [0.25], [0.45]], dtype=torch.float64)
    together = integrate(field, x, start, goal, 0.01)
    assert torch.equal(together[1], x[1])
    for i in range(4):
        alone = integrate(field, x[i : i + 1], float(start[i]), float(goal[i]), 0.001)
        torch.testing.assert_close(together[i], alone[0], rtol=1e-3, atol=1e-4)
