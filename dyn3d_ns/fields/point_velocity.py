"""NVFi's interframe fields: velocity and acceleration as rigid bases whose coefficients depend on place and
time (NeurIPS 2023, section 3.2).

``v(x, t) = Σ w_i(x, t) b_i(x)`` with the six rigid bases, ``a(x, t) = Σ α_i(x, t) c_i(x)`` with the six
centripetal ones. Since ``w`` depends on the position the field is not divergence-free by construction; the
losses of :mod:`dyn3d_ns.losses.physics` make it so. All derivatives are propagated forwards through the
networks, which costs four more passes and no second autograd graph.

Positions are normalised to the scene box, [-1, 1] along each axis, and velocities are in half-widths of the
box per unit of time.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dyn3d_ns.fields.rigid_bases import centripetal_bases, rigid_bases
from dyn3d_ns.geometry.rotations import skew
from dyn3d_ns.geometry.se3 import twist_velocity

Time = float | Tensor


def with_time(x: Float[Tensor, "N 3"], t: Time) -> Float[Tensor, "N 4"]:
    """Append the time, one for all or ``[N, 1]``, to the positions."""
    return torch.cat([x, t if isinstance(t, Tensor) else x.new_full((len(x), 1), t)], dim=-1)


class SpaceTimeNetwork(nn.Module):
    """An MLP of (x, y, z, t) that returns its gradient by all four along with its value."""

    def __init__(
        self,
        outputs: int = 6,
        width: int = 128,
        hidden_layers: int = 5,
        octaves: int = 3,
        time_octaves: int = 3,
        activation: str = "silu",
    ) -> None:
        """Build the network; its last layer starts near zero, so the scene starts at rest.

        Args:
            outputs: Numbers returned.
            width: Units of a hidden layer.
            hidden_layers: Hidden layers.
            octaves: Octaves of sines and cosines of each coordinate, beside itself.
            time_octaves: The same of the time.
            activation: ``silu``, or ``relu`` as NVFi's acceleration has it.
        """
        super().__init__()
        self.activation = activation
        frequencies = [
            (axis, math.pi / 2 * 2.0**k)
            for axis in range(4)
            for k in range(octaves if axis < 3 else time_octaves)
        ]
        axes = torch.tensor([axis for axis, _ in frequencies], dtype=torch.long)
        self.register_buffer("axes", axes, persistent=False)
        self.register_buffer("frequencies", torch.tensor([f for _, f in frequencies]), persistent=False)
        sizes = [4 + 2 * len(frequencies)] + [width] * hidden_layers + [outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.normal_(last.weight, std=1e-2)
        nn.init.zeros_(last.bias)

    axes: Tensor
    frequencies: Tensor

    def _act(self, z: Tensor) -> Tensor:
        return nn.functional.silu(z) if self.activation == "silu" else torch.relu(z)

    def _slope(self, z: Tensor) -> Tensor:
        if self.activation == "relu":
            return (z > 0).to(z)
        s = torch.sigmoid(z)
        return s * (1 + z * (1 - s))

    def forward(self, points: Float[Tensor, "N 4"]) -> Float[Tensor, "N O"]:
        """Evaluate the network at (x, y, z, t)."""
        phases = points[:, self.axes] * self.frequencies
        h = torch.cat([points, torch.sin(phases), torch.cos(phases)], dim=-1)
        for layer in self.layers[:-1]:
            h = self._act(layer(h))
        return self.layers[-1](h)

    def with_gradient(
        self, points: Float[Tensor, "N 4"]
    ) -> tuple[Float[Tensor, "N O"], Float[Tensor, "N O 4"]]:
        """Evaluate the network and its gradient by x, y, z and t."""
        phases = points[:, self.axes] * self.frequencies
        sines, cosines = torch.sin(phases), torch.cos(phases)
        h = torch.cat([points, sines, cosines], dim=-1)
        eye = torch.eye(4, dtype=points.dtype, device=points.device)
        pick = eye[:, self.axes] * self.frequencies
        rows = len(points)
        tangents = torch.cat(
            [eye.expand(rows, 4, 4), pick * cosines[:, None, :], -pick * sines[:, None, :]], dim=-1
        )
        for layer in self.layers[:-1]:
            assert isinstance(layer, nn.Linear)
            z = layer(h)
            h = self._act(z)
            tangents = (tangents @ layer.weight.T) * self._slope(z)[:, None, :]
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        return last(h), (tangents @ last.weight.T).transpose(1, 2)


@dataclass(frozen=True)
class Kinematics:
    """Velocity and acceleration at points, with their derivatives by analytic differentiation."""

    velocity: Float[Tensor, "N 3"]
    jacobian: Float[Tensor, "N 3 4"]
    """Derivatives of the velocity by x, y, z and t."""
    acceleration: Float[Tensor, "N 3"]
    """The learned field that the material acceleration is compared with."""
    acceleration_jacobian: Float[Tensor, "N 3 4"]
    """Its derivatives by x, y, z and t."""
    spin: Float[Tensor, "N 3"]
    """Angular velocity: the velocity's coefficients of the three turns."""
    spin_gradient: Float[Tensor, "N 3 4"]
    """Its derivatives by x, y, z and t."""


