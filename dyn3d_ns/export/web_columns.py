"""The columns of a page's data: numbers rounded to a few bits, laid out so that deflate finds what is alike.

A column holds rows of numbers as ``low + step * integer``. Its bytes stand component by component, and of
each component all high bytes before the lower ones; ``along`` says that rows hold their difference to the row
before, modulo the column's range.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Int64
from scipy.spatial.transform import Rotation

from dyn3d_ns.geometry.rotations import quat_multiply

GRID_BITS = 16
"""Bits by axis of the grid along which Gaussians are ordered."""


class Columns:
    """Columns as they are written, and what the page must know to read them."""

    def __init__(self) -> None:
        """Start with none."""
        self.described: list[dict[str, Any]] = []
        self._parts: list[bytes] = []

    def add(
        self, name: str, values: Float[np.ndarray, "N C"], bits: int, along: bool = False,
        bounds: tuple[float, float] | None = None,
    ) -> None:  # fmt: skip
        """Add numbers, rounded to integers of some bits over the range that each component takes.

        Args:
            name: What the page calls them.
            values: Finite numbers, a row a Gaussian.
            bits: At most 24.
            along: Write the differences of successive rows.
            bounds: The range of all components, where it is not that of the values.
        """
        values = np.asarray(values, np.float64)
        if bounds is not None:
            low, high = (np.full(values.shape[1], bound) for bound in bounds)
        elif len(values):
            low, high = values.min(0), values.max(0)
        else:
            low = high = np.zeros(values.shape[1])
        top = (1 << bits) - 1
        step = np.where(high > low, high - low, 1.0) / top
        integers = np.clip(np.rint((values - low) / step), 0, top).astype(np.int64)
        self.add_integers(name, integers, low, step, 8 * -(-bits // 8), along)

    def add_within(self, name: str, values: Float[np.ndarray, "N C"], error: float) -> None:
        """Add numbers, rounded to multiples of twice an error, in as few bytes as these take.

        Args:
            name: What the page calls them.
            values: Finite numbers, a row a Gaussian.
            error: Largest error; or a sixteen-millionth of the range of the numbers, where that is more.
        """
        low, high = values.min(initial=0.0), values.max(initial=0.0)
        step = max(2 * error, (high - low) / ((1 << 24) - 2))
        first = np.floor(values.min(0, initial=0.0) / step)
        integers = (np.rint(values / step) - first).astype(np.int64)
        bits = 8 * -(-max(int(integers.max(initial=0)).bit_length(), 1) // 8)
        self.add_integers(name, integers, step * first, np.full(len(first), step), bits)

    def add_integers(
        self, name: str, integers: Int[np.ndarray, "N C"], low: Float[np.ndarray, "C"],
        step: Float[np.ndarray, "C"], bits: int, along: bool = False,
    ) -> None:  # fmt: skip
        """Add integers of 8, 16 or 24 bits that stand for ``low + step * integer``."""
        rows, width = integers.shape
        if along and rows:
            integers = np.diff(integers, axis=0, prepend=0) & ((1 << bits) - 1)
        for component in range(width):
            for shift in range(bits - 8, -1, -8):
                self._parts.append(((integers[:, component] >> shift) & 255).astype(np.uint8).tobytes())
        self.described.append(
            {
                "name": name, "rows": rows, "width": width, "bits": bits, "along": along,
                "low": [float(value) for value in low], "step": [float(value) for value in step],
            }
        )  # fmt: skip

    def add_floats(self, name: str, values: Float[np.ndarray, "N C"]) -> None:
        """Add numbers as float32."""
        rows, width = values.shape
        self._parts.append(np.ascontiguousarray(values, "<f4").tobytes())
        self.described.append(
            {"name": name, "rows": rows, "width": width, "bits": 32, "along": False, "low": [], "step": []}
        )

    def deflated(self) -> bytes:
        """Return all of them, as zlib packs them."""
        return zlib.compress(b"".join(self._parts), 6)


def morton_order(means: Float[np.ndarray, "N 3"]) -> Int64[np.ndarray, "N"]:
    """Return an order in which neighbours in space mostly follow each other."""
    if not len(means):
        return np.zeros(0, np.int64)
    low, size = means.min(0), np.maximum(np.ptp(means, axis=0).max(), 1e-30)
    cells = ((means - low) / size * ((1 << GRID_BITS) - 1)).astype(np.int64)
    code = np.zeros(len(means), np.int64)
    for bit in range(GRID_BITS):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return np.argsort(code, kind="stable")


def _quarter_turns() -> tuple[Float[np.ndarray, "24 4"], Int64[np.ndarray, "24 3"]]:
    """Return the turns that bring axes to axes (wxyz), and which axis each of the three comes from."""
    half = np.sqrt(0.5)
    found = [np.eye(4)[i] for i in range(4)]
    found += [np.array([0.5, a, b, c]) for a in (-0.5, 0.5) for b in (-0.5, 0.5) for c in (-0.5, 0.5)]
    for i in range(4):
        for j in range(i + 1, 4):
            for sign in (half, -half):
                quat = np.zeros(4)
                quat[i], quat[j] = half, sign
                found.append(quat)
    turns = np.stack(found)
    images = np.abs(Rotation.from_quat(turns[:, [1, 2, 3, 0]]).as_matrix()).argmax(1)
    return turns, images


def product(a: Float[np.ndarray, "*N 4"], b: Float[np.ndarray, "*N 4"]) -> Float[np.ndarray, "*N 4"]:
    """Return the product of quaternions (wxyz): first turn by b, then by a."""
    left, right = (torch.from_numpy(np.array(each)) for each in np.broadcast_arrays(a, b))
    return quat_multiply(left, right).numpy()


def near_upright(
    quats: Float32[np.ndarray, "N 4"],
) -> tuple[Float[np.ndarray, "N 4"], Int64[np.ndarray, "N 3"], Float[np.ndarray, "N 4"]]:
    """Name the axes of Gaussians anew so that each is turned as little as can be.

    Returns:
        The orientations of the same shapes, with w above 0.85; for each new axis which one it was; and the
        turns from the new axes to the old ones, which other orientations of the same Gaussians are multiplied
        by from the right.
    """
    turns, images = _quarter_turns()
    fine = quats.astype(np.float64)
    # The real part of q g for every quarter turn g.
    real = fine[:, :1] * turns[:, 0] - fine[:, 1:] @ turns[:, 1:].T
    best = np.abs(real).argmax(1)
    upright = product(fine, turns[best])
    sign = np.where(upright[:, :1] < 0, -1.0, 1.0)
    return upright * sign, images[best], turns[best] * sign
