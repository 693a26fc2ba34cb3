"""Gaussians on an integer lattice, and how a frame's delta moves them: what a decoder of a stream does.

Every attribute is an integer times a power of two, and everything that decides what comes next is computed in
integers of 64 bits, so that encoder and decoder agree bit for bit on any machine. docs/stream-format.md says
the same in words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Int, Int32, Int64

from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.stream.header import StreamHeader

KIND = "gaussians"
"""Kind of these streams, as their header names it."""
TURN_BITS = 12
"""Rotation vectors count in 2**-12 radians where they are computed with."""
CELL_BITS = 9
"""Turns of the motion grid's cells are stored in 2**-9 radians."""
RESIDUAL_BITS = 7
"""Residual turns are stored in 2**-7 radians."""
QUAT_BITS = 14
"""A quaternion of length one has 2**14 units."""
ATTRIBUTES: dict[str, int] = {"scales": 3, "opacities": 1, "features_dc": 3}
"""What a frame may change of a Gaussian beside its place, and how many numbers it is."""

_MAX_BITS = 30
_MOST_COUNTED = 1 << 17
"""Cells, empty ones included, above which the occupied ones are found by sorting."""

Planes = Mapping[str, np.ndarray]
"""Integer arrays by name: what a part of a stream holds."""


@dataclass(frozen=True)
class Lattice:
    """Steps of the attributes: a value is its integer times two to the power of minus these."""

    means: int
    """World units."""
    scales: int = 4
    """Natural logarithms of standard deviations."""
    opacities: int = 2
    """Logits."""
    features_dc: int = 5
    """Spherical harmonics of degree 0."""
    features_rest: int = 5
    """Those of higher degrees."""
    cells: tuple[int, ...] = ()
    """Sides of the motion grid's cells, coarse to fine, in steps of the means."""

    def bits(self, name: str) -> int:
        """Return the exponent of an attribute by its name in a scene."""
        return QUAT_BITS if name == "quats" else int(getattr(self, name))

    def to_float(self, name: str, values: Int[np.ndarray, "*S"]) -> np.ndarray:
        """Turn integers of an attribute into its values, exactly."""
        return np.ldexp(values.astype(np.float32), -self.bits(name))

    def to_int(self, name: str, values: np.ndarray) -> Int32[np.ndarray, "*S"]:
        """Round values of an attribute to the lattice."""
        return np.rint(np.ldexp(values.astype(np.float64), self.bits(name))).astype(np.int32)

    def to_header(self) -> dict[str, int | str]:
        """Return the steps as a stream's header holds them."""
        return {**vars(self), "cells": " ".join(map(str, self.cells))}


def decoder_of(header: StreamHeader) -> GaussianDecoder:
    """Return the decoder of a stream of Gaussians.

    Raises:
        DamagedFileError: the header lacks a step, or states one that is out of bounds.
    """
    found = header.decoder
    try:
        steps = {f.name: int(found[f.name]) for f in fields(Lattice) if f.name != "cells"}
        cells = tuple(int(side) for side in str(found["cells"]).split())
    except (KeyError, ValueError) as error:
        raise DamagedFileError(
            f"a stream of Gaussians whose header does not state its steps ({error})"
        ) from error
    if any(abs(step) > _MAX_BITS for step in steps.values()) or any(side < 1 for side in cells):
        raise DamagedFileError(
            f"a stream of Gaussians whose header states steps of {steps} and cells of {cells}"
        )
    return GaussianDecoder(Lattice(**steps, cells=cells))


@dataclass(frozen=True)
class LatticeGaussians:
    """All Gaussians at one frame, as integers; frames share arrays, which must not be written to."""

    means: Int32[np.ndarray, "N 3"]
    quats: Int32[np.ndarray, "N 4"]
    scales: Int32[np.ndarray, "N 3"]
    opacities: Int32[np.ndarray, "N 1"]
    features_dc: Int32[np.ndarray, "N 3"]
    features_rest: Int32[np.ndarray, "N K 3"]
    shift: Int32[np.ndarray, "N 3"]
    """How far each went since the frame before, in steps of the means; zero for what rests."""
    turn: Int32[np.ndarray, "N 3"]
    """How far each turned since the frame before: rotation vector, ``TURN_BITS``."""
    moving: Bool[np.ndarray, "N"]
    """Which ones the motion grid carried here."""

    def __len__(self) -> int:
        return len(self.means)


