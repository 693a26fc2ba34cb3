"""The SIMD runtime on Numba: vectors of lanes, compiled kernels and their cache, threads, buffers."""
