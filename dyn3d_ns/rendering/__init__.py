"""Rasterisation of Gaussians: one signature, gsplat on CUDA and our own SIMD kernels on the CPU."""

from dyn3d_ns.rendering.api import rasterize

__all__ = ["rasterize"]
