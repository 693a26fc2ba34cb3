"""Streams of voxels: integers on a grid, and how one frame differs from another.

Values are integers times powers of two; docs/stream-format.md says the same in words. A delta and a key have
the same planes: a delta says how a frame differs from the one before, a key how it differs from frame 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32, Int64

from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.stream.header import StreamHeader

Planes = Mapping[str, np.ndarray]
GROUPS = {"density": slice(0, 1), "sh0": slice(1, 4), "sh1": slice(4, 13), "sh2": slice(13, 28)}
"""Columns of a voxel's 28 numbers, by plane: density, then the harmonics of degree 0, 1 and 2.

Harmonics are ordered by degree, then by harmonic, then by colour.
"""
COLUMNS = 28
_MAX_BITS, _MAX_POINTS = 20, 1 << 28


@dataclass(frozen=True)
class VoxelLattice:
    """The grid, and the steps of its values: a value is its integer times two to the power of minus these."""

    shape: tuple[int, int, int]
    """Grid points along x, y and z."""
    density: int = 0
    """Density per unit of length; the longest axis of the grid has length 2."""
    colors: int = 5
    """Harmonics."""

    @property
    def points(self) -> int:
        """Number of grid points."""
        return math.prod(self.shape)

    def to_float(self, values: Int32[np.ndarray, "M 28"]) -> tuple[np.ndarray, np.ndarray]:
        """Return densities [M] and colours [M, 27] (by colour, then by harmonic), exactly."""
        density = np.ldexp(values[:, 0].astype(np.float32), -self.density)
        colors = np.ldexp(values[:, 1:].astype(np.float32), -self.colors)
        return density, colors.reshape(-1, 9, 3).swapaxes(1, 2).reshape(-1, 27)

    def to_int(self, density: np.ndarray, colors: np.ndarray) -> Int32[np.ndarray, "M 28"]:
        """Round densities and colours to the lattice; what leaves 16 bits is cut off."""
        ordered = colors.reshape(-1, 3, 9).swapaxes(1, 2).reshape(-1, 27).astype(np.float64)
        scaled = np.ldexp(ordered, self.colors)
        both = np.concatenate([np.ldexp(density.astype(np.float64), self.density)[:, None], scaled], 1)
        return np.rint(both).clip(-32768, 32767).astype(np.int32)

    def to_header(self) -> dict[str, int | str]:
        """Return the grid as a stream's header holds it."""
        return {"shape": " ".join(map(str, self.shape)), "density": self.density, "colors": self.colors}


@dataclass(frozen=True)
class VoxelState:
    """All voxels at one frame; arrays are shared between frames and must not be written to."""

    index: Int64[np.ndarray, "M"]
    """Numbers of the grid points that have one, z fastest, rising."""
    values: Int32[np.ndarray, "M 28"]
    """Their integers, in the columns of ``GROUPS``."""

    def __len__(self) -> int:
        return len(self.index)


def decoder_of(header: StreamHeader) -> VoxelDecoder:
    """Return the decoder of a stream of voxels.

    Raises:
        DamagedFileError: the header lacks the grid or a step, or states one that is out of bounds.
    """
    found = header.decoder
    try:
        x, y, z = (int(side) for side in str(found["shape"]).split())
        lattice = VoxelLattice((x, y, z), int(found["density"]), int(found["colors"]))
    except (KeyError, ValueError) as error:
        raise DamagedFileError(
            f"a stream of voxels whose header does not state its grid and steps ({error})"
        ) from error
    steps = (lattice.density, lattice.colors)
    if min(x, y, z) < 2 or lattice.points > _MAX_POINTS or any(abs(step) > _MAX_BITS for step in steps):
        raise DamagedFileError(
            f"a stream of voxels whose header states a grid of {x} x {y} x {z}, steps {steps}"
        )
    return VoxelDecoder(lattice)


