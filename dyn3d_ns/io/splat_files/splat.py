"""Files .splat of antimatter15's viewer: 32 bytes a Gaussian, without view-dependent colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dyn3d_ns.io.errors import DamagedFileError
from dyn3d_ns.io.ply import SH_C0
from dyn3d_ns.io.splat_files.table import MAX_GAUSSIANS, Table

_ROW = np.dtype([("means", "<f4", 3), ("scales", "<f4", 3), ("rgba", "u1", 4), ("quats", "u1", 4)])


def read_splat(path: Path) -> Table:
    """Read a .splat file.

    Raises:
        DamagedFileError: its size is none of such a file.
    """
    size = path.stat().st_size
    if size % _ROW.itemsize or size > MAX_GAUSSIANS * _ROW.itemsize:
        raise DamagedFileError(
            f"{path} has {size} bytes; a .splat file has {_ROW.itemsize} for each Gaussian: copy it again"
        )
    rows = np.fromfile(path, _ROW)
    rgba = rows["rgba"] / np.float32(255)
    return Table(
        means=rows["means"],
        quats=(rows["quats"].astype(np.float32) - 128) / 128,
        scales=rows["scales"],
        opacities=rgba[:, 3],
        sh=((rgba[:, :3] - 0.5) / SH_C0)[:, None],
    )
