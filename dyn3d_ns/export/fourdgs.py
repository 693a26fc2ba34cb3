"""`.4dgs`: Gaussians with a velocity each, valid for a stretch of time, by the package `fourdgs`.

Within a record the place is a straight line in time; orientation, size and colour are constant. What rests is
one record, what moves as many as a bound asks for.
"""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from dyn3d_ns.export.keys import COLOR_ERROR, color_bound, extent_of, turn_vectors
from dyn3d_ns.export.written import Written, frame_rate, new_file, provenance, require_package
from dyn3d_ns.io.errors import CommandError
from dyn3d_ns.io.ply import SH_C0
from dyn3d_ns.io.splats import Splats, SplatSequence

SUFFIXES = (".4dgs",)
UP = {"y": "y-up-right-handed", "z": "z-up-right-handed"}
SH_REACH = 4.0
"""Largest coefficient of degree 1 and above that the format holds."""
MAX_DEGREE = 3
PROFILES = ("default", "fine")
"""Steps of the format, from coarse to fine."""
ROOM, LEAST_ROOM = 8.0, 5.0
"""How much larger than half a step a bound is, so that motion gets most of it; and how much at least."""
MEASURED = 5
"""Frames at which a written file is compared."""
_GROUPS = (0, 3, 6, 7)
"""Where turn, sizes, opacity and colours begin among the constants of a record."""


class Records(NamedTuple):
    """Stretches of time of some Gaussians."""

    index: Int64[np.ndarray, "R"]
    """Which Gaussian."""
    start: Int64[np.ndarray, "R"]
    """First frame, and the frame with which it ends."""
    end: Int64[np.ndarray, "R"]
    place: Float[np.ndarray, "R 3"]
    """At the first frame."""
    velocity: Float[np.ndarray, "R 3"]
    """Units per second."""
    quat: Float[np.ndarray, "R 4"]
    constants: Float[np.ndarray, "R 10"]
    """Middle of what is constant: turn from ``quat``, sizes, opacity, base colour's coefficients."""
    rest: UInt8[np.ndarray, "R D"]
    """Middle of the other coefficients as the format holds them, all of red first; they are most of it."""