_VALUES = ("means", "quats", "scales", "opacities", "features_dc", "features_rest")


class GaussianDecoder:
    """Turns the parts of a stream into Gaussians, frame after frame."""

    def __init__(self, lattice: Lattice) -> None:
        """Take the steps that the stream's header states."""
        self.lattice = lattice

    def start(self, planes: Planes) -> LatticeGaussians:
        """Return frame 0 from the initial part.

        Raises:
            DamagedFileError: a plane is missing or of another shape.
        """
        _require(planes, INIT_PLANES)
        count, degrees = len(planes["means"]), planes["features_rest"].shape[1:2]
        shapes = {"means": (3,), "quats": (4,), "features_rest": (*degrees, 3)}
        values = {}
        for name in _VALUES:
            _fit(planes[name], (count, *shapes.get(name, (ATTRIBUTES.get(name, 0),))), name)
            values[name] = np.ascontiguousarray(planes[name], np.int32)
        return LatticeGaussians(**values, **_motion_of(planes, count))

    def to_init(self, state: LatticeGaussians) -> dict[str, np.ndarray]:
        """Return the planes of an initial part that starts at a state."""
        return {name: getattr(state, name) for name in _VALUES} | _motion_planes(state)

    def size(self, state: LatticeGaussians) -> int:
        """Return the memory that a state takes, bytes."""
        return sum(array.nbytes for array in vars(state).values())

    def advance(self, state: LatticeGaussians, planes: Planes) -> LatticeGaussians:
        """Return the next frame from a frame and its delta.

        Raises:
            DamagedFileError: planes are missing, or do not fit the Gaussians or each other.
        """
        _require(planes, DELTA_PLANES)
        moving = unsplit(planes["moving_on"], planes["moving_anew"], state.moving)
        carried = carry(state, moving, self.lattice, _grid_of(planes))
        rows = np.flatnonzero(moving)
        _fit(planes["shift"], (len(rows), 3), "shift")
        _fit(planes["turn"], (len(rows), 3), "turn")
        means = carried.means + planes["shift"]
        residual = planes["turn"].astype(np.int64) << (TURN_BITS - RESIDUAL_BITS)
        quats = turned(carried.quats, residual)
        shift, turn = np.zeros_like(state.shift), np.zeros_like(state.turn)
        shift[rows] = means - state.means[rows]
        turn[rows] = carried.turn
        # What a frame does not touch is shared with the one before: most of a state is.
        values = {name: getattr(state, name) for name in _VALUES}
        if len(rows):
            values |= {name: values[name].copy() for name in ("means", "quats")}
            values["means"][rows], values["quats"][rows] = means, quats
        changed = np.flatnonzero(unsplit(planes["changed_moving"], planes["changed_resting"], moving))
        for name, width in ATTRIBUTES.items():
            _fit(planes[name], (len(changed), width), name)
            if len(changed):
                values[name] = values[name].copy()
                values[name][changed] += planes[name].astype(np.int32)
        replaced = planes["replaced"]
        _fit(replaced, (len(state),), "replaced")
        places = np.flatnonzero(replaced)
        for name in _VALUES:
            new = planes[f"new_{name}"]
            _fit(new, (len(places), *values[name].shape[1:]), f"new_{name}")
            if len(places):
                values[name] = values[name].copy()
                values[name][places] = new
        shift[places], turn[places] = 0, 0
        return LatticeGaussians(**values, shift=shift, turn=turn, moving=moving & ~replaced.astype(bool))

    def jump(self, initial: LatticeGaussians, planes: Planes) -> LatticeGaussians:
        """Return the frame of a key part, which says how it differs from frame 0.

        Raises:
            DamagedFileError: planes are missing, or do not fit the Gaussians or each other.
        """
        _require(planes, KEY_PLANES)
        values = {}
        for name in _VALUES:
            values[name] = getattr(initial, name).copy()
            _fit(planes[f"at_{name}"], (len(initial),), f"at_{name}")
            rows = np.flatnonzero(planes[f"at_{name}"])
            _fit(planes[name], (len(rows), *values[name].shape[1:]), name)
            values[name][rows] += planes[name].astype(np.int32)
        return LatticeGaussians(**values, **_motion_of(planes, len(initial)))

    def to_key(self, initial: LatticeGaussians, state: LatticeGaussians) -> dict[str, np.ndarray]:
        """Return the planes of a key part that leads from frame 0 to a state."""
        planes = _motion_planes(state)
        for name in _VALUES:
            difference = getattr(state, name) - getattr(initial, name)
            rows = difference.reshape(len(state), -1).any(axis=1)
            planes |= {f"at_{name}": rows, name: difference[rows]}
        return planes


