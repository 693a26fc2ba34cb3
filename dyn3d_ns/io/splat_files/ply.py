"""PLY files of 3D Gaussian Splatting: either byte order, float or double, degrees 0 to 4."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.special import expit

from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.ply import read_vertices
from dyn3d_ns.io.splat_files.compressed_ply import is_compressed, read_compressed
from dyn3d_ns.io.splat_files.table import MAX_GAUSSIANS, Table, lower_degree

_NEEDED = (
    *("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2"),
    *("rot_0", "rot_1", "rot_2", "rot_3"),
)
_DEGREES = {0: 0, 9: 1, 24: 2, 45: 3, 72: 4}
"""Degree of the colours by the number of columns f_rest_…"""


def read_ply(path: Path) -> Table:
    """Read a PLY of Gaussians, that of SuperSplat with packed values too.

    Raises:
        DatasetError: it is missing or damaged, or holds no Gaussians.
    """
    if is_compressed(path):
        return read_compressed(path)
    vertices = read_vertices(path)
    names = vertices.dtype.names or ()
    lacking = [name for name in _NEEDED if name not in names]
    if lacking:
        raise DamagedFileError(
            f"{path} holds no Gaussians but a point cloud: its vertices lack {', '.join(lacking)}; export "
            "them as 3D Gaussian Splatting writes them"
        )
    if len(vertices) > MAX_GAUSSIANS:
        raise DamagedFileError(f"{path} holds {len(vertices)} Gaussians; {MAX_GAUSSIANS} can be read")
    rest = sum(name.startswith("f_rest_") for name in names)
    if rest not in _DEGREES or any(f"f_rest_{i}" not in names for i in range(rest)):
        raise DamagedFileError(
            f"{path} has {rest} columns f_rest_…; colours of degree 0 to 4 have {list(_DEGREES)} of them"
        )

    def columns(*wanted: str) -> np.ndarray:
        found = [vertices[name] for name in wanted]
        kind = np.float64 if any(column.dtype.itemsize == 8 for column in found) else np.float32
        return np.stack(found, axis=1).astype(kind) if found else np.zeros((len(vertices), 0), np.float32)

    dc = columns("f_dc_0", "f_dc_1", "f_dc_2")
    # All coefficients of red come first, then those of green and of blue.
    more = (
        columns(*(f"f_rest_{i}" for i in range(rest))).reshape(len(vertices), 3, rest // 3).transpose(0, 2, 1)
    )
    sh, notes = lower_degree(np.concatenate([dc[:, None], more], axis=1))
    logits = columns("opacity")[:, 0]
    infinite = int(np.isinf(logits).sum())
    if infinite:
        notes = (*notes, f"{infinite} opacities have an infinite logit: taken as 0 or 1")
    if vertices.dtype["x"].byteorder == ">":
        notes = (*notes, "big-endian, which not every reader notices; exports are little-endian")
    with np.errstate(over="ignore"):
        scales = np.exp(columns("scale_0", "scale_1", "scale_2"))
    return Table(
        means=columns("x", "y", "z"),
        quats=columns("rot_0", "rot_1", "rot_2", "rot_3"),
        scales=scales,
        opacities=expit(logits),
        sh=sh,
        notes=notes,
    )
