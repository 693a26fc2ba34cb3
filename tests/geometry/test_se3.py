"""Twists against the matrix exponential that they generate."""

import torch

from dyn3d_ns.geometry.rotations import skew
from dyn3d_ns.geometry.se3 import twist_velocity


def random_twists(n: int) -> torch.Tensor:
    return torch.randn(n, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_twist_velocity_is_the_derivative_of_the_motion() -> None:
    twist, points, h = random_twists(32), torch.randn(32, 3, dtype=torch.float64), 1e-5
    generator = torch.zeros(32, 4, 4, dtype=torch.float64)
    generator[:, :3, :3], generator[:, :3, 3] = skew(twist[:, 3:]), twist[:, :3]

    def moved(time: float) -> torch.Tensor:
        motion = torch.linalg.matrix_exp(time * generator)
        return (motion[:, :3, :3] @ points[..., None])[..., 0] + motion[:, :3, 3]

    expected = (moved(h) - moved(-h)) / (2 * h)
    torch.testing.assert_close(twist_velocity(twist, points), expected, atol=1e-8, rtol=0)


def test_twist_broadcasts_over_points() -> None:
    assert twist_velocity(random_twists(1)[0], torch.zeros(5, 3, dtype=torch.float64)).shape == (5, 3)
