"""Discovering our plugins costs Nerfstudio's commands next to nothing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts/benchmarks/startup.py"
NOT_AT_START = {
    "playwright", "pytest", "hypothesis", "imageio_ffmpeg", "plyfile", "trimesh", "open3d", "skimage",
    "dyn3d_ns.cli", "dyn3d_ns.metrics.motion",
}  # fmt: skip
"""What no command of Nerfstudio needs before it has work to do."""


@pytest.fixture(scope="module")
def startup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("startup", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["startup"] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def test_discovery_brings_our_methods_and_little_else(startup: ModuleType) -> None:
    ours, stock = startup.start("ns-train", plugins=True), startup.start("ns-train", plugins=False)
    assert "dyn3d-velocity-fast" in ours["help"] and "dyn3d-velocity-fast" not in stock["help"]
    assert stock["ours"] == []
    added = set(ours["modules"]) - set(stock["modules"])
    packages = {name.split(".")[0] for name in added}
    assert not NOT_AT_START & (added | packages), sorted(NOT_AT_START & (added | packages))
    assert packages <= {"dyn3d_ns", "numba", "llvmlite"} | sys.stdlib_module_names, packages
