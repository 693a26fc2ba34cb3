"""Files .4dgs: Gaussians that each live for a while and move in a straight line, by the package `fourdgs`."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from scipy.spatial import KDTree

from dyn3d_ns.io.damage import ARRAY_ERRORS
from dyn3d_ns.io.errors import CommandError, DamagedFileError
from dyn3d_ns.io.ply import SH_C0
from dyn3d_ns.io.splat_files.table import MAX_GAUSSIANS, SplatFile, Table, assemble, stated_origin
from dyn3d_ns.io.splats import About, Up

MAX_FRAMES = 10_000
RATE = "recorded frames per second"
"""Name of the rate in what exports of ours state."""
_MOST_ROWS = 4
"""Rows in those that live at once, above which Gaussians over time are no longer told apart."""
_ROUNDS = 3
"""Times that records which are left over are paired again."""
_WEIGHT = 10.0
"""Of logarithms of sizes and of colours beside places in sizes, when records are compared."""
_UP: dict[str, Up] = {"y-up-right-handed": "y", "z-up-right-handed": "z"}
_BYTE_RANGE = 4.0
"""Colours that depend on the view are bytes over -4..4."""


def read_fourdgs(path: Path, fps: float | None) -> SplatFile:
    """Evaluate a .4dgs file at the frames of a rate.

    Its records are followed: one that begins where and when another ends is the same Gaussian.

    Args:
        path: The file.
        fps: Frames a second; as the file says, or 30, if None.

    Raises:
        CommandError: the package is missing.
        DamagedFileError: the file cannot be read.
    """
    scene = _open(path)
    attributes = {name: str(value) for name, value in scene.header.attributes.items()}
    rate = fps or _number(attributes.get(RATE) or attributes.get("fps")) or 30.0
    duration, count = float(scene.duration_sec), int(scene.gaussians.count)
    # What is not a number, or far too large, is no number of frames. Each frame lasts until the next one.
    frames = max(math.ceil(duration * rate - 1e-6), 1) if 0 <= duration * rate < 1e9 else 0
    if not 1 <= frames <= MAX_FRAMES or count > MAX_GAUSSIANS:
        raise DamagedFileError(
            f"{path} lasts {duration:g} s, {frames} frames of {count} records; up to {MAX_FRAMES} frames can "
            "be read: take fewer with --fps"
        )
    seconds = [i / rate for i in range(frames)]
    states = [scene.state_at(time) for time in seconds]
    up = _UP.get(attributes.get("coordinate_system", ""), "data")
    about = About(
        method=attributes.get("method", ""),
        version=attributes.get("writer", str(scene.header.library)),
        up=up,
        metres_per_unit=_number(attributes.get("metres per unit")),
        fps=rate,
        observed=(0.0, seconds[-1]),
    )
    looks = _Looks(scene.gaussians)
    rows, total = _rows(scene.gaussians, states, seconds, looks)
    alive = max(len(state["indices"]) for state in states)
    if not alive:
        raise DamagedFileError(f"{path} shows nothing at {frames} frames of {rate:g} a second")
    if total > _MOST_ROWS * alive:
        note = "its records do not follow one another, so each frame is shown until the next one begins"
        tables = [looks.table(state, up, (note,)) for state in states]
        same = False
    else:
        tables, same = _over_time(states, rows, total, looks, up), True
    origin = stated_origin(attributes.get("origin"))
    tables = [replace(table, origin=origin) for table in tables]
    return assemble(tables, seconds, about, path, same)


def _open(path: Path) -> Any:
    try:
        import fourdgs
    except ImportError as error:
        raise CommandError(f"{path} takes a further package to read: pip install 'dyn3d-ns[4dgs]'") from error
    try:
        scene = fourdgs.read(path, recover_truncated=False)
    except (fourdgs.FourdgsError, *ARRAY_ERRORS) as error:
        said = str(error).partition("\n")[0]
        raise DamagedFileError(f"{path} cannot be read by fourdgs ({said:.200}); export it again") from error
    if scene.gaussians is None:
        raise DamagedFileError(f"{path} holds no Gaussians that fourdgs can hand out; export it again")
    return scene


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


class _Looks:
    """What of a record stays: size, colours."""

    def __init__(self, gaussians: Any) -> None:
        self.scales = np.asarray(gaussians.scales, np.float32)
        dc = (np.asarray(gaussians.colors, np.float32)[:, :3] - 0.5) / SH_C0
        self.sh = dc[:, None]
        if gaussians.sh is not None and gaussians.sh_degree:
            parts = np.asarray(gaussians.sh, np.float32) * (2 * _BYTE_RANGE / 255) - _BYTE_RANGE
            more = parts.reshape(len(dc), 3, parts.shape[1] // 3).transpose(0, 2, 1)
            self.sh = np.concatenate([self.sh, more], axis=1).astype(np.float32)

    def heirs(
        self,
        born: Int64[np.ndarray, "B"],
        born_at: Float64[np.ndarray, "B 3"],
        gone: Int64[np.ndarray, "G"],
        gone_at: Float64[np.ndarray, "G 3"],
    ) -> tuple[Int64[np.ndarray, "P"], Int64[np.ndarray, "P"]]:
        """Pair records that are each other's most alike, and not further apart than they are large."""
        if not (np.isfinite(born_at).all() and np.isfinite(gone_at).all()):
            return np.zeros(0, int), np.zeros(0, int)
        sizes = self.scales[gone].max(1)
        unit = max(float(np.median(sizes)), 1e-12)

        def alike(records: np.ndarray, places: np.ndarray) -> np.ndarray:
            look = np.concatenate([np.log(self.scales[records] + 1e-12), self.sh[records, 0]], axis=1)
            return np.concatenate([places / unit, _WEIGHT * look], axis=1)

        old, new = alike(gone, gone_at), alike(born, born_at)
        nearest = np.asarray(KDTree(old).query(new)[1])
        back = np.asarray(KDTree(new).query(old)[1])
        near = np.linalg.norm(born_at - gone_at[nearest], axis=1) <= sizes[nearest] + 1e-9
        pairs = np.flatnonzero((back[nearest] == np.arange(len(born))) & near)
        return pairs, nearest[pairs]

    def table(self, state: dict[str, Any], up: Up, notes: tuple[str, ...] = ()) -> Table:
        """Return what lives at a time."""
        records = state["indices"]
        turns = state["orientations"][:, [3, 0, 1, 2]]
        return Table(
            state["centers"], turns, self.scales[records], state["opacity"], self.sh[records], notes, up=up
        )


