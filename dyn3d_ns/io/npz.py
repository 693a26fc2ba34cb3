"""Archives of arrays that are written piece by piece, so that they need not fit into memory."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dyn3d_ns.io.atomic import atomic_open


def write_blocks(
    path: Path, members: Iterable[tuple[str, np.dtype, tuple[int, ...], Iterable[np.ndarray]]]
) -> None:
    """Write arrays to an npz file block by block, atomically; `numpy.load` reads it without pickles.

    Args:
        path: File to write.
        members: Name, type, shape and blocks of every array; the blocks joined in order make the array.

    Raises:
        ValueError: the blocks of an array are more or less than its shape holds.
    """
    with atomic_open(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, dtype, shape, blocks in members:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {
                    "descr": np.lib.format.dtype_to_descr(dtype),
                    "fortran_order": False,
                    "shape": shape,
                }
                np.lib.format.write_array_header_1_0(member, header)
                expected, written = math.prod(shape), 0
                for block in blocks:
                    member.write(np.ascontiguousarray(block, dtype=dtype).tobytes())
                    written += block.size
                if written != expected:
                    raise ValueError(
                        f"{name}: {written} values came for shape {shape}, which holds {expected}"
                    )
