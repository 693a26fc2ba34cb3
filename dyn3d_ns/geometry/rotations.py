"""Rotations as unit quaternions (wxyz), matrices and axis-angle vectors; gradients stay finite at zero."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_SERIES_BELOW = 0.25
"""Squared angle below which a power series replaces a quotient that cancels (or divides by zero)."""


def _matrix_of_products() -> list[list[float]]:
    """Return the coefficients of q_i q_j (a row each) in the nine entries of the rotation matrix."""
    signs = {"w": (1, 1, 1), "x": (1, -1, -1), "y": (-1, 1, -1), "z": (-1, -1, 1)}
    table = [[0.0] * 9 for _ in range(16)]
    for i, diagonal in enumerate(signs.values()):
        for j in range(3):
            table[5 * i][4 * j] = float(diagonal[j])
    # Entry (a, b) is 2 (q_a q_b + s q_w q_c), with s = -1 where (a, b, c) is an even permutation.
    for a, b, c, s in ((0, 1, 2, -1), (1, 2, 0, -1), (2, 0, 1, -1), (1, 0, 2, 1), (2, 1, 0, 1), (0, 2, 1, 1)):
        table[4 * (a + 1) + b + 1][3 * a + b] = 2.0
        table[c + 1][3 * a + b] = 2.0 * s
    return table


_MATRIX_OF_PRODUCTS = _matrix_of_products()


def _horner(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    value = torch.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        value = value * x + c
    return value


def sinc_sq(x: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Return sin(a) / a for a squared angle x = a^2."""
    small = x < _SERIES_BELOW
    a = torch.where(small, torch.ones_like(x), x).sqrt()
    series = _horner(x, (1.0, -1 / 6, 1 / 120, -1 / 5040, 1 / 362880, -1 / 39916800, 1 / 6227020800))
    return torch.where(small, series, a.sin() / a)


def versine_sq(x: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Return (1 - cos(a)) / a^2 for a squared angle x = a^2."""
    return 0.5 * sinc_sq(0.25 * x).square()


def sine_defect_sq(x: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Return (a - sin(a)) / a^3 for a squared angle x = a^2."""
    small = x < _SERIES_BELOW
    safe = torch.where(small, torch.ones_like(x), x)
    series = _horner(x, (1 / 6, -1 / 120, 1 / 5040, -1 / 362880, 1 / 39916800, -1 / 6227020800))
    return torch.where(small, series, (1 - sinc_sq(safe)) / safe)


def normalize_quat(q: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 4"]:
    """Scale quaternions to unit length; a zero quaternion stays zero."""
    return torch.nn.functional.normalize(q, dim=-1)


def quat_multiply(a: Float[Tensor, "*b 4"], b: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 4"]:
    """Return the Hamilton product a b: first rotate by b, then by a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        (
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ),
        dim=-1,
    )


def quat_conjugate(q: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 4"]:
    """Return the conjugate, which is the inverse rotation of a unit quaternion."""
    w, x, y, z = q.unbind(-1)
    return torch.stack((w, -x, -y, -z), dim=-1)


def quat_apply(q: Float[Tensor, "*b 4"], v: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
    """Rotate vectors by unit quaternions."""
    w, u = q[..., :1], q[..., 1:]
    u, v = torch.broadcast_tensors(u, v)
    t = 2.0 * torch.linalg.cross(u, v)
    return v + w * t + torch.linalg.cross(u, t)


def quat_to_matrix(q: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3 3"]:
    """Return the rotation matrices of quaternions, which need not be of unit length."""
    return unit_quat_to_matrix(normalize_quat(q))


def unit_quat_to_matrix(q: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3 3"]:
    """Return the rotation matrices of unit quaternions, which are quadratic forms of their entries."""
    products = (q[..., :, None] * q[..., None, :]).flatten(-2)
    return (products @ q.new_tensor(_MATRIX_OF_PRODUCTS)).unflatten(-1, (3, 3))


def so3_exp_quat(rotvec: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 4"]:
    """Return the unit quaternions of axis-angle vectors (radians), differentiable at zero."""
    # The smallest normal number keeps the square root's slope finite at zero and changes no other value.
    angle = (rotvec.square().sum(-1, keepdim=True) + torch.finfo(rotvec.dtype).tiny).sqrt()
    half = 0.5 * angle
    return torch.cat((half.cos(), half.sin() / angle * rotvec), dim=-1)


def so3_exp(rotvec: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Return the rotation matrices of axis-angle vectors (radians), differentiable at zero (Rodrigues)."""
    x = rotvec.square().sum(-1)[..., None, None]
    k = skew(rotvec)
    eye = torch.eye(3, dtype=rotvec.dtype, device=rotvec.device)
    return eye + sinc_sq(x) * k + versine_sq(x) * (k @ k)


def skew(v: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Return the matrices [v]x with [v]x u = v x u."""
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack((o, -z, y, z, o, -x, -y, x, o), dim=-1).unflatten(-1, (3, 3))
