"""Rasterisation of Gaussians: one signature, gsplat on CUDA and our own SIMD kernels on the CPU.

Nothing heavy is imported until a name is used, so that `ns-*` commands start fast.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dyn3d_ns.rendering.api import rasterize
    from dyn3d_ns.rendering.pool import get_num_threads, set_num_threads

_HOMES = {"rasterize": "api", "set_num_threads": "pool", "get_num_threads": "pool"}
__all__ = ["get_num_threads", "rasterize", "set_num_threads"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
