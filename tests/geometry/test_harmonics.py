"""Spherical harmonics against gsplat's basis, and their rotation against its definition."""

import pytest
import torch
from gsplat.cuda._torch_impl import _eval_sh_bases_fast

from dyn3d_ns.geometry.harmonics import harmonic_basis, rotate_harmonics
from dyn3d_ns.geometry.rotations import normalize_quat, quat_apply


def unit(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(
        torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1
    )


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_basis_is_that_of_gsplat(degree: int) -> None:
    directions = unit(50, 0)
    expected = _eval_sh_bases_fast(16, directions)[:, degree**2 : (degree + 1) ** 2]
    torch.testing.assert_close(harmonic_basis(directions, degree), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("rows", [3, 8, 15])
def test_rotated_function_has_at_the_turned_direction_the_old_value(rows: int) -> None:
    generator = torch.Generator().manual_seed(1)
    coefficients = torch.randn(20, rows, 3, generator=generator, dtype=torch.float64)
    turns = torch.randn(20, 4, generator=generator, dtype=torch.float64)
    directions = unit(20, 2)
    turned = rotate_harmonics(coefficients, turns)
    degrees = range(1, {3: 2, 8: 3, 15: 4}[rows])

    def value(c: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        basis = torch.cat([harmonic_basis(d, degree) for degree in degrees], dim=-1)
        return (basis[..., None] * c).sum(1)

    there = quat_apply(normalize_quat(turns), directions)
    torch.testing.assert_close(value(turned, there), value(coefficients, directions), atol=1e-10, rtol=0)


def test_degree_beyond_three_is_named() -> None:
    with pytest.raises(ValueError, match="degree is 4"):
        harmonic_basis(unit(1, 0), 4)