class VoxelDecoder:
    """Turns the parts of a stream into voxels, frame after frame."""

    def __init__(self, lattice: VoxelLattice) -> None:
        """Take what the stream's header states."""
        self.lattice = lattice

    def start(self, planes: Planes) -> VoxelState:
        """Return frame 0 from the initial part.

        Raises:
            DamagedFileError: a plane is missing or of another shape.
        """
        mask = self._plane(planes, "active", (self.lattice.points,))
        index = np.flatnonzero(mask)
        return VoxelState(index, self._values(planes, "", len(index)))

    def to_init(self, state: VoxelState) -> dict[str, np.ndarray]:
        """Return the planes of an initial part that starts at a state."""
        mask = np.zeros(self.lattice.points, bool)
        mask[state.index] = True
        return {"active": mask} | _split("", state.values)

    def size(self, state: VoxelState) -> int:
        """Return the memory that a state takes, bytes."""
        return state.index.nbytes + state.values.nbytes

    def advance(self, state: VoxelState, planes: Planes) -> VoxelState:
        """Return the next frame from a frame and its delta.

        Raises:
            DamagedFileError: planes are missing, or do not fit the voxels or each other.
        """
        removed = self._plane(planes, "removed", (len(state),)).astype(bool)
        added = np.flatnonzero(self._plane(planes, "added", (self.lattice.points,)))
        index, values = state.index[~removed], state.values[~removed]
        changed = self._plane(planes, "changed", (len(index),)).astype(bool)
        values[changed] += self._values(planes, "", int(changed.sum()))
        at = np.searchsorted(index, added)
        if len(index) and (index[np.minimum(at, len(index) - 1)] == added).any():
            raise DamagedFileError("its plane added names a voxel that is there already")
        new = self._values(planes, "new_", len(added))
        return VoxelState(np.insert(index, at, added), np.insert(values, at, new, axis=0))

    def jump(self, initial: VoxelState, planes: Planes) -> VoxelState:
        """Return the frame of a key part, which says how it differs from frame 0.

        Raises:
            DamagedFileError: planes are missing, or do not fit the voxels or each other.
        """
        return self.advance(initial, planes)

    def to_key(self, initial: VoxelState, state: VoxelState) -> dict[str, np.ndarray]:
        """Return the planes of a key part that leads from frame 0 to a state."""
        return self.difference(initial, state)

    def difference(self, before: VoxelState, after: VoxelState) -> dict[str, np.ndarray]:
        """Return the planes that lead from one state to another."""
        stays = _among(before.index, after.index)
        new = ~_among(after.index, before.index)
        added = np.zeros(self.lattice.points, bool)
        added[after.index[new]] = True
        steps = after.values[~new] - before.values[stays]
        changed = steps.any(axis=1)
        planes = {"removed": ~stays, "added": added, "changed": changed}
        return planes | _split("", steps[changed]) | _split("new_", after.values[new])

    def _values(self, planes: Planes, prefix: str, count: int) -> Int32[np.ndarray, "M 28"]:
        columns = [
            self._plane(planes, prefix + name, (count, group.stop - group.start)).astype(np.int32)
            for name, group in GROUPS.items()
        ]
        return np.concatenate(columns, axis=1)

    @staticmethod
    def _plane(planes: Planes, name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in planes:
            raise DamagedFileError(f"it lacks the plane {name}")
        if planes[name].shape != shape:
            raise DamagedFileError(f"its plane {name} has shape {planes[name].shape} instead of {shape}")
        return planes[name]


def _split(prefix: str, values: Int32[np.ndarray, "M 28"]) -> dict[str, np.ndarray]:
    return {prefix + name: np.ascontiguousarray(values[:, group]) for name, group in GROUPS.items()}


def _among(index: Int64[np.ndarray, "M"], others: Int64[np.ndarray, "K"]) -> Bool[np.ndarray, "M"]:
    """Return which numbers are among others; both rise."""
    if not len(others):
        return np.zeros(len(index), bool)
    at = np.minimum(np.searchsorted(others, index), len(others) - 1)
    return others[at] == index