class Stretches:
    """Cuts the time of every Gaussian into stretches in each of which one record is near enough.

    Frames are given one after the other. A stretch contains the frame at which the next one begins, so that
    it holds in between.
    """

    def __init__(self, first: Splats, bound: float, turn_bound: float) -> None:
        """Begin every Gaussian's first stretch.

        Args:
            first: The first frame.
            bound: Largest error of places and sizes, units.
            turn_bound: Largest error that a turn makes at one standard deviation, units.
        """
        n = len(first)
        largest = np.maximum(first.scales.max(1, keepdims=True), 1e-12)
        self._reach = np.float32(bound / np.sqrt(3))
        tone = 1 / color_bound(first.opacities)[:, None]
        self._weights = np.concatenate(
            [
                np.broadcast_to(largest / turn_bound, (n, 3)),
                np.full((n, 3), 1 / bound),
                np.full((n, 1), 1 / COLOR_ERROR),
                np.broadcast_to(tone, (n, first.sh[0].size)),
            ],
            axis=1,
        ).astype(np.float32)
        self._place, self._quat = first.means.copy(), first.quats.copy()
        self._start = np.zeros(n, np.int64)
        self._low = _constants(first, first.quats)
        self._high = self._low.copy()
        self._slowest = np.full((n, 3), -np.inf, np.float32)
        self._fastest = np.full((n, 3), np.inf, np.float32)
        self._velocity = np.zeros((n, 3), np.float32)
        self._last, self._frame, self._second = first, 0, 0.0
        self._since = np.zeros((n, 1))
        # Stretches to the next frame that do not hold there: they go no further.
        self._jumps = np.zeros(n, bool)
        self._done: list[Records] = []

    def go_on(self, splats: Splats, second: float) -> None:
        """Take the next frame, at so many seconds after the first."""
        fits = self._take(np.ones(len(splats), bool), splats, second)
        if not fits.all():
            again = ~fits
            self._close(again)
            self._begin(again)
            self._take(again, splats, second)
        self._last, self._second, self._frame = splats, second, self._frame + 1

    def end(self) -> Records:
        """Return all stretches; the last ones end when the last frame does."""
        self._close(self._jumps)
        self._begin(self._jumps.copy())
        self._frame += 1
        self._close(np.ones(len(self._start), bool))
        return Records(*(np.concatenate(column) for column in zip(*self._done, strict=True)))

    def _take(self, chosen: Bool[np.ndarray, "N"], splats: Splats, second: float) -> Bool[np.ndarray, "N"]:
        """Add a frame to the stretches of the chosen ones where it fits; say where.

        A stretch to the very next frame is as short as it gets. If too much changes on the way it keeps what
        it begins with, but moves.
        """
        at = slice(None) if bool(chosen.all()) else chosen
        slopes = ((splats.means[at] - self._place[at]) / (second - self._since[at])).astype(np.float32)
        constants = _constants(splats, self._quat, at)
        low, high = np.minimum(self._low[at], constants), np.maximum(self._high[at], constants)
        misses = ((high - low) * self._weights[at] * 0.5) ** 2
        fits = (np.add.reduceat(misses, _GROUPS, axis=1) <= 1).all(1)
        fits &= ((slopes >= self._slowest[at]) & (slopes <= self._fastest[at])).all(1)
        reach = self._reach / (second - self._since[at]).astype(np.float32)
        fits &= ~self._jumps[at]
        rows = np.flatnonzero(chosen)
        kept = rows[fits]
        self._low[kept], self._high[kept] = low[fits], high[fits]
        jumps = ~fits & (self._start[at] == self._frame)
        self._jumps[rows[jumps]] = True
        fits |= jumps
        kept = rows[fits]
        self._velocity[kept] = slopes[fits]
        self._slowest[kept] = np.maximum(self._slowest[kept], (slopes - reach)[fits])
        self._fastest[kept] = np.minimum(self._fastest[kept], (slopes + reach)[fits])
        return fits

    def _close(self, chosen: Bool[np.ndarray, "N"]) -> None:
        """Note the stretches of the chosen ones, which end with the frame before."""
        index = np.flatnonzero(chosen)
        if not len(index):
            return
        middle = 0.5 * (self._low[index] + self._high[index])
        rest = np.clip(middle[:, 10:], -SH_REACH, SH_REACH)
        packed = np.rint((rest / SH_REACH + 1) * 127.5).astype(np.uint8).reshape(len(index), -1, 3)
        self._done.append(
            Records(
                index,
                self._start[index],
                np.full(len(index), self._frame),
                self._place[index],
                self._velocity[index],
                self._quat[index],
                middle[:, :10].copy(),
                np.ascontiguousarray(packed.transpose(0, 2, 1)).reshape(len(index), -1),
            )
        )

    def _begin(self, chosen: Bool[np.ndarray, "N"]) -> None:
        """Begin new stretches of the chosen ones at the frame before."""
        last = self._last
        self._start[chosen], self._since[chosen] = self._frame, self._second
        self._place[chosen], self._quat[chosen] = last.means[chosen], last.quats[chosen]
        self._low[chosen] = _constants(last, self._quat, chosen)
        self._high[chosen] = self._low[chosen]
        self._slowest[chosen], self._fastest[chosen] = -np.inf, np.inf
        self._jumps[chosen], self._velocity[chosen] = False, 0


def _constants(
    splats: Splats, anchor: Float[np.ndarray, "N 4"], at: Bool[np.ndarray, "N"] | slice = slice(None)
) -> Float[np.ndarray, "M D"]:
    """Return what is constant in a record: turn from an orientation, sizes, opacity, colours."""
    turns = turn_vectors(anchor[at], splats.quats[at])
    colors = splats.sh[at].reshape(-1, splats.sh[0].size)
    return np.concatenate([turns, splats.scales[at], splats.opacities[at][:, None], colors], axis=1)


def require_fourdgs() -> ModuleType:
    """Return the package that writes the format.

    Raises:
        CommandError: it is not installed.
    """
    return require_package("fourdgs", "4dgs", "The format .4dgs")


