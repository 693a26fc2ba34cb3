"""Archives written block by block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dyn3d_ns.io.npz import write_blocks


def test_blocks_make_the_array_that_numpy_reads(tmp_path: Path) -> None:
    whole = np.arange(24, dtype=np.float64).reshape(4, 3, 2)
    path = tmp_path / "a.npz"
    flags = np.array([True, False])
    write_blocks(
        path,
        [
            ("x", np.dtype("<f4"), whole.shape, (row for row in whole)),
            ("flags", np.dtype(bool), (2,), [flags]),
        ],
    )
    with np.load(path, allow_pickle=False) as found:
        np.testing.assert_array_equal(found["x"], whole)
        assert found["x"].dtype == np.float32 and found["flags"].tolist() == [True, False]


def test_too_few_values_leave_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="x: 6 values came for shape"):
        write_blocks(path, [("x", np.dtype("<f4"), (2, 6), [np.zeros(6)])])
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1