DELTA_PLANES = (
    "moving_on",
    "moving_anew",
    "grid",
    "shift",
    "turn",
    "changed_moving",
    "changed_resting",
    *ATTRIBUTES,
    "replaced",
    *(f"new_{name}" for name in _VALUES),
)
"""Planes of a delta."""
INIT_PLANES = ("moving", "shift", "turn", *_VALUES)
"""Planes of the initial part."""
KEY_PLANES = (*INIT_PLANES, *(f"at_{name}" for name in _VALUES))
"""Planes of a key part."""


def _motion_planes(state: LatticeGaussians) -> dict[str, np.ndarray]:
    moving = state.moving
    return {"moving": moving, "shift": state.shift[moving], "turn": state.turn[moving]}


def _motion_of(planes: Planes, count: int) -> dict[str, np.ndarray]:
    _fit(planes["moving"], (count,), "moving")
    moving = planes["moving"].astype(bool)
    motion = {name: np.zeros((count, 3), np.int32) for name in ("shift", "turn")}
    for name, array in motion.items():
        _fit(planes[name], (int(moving.sum()), 3), name)
        array[moving] = planes[name]
    return {**motion, "moving": moving}


@dataclass(frozen=True)
class Cells:
    """The occupied cells of one level of the motion grid, and where each Gaussian lies in its own."""

    of: Int64[np.ndarray, "M"]
    """Number of each Gaussian's cell."""
    offset: Int64[np.ndarray, "M 3"]
    """Place of each Gaussian, seen from the middle of those in its cell, in steps of the means."""
    count: int
    """Cells."""


@dataclass(frozen=True)
class Carried:
    """What moves, where the motion grid leads it."""

    means: Int64[np.ndarray, "M 3"]
    quats: Int64[np.ndarray, "M 4"]
    turn: Int64[np.ndarray, "M 3"]


def predicted(state: LatticeGaussians, moving: Bool[np.ndarray, "N"]) -> Carried:
    """Return where constant velocity leads what moves: the motion of the frame before, turned by its turn."""
    rows = np.flatnonzero(moving)
    means, quats, shift, turn = (
        values.take(rows, axis=0).astype(np.int64)
        for values in (state.means, state.quats, state.shift, state.turn)
    )
    shift = shift + (_cross(turn, shift) >> TURN_BITS)
    return Carried(means + shift, turned(quats, turn), turn)


def cells_of(means: Int64[np.ndarray, "M 3"], side: int) -> Cells:
    """Sort Gaussians into the cells of a grid that begins at their least coordinates.

    Cells are numbered by their coordinates, x first.
    """
    if not len(means):
        return Cells(np.zeros(0, np.int64), np.zeros((0, 3), np.int64), 0)
    places = (means - means.min(axis=0)) // side
    spans = places.max(axis=0) + 1
    key = (places[:, 0] * spans[1] + places[:, 1]) * spans[2] + places[:, 2]
    if math.prod(spans.tolist()) <= _MOST_COUNTED:
        # Counting takes a third of the time of the sort, and numbers the cells in the same order.
        sizes = np.bincount(key)
        of = (np.cumsum(sizes > 0) - 1)[key]
        sizes = sizes[sizes > 0]
    else:
        _, of, sizes = np.unique(key, return_inverse=True, return_counts=True)
    middle = np.stack([_sums(of, column) for column in means.T], axis=1) // sizes[:, None]
    return Cells(of.astype(np.int64), means - middle[of], len(sizes))