class PointVelocityField(nn.Module):
    """Velocity and acceleration networks over a box, with the velocity fading to zero at its border."""

    def __init__(self, shell: float = 0.03, **network: int) -> None:
        """Build both networks.

        Args:
            shell: Width of the border, of half a box, over which the velocity falls smoothly to zero.
            network: Options of :class:`SpaceTimeNetwork`.
        """
        super().__init__()
        self.shell = shell
        self.velocity = SpaceTimeNetwork(activation="silu", **network)  # type: ignore[arg-type]
        self.acceleration = SpaceTimeNetwork(activation="relu", **network)  # type: ignore[arg-type]

    def gate(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 1"]:
        """Return 1 inside the box and 0 outside, with a smooth step over the shell."""
        s = ((1 - x.abs().amax(-1, keepdim=True)) / self.shell).clamp(0, 1)
        return s * s * (3 - 2 * s)

    def _gate_gradient(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        largest, axis = x.abs().max(-1, keepdim=True)
        s = ((1 - largest) / self.shell).clamp(0, 1)
        slope = -6 * s * (1 - s) / self.shell * x.gather(-1, axis).sign()
        return torch.zeros_like(x).scatter(-1, axis, slope)

    def twists(self, x: Float[Tensor, "N 3"], t: Time) -> Float[Tensor, "N 6"]:
        """Return the coefficients of the six rigid bases at ``x``."""
        return self.velocity(with_time(x, t))

    def forward(self, x: Float[Tensor, "N 3"], t: Time) -> Float[Tensor, "N 3"]:
        """Evaluate the velocity; ``t`` is one time for all points or ``[N, 1]``."""
        return self.gate(x) * twist_velocity(self.twists(x, t), x)

    def kinematics(self, x: Float[Tensor, "N 3"], t: Time) -> Kinematics:
        """Evaluate velocity and acceleration with their Jacobians, ``Σ b_i ⊗ ∇w_i + Σ w_i ∇b_i`` each."""
        points = with_time(x, t)
        w, w_gradient = self.velocity.with_gradient(points)
        free, spin = twist_velocity(w, x), w[:, 3:]
        jacobian = torch.einsum("nic,nid->ncd", rigid_bases(x), w_gradient)
        jacobian = jacobian + nn.functional.pad(skew(spin), (0, 1))
        gate, slope = self.gate(x), nn.functional.pad(self._gate_gradient(x), (0, 1))
        jacobian = gate[..., None] * jacobian + free[..., None] * slope[:, None, :]
        drive, drive_gradient = self.acceleration.with_gradient(points)
        bases, turning = centripetal_bases(x), drive[:, 3:]
        acceleration = torch.einsum("ni,nic->nc", drive, bases)
        # The basis of a turn about axis e is (e eᵀ - 1) x.
        turning = torch.diag_embed(turning - turning.sum(-1, keepdim=True))
        acceleration_jacobian = torch.einsum("nic,nid->ncd", bases, drive_gradient)
        acceleration_jacobian = acceleration_jacobian + nn.functional.pad(turning, (0, 1))
        return Kinematics(gate * free, jacobian, acceleration, acceleration_jacobian, spin, w_gradient[:, 3:])
