"""Array files, of which several threads read at once."""

from __future__ import annotations

import ast
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import dyn3d_ns
from dyn3d_ns.io.arrays import Npz, load_npy, read_npz


def test_two_threads_never_parse_headers_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11 raises a SystemError, now and then, when they do (cpython#106905)."""
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "a.npy", values)
    np.savez_compressed(tmp_path / "a.npz", values=values, more=values + 1)
    parse, parsing, most = ast.literal_eval, 0, 0
    counts = threading.Lock()

    def slowly(text: str) -> object:
        nonlocal parsing, most
        with counts:
            parsing += 1
            most = max(most, parsing)
        time.sleep(0.002)
        with counts:
            parsing -= 1
        return parse(text)

    monkeypatch.setattr(ast, "literal_eval", slowly)

    def read(i: int) -> np.ndarray:
        if i % 3 == 0:
            return load_npy(tmp_path / "a.npy")
        if i % 3 == 1:
            return load_npy(tmp_path / "a.npy", "r")
        return read_npz(tmp_path / "a.npz", ("values", "more"))["values"]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(read, range(24)))
    assert most == 1
    for array in found:
        np.testing.assert_array_equal(array, values)


def test_arrays_are_read_in_one_place() -> None:
    """Where headers are parsed one after the other, and nothing is unpickled."""
    root = Path(dyn3d_ns.__file__).parent
    readers = re.compile(r"np\.load\(|read_magic|read_array_header|NpzFile")
    found = {
        path.relative_to(root).as_posix() for path in root.rglob("*.py") if readers.search(path.read_text())
    }
    assert found == {"io/arrays.py"}


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}], dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", objects=objects, numbers=np.ones(2))
    with pytest.raises(ValueError, match="allow_pickle"):
        load_npy(tmp_path / "a.npy")
    with Npz(tmp_path / "a.npz") as content:
        assert list(content) == ["objects", "numbers"] and content["numbers"].tolist() == [1, 1]
        with pytest.raises(ValueError, match="allow_pickle"):
            content["objects"]


def test_several_arrays_are_no_npy(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.savez(file, a=np.ones(2), b=np.ones(2))
    with pytest.raises(ValueError, match="several arrays"):
        load_npy(tmp_path / "a.npy")
