"""Rotation of real spherical harmonics of any low degree."""

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from dyn3d_ns.geometry.rotations import quat_multiply, quat_to_matrix

MAX_DEGREE = 3


def harmonic_basis(directions: Float[Tensor, "*b 3"], degree: int) -> Float[Tensor, "*b 2*degree+1"]:
    """Evaluate the real spherical harmonics of one degree (1 to 3) in the order and with the signs of 3DGS.

    Args:
        directions: Unit vectors.
        degree: Which degree.
    """
    x, y, z = directions.unbind(-1)
    if degree == 1:
        values = [-y, z, -x]
        factors = [math.sqrt(3 / (4 * math.pi))] * 3
    elif degree == 2:
        values = [x * y, -y * z, 2 * z * z - x * x - y * y, -x * z, x * x - y * y]
        a, b = math.sqrt(15 / math.pi), math.sqrt(5 / math.pi)
        factors = [a / 2, a / 2, b / 4, a / 2, a / 4]
    elif degree == 3:
        values = [
            -y * (3 * x * x - y * y),
            x * y * z,
            -y * (4 * z * z - x * x - y * y),
            z * (2 * z * z - 3 * x * x - 3 * y * y),
            -x * (4 * z * z - x * x - y * y),
            z * (x * x - y * y),
            -x * (x * x - 3 * y * y),
        ]
        a, b, c = (math.sqrt(n / math.pi) for n in (35 / 2, 105.0, 21 / 2))
        factors = [a / 4, b / 2, c / 4, math.sqrt(7 / math.pi) / 4, c / 4, b / 4, a / 4]
    else:
        raise ValueError(f"degree is {degree}; it must be 1 to {MAX_DEGREE}")
    return torch.stack([v * f for v, f in zip(values, factors, strict=True)], dim=-1)


@functools.cache
def _samples(degree: int) -> tuple[Tensor, Tensor]:
    """Return directions, and the matrix that turns a function's values there into its coefficients."""
    count = 8 * degree + 8
    i = torch.arange(count, dtype=torch.float64) + 0.5
    z, around = 1 - 2 * i / count, math.pi * (1 + math.sqrt(5)) * i
    ring = (1 - z * z).sqrt()
    directions = torch.stack([ring * around.cos(), ring * around.sin(), z], dim=-1)
    return directions, torch.linalg.pinv(harmonic_basis(directions, degree))


def rotate_harmonics(
    coefficients: Float[Tensor, "N R 3"], turns: Float[Tensor, "N 4"]
) -> Float[Tensor, "N R 3"]:
    """Turn functions on the sphere: the new one has at ``R d`` the value that the old one has at ``d``.

    Args:
        coefficients: Degrees 1 to 1, 2 or 3 (R = 3, 8 or 15) of three colour channels.
        turns: Rotations as quaternions (wxyz) of any length but zero.
    """
    back, parts, first = quat_to_matrix(turns).mT, [], 0
    while first < coefficients.shape[1]:
        degree = len(parts) + 1
        directions, to_coefficients = (x.to(coefficients) for x in _samples(degree))
        here = harmonic_basis(torch.einsum("nij,sj->nsi", back, directions), degree)
        matrices = to_coefficients @ here
        parts.append(matrices @ coefficients[:, first : first + 2 * degree + 1])
        first += 2 * degree + 1
    return torch.cat(parts, dim=1)


@functools.lru_cache(maxsize=8)
def turn_matrices(
    turn: tuple[float, float, float, float], count: int
) -> tuple[Float[Tensor, "4 4"], Float[Tensor, "D D"]]:
    """Return what a turn (wxyz) makes of quaternions and of colours of so many coefficients, as matrices.

    Both are linear: the rows are what becomes of the unit ones. One product with them is several times as
    fast as one for every Gaussian.
    """
    quat = torch.tensor([turn], dtype=torch.float64)
    quats = quat_multiply(quat.expand(4, 4), torch.eye(4, dtype=torch.float64))
    rest = count - 1
    units = torch.eye(rest, dtype=torch.float64)[..., None].expand(rest, rest, 3)
    turned = rotate_harmonics(units, quat.expand(rest, 4))[..., 0] if rest else torch.zeros(0, 0)
    mix = torch.block_diag(torch.ones(1, 1, dtype=torch.float64), turned.double())
    return quats, torch.kron(mix, torch.eye(3, dtype=torch.float64))
