"""Fundamental matrices of known cameras, and distances of matches from them."""

from __future__ import annotations

import numpy as np
import pytest

from dyn3d_ns.geometry.cameras import project, to_camera
from dyn3d_ns.geometry.epipolar import epipolar_distance, fundamental_matrix, sampson_distance


def test_points_at_rest_lie_on_their_lines() -> None:
    rng = np.random.default_rng(0)
    K_a, K_b = (np.array([[f, 0, 50.0], [0, f, 40.0], [0, 0, 1]]) for f in (90.0, 120.0))
    angle = 0.2
    b_from_a = np.eye(4)
    b_from_a[:3, :3] = [
        [np.cos(angle), 0, np.sin(angle)],
        [0, 1, 0],
        [-np.sin(angle), 0, np.cos(angle)],
    ]
    b_from_a[:3, 3] = [0.5, -0.2, 0.1]
    points = rng.uniform([-1, -1, 3], [1, 1, 6], (50, 3))
    a, b = project(points, K_a), project(to_camera(points, b_from_a), K_b)
    fundamental = fundamental_matrix(K_a, K_b, b_from_a)
    assert epipolar_distance(fundamental, a, b).max() < 1e-9
    assert sampson_distance(fundamental, a, b).max() < 1e-9
    # Moving the match along the line's normal by 2 pixels is a distance of 2.
    line = np.c_[a, np.ones(50)] @ fundamental.T
    normal = line[:, :2] / np.linalg.norm(line[:, :2], axis=1, keepdims=True)
    assert epipolar_distance(fundamental, a, b + 2 * normal) == pytest.approx(np.full(50, 2.0))
    along = normal[:, ::-1] * [1, -1]
    assert epipolar_distance(fundamental, a, b + 5 * along).max() < 1e-9