def _sums(of: Int64[np.ndarray, "M"], values: Int64[np.ndarray, "M"]) -> Int64[np.ndarray, "C"]:
    """Return the sum of the values in each cell; by halves, as sums of floats are exact to 53 bits."""
    low, high = np.bincount(of, values & 0xFFFF), np.bincount(of, values >> 16)
    return low.astype(np.int64) + (high.astype(np.int64) << 16)


def carry(
    state: LatticeGaussians, moving: Bool[np.ndarray, "N"], lattice: Lattice, grid: Int64[np.ndarray, "C 6"]
) -> Carried:
    """Let the motion grid carry on what moves from where constant velocity leads.

    Args:
        state: The frame before.
        moving: What moves.
        lattice: Steps and cells.
        grid: Shift and rotation vector of each cell, level after level.

    Raises:
        DamagedFileError: the grid has more or fewer cells than are occupied.
    """
    start = predicted(state, moving)
    levels = [cells_of(start.means, side) for side in lattice.cells]
    total = sum(level.count for level in levels)
    if grid.shape != (total, 6):
        raise DamagedFileError(f"its motion grid has shape {grid.shape}; {total} cells are occupied")
    means, turn, first = start.means, np.zeros_like(start.turn), 0
    for level in levels:
        motion = grid[first : first + level.count][level.of]
        around = motion[:, 3:] << (TURN_BITS - CELL_BITS)
        means = means + motion[:, :3] + (_cross(around, level.offset) >> TURN_BITS)
        turn = turn + around
        first += level.count
    return Carried(means, turned(start.quats, turn), start.turn + turn)


def turned(quats: Int64[np.ndarray, "M 4"], turn: Int64[np.ndarray, "M 3"]) -> Int64[np.ndarray, "M 4"]:
    """Turn orientations about the world's axes by small rotation vectors, to the first order.

    One step of Newton's method brings their length back to one.
    """
    # Columns that lie in one piece are gone through twice as fast.
    w, x, y, z = np.ascontiguousarray(quats.T, np.int64)
    tx, ty, tz = np.ascontiguousarray(turn.T)
    shift = TURN_BITS + 1
    around = (
        w - ((tx * x + ty * y + tz * z) >> shift),
        x + ((tx * w + ty * z - tz * y) >> shift),
        y + ((ty * w + tz * x - tx * z) >> shift),
        z + ((tz * w + tx * y - ty * x) >> shift),
    )
    length = sum(part * part for part in around) >> QUAT_BITS
    return np.stack([(part * (3 * (1 << QUAT_BITS) - length)) >> (QUAT_BITS + 1) for part in around], axis=1)


def _cross(a: Int64[np.ndarray, "M 3"], b: Int64[np.ndarray, "M 3"]) -> Int64[np.ndarray, "M 3"]:
    """Return cross products; NumPy's own spends most of its time on other shapes than ours."""
    (ax, ay, az), (bx, by, bz) = a.T, b.T
    result = np.empty_like(a)
    result[:, 0], result[:, 1], result[:, 2] = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    return result


def split(chosen: Bool[np.ndarray, "N"], by: Bool[np.ndarray, "N"]) -> tuple[np.ndarray, np.ndarray]:
    """Part a mask into its values where another one holds, and those where it does not."""
    return chosen[by], chosen[~by]


def unsplit(inside: np.ndarray, outside: np.ndarray, by: Bool[np.ndarray, "N"]) -> Bool[np.ndarray, "N"]:
    """Put together what :func:`split` has parted.

    Raises:
        DamagedFileError: the parts are not as long as the mask says.
    """
    count = int(by.sum())
    if inside.shape != (count,) or outside.shape != (len(by) - count,):
        raise DamagedFileError("its masks do not fit the number of Gaussians")
    chosen = np.zeros(len(by), bool)
    chosen[by], chosen[~by] = inside, outside
    return chosen


def _grid_of(planes: Planes) -> Int64[np.ndarray, "C 6"]:
    return planes["grid"].astype(np.int64)


def _require(planes: Planes, names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in planes]
    if missing:
        raise DamagedFileError(f"it lacks the planes {', '.join(missing)}")


def _fit(plane: np.ndarray, shape: tuple[int, ...], name: str) -> None:
    if plane.shape != shape:
        raise DamagedFileError(f"its plane {name} has shape {plane.shape} instead of {shape}")