def write_4dgs(sequence: SplatSequence, path: Path, max_error: float | None = None) -> Written:
    """Write a scene as `.4dgs`.

    Args:
        sequence: Gaussians over time.
        path: File to write.
        max_error: Largest error of places, sizes and, at one standard deviation, of turns; units. A
            thousandth of the scene's extent if None. Colours keep to ``COLOR_ERROR``.

    Raises:
        CommandError: `fourdgs` is missing, the degree is above 3, the bound is too fine, or the disk is full.
    """
    fourdgs = require_fourdgs()
    first, fps = sequence.at(0), frame_rate(sequence)
    if first.degree > MAX_DEGREE:
        raise CommandError(f".4dgs holds colours up to degree {MAX_DEGREE}, and these have {first.degree}")
    profile, bounds, bound = _profile(fourdgs, first, max_error)
    start = sequence.seconds[0]
    # The steps of place and velocity each add up to bounds.pos along each axis.
    stretches = Stretches(first, bound - 2 * np.sqrt(3) * bounds.pos, 0.95 * bound)
    for index in range(1, len(sequence.seconds)):
        stretches.go_on(sequence.at(index), sequence.seconds[index] - start)
    records = stretches.end()
    edges = np.append(np.asarray(sequence.seconds) - start, 0.0)
    # The last frame lasts as long as the others.
    edges[-1] = edges[-2] + 1 / fps
    scene = _scene(fourdgs, records, edges, fourdgs.Steps.of(bounds).time, first.degree)
    about = sequence.about
    metadata = provenance(about) | {"max_error": repr(bound), "color_space": "srgb-rec709-display"}
    if about.up in UP:
        metadata["coordinate_system"] = UP[about.up]
    buffer = io.BytesIO()
    # It decodes what it has packed and compares it with the steps that it states.
    fourdgs.write(
        buffer, scene, float(edges[-1]), options=fourdgs.WriteOptions(profile=profile, metadata=metadata)
    )
    with new_file(path, buffer.tell()) as temporary:
        temporary.write_bytes(buffer.getbuffer())
    worst = _measure(fourdgs, path, sequence, edges)
    if worst > bound:
        note = f"between some frames more happens than --max-error {bound:.3g} allows: {worst:.3g} units"
    else:
        note = ""
    loss = (
        f"{len(scene.positions)} records; places within {worst:.3g} units (asked for {bound:.3g}), colours "
        f"within {COLOR_ERROR:g}, base colours clipped to 0..1"
    )
    return Written(path, path.stat().st_size, loss, note)


def _scene(fourdgs, records: Records, edges: np.ndarray, step: float, degree: int):
    """Put records into the arrays of the format, in which a place belongs to a time on a grid."""
    turned = Rotation.from_rotvec(records.constants[:, :3]) * Rotation.from_quat(
        records.quat[:, [1, 2, 3, 0]]
    )
    begins = edges[records.start]
    known = np.rint(begins / step) * step
    color = np.clip(0.5 + SH_C0 * records.constants[:, 7:], 0, 1)
    return fourdgs.GaussianSet(
        positions=np.float32(records.place + records.velocity * (known - begins)[:, None]),
        scales=np.float32(records.constants[:, 3:6]),
        rotations=turned.as_quat().astype(np.float32),
        colors=np.float32(np.concatenate([color, records.constants[:, 6:7]], axis=1)),
        motions=np.float32(records.velocity),
        mu_t=np.float32(known),
        sigma_t=np.full(len(begins), np.inf, np.float32),
        win_lo=begins,
        win_hi=edges[records.end],
        sh=records.rest if degree else None,
        sh_degree=degree,
    )


def _measure(fourdgs, path: Path, sequence: SplatSequence, edges: np.ndarray) -> float:
    """Read a file back, and return how far its Gaussians are from those of some frames at most, units."""
    read, worst = fourdgs.read(path), 0.0
    for index in np.unique(np.linspace(0, len(edges) - 2, MEASURED).round().astype(int)):
        means = sequence.at(index).means
        found = read.state_at(float(edges[index]))["centers"]
        if len(found) != len(means):
            raise CommandError(f"{path} shows {len(found)} of {len(means)} Gaussians at frame {index}")
        worst = max(worst, KDTree(means).query(found)[0].max(), KDTree(found).query(means)[0].max())
    return float(worst)


def _profile(fourdgs, first: Splats, max_error: float | None):
    """Return the coarsest profile whose steps leave room for the bound, its bounds, and the bound."""
    median = float(np.median(first.scales))
    coarse, fine = (fourdgs.Bounds.for_profile(name, median_scale=median) for name in PROFILES)
    finest = LEAST_ROOM * fine.pos
    bound = max(extent_of(first.means) / 1000, finest) if max_error is None else max_error
    if bound < finest:
        raise CommandError(
            f"--max-error {bound:.3g} is finer than .4dgs holds this scene, as its steps follow the median "
            f"size of the Gaussians: give {finest:.3g} or more"
        )
    return (PROFILES[0], coarse, bound) if ROOM * coarse.pos <= bound else (PROFILES[1], fine, bound)
