"""Poses, focal lengths and depth bounds of LLFF: ``poses_bounds.npy``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dyn3d_ns.io.arrays import load_npy
from dyn3d_ns.io.damage import ARRAY_ERRORS
from dyn3d_ns.io.errors import DamagedFileError, DatasetError, MissingFileError, PoseError
from dyn3d_ns.io.recognised import natural_order
from dyn3d_ns.io.recordings.base import Calibration

_REMEDY = (
    "copy it from the data set, or make it from one frame of each camera, in the order of their names, with "
    "COLMAP and LLFF's imgs2poses.py"
)


def read_poses_bounds(
    path: Path, names: Sequence[str], dropped: Sequence[str] = ()
) -> dict[str, Calibration]:
    """Read the rows of the cameras, which go by the natural order of the cameras' names.

    Where a camera that is dropped has no frames any more, or never had a row, the rows are those of the
    others.

    Args:
        path: An array [C, 17]: 3x5 [down, right, back | position | height, width, focal length] by rows,
            then the nearest and farthest depth.
        names: Cameras that have frames.
        dropped: Cameras to leave out.

    Raises:
        MissingFileError: there is no such file.
        DamagedFileError: it is no such array.
        DatasetError: there is not one row for each camera.
        PoseError: a row is no pose.
    """
    rows = _read(path)
    known = sorted({*names, *dropped}, key=lambda name: natural_order(Path(name)))
    order = [list(names), [n for n in names if n not in dropped], known]
    matching = next((found for found in order if len(found) == len(rows)), None)
    if matching is None:
        few = len(rows) < len(names)
        raise DatasetError(
            f"{path} has {len(rows)} rows, but there are {len(names)} cameras ({names[0]} to {names[-1]}); "
            "rows go by the order of the cameras' names. "
            + (
                "Name those that have no row with --drop-cameras"
                if few
                else "Name those whose frames are missing with --drop-cameras, so that their rows are skipped"
            )
            + ", or restore what is missing."
        )
    unknown = sorted(set(dropped) - {*names, *matching})
    if unknown:
        raise DatasetError(f"no camera is named {', '.join(unknown)}; there are {', '.join(names)}")
    return {name: _calibration(path, i, rows[i]) for i, name in enumerate(matching) if name not in dropped}


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; it says where the cameras stand: {_REMEDY}")
    try:
        rows = load_npy(path)
    except ARRAY_ERRORS as error:
        # numpy's own message speaks of pickles that one may trust.
        raise DamagedFileError(f"{path} is no .npy array of N x 17 numbers; {_REMEDY}") from error
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != 17 or not len(rows):
        found = rows.shape if isinstance(rows, np.ndarray) else "several arrays"
        raise DamagedFileError(f"{path} must hold 17 numbers a camera, got {found}; {_REMEDY}")
    if rows.dtype.kind not in "fiu":
        raise DamagedFileError(f"{path} must hold numbers, got {rows.dtype}; {_REMEDY}")
    return rows.astype(np.float64)


def _calibration(path: Path, index: int, row: np.ndarray) -> Calibration:
    if not np.isfinite(row).all():
        raise PoseError(f"{path}: row {index} is not finite; restore it, or leave the camera out")
    matrix, (near, far) = row[:15].reshape(3, 5), row[15:]
    down, right, back, position = matrix[:, :4].T
    height, width, focal = matrix[:, 4]
    if focal <= 0 or height <= 0 or width <= 0:
        raise PoseError(f"{path}: row {index} has height {height}, width {width}, focal length {focal}")
    pose = np.eye(4)
    pose[:3] = np.stack([right, -down, back, position], axis=1)
    if np.abs(pose[:3, :3].T @ pose[:3, :3] - np.eye(3)).max() > 1e-2 or np.linalg.det(pose[:3, :3]) < 0:
        raise PoseError(
            f"{path}: row {index} is no rotation; columns must be down, right, back, as in LLFF's files"
        )
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    bounds = (float(near), float(far)) if 0 < near < far else None
    return Calibration(pose, K, (round(width), round(height)), bounds)
