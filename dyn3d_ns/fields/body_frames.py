"""Coordinates of rigid motions beside a steady trend, in which a way on can be linear."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from dyn3d_ns.fields.kriging import Array


def exp(vectors: Array) -> Array:
    """Turn rotation vectors [..., 3] into matrices."""
    return Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(*vectors.shape, 3)


def log(matrices: Array) -> Array:
    """Turn rotation matrices [..., 3, 3] into vectors, of at most half a turn."""
    return Rotation.from_matrix(matrices.reshape(-1, 3, 3)).as_rotvec().reshape(matrices.shape[:-1])


def cross_matrix(v: Array) -> Array:
    """Return the matrices of ``v x``, [..., 3, 3]."""
    x, y, z = np.moveaxis(v, -1, 0)
    o = np.zeros_like(x)
    return np.stack([o, -z, y, z, o, -x, -y, x, o], axis=-1).reshape(*v.shape, 3)


def transposed(matrices: Array) -> Array:
    """Swap the last two axes."""
    return np.swapaxes(matrices, -1, -2)


def apply(matrices: Array, vectors: Array) -> Array:
    """Multiply matrices [..., 3, 3] and vectors [..., 3]."""
    return (matrices @ vectors[..., None])[..., 0]


def _unwrapped(vectors: Array) -> Array:
    """Let rotation vectors [T, K, 3] run on over half a turn."""
    found = vectors[:1]
    for now in vectors[1:]:
        angle = np.linalg.norm(now, axis=-1, keepdims=True)
        axis = now / np.maximum(angle, 1e-12)
        turns = np.round(((found[-1] * axis).sum(-1, keepdims=True) - angle) / (2 * np.pi))
        found = np.concatenate([found, [now + axis * 2 * np.pi * turns * (angle > 1e-6)]])
    return found


@dataclass(frozen=True)
class Frame:
    """A steady motion of each of K bodies; poses are told beside it.

    The trend turns with a constant spin. With ``carried`` the centre goes along at a constant velocity in the
    turning frame (together a constant twist), and gaps of the centre are told in that frame too; otherwise
    they are told in the world, from its origin.
    """

    spin: Array
    """[K, 3] in the body's frame, radians per observed time."""
    drift: Array
    """[K, 3] velocity of the centre in the body's frame."""
    turn: Array
    """[K, 3, 3] orientation at the time ``at``."""
    start: Array
    """[K, 3] centre then."""
    at: float
    carried: bool

    def pick(self, bodies: NDArray[np.integer[Any]] | NDArray[np.bool_]) -> "Frame":
        """Return the frame of some of the bodies."""
        return replace(
            self,
            spin=self.spin[bodies],
            drift=self.drift[bodies],
            turn=self.turn[bodies],
            start=self.start[bodies],
        )

    def trend(self, times: Array) -> tuple[Array, Array]:
        """Return orientations [T, K, 3, 3] and centres [T, K, 3] of the steady motion."""
        since = (times - self.at)[:, None, None]
        vectors = self.spin * since
        turns = self.turn @ exp(vectors)
        if not self.carried:
            return turns, np.zeros(vectors.shape)
        angle = np.maximum(np.linalg.norm(vectors, axis=-1), 1e-4)[..., None, None]
        c = cross_matrix(vectors)
        along = np.eye(3) + (1 - np.cos(angle)) / angle**2 * c + (angle - np.sin(angle)) / angle**3 * (c @ c)
        return turns, self.start + apply(self.turn @ along, self.drift * since)

    def coordinates(self, times: Array, turns: Array, centers: Array) -> Array:
        """Tell poses beside the trend, [T, K, 6]: the centre's gap and a rotation vector in the body."""
        base, path = self.trend(times)
        gap = apply(transposed(base), centers - path) if self.carried else centers
        return np.concatenate([gap, _unwrapped(log(transposed(base) @ turns))], axis=-1)

    def poses(self, times: Array, coordinates: Array) -> tuple[Array, Array]:
        """Return orientations and centres, the inverse of :meth:`coordinates`."""
        base, path = self.trend(times)
        gap = coordinates[..., :3]
        return base @ exp(coordinates[..., 3:]), path + (apply(base, gap) if self.carried else gap)

    def gaps_in_body(self, times: Array, turns: Array) -> Array:
        """Return what takes gaps of the centre into the body's own frame, [T, K, 3, 3]."""
        return transposed(turns) @ self.trend(times)[0] if self.carried else transposed(turns)

    def moved(self, value: Array, slope: Array) -> "Frame":
        """Add to the trend what is steady beside it: coordinates [K, 6] at the middle, and their rate."""
        turns, centers = (x[0] for x in self.trend(np.array([0.5])))
        back = transposed(exp(value[:, 3:]))
        drift = self.drift + np.cross(self.spin, value[:, :3]) + slope[:, :3]
        spin = apply(back, self.spin) + slope[:, 3:]
        start = centers + apply(turns, value[:, :3])
        return replace(
            self, spin=spin, drift=apply(back, drift), turn=turns @ exp(value[:, 3:]), start=start, at=0.5
        )


def frames_of(times: Array, turns: Array, centers: Array) -> list[Frame]:
    """Return the frame at rest, the one that spins and the one of a steady twist, from the mean rates."""
    step, middle = times[1] - times[0], len(times) // 2
    spin = log(transposed(turns[:-1]) @ turns[1:]).mean(0) / step
    drift = apply(transposed(turns[:-1]), np.diff(centers, axis=0)).mean(0) / step
    still, where = np.zeros_like(spin), (turns[middle], centers[middle], float(times[middle]))
    return [
        Frame(still, still, turns[-1], centers[-1], 1.0, carried=False),
        Frame(spin, still, *where, carried=False),
        Frame(spin, drift, *where, carried=True),
    ]


def pivots(times: Array, turns: Array, shifts: Array, centers: Array, sizes: Array) -> Array:
    """Return the point of each body whose path is nearest to a parabola, [K, 3], in its own frame.

    Around it a spin and a fall come apart, and a hinge rests. Where a body hardly turns, this is its centre.

    Args:
        times: [T]
        turns: [T, K, 3, 3] orientations.
        shifts: [T, K, 3] where the origin of the body's frame goes.
        centers: [K, 3] centres of the bodies.
        sizes: [K] their radii: a pivot is expected within some of them.
    """
    powers = np.vander(times, 3)
    left = np.eye(len(times)) - powers @ np.linalg.pinv(powers)
    found = centers.copy()
    for k, (center, size) in enumerate(zip(centers, sizes, strict=True)):
        rows = (left @ turns[:, k].reshape(len(times), 9)).reshape(-1, 3)
        right = (left @ (shifts[:, k] + turns[:, k] @ center)).reshape(-1)
        normal, noise, step = rows.T @ rows, 0.0, np.zeros(3)
        for _ in range(3):
            ridge = noise / max(size**2, 1e-12) + 1e-9 * np.trace(normal) + 1e-30
            step = np.linalg.solve(normal + ridge * np.eye(3), -rows.T @ right)
            noise = 5 * np.square(rows @ step + right).mean()
        found[k] = center + step
    return found
