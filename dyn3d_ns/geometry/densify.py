"""Spread measured inverse depth over an image, stopping at edges of its colours."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8

_COARSEST = 24
"""Shorter side at which the solution starts from a constant."""
_EDGE = 8.0
"""Difference of colours (of 255) that weakens the tie between neighbours by e."""
_LEAST_TIE = 0.005


def densify(
    value: Float32[np.ndarray, "H W"],
    weight: Float32[np.ndarray, "H W"],
    image: UInt8[np.ndarray, "H W 3"],
    smoothness: float = 1.0,
    iterations: int = 60,
) -> Float32[np.ndarray, "H W"]:
    """Return the field that is near the measured values and smooth where the colours are.

    Minimises sum weight (d - value)^2 + smoothness sum tie (d_p - d_q)^2 over neighbours p, q by conjugate
    gradients, coarse to fine. Weights are scaled so that their median, where known, is 1.

    Raises:
        ValueError: no pixel has a weight.
    """
    known = weight > 0
    if not known.any():
        raise ValueError("no measured value to spread")
    weight = np.minimum(weight / np.median(weight[known]), 4.0).astype(np.float32)
    return _solve(value.astype(np.float32), weight, image.astype(np.float32), smoothness, iterations)


def _solve(
    value: Float32[np.ndarray, "H W"],
    weight: Float32[np.ndarray, "H W"],
    image: Float32[np.ndarray, "H W 3"],
    smoothness: float,
    iterations: int,
) -> Float32[np.ndarray, "H W"]:
    import cv2

    height, width = value.shape
    if min(height, width) <= _COARSEST:
        mean = float((weight * value).sum() / max(float(weight.sum()), 1e-12))
        start = np.full_like(value, mean)
        iterations *= 4
    else:
        size = ((width + 1) // 2, (height + 1) // 2)
        small_weight = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
        small_value = cv2.resize(weight * value, size, interpolation=cv2.INTER_AREA)
        small_value = small_value / np.maximum(small_weight, 1e-12)
        small_image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        # Each coarse pixel stands for four, and the ties across two: the balance stays the same.
        small = _solve(small_value, 4.0 * small_weight, small_image, smoothness, iterations)
        start = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    right, down = _ties(image, smoothness)
    return _conjugate_gradients(value, weight, right, down, start, iterations)


def _ties(
    image: Float32[np.ndarray, "H W 3"], smoothness: float
) -> tuple[Float32[np.ndarray, "H W1"], Float32[np.ndarray, "H1 W"]]:
    """Return how strongly neighbours are tied, to the right and downwards."""
    red, green, blue = (np.ascontiguousarray(image[..., channel]) for channel in range(3))

    def tie(axis: int) -> Float32[np.ndarray, "H W"]:
        steps = [np.abs(np.diff(channel, axis=axis)) for channel in (red, green, blue)]
        most = np.maximum(np.maximum(steps[0], steps[1]), steps[2])
        return np.float32(smoothness) * np.maximum(np.exp(-most / np.float32(_EDGE)), np.float32(_LEAST_TIE))

    return tie(1), tie(0)


def _conjugate_gradients(
    value: Float32[np.ndarray, "H W"],
    weight: Float32[np.ndarray, "H W"],
    right: Float32[np.ndarray, "H W1"],
    down: Float32[np.ndarray, "H1 W"],
    start: Float32[np.ndarray, "H W"],
    iterations: int,
) -> Float32[np.ndarray, "H W"]:
    """Solve (weight + Laplacian) d = weight value with Jacobi's preconditioner."""
    from dyn3d_ns.geometry import depth_kernels

    diagonal = weight.copy()
    diagonal[:, :-1] += right
    diagonal[:, 1:] += right
    diagonal[:-1] += down
    diagonal[1:] += down
    solution = np.array(start, np.float32)
    depth_kernels.conjugate_gradients(
        weight * value,
        diagonal,
        right,
        down,
        solution,
        np.empty((3, *value.shape), np.float32),
        np.empty(value.shape[1]),
        iterations,
    )
    return solution