def _rows(
    gaussians: Any, states: list[dict[str, Any]], seconds: list[float], looks: _Looks
) -> tuple[Int64[np.ndarray, "R"], int]:
    """Give every record a row; one that takes another's place when that ends takes its row."""
    rows = np.full(gaussians.count, -1)
    total, before = 0, np.zeros(0, int)
    for state, time in zip(states, seconds, strict=True):
        alive, new = state["indices"], rows[state["indices"]] < 0
        gone = np.setdiff1d(before, alive)
        places = state["centers"][new], _where(gaussians, gone, time)
        for _ in range(_ROUNDS):
            born = alive[rows[alive] < 0]
            if not len(born) or not len(gone):
                break
            still = rows[alive[new]] < 0
            heirs, left = looks.heirs(born, places[0][still], gone, places[1])
            rows[born[heirs]] = rows[gone[left]]
            kept = np.ones(len(gone), bool)
            kept[left] = False
            gone, places = gone[kept], (places[0], places[1][kept])
        fresh = alive[rows[alive] < 0]
        rows[fresh] = np.arange(total, total + len(fresh))
        total += len(fresh)
        before = alive
    return rows, total


def _where(gaussians: Any, records: Int64[np.ndarray, "M"], time: float) -> Float64[np.ndarray, "M 3"]:
    """Return where records would be at a time."""
    places, motions = (np.asarray(v, np.float64)[records] for v in (gaussians.positions, gaussians.motions))
    return places + motions * (time - np.asarray(gaussians.mu_t, np.float64)[records])[:, None]


def _over_time(
    states: list[dict[str, Any]], rows: Int64[np.ndarray, "R"], total: int, looks: _Looks, up: Up
) -> list[Table]:
    """Put what lives into its rows; a row that does not live is transparent, where it was or will be."""
    held: list[Table | None] = []
    last: Table | None = None
    there = np.zeros(total, bool)
    missing: list[np.ndarray] = []
    for state in states:
        shown, at = looks.table(state, up), rows[state["indices"]]
        values = {}
        for name in ("means", "quats", "scales", "opacities", "sh"):
            found = getattr(shown, name)
            whole = (
                np.zeros((total, *found.shape[1:]), found.dtype)
                if last is None or name == "opacities"
                else getattr(last, name).copy()
            )
            whole[at] = found
            values[name] = whole
        there = there.copy()
        there[at] = True
        last = Table(**values, up=up)
        held.append(last)
        missing.append(~there)
    # What is not yet there waits where it will appear.
    for i in range(len(held) - 2, -1, -1):
        table, later, rows_ = held[i], held[i + 1], missing[i]
        assert table is not None and later is not None
        for name in ("means", "quats", "scales", "sh"):
            getattr(table, name)[rows_] = getattr(later, name)[rows_]
    return [table for table in held if table is not None]
