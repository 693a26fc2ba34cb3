"""What changes in a sequence of Gaussians, frame by frame, for the page of `dyn3d export web`."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64

from dyn3d_ns.export.web_columns import Columns, product
from dyn3d_ns.io.splats import Splats, SplatSequence

BITS = {"means": 20, "quats": 13, "scales": 12, "opacities": 8, "sh": 10}
"""Bits of each attribute over the range that it takes in all of the sequence."""


class Changes:
    """Which Gaussians are at some time not as at the first, and in which range each attribute stays."""

    rows: Bool[np.ndarray, "N"]

    def __init__(self, sequence: SplatSequence) -> None:
        """Look at all times of a sequence, one after the other."""
        self.sequence = sequence
        self._changed: set[str] = set()
        self._ranges: dict[str, tuple[Any, Any]] = {}
        first = sequence.at(0)
        self.rows = np.zeros(len(first), bool)
        for index in range(len(sequence.seconds)):
            self._look(sequence.at(index), first)

    def _look(self, now: Splats, first: Splats) -> None:
        for name in BITS:
            values, before = getattr(now, name), getattr(first, name)
            different = values != before
            if name == "quats":
                # A quaternion and its negative are one turn.
                different &= (values != -before).any(1, keepdims=True)
            if different.any():
                self._changed.add(name)
                self.rows |= different.reshape(len(values), -1).any(1)
            low, high = _range(name, now)
            if name in self._ranges:
                low, high = np.minimum(low, self._ranges[name][0]), np.maximum(high, self._ranges[name][1])
            self._ranges[name] = low, high

    def add_to(
        self, columns: Columns, chosen: Int64[np.ndarray, "M"], axes: Int64[np.ndarray, "M 3"],
        turns: Float[np.ndarray, "M 4"],
    ) -> None:  # fmt: skip
        """Add each attribute that changes as integers, each frame less the one before.

        Args:
            columns: Where they go, under the attribute's name and "Over".
            chosen: Gaussians, in the order in which they are written.
            axes: Which of a Gaussian's axes is the page's first, second and third.
            turns: From the page's axes of a Gaussian to its own.
        """
        names = [name for name in BITS if name in self._changed]
        steps = {name: _step(name, *self._ranges[name]) for name in names}
        written: dict[str, list[np.ndarray]] = {name: [] for name in names}
        integers: dict[str, np.ndarray] = {}
        quats = None
        for index in range(len(self.sequence.seconds)):
            now = self.sequence.at(index)
            values: dict[str, np.ndarray] = {
                "means": now.means[chosen],
                "scales": np.take_along_axis(_logs(now)[chosen], axes, 1),
                "opacities": now.opacities[chosen, None],
                "sh": now.sh[chosen].reshape(len(chosen), -1),
            }
            # Of the two quaternions of a turn the one that is nearer to the frame before.
            turned = product(now.quats[chosen].astype(np.float64), turns)
            if quats is not None:
                turned *= np.where((turned * quats).sum(1, keepdims=True) < 0, -1.0, 1.0)
            values["quats"] = quats = turned
            for name in names:
                found = np.rint((values[name] - self._ranges[name][0]) / steps[name]).astype(np.int32)
                written[name].append(found - integers.get(name, 0))
                integers[name] = found
        for name in names:
            rows = np.concatenate(written[name])
            width = 8 * -(-BITS[name] // 8)
            low = np.broadcast_to(self._ranges[name][0], rows.shape[1:])
            step = np.broadcast_to(steps[name], rows.shape[1:])
            columns.add_integers(f"{name}Over", rows & ((1 << width) - 1), low, step, width)


def _logs(splats: Splats) -> Float[np.ndarray, "N 3"]:
    return np.log(np.maximum(splats.scales, 1e-30))


def _range(name: str, splats: Splats) -> tuple[Any, Any]:
    """Return the least and the largest value: of places by axis, of all others one for all components."""
    if name == "quats":
        return -1.0, 1.0
    if name == "means":
        return splats.means.min(0).astype(np.float64), splats.means.max(0).astype(np.float64)
    values = _logs(splats) if name == "scales" else getattr(splats, name)
    return float(values.min()), float(values.max())


def _step(name: str, low: Any, high: Any) -> Any:
    return np.where(high > low, high - low, 1.0) / ((1 << BITS[name]) - 1)
