"""Functions of time alone: low-order polynomials for the trend, a cubic B-spline on keyframes for the
rest."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor


def _bspline_pieces(u: NDArray[np.float64], derivative: int) -> NDArray[np.float64]:
    """Evaluate the four pieces of the uniform cubic B-spline (or a derivative) at the fractions ``u``, [T,
    4]."""
    one, zero = np.ones_like(u), np.zeros_like(u)
    pieces = {
        0: [(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3],
        1: [-3 * (1 - u) ** 2, 9 * u**2 - 12 * u, -9 * u**2 + 6 * u + 3, 3 * u**2],
        2: [6 * (1 - u), 18 * u - 12, -18 * u + 6, 6 * u],
        3: [-6 * one, 18 * one, -18 * one, 6 * one + zero],
    }[derivative]
    return np.stack(pieces, axis=-1) / 6.0


@dataclass(frozen=True)
class TimeBasis:
    """Polynomials ``s^p`` and cubic B-splines on evenly spaced keyframes over the observed time.

    ``s = (t - t_ref) / scale``. Outside ``[t_min, t_max]`` the splines hold the value at the border, so only
    the polynomials go on into the future.
    """

    t_ref: float
    """Time at which every polynomial of positive degree vanishes."""
    t_min: float
    """First observed time."""
    t_max: float
    """Last observed time."""
    degrees: tuple[int, ...] = (1, 2, 3)
    """Degrees of the polynomials."""
    keyframes: int = 8
    """Intervals of the spline between ``t_min`` and ``t_max``; 0 for none. Each needs one function, three
    more in all."""

    @property
    def scale(self) -> float:
        """Half of the observed time, the unit of ``s``."""
        return max(0.5 * (self.t_max - self.t_min), 1e-6)

    @property
    def num_splines(self) -> int:
        """Count the spline functions."""
        return self.keyframes + 3 if self.keyframes else 0

    @property
    def size(self) -> int:
        """Count all functions."""
        return len(self.degrees) + self.num_splines

    def __call__(self, times: float | NDArray[np.float64], derivative: int = 0) -> Float[Tensor, "T J"]:
        """Evaluate every function, or its ``derivative``-th derivative by time (0 to 3), at the given
        times."""
        t = np.atleast_1d(np.asarray(times, dtype=np.float64))
        columns = [self._polynomials(t, derivative)]
        if self.keyframes:
            splines = self._splines(t, derivative)
            if derivative == 0:
                splines = splines - self._splines(np.array([self.t_ref]), 0)
            columns.append(splines[:, : self.num_splines])
        return torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32))

    def _polynomials(self, t: NDArray[np.float64], derivative: int) -> NDArray[np.float64]:
        s = (t - self.t_ref) / self.scale
        columns = []
        for degree in self.degrees:
            factor = float(np.prod([degree - i for i in range(derivative)])) if derivative else 1.0
            power = max(degree - derivative, 0)
            columns.append(factor * s**power / self.scale**derivative)
        return np.stack(columns, axis=1) if columns else np.zeros((len(t), 0))

    def _splines(self, t: NDArray[np.float64], derivative: int) -> NDArray[np.float64]:
        spacing = max(self.t_max - self.t_min, 1e-6) / self.keyframes
        position = np.clip((t - self.t_min) / spacing, 0.0, self.keyframes)
        interval = np.minimum(position.astype(np.int64), self.keyframes - 1)
        values = np.zeros((len(t), self.keyframes + 3))
        pieces = _bspline_pieces(position - interval, derivative) / spacing**derivative
        if derivative:
            pieces[(t < self.t_min) | (t > self.t_max)] = 0.0
        np.put_along_axis(values, interval[:, None] + np.arange(4), pieces, axis=1)
        return values
