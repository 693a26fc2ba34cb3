"""Gaussians as a file states them, and what of them is put right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from dyn3d_ns.geometry.world import coordinates
from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.splats import About, Splats, StoredSequence, Up

MAX_GAUSSIANS = 50_000_000
"""Of one instant; more than any viewer shows."""
MAX_DEGREE = 3
"""Of the spherical harmonics that are rendered."""


@dataclass(frozen=True)
class Table:
    """Gaussians of one instant; nothing of the values is checked yet."""

    means: Float[np.ndarray, "N 3"]
    quats: Float[np.ndarray, "N 4"]
    """Orientations wxyz, of any length."""
    scales: Float[np.ndarray, "N 3"]
    """Standard deviations."""
    opacities: Float[np.ndarray, "N"]
    sh: Float[np.ndarray, "N K 3"]
    """Coefficients in the order and with the signs of 3DGS."""
    notes: tuple[str, ...] = ()
    """What a user should know of how they were read."""
    sorted_by_place: bool = False
    """Whether the format puts Gaussians in an order of its own, so that rows of two files do not belong
    together."""
    up: Up = "data"
    """Axis that the format or the file says points up."""
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """What is to be added to places: exports of ours put scenes that lie far away around an origin."""

    def __len__(self) -> int:
        return len(self.means)

    def select(self, keep: Bool[np.ndarray, "N"]) -> Table:
        """Return the Gaussians for which ``keep`` is True."""
        if keep.all():
            return self
        return replace(
            self,
            means=self.means[keep],
            quats=self.quats[keep],
            scales=self.scales[keep],
            opacities=self.opacities[keep],
            sh=self.sh[keep],
        )


@dataclass(frozen=True)
class SplatFile:
    """What a file or a folder of files holds."""

    sequence: StoredSequence
    same_rows: bool
    """Whether a row is the same Gaussian at all times; otherwise nothing lies between two of them."""
    notes: tuple[str, ...]
    """What was changed, and what a user should know."""


def assemble(
    tables: Sequence[Table], seconds: Sequence[float], about: About, where: Path, same_rows: bool = True
) -> SplatFile:
    """Put the instants of a file together, all with as many Gaussians of one degree.

    Gaussians with a value that is not finite are left out. Where instants hold different numbers, transparent
    ones make up for it, and rows are no longer the same Gaussian over time.

    Raises:
        DamagedFileError: no Gaussian is left.
    """
    notes = list(dict.fromkeys(note for table in tables for note in table.notes))
    if len(tables) > 1 and any(table.sorted_by_place for table in tables):
        same_rows = False
        notes.append(
            "the format sorts Gaussians by place, so they are not the same from one file to the next: each "
            "file is shown until the next one begins"
        )
    counts = [len(table) for table in tables]
    if min(counts) != max(counts):
        same_rows = False
        notes.append(
            f"between {min(counts)} and {max(counts)} Gaussians over time: each instant is shown until the "
            "next one begins, and transparent Gaussians make their numbers equal"
        )
    tables, left_out = _finite(tables, same_rows)
    if left_out:
        notes.append(f"left out: {left_out} Gaussians with values that are NaN or infinite")
    if not max(len(table) for table in tables):
        raise DamagedFileError(f"{where} holds no Gaussian with finite values; export it again")
    if len({table.sh.shape[1] for table in tables}) > 1:
        notes.append("degrees of colour differ over time: what lacks is zero")
    tables = [_from_origin(table) for table in tables]
    rows, terms = max(len(table) for table in tables), max(table.sh.shape[1] for table in tables)
    whole = [_padded(table, rows, terms) for table in tables]
    notes += _told_of_values(whole)
    far = any(coordinates(table.means.astype(np.float64)).dtype == np.float64 for table in whole)
    instants = [_splats(table, np.dtype(np.float64 if far else np.float32)) for table in whole]
    return SplatFile(StoredSequence(instants, seconds, about), same_rows, tuple(notes))


def lower_degree(sh: Float[np.ndarray, "N K 3"]) -> tuple[Float[np.ndarray, "N L 3"], tuple[str, ...]]:
    """Leave out coefficients of degrees beyond 3; return what to tell of it too."""
    most = (MAX_DEGREE + 1) ** 2
    if sh.shape[1] <= most:
        return sh, ()
    return sh[:, :most], (f"colours of degree {round(sh.shape[1] ** 0.5) - 1}: those beyond 3 are left out",)


def stated_origin(text: object) -> tuple[float, float, float]:
    """Return the origin that an export of ours states in words; 0 where nothing of the kind is stated."""
    words = text.split() if isinstance(text, str) else []
    try:
        x, y, z = map(float, words)
    except ValueError:
        return (0.0, 0.0, 0.0)
    return (x, y, z) if np.isfinite([x, y, z]).all() else (0.0, 0.0, 0.0)


def _finite(tables: Sequence[Table], same_rows: bool) -> tuple[list[Table], int]:
    """Leave Gaussians that are not finite out, at all times where rows belong together."""
    good = [_is_finite(table) for table in tables]
    if same_rows:
        always = np.asarray(np.stack(good).all(axis=0))
        good, left_out = [always] * len(tables), int((~always).sum())
    else:
        left_out = sum(int((~some).sum()) for some in good)
    return [table.select(some) for table, some in zip(tables, good, strict=True)], left_out


def _is_finite(table: Table) -> Bool[np.ndarray, "N"]:
    """Tell which Gaussians consist of numbers that float32 holds."""
    count, good = len(table), np.ones(len(table), bool)
    with np.errstate(over="ignore", invalid="ignore"):
        for values in (table.means, table.quats, table.scales, table.opacities, table.sh):
            flat = values.reshape(count, int(np.prod(values.shape[1:]))).astype(np.float32)
            good &= np.isfinite(flat).all(axis=1)
    return good


def _from_origin(table: Table) -> Table:
    if not any(table.origin):
        return table
    return replace(table, means=table.means.astype(np.float64) + np.array(table.origin))


def _padded(table: Table, rows: int, terms: int) -> Table:
    """Add transparent Gaussians, and coefficients that are zero."""
    more, lacks = rows - len(table), terms - table.sh.shape[1]
    if not more and not lacks:
        return table

    def longer(values: np.ndarray, fill: float) -> np.ndarray:
        return np.concatenate([values, np.full((more, *values.shape[1:]), fill, values.dtype)])

    # They stay where the scene is, so that they do not widen its box.
    last = table.means[-1:] if len(table) else np.zeros((1, 3), table.means.dtype)
    return replace(
        table,
        means=np.concatenate([table.means, np.repeat(last, more, axis=0)]),
        quats=longer(table.quats, 0.5),
        scales=longer(table.scales, 1e-6),
        opacities=longer(table.opacities, 0.0),
        sh=np.pad(longer(table.sh, 0.0), ((0, 0), (0, lacks), (0, 0))),
    )


def _told_of_values(tables: Sequence[Table]) -> list[str]:
    zero = sum(int((np.abs(table.quats).max(1) < 1e-12).sum()) for table in tables)
    negative = sum(int((table.scales < 0).any(1).sum()) for table in tables)
    beyond = sum(int(((table.opacities < 0) | (table.opacities > 1)).sum()) for table in tables)
    told = [
        (zero, "rotations of length zero: taken as none"),
        (negative, "Gaussians of negative size: its amount is taken"),
        (beyond, "opacities outside 0 to 1: clipped"),
    ]
    return [f"{count} {what}" for count, what in told if count]


def _splats(table: Table, kind: np.dtype) -> Splats:
    """Return Gaussians with rotations of length one and opacities in 0..1."""
    quats = table.quats.astype(np.float64)
    lengths = np.linalg.norm(quats, axis=1, keepdims=True)
    quats = np.where(lengths < 1e-12, [1.0, 0.0, 0.0, 0.0], quats / np.maximum(lengths, 1e-12))
    return Splats(
        table.means.astype(kind),
        quats.astype(np.float32),
        np.abs(table.scales).astype(np.float32),
        np.clip(table.opacities, 0, 1).astype(np.float32),
        np.ascontiguousarray(table.sh, dtype=np.float32),
    )
